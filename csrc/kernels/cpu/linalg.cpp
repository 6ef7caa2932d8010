// Factorizations of small dense matrices: LU, Cholesky, triangular systems, QR, and the Jacobi
// methods for eigenvalues and singular values. Matrices are row-major; inner loops run along rows.
// The matrices of a batch are shared out among threads; each is the work of one.
#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>
#include <vector>

#include "kernels/cpu/cpu.h"
#include "kernels/cpu/parallel.h"

namespace wengert::cpu {
namespace {

constexpr int64_t kGrain = 32768;  // multiplications that are worth a thread
constexpr int kMaxSweeps = 60;     // Jacobi needs some ten

template <class T>
T* matrix(const Launch& l, int k, int64_t i, int64_t size) {
  return static_cast<T*>(l.buffer[k].data) + i * size;
}

// body<T>(i) for each matrix of the batch.
template <class Body>
void each_matrix(const Launch& l, Body&& body) {
  const int64_t m = l.size[1], n = l.size[2], work = std::max<int64_t>(1, m * n * std::min(m, n));
  visit_compute(l.dtype, [&]<class T>() {
    if constexpr (std::is_floating_point_v<T>) {
      parallel_for(l.size[0], std::max<int64_t>(1, kGrain / work), [&](int64_t b, int64_t e) {
        for (int64_t i = b; i < e; ++i) body.template operator()<T>(i);
      });
    }
  });
}

template <class T>
T dot(const T* a, const T* b, int64_t n) {
  T s[4] = {};
  int64_t i = 0;
  for (; i + 4 <= n; i += 4) {
    for (int k = 0; k < 4; ++k) s[k] += a[i + k] * b[i + k];
  }
  for (; i < n; ++i) s[0] += a[i] * b[i];
  return (s[0] + s[1]) + (s[2] + s[3]);
}

// y -= f x
template <class T>
void subtract(T* y, T f, const T* x, int64_t n) {
  for (int64_t i = 0; i < n; ++i) y[i] -= f * x[i];
}

// (x, y) = (c x - s y, s x + c y)
template <class T>
void rotate(T* x, T* y, int64_t n, int64_t step, T c, T s) {
  for (int64_t i = 0; i < n * step; i += step) {
    const T a = x[i], b = y[i];
    x[i] = c * a - s * b;
    y[i] = s * a + c * b;
  }
}

// Gaussian elimination with partial pivoting. Returns 0, or the number of the first pivot that
// is 0, counted from 1.
template <class T>
int64_t factor_lu(T* a, int64_t n, int64_t* row_of) {
  int64_t zero = 0;
  std::iota(row_of, row_of + n, int64_t{0});
  for (int64_t k = 0; k < n; ++k) {
    int64_t best = k;
    for (int64_t i = k + 1; i < n; ++i) {
      if (std::abs(a[i * n + k]) > std::abs(a[best * n + k])) best = i;
    }
    if (best != k) {
      std::swap_ranges(a + k * n, a + (k + 1) * n, a + best * n);
      std::swap(row_of[k], row_of[best]);
    }
    const T pivot = a[k * n + k];
    if (pivot == T(0)) {
      if (zero == 0) zero = k + 1;
      continue;
    }
    for (int64_t i = k + 1; i < n; ++i) {
      const T f = a[i * n + k] / pivot;
      a[i * n + k] = f;
      if (f != T(0)) subtract(a + i * n + k + 1, f, a + k * n + k + 1, n - k - 1);
    }
  }
  return zero;
}

// The determinant from the factors: itself, its sign, the logarithm of its absolute value.
template <class T>
void determinant(const T* lu, int64_t n, const int64_t* row_of, T* det, T* sign, T* log) {
  // Each cycle of even length turns the sign once.
  std::vector<bool> seen(static_cast<size_t>(n));
  *sign = T(1);
  for (int64_t i = 0; i < n; ++i) {
    int64_t length = 0;
    for (int64_t k = i; !seen[static_cast<size_t>(k)]; k = row_of[k], ++length) {
      seen[static_cast<size_t>(k)] = true;
    }
    if (length > 0 && length % 2 == 0) *sign = -*sign;
  }
  *det = *sign;
  *log = T(0);
  for (int64_t i = 0; i < n; ++i) {
    const T d = lu[i * n + i];
    *det *= d;
    *log += std::log(std::abs(d));
    *sign = d > T(0) ? *sign : d < T(0) ? -*sign : d == T(0) ? T(0) : d;
  }
}

// The lower factor, zeros above it. Returns 0, or the order of the first minor that is not
// positive definite.
template <class T>
int64_t factor_cholesky(T* a, int64_t n) {
  for (int64_t i = 0; i < n; ++i) {
    T* row = a + i * n;
    for (int64_t j = 0; j < i; ++j) {
      row[j] = (row[j] - dot(row, a + j * n, j)) / a[j * n + j];
    }
    const T d = row[i] - dot(row, row, i);
    if (!(d > T(0))) return i + 1;
    row[i] = std::sqrt(d);
    std::fill(row + i + 1, row + n, T(0));
  }
  return 0;
}

// X = A^-1 X by substitution, from the first row on or from the last.
template <class T>
void solve_triangle(const T* a, T* x, int64_t n, int64_t cols, bool upper, bool unit) {
  for (int64_t step = 0; step < n; ++step) {
    const int64_t i = upper ? n - 1 - step : step;
    T* row = x + i * cols;
    for (int64_t j = upper ? i + 1 : 0; j < (upper ? n : i); ++j) {
      if (const T f = a[i * n + j]; f != T(0)) subtract(row, f, x + j * cols, cols);
    }
    if (unit) continue;
    for (int64_t c = 0; c < cols; ++c) row[c] /= a[i * n + i];
  }
}

// Householder's method: R in place of A (m x n), and the first `k` columns of Q (m x k). The signs
// are LAPACK's: a reflection is left out where there is nothing to reflect.
template <class T>
void factor_qr(T* a, T* q, int64_t m, int64_t n, int64_t k) {
  const int64_t steps = std::min(m, n);
  std::vector<T> v(static_cast<size_t>(steps * m), T(0)), sums(static_cast<size_t>(std::max(n, k)));
  std::vector<T> factors(static_cast<size_t>(steps), T(0));
  // Rows j.. of x, from column `first` on, reflected: x -= f v (v^T x)
  const auto reflect = [&](T* x, int64_t cols, int64_t first, int64_t j) {
    const T* vj = v.data() + j * m;
    std::fill(sums.begin(), sums.end(), T(0));
    for (int64_t i = j; i < m; ++i) {
      subtract(sums.data() + first, -vj[i], x + i * cols + first, cols - first);
    }
    const T f = factors[static_cast<size_t>(j)];
    for (int64_t i = j; i < m; ++i) {
      subtract(x + i * cols + first, f * vj[i], sums.data() + first, cols - first);
    }
  };
  for (int64_t j = 0; j < steps; ++j) {
    T* vj = v.data() + j * m;
    T largest = 0;
    for (int64_t i = j; i < m; ++i) {
      vj[i] = a[i * n + j];
      if (i > j) largest = std::max(largest, std::abs(vj[i]));
    }
    if (largest == T(0)) continue;
    largest = std::max(largest, std::abs(vj[j]));
    for (int64_t i = j; i < m; ++i)
      vj[i] /= largest;  // the squares can neither over- nor underflow
    const T norm = std::sqrt(dot(vj + j, vj + j, m - j));
    const T to = vj[j] > T(0) ? -norm : norm;
    vj[j] -= to;
    factors[static_cast<size_t>(j)] = T(2) / dot(vj + j, vj + j, m - j);
    reflect(a, n, j, j);
    a[j * n + j] = to * largest;
    for (int64_t i = j + 1; i < m; ++i) a[i * n + j] = T(0);
  }
  std::fill(q, q + m * k, T(0));
  for (int64_t i = 0; i < std::min(m, k); ++i) q[i * k + i] = T(1);
  for (int64_t j = steps - 1; j >= 0; --j) {
    if (factors[static_cast<size_t>(j)] != T(0)) reflect(q, k, 0, j);
  }
}

// The rotation that makes an off-diagonal element 0, given the difference of the diagonal ones
// over twice that element (Golub and Van Loan, Matrix Computations, section on Jacobi methods).
template <class T>
std::pair<T, T> rotation(T ratio) {
  const T t = (ratio >= T(0) ? T(1) : T(-1)) / (std::abs(ratio) + std::hypot(T(1), ratio));
  const T c = T(1) / std::hypot(T(1), t);
  return {c, t * c};
}

// The largest absolute value; NaN if there is one.
template <class T>
T largest_of(const T* a, int64_t n) {
  T largest = 0;
  for (int64_t i = 0; i < n; ++i) {
    const T v = std::abs(a[i]);
    if (!(v <= largest)) largest = v;
    if (std::isnan(v)) break;
  }
  return largest;
}

// Jacobi's method for a symmetric matrix: the eigenvalues, rising, in w, and the eigenvectors as
// the columns of A.
template <class T>
void factor_eigh(T* a, T* w, int64_t n) {
  std::vector<T> v(static_cast<size_t>(n * n), T(0));  // eigenvectors as rows
  for (int64_t i = 0; i < n; ++i) v[static_cast<size_t>(i * n + i)] = T(1);
  const T scale = largest_of(a, n * n);
  if (!std::isfinite(scale)) {
    std::fill(a, a + n * n, std::numeric_limits<T>::quiet_NaN());
    std::fill(w, w + n, std::numeric_limits<T>::quiet_NaN());
    return;
  }
  const T negligible = scale * std::numeric_limits<T>::epsilon() / static_cast<T>(8 * n);
  bool rotated = scale > T(0);
  for (int sweep = 0; rotated && sweep < kMaxSweeps; ++sweep) {
    rotated = false;
    for (int64_t p = 0; p < n; ++p) {
      for (int64_t q = p + 1; q < n; ++q) {
        const T off = a[p * n + q];
        if (std::abs(off) <= negligible) continue;
        rotated = true;
        const auto [c, s] = rotation((a[q * n + q] - a[p * n + p]) / (2 * off));
        rotate(a + p * n, a + q * n, n, 1, c, s);
        rotate(a + p, a + q, n, n, c, s);
        a[p * n + q] = a[q * n + p] = T(0);
        rotate(v.data() + p * n, v.data() + q * n, n, 1, c, s);
      }
    }
  }
  std::vector<int64_t> order(static_cast<size_t>(n));
  std::iota(order.begin(), order.end(), int64_t{0});
  std::stable_sort(order.begin(), order.end(),
                   [&](int64_t i, int64_t j) { return a[i * n + i] < a[j * n + j]; });
  for (int64_t j = 0; j < n; ++j) w[j] = a[order[static_cast<size_t>(j)] * (n + 1)];
  for (int64_t j = 0; j < n; ++j) {
    const T* row = v.data() + order[static_cast<size_t>(j)] * n;
    for (int64_t i = 0; i < n; ++i) a[i * n + j] = row[i];
  }
}

// Makes row k of u (rows of m elements) a unit vector at right angles to the k rows before it.
template <class T>
void complete(T* u, int64_t k, int64_t m) {
  T* row = u + k * m;
  for (int64_t e = 0; e < m; ++e) {
    std::fill(row, row + m, T(0));
    row[e] = T(1);
    for (int pass = 0; pass < 2; ++pass) {  // twice is enough
      for (int64_t i = 0; i < k; ++i) subtract(row, dot(row, u + i * m, m), u + i * m, m);
    }
    const T square = dot(row, row, m);
    // Over all e these squares sum to m - k, so one is large enough.
    if (square * static_cast<T>(2 * m) < static_cast<T>(m - k)) continue;
    const T norm = std::sqrt(square);
    for (int64_t i = 0; i < m; ++i) row[i] /= norm;
    return;
  }
}

// Hestenes' one-sided Jacobi method for A (m x n, m >= n), given as its transpose: rotates rows
// until all are at right angles; their lengths are the singular values. u: k rows of m, v: n rows
// of n, both vectors as rows, the largest value first.
template <class T>
void factor_svd(T* at, T* u, T* s, T* v, int64_t m, int64_t n, int64_t k) {
  std::vector<T> turned(static_cast<size_t>(n * n), T(0));
  for (int64_t i = 0; i < n; ++i) turned[static_cast<size_t>(i * n + i)] = T(1);
  const T scale = largest_of(at, m * n);
  if (!std::isfinite(scale)) {
    for (auto [to, size] : {std::pair{u, k * m}, {s, n}, {v, n * n}}) {
      std::fill(to, to + size, std::numeric_limits<T>::quiet_NaN());
    }
    return;
  }
  if (scale > T(0)) {  // the squares can neither over- nor underflow
    for (int64_t i = 0; i < m * n; ++i) at[i] /= scale;
  }
  const T tolerance =
      std::numeric_limits<T>::epsilon() * std::sqrt(static_cast<T>(std::max<int64_t>(m, 1)));
  bool rotated = scale > T(0);
  for (int sweep = 0; rotated && sweep < kMaxSweeps; ++sweep) {
    rotated = false;
    for (int64_t p = 0; p < n; ++p) {
      for (int64_t q = p + 1; q < n; ++q) {
        T *x = at + p * m, *y = at + q * m;
        const T xx = dot(x, x, m), yy = dot(y, y, m), xy = dot(x, y, m);
        if (std::abs(xy) <= tolerance * std::sqrt(xx) * std::sqrt(yy)) continue;
        rotated = true;
        const auto [c, sine] = rotation((yy - xx) / (2 * xy));
        rotate(x, y, m, 1, c, sine);
        rotate(turned.data() + p * n, turned.data() + q * n, n, 1, c, sine);
      }
    }
  }
  std::vector<T> lengths(static_cast<size_t>(n));
  for (int64_t i = 0; i < n; ++i) {
    lengths[static_cast<size_t>(i)] = std::sqrt(dot(at + i * m, at + i * m, m));
  }
  std::vector<int64_t> order(static_cast<size_t>(n));
  std::iota(order.begin(), order.end(), int64_t{0});
  std::stable_sort(order.begin(), order.end(), [&](int64_t i, int64_t j) {
    return lengths[static_cast<size_t>(i)] > lengths[static_cast<size_t>(j)];
  });
  for (int64_t i = 0; i < n; ++i) {
    const int64_t from = order[static_cast<size_t>(i)];
    const T length = lengths[static_cast<size_t>(from)];
    s[i] = length * scale;
    std::copy_n(turned.data() + from * n, n, v + i * n);
    if (length == T(0)) {
      complete(u, i, m);
      continue;
    }
    for (int64_t j = 0; j < m; ++j) u[i * m + j] = at[from * m + j] / length;
  }
  for (int64_t i = n; i < k; ++i) complete(u, i, m);
}

}  // namespace

void run_lu(const Launch& l) {
  const int64_t n = l.size[1];
  each_matrix(l, [&]<class T>(int64_t i) {
    T* a = matrix<T>(l, 0, i, n * n);
    auto* row_of = matrix<int64_t>(l, 1, i, n);
    *matrix<int64_t>(l, 2, i, 1) = factor_lu(a, n, row_of);
    const int64_t count = l.size[0];
    determinant(a, n, row_of, matrix<T>(l, 3, i, 1), matrix<T>(l, 3, count + i, 1),
                matrix<T>(l, 3, 2 * count + i, 1));
  });
}

void run_cholesky(const Launch& l) {
  const int64_t n = l.size[1];
  each_matrix(l, [&]<class T>(int64_t i) {
    *matrix<int64_t>(l, 1, i, 1) = factor_cholesky(matrix<T>(l, 0, i, n * n), n);
  });
}

void run_solve_triangular(const Launch& l) {
  const int64_t n = l.size[1], cols = l.size[2];
  each_matrix(l, [&]<class T>(int64_t i) {
    solve_triangle(matrix<T>(l, 1, i, n * n), matrix<T>(l, 0, i, n * cols), n, cols,
                   l.integer[0] != 0, l.integer[1] != 0);
  });
}

void run_qr(const Launch& l) {
  const int64_t m = l.size[1], n = l.size[2], k = l.integer[0];
  each_matrix(l, [&]<class T>(int64_t i) {
    factor_qr(matrix<T>(l, 0, i, m * n), matrix<T>(l, 1, i, m * k), m, n, k);
  });
}

void run_eigh(const Launch& l) {
  const int64_t n = l.size[1];
  each_matrix(l, [&]<class T>(int64_t i) {
    factor_eigh(matrix<T>(l, 0, i, n * n), matrix<T>(l, 1, i, n), n);
  });
}

void run_svd(const Launch& l) {
  const int64_t n = l.size[1], m = l.size[2], k = l.integer[0];
  each_matrix(l, [&]<class T>(int64_t i) {
    factor_svd(matrix<T>(l, 0, i, n * m), matrix<T>(l, 1, i, k * m), matrix<T>(l, 2, i, n),
               matrix<T>(l, 3, i, n * n), m, n, k);
  });
}

}  // namespace wengert::cpu
