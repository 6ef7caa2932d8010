// Cholesky and QR factors, and triangular systems. Derivatives follow M. Giles, Collected matrix
// derivative results for forward and reverse mode algorithmic differentiation, 2008; that of QR is
// of S. Walter and L. Lehmann, Algorithmic differentiation of linear algebra functions, 2010.
#include "ops/checks.h"
#include "ops/elementwise.h"
#include "ops/linalg.h"
#include "ops/op_table.h"
#include "ops/products.h"

namespace wengert {
namespace ops {
namespace {

Tensor number(double v, const Tensor& peer) {
  return number_like({false, 0, v}, &peer);
}

// --- triangular systems ------------------------------------------------------------------------

struct TrianglePayload {
  int64_t upper, unit;
};

// X = A^-1 B: dB = A^-T dX, dA = -dB X^T within the triangle
constexpr Rule kSolveTriangular{
    "linalg_solve_triangular", [](Node& node, Tensor* g, Tensor* out) {
      const auto p = node.payload<TrianglePayload>();
      const Tensor db = solve_triangular(transposed(node.unpack(0)), *g, p.upper == 0, p.unit != 0);
      out[1] = db;
      if (!node.wants(0)) return;
      const Tensor da = matmul(db, transposed(node.unpack(1)));
      const Tensor mask = lower_weights(da.sizes().back(), p.unit != 0 ? 0 : 1, da.dtype());
      out[0] = negative(mul(da, p.upper != 0 ? transposed(mask) : mask));
    }};

Tensor solve_triangular_row(const Tensor& a, const Tensor& b, bool upper, bool left, bool unit) {
  constexpr auto name = "linalg.solve_triangular";
  check_square(name, a);
  check_matrix(name, a);
  check_matrix(name, b);
  check_operands(name, a, b);
  if (!left) {
    return transposed(solve_triangular_row(transposed(a), transposed(b), !upper, true, unit));
  }
  const int64_t n = a.sizes().back();
  if (b.size(b.dim() - 2) != n) {
    fail(name, ": incompatible shapes of A and B for the equation AX = B, ", a.sizes(), " and ",
         b.sizes());
  }
  const Dims batch = broadcast_shapes(name, batch_of(a), batch_of(b));
  return solve_triangular(expand(a, matrix_sizes(batch, n, n)),
                          expand(b, matrix_sizes(batch, n, b.sizes().back())), upper, unit);
}

// --- Cholesky ----------------------------------------------------------------------------------

// A = L L^T: with P the lower triangle of L^T dL, its diagonal halved, and S = L^-T P L^-1, dA is
// the symmetric part of S.
constexpr Rule kCholesky{"linalg_cholesky", [](Node& node, Tensor* g, Tensor* out) {
                           const Tensor l = node.unpack(0), lt = transposed(l);
                           const int64_t n = l.sizes().back();
                           const Tensor p = mul(matmul(lt, *g), lower_weights(n, 0.5, l.dtype()));
                           const Tensor half = solve_triangular(lt, p, true);
                           const Tensor s =
                               transposed(solve_triangular(lt, transposed(half), true));
                           out[0] = mul(add(s, transposed(s)), number(0.5, s));
                         }};

Tensor cholesky_lower(const char* op, const Tensor& a) {
  const Dims batch = batch_of(a);
  const int64_t n = a.sizes().back();
  const Tensor l = own_copy(a), minor = zeros({product(batch)}, DType::Int64);
  run_linalg(Kernel::Cholesky, {&l, &minor}, batch, n, n);
  host_check(checks::kPositiveDefinite, {minor}, {.text = {op}, .integer = {a.dim()}});
  if (recording(a)) {
    const Tensor* in[] = {&a};
    record(kCholesky, in, 1, l, 1)->save_output(0, l);
  }
  return l;
}

Tensor cholesky(const Tensor& a, bool upper) {
  check_square("linalg.cholesky", a);
  check_matrix("linalg.cholesky", a);
  if (!upper) return cholesky_lower("linalg.cholesky", a);
  return transposed(cholesky_lower("linalg.cholesky", transposed(a)));
}

Tensor cholesky_solve(const Tensor& b, const Tensor& factor, bool upper) {
  const Tensor half =
      solve_triangular_row(upper ? transposed(factor) : factor, b, false, true, false);
  return solve_triangular_row(upper ? factor : transposed(factor), half, true, true, false);
}

// --- QR ----------------------------------------------------------------------------------------

struct QrFactors {
  Tensor q, r;
};

// M = R dR^T - dQ^T Q: dA = (dQ + Q sym(M)) R^-T, sym taking the lower triangle for both
constexpr Rule kQr{"linalg_qr", [](Node& node, Tensor* g, Tensor* out) {
                     const Tensor q = node.unpack(0), r = node.unpack(1);
                     const int64_t n = r.sizes().back();
                     Tensor m, dq = g[0];
                     if (g[1].defined()) m = matmul(r, transposed(g[1]));
                     if (dq.defined()) {
                       const Tensor qq = matmul(transposed(dq), q);
                       m = m.defined() ? sub(m, qq) : negative(qq);
                     }
                     const Tensor lower = mul(m, lower_weights(n, 0.5, m.dtype()));
                     const Tensor with_q = matmul(q, add(lower, transposed(lower)));
                     dq = dq.defined() ? add(dq, with_q) : with_q;
                     out[0] = transposed(solve_triangular(r, transposed(dq), true));
                   }};

QrFactors qr_factors(const Tensor& a, int64_t columns) {
  const Dims batch = batch_of(a);
  const int64_t m = a.size(a.dim() - 2), n = a.sizes().back();
  const GradMode off(false);
  QrFactors f{Tensor::empty(matrix_sizes(batch, m, columns), a.dtype(), a.device()), own_copy(a)};
  if (n == 0) copy_into(f.q, narrow(identity(m, a.dtype()), 1, 0, columns));
  run_linalg(Kernel::Qr, {&f.r, &f.q}, batch, m, n, columns);
  f.r = contiguous(narrow(f.r, -2, 0, columns));
  return f;
}

// A = Q R with at least as many rows as columns; recorded.
std::vector<Tensor> qr_tall(const Tensor& a) {
  const QrFactors f = qr_factors(a, a.sizes().back());
  if (recording(a)) {
    const Tensor* in[] = {&a};
    Node* node = record(kQr, in, 1, std::vector<Tensor>{f.q, f.r}, 2);
    node->save_output(0, f.q, 0);
    node->save_output(1, f.r, 1);
  }
  return {f.q, f.r};
}

std::vector<Tensor> qr(const Tensor& a, std::string_view mode) {
  check_matrix("linalg.qr", a);
  const bool complete = mode == "complete", only_r = mode == "r";
  if (!complete && !only_r && mode != "reduced") {
    fail("linalg.qr: received unrecognized mode '", mode,
         "' but expected one of 'reduced' (default), 'r', or 'complete'");
  }
  const int64_t m = a.size(a.dim() - 2), n = a.sizes().back(), k = complete ? m : std::min(m, n);
  if (!recording(a)) {
    const QrFactors f = qr_factors(a, k);
    return {only_r ? Tensor::empty({0}, a.dtype()) : f.q, f.r};
  }
  if (only_r) {
    fail("linalg.qr: the derivative is not implemented for mode='r'; use 'reduced'");
  }
  if (complete && m > n) {
    fail(
        "linalg.qr: the derivative is not implemented for mode='complete' and more rows than "
        "columns, got shape ",
        a.sizes());
  }
  if (m >= n) return qr_tall(a);
  // A = [X Y] has the factors of X, and R = [R_X, Q^T Y].
  const std::vector<Tensor> f = qr_tall(narrow(a, -1, 0, m));
  return {f[0], cat({f[1], matmul(transposed(f[0]), narrow(a, -1, m, n - m))}, -1)};
}

}  // namespace

Tensor solve_triangular(const Tensor& a, const Tensor& b, bool upper, bool unit) {
  const int64_t n = b.size(b.dim() - 2), cols = b.sizes().back();
  const Tensor x = own_copy(b), dense = contiguous(detach(a));
  run_linalg(Kernel::SolveTriangular, {&x, &dense}, batch_of(b), n, cols, upper, unit);
  if (recording(a, b)) {
    const Tensor* in[] = {&a, &b};
    Node* node = record(kSolveTriangular, in, 2, x, 2, TrianglePayload{upper, unit});
    node->save(0, a);
    if (node->edges()[0].node) node->save_output(1, x);
  }
  return x;
}

}  // namespace ops

void add_factors(OpTable& t) {
  using namespace ops;
  constexpr uint8_t both = kMethod | kFunction;
  constexpr auto cholesky_doc =
      "The lower triangular L with A = L L^T, or its transpose with upper=True; A is symmetric and "
      "positive definite, and only its lower (upper) triangle is read.";
  t.push_back(
      row<&cholesky>("linalg_cholesky(Tensor A, *, bool upper=False)", kLinalg, cholesky_doc));
  t.push_back(row<&cholesky>("cholesky(Tensor input, bool upper=False)", both, cholesky_doc));
  t.push_back(row<&cholesky_solve>("cholesky_solve(Tensor input, Tensor input2, bool upper=False)",
                                   both,
                                   "X in A X = input, given the Cholesky factor input2 of A."));
  t.push_back(row<&solve_triangular_row>(
      "linalg_solve_triangular(Tensor A, Tensor B, *, bool upper, bool left=True, bool "
      "unitriangular=False)",
      kLinalg,
      "X in A X = B, or in X A = B with left=False, A triangular. Derivatives: dB = A^-T g, "
      "dA = -dB X^T."));
  constexpr auto qr_doc =
      "A = Q R, the columns of Q at right angles and R upper triangular. mode: 'reduced' for the "
      "first min(m, n) columns of Q, 'complete' for all m, 'r' for R alone.";
  t.push_back(row<&qr>("linalg_qr(Tensor A, str mode='reduced') -> Q, R", kLinalg, qr_doc));
}

}  // namespace wengert
