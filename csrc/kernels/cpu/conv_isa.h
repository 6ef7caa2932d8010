// The loops of convolutions, written once over Vec<T>. Included by each ISA's translation unit
// after vec.h; read conv.h first.
#pragma once

#include <cstdint>
#include <utility>

#include "kernels/cpu/conv.h"
#include "kernels/cpu/gemm_pack_isa.h"
#include "kernels/cpu/vec.h"

namespace wengert::WENGERT_ISA {

// Every element's sum runs upwards in k from zero with one fma a step, whatever the shape of the
// tile, so that all tiles give an element the same bits.
template <class T, int MR, int NV>
void conv_tile(const cpu::ConvTile& t) {
  using V = Vec<T>;
  constexpr int N = V::N;
  const T* a = static_cast<const T*>(t.a);
  const T* b = static_cast<const T*>(t.b);
  V acc[MR][NV];
#pragma GCC unroll 16
  for (int i = 0; i < MR; ++i) {
#pragma GCC unroll 8
    for (int v = 0; v < NV; ++v) acc[i][v] = V{Raw<T>{}};
  }
#pragma GCC unroll 1
  for (int64_t p = 0; p < t.k; ++p) {
    const T* row = b + t.offsets[p];
    V x[NV];
#pragma GCC unroll 8
    for (int v = 0; v < NV; ++v) x[v] = V::load(row + v * N);
#pragma GCC unroll 16
    for (int i = 0; i < MR; ++i) {
      const V y = V::broadcast(a[i]);
#pragma GCC unroll 8
      for (int v = 0; v < NV; ++v) acc[i][v] = fma(y, x[v], acc[i][v]);
    }
    a += MR;
  }
#pragma GCC unroll 16
  for (int i = 0; i < MR; ++i) {
    T* c = static_cast<T*>(t.c) + i * t.c_rs;
#pragma GCC unroll 8
    for (int v = 0; v < NV; ++v) {
      if (t.add) acc[i][v] = V::load(c + v * N) + acc[i][v];
      acc[i][v].store(c + v * N);
    }
  }
}

// Lane l of the result is the sum of v[l]'s lanes, halves added to halves: for all vectors together
// that takes a fourth of the instructions that one after the other would.
template <int H, class T>
WENGERT_INLINE Vec<T> fold_all(Vec<T> (&v)[Vec<T>::N]) {
  if constexpr (H > 0) {
#pragma GCC unroll 16
    for (int i = 0; i < H; ++i) {
      swap_blocks<T, H>(v[i], v[i + H], std::make_integer_sequence<int, Vec<T>::N>{});
      v[i] = v[i] + v[i + H];
    }
    return fold_all<H / 2>(v);
  } else {
    return v[0];
  }
}

template <class T, int MR, int NC>
void conv_sums(const cpu::ConvSums& s) {
  using V = Vec<T>;
  constexpr int N = V::N;
  const T* g = static_cast<const T*>(s.g);
  const T* x[NC];
#pragma GCC unroll 4
  for (int j = 0; j < NC; ++j) x[j] = static_cast<const T*>(s.x) + s.offsets[j];
  V acc[MR][NC];
#pragma GCC unroll 8
  for (int i = 0; i < MR; ++i) {
#pragma GCC unroll 4
    for (int j = 0; j < NC; ++j) acc[i][j] = V{Raw<T>{}};
  }
#pragma GCC unroll 1
  for (int64_t r = 0; r < s.runs; ++r) {
#pragma GCC unroll 1
    for (int64_t q = r * s.step; q < r * s.step + s.n; q += N) {
      V left[MR];
#pragma GCC unroll 8
      for (int i = 0; i < MR; ++i) left[i] = V::load(g + i * s.g_rs + q);
#pragma GCC unroll 4
      for (int j = 0; j < NC; ++j) {
        const V right = V::load(x[j] + q);
#pragma GCC unroll 8
        for (int i = 0; i < MR; ++i) acc[i][j] = fma(left[i], right, acc[i][j]);
      }
    }
  }
  constexpr int kSums = MR * NC;
  alignas(kVecBytes) T folded[(kSums + N - 1) / N * N];
#pragma GCC unroll 16
  for (int first = 0; first < kSums; first += N) {
    V v[N];
#pragma GCC unroll 16
    for (int i = 0; i < N; ++i) {
      const int n = first + i;
      v[i] = n < kSums ? acc[n / NC][n % NC] : V{Raw<T>{}};
    }
    fold_all<N / 2>(v).store(folded + first);
  }
  T* sums = static_cast<T*>(s.sums);
#pragma GCC unroll 8
  for (int i = 0; i < MR; ++i) {
#pragma GCC unroll 4
    for (int j = 0; j < NC; ++j) sums[i * s.sums_rs + j] += folded[i * NC + j];
  }
}

// Every second element of the first n: both halves of a pair of vectors, shuffled together.
template <class T, int... L>
WENGERT_INLINE Vec<T> even_lanes(Vec<T> a, Vec<T> b, std::integer_sequence<int, L...>) {
  return __builtin_shufflevector(a.v, b.v, (2 * L)...);
}
template <class T>
WENGERT_INLINE Vec<T> load_even(const T* p, int64_t readable) {
  using V = Vec<T>;
  constexpr int N = V::N;
  V a, b;
  if (readable >= 2 * N) {
    a = V::load(p);
    b = V::load(p + N);
  } else {
    const auto n = static_cast<int>(readable);
    a = V::load(p, n);
    b = n > N ? V::load(p + N, n - N) : V{Raw<T>{}};
  }
  return even_lanes(a, b, std::make_integer_sequence<int, N>{});
}

template <class T>
void conv_stage(const cpu::RowCopy& c) {
  using V = Vec<T>;
  for (int64_t r = 0; r < c.rows; ++r) {
    const T* from = static_cast<const T*>(c.from) + r * c.from_row;
    T* to = static_cast<T*>(c.to) + r * c.to_row;
    if (c.from_step == 1) {
      over<T>(c.n, [&](int64_t i, int n) { V::load(from + i, n).store(to + i, n); });
    } else if (c.from_step == 2) {
      over<T>(c.n, [&](int64_t i, int n) {
        load_even(from + 2 * i, 2 * (c.n - i) - 1).store(to + i, n);
      });
    } else {
      for (int64_t i = 0; i < c.n; ++i) to[i] = from[i * c.from_step];
    }
  }
}

template <class T>
void conv_finish(const cpu::RowCopy& c, double bias) {
  using V = Vec<T>;
  const T b = static_cast<T>(bias);
  const V all = V::broadcast(b);
  for (int64_t r = 0; r < c.rows; ++r) {
    const T* from = static_cast<const T*>(c.from) + r * c.from_row;
    T* to = static_cast<T*>(c.to) + r * c.to_row;
    if (c.to_step == 1) {
      over<T>(c.n, [&](int64_t i, int n) { (V::load(from + i, n) + all).store(to + i, n); });
    } else {
      for (int64_t i = 0; i < c.n; ++i) to[i * c.to_step] = from[i] + b;
    }
  }
}

// Sums that fit the registers beside a row of the second operand.
#if defined(__AVX512F__) || defined(__aarch64__)
inline constexpr int kConvSums = 27, kConvWidest = 6, kConvRows = 13, kConvSumRows = 6;
#elif defined(__AVX2__)
inline constexpr int kConvSums = 12, kConvWidest = 4, kConvRows = 6, kConvSumRows = 3;
#else
inline constexpr int kConvSums = 10, kConvWidest = 4, kConvRows = 4, kConvSumRows = 2;
#endif

template <class T, int MR, int NV>
constexpr void fill_conv_tiles(cpu::ConvIsa& isa) {
  isa.tile[MR - 1][NV - 1] = conv_tile<T, MR, NV>;
  if constexpr (NV > 1) fill_conv_tiles<T, MR, NV - 1>(isa);
}
template <class T, int MR>
constexpr void fill_conv_rows(cpu::ConvIsa& isa) {
  constexpr int vectors = kConvSums / MR < kConvWidest ? kConvSums / MR : kConvWidest;
  isa.vectors[MR - 1] = vectors;
  fill_conv_tiles<T, MR, vectors>(isa);
  if constexpr (MR > 1) fill_conv_rows<T, MR - 1>(isa);
}
template <class T, int MR, int NC>
constexpr void fill_conv_sums(cpu::ConvIsa& isa) {
  isa.sums[MR - 1][NC - 1] = conv_sums<T, MR, NC>;
  if constexpr (NC > 1)
    fill_conv_sums<T, MR, NC - 1>(isa);
  else if constexpr (MR > 1)
    fill_conv_sums<T, MR - 1, cpu::kConvMaxSumTaps>(isa);
}

template <class T>
constexpr cpu::ConvIsa conv_isa() {
  static_assert(kConvRows <= cpu::kConvMaxRows && kConvWidest <= cpu::kConvMaxVecs);
  static_assert(kConvSumRows <= cpu::kConvMaxSumRows);
  cpu::ConvIsa isa{};
  isa.lanes = Vec<T>::N;
  isa.rows = kConvRows;
  isa.sum_rows = kConvSumRows;
  isa.sum_taps = cpu::kConvMaxSumTaps;
  fill_conv_rows<T, kConvRows>(isa);
  fill_conv_sums<T, kConvSumRows, cpu::kConvMaxSumTaps>(isa);
  isa.stage = conv_stage<T>;
  isa.finish = conv_finish<T>;
  return isa;
}

}  // namespace wengert::WENGERT_ISA
