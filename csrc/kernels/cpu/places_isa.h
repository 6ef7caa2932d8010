// Extremes with their places: the first of equals, and a NaN is more extreme than any number.
#pragma once

#include <bit>

#include "kernels/cpu/reduce_isa.h"
#include "kernels/cpu/vec.h"

namespace wengert::WENGERT_ISA {

// One bit a lane, from lane 0 up.
template <class T>
WENGERT_INLINE uint32_t lane_bits(Mask<T> m) {
#if defined(__AVX512F__)
  if constexpr (sizeof(T) == 4)
    return _mm512_movepi32_mask(reinterpret_cast<__m512i>(m.v));
  else
    return _mm512_movepi64_mask(reinterpret_cast<__m512i>(m.v));
#elif defined(__AVX2__)
  if constexpr (sizeof(T) == 4) {
    return static_cast<uint32_t>(_mm256_movemask_ps(reinterpret_cast<__m256>(m.v)));
  } else {
    return static_cast<uint32_t>(_mm256_movemask_pd(reinterpret_cast<__m256d>(m.v)));
  }
#elif defined(__SSE4_2__)
  if constexpr (sizeof(T) == 4) {
    return static_cast<uint32_t>(_mm_movemask_ps(reinterpret_cast<__m128>(m.v)));
  } else {
    return static_cast<uint32_t>(_mm_movemask_pd(reinterpret_cast<__m128d>(m.v)));
  }
#else
  uint32_t bits = 0;
  for (int i = 0; i < Vec<T>::N; ++i) bits |= static_cast<uint32_t>(m.v[i] & 1) << i;
  return bits;
#endif
}

template <bool kMax, class T>
struct Places {
  using V = Vec<T>;
  using I = int_of<T>;
  using Extreme = std::conditional_t<kMax, AMax, AMin>;
  static constexpr int N = V::N;
  static constexpr int64_t kBlock = 1024;  // elements, whose extreme is found at a time
  static constexpr int64_t kColumns = 512;
  static constexpr int kLongest = 16;  // short row

  // Whether x comes before `best` although it stands behind it.
  static WENGERT_INLINE Mask<T> beats(V x, V best) {
    const Mask<T> not_behind = !(kMax ? x <= best : x >= best);
    return not_behind & (best == best);
  }
  static WENGERT_INLINE bool beats(T x, T best) {
    return !(kMax ? x <= best : x >= best) && best == best;
  }

  static WENGERT_INLINE int64_t find(const T* x, int64_t n, T wanted) {
    const V v = V::broadcast(wanted);
    const auto hits = [&](V y) { return (y == v) | ((y != y) & (v != v)); };
    int64_t i = 0;
    for (; i + 4 * N <= n; i += 4 * N) {
      Mask<T> m[4];
      for (int u = 0; u < 4; ++u) m[u] = hits(V::load(x + i + u * N));
      if (lane_bits((m[0] | m[1]) | (m[2] | m[3])) == 0) continue;
      for (int u = 0; u < 4; ++u) {
        if (const uint32_t b = lane_bits(m[u])) return i + u * N + std::countr_zero(b);
      }
    }
    for (; i < n; i += N) {
      const int m = n - i < N ? static_cast<int>(n - i) : N;
      const uint32_t b = lane_bits(hits(V::load(x + i, m)) & first_lanes<T>(m));
      if (b) return i + std::countr_zero(b);
    }
    return n;
  }

  static int64_t next(const void* from, int64_t n, const void* than) {
    const T* x = static_cast<const T*>(from);
    const V best = V::broadcast(*static_cast<const T*>(than));
    int64_t i = 0;
    for (; i + 4 * N <= n; i += 4 * N) {
      Mask<T> m[4];
      for (int u = 0; u < 4; ++u) m[u] = beats(V::load(x + i + u * N), best);
      if (lane_bits((m[0] | m[1]) | (m[2] | m[3])) != 0) break;
    }
    for (; i < n; i += N) {
      const int m = n - i < N ? static_cast<int>(n - i) : N;
      const uint32_t b = lane_bits(beats(V::load(x + i, m), best) & first_lanes<T>(m));
      if (b) return i + std::countr_zero(b);
    }
    return n;
  }

