// Eigenvalues of symmetric matrices, singular values, and what follows from them. The derivative
// of eigh is M. Giles', 2008; that of svd is of J. Townsend, Differentiating the singular value
// decomposition, 2016; that of the pseudoinverse is of G. Golub and V. Pereyra, 1973.
#include <cmath>
#include <limits>

#include "ops/checks.h"
#include "ops/elementwise.h"
#include "ops/linalg.h"
#include "ops/op_table.h"
#include "ops/products.h"

namespace wengert {
namespace ops {
namespace {

// x_j - x_i for all pairs, 1 on the diagonal.
Tensor gaps(const Tensor& x) {
  const Tensor d = sub(unsqueeze(x, -2), unsqueeze(x, -1));
  return add(d, identity(x.sizes().back(), x.dtype()));
}
// A matrix with this diagonal.
Tensor diagonal_matrix(const Tensor& d) {
  return mul(unsqueeze(d, -1), identity(d.sizes().back(), d.dtype()));
}

void check_converged(const char* op, const Tensor& values) {
  host_check(checks::kConverged, {values}, {.text = {op}});
}

// --- symmetric eigenvalues ---------------------------------------------------------------------

// A = V diag(w) V^T: dA = V (diag(dw) + (V^T dV) / E) V^T with E_ij = w_j - w_i
constexpr Rule kEigh{"linalg_eigh", [](Node& node, Tensor* g, Tensor* out) {
                       const Tensor w = node.unpack(0), v = node.unpack(1), vt = transposed(v);
                       Tensor inner;
                       if (g[0].defined()) inner = diagonal_matrix(g[0]);
                       if (g[1].defined()) {
                         const Tensor off_diagonal = sub(Tensor::scalar(1.0, w.dtype()),
                                                         identity(w.sizes().back(), w.dtype()));
                         const Tensor turn = mul(div(matmul(vt, g[1]), gaps(w)), off_diagonal);
                         inner = inner.defined() ? add(inner, turn) : turn;
                       }
                       out[0] = matmul(matmul(v, inner), vt);
                     }};

std::vector<Tensor> eigh_parts(const char* op, const Tensor& a, std::string_view uplo) {
  check_square(op, a);
  check_matrix(op, a);
  if (uplo != "L" && uplo != "U" && uplo != "l" && uplo != "u") {
    fail(op, ": expected UPLO argument to be 'L' or 'U', but got '", uplo, "'");
  }
  const Dims batch = batch_of(a);
  const int64_t n = a.sizes().back();
  Tensor v, w;
  {
    const GradMode off(false);
    // The other triangle is not read.
    const Tensor given = uplo == "L" || uplo == "l" ? a : transposed(a);
    const Tensor lower = eq(lower_weights(n, 1, a.dtype()), Tensor::scalar(1.0, a.dtype()));
    v = contiguous(where(lower, given, transposed(given)));
    Dims values = batch;
    values.push_back(n);
    w = Tensor::empty(values, a.dtype(), a.device());
    run_linalg(Kernel::Eigh, {&v, &w}, batch, n, n);
  }
  check_converged(op, w);
  if (recording(a)) {
    const Tensor* in[] = {&a};
    Node* node = record(kEigh, in, 1, std::vector<Tensor>{w, v}, 2);
    node->save_output(0, w, 0);
    node->save_output(1, v, 1);
  }
  return {w, v};
}
std::vector<Tensor> eigh(const Tensor& a, std::string_view uplo) {
  return eigh_parts("linalg.eigh", a, uplo);
}
Tensor eigvalsh(const Tensor& a, std::string_view uplo) {
  return eigh_parts("linalg.eigvalsh", a, uplo)[0];
}

// --- singular values ---------------------------------------------------------------------------

// X - X^T, over the gaps of squared singular values
Tensor turn_of(const Tensor& x, const Tensor& e) {
  return div(sub(x, transposed(x)), e);
}

// A = U diag(s) V^T, E_ij = s_j^2 - s_i^2:
// dA = U [turn(U^T dU) S + S turn(V^T dV) + diag(ds)] V^T
//      + (I - U U^T) dU S^-1 V^T + U S^-1 dV^T (I - V V^T)
void svd_pull(Node& node, Tensor* g, Tensor* out) {
  const Tensor u = node.unpack(0), s = node.unpack(1), vh = node.unpack(2);
  const int64_t m = u.size(u.dim() - 2), n = vh.sizes().back(), k = s.sizes().back();
  const Tensor row = unsqueeze(s, -2), column = unsqueeze(s, -1);
  Tensor inner =
      g[1].defined() ? diagonal_matrix(g[1]) : zeros(matrix_sizes(batch_of(u), k, k), s.dtype());
  const Tensor e = gaps(square(s));
  if (g[0].defined()) inner = add(inner, mul(turn_of(matmul(transposed(u), g[0]), e), row));
  if (g[2].defined()) {
    inner = add(inner, mul(column, turn_of(matmul(vh, transposed(g[2])), e)));
  }
  Tensor left = matmul(u, inner);
  if (g[0].defined() && m > k) {
    const Tensor scaled = div(g[0], row);
    left = add(left, sub(scaled, matmul(u, matmul(transposed(u), scaled))));
  }
  out[0] = matmul(left, vh);
  if (g[2].defined() && n > k) {
    const Tensor scaled = div(g[2], column);
    const Tensor rest = sub(scaled, matmul(matmul(scaled, transposed(vh)), vh));
    out[0] = add(out[0], matmul(u, rest));
  }
}
constexpr Rule kSvd{"linalg_svd", &svd_pull};

std::vector<Tensor> svd(const Tensor& a, bool full) {
  check_matrix("linalg.svd", a);
  const Svd parts = svd_parts(a, full);
  return {parts.u, parts.s, parts.vh};
}
Tensor svdvals(const Tensor& a) {
  check_matrix("linalg.svdvals", a);
  return svd_parts(a, false).s;
}

// How large a singular value must be to count, by default eps max(m, n) of the largest one.
Tensor threshold(const Tensor& a, const Tensor& s, const Number* atol, const Number* rtol) {
  const double eps = a.dtype() == DType::Float32
                         ? static_cast<double>(std::numeric_limits<float>::epsilon())
                         : std::numeric_limits<double>::epsilon();
  const auto longest = static_cast<double>(std::max(a.size(a.dim() - 2), a.sizes().back()));
  const double relative = rtol ? rtol->d : atol && atol->d > 0 ? 0 : eps * longest;
  const Dims last{-1};
  const Tensor largest = mul(amax(s, &last, true), Tensor::scalar(relative, s.dtype()));
  return apply<Maximum>(largest, Tensor::scalar(atol ? atol->d : 0.0, s.dtype()));
}

Tensor matrix_rank(const Tensor& a, const Number* atol, const Number* rtol) {
  check_matrix("linalg.matrix_rank", a);
  const GradMode off(false);
  const Tensor s = svd_parts(a, false).s;
  const Dims last{-1};
  if (s.sizes().back() == 0) return sum(to(s, DType::Int64), &last, false);
  return sum(apply<Gt>(s, threshold(a, s, atol, rtol)), &last, false);
}

// Y the pseudoinverse: dA = -Y^T dY Y^T + (I - A Y) dY^T Y Y^T + Y^T Y dY^T (I - Y A)
constexpr Rule kPinv{"linalg_pinv", [](Node& node, Tensor* g, Tensor* out) {
                       const Tensor a = node.unpack(0), y = node.unpack(1);
                       const Tensor yt = transposed(y), gt = transposed(*g);
                       const Tensor right = matmul(matmul(gt, y), yt);
                       const Tensor left = matmul(yt, matmul(y, gt));
                       const Tensor normal = add(sub(right, matmul(a, matmul(y, right))),
                                                 sub(left, matmul(matmul(left, y), a)));
                       out[0] = sub(normal, matmul(matmul(yt, *g), yt));
                     }};

Tensor pinv(const Tensor& a, const Number* atol, const Number* rtol) {
  check_matrix("linalg.pinv", a);
  Tensor y;
  {
    const GradMode off(false);
    const Svd f = svd_parts(a, false);
    if (f.s.sizes().back() == 0) {
      y = zeros(matrix_sizes(batch_of(a), a.sizes().back(), a.size(a.dim() - 2)), a.dtype());
    } else {
      const Tensor counts = apply<Gt>(f.s, threshold(a, f.s, atol, rtol));
      const Tensor one = Tensor::scalar(1.0, a.dtype()), zero = Tensor::scalar(0.0, a.dtype());
      const Tensor inverse_s = where(counts, div(one, where(counts, f.s, one)), zero);
      y = matmul(mul(transposed(f.vh), unsqueeze(inverse_s, -2)), transposed(f.u));
    }
  }
  if (recording(a)) {
    const Tensor* in[] = {&a};
    Node* node = record(kPinv, in, 1, y, 2);
    node->save(0, a);
    node->save_output(1, y);
  }
  return y;
}
Tensor pinverse(const Tensor& a, const Number& rcond) {
  return pinv(a, nullptr, &rcond);
}

}  // namespace

Svd svd_parts(const Tensor& x, bool full) {
  const Dims batch = batch_of(x);
  const int64_t rows = x.size(x.dim() - 2), cols = x.sizes().back();
  const bool wide = rows < cols;  // then the factors of the transpose
  const int64_t m = std::max(rows, cols), n = std::min(rows, cols), k = full ? m : n;
  Svd out;
  {
    const GradMode off(false);
    // The kernel reads and writes vectors as rows.
    const Tensor work = own_copy(wide ? x : transposed(x));
    const Tensor dense = work.contiguous() ? work : contiguous(work);
    Dims values = batch;
    values.push_back(n);
    const Tensor u = Tensor::empty(matrix_sizes(batch, k, m), x.dtype(), x.device());
    const Tensor v = Tensor::empty(matrix_sizes(batch, n, n), x.dtype(), x.device());
    out.s = Tensor::empty(values, x.dtype(), x.device());
    if (n == 0) copy_into(u, narrow(identity(m, x.dtype()), 0, 0, k));
    run_linalg(Kernel::Svd, {&dense, &u, &out.s, &v}, batch, n, m, k);
    check_converged("linalg.svd", out.s);
    out.u = contiguous(transposed(wide ? v : u));
    out.vh = wide ? u : v;
  }
  if (recording(x)) {
    if (full && rows != cols) {
      fail("linalg.svd: the derivative needs full_matrices=False, got shape ", x.sizes());
    }
    const Tensor* in[] = {&x};
    Node* node = record(kSvd, in, 1, std::vector<Tensor>{out.u, out.s, out.vh}, 3);
    node->save_output(0, out.u, 0);
    node->save_output(1, out.s, 1);
    node->save_output(2, out.vh, 2);
  }
  return out;
}

}  // namespace ops

void add_spectral(OpTable& t) {
  using namespace ops;
  t.push_back(row<&eigh>(
      "linalg_eigh(Tensor A, str UPLO='L') -> eigenvalues, eigenvectors", kLinalg,
      "The eigenvalues of symmetric matrices, rising, and their eigenvectors as columns, by "
      "Jacobi's method. Only the triangle that UPLO names is read."));
  t.push_back(row<&eigvalsh>("linalg_eigvalsh(Tensor A, str UPLO='L')", kLinalg,
                             "The eigenvalues of symmetric matrices, rising."));
  t.push_back(row<&svd>(
      "linalg_svd(Tensor A, bool full_matrices=True) -> U, S, Vh", kLinalg,
      "A = U diag(S) Vh, the singular values falling, by the one-sided Jacobi method. The "
      "derivative needs full_matrices=False unless A is square."));
  t.push_back(row<&svdvals>("linalg_svdvals(Tensor A)", kLinalg, "The singular values, falling."));
  t.push_back(row<&matrix_rank>(
      "linalg_matrix_rank(Tensor A, *, Number? atol=None, Number? rtol=None)", kLinalg,
      "How many singular values are above both atol and rtol times the largest."));
  t.push_back(row<&pinv>("linalg_pinv(Tensor A, *, Number? atol=None, Number? rtol=None)", kLinalg,
                         "The pseudoinverse of Moore and Penrose; singular values up to atol, or "
                         "rtol times the largest, count as 0."));
  t.push_back(row<&pinverse>("pinverse(Tensor input, Number rcond=1e-15)", kMethod | kFunction,
                             "The pseudoinverse of Moore and Penrose."));
}

}  // namespace wengert
