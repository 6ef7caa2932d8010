// Inner loops of reductions: along a dense row, and down the columns of dense rows. The order in
// which elements meet depends on the sizes alone.
#pragma once

#include "kernels/cpu/vec.h"
#include "kernels/cpu/vmath_all.h"
#include "kernels/reductions.h"

namespace wengert::WENGERT_ISA {

template <class R, class T>
WENGERT_INLINE Vec<T> identity_of() {
  return R::template identity<Vec<T>>();
}

template <class R, class T>
WENGERT_INLINE Vec<T> lifted(Vec<T> x, Vec<T> centre) {
  if constexpr (requires { R::lift(x, centre); }) {
    return R::lift(x, centre);
  } else {
    return x;
  }
}

// The first n lanes from memory, the others the identity.
template <class R, class T>
WENGERT_INLINE Vec<T> lift_part(const T* p, int n, Vec<T> centre) {
  return select(first_lanes<T>(n), lifted<R>(Vec<T>::load(p, n), centre), identity_of<R, T>());
}

// Joins all lanes by halves.
template <class R, int Distance, class T>
WENGERT_INLINE T join_lanes_from(Vec<T> v) {
  if constexpr (Distance == 0) {
    return v.v[0];
  } else {
    return join_lanes_from<R, Distance / 2>(R::join(v, swap_lanes<Distance>(v)));
  }
}
template <class R, class T>
WENGERT_INLINE T join_lanes(Vec<T> v) {
  return join_lanes_from<R, Vec<T>::N / 2>(v);
}

// Lanes `first`, first + 2, ... of two vectors.
template <int first, class T>
WENGERT_INLINE Vec<T> every_other(Vec<T> a, Vec<T> b) {
#if defined(__clang__)
  constexpr int N = Vec<T>::N;
  Vec<T> r;
  for (int i = 0; i < N; ++i) r.v[i] = i < N / 2 ? a.v[2 * i + first] : b.v[2 * i - N + first];
  return r;
#else
  return __builtin_shuffle(a.v, b.v, lane_numbers<T>() * 2 + first);
#endif
}

// Four vectors run side by side to hide the latency of an addition.
template <class R, class T>
WENGERT_INLINE T reduce_dense(const T* x, int64_t n, Vec<T> centre = Vec<T>(0.0)) {
  constexpr int N = Vec<T>::N;
  Vec<T> acc[4];
  for (auto& a : acc) a = identity_of<R, T>();
  int64_t i = 0;
  for (; i + 4 * N <= n; i += 4 * N) {
    for (int u = 0; u < 4; ++u) {
      acc[u] = R::join(acc[u], lifted<R>(Vec<T>::load(x + i + u * N), centre));
    }
  }
  for (int u = 0; i < n; i += N, ++u) {
    const int m = n - i < N ? static_cast<int>(n - i) : N;
    acc[u] = R::join(acc[u], lift_part<R>(x + i, m, centre));
  }
  return join_lanes<R>(R::join(R::join(acc[0], acc[1]), R::join(acc[2], acc[3])));
}

template <class R, class T>
void reduce_row(const void* x, int64_t n, const void* centre, void* out) {
  const auto c = centre ? Vec<T>::broadcast(*static_cast<const T*>(centre)) : Vec<T>(0.0);
  *static_cast<T*>(out) = reduce_dense<R>(static_cast<const T*>(x), n, c);
}

// kRows rows more. What is joined so far stands in `to`, or nothing is.
template <class R, int kRows, class T>
WENGERT_INLINE void join_rows(const T* x, int64_t row_stride, int64_t n, const T* centres,
                              bool first, T* to) {
  over<T>(n, [&](int64_t j, int m) {
    const auto c = centres ? Vec<T>::load(centres + j, m) : Vec<T>(0.0);
    Vec<T> acc = first ? identity_of<R, T>() : Vec<T>::load(to + j, m);
    for (int u = 0; u < kRows; ++u) {
      acc = R::join(acc, lifted<R>(Vec<T>::load(x + u * row_stride + j, m), c));
    }
    acc.store(to + j, m);
  });
}

// Up to NV vectors of columns, whose sums stay in registers.
template <class R, int NV, class T>
WENGERT_INLINE void reduce_few_columns(const T* x, int64_t rows, int64_t row_stride, int64_t n,
                                       const T* centres, T* to) {
  constexpr int N = Vec<T>::N;
  const int last = static_cast<int>(n) - (NV - 1) * N;
  const auto lanes = [&](int v) { return v == NV - 1 ? last : N; };
  Vec<T> acc[NV], c[NV];
  for (int v = 0; v < NV; ++v) {
    acc[v] = identity_of<R, T>();
    c[v] = centres ? Vec<T>::load(centres + v * N, lanes(v)) : Vec<T>(0.0);
  }
  for (int64_t r = 0; r < rows; ++r, x += row_stride) {
    for (int v = 0; v < NV; ++v) {
      acc[v] = R::join(acc[v], lifted<R>(Vec<T>::load(x + v * N, lanes(v)), c[v]));
    }
  }
  for (int v = 0; v < NV; ++v) acc[v].store(to + v * N, lanes(v));
}

// out[j] = x[0][j] + x[1][j] + ..., always in that order. Sums of few columns stay in registers.
// Those of more go by L1: once for eight rows where these are pages of their own, and row by row
// where rows are short, so that memory is read as it lies (256 columns of 16 M: 4.2 for 6.5 ms).
template <class R, class T>
void reduce_columns(const void* x, int64_t rows, int64_t row_stride, int64_t n, const void* centre,
                    void* out) {
  constexpr int N = Vec<T>::N;
  constexpr int64_t kPage = 4096 / static_cast<int64_t>(sizeof(T));
  const T* in = static_cast<const T*>(x);
  const T* centres = static_cast<const T*>(centre);
  T* to = static_cast<T*>(out);
  if (n <= N) return reduce_few_columns<R, 1>(in, rows, row_stride, n, centres, to);
  if (n <= 2 * N) return reduce_few_columns<R, 2>(in, rows, row_stride, n, centres, to);
  if (n <= 3 * N) return reduce_few_columns<R, 3>(in, rows, row_stride, n, centres, to);
  if (n <= 4 * N) return reduce_few_columns<R, 4>(in, rows, row_stride, n, centres, to);
  int64_t r = 0;
  if (n >= kPage || row_stride > n) {
    for (; r + 8 <= rows; r += 8) {
      join_rows<R, 8>(in + r * row_stride, row_stride, n, centres, r == 0, to);
    }
  }
  for (; r < rows; ++r) join_rows<R, 1>(in + r * row_stride, row_stride, n, centres, r == 0, to);
}

// Rows of n elements, a power of two, one behind the other: neighbours are joined until each row
// is one lane.
template <class R, int n, class T>
WENGERT_INLINE void join_halves(Vec<T>* v) {
  if constexpr (n > 1) {
    for (int u = 0; u < n / 2; ++u) {
      v[u] =
          R::join(every_other<0>(v[2 * u], v[2 * u + 1]), every_other<1>(v[2 * u], v[2 * u + 1]));
    }
    join_halves<R, n / 2>(v);
  }
}
template <class R, int n, class T>
void reduce_short_rows(const void* x, int64_t rows, void* out) {
  constexpr int N = Vec<T>::N;
  const T* in = static_cast<const T*>(x);
  Vec<T> v[n];
  int64_t r = 0;
  for (; r + N <= rows; r += N) {
    for (int u = 0; u < n; ++u) v[u] = Vec<T>::load(in + r * n + u * N);
    join_halves<R, n>(v);
    v[0].store(static_cast<T*>(out) + r);
  }
  if (r == rows) return;
  for (int u = 0; u < n; ++u) {
    const int64_t left = (rows - r) * n - u * N;
    v[u] = left > 0 ? Vec<T>::load(in + r * n + u * N, left < N ? static_cast<int>(left) : N)
                    : Vec<T>(0.0);
  }
  join_halves<R, n>(v);
  v[0].store(static_cast<T*>(out) + r, static_cast<int>(rows - r));
}

// The sum of products: eight sums side by side, joined in a fixed order.
template <class T>
void dot_dense(const void* x, const void* y, int64_t n, void* out) {
  constexpr int N = Vec<T>::N, kSums = 8;
  const T *a = static_cast<const T*>(x), *b = static_cast<const T*>(y);
  const auto more = [](Vec<T> p, Vec<T> q, Vec<T> sum) {
    if constexpr (is_integer<T>)
      return p * q + sum;
    else
      return fma(p, q, sum);
  };
  Vec<T> acc[kSums];
  for (auto& s : acc) s = Vec<T>(0.0);
  int64_t i = 0;
  for (; i + kSums * N <= n; i += kSums * N) {
    for (int u = 0; u < kSums; ++u) {
      acc[u] = more(Vec<T>::load(a + i + u * N), Vec<T>::load(b + i + u * N), acc[u]);
    }
  }
  for (int u = 0; i < n; i += N, ++u) {
    const int m = n - i < N ? static_cast<int>(n - i) : N;
    acc[u] = more(Vec<T>::load(a + i, m), Vec<T>::load(b + i, m), acc[u]);
  }
  for (int k = kSums / 2; k > 0; k /= 2) {
    for (int u = 0; u < k; ++u) acc[u] = acc[u] + acc[u + k];
  }
  *static_cast<T*>(out) = join_lanes<wengert::Sum>(acc[0]);
}

template <class R, class T, class Loops>
void fill_reduction(Loops& loops) {
  if constexpr (requires { typename R::Extreme; }) {
    return;  // places have loops of their own
  } else if constexpr (!(requires { R::floating; } && is_integer<T>)) {
    using Joins = typename JoinsOf<R>::type;
    loops.row = &reduce_row<R, T>;
    loops.columns = &reduce_columns<R, T>;
    loops.join_row = &reduce_row<Joins, T>;
    loops.join_columns = &reduce_columns<Joins, T>;
    if constexpr (std::is_same_v<R, Joins>) {
      loops.short_rows[0] = &reduce_short_rows<R, 2, T>;
      loops.short_rows[1] = &reduce_short_rows<R, 4, T>;
      loops.short_rows[2] = &reduce_short_rows<R, 8, T>;
      loops.short_rows[3] = &reduce_short_rows<R, 16, T>;
    }
  }
}

template <class T, class Isa, class... Rs>
void fill_reduce(Isa& isa, TypeList<Rs...>) {
  constexpr int t = static_cast<int>(kDTypeOf<T>);
  (fill_reduction<Rs, T>(isa.reduce[index_of<Rs, Reductions>][t]), ...);
  isa.dot[t] = &dot_dense<T>;
}

}  // namespace wengert::WENGERT_ISA