  // Which block holds it is found in one pass, where in there in another.
  static void row(const void* from, int64_t n, void* value, int64_t* place) {
    const T* x = static_cast<const T*>(from);
    T best = x[0];
    int64_t at = 0;
    for (int64_t i = 0; i < n; i += kBlock) {
      const T b = reduce_dense<Extreme>(x + i, n - i < kBlock ? n - i : kBlock);
      if (i == 0 || beats(b, best)) best = b, at = i;
      if (best != best) break;
    }
    at += find(x + at, n - at < kBlock ? n - at : kBlock, best);
    *place = at;
    *static_cast<T*>(value) = x[at];
  }

  // Of `n` dense columns at once, four rows at a time.
  static void columns(const void* from, int64_t rows, int64_t row_stride, int64_t n, void* values,
                      int64_t* places) {
    I at[kColumns];
    for (int64_t first = 0; first < n; first += kColumns) {
      const int64_t width = n - first < kColumns ? n - first : kColumns;
      const T* x = static_cast<const T*>(from) + first;
      T* best = static_cast<T*>(values) + first;
      over<T>(width, [&](int64_t j, int m) {
        V::load(x + j, m).store(best + j, m);
        Vec<I>(0.0).store(at + j, m);
      });
      const auto pass = [&]<int kRows>(int64_t r, std::integral_constant<int, kRows>) {
        const T* p = x + r * row_stride;
        over<T>(width, [&](int64_t j, int m) {
          V b = V::load(best + j, m);
          Vec<I> k = Vec<I>::load(at + j, m);
          for (int u = 0; u < kRows; ++u) {
            const V y = V::load(p + u * row_stride + j, m);
            const Mask<T> more = beats(y, b);
            b = select(more, y, b);
            k = select(Mask<I>{more.v}, Vec<I>::broadcast(static_cast<I>(r + u)), k);
          }
          b.store(best + j, m);
          k.store(at + j, m);
        });
      };
      int64_t r = 1;
      for (; r + 4 <= rows; r += 4) pass(r, std::integral_constant<int, 4>{});
      for (; r < rows; ++r) pass(r, std::integral_constant<int, 1>{});
      for (int64_t j = 0; j < width; ++j) places[first + j] = at[j];
    }
  }

  // Rows of n side by side, n a power of two up to kLongest: neighbours meet until each row is one
  // lane.
  template <int n>
  static WENGERT_INLINE void halve(V* best, Vec<I>* at) {
    if constexpr (n > 1) {
      for (int u = 0; u < n / 2; ++u) {
        const V a = every_other<0>(best[2 * u], best[2 * u + 1]),
                b = every_other<1>(best[2 * u], best[2 * u + 1]);
        const Vec<I> i = every_other<0>(at[2 * u], at[2 * u + 1]),
                     j = every_other<1>(at[2 * u], at[2 * u + 1]);
        const Mask<T> more = beats(b, a);
        best[u] = select(more, b, a);
        at[u] = select(Mask<I>{more.v}, j, i);
      }
      halve<n / 2>(best, at);
    }
  }
  template <int n>
  static void short_rows(const void* from, int64_t rows, void* values, int64_t* places) {
    const T* x = static_cast<const T*>(from);
    for (int64_t r = 0; r < rows; r += N) {
      const int64_t m = rows - r < N ? rows - r : N;
      V best[n];
      Vec<I> at[n];
      for (int u = 0; u < n; ++u) {
        const int64_t left = m * n - u * N;
        best[u] =
            left > 0 ? V::load(x + r * n + u * N, left < N ? static_cast<int>(left) : N) : V(0.0);
        at[u] = Vec<I>(lane_numbers<T>() + static_cast<I>(u * N)) & Vec<I>::broadcast(n - 1);
      }
      halve<n>(best, at);
      best[0].store(static_cast<T*>(values) + r, static_cast<int>(m));
      I lanes[N];
      at[0].store(lanes);
      for (int64_t j = 0; j < m; ++j) places[r + j] = lanes[j];
    }
  }
};

template <bool kMax, class T, class Isa>
void fill_places_of(Isa& isa) {
  using P = Places<kMax, T>;
  isa.places[kMax][static_cast<int>(kDTypeOf<T>)] = {
      &P::row,
      &P::columns,
      &P::next,
      {&P::template short_rows<2>, &P::template short_rows<4>, &P::template short_rows<8>,
       &P::template short_rows<16>}};
}
template <class T, class Isa>
void fill_places(Isa& isa) {
  fill_places_of<false, T>(isa);
  fill_places_of<true, T>(isa);
}

}  // namespace wengert::WENGERT_ISA
