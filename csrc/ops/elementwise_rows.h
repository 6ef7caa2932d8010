// How a functor becomes a row of the table, by the form of its signature.
#pragma once

#include "ops/elementwise.h"
#include "ops/op_table.h"

namespace wengert {

inline constexpr uint8_t kBoth = kMethod | kFunction;

template <class F>
using UnaryFn = Tensor (*)(const Tensor&);
template <class F>
using BinaryFn = Tensor (*)(const Tensor&, const Tensor&);

// (input), with an in-place form
template <class F>
Op unary(std::string_view doc, uint8_t where = kBoth) {
  Op op = row<static_cast<UnaryFn<F>>(&apply<F>), static_cast<UnaryFn<F>>(&apply_<F>)>(
      text(F::name, "(Tensor input)"), where, doc);
  op.unary = &apply<F>;
  return op;
}
// (input, other), with an in-place form
template <class F>
Op binary(std::string_view doc) {
  Op op = row<static_cast<BinaryFn<F>>(&apply<F>), static_cast<BinaryFn<F>>(&apply_<F>)>(
      text(F::name, "(Value input, Value other)"), kBoth, doc);
  op.binary = &apply<F>;
  op.binary_inplace = &apply_<F>;
  return op;
}
// bools from one or two tensors
template <class F>
Op predicate(std::string_view doc) {
  Op op = row<static_cast<UnaryFn<F>>(&apply<F>)>(text(F::name, "(Tensor input)"), kBoth, doc);
  op.unary = &apply<F>;
  return op;
}
template <class F>
Op comparison(std::string_view doc) {
  Op op = with_inplace(row<static_cast<BinaryFn<F>>(&apply<F>)>(
      text(F::name, "(Value input, Value other)"), kBoth, doc));
  op.binary = &apply<F>;
  return op;
}

// A functor with parameters, each of type Ps in the signature.
template <class F, class... Ps>
struct WithParams {
  static Tensor out_of_place(const Tensor& x, Ps... ps) {
    const double params[4] = {static_cast<double>(ps)...};
    const Tensor* in[] = {&x};
    return map(info_of<F>(), in, params);
  }
  static Tensor in_place(const Tensor& x, Ps... ps) {
    const double params[4] = {static_cast<double>(ps)...};
    const Tensor* in[] = {&x};
    return map(info_of<F>(), in, params, &x);
  }
  // with PyTorch's last argument of the functional form
  static Tensor either(const Tensor& x, Ps... ps, bool inplace) {
    return inplace ? in_place(x, ps...) : out_of_place(x, ps...);
  }
};

// An activation: the signature's parameters, then inplace=False.
template <class F, class... Ps>
Op activation(std::string_view signature, std::string_view doc, uint8_t where = kFunctional) {
  Op op = row<&WithParams<F, Ps...>::either>(signature, where, doc);
  if constexpr (sizeof...(Ps) == 0) op.unary = &apply<F>;
  return op;
}

// The operation `name` under another name, too.
void alias(OpTable& t, std::string_view name, std::string_view other);

}  // namespace wengert
