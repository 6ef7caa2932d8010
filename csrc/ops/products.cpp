// The named matrix and vector products. Each checks the shapes it is for and comes down to matmul,
// to the product with an addend, or to an elementwise product.
#include "ops/products.h"

#include "kernels/functors.h"
#include "ops/autocast.h"
#include "ops/elementwise.h"
#include "ops/linalg.h"
#include "ops/op_table.h"

namespace wengert {
namespace ops {

Tensor times(const Tensor& x, const Number& factor) {
  return factor.d == 1 ? x : mul(x, number_like(factor, &x));
}

namespace {

void check_dims(const char* op, const char* name, const Tensor& x, int dims) {
  if (x.dim() != dims) {
    fail(op, ": expected ", name, " to have ", dims, dims == 1 ? " dimension" : " dimensions",
         ", got shape ", x.sizes());
  }
}

void check_factor(const char* op, const char* name, DType dtype, const Number& n) {
  if (!is_floating(dtype) && !n.integral) {
    fail(op, ": for integral input tensors, argument ", name,
         " must not be a floating point number, got ", n.d);
  }
}

// Throws unless x broadcasts to sizes.
void check_expands(const char* op, const Tensor& x, const Dims& sizes) {
  if (x.dim() > sizes.size() || !(broadcast_shapes(op, x.sizes(), sizes) == sizes)) {
    fail(op, ": input of shape ", x.sizes(), " does not broadcast to the product's shape ", sizes);
  }
}

// beta * input + alpha * product. A beta of 0 passes over input, whatever it holds.
Tensor combine(const Tensor& input, const Number& beta, const Tensor& product) {
  if (beta.d != 0) return add(times(input, beta), product);
  if (!recording(input)) return product;
  const Tensor no = Tensor::scalar(int64_t{0}, DType::Bool);
  return add(product, where(no, input, number_like({true, 0, 0}, &input)));
}

// beta * input + alpha * A B. The shapes of A and B have been checked.
Tensor add_product(const char* op, const Tensor& input, const Tensor& a, const Tensor& b,
                   const Number& beta, const Number& alpha) {
  check_operands(op, a, b);
  check_operands(op, input, a);
  check_factor(op, "beta", a.dtype(), beta);
  check_factor(op, "alpha", a.dtype(), alpha);
  const int last = a.dim() - 1;
  Dims sizes = a.sizes();
  sizes[last] = b.size(last);
  check_expands(op, input, sizes);
  if (const DType d = gemm_dtype(a.dtype()); d != a.dtype() && a.dtype() != DType::Bool) {
    return to(add_product(op, to(input, d), to(a, d), to(b, d), beta, alpha), a.dtype());
  }
  if (is_narrow(a.dtype()) && (alpha.d != 1 || (beta.d != 0 && beta.d != 1))) {
    // Factors are applied to sums that have not been rounded.
    const DType wide = compute_dtype(a.dtype());
    return to(add_product(op, to(input, wide), to(a, wide), to(b, wide), beta, alpha), a.dtype());
  }
  if (beta.d != 1 || alpha.d != 1) return combine(input, beta, times(matmul(a, b), alpha));
  const bool is_bias = a.dim() == 2 && input.dim() == 1 && input.size(0) == sizes[last];
  if (is_bias && is_floating(a.dtype())) return linear(a, transpose(b, 0, 1), input);
  return matmul_add(input, a, b);
}

void check_mm(const char* op, const Tensor& a, const Tensor& b) {
  if (a.dim() != 2 || b.dim() != 2) {
    fail(op, ": expected two matrices, got shapes ", a.sizes(), " and ", b.sizes());
  }
  if (a.size(1) != b.size(0)) {
    fail(op, ": mat1 and mat2 shapes cannot be multiplied, ", a.sizes(), " x ", b.sizes());
  }
}
void check_bmm(const char* op, const Tensor& a, const Tensor& b) {
  check_dims(op, "batch1", a, 3);
  check_dims(op, "batch2", b, 3);
  if (a.size(0) != b.size(0) || a.size(2) != b.size(1)) {
    fail(op, ": expected size for first two dimensions of batch2 tensor to be: [", a.size(0), ", ",
         a.size(2), "] but got: [", b.size(0), ", ", b.size(1), "]");
  }
}
void check_mv(const char* op, const Tensor& a, const Tensor& v) {
  check_dims(op, "mat", a, 2);
  check_dims(op, "vec", v, 1);
  if (a.size(1) != v.size(0)) {
    fail(op, ": size mismatch, got mat ", a.sizes(), ", vec ", v.sizes());
  }
}

Tensor mm(const Tensor& a, const Tensor& b) {
  check_mm("mm", a, b);
  return matmul(a, b);
}
Tensor bmm(const Tensor& a, const Tensor& b) {
  check_bmm("bmm", a, b);
  return matmul(a, b);
}
Tensor mv(const Tensor& a, const Tensor& v) {
  check_mv("mv", a, v);
  return matmul(a, v);
}

Tensor addmm(const Tensor& input, const Tensor& a, const Tensor& b, const Number& beta,
             const Number& alpha) {
  check_mm("addmm", a, b);
  return add_product("addmm", input, a, b, beta, alpha);
}
Tensor baddbmm(const Tensor& input, const Tensor& a, const Tensor& b, const Number& beta,
               const Number& alpha) {
  check_bmm("baddbmm", a, b);
  return add_product("baddbmm", input, a, b, beta, alpha);
}

// The sum over the batch is part of the products' sums: [n, b k] x [b k, p].
Tensor addbmm(const Tensor& input, const Tensor& a, const Tensor& b, const Number& beta,
              const Number& alpha) {
  check_bmm("addbmm", a, b);
  const int64_t k = a.size(0) * a.size(2);
  return add_product("addbmm", input, reshape(permute(a, {1, 0, 2}), {a.size(1), k}),
                     reshape(b, {k, b.size(2)}), beta, alpha);
}

Tensor addmv(const Tensor& input, const Tensor& a, const Tensor& v, const Number& beta,
             const Number& alpha) {
  check_mv("addmv", a, v);
  check_expands("addmv", input, {a.size(0)});
  const Tensor column = input.dim() == 1 ? unsqueeze(input, 1) : input;
  return squeeze(add_product("addmv", column, a, unsqueeze(v, 1), beta, alpha), 1);
}

template <const char* const& Name>
Tensor dot(const Tensor& a, const Tensor& b) {
  if (a.dim() != 1 || b.dim() != 1) {
    fail(Name, ": 1D tensors expected, but got ", a.dim(), "D and ", b.dim(), "D tensors");
  }
  if (a.size(0) != b.size(0)) {
    fail(Name, ": inconsistent tensor size, expected both to have the same number of elements, ",
         "but got ", a.size(0), " and ", b.size(0), " elements");
  }
  check_operands(Name, a, b);
  return matmul(a, b);
}
constexpr const char* kDot = "dot";
constexpr const char* kVdot = "vdot";

template <const char* const& Name>
Tensor outer(const Tensor& a, const Tensor& b) {
  check_dims(Name, "input", a, 1);
  check_dims(Name, "vec2", b, 1);
  return mul(unsqueeze(a, 1), b);
}
constexpr const char* kOuter = "outer";
constexpr const char* kGer = "ger";

Tensor addr(const Tensor& input, const Tensor& a, const Tensor& b, const Number& beta,
            const Number& alpha) {
  check_dims("addr", "vec1", a, 1);
  check_dims("addr", "vec2", b, 1);
  // The input counts as the matrix that it is expanded to.
  const DType dtype = promote_types(promote_types(input.dtype(), a.dtype()), b.dtype());
  check_factor("addr", "beta", dtype, beta);
  check_factor("addr", "alpha", dtype, alpha);
  check_expands("addr", input, {a.size(0), b.size(0)});
  // A factor of 1 is left out, so bools stay bools; else the shorter operand is scaled.
  return to(combine(input, beta, mul(unsqueeze(times(a, alpha), 1), b)), dtype);
}

// --- chains and powers -------------------------------------------------------------------------

// The product of matrices in the order of the fewest multiplications, by dynamic programming over
// all chains i..j (Cormen et al., Introduction to Algorithms, chapter "Dynamic programming").
Tensor chain(const std::vector<Tensor>& m) {
  const size_t n = m.size();
  std::vector<double> cost(n * n, 0);
  std::vector<size_t> cut(n * n, 0);
  const auto rows = [&](size_t i) { return static_cast<double>(m[i].size(0)); };
  const auto cols = [&](size_t i) { return static_cast<double>(m[i].size(1)); };
  for (size_t length = 1; length < n; ++length) {
    for (size_t i = 0; i + length < n; ++i) {
      const size_t j = i + length;
      for (size_t k = i; k < j; ++k) {
        const double c = cost[i * n + k] + cost[(k + 1) * n + j] + rows(i) * cols(k) * cols(j);
        if (k > i && c >= cost[i * n + j]) continue;
        cost[i * n + j] = c;
        cut[i * n + j] = k;
      }
    }
  }
  const auto product = [&](const auto& self, size_t i, size_t j) -> Tensor {
    if (i == j) return m[i];
    const size_t k = cut[i * n + j];
    return matmul(self(self, i, k), self(self, k + 1, j));
  };
  return product(product, 0, n - 1);
}

// As long a chain as anyone multiplies; the search for the order takes the cube of it.
constexpr size_t kMaxChain = 512;

void check_chain(const char* op, const std::vector<Tensor>& m) {
  if (m.size() > kMaxChain) {
    fail(op, ": expected at most ", kMaxChain, " tensors but got ", m.size());
  }
  for (size_t i = 0; i < m.size(); ++i) {
    check_dims(op, text("tensor ", i).c_str(), m[i], 2);
    if (i == 0) continue;
    check_operands(op, m[0], m[i]);
    if (m[i - 1].size(1) != m[i].size(0)) {
      fail(op, ": tensors ", i - 1, " and ", i, " with shapes ", m[i - 1].sizes(), " and ",
           m[i].sizes(), " cannot be multiplied");
    }
  }
}

Tensor chain_matmul(const std::vector<Tensor>& matrices) {
  if (matrices.empty()) fail("chain_matmul: expected at least one matrix");
  check_chain("chain_matmul", matrices);
  return chain(matrices);
}

// The first and the last may be vectors: a row and a column.
Tensor multi_dot(const std::vector<Tensor>& tensors) {
  if (tensors.size() < 2) {
    fail("linalg.multi_dot: expected at least 2 tensors but got ", tensors.size());
  }
  std::vector<Tensor> m = tensors;
  const bool row = m.front().dim() == 1, column = m.back().dim() == 1;
  if (row) m.front() = unsqueeze(m.front(), 0);
  if (column) m.back() = unsqueeze(m.back(), 1);
  check_chain("linalg.multi_dot", m);
  Tensor out = chain(m);
  if (column) out = squeeze(out, 1);
  return row ? squeeze(out, 0) : out;
}

Tensor matrix_power(const Tensor& x, int64_t n) {
  check_square("linalg.matrix_power", x);
  if (n == 0) {
    return clone(expand(identity(x.size(x.dim() - 1), x.dtype()), x.sizes()));
  }
  if (n < 0 && n == INT64_MIN) fail("linalg.matrix_power: exponent ", n, " is out of range");
  Tensor square = n < 0 ? inverse(x) : x, out;
  for (auto rest = static_cast<uint64_t>(n < 0 ? -n : n); rest != 0; rest >>= 1) {
    if (rest & 1) out = out.defined() ? matmul(out, square) : square;
    if (rest > 1) square = matmul(square, square);
  }
  return n == 1 ? clone(out) : out;
}

// --- others ------------------------------------------------------------------------------------

// Kronecker: each element of a times the whole of b.
Tensor kron(const Tensor& a, const Tensor& b) {
  const int n = std::max(a.dim(), b.dim());
  if (2 * n > kMaxDims) {
    fail("kron: expected tensors of at most ", kMaxDims / 2, " dimensions, got shapes ", a.sizes(),
         " and ", b.sizes());
  }
  Dims left, right, out;
  for (int d = 0; d < n; ++d) {
    const int da = d - (n - a.dim()), db = d - (n - b.dim());
    left.push_back(da < 0 ? 1 : a.size(da));
    left.push_back(1);
    right.push_back(1);
    right.push_back(db < 0 ? 1 : b.size(db));
    out.push_back(left[2 * d] * right[2 * d + 1]);
  }
  return reshape(mul(reshape(a, left), reshape(b, right)), out);
}

Tensor trace(const Tensor& x) {
  if (x.dim() != 2) fail("trace: expected a matrix, but got shape ", x.sizes());
  if (x.dtype() == DType::Bool) fail(ErrorKind::NotImplemented, "trace: not defined for bool");
  return sum(diagonal(x, 0, 0, 1), nullptr, false);
}

Tensor vecdot(const Tensor& x, const Tensor& y, int64_t dim) {
  if (!is_floating(x.dtype())) {
    fail("linalg.vecdot: expected a floating point tensor as input, got ", name_of(x.dtype()));
  }
  check_operands("linalg.vecdot", x, y);
  const Dims along{dim};
  return sum(mul(x, y), &along, false);
}

// c = (a rotated by 1)(b rotated by 2) - (a rotated by 2)(b rotated by 1)
Tensor cross_along(const Tensor& a, const Tensor& b, int64_t dim) {
  check_operands("linalg.cross", a, b);
  if (a.dim() != b.dim()) {
    fail("linalg.cross: inputs must have the same number of dimensions, got shapes ", a.sizes(),
         " and ", b.sizes());
  }
  if (a.dtype() == DType::Bool) {
    fail(ErrorKind::NotImplemented, "linalg.cross: not defined for bool");
  }
  const int d = wrap_dim("linalg.cross", dim, a.dim());
  if (a.dim() == 0 || a.size(d) != 3 || b.size(d) != 3) {
    fail("linalg.cross: inputs dimension ", d, " must have length 3, got shapes ", a.sizes(),
         " and ", b.sizes());
  }
  const auto rotated = [&](const Tensor& x, int64_t by) {
    return cat({narrow(x, d, by, 3 - by), narrow(x, d, 0, by)}, d);
  };
  return sub(mul(rotated(a, 1), rotated(b, 2)), mul(rotated(a, 2), rotated(b, 1)));
}
Tensor cross(const Tensor& a, const Tensor& b, OptInt dim) {
  for (int d = 0; !dim && d < a.dim(); ++d) {
    if (a.size(d) == 3) dim = d;
  }
  if (!dim) fail("cross: no dimension of size 3 in input, got shape ", a.sizes());
  return cross_along(a, b, *dim);
}

// y_o = x1^T W_o x2 + bias_o: [rows, in1] x [in1, out in2], then each [out, in2] x [in2]
Tensor bilinear(const Tensor& x1, const Tensor& x2, const Tensor& weight, const Tensor& bias) {
  check_dims("bilinear", "weight", weight, 3);
  check_operands("bilinear", x1, x2);
  check_operands("bilinear", x1, weight);
  const int d = x1.dim();
  bool match = d == x2.dim() && d > 0;
  for (int i = 0; match && i + 1 < d; ++i) match = x1.size(i) == x2.size(i);
  if (!match) {
    fail("bilinear: input dimensions do not match: got shapes ", x1.sizes(), " and ", x2.sizes());
  }
  const int64_t out = weight.size(0), in1 = weight.size(1), in2 = weight.size(2);
  if (x1.sizes().back() != in1 || x2.sizes().back() != in2) {
    fail("bilinear: inputs of shapes ", x1.sizes(), " and ", x2.sizes(), " for weight of shape ",
         weight.sizes(), "; expected (..., in1) and (..., in2) for (out, in1, in2)");
  }
  if (bias.defined() && (bias.dim() != 1 || bias.size(0) != out)) {
    fail("bilinear: bias of shape ", bias.sizes(), " for weight of shape ", weight.sizes(),
         "; expected (out,)");
  }
  const Tensor by = reshape(permute(weight, {1, 0, 2}), {in1, out * in2});
  Dims sizes = x1.sizes();
  sizes[d - 1] = out;
  Dims inner = sizes;
  inner.push_back(in2);
  const Tensor half = reshape(matmul(x1, by), inner);
  const Tensor y = squeeze(matmul(half, unsqueeze(x2, -1)), -1);
  return bias.defined() ? add(y, bias) : y;
}

}  // namespace
}  // namespace ops

void add_products(OpTable& t) {
  using namespace ops;
  constexpr uint8_t both = kMethod | kFunction;
  constexpr auto factors = ", *, Number beta=1, Number alpha=1)";
  t.push_back(
      row<lowered<&mm>>("mm(Tensor input, Tensor mat2)", both, "The product of two matrices."));
  t.push_back(row<lowered<&bmm>>("bmm(Tensor input, Tensor mat2)", both,
                                 "The products of two equal batches of matrices."));
  t.push_back(row<&mv>("mv(Tensor input, Tensor vec)", both, "A matrix times a vector."));
  t.push_back(with_inplace(row<lowered<&addmm>>(
      text("addmm(Tensor input, Tensor mat1, Tensor mat2", factors), both,
      "beta * input + alpha * (mat1 @ mat2). Derivatives: beta, alpha g mat2^T, alpha mat1^T g.")));
  t.push_back(with_inplace(row<lowered<&baddbmm>>(
      text("baddbmm(Tensor input, Tensor batch1, Tensor batch2", factors), both,
      "beta * input + alpha * (batch1 @ batch2), for equal batches of matrices.")));
  t.push_back(with_inplace(row<lowered<&addbmm>>(
      text("addbmm(Tensor input, Tensor batch1, Tensor batch2", factors), both,
      "beta * input + alpha * the sum over the batch of batch1 @ batch2.")));
  t.push_back(with_inplace(row<&addmv>(text("addmv(Tensor input, Tensor mat, Tensor vec", factors),
                                       both, "beta * input + alpha * (mat @ vec).")));
  t.push_back(with_inplace(row<&addr>(text("addr(Tensor input, Tensor vec1, Tensor vec2", factors),
                                      both, "beta * input + alpha * outer(vec1, vec2).")));
  t.push_back(row<&dot<kDot>>("dot(Tensor input, Tensor tensor)", both,
                              "The sum of products of two vectors."));
  t.push_back(row<&dot<kVdot>>("vdot(Tensor input, Tensor other)", both,
                               "The sum of products of two vectors, as dot for real numbers."));
  t.push_back(row<&outer<kOuter>>("outer(Tensor input, Tensor vec2)", both,
                                  "All products of an element of one vector and one of another."));
  t.push_back(row<&outer<kGer>>("ger(Tensor input, Tensor vec2)", both,
                                "The outer product of two vectors; an older name of outer."));
  t.push_back(
      row<lowered<&chain_matmul>>("chain_matmul(Tensor* matrices)", kFunction,
                                  "The product of matrices, in the order that multiplies least."));
  t.push_back(row<&multi_dot>("linalg_multi_dot(Tensor[] tensors)", kLinalg,
                              "The product of matrices, in the order that multiplies least. The "
                              "first and the last may be vectors."));
  constexpr auto power_doc =
      "The product of n times a square matrix, by repeated squaring; of its inverse if n < 0.";
  t.push_back(row<lowered<&matrix_power>>("matrix_power(Tensor input, int n)", both, power_doc));
  t.push_back(row<&matrix_power>("linalg_matrix_power(Tensor A, int n)", kLinalg, power_doc));
  t.push_back(row<&kron>("kron(Tensor input, Tensor other)", both,
                         "The Kronecker product: each element of input times all of other."));
  t.push_back(row<widened<&trace>>("trace(Tensor input)", both, "The sum of a matrix's diagonal."));
  t.push_back(row<lowered<&vecdot>>("linalg_vecdot(Tensor x, Tensor y, *, int dim=-1)", kLinalg,
                                    "The sum of products along dim."));
  t.push_back(row<&cross>("cross(Tensor input, Tensor other, int? dim=None)", both,
                          "The cross product of vectors of three elements along dim, by default "
                          "the first dimension of size 3."));
  t.push_back(row<&cross_along>("linalg_cross(Tensor input, Tensor other, *, int dim=-1)", kLinalg,
                                "The cross product of vectors of three elements along dim."));
  t.push_back(
      row<&bilinear>("bilinear(Tensor input1, Tensor input2, Tensor weight, Tensor? bias=None)",
                     kFunction | kFunctional, "input1^T weight input2 + bias, for each output."));
}

}  // namespace wengert
