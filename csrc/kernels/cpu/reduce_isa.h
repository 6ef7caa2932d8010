// Inner loops of reductions: along a dense row, and down the columns of dense rows. The order in
// which elements meet depends on the sizes alone.
#pragma once

#include "kernels/cpu/vec.h"
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

// out[j] = x[0][j] + x[1][j] + ..., four vectors of columns at a time
template <class R, class T>
void reduce_columns(const void* x, int64_t rows, int64_t row_stride, int64_t n, const void* centre,
                    void* out) {
  constexpr int N = Vec<T>::N;
  const T* in = static_cast<const T*>(x);
  const T* centres = static_cast<const T*>(centre);
  T* to = static_cast<T*>(out);
  int64_t j = 0;
  for (; j + 4 * N <= n; j += 4 * N) {
    Vec<T> acc[4], c[4];
    for (int u = 0; u < 4; ++u) {
      acc[u] = identity_of<R, T>();
      c[u] = centres ? Vec<T>::load(centres + j + u * N) : Vec<T>(0.0);
    }
    for (int64_t r = 0; r < rows; ++r) {
      const T* p = in + r * row_stride + j;
      for (int u = 0; u < 4; ++u) {
        acc[u] = R::join(acc[u], lifted<R>(Vec<T>::load(p + u * N), c[u]));
      }
    }
    for (int u = 0; u < 4; ++u) acc[u].store(to + j + u * N);
  }
  for (; j < n; j += N) {
    const int m = n - j < N ? static_cast<int>(n - j) : N;
    Vec<T> acc = identity_of<R, T>();
    const auto c = centres ? Vec<T>::load(centres + j, m) : Vec<T>(0.0);
    for (int64_t r = 0; r < rows; ++r) {
      acc = R::join(acc, lift_part<R>(in + r * row_stride + j, m, c));
    }
    acc.store(to + j, m);
  }
}

// The first place of the extreme value; a NaN is more extreme than anything.
template <class R, class T>
void arg_row(const void* x, int64_t n, const void*, void* out) {
  const T* in = static_cast<const T*>(x);
  const T best = reduce_dense<R>(in, n);
  int64_t i = 0;
  if (best == best) {
    while (i < n && !(in[i] == best)) ++i;
  } else {
    while (i < n && in[i] == in[i]) ++i;
  }
  *static_cast<int64_t*>(out) = i;
}

template <class R, class T, class Loops>
void fill_reduction(Loops& loops) {
  if constexpr (requires { typename R::Extreme; }) {
    loops.row = &arg_row<typename R::Extreme, T>;
  } else {
    using Joins = typename JoinsOf<R>::type;
    loops.row = &reduce_row<R, T>;
    loops.columns = &reduce_columns<R, T>;
    loops.join_row = &reduce_row<Joins, T>;
    loops.join_columns = &reduce_columns<Joins, T>;
  }
}

template <class T, class Isa, class... Rs>
void fill_reduce(Isa& isa, TypeList<Rs...>) {
  constexpr int t = static_cast<int>(kDTypeOf<T>);
  (fill_reduction<Rs, T>(isa.reduce[index_of<Rs, Reductions>][t]), ...);
}

}  // namespace wengert::WENGERT_ISA
