// Inner loops of reductions: along a dense row, and down the columns of dense rows. The order in
// which elements meet depends on the sizes alone.
#pragma once

#include "kernels/cpu/vec.h"
#include "kernels/kernels.h"

namespace wengert::WENGERT_ISA {

template <class T>
struct SumOf {
  static WENGERT_INLINE Vec<T> identity() { return Vec<T>(0.0); }
  static WENGERT_INLINE Vec<T> join(Vec<T> a, Vec<T> b) { return a + b; }
};
template <class T>
WENGERT_INLINE T lowest_of() {
  if constexpr (__is_same(T, int64_t)) {
    return INT64_MIN;
  } else {
    return static_cast<T>(-__builtin_inf());
  }
}
template <class T>
WENGERT_INLINE T highest_of() {
  if constexpr (__is_same(T, int64_t)) {
    return INT64_MAX;
  } else {
    return static_cast<T>(__builtin_inf());
  }
}
template <class T>
struct MaxOf {
  static WENGERT_INLINE Vec<T> identity() { return Vec<T>::broadcast(lowest_of<T>()); }
  static WENGERT_INLINE Vec<T> join(Vec<T> a, Vec<T> b) { return maximum(a, b); }
};
template <class T>
struct MinOf {
  static WENGERT_INLINE Vec<T> identity() { return Vec<T>::broadcast(highest_of<T>()); }
  static WENGERT_INLINE Vec<T> join(Vec<T> a, Vec<T> b) { return minimum(a, b); }
};

// The first n lanes from memory, the others the identity.
template <class R, class T>
WENGERT_INLINE Vec<T> load_part_or_identity(const T* p, int n) {
  return select(first_lanes<T>(n), Vec<T>::load(p, n), R::identity());
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

// Four vectors run side by side to hide the latency of an addition.
template <class R, class T>
WENGERT_INLINE T reduce_dense(const T* x, int64_t n) {
  constexpr int N = Vec<T>::N;
  Vec<T> acc[4] = {R::identity(), R::identity(), R::identity(), R::identity()};
  int64_t i = 0;
  for (; i + 4 * N <= n; i += 4 * N) {
    for (int u = 0; u < 4; ++u) acc[u] = R::join(acc[u], Vec<T>::load(x + i + u * N));
  }
  for (int u = 0; i < n; i += N, ++u) {
    const int m = n - i < N ? static_cast<int>(n - i) : N;
    acc[u] = R::join(acc[u], load_part_or_identity<R>(x + i, m));
  }
  return join_lanes<R>(R::join(R::join(acc[0], acc[1]), R::join(acc[2], acc[3])));
}

template <template <class> class R, class T>
void reduce_row(const void* x, int64_t n, void* out) {
  *static_cast<T*>(out) = reduce_dense<R<T>>(static_cast<const T*>(x), n);
}

// out[j] = x[0][j] + x[1][j] + ..., four vectors of columns at a time
template <template <class> class R, class T>
void reduce_columns(const void* x, int64_t rows, int64_t row_stride, int64_t n, void* out) {
  constexpr int N = Vec<T>::N;
  const T* in = static_cast<const T*>(x);
  T* to = static_cast<T*>(out);
  int64_t j = 0;
  for (; j + 4 * N <= n; j += 4 * N) {
    Vec<T> acc[4] = {R<T>::identity(), R<T>::identity(), R<T>::identity(), R<T>::identity()};
    for (int64_t r = 0; r < rows; ++r) {
      const T* p = in + r * row_stride + j;
      for (int u = 0; u < 4; ++u) acc[u] = R<T>::join(acc[u], Vec<T>::load(p + u * N));
    }
    for (int u = 0; u < 4; ++u) acc[u].store(to + j + u * N);
  }
  for (; j < n; j += N) {
    const int m = n - j < N ? static_cast<int>(n - j) : N;
    Vec<T> acc = R<T>::identity();
    for (int64_t r = 0; r < rows; ++r) {
      acc = R<T>::join(acc, load_part_or_identity<R<T>>(in + r * row_stride + j, m));
    }
    acc.store(to + j, m);
  }
}

// The first place of the extreme value; a NaN is more extreme than anything.
template <template <class> class R, class T>
void arg_row(const void* x, int64_t n, void* out) {
  const T* in = static_cast<const T*>(x);
  const T best = reduce_dense<R<T>>(in, n);
  int64_t i = 0;
  if (best == best) {
    while (i < n && !(in[i] == best)) ++i;
  } else {
    while (i < n && in[i] == in[i]) ++i;
  }
  *static_cast<int64_t*>(out) = i;
}

template <class T, class Isa>
void fill_reduce(Isa& isa) {
  constexpr int t = static_cast<int>(kDTypeOf<T>);
  isa.reduce[0][t] = {&reduce_row<SumOf, T>, &reduce_columns<SumOf, T>};
  isa.reduce[1][t] = {&reduce_row<MaxOf, T>, &reduce_columns<MaxOf, T>};
  isa.reduce[2][t] = {&reduce_row<MinOf, T>, &reduce_columns<MinOf, T>};
  isa.reduce[3][t] = {&arg_row<MaxOf, T>, nullptr};
  isa.reduce[4][t] = {&arg_row<MinOf, T>, nullptr};
}

}  // namespace wengert::WENGERT_ISA
