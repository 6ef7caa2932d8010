// How a functor becomes an operation: MapInfo is what the generic code needs to know of it, and
// map() does everything else (promotion, broadcasting, launch, recording) without templates.
#pragma once

#include "kernels/launch.h"
#include "ops/var.h"
#include "tape/node.h"

namespace wengert {

struct MapInfo : Rule {
  KernelId kernel;
  int arity;
  Kind kind;
  int mask_operand;
  bool linear;
  int num_params;  // numbers that a functor with a constructor from them holds
  Uses uses[3];
  double slope[3];
  // The pull by operand I in operations that can be recorded: the functor on tensors.
  Tensor (*pull_var[3])(const Tensor& g, const Tensor* x, const Tensor& y, const double* params);
};

void map_pull(Node& node, Tensor* g, Tensor* out);

template <class F, int I>
Tensor pull_on_tensors(const Tensor& g, const Tensor* x, const Tensor& y, const double* params) {
  const F fn = make_functor<F>(params);
  if constexpr (F::arity == 1) {
    return pull_back<I>(fn, Var(g), Var(x[0]), Var(y)).tensor();
  } else if constexpr (F::arity == 2) {
    return pull_back<I>(fn, Var(g), Var(x[0]), Var(x[1]), Var(y)).tensor();
  } else {
    return pull_back<I>(fn, Var(g), Var(x[0]), Var(x[1]), Var(x[2]), Var(y)).tensor();
  }
}

// Whether this library has the functor's kernels. Those of a user's own come with the user's
// library.
template <class F>
inline constexpr bool is_builtin = index_of<F, MapFunctors> >= 0;

template <class F>
constexpr MapInfo make_map_info() {
  MapInfo m{};
  m.name = F::name;
  m.pull = &map_pull;
  m.batches = true;
  if constexpr (is_builtin<F>) m.kernel = map_kernel<F>;
  m.arity = F::arity;
  m.kind = F::kind;
  m.mask_operand = -1;
  if constexpr (HasMaskOperand<F>) m.mask_operand = F::mask_operand;
  m.linear = Linear<F>;
  if constexpr (std::is_constructible_v<F, const double*>) {
    static_assert(sizeof(F) % sizeof(double) == 0);
    m.num_params = sizeof(F) / sizeof(double);
  }
  if constexpr (Linear<F>) {
    for (int i = 0; i < F::arity; ++i) m.slope[i] = F::slope[i];
  } else if constexpr (Differentiable<F>) {
    for (int i = 0; i < F::arity; ++i) m.uses[i] = F::uses[i];
    m.pull_var[0] = &pull_on_tensors<F, 0>;
    if constexpr (F::arity > 1) m.pull_var[1] = &pull_on_tensors<F, 1>;
    if constexpr (F::arity > 2) m.pull_var[2] = &pull_on_tensors<F, 2>;
  }
  return m;
}
template <class F>
inline constexpr MapInfo map_info = make_map_info<F>();
// The same of a functor in a user's library, whose kernels are numbered when that is loaded.
template <class F>
inline MapInfo added_map_info = make_map_info<F>();
template <class F>
const MapInfo& info_of() {
  if constexpr (is_builtin<F>) {
    return map_info<F>;
  } else {
    return added_map_info<F>;
  }
}

// The operation, with four numbers for its functor or none. With `inplace` the result is written
// into that tensor, which is inputs[0].
Tensor map(const MapInfo& info, const Tensor* const* inputs, const double* params = nullptr,
           const Tensor* inplace = nullptr);

template <class F>
Tensor apply(const Tensor& x) {
  const Tensor* in[] = {&x};
  return map(info_of<F>(), in);
}
template <class F>
Tensor apply(const Tensor& a, const Tensor& b) {
  const Tensor* in[] = {&a, &b};
  return map(info_of<F>(), in);
}
template <class F>
Tensor apply_(const Tensor& a) {
  const Tensor* in[] = {&a};
  return map(info_of<F>(), in, nullptr, &a);
}
template <class F>
Tensor apply_(const Tensor& a, const Tensor& b) {
  const Tensor* in[] = {&a, &b};
  return map(info_of<F>(), in, nullptr, &a);
}

// The operand's memory as buffer k; its strides are the caller's to set.
void set_buffer(Launch& l, int k, const Tensor& t);
// Describes operands of a common iteration space, dimensions that can be walked as one joined.
// Buffer 0 is the output. The sizes are those of the output.
void describe(Launch& l, const Dims& sizes, const Tensor* const* operands, int n);

}  // namespace wengert
