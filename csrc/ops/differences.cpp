// Differences, numerical gradients and integrals of sampled functions: compositions.
#include "ops/elementwise.h"
#include "ops/op_table.h"
#include "ops/reduce.h"

namespace wengert {
namespace ops {
namespace {

// The elements from `first` on that have a neighbour `apart` further, and those neighbours.
struct Neighbours {
  Tensor left, right;
};
Neighbours neighbours(const Tensor& x, int dim, int64_t apart = 1) {
  const int64_t n = x.size(dim) - apart;
  return {narrow(x, dim, 0, n), narrow(x, dim, apart, n)};
}
Tensor step_along(const Tensor& x, int dim, int64_t apart = 1) {
  const auto [left, right] = neighbours(x, dim, apart);
  return x.dtype() == DType::Bool ? apply<Ne>(right, left) : sub(right, left);
}

Tensor diff(const Tensor& input, int64_t n, int64_t dim, const Tensor& prepend,
            const Tensor& append) {
  if (input.dim() == 0) fail("diff: expects input to be at least one-dimensional");
  if (n < 0) fail("diff: order must be non-negative but got ", n);
  const int d = wrap_dim("diff", dim, input.dim());
  std::vector<Tensor> parts;
  for (const Tensor* t : {&prepend, &input, &append}) {
    if (!t->defined()) continue;
    if (t->dim() != input.dim()) {
      fail("diff: expects prepend or append to be the same dimension as input, got shapes ",
           t->sizes(), " and ", input.sizes());
    }
    parts.push_back(*t);
  }
  Tensor x = parts.size() > 1 ? cat(parts, d) : input;
  if (n == 0) return clone(x);
  if (n >= x.size(d) || x.numel() == 0) {  // nothing is left
    x = narrow(x, d, 0, std::max<int64_t>(x.size(d) - n, 0));
    return clone(x);
  }
  for (int64_t i = 0; i < n; ++i) x = step_along(x, d);
  return x;
}

// --- gradient ----------------------------------------------------------------------------------

Tensor scaled(const Tensor& x, double by) {
  return mul(x, constant(by, x));
}
Tensor at(const Tensor& x, int dim, int64_t i) {
  return narrow(x, dim, i < 0 ? x.size(dim) + i : i, 1);
}

// With equal steps h: central differences, at the ends one-sided ones of the order asked.
Tensor gradient_equal(const Tensor& x, int dim, double h, int64_t edge_order) {
  const auto edge = [&](int64_t a, int64_t b, int64_t c, double sign) {
    if (edge_order == 1) return scaled(sub(at(x, dim, b), at(x, dim, a)), sign / h);
    const Tensor sum = add(scaled(at(x, dim, a), -1.5), scaled(at(x, dim, b), 2));
    return scaled(sub(sum, scaled(at(x, dim, c), 0.5)), sign / h);
  };
  return cat({edge(0, 1, 2, 1), scaled(step_along(x, dim, 2), 0.5 / h), edge(-1, -2, -3, -1)}, dim);
}

// With coordinates: the derivative of the parabola through three neighbours.
Tensor gradient_at(const Tensor& x, int dim, const Tensor& coordinates, int64_t edge_order) {
  Dims along = Dims::filled(x.dim(), 1);
  along[dim] = x.size(dim);
  const Tensor t = reshape(to(coordinates, x.dtype()), along);
  const Tensor steps = step_along(t, dim);
  const auto [l, r] = neighbours(steps, dim);
  const auto [x01, x12] = neighbours(step_along(x, dim), dim);
  const Tensor both = add(l, r);
  // (r / l (x1 - x0) + l / r (x2 - x1)) / (l + r)
  const Tensor inner = div(add(mul(div(r, l), x01), mul(div(l, r), x12)), both);
  const auto edge = [&](int64_t a, int64_t b, int64_t c, int64_t near, int64_t far) {
    const Tensor h = at(steps, dim, near);
    const Tensor slope = div(sub(at(x, dim, b), at(x, dim, a)), h);
    if (edge_order == 1) return slope;
    const Tensor k = at(steps, dim, far);
    const Tensor next = div(sub(at(x, dim, c), at(x, dim, b)), k);
    return sub(slope, mul(h, div(sub(next, slope), add(h, k))));
  };
  Tensor last;
  if (edge_order == 1) {
    last = edge(-2, -1, 0, -1, 0);
  } else {  // seen from the other end, steps are negative, and so is the order of differences
    const Tensor h = at(steps, dim, -1), k = at(steps, dim, -2);
    const Tensor slope = div(sub(at(x, dim, -1), at(x, dim, -2)), h);
    const Tensor next = div(sub(at(x, dim, -2), at(x, dim, -3)), k);
    last = add(slope, mul(h, div(sub(slope, next), add(h, k))));
  }
  return cat({edge(0, 1, 2, 0, 1), inner, last}, dim);
}

Dims gradient_dims(const Tensor& x, const Dims* dims, int64_t edge_order) {
  if (edge_order != 1 && edge_order != 2) {
    fail("gradient: only edge_order=1 and edge_order=2 are supported, got ", edge_order);
  }
  const DimMask mask = dims ? mask_of("gradient", dims, x.dim()) : (1u << x.dim()) - 1;
  Dims out;
  if (dims) {
    for (int64_t d : *dims) out.push_back(wrap_dim("gradient", d, x.dim()));
  } else {
    out = dims_of(mask);
  }
  for (int64_t d : out) {
    if (x.dim() == 0 || x.size(static_cast<int>(d)) < edge_order + 1) {
      fail("gradient: expected each dimension size to be at least edge_order + 1 = ",
           edge_order + 1, ", got shape ", x.sizes());
    }
  }
  return out;
}

Tensor floating(const Tensor& x) {
  return is_floating(x.dtype()) ? x : to(x, default_dtype());
}

std::vector<Tensor> gradient(const Tensor& input, const Number& spacing, const Dims* dim,
                             int64_t edge_order) {
  const Dims dims = gradient_dims(input, dim, edge_order);
  const Tensor x = floating(input);
  std::vector<Tensor> out;
  for (int64_t d : dims)
    out.push_back(gradient_equal(x, static_cast<int>(d), spacing.d, edge_order));
  return out;
}
std::vector<Tensor> gradient_spaced(const Tensor& input, const std::vector<Tensor>& spacing,
                                    const Dims* dim, int64_t edge_order) {
  const Dims dims = gradient_dims(input, dim, edge_order);
  if (spacing.size() != static_cast<size_t>(dims.size())) {
    fail("gradient: expected spacing to have one tensor for each of ", dims.size(),
         " dimensions, got ", spacing.size());
  }
  const Tensor x = floating(input);
  std::vector<Tensor> out;
  for (int i = 0; i < dims.size(); ++i) {
    const auto d = static_cast<int>(dims[i]);
    const Tensor& t = spacing[static_cast<size_t>(i)];
    if (t.dim() != 1 || t.numel() != x.size(d)) {
      fail("gradient: expected the coordinates of dimension ", d, " to be ", x.size(d),
           " values, got shape ", t.sizes());
    }
    out.push_back(gradient_at(x, d, t, edge_order));
  }
  return out;
}

// --- integrals ---------------------------------------------------------------------------------

int integral_dim(const char* op, const Tensor& y, int64_t dim) {
  if (y.dim() == 0) {
    fail(ErrorKind::Index, op, ": dimension specified as ", dim, " but tensor has no dimensions");
  }
  if (y.dtype() == DType::Bool) {
    fail(op, ": received a bool input for `y`, but bool is not supported");
  }
  return wrap_dim(op, dim, y.dim());
}

// Twice the area of each trapezoid of unit width.
Tensor sides(const Tensor& y, int dim) {
  const auto [left, right] = neighbours(y, dim);
  return add(left, right);
}
Tensor widths(const char* op, const Tensor& x, const Tensor& y, int dim) {
  if (x.dim() == 1) {
    if (x.numel() != y.size(dim)) {
      fail(op, ": there must be one `x` value for each sample point, got ", x.numel(), " for ",
           y.size(dim));
    }
    Dims along = Dims::filled(y.dim(), 1);
    along[dim] = x.numel();
    return step_along(reshape(x, along), dim);
  }
  Tensor wide = x;
  while (wide.dim() < y.dim()) wide = unsqueeze(wide, 0);
  return step_along(wide, dim);
}
Tensor half(const Tensor& x) {
  return div(x, number_like({true, 2, 2}, &x));
}

Tensor no_area(const Tensor& y, int dim) {
  const Dims dims{dim};
  return to(sum(narrow(y, dim, 0, 0), &dims, false), y.dtype());
}
Tensor trapezoid(const Tensor& y, const Tensor& x, int64_t dim) {
  const int d = integral_dim("trapezoid", y, dim);
  if (y.size(d) == 0) return no_area(y, d);
  const Dims dims{d};
  return half(sum(mul(widths("trapezoid", x, y, d), sides(y, d)), &dims, false));
}
Tensor trapezoid_equal(const Tensor& y, const Number& dx, int64_t dim) {
  const int d = integral_dim("trapezoid", y, dim);
  if (y.size(d) == 0) return no_area(y, d);
  const Dims dims{d};
  // The sum but for half of its ends: sums of integers do not overflow.
  const Tensor ends = half(add(select(y, d, 0), select(y, d, -1)));
  return mul(sub(sum(y, &dims, false), ends), number_like(dx, &y));
}
Tensor cumulative_trapezoid(const Tensor& y, const Tensor& x, int64_t dim) {
  const int d = integral_dim("cumulative_trapezoid", y, dim);
  if (y.size(d) == 0) return floating(clone(y));
  return half(cumsum(mul(widths("cumulative_trapezoid", x, y, d), sides(y, d)), d));
}
Tensor cumulative_trapezoid_equal(const Tensor& y, const Number& dx, int64_t dim) {
  const int d = integral_dim("cumulative_trapezoid", y, dim);
  if (y.size(d) == 0) return floating(clone(y));
  return half(mul(cumsum(sides(y, d), d), number_like(dx, &y)));
}

}  // namespace
}  // namespace ops

void add_differences(OpTable& t) {
  using namespace ops;
  constexpr uint8_t both = kMethod | kFunction;
  t.push_back(
      row<&diff>("diff(Tensor input, int n=1, int dim=-1, Tensor? prepend=None, "
                 "Tensor? append=None)",
                 both, "The n-th differences of neighbours along dim."));
  t.push_back(row<&gradient>(
      "gradient(Tensor input, *, Number spacing=1, int[]? dim=None, int edge_order=1)", kFunction,
      "Estimates of the derivative along each dimension, a tensor each, by central differences; "
      "spacing is a step, or a vector of coordinates for each dimension."));
  t.push_back(row<&gradient_spaced>(
      "gradient(Tensor input, *, Tensor[] spacing, int[]? dim=None, int edge_order=1)", kFunction,
      ""));
  t.push_back(row<&trapezoid>("trapezoid(Tensor y, Tensor x, *, int dim=-1)", kFunction,
                              "The integral of samples y along dim by the trapezoidal rule, at "
                              "coordinates x or steps dx apart."));
  t.push_back(
      row<&trapezoid_equal>("trapezoid(Tensor y, *, Number dx=1, int dim=-1)", kFunction, ""));
  t.push_back(row<&cumulative_trapezoid>(
      "cumulative_trapezoid(Tensor y, Tensor x, *, int dim=-1)", kFunction,
      "The integrals of samples y along dim up to each sample, by the trapezoidal rule."));
  t.push_back(row<&cumulative_trapezoid_equal>(
      "cumulative_trapezoid(Tensor y, *, Number dx=1, int dim=-1)", kFunction, ""));
}

}  // namespace wengert
