// Totals other than sum and mean: products, counts, sums without NaN, both extremes at once.
#include <limits>

#include "core/watch.h"
#include "ops/autocast.h"
#include "ops/elementwise.h"
#include "ops/op_table.h"
#include "ops/reduce.h"
#include "ops/scan.h"

namespace wengert {
namespace {

// Whether an element is zero: a bool.
Tensor has_zero(const Tensor& x) {
  const GradMode off(false);
  return ops::eq(ops::amin(apply<Abs>(ops::detach(x)), nullptr, false), constant(0, x));
}

// d by x[k] is the product of the others: y / x[k] where there is no zero. A program computes both,
// as the zeros of its next replay are not known.
constexpr Rule kProd{"prod", [](Node& node, Tensor* g, Tensor* out) {
                       const auto& p = node.payload<ReductionPayload>();
                       const Tensor x = node.unpack(0);
                       const Tensor each = with_dims(*g, x.sizes(), p.mask);
                       const auto quotients = [&] {
                         return ops::div(with_dims(node.unpack(1), x.sizes(), p.mask), x);
                       };
                       const auto others = [&] {
                         int dim = 0;  // of all dimensions, or of one
                         while (dim < x.dim() && !(p.mask >> dim & 1)) ++dim;
                         const bool all = p.mask == (1u << x.dim()) - 1;
                         const Tensor line = all ? ops::reshape(x, {x.numel()}) : x;
                         return ops::reshape(product_of_others(line, all ? 0 : dim), x.sizes());
                       };
                       Tensor by;
                       if (x.numel() == 0) {
                         by = quotients();
                       } else if (host_watcher() && !grad_enabled()) {
                         by = ops::where(has_zero(x), others(), quotients());
                       } else {
                         by = has_zero(x).to_double() != 0 ? others() : quotients();
                       }
                       out[0] = ops::mul(each, by);
                     }};

Tensor prod(const Tensor& input, const Dims* dims, bool keepdim, OptDType dtype) {
  const DType asked = dtype.value_or(is_floating(input.dtype()) ? input.dtype() : DType::Int64);
  const Tensor x = numbers(ops::to(input, asked));
  const DimMask mask = mask_of("prod", dims, x.dim());
  const Tensor out = reduce(reduce_kernel<Prod>, x, mask, keepdim, x.dtype());
  if (recording(x)) {
    Node* n = record_reduction(kProd, x, out, 2, mask, 0);
    n->save(0, x);
    n->save_output(1, out);
  }
  return ops::to(out, asked);
}
Tensor prod_all(const Tensor& x, OptDType dtype) {
  return prod(x, nullptr, false, dtype);
}
Tensor prod_along(const Tensor& x, int64_t dim, bool keepdim, OptDType dtype) {
  const Dims dims{dim};
  return prod(x, &dims, keepdim, dtype);
}

Tensor is_number(const Tensor& x) {
  return ops::eq(ops::detach(x), ops::detach(x));
}

Tensor nansum(const Tensor& x, const Dims* dims, bool keepdim, OptDType dtype) {
  if (!is_floating(x.dtype())) return ops::sum(x, dims, keepdim, dtype);
  return ops::sum(ops::where(is_number(x), x, constant(0, x)), dims, keepdim, dtype);
}
Tensor nanmean(const Tensor& x, const Dims* dims, bool keepdim, OptDType dtype) {
  if (!is_floating(x.dtype())) {
    fail("nanmean: expected input to have floating point dtype but got ", name_of(x.dtype()));
  }
  const Tensor count = ops::sum(is_number(x), dims, keepdim);
  return ops::div(nansum(x, dims, keepdim, dtype), count);
}

Tensor count_nonzero(const Tensor& x, const Dims* dims) {
  const DimMask mask = mask_of("count_nonzero", dims, x.dim());
  return reduce(id(Kernel::CountNonzero), x, mask, false, DType::Int64);
}

std::vector<Tensor> aminmax(const Tensor& x, OptInt dim, bool keepdim) {
  const Dims dims{dim.value_or(0)};
  if (dim) {
    check_not_empty("aminmax", x, 1u << wrap_dim("aminmax", *dim, x.dim()));
  } else if (x.numel() == 0) {
    fail(
        "aminmax: cannot compute aminmax over an empty dimension as the operation has no "
        "identity, got shape ",
        x.sizes());
  }
  const Dims* which = dim ? &dims : nullptr;
  return {ops::amin(x, which, keepdim), ops::amax(x, which, keepdim)};
}

}  // namespace

void add_totals(OpTable& t) {
  constexpr uint8_t both = kMethod | kFunction;
  t.push_back(row<ops::widened<&prod_all>>(
      "prod(Tensor input, *, dtype? dtype=None)", both,
      "The product of all elements, or of those along dim. Derivative: the "
      "product of the others."));
  t.push_back(row<ops::widened<&prod_along>>(
      "prod(Tensor input, int dim, bool keepdim=False, *, dtype? dtype=None)", both, ""));
  t.push_back(row<&nansum>(
      "nansum(Tensor input, int[]? dim=None, bool keepdim=False, *, dtype? dtype=None)", both,
      "The sum of the elements that are not NaN."));
  t.push_back(row<&nanmean>(
      "nanmean(Tensor input, int[]? dim=None, bool keepdim=False, *, dtype? dtype=None)", both,
      "The mean of the elements that are not NaN."));
  t.push_back(row<&count_nonzero>("count_nonzero(Tensor input, int[]? dim=None)", both,
                                  "How many elements are not zero."));
  t.push_back(
      row<&aminmax>("aminmax(Tensor input, *, int? dim=None, bool keepdim=False) -> min, max", both,
                    "The smallest and the largest element."));
}

}  // namespace wengert
