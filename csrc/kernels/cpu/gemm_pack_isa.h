// Packing of panels, and the transposition of blocks in registers that it and others rest on.
#pragma once

#include <cstdint>
#include <utility>

#include "kernels/cpu/gemm.h"
#include "kernels/cpu/vec.h"

namespace wengert::WENGERT_ISA {

// One stage of the transposition of N rows of N lanes: swaps the off-diagonal H x H blocks of every
// 2H x 2H block. The stages H = N/2 .. 1 together transpose. L is a result's lane.
template <class T, int H, int... L>
WENGERT_INLINE void swap_blocks(Vec<T>& lo, Vec<T>& hi, std::integer_sequence<int, L...>) {
  constexpr int N = Vec<T>::N;
  const Raw<T> x = lo.v, y = hi.v;
  lo.v = __builtin_shufflevector(x, y, ((L & H) != 0 ? N + L - H : L)...);
  hi.v = __builtin_shufflevector(x, y, ((L & H) != 0 ? N + L : L + H)...);
}

template <class T, int H>
WENGERT_INLINE void transpose_stages(Vec<T> (&r)[Vec<T>::N]) {
  if constexpr (H >= 1) {
#pragma GCC unroll 16
    for (int i = 0; i < Vec<T>::N; ++i) {
      if ((i & H) == 0) {
        swap_blocks<T, H>(r[i], r[i + H], std::make_integer_sequence<int, Vec<T>::N>{});
      }
    }
    transpose_stages<T, H / 2>(r);
  }
}

// Row i of N that are `stride` apart: four to a pointer, since N pointers would be kept in memory.
template <class P>
struct Rows {
  static constexpr int kEach = 4;
  P first[4];
  int64_t stride;
  WENGERT_INLINE Rows(P base, int64_t s) : stride(s) {
    for (int g = 0; g < 4; ++g) first[g] = base + g * kEach * s;
  }
  WENGERT_INLINE P at(int i) const { return first[i / kEach] + (i % kEach) * stride; }
  WENGERT_INLINE void move(int64_t by) {
    for (int g = 0; g < 4; ++g) first[g] += by;
  }
};

// Lanes whose steps are contiguous (row-major A, transposed B): transposes N x N blocks.
template <class T>
void gemm_pack_transposed(const T* src, int64_t lane_stride, int64_t lanes, int64_t width,
                          int64_t k, T* dst) {
  using V = Vec<T>;
  constexpr int N = V::N;
  static_assert(N <= 16);
  for (int64_t l = 0; l < width; l += N) {
    const int have = static_cast<int>(lanes - l < N ? lanes - l : N);
    const int want = static_cast<int>(width - l < N ? width - l : N);
    const T* s = src + l * lane_stride;
    T* d = dst + l;
    V r[N];
    int64_t p = 0;
    // A narrow panel: what a store writes too far the next one overwrites.
    if (have == N && (want == N || width < N)) {
      Rows<const T*> from(s, lane_stride);
      Rows<T*> to(d, width);
      for (; p + N <= k; p += N) {
#pragma GCC unroll 16
        for (int i = 0; i < N; ++i) r[i] = V::load(from.at(i));
        transpose_stages<T, N / 2>(r);
#pragma GCC unroll 16
        for (int i = 0; i < N; ++i) r[i].store(to.at(i));
        from.move(N);
        to.move(N * width);
      }
    }
    for (; p < k; p += N) {
      const int steps = static_cast<int>(k - p < N ? k - p : N);
#pragma GCC unroll 16
      for (int i = 0; i < N; ++i) {
        r[i] = i < have ? V::load(s + i * lane_stride + p, steps) : V{Raw<T>{}};
      }
      transpose_stages<T, N / 2>(r);
#pragma GCC unroll 16
      for (int i = 0; i < N; ++i) {
        if (i < steps) r[i].store(d + (p + i) * width, want);
      }
    }
  }
}

// Lanes that are contiguous (transposed A, row-major B): copies.
template <class T>
void gemm_pack_rows(const T* src, int64_t step_stride, int64_t lanes, int64_t width, int64_t k,
                    T* dst) {
  using V = Vec<T>;
  constexpr int N = V::N;
  const int64_t whole = lanes / N * N;
  const int rest = static_cast<int>(lanes - whole);
  for (int64_t p = 0; p < k; ++p) {
    const T* s = src + p * step_stride;
    T* d = dst + p * width;
    int64_t l = 0;
    for (; l < whole; l += N) V::load(s + l).store(d + l);
    if (rest != 0) {
      const V part = V::load(s + l, rest);
      // A narrow panel: what a store writes too far the next step's overwrites.
      if (l + N <= width || (width < N && p + 1 < k))
        part.store(d + l);
      else
        part.store(d + l, static_cast<int>(width - l));
      l += N;
    }
    for (; l < width; ++l) d[l] = T(0);
  }
}

template <class T>
void gemm_pack_lanes(const T* s, int64_t lane_stride, int64_t step_stride, int64_t lanes,
                     int64_t width, int64_t k, T* d) {
  if (lane_stride == 1) return gemm_pack_rows(s, step_stride, lanes, width, k, d);
  if (step_stride == 1) return gemm_pack_transposed(s, lane_stride, lanes, width, k, d);
  for (int64_t p = 0; p < k; ++p) {
    for (int64_t l = 0; l < width; ++l) {
      d[p * width + l] = l < lanes ? s[l * lane_stride + p * step_stride] : T(0);
    }
  }
}

template <class T>
void gemm_pack(const cpu::GemmPack& p) {
  gemm_pack_lanes(static_cast<const T*>(p.src), p.lane_stride, p.step_stride, p.lanes, p.width, p.k,
                  static_cast<T*>(p.dst));
}

// 16-bit elements, widened to float32 a block at a time.
template <class Source>
void gemm_pack_widening(const cpu::GemmPack& p) {
  constexpr int64_t kSteps = 64, kLanes = 48;
  float block[kSteps * kLanes];
  const Source* src = static_cast<const Source*>(p.src);
  float* dst = static_cast<float*>(p.dst);
  const bool across = p.lane_stride == 1;
  for (int64_t q = 0; q < p.k; q += kSteps) {
    const int64_t steps = p.k - q < kSteps ? p.k - q : kSteps;
    const int64_t outer = across ? steps : p.lanes, inner = across ? p.lanes : steps;
    const int64_t outer_stride = across ? p.step_stride : p.lane_stride;
    const int64_t inner_stride = across ? 1 : p.step_stride;
    const Source* from = src + q * p.step_stride;
    for (int64_t i = 0; i < outer; ++i) {
      const Source* row = from + i * outer_stride;
      float* to = block + i * inner;
      if (inner_stride == 1) {
        for (int64_t j = 0; j < inner; ++j) to[j] = convert<float>(row[j]);
      } else {
        for (int64_t j = 0; j < inner; ++j) to[j] = convert<float>(row[j * inner_stride]);
      }
    }
    gemm_pack_lanes<float>(block, across ? 1 : inner, across ? inner : 1, p.lanes, p.width, steps,
                           dst + q * p.width);
  }
}

}  // namespace wengert::WENGERT_ISA
