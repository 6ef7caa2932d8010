// The parts of a matrix product that depend on the instruction set, written once over Vec<T>: the
// micro-kernel, vectors, and gemm_isa<T>(), which hands them to the driver with their block sizes.
// Included by each ISA's translation unit after vec.h; read gemm.h first, gemm.cpp next.
#pragma once

#include <array>
#include <cstdint>
#include <utility>

#include "kernels/cpu/gemm.h"
#include "kernels/cpu/gemm_pack_isa.h"
#include "kernels/cpu/vec.h"

namespace wengert::WENGERT_ISA {

// Masked loads cost nothing here, so tiles at the right edge read B where it stands.
#if defined(__AVX512F__)
inline constexpr bool kReadsParts = true;
#else
inline constexpr bool kReadsParts = false;
#endif

// What units of type T are summed in; whether A and B may come in several parts.
template <class T>
struct GemmUnit {
  using Sum = T;
  static constexpr bool parts = false;
};

// The first n elements, where a masked access costs what a whole one does, or n is known.
template <class S>
WENGERT_INLINE Vec<S> load_row_part(const S* p, int n, bool last) {
  return kReadsParts && last ? Vec<S>(load_part(p, n)) : Vec<S>::load(p);
}

// NV vectors of a row, the last of which has `last` lanes. Parts are packed to whole vectors.
template <class T, int NV>
WENGERT_INLINE void load_row(Vec<T> (&x)[NV], const T* row, int last) {
  constexpr int N = Vec<T>::N;
#pragma GCC unroll 8
  for (int v = 0; v < NV; ++v) {
    if constexpr (kReadsParts && !GemmUnit<T>::parts) {
      x[v] = load_row_part(row + v * N, last, v == NV - 1);
    } else {
      x[v] = Vec<T>::load(row + v * N);
    }
  }
}

// ---- the micro-kernel --------------------------------------------------------------------------

// x = x0 + x1 + x2, each the bfloat16 nearest to what the ones before leave, is exact for float32;
// of the nine products of two such sums the last `products` of these, small ones first, are summed:
// 6 leave out what is below 2^-24 of the largest, 3 what is below 2^-16. After G. Henry,
// P. T. P. Tang, A. Heinecke, "Leveraging the bfloat16 artificial intelligence datatype for
// higher-precision computations", ARITH 2019, arXiv:1904.06376.
struct PartProduct {
  int a, b;
};
inline constexpr PartProduct kPartProducts[] = {{2, 0}, {1, 1}, {0, 2}, {1, 0}, {0, 1}, {0, 0}};

// acc += A B over tile.k steps.
template <class T, int MR, int NV, bool UnitRows, class W>
WENGERT_INLINE void gemm_steps(const cpu::GemmTile& tile, const T* a, const T* b,
                               W (&acc)[MR][NV]) {
  using V = Vec<T>;
  constexpr int N = V::N;
  const int64_t a_rs = tile.a_rs, a_cs = tile.a_cs, b_rs = tile.b_rs;
  const int last = static_cast<int>(tile.cols) - (NV - 1) * N;
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
}

// Vectors of sums from and to a matrix of another type, which the bfloat16 units define.
template <class C, class S>
WENGERT_INLINE Vec<S> load_sums(const C* p, int n) {
  return Vec<S>::load(p, n);
}
template <class S>
WENGERT_INLINE void store_sums(Vec<S> sums, S* p, int n) {
  sums.store(p, n);
}

// Brings sums, rows `step` apart, to C with all that is asked for: one rolled loop, since unrolled
// it made the code of all tiles 40% larger.
template <class C, class S>
void gemm_finish_tile(const cpu::GemmTile& tile, int64_t rows, const S* sums, int64_t step) {
  constexpr int N = Vec<S>::N;
  const C* bias = static_cast<const C*>(tile.bias);
#pragma GCC unroll 1
  for (int64_t i = 0; i < rows; ++i) {
    C* c = static_cast<C*>(tile.c) + i * tile.c_rs;
#pragma GCC unroll 1
    for (int64_t j = 0; j < tile.cols; j += N) {
      const int n = static_cast<int>(tile.cols - j < N ? tile.cols - j : N);
      Vec<S> sum = Vec<S>::load(sums + i * step + j);
      if (tile.add) sum = load_sums<C, S>(c + j, n) + sum;
      if (bias != nullptr) sum = sum + load_sums<C, S>(bias + j, n);
      store_sums(sum, c + j, n);
    }
  }
}

// Sums to C, from registers; with addend and bias where Epilogue. C's type is theirs, or C has
// whole vectors and there is no epilogue.
template <class C, bool Epilogue, class W, int MR, int NV>
WENGERT_INLINE void gemm_store_whole(const cpu::GemmTile& tile, W (&acc)[MR][NV]) {
  using S = typename W::value_type;
  constexpr bool own = __is_same(C, S);
  static_assert(own || !Epilogue);
  constexpr int N = W::N;
  const int last = static_cast<int>(tile.cols) - (NV - 1) * N;
  C* c = static_cast<C*>(tile.c);
  if (Epilogue && tile.bias != nullptr) {
    const S* bias = static_cast<const S*>(tile.bias);
    W x[NV];
#pragma GCC unroll 4
    for (int v = 0; v < NV; ++v) x[v] = load_row_part(bias + v * N, last, v == NV - 1);
#pragma GCC unroll 16
    for (int i = 0; i < MR; ++i) {
#pragma GCC unroll 4
      for (int v = 0; v < NV; ++v) acc[i][v] = acc[i][v] + x[v];
    }
  }
#pragma GCC unroll 16
  for (int i = 0; i < MR; ++i) {
#pragma GCC unroll 4
    for (int v = 0; v < NV; ++v) {
      C* out = c + i * tile.c_rs + v * N;
      if constexpr (own) {
        const bool part = kReadsParts && v == NV - 1;
        if (Epilogue && tile.add) acc[i][v] = load_row_part(out, last, part) + acc[i][v];
        if (part)
          store_part(acc[i][v].v, out, last);
        else
          acc[i][v].store(out);
      } else {
        store_sums(acc[i][v], out, N);
      }
    }
  }
}

// MR rows by NV vectors of C in registers. Every element's sum runs upwards in k from zero with one
// fma a step; whatever the shape of the tile, so that all tiles give an element the same bits.
template <class T, int MR, int NV, bool UnitRows>
void gemm_micro(const cpu::GemmTile& tile) {
  using S = typename GemmUnit<T>::Sum;
  using W = Vec<S>;
  constexpr int N = W::N;
  const T* a = static_cast<const T*>(tile.a);
  const T* b = static_cast<const T*>(tile.b);

  W acc[MR][NV];
#pragma GCC unroll 16
  for (int i = 0; i < MR; ++i) {
#pragma GCC unroll 4
    for (int v = 0; v < NV; ++v) acc[i][v] = W{Raw<S>{}};
  }
  {
    const bool half = GemmUnit<T>::parts && tile.narrow;
    const int64_t item = half ? 2 : int64_t{sizeof(S)};
    const char* c = static_cast<const char*>(tile.c);
#pragma GCC unroll 1
    for (int i = 0; i < MR; ++i) {
      __builtin_prefetch(c + i * tile.c_rs * item, 1);
      __builtin_prefetch(c + (i * tile.c_rs + tile.cols - 1) * item, 1);
    }
  }

  if constexpr (GemmUnit<T>::parts) {
    constexpr int all = sizeof kPartProducts / sizeof *kPartProducts;
#pragma GCC unroll 1
    for (int q = all - tile.products; q < all; ++q) {
      const PartProduct part = kPartProducts[q];
      gemm_steps<T, MR, NV, UnitRows>(tile, a + part.a * tile.a_part, b + part.b * tile.b_part,
                                      acc);
    }
  } else {
    gemm_steps<T, MR, NV, UnitRows>(tile, a, b, acc);
  }

  // Of pairs, which come in two types of C, all but plain stores are rolled up.
  const bool all = tile.cols == NV * N, plain = tile.bias == nullptr && !tile.add;
  if constexpr (GemmUnit<T>::parts) {
    if (all && plain && tile.narrow) return gemm_store_whole<BFloat16, false>(tile, acc);
    if ((kReadsParts || all) && plain && !tile.narrow) {
      return gemm_store_whole<S, false>(tile, acc);
    }
  } else {
    if ((kReadsParts || all) && (tile.bias == nullptr || !tile.add)) {
      return gemm_store_whole<S, true>(tile, acc);
    }
  }
  S sums[MR][NV * N];
  __builtin_memcpy(&sums, &acc, sizeof acc);
  if constexpr (GemmUnit<T>::parts) {
    if (tile.narrow) return gemm_finish_tile<BFloat16, S>(tile, MR, sums[0], NV * N);
  }
  gemm_finish_tile<S, S>(tile, MR, sums[0], NV * N);
}

// ---- matrix times vector -----------------------------------------------------------------------

// The first n elements as T, the others zero.
template <class T, class Source>
WENGERT_INLINE Vec<T> load_as(const Source* p, int n) {
  if constexpr (__is_same(T, Source)) {
    return Vec<T>::load(p, n);
  } else {
    T wide[Vec<T>::N] = {};
    if (n == Vec<T>::N) {
      for (int i = 0; i < Vec<T>::N; ++i) wide[i] = convert<T>(p[i]);
    } else {
      for (int i = 0; i < n; ++i) wide[i] = convert<T>(p[i]);
    }
    return Vec<T>::load(wide);
  }
}

// Lanes whose steps are contiguous: N x N blocks are transposed in registers and used up there.
template <class T, class Source>
void gemm_vector_transposed(const Source* src, int64_t lane_stride, int64_t lanes, const Source* x,
                            int64_t x_stride, int64_t k, int64_t k_block, T* sums) {
  using V = Vec<T>;
  constexpr int N = V::N;
  for (int64_t l = 0; l < lanes; l += N) {
    const int have = static_cast<int>(lanes - l < N ? lanes - l : N);
    const Source* s = src + l * lane_stride;
    V sum{Raw<T>{}};
    for (int64_t p = 0; p < k; p += k_block) {
      const int64_t end = p + k_block < k ? p + k_block : k;
      V part{Raw<T>{}};
      for (int64_t q = p; q < end; q += N) {
        const int steps = static_cast<int>(end - q < N ? end - q : N);
        V r[N];
        if (have == N && steps == N) {
#pragma GCC unroll 16
          for (int i = 0; i < N; ++i) r[i] = load_as<T>(s + i * lane_stride + q, N);
        } else {
#pragma GCC unroll 1
          for (int i = 0; i < N; ++i) {
            r[i] = i < have ? load_as<T>(s + i * lane_stride + q, steps) : V{Raw<T>{}};
          }
        }
        transpose_stages<T, N / 2>(r);
        if (steps == N) {
#pragma GCC unroll 16
          for (int i = 0; i < N; ++i)
            part = fma(V::broadcast(convert<T>(x[(q + i) * x_stride])), r[i], part);
        } else {
          for (int i = 0; i < steps; ++i) {
            part = fma(V::broadcast(convert<T>(x[(q + i) * x_stride])), r[i], part);
          }
        }
      }
      sum = p == 0 ? part : sum + part;
    }
    sum.store(sums + l, have);
  }
}

// Lanes that are contiguous: partial sums stay in L1 while the rows stream by, several at a time.
template <class T, class Source>
void gemm_vector_rows(const Source* src, int64_t step_stride, int64_t lanes, const Source* x,
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
        const Source* rows = src + q * step_stride + l0;
        V y[kSteps];
        for (int i = 0; i < steps; ++i) y[i] = V::broadcast(convert<T>(x[(q + i) * x_stride]));
        for (int64_t l = 0; l < count; l += N) {
          const int n = static_cast<int>(count - l < N ? count - l : N);
          V sum = q == p ? V{Raw<T>{}} : V::load(part + l);
          if (steps == kSteps && n == N) {
#pragma GCC unroll 8
            for (int i = 0; i < kSteps; ++i) {
              sum = fma(y[i], load_as<T>(rows + i * step_stride + l, N), sum);
            }
          } else {
#pragma GCC unroll 1
            for (int i = 0; i < steps; ++i) {
              sum = fma(y[i], load_as<T>(rows + i * step_stride + l, n), sum);
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

template <class T, class Source = T>
void gemm_vector(const void* src, int64_t lane_stride, int64_t step_stride, int64_t lanes,
                 const void* x, int64_t x_stride, int64_t k, int64_t k_block, void* sums) {
  const Source* s = static_cast<const Source*>(src);
  const Source* xs = static_cast<const Source*>(x);
  T* out = static_cast<T*>(sums);
  if (lane_stride == 1)
    gemm_vector_rows<T>(s, step_stride, lanes, xs, x_stride, k, k_block, out);
  else
    gemm_vector_transposed<T>(s, lane_stride, lanes, xs, x_stride, k, k_block, out);
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
  isa.dtype = isa.sum = kDTypeOf<T>;
  isa.unit = sizeof(T);
#if defined(__FMA__) || defined(__aarch64__)
  isa.fused = true;
#endif
  isa.reads_parts = kReadsParts;
  isa.lanes = Vec<T>::N;
  isa.mr = mr;
  isa.nv = nv;
  isa.mc = 168;
  isa.kc = 256;
  isa.nc = isa.nc_in_place = 2048;
  isa.pack_a = isa.pack_b = gemm_pack<T>;
  isa.vector = gemm_vector<T>;
  isa.row = gemm_row<T>;
  fill_gemm_kernels<T, mr, nv, nv>(isa);
  return isa;
}

// Products of a 16-bit type by the kernels of float32, to which packing widens.
template <class Source>
constexpr cpu::GemmIsa widening_gemm_isa(const cpu::GemmIsa& wide) {
  cpu::GemmIsa isa = wide;
  isa.dtype = kDTypeOf<Source>;
  isa.pack_a = isa.pack_b = gemm_pack_widening<Source>;
  isa.vector = gemm_vector<float, Source>;
  isa.row = nullptr;
  return isa;
}

}  // namespace wengert::WENGERT_ISA
