// Distances between the rows of two matrices.
#include <cmath>

#include "ops/autocast.h"
#include "ops/elementwise.h"
#include "ops/op_table.h"
#include "ops/products.h"

namespace wengert {
namespace ops {
namespace {

Tensor number(double v, const Tensor& peer) {
  return number_like({false, 0, v}, &peer);
}
Tensor last_sum(const Tensor& x, bool keepdim = false) {
  const Dims last{-1};
  return sum(x, &last, keepdim);
}

// f(x) where x is not 0, else 0, with derivatives of 0 there, too.
template <class F>
Tensor except_zero(const Tensor& x, F&& f) {
  const Tensor zero = eq(detach(x), number(0, x));
  return where(zero, number(0, x), f(where(zero, number(1, x), x)));
}

// Squared Euclidean distances as |a|^2 + |b|^2 - 2 a b^T, in one product.
Tensor squared_by_product(const Tensor& a, const Tensor& b) {
  const Tensor scaled = mul(a, number(-2, a));
  const Tensor norms = add(last_sum(square(a), true), transpose(last_sum(square(b), true), -1, -2));
  const Tensor squares = add(matmul(scaled, transpose(b, -1, -2)), norms);
  return apply<Maximum>(squares, number(0, a));
}

Tensor norm_of(const Tensor& diff, double p) {
  if (p == 0) {  // a count; its gradient is 0 everywhere
    const Tensor no = Tensor::scalar(int64_t{0}, DType::Bool);
    const Tensor differs = to(apply<Ne>(detach(diff), number(0, diff)), diff.dtype());
    return last_sum(where(no, diff, differs));
  }
  if (std::isinf(p)) {
    const Dims last{-1};
    return amax(apply<Abs>(diff), &last, false);
  }
  if (p == 1) return last_sum(apply<Abs>(diff));
  if (p == 2) {
    return except_zero(last_sum(square(diff)), [](const Tensor& s) { return apply<Sqrt>(s); });
  }
  const Tensor powers =
      except_zero(apply<Abs>(diff), [&](const Tensor& x) { return pow(x, number(p, x)); });
  return except_zero(last_sum(powers), [&](const Tensor& s) { return pow(s, number(1 / p, s)); });
}

Tensor cdist(const Tensor& x1, const Tensor& x2, double p, std::string_view mode) {
  constexpr int64_t kFewRows = 25;  // up to here differences are as fast, and exact
  check_operands("cdist", x1, x2);
  for (const Tensor* x : {&x1, &x2}) {
    if (!is_floating(x->dtype())) {
      fail("cdist: only supports floating-point dtypes, got ", name_of(x->dtype()));
    }
    if (x->dim() < 2) fail("cdist: only supports at least 2D tensors, got shape ", x->sizes());
  }
  if (x1.sizes().back() != x2.sizes().back()) {
    fail("cdist: inputs must have the same number of columns, got shapes ", x1.sizes(), " and ",
         x2.sizes());
  }
  if (!(p >= 0)) fail("cdist: only supports non-negative p values, got ", p);
  const bool always = mode == "use_mm_for_euclid_dist";
  const bool never = mode == "donot_use_mm_for_euclid_dist";
  if (!always && !never && mode != "use_mm_for_euclid_dist_if_necessary") {
    fail(ErrorKind::Value, "cdist: '", mode, "' is not a valid value for compute_mode");
  }
  const int64_t rows = x1.size(x1.dim() - 2), cols = x2.size(x2.dim() - 2);
  broadcast_shapes("cdist", Dims(x1.sizes().begin(), x1.dim() - 2),
                   Dims(x2.sizes().begin(), x2.dim() - 2));
  const bool many = rows > kFewRows || cols > kFewRows;
  if (p == 2 && !never && (always || many) && x1.sizes().back() > 0) {
    return except_zero(squared_by_product(x1, x2), [](const Tensor& s) { return apply<Sqrt>(s); });
  }
  const Tensor diff = sub(unsqueeze(x1, -2), unsqueeze(x2, -3));
  if (x1.sizes().back() == 0) return last_sum(diff);
  return norm_of(diff, p);
}

}  // namespace
}  // namespace ops

void add_distances(OpTable& t) {
  t.push_back(row<ops::widened<&ops::cdist>>(
      "cdist(Tensor x1, Tensor x2, float p=2.0, "
      "str compute_mode='use_mm_for_euclid_dist_if_necessary')",
      kFunction,
      "The p-norm of the difference of each row of x1 and each of x2. The gradient is 0 where the "
      "distance is. Euclidean distances of more than 25 rows come from one matrix product, which "
      "loses digits where rows are close; compute_mode can say to use it always or never."));
}

}  // namespace wengert
