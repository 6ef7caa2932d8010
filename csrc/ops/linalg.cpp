// Linear algebra through the factors of LU: determinants, inverses, systems of equations.
// Derivatives follow M. Giles, Collected matrix derivative results for forward and reverse mode
// algorithmic differentiation, 2008.
#include "ops/linalg.h"

#include <cmath>
#include <limits>

#include "ops/checks.h"
#include "ops/elementwise.h"
#include "ops/op_table.h"
#include "ops/products.h"

namespace wengert {
namespace ops {

void check_matrix(const char* op, const Tensor& x) {
  if (x.dim() < 2) {
    fail(op, ": the input tensor must have at least 2 dimensions, got shape ", x.sizes());
  }
  if (!is_floating(x.dtype()) || is_narrow(x.dtype())) {
    fail(op, ": expected a float32 or float64 tensor as input, got ", name_of(x.dtype()));
  }
}
void check_square(const char* op, const Tensor& x) {
  if (x.dim() < 2) {
    fail(op, ": the input tensor must have at least 2 dimensions, got shape ", x.sizes());
  }
  if (x.size(x.dim() - 1) != x.size(x.dim() - 2)) {
    fail(op, ": must be batches of square matrices, but they are ", x.size(x.dim() - 2), " by ",
         x.size(x.dim() - 1), " matrices");
  }
}
Dims batch_of(const Tensor& x) {
  return Dims(x.sizes().begin(), x.dim() - 2);
}
Dims matrix_sizes(const Dims& batch, int64_t rows, int64_t cols) {
  Dims sizes = batch;
  sizes.push_back(rows);
  sizes.push_back(cols);
  return sizes;
}
Tensor own_copy(const Tensor& x) {
  const GradMode off(false);
  return clone(x);
}

void run_linalg(Kernel kernel, std::initializer_list<const Tensor*> operands, const Dims& batch,
                int64_t rows, int64_t cols, int64_t option, int64_t second_option) {
  const int64_t count = product(batch);
  if (count == 0 || rows == 0 || cols == 0) return;
  const Tensor& first = **operands.begin();
  Launch l;
  l.kernel = id(kernel);
  l.dtype = first.dtype();
  l.device = first.device();
  l.dense = true;
  l.ndim = 3;
  l.size[0] = count;
  l.size[1] = rows;
  l.size[2] = cols;
  l.count = count * rows * cols * std::min(rows, cols);
  l.integer[0] = option;
  l.integer[1] = second_option;
  l.nbuffers = 0;
  for (const Tensor* t : operands) set_buffer(l, l.nbuffers++, *t);
  launch(l);
}

Tensor transposed(const Tensor& x) {
  return transpose(x, -1, -2);
}
Tensor negative(const Tensor& x) {
  return apply<Neg>(x);
}
Tensor as_column(const Tensor& x) {
  return unsqueeze(unsqueeze(x, -1), -1);
}
Tensor identity(int64_t n, DType dtype) {
  const Tensor at = arange(n);
  return to(eq(unsqueeze(at, 1), at), dtype);
}
Tensor lower_weights(int64_t n, double on_diagonal, DType dtype) {
  const Tensor at = arange(n), one = Tensor::scalar(1.0, dtype), zero = Tensor::scalar(0.0, dtype);
  const Tensor lower = where(apply<Gt>(unsqueeze(at, 1), at), one, zero);
  return add(lower, mul(identity(n, dtype), Tensor::scalar(on_diagonal, dtype)));
}

namespace {

struct Lu {
  Tensor factors, row_of, zero_pivot;
  Tensor det;  // det, its sign, the logarithm of its absolute value
};

Lu lu_of(const Tensor& x) {
  const Dims batch = batch_of(x);
  const int64_t n = x.sizes().back(), count = product(batch);
  const GradMode off(false);
  Lu lu{own_copy(x), Tensor::empty({count, n}, DType::Int64), zeros({count}, DType::Int64),
        Tensor::empty({3, count}, x.dtype())};
  if (n == 0) {  // of no numbers the product is 1
    copy_into(lu.det, reshape(to(Tensor::scalar(1.0, x.dtype()), x.dtype()), {}));
    fill(narrow(lu.det, 0, 2, 1), {true, 0, 0});
  }
  run_linalg(Kernel::Lu, {&lu.factors, &lu.row_of, &lu.zero_pivot, &lu.det}, batch, n, n);
  return lu;
}

Tensor det_part(const Lu& lu, int64_t part, const Dims& batch) {
  const GradMode off(false);
  return clone(reshape(narrow(lu.det, 0, part, 1), batch));
}

void check_regular(const char* op, const char* what, const Tensor& x, const Lu& lu) {
  host_check(checks::kRegular, {lu.zero_pivot}, {.text = {op, what}, .integer = {x.dim()}});
}

// Both with the same batch.
Tensor solve_with(const Lu& lu, const Tensor& b) {
  const GradMode off(false);
  const Dims batch = batch_of(b);
  const int64_t n = b.size(b.dim() - 2), cols = b.sizes().back(), count = product(batch);
  const Tensor first = unsqueeze(mul(arange(count), number_like({true, n, double(n)}, nullptr)), 1);
  const Tensor rows = reshape(add(lu.row_of, first), {count * n});
  const Tensor x = reshape(take_rows(reshape(b, {count * n, cols}), rows), b.sizes());
  run_linalg(Kernel::SolveTriangular, {&x, &lu.factors}, batch, n, cols, false, true);
  run_linalg(Kernel::SolveTriangular, {&x, &lu.factors}, batch, n, cols, true, false);
  return x;
}

// Y = A^-1: dA = -Y^T dY Y^T
constexpr Rule kInverse{"linalg_inv", [](Node& node, Tensor* g, Tensor* out) {
                          const Tensor yt = transposed(node.unpack(0));
                          out[0] = negative(matmul(matmul(yt, *g), yt));
                        }};

Tensor solve_matrices(const Tensor& a, const Tensor& b);
// X = A^-1 B: dB = A^-T dX, dA = -dB X^T
constexpr Rule kSolve{"linalg_solve", [](Node& node, Tensor* g, Tensor* out) {
                        const Tensor db = solve_matrices(transposed(node.unpack(0)), *g);
                        out[1] = db;
                        if (node.wants(0)) {
                          out[0] = negative(matmul(db, transposed(node.unpack(1))));
                        }
                      }};

Tensor solve_matrices(const Tensor& a, const Tensor& b) {
  const Lu lu = lu_of(a);
  check_regular("linalg.solve", "the solver failed", a, lu);
  const Tensor x = solve_with(lu, b);
  if (recording(a, b)) {
    const Tensor* in[] = {&a, &b};
    Node* node = record(kSolve, in, 2, x, 2);
    node->save(0, a);
    if (node->edges()[0].node) node->save_output(1, x);
  }
  return x;
}

// The matrix of cofactors, det(A) A^-T. Of singular matrices it comes from A = U S V^T: the
// product of all other singular values, times det(U) det(V), takes the place of 1 / s.
Tensor cofactors(const Tensor& a, const Tensor& det) {
  const auto zero = [&]<class T>() {
    const auto d = det.read<T>();
    return std::any_of(d.get(), d.get() + det.numel(), [](T v) { return v == T(0); });
  };
  const bool singular =
      det.dtype() == DType::Float32 ? zero.operator()<float>() : zero.operator()<double>();
  if (!singular) return mul(as_column(det), transposed(inverse(a)));
  if (grad_enabled()) {
    fail(ErrorKind::LinAlg,
         "linalg.det: the second derivative of a singular matrix is not available");
  }
  const Svd svd = svd_parts(a, false);
  const Dims batch = batch_of(a);
  const int64_t n = a.sizes().back();
  Tensor others = expand(as_column(det_part(lu_of(svd.u), 0, batch)), matrix_sizes(batch, 1, n));
  others = mul(others, as_column(det_part(lu_of(svd.vh), 0, batch)));
  for (int64_t j = 0; j < n; ++j) {
    const Tensor is_j = eq(arange(n), number_like({true, j, double(j)}, nullptr));
    const Tensor s = unsqueeze(narrow(svd.s, -1, j, 1), -1);
    others = mul(others, where(is_j, Tensor::scalar(1.0, a.dtype()), s));
  }
  return matmul(mul(svd.u, others), svd.vh);
}

constexpr Rule kDet{"linalg_det", [](Node& node, Tensor* g, Tensor* out) {
                      out[0] = mul(as_column(*g), cofactors(node.unpack(0), node.unpack(1)));
                    }};
// log |det A|: dA = g A^-T
constexpr Rule kSlogdet{"linalg_slogdet", [](Node& node, Tensor* g, Tensor* out) {
                          if (!g[1].defined()) return;  // the sign is constant
                          out[0] = mul(as_column(g[1]), transposed(inverse(node.unpack(0))));
                        }};

Tensor det(const Tensor& a) {
  check_square("linalg.det", a);
  check_matrix("linalg.det", a);
  const Tensor out = det_part(lu_of(a), 0, batch_of(a));
  if (recording(a)) {
    const Tensor* in[] = {&a};
    Node* node = record(kDet, in, 1, out, 2);
    node->save(0, a);
    node->save_output(1, out);
  }
  return out;
}

std::vector<Tensor> slogdet(const Tensor& a) {
  check_square("linalg.slogdet", a);
  check_matrix("linalg.slogdet", a);
  const Lu lu = lu_of(a);
  const Tensor sign = det_part(lu, 1, batch_of(a)), log = det_part(lu, 2, batch_of(a));
  if (recording(a)) {
    const Tensor* in[] = {&a};
    record(kSlogdet, in, 1, std::vector<Tensor>{sign, log}, 1)->save(0, a);
  }
  return {sign, log};
}

Tensor logdet(const Tensor& a) {
  const std::vector<Tensor> parts = slogdet(a);
  const Tensor negative_det = apply<Lt>(parts[0], number_like({true, 0, 0}, &a));
  const Tensor nan = Tensor::scalar(std::numeric_limits<double>::quiet_NaN(), a.dtype());
  return where(negative_det, nan, parts[1]);
}

Tensor solve(const Tensor& a, const Tensor& b, bool left) {
  check_square("linalg.solve", a);
  check_matrix("linalg.solve", a);
  check_operands("linalg.solve", a, b);
  const Dims batch_a = batch_of(a);
  Dims vectors = batch_a;
  vectors.push_back(a.sizes().back());
  const bool vector = b.dim() == 1 || (b.dim() + 1 == a.dim() && b.sizes() == vectors);
  if (!left) {
    if (vector) fail("linalg.solve: a vector on the right needs left=True");
    return transposed(solve(transposed(a), transposed(b), true));
  }
  if (b.dim() == 0) fail("linalg.solve: expected B to have at least 1 dimension, got shape ()");
  const Tensor right = vector ? unsqueeze(b, -1) : b;
  const int64_t n = a.sizes().back();
  if (right.size(right.dim() - 2) != n) {
    fail("linalg.solve: incompatible shapes of A and B for the equation AX = B, ", a.sizes(),
         " and ", b.sizes());
  }
  const Dims batch = broadcast_shapes("linalg.solve", batch_a, batch_of(right));
  const auto whole = [&](const Tensor& x, int64_t cols) {
    const Dims sizes = matrix_sizes(batch, n, cols);
    return x.sizes() == sizes ? x : expand(x, sizes);
  };
  const Tensor x = solve_matrices(whole(a, n), whole(right, right.sizes().back()));
  return vector ? squeeze(x, -1) : x;
}

Tensor solve_row(const Tensor& a, const Tensor& b, bool left) {
  return solve(a, b, left);
}

}  // namespace

Tensor inverse(const Tensor& a) {
  check_square("linalg.inv", a);
  check_matrix("linalg.inv", a);
  const Lu lu = lu_of(a);
  check_regular("linalg.inv", "the inversion could not be completed", a, lu);
  const Tensor out = solve_with(lu, expand(identity(a.sizes().back(), a.dtype()), a.sizes()));
  if (recording(a)) {
    const Tensor* in[] = {&a};
    record(kInverse, in, 1, out, 1)->save_output(0, out);
  }
  return out;
}

}  // namespace ops

void add_linalg(OpTable& t) {
  using namespace ops;
  constexpr uint8_t both = kMethod | kFunction;
  constexpr auto inverse_doc = "The inverse of square matrices. Derivative: -Y^T g Y^T.";
  t.push_back(row<&inverse>("linalg_inv(Tensor A)", kLinalg, inverse_doc));
  t.push_back(row<&inverse>("inverse(Tensor input)", both, inverse_doc));
  constexpr auto det_doc = "The determinant of square matrices. Derivative: det(A) A^-T.";
  t.push_back(row<&det>("linalg_det(Tensor A)", kLinalg, det_doc));
  t.push_back(row<&det>("det(Tensor input)", both, det_doc));
  constexpr auto slogdet_doc =
      "The sign of the determinant and the logarithm of its absolute value. Derivative: A^-T.";
  t.push_back(row<&slogdet>("linalg_slogdet(Tensor A) -> sign, logabsdet", kLinalg, slogdet_doc));
  t.push_back(row<&slogdet>("slogdet(Tensor input) -> sign, logabsdet", both, slogdet_doc));
  t.push_back(row<&logdet>("logdet(Tensor input)", both,
                           "The logarithm of the determinant, NaN where that is negative."));
  t.push_back(row<&solve_row>(
      "linalg_solve(Tensor A, Tensor B, *, bool left=True)", kLinalg,
      "X in A X = B, or in X A = B with left=False. Derivatives: dB = A^-T g, dA = -dB X^T."));
}

}  // namespace wengert
