// The parts of a matrix product that depend on the instruction set, written once over Vec<T>: the
// micro-kernel, packing, and gemm_isa<T>(), which hands them to the driver with their block sizes.
// Included by each ISA's translation unit after vec.h; read gemm.h first, gemm.cpp next.
#pragma once

#include <array>
#include <cstdint>
#include <utility>

#include "kernels/cpu/gemm.h"
#include "kernels/cpu/vec.h"

namespace wengert::WENGERT_ISA {

// Masked loads cost nothing here, so tiles at the right edge read B where it stands.
#if defined(__AVX512F__)
inline constexpr bool kReadsParts = true;
#else
inline constexpr bool kReadsParts = false;
#endif

// NV vectors of a row, the last of which has `last` lanes.
template <class T, int NV>
WENGERT_INLINE void load_row(Vec<T> (&x)[NV], const T* row, int last) {
  constexpr int N = Vec<T>::N;
#pragma GCC unroll 8
  for (int v = 0; v < NV; ++v) {
    x[v] = kReadsParts && v == NV - 1 ? Vec<T>(load_part(row + v * N, last))
                                      : Vec<T>::load(row + v * N);
  }
}

// ---- the micro-kernel --------------------------------------------------------------------------

// MR rows by NV vectors of C in registers. Every element's sum runs upwards in k from zero with one
// fma a step; whatever the shape of the tile, so that all tiles give an element the same bits.
template <class T, int MR, int NV, bool UnitRows>
void gemm_micro(const cpu::GemmTile& tile) {
  using V = Vec<T>;
  constexpr int N = V::N;
  const T* a = static_cast<const T*>(tile.a);
  const T* b = static_cast<const T*>(tile.b);
  const int64_t a_rs = tile.a_rs, a_cs = tile.a_cs, b_rs = tile.b_rs, c_rs = tile.c_rs;
  T* c = static_cast<T*>(tile.c);
  const int last = static_cast<int>(tile.cols) - (NV - 1) * N;

  V acc[MR][NV];
#pragma GCC unroll 16
  for (int i = 0; i < MR; ++i) {
#pragma GCC unroll 4
    for (int v = 0; v < NV; ++v) acc[i][v] = V{Raw<T>{}};
  }
#pragma GCC unroll 1
  for (int i = 0; i < MR; ++i) {
    __builtin_prefetch(c + i * c_rs, 1);
    __builtin_prefetch(c + i * c_rs + (tile.cols - 1), 1);
  }

  if constexpr (UnitRows) {
    for (int64_t p = tile.k; p > 0; --p) {
      V x[NV];
      load_row<T, NV>(x, b, last);
#pragma GCC unroll 16
      for (int i = 0; i < MR; ++i) {
        const V y = V::broadcast(a[i]);
#pragma GCC unroll 4
        for (int v = 0; v < NV; ++v) acc[i][v] = fma(y, x[v], acc[i][v]);
      }
      a += a_cs;
      b += b_rs;
    }
  } else {
    // Three rows to a pointer (base, base + stride, base + 2 * stride are all addressing modes):
    // a pointer a row would not fit the general registers.
    constexpr int G = (MR + 2) / 3;
    const T* rows[G];
#pragma GCC unroll 6
    for (int g = 0; g < G; ++g) rows[g] = a + 3 * g * a_rs;
    for (int64_t p = tile.k; p > 0; --p) {
      V x[NV];
      load_row<T, NV>(x, b, last);
#pragma GCC unroll 16
      for (int i = 0; i < MR; ++i) {
        const V y = V::broadcast(rows[i / 3][(i % 3) * a_rs]);
#pragma GCC unroll 4
        for (int v = 0; v < NV; ++v) acc[i][v] = fma(y, x[v], acc[i][v]);
      }
#pragma GCC unroll 6
      for (int g = 0; g < G; ++g) rows[g] += a_cs;
      b += b_rs;
    }
  }

  const T* bias = static_cast<const T*>(tile.bias);
  if (tile.cols == NV * N && bias != nullptr && !tile.add) {
    V x[NV];
#pragma GCC unroll 4
    for (int v = 0; v < NV; ++v) x[v] = V::load(bias + v * N);
#pragma GCC unroll 16
    for (int i = 0; i < MR; ++i) {
#pragma GCC unroll 4
      for (int v = 0; v < NV; ++v) acc[i][v] = acc[i][v] + x[v];
    }
    bias = nullptr;
  }
  if (tile.cols == NV * N && bias == nullptr) {
#pragma GCC unroll 16
    for (int i = 0; i < MR; ++i) {
#pragma GCC unroll 4
      for (int v = 0; v < NV; ++v) {
        T* out = c + i * c_rs + v * N;
        if (tile.add) acc[i][v] = V::load(out) + acc[i][v];
        acc[i][v].store(out);
      }
    }
    return;
  }
  // The rest goes through memory and a rolled loop: unrolled as above it made the code of all tiles
  // 40% larger.
  V sums[MR][NV];
  __builtin_memcpy(&sums, &acc, sizeof acc);
#pragma GCC unroll 1
  for (int i = 0; i < MR; ++i) {
#pragma GCC unroll 1
    for (int v = 0; v < NV; ++v) {
      const int64_t left = tile.cols - v * N;
      const int n = static_cast<int>(left < N ? left : N);
      V sum = sums[i][v];
      T* out = c + i * c_rs + v * N;
      if (tile.add) sum = V::load(out, n) + sum;
      if (bias != nullptr) sum = sum + V::load(bias + v * N, n);
      sum.store(out, n);
    }
  }
}

// ---- packing -----------------------------------------------------------------------------------

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

// Lanes whose steps are contiguous (row-major A, transposed B): transposes N x N blocks.
template <class T>
void gemm_pack_transposed(const T* src, int64_t lane_stride, int64_t lanes, int64_t width,
                          int64_t k, T* dst) {
  using V = Vec<T>;
  constexpr int N = V::N;
  for (int64_t p = 0; p < k; p += N) {
    const int steps = static_cast<int>(k - p < N ? k - p : N);
    for (int64_t l = 0; l < width; l += N) {
      const int have = static_cast<int>(lanes - l < N ? lanes - l : N);
      const int want = static_cast<int>(width - l < N ? width - l : N);
      const T* s = src + l * lane_stride + p;
      T* d = dst + p * width + l;
      V r[N];
      if (have == N && steps == N) {
#pragma GCC unroll 16
        for (int i = 0; i < N; ++i) r[i] = V::load(s + i * lane_stride);
      } else {
#pragma GCC unroll 16
        for (int i = 0; i < N; ++i) {
          r[i] = i < have ? V::load(s + i * lane_stride, steps) : V{Raw<T>{}};
        }
      }
      transpose_stages<T, N / 2>(r);
      if (steps == N && (want == N || width < N)) {
        // A narrow panel: what a store writes too far the next one overwrites.
#pragma GCC unroll 16
        for (int i = 0; i < N; ++i) r[i].store(d + i * width);
      } else {
#pragma GCC unroll 16
        for (int i = 0; i < N; ++i) {
          if (i < steps) r[i].store(d + i * width, want);
        }
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
void gemm_pack(const void* src, int64_t lane_stride, int64_t step_stride, int64_t lanes,
               int64_t width, int64_t k, void* dst) {
  const T* s = static_cast<const T*>(src);
  T* d = static_cast<T*>(dst);
  if (lane_stride == 1) return gemm_pack_rows(s, step_stride, lanes, width, k, d);
  if (step_stride == 1) return gemm_pack_transposed(s, lane_stride, lanes, width, k, d);
  for (int64_t p = 0; p < k; ++p) {
    for (int64_t l = 0; l < width; ++l) {
      d[p * width + l] = l < lanes ? s[l * lane_stride + p * step_stride] : T(0);
    }
  }
}

// ---- matrix times vector -----------------------------------------------------------------------

// Lanes whose steps are contiguous: N x N blocks are transposed in registers and used up there.
template <class T>
void gemm_vector_transposed(const T* src, int64_t lane_stride, int64_t lanes, const T* x,
                            int64_t x_stride, int64_t k, int64_t k_block, T* sums) {
  using V = Vec<T>;
  constexpr int N = V::N;
  for (int64_t l = 0; l < lanes; l += N) {
    const int have = static_cast<int>(lanes - l < N ? lanes - l : N);
    const T* s = src + l * lane_stride;
    V sum{Raw<T>{}};
    for (int64_t p = 0; p < k; p += k_block) {
      const int64_t end = p + k_block < k ? p + k_block : k;
      V part{Raw<T>{}};
      for (int64_t q = p; q < end; q += N) {
        const int steps = static_cast<int>(end - q < N ? end - q : N);
        V r[N];
        if (have == N && steps == N) {
#pragma GCC unroll 16
          for (int i = 0; i < N; ++i) r[i] = V::load(s + i * lane_stride + q);
        } else {
#pragma GCC unroll 1
          for (int i = 0; i < N; ++i) {
            r[i] = i < have ? V::load(s + i * lane_stride + q, steps) : V{Raw<T>{}};
          }
        }
        transpose_stages<T, N / 2>(r);
        if (steps == N) {
#pragma GCC unroll 16
          for (int i = 0; i < N; ++i) part = fma(V::broadcast(x[(q + i) * x_stride]), r[i], part);
        } else {
          for (int i = 0; i < steps; ++i) {
            part = fma(V::broadcast(x[(q + i) * x_stride]), r[i], part);
          }
        }
      }
      sum = p == 0 ? part : sum + part;
    }
    sum.store(sums + l, have);
  }
}

// Lanes that are contiguous: partial sums stay in L1 while the rows stream by, several at a time.
template <class T>
void gemm_vector_rows(const T* src, int64_t step_stride, int64_t lanes, const T* x,
                      int64_t x_stride, int64_t k, int64_t k_block, T* sums) {
  using V = Vec<T>;
  constexpr int N = V::N;
  constexpr int kSteps = 8;         // 1 load and store of a sum to 8 of the matrix
  constexpr int64_t kChunk = 1024;  // 4 to 8 KiB of sums
  T part[kChunk];
  for (int64_t l0 = 0; l0 < lanes; l0 += kChunk) {
    const int64_t count = lanes - l0 < kChunk ? lanes - l0 : kChunk;
    for (int64_t p = 0; p < k; p += k_block) {
      const int64_t end = p + k_block < k ? p + k_block : k;
      for (int64_t q = p; q < end; q += kSteps) {
        const int steps = static_cast<int>(end - q < kSteps ? end - q : kSteps);
        const T* rows = src + q * step_stride + l0;
        V y[kSteps];
        for (int i = 0; i < steps; ++i) y[i] = V::broadcast(x[(q + i) * x_stride]);
        for (int64_t l = 0; l < count; l += N) {
          const int n = static_cast<int>(count - l < N ? count - l : N);
          V sum = q == p ? V{Raw<T>{}} : V::load(part + l);
          if (steps == kSteps && n == N) {
#pragma GCC unroll 8
            for (int i = 0; i < kSteps; ++i) {
              sum = fma(y[i], V::load(rows + i * step_stride + l), sum);
            }
          } else {
#pragma GCC unroll 1
            for (int i = 0; i < steps; ++i) {
              sum = fma(y[i], V::load(rows + i * step_stride + l, n), sum);
            }
          }
          sum.store(part + l);
        }
      }
      for (int64_t l = 0; l < count; l += N) {
        const int n = static_cast<int>(count - l < N ? count - l : N);
        V sum = V::load(part + l);
        if (p > 0) sum = V::load(sums + l0 + l, n) + sum;
        sum.store(sums + l0 + l, n);
      }
    }
  }
}

template <class T>
void gemm_vector(const void* src, int64_t lane_stride, int64_t step_stride, int64_t lanes,
                 const void* x, int64_t x_stride, int64_t k, int64_t k_block, void* sums) {
  const T* s = static_cast<const T*>(src);
  const T* xs = static_cast<const T*>(x);
  T* out = static_cast<T*>(sums);
  if (lane_stride == 1)
    gemm_vector_rows(s, step_stride, lanes, xs, x_stride, k, k_block, out);
  else
    gemm_vector_transposed(s, lane_stride, lanes, xs, x_stride, k, k_block, out);
}

// ---- one row -----------------------------------------------------------------------------------

// NV vectors of one row of C in registers, over all of k.
template <class T, int NV>
void gemm_row_part(const cpu::GemmTile& tile) {
  using V = Vec<T>;
  constexpr int N = V::N;
  const T* a = static_cast<const T*>(tile.a);
  const T* b = static_cast<const T*>(tile.b);
  T* c = static_cast<T*>(tile.c);
  const T* bias = static_cast<const T*>(tile.bias);
  const int last = static_cast<int>(tile.cols) - (NV - 1) * N;
  V acc[NV];
#pragma GCC unroll 8
  for (int v = 0; v < NV; ++v) acc[v] = V{Raw<T>{}};
  for (int64_t p = 0; p < tile.k; ++p) {
    const V y = V::broadcast(a[p * tile.a_cs]);
#pragma GCC unroll 8
    for (int v = 0; v < NV; ++v) {
      const V x = v == NV - 1 ? V::load(b + v * N, last) : V::load(b + v * N);
      acc[v] = fma(y, x, acc[v]);
    }
    b += tile.b_rs;
  }
#pragma GCC unroll 8
  for (int v = 0; v < NV; ++v) {
    const int n = v == NV - 1 ? last : N;
    if (tile.add) acc[v] = V::load(c + v * N, n) + acc[v];
    if (bias != nullptr) acc[v] = acc[v] + V::load(bias + v * N, n);
    acc[v].store(c + v * N, n);
  }
}

// Eight sums side by side hide the latency of an fma.
template <class T>
void gemm_row(const cpu::GemmTile& tile) {
  constexpr int kVecs = 8, N = Vec<T>::N;
  constexpr auto parts = []<int... I>(std::integer_sequence<int, I...>) {
    return std::array<cpu::GemmMicroFn, kVecs>{&gemm_row_part<T, I + 1>...};
  }(std::make_integer_sequence<int, kVecs>{});
  cpu::GemmTile part = tile;
  for (int64_t j = 0; j < tile.cols; j += kVecs * N) {
    part.cols = tile.cols - j < kVecs * N ? tile.cols - j : kVecs * N;
    part.b = static_cast<const T*>(tile.b) + j;
    part.c = static_cast<T*>(tile.c) + j;
    if (tile.bias != nullptr) part.bias = static_cast<const T*>(tile.bias) + j;
    parts[static_cast<size_t>((part.cols + N - 1) / N - 1)](part);
  }
}

// ---- the table ---------------------------------------------------------------------------------

template <class T, int MR, int NV, int MaxNV>
constexpr void fill_gemm_kernels(cpu::GemmIsa& isa) {
  isa.unit_rows[MR - 1][NV - 1] = gemm_micro<T, MR, NV, true>;
  isa.any_rows[MR - 1][NV - 1] = gemm_micro<T, MR, NV, false>;
  if constexpr (NV > 1)
    fill_gemm_kernels<T, MR, NV - 1, MaxNV>(isa);
  else if constexpr (MR > 1)
    fill_gemm_kernels<T, MR - 1, MaxNV, MaxNV>(isa);
}

// Measured on one Zen 5 core, float32, n = 1024, in percent of the multiply-add peak (272 GFLOPS):
//   tile     14 x 2 vectors 91, 12 x 2 90, 8 x 3 90, 9 x 3 89: all within the noise of each other;
//            14 x 2 fills the 32 registers and makes the fewest tiles of small products;
//   kc       256 91, 384 90, 512 91: the smallest has the best rounding, and a panel of B (32 KiB)
//            stays in L1. One value for all instruction sets: those with fma give the same bits;
//   mc       84 91, 168 91, 336 90: a block of A (168 KiB, float64 twice) takes a part of L2;
//   nc       a block of B (2 MiB, float64 twice) stays in L3.
// The 16 registers of AVX2 hold 6 x 2 sums, two of B and one of A; SSE has no three-operand form
// and needs copies; NEON has 32.
template <class T>
constexpr cpu::GemmIsa gemm_isa() {
#if defined(__AVX512F__)
  constexpr int mr = 14, nv = 2;
#elif defined(__AVX2__)
  constexpr int mr = 6, nv = 2;
#elif defined(__aarch64__)
  constexpr int mr = 8, nv = 3;
#else
  constexpr int mr = 4, nv = 2;
#endif
  static_assert(mr <= cpu::kGemmMaxRows && nv <= cpu::kGemmMaxVecs);
  cpu::GemmIsa isa{};
  isa.dtype = kDTypeOf<T>;
#if defined(__FMA__) || defined(__aarch64__)
  isa.fused = true;
#endif
  isa.reads_parts = kReadsParts;
  isa.lanes = Vec<T>::N;
  isa.mr = mr;
  isa.nv = nv;
  isa.mc = 168;
  isa.kc = 256;
  isa.nc = 2048;
  isa.pack = gemm_pack<T>;
  isa.vector = gemm_vector<T>;
  isa.row = gemm_row<T>;
  fill_gemm_kernels<T, mr, nv, nv>(isa);
  return isa;
}

}  // namespace wengert::WENGERT_ISA
