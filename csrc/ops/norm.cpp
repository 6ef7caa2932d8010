// Norms, of vectors and matrices, and log-sum-exp.
#include <cmath>
#include <limits>

#include "ops/elementwise.h"
#include "ops/linalg.h"
#include "ops/op_table.h"
#include "ops/reduce.h"

namespace wengert {
namespace {

constexpr double kInf = std::numeric_limits<double>::infinity();

// --- vector norms ------------------------------------------------------------------------------

Tensor sign_of(const Tensor& x) {
  const Tensor zero = constant(0, x);
  const Tensor minus = ops::where(apply<Lt>(x, zero), constant(-1, x), zero);
  return ops::where(apply<Gt>(x, zero), constant(1, x), ops::to(minus, x.dtype()));
}

Tensor power(const Tensor& x, double p) {
  return ops::pow(x, constant(p, x));
}

// a / b, 0 where b is 0
Tensor ratio(const Tensor& a, const Tensor& b) {
  const Tensor none = ops::eq(b, constant(0, b));
  return ops::where(none, constant(0, b), ops::div(a, ops::where(none, constant(1, b), b)));
}

// With y = |x|_p: d y / d x = sign(x) (|x| / y)^(p - 1), and 0 where y is 0.
void norm_pull(Node& node, Tensor* g, Tensor* out) {
  const auto& info = node.payload<ReductionPayload>();
  const double p = info.number;
  if (p == 0) return;
  const Tensor x = node.unpack(0);
  const Tensor y = with_dims(node.unpack(1), x.sizes(), info.mask);
  const Tensor each = with_dims(*g, x.sizes(), info.mask);
  if (p == 1) {
    out[0] = ops::mul(sign_of(x), each);
  } else if (p == 2) {
    out[0] = ops::mul(x, ratio(each, y));
  } else if (std::isinf(p)) {  // equal extremes share the gradient
    const Tensor hit = ops::to(ops::eq(apply<Abs>(ops::detach(x)), ops::detach(y)), x.dtype());
    const Dims dims = dims_of(info.mask);
    const Tensor count = info.mask ? ops::sum(hit, &dims, true) : hit;
    out[0] = ops::mul(ops::mul(sign_of(x), hit), ops::div(each, count));
  } else if (p < 1) {
    const Tensor size = apply<Abs>(x);
    const Tensor none = ops::eq(x, constant(0, x));
    const Tensor slope = power(ops::where(none, constant(1, x), size), p - 1);
    out[0] = ops::mul(ops::mul(ops::where(none, constant(0, x), slope), sign_of(x)),
                      ops::mul(each, power(y, 1 - p)));
  } else {
    const Tensor slope = p < 2 ? ops::mul(sign_of(x), power(apply<Abs>(x), p - 1))
                               : ops::mul(x, power(apply<Abs>(x), p - 2));
    const Tensor none = ops::eq(y, constant(0, y));
    const Tensor safe = ops::where(none, constant(1, y), y);
    out[0] = ops::mul(slope, ops::where(none, constant(0, y), ops::div(each, power(safe, p - 1))));
  }
}
constexpr Rule kNorm{"vector_norm", &norm_pull};

void check_identity(const char* op, const Tensor& x, double p, const Dims* dims, DimMask mask) {
  if (p >= 0 && p != kInf) return;
  const bool all = !dims || dims->empty();
  for (int d = 0; d < x.dim(); ++d) {
    if (!(mask >> d & 1) || x.size(d) != 0 || (all && x.numel() != 0)) continue;
    fail(op, ": cannot compute the ", p, " norm over dimension ", d, " of shape ", x.sizes(),
         ", because this dimension is empty and the operation does not have an identity");
  }
}

Tensor norm_value(const Tensor& x, double p, DimMask mask, bool keepdim) {
  if (p == 1) return reduce(reduce_kernel<AbsSum>, x, mask, keepdim, x.dtype());
  if (p == 2) return apply_<Sqrt>(reduce(reduce_kernel<SquareSum>, x, mask, keepdim, x.dtype()));
  if (std::isinf(p)) {
    const Tensor size = apply<Abs>(x);
    return reduce(p > 0 ? reduce_kernel<AMax> : reduce_kernel<AMin>, size, mask, keepdim,
                  x.dtype());
  }
  if (p == 0) {
    const Tensor counted = ops::to(apply<Ne>(x, constant(0, x)), x.dtype());
    return reduce(reduce_kernel<Sum>, counted, mask, keepdim, x.dtype());
  }
  return power(reduce(reduce_kernel<Sum>, power(apply<Abs>(x), p), mask, keepdim, x.dtype()),
               1 / p);
}

void check_dtype(const char* op, const Tensor& input, DType asked) {
  if (!is_floating(asked)) fail(op, ": dtype should be floating point, got ", name_of(asked));
  if (promote_types(input.dtype(), asked) != asked) {
    fail(op, ": the dtype of the input ", name_of(input.dtype()),
         " should be convertible without narrowing to the specified dtype ", name_of(asked));
  }
}

Tensor vector_norm(const char* op, const Tensor& input, double p, const Dims* dims, bool keepdim,
                   OptDType dtype) {
  if (!is_floating(input.dtype())) {
    fail(op, ": expected a floating point tensor as input, got ", name_of(input.dtype()));
  }
  const DType asked = dtype.value_or(input.dtype());
  check_dtype(op, input, asked);
  const Tensor x = numbers(ops::to(input, asked));
  const DimMask mask = mask_of(op, dims, x.dim());
  check_identity(op, x, p, dims, mask);
  Tensor out;
  {
    const GradMode off(false);
    out = norm_value(x, p, mask, keepdim);
  }
  if (recording(x)) {
    Node* n = record_reduction(kNorm, x, out, 2, mask, p);
    n->save(0, x);
    n->save_output(1, out);
  }
  return ops::to(out, asked);
}

double order_of(const Number& n) {
  return n.integral ? static_cast<double>(n.i) : n.d;
}

Tensor linalg_vector_norm(const Tensor& x, const Number& ord, const Dims* dims, bool keepdim,
                          OptDType dtype) {
  return vector_norm("linalg.vector_norm", x, order_of(ord), dims, keepdim, dtype);
}

// --- matrix norms ------------------------------------------------------------------------------

struct MatrixDims {
  int row, column;
};
MatrixDims matrix_dims(const char* op, const Tensor& a, const Dims& dims) {
  if (a.dim() < 2) {
    fail(op, ": the input tensor A must have at least 2 dimensions, got shape ", a.sizes());
  }
  if (dims.size() != 2) fail(op, ": dim must be a 2-tuple, got ", dims);
  const MatrixDims m{wrap_dim(op, dims[0], a.dim()), wrap_dim(op, dims[1], a.dim())};
  if (m.row == m.column) fail(op, ": dims must be different, got ", dims);
  if (!is_floating(a.dtype())) {
    fail(op, ": expected a floating point tensor as input, got ", name_of(a.dtype()));
  }
  return m;
}

Tensor frobenius(const char* op, const Tensor& a, const Dims& dims, bool keepdim, OptDType dtype) {
  matrix_dims(op, a, dims);
  return vector_norm(op, a, 2, &dims, keepdim, dtype);
}

enum class Singular { Largest, Smallest, Sum };

// The norms of singular values: 2, -2 and 'nuc', the nuclear norm. Derivative: through svd.
Tensor singular_norm(const char* op, const Tensor& a, Singular which, const Dims& dims,
                     bool keepdim, OptDType dtype) {
  const MatrixDims m = matrix_dims(op, a, dims);
  const DType asked = dtype.value_or(a.dtype());
  if (compute_dtype(asked) != asked) {
    fail(op, ": expected float32 or float64, because singular values have no narrower dtype, got ",
         name_of(asked));
  }
  check_dtype(op, a, asked);
  Dims order;
  for (int d = 0; d < a.dim(); ++d) {
    if (d != m.row && d != m.column) order.push_back(d);
  }
  order.push_back(m.row);
  order.push_back(m.column);
  const Tensor s = ops::svd_parts(ops::permute(ops::to(a, asked), order), false).s;
  const Dims last{-1};
  Tensor out;
  if (which == Singular::Sum || (which == Singular::Largest && s.sizes().back() == 0)) {
    out = ops::sum(s, &last, false);
  } else {
    out = which == Singular::Largest ? ops::amax(s, &last, false) : ops::amin(s, &last, false);
  }
  if (!keepdim) return out;
  return ops::unsqueeze(ops::unsqueeze(out, std::min(m.row, m.column)), std::max(m.row, m.column));
}

// The largest or smallest sum of sizes down the columns (1, -1) or along the rows (inf, -inf).
Tensor matrix_norm(const char* op, const Tensor& a, double ord, const Dims& dims, bool keepdim,
                   OptDType dtype) {
  const MatrixDims m = matrix_dims(op, a, dims);
  if (std::fabs(ord) == 2) {
    return singular_norm(op, a, ord > 0 ? Singular::Largest : Singular::Smallest, dims, keepdim,
                         dtype);
  }
  if (std::fabs(ord) != 1 && std::fabs(ord) != kInf) fail(op, ": order ", ord, " not supported");
  const bool columns = std::fabs(ord) == 1;
  const Dims summed{columns ? m.row : m.column}, compared{columns ? m.column : m.row};
  Tensor sums = vector_norm(op, a, 1, &summed, true, dtype);
  if (sums.size(static_cast<int>(compared[0])) == 0) {  // of no columns the norm is 0
    sums = ops::sum(sums, &compared, true);
  } else {
    sums = ord > 0 ? ops::amax(sums, &compared, true) : ops::amin(sums, &compared, true);
  }
  if (keepdim) return sums;
  return ops::squeeze(ops::squeeze(sums, std::max(m.row, m.column)), std::min(m.row, m.column));
}

Tensor matrix_norm_named(const char* op, const Tensor& a, std::string_view ord, const Dims& dims,
                         bool keepdim, OptDType dtype) {
  if (ord == "fro") return frobenius(op, a, dims, keepdim, dtype);
  if (ord == "nuc") return singular_norm(op, a, Singular::Sum, dims, keepdim, dtype);
  fail(op, ": order ", ord, " not supported; expected 'fro', 'nuc' or a number");
}

constexpr const char* kMatrixNorm = "linalg.matrix_norm";
Tensor linalg_matrix_norm(const Tensor& a, const Number& ord, const Dims* dims, bool keepdim,
                          OptDType dtype) {
  return matrix_norm(kMatrixNorm, a, order_of(ord), dims ? *dims : Dims{-2, -1}, keepdim, dtype);
}
Tensor linalg_matrix_norm_named(const Tensor& a, std::string_view ord, const Dims* dims,
                                bool keepdim, OptDType dtype) {
  return matrix_norm_named(kMatrixNorm, a, ord, dims ? *dims : Dims{-2, -1}, keepdim, dtype);
}

constexpr const char* kLinalgNorm = "linalg.norm";
Tensor linalg_norm(const Tensor& a, const Number* ord, const Dims* dims, bool keepdim,
                   OptDType dtype) {
  if (!ord) return vector_norm(kLinalgNorm, a, 2, dims, keepdim, dtype);
  if (dims && dims->size() > 2) {
    fail(kLinalgNorm, ": if dim is specified, it must be of length 1 or 2, got ", *dims);
  }
  if (!dims && a.dim() != 1 && a.dim() != 2) {
    fail(kLinalgNorm, ": if dim is not specified but ord is, the input must be 1D or 2D, got ",
         a.dim(), "D");
  }
  const bool matrix = dims ? dims->size() == 2 : a.dim() == 2;
  return matrix ? matrix_norm(kLinalgNorm, a, order_of(*ord), dims ? *dims : Dims{0, 1}, keepdim,
                              dtype)
                : vector_norm(kLinalgNorm, a, order_of(*ord), dims, keepdim, dtype);
}
Tensor linalg_norm_named(const Tensor& a, std::string_view ord, const Dims* dims, bool keepdim,
                         OptDType dtype) {
  if (dims ? dims->size() != 2 : a.dim() != 2) {
    fail(kLinalgNorm, ": dim or the input must be two dimensions for order '", ord, "', got shape ",
         a.sizes());
  }
  return matrix_norm_named(kLinalgNorm, a, ord, dims ? *dims : Dims{0, 1}, keepdim, dtype);
}

// --- the older functions -----------------------------------------------------------------------

Tensor norm(const Tensor& x, const Number* p, const Dims* dims, bool keepdim, OptDType dtype) {
  return vector_norm("norm", x, p ? order_of(*p) : 2, dims, keepdim, dtype);
}
Tensor norm_named(const Tensor& x, std::string_view p, const Dims* dims, bool keepdim,
                  OptDType dtype) {
  if (p == "nuc") {
    if (!dims && x.dim() != 2) {
      fail("norm: dim must be a 2-tuple for order 'nuc' of a tensor of shape ", x.sizes());
    }
    return singular_norm("norm", x, Singular::Sum, dims ? *dims : Dims{0, 1}, keepdim, dtype);
  }
  if (p != "fro") fail("norm: order ", p, " not supported; expected 'fro', 'nuc' or a number");
  return vector_norm("norm", x, 2, dims, keepdim, dtype);
}

Tensor dist(const Tensor& a, const Tensor& b, const Number& p) {
  return vector_norm("dist", ops::sub(a, b), order_of(p), nullptr, false, {});
}

// Slices along dim whose norm is above maxnorm are shrunk to it.
Tensor renorm(const Tensor& x, const Number& p, int64_t dim, const Number& maxnorm) {
  const double limit = order_of(maxnorm);
  if (x.dim() < 2) {
    fail("renorm: input needs at least 2 dimensions, got ", x.dim(), " dimensions");
  }
  if (order_of(p) <= 0) fail("renorm: non-positive norm not supported, got p = ", order_of(p));
  if (limit < 0) fail("renorm: expected maxnorm to be >= 0, got ", limit);
  const int d = wrap_dim("renorm", dim, x.dim());
  Dims others;
  for (int k = 0; k < x.dim(); ++k) {
    if (k != d) others.push_back(k);
  }
  const Tensor size = vector_norm("renorm", x, order_of(p), &others, true, {});
  const Tensor above = apply<Gt>(size, constant(limit, size));
  const Tensor safe = ops::where(above, size, constant(1, size));
  const Tensor shrink = ops::div(constant(limit, size), ops::add(safe, constant(1e-7, size)));
  return ops::mul(x, ops::where(above, shrink, constant(1, size)));
}

// --- log-sum-exp -------------------------------------------------------------------------------

// y = log sum exp(x); d y / d x = exp(x - y)
constexpr Rule kLogSumExp{"logsumexp", [](Node& node, Tensor* g, Tensor* out) {
                            const DimMask mask = node.payload<ReductionPayload>().mask;
                            const Tensor x = node.unpack(0);
                            const Tensor y = with_dims(node.unpack(1), x.sizes(), mask);
                            const Tensor wide = with_dims(*g, x.sizes(), mask);
                            const Tensor* in[] = {&wide, &x, &y};
                            out[0] = map(map_info<MulExpDifference>, in);
                          }};

Tensor logsumexp(const Tensor& input, const Dims& dims, bool keepdim) {
  const DType dtype = is_floating(input.dtype()) ? input.dtype() : default_dtype();
  const Tensor x = numbers(ops::to(input, dtype));
  const DimMask mask = mask_of("logsumexp", &dims, x.dim());
  Tensor out;
  {
    const GradMode off(false);
    if (reduced_count(x.sizes(), mask) == 0) {
      out = apply<Log>(reduce(reduce_kernel<Sum>, x, mask, keepdim, x.dtype()));
    } else {
      Tensor top = reduce(reduce_kernel<AMax>, x, mask, true, x.dtype());
      const Tensor infinite = ops::eq(apply<Abs>(top), constant(kInf, top));
      top = ops::where(infinite, constant(0, top), top);
      out = apply<Log>(reduce(reduce_kernel<ExpSum>, x, mask, keepdim, x.dtype(), 1, &top));
      out = ops::add(out, ops::reshape(top, out.sizes()));
    }
  }
  if (recording(x)) {
    Node* n = record_reduction(kLogSumExp, x, out, 2, mask, 0);
    n->save(0, x);
    n->save_output(1, out);
  }
  return ops::to(out, dtype);
}

}  // namespace

void add_norm(OpTable& t) {
  constexpr uint8_t both = kMethod | kFunction;
  t.push_back(row<&logsumexp>("logsumexp(Tensor input, int[] dim, bool keepdim=False)", both,
                              "log(sum(exp(x))), without overflow. Derivative: softmax(x)."));
  t.push_back(row<&norm_named>(
      "norm(Tensor input, str p='fro', int[]? dim=None, bool keepdim=False, dtype? dtype=None)",
      both,
      "The p-norm of a tensor seen as a vector, over some or all dimensions; 'fro' is 2, "
      "and 'nuc' the sum of the singular values of the matrices in two dimensions. "
      "Derivative: sign(x) (|x| / norm)^(p - 1), 0 where the norm is 0."));
  t.push_back(row<&norm>(
      "norm(Tensor input, Number? p, int[]? dim=None, bool keepdim=False, dtype? dtype=None)", both,
      ""));
  t.push_back(row<&linalg_vector_norm>(
      "linalg_vector_norm(Tensor x, Number ord=2, int[]? dim=None, bool keepdim=False, *, "
      "dtype? dtype=None)",
      kLinalg,
      "(sum |x|^ord)^(1 / ord) over some or all dimensions; for inf (-inf) the largest (smallest) "
      "size, for 0 how many elements are not 0."));
  t.push_back(row<&linalg_matrix_norm_named>(
      "linalg_matrix_norm(Tensor A, str ord='fro', int[]? dim=None, bool keepdim=False, *, "
      "dtype? dtype=None)",
      kLinalg,
      "The norm of matrices, by default of the last two dimensions. ord is 'fro', the root of the "
      "sum of "
      "squares; 'nuc', the sum of the singular values; 2 (-2), the largest (smallest) of them; 1 "
      "(-1), the largest "
      "(smallest) sum of sizes down a column; or inf (-inf), the same along a row. float32 and "
      "float64 "
      "alone for 'nuc', 2 and -2."));
  t.push_back(row<&linalg_matrix_norm>(
      "linalg_matrix_norm(Tensor A, Number ord, int[]? dim=None, bool keepdim=False, *, "
      "dtype? dtype=None)",
      kLinalg, ""));
  t.push_back(row<&linalg_norm>(
      "linalg_norm(Tensor A, Number? ord=None, int[]? dim=None, bool keepdim=False, *, "
      "dtype? dtype=None)",
      kLinalg,
      "vector_norm or matrix_norm: of ord None, over all dimensions given, or all there are, seen "
      "as "
      "a vector; of two dimensions (given, or all that A has), matrix_norm; else vector_norm."));
  t.push_back(row<&linalg_norm_named>(
      "linalg_norm(Tensor A, str ord, int[]? dim=None, bool keepdim=False, *, dtype? dtype=None)",
      kLinalg, ""));
  t.push_back(row<&dist>("dist(Tensor input, Tensor other, Number p=2)", both,
                         "The p-norm of input - other."));
  t.push_back(with_inplace(
      row<&renorm>("renorm(Tensor input, Number p, int dim, Number maxnorm)", both,
                   "Input with each slice along dim whose p-norm is above maxnorm scaled down.")));
}

}  // namespace wengert
