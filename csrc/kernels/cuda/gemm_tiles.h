// Matrix products by fused multiply-adds: a block makes a tile of C from tiles of A and B that it
// holds in shared memory, two or more stages of them, so that copies are under way while it
// computes. Both lie there by steps of k, and a thread reads vectors of each and multiplies each
// element with each.
#pragma once

#include <cuda_pipeline.h>

#include "kernels/cuda/gemm_activation.h"
#include "kernels/cuda/gemm_choice.h"

namespace wengert::cuda {

template <class T>
WENGERT_DEVICE T multiply_add(T a, T b, T c) {
  if constexpr (std::is_floating_point_v<T>) {
    return std::fma(a, b, c);
  } else {
    return static_cast<T>(static_cast<uint64_t>(a) * static_cast<uint64_t>(b) +
                          static_cast<uint64_t>(c));
  }
}

// A tile's sizes: rows and columns of C, steps of k; the elements of C that a thread makes; stages.
template <class Element, int kRows, int kColumns, int kSteps, int kThreadRows, int kThreadColumns,
          int kStagesUsed>
struct TileShape {
  using T = Element;
  static constexpr int rows = kRows, columns = kColumns, steps = kSteps;
  static constexpr int thread_rows = kThreadRows, thread_columns = kThreadColumns;
  static constexpr int stages = kStagesUsed;
  // Lanes stand 4 x 8 in a warp's part of the tile: what they read of A and of B at a time is then
  // about as long.
  static constexpr int warp_rows = 4 * kThreadRows, warp_columns = 8 * kThreadColumns;
  static constexpr int warps = (kRows / warp_rows) * (kColumns / warp_columns);
  static constexpr int threads = warps * kWarp;
  // A line of shared memory is 16 bytes longer, so that 8 steps x 4 lines meet no bank twice.
  static constexpr int pad = 16 / sizeof(T);
  static constexpr int a_line = kRows + pad, b_line = kColumns + pad;
  static constexpr int stage = kSteps * (a_line + b_line);
  static constexpr size_t shared = sizeof(T) * stage * kStagesUsed;
  static constexpr bool large = kThreadRows * kThreadColumns > 16;
  // Blocks that share a processor's registers.
  static constexpr int blocks = large && sizeof(T) == 8 ? 1 : threads == 256 ? 2 : 3;
  static_assert(kRows % warp_rows == 0 && kColumns % warp_columns == 0 && kSteps % 8 == 0);
};

// Elements [0, kOuter) x [0, kSteps) of a matrix, to lines of shared memory: by step. Zeros beyond
// `outer` and `steps`, unless the tile lies within the matrix.
template <class Shape, int kOuter, bool kWhole>
WENGERT_DEVICE void copy_tile(typename Shape::T* to, const GemmFactor& f, const char* from,
                              int64_t outer, int64_t steps) {
  using T = typename Shape::T;
  constexpr int kThreads = Shape::threads, kSteps = Shape::steps, kLine = kOuter + Shape::pad;
  const auto* source = reinterpret_cast<const T*>(from);
  const auto tid = static_cast<int>(threadIdx.x);
  const auto one = [&](int o, int k, const T* p) {
    T* at = to + k * kLine + o;
    if (kWhole || (o < outer && k < steps)) {
      __pipeline_memcpy_async(at, p, sizeof(T));
    } else {
      *at = T{};
    }
  };
  if (f.reads == Reads::Vectors) {
    constexpr int kVector = 16 / sizeof(T), kPer = kOuter / kVector, kAll = kPer * kSteps;
#pragma unroll
    for (int e = 0; e < (kAll + kThreads - 1) / kThreads; ++e) {
      const int v = tid + e * kThreads;
      if (kAll % kThreads != 0 && v >= kAll) break;
      const int o = v % kPer * kVector, k = v / kPer;
      const T* p = source + o + k * f.k_stride;
      if (kWhole || (o + kVector <= outer && k < steps)) {
        __pipeline_memcpy_async(to + k * kLine + o, p, 16);
      } else {
#pragma unroll
        for (int j = 0; j < kVector; ++j) one(o + j, k, p + j);
      }
    }
  } else if (f.reads == Reads::Lines) {
    constexpr int kAtOnce = kThreads / kOuter;  // lines
    static_assert(kThreads % kOuter == 0 && kSteps % kAtOnce == 0);
    const int o = tid % kOuter, k = tid / kOuter;
    const T* p = source + o + k * f.k_stride;
    const int64_t step = kAtOnce * f.k_stride;
#pragma unroll
    for (int e = 0; e < kSteps / kAtOnce; ++e, p += step) one(o, k + e * kAtOnce, p);
  } else {
    // 8 steps, 32 bytes or more of a row, by as many rows as there are threads for.
    constexpr int kAtOnce = std::min(kThreads / 8, kOuter), kGroups = kThreads / 8 / kAtOnce;
    static_assert(kOuter % kAtOnce == 0 && kSteps % (8 * kGroups) == 0);
    const int o = tid / 8 % kAtOnce, k = tid % 8 + tid / 8 / kAtOnce * 8;
#pragma unroll
    for (int h = 0; h < kSteps / 8 / kGroups; ++h) {
      const T* p = source + o * f.outer_stride + (k + h * 8 * kGroups) * f.k_stride;
#pragma unroll
      for (int r = 0; r < kOuter / kAtOnce; ++r, p += kAtOnce * f.outer_stride) {
        one(o + r * kAtOnce, k + h * 8 * kGroups, p);
      }
    }
  }
}

template <class Shape>
__global__ void __launch_bounds__(Shape::threads, Shape::blocks)
    multiply_tiles(const __grid_constant__ GemmLaunch g) {
  using T = typename Shape::T;
  constexpr int kSteps = Shape::steps, kStages = Shape::stages;
  constexpr int kRows = Shape::thread_rows, kColumns = Shape::thread_columns;
  // What a thread reads at once; its rows are in groups of so many, a warp's apart.
  constexpr int kMost = 16 / sizeof(T);
  constexpr int kVectorRows = std::min(kRows, kMost), kVectorColumns = std::min(kColumns, kMost);

  T* const shared = dynamic_shared<T>();
  const GemmPlace p = place_of<T, T, T>(g, Shape::rows, Shape::columns);
  const int lane = static_cast<int>(threadIdx.x) % kWarp,
            warp = static_cast<int>(threadIdx.x) / kWarp;
  constexpr int kWarpsAcross = Shape::columns / Shape::warp_columns;
  const int row = warp / kWarpsAcross * Shape::warp_rows + lane / 8 * kVectorRows;
  const int column = warp % kWarpsAcross * Shape::warp_columns + lane % 8 * kVectorColumns;

  const int64_t rows = g.m - p.row, columns = g.n - p.column, all = p.k_end - p.k_begin;
  const bool whole = rows >= Shape::rows && columns >= Shape::columns;
  const int64_t tiles = ceil_div(all, kSteps);
  const char *next_a = p.a, *next_b = p.b;
  const auto load = [&](int64_t t) {
    if (t < tiles) {
      T* a = shared + t % kStages * Shape::stage;
      T* b = a + kSteps * Shape::a_line;
      const int64_t left = all - t * kSteps;
      if (whole && left >= kSteps) {
        copy_tile<Shape, Shape::rows, true>(a, g.a, next_a, rows, left);
        copy_tile<Shape, Shape::columns, true>(b, g.b, next_b, columns, left);
      } else {
        copy_tile<Shape, Shape::rows, false>(a, g.a, next_a, rows, left);
        copy_tile<Shape, Shape::columns, false>(b, g.b, next_b, columns, left);
      }
      next_a += kSteps * g.a.k_stride * static_cast<int64_t>(sizeof(T));
      next_b += kSteps * g.b.k_stride * static_cast<int64_t>(sizeof(T));
    }
    __pipeline_commit();  // of nothing too, so that stages are counted alike
  };

  T sum[kRows][kColumns] = {};
  // A vector at a time, by one piece of code: sums are in registers, which have no index.
  const auto put = [&](bool first, bool last) {
    constexpr int kAcross = kColumns / kVectorColumns;
#pragma unroll 1
    for (int part = 0; part < kRows * kAcross; ++part) {
      T v[kVectorColumns] = {};
#pragma unroll
      for (int i = 0; i < kRows; ++i) {
#pragma unroll
        for (int j = 0; j < kColumns; ++j) {
          if (part == i * kAcross + j / kVectorColumns) v[j % kVectorColumns] = sum[i][j];
        }
      }
      const int i = part / kAcross, j = part % kAcross;
      const int64_t at = p.row + row + i / kVectorRows * 4 * kVectorRows + i % kVectorRows;
      const int64_t across = p.column + column + j * 8 * kVectorColumns;
      using Activation = std::conditional_t<!std::is_floating_point_v<T>, NoActivation,
                                            std::conditional_t<Shape::large, ReluOnly, CommonOnly>>;
      put_sums<T>(g, p, at, across, false, v, first, last, Activation{});
    }
#pragma unroll
    for (int i = 0; i < kRows; ++i) {
#pragma unroll
      for (int j = 0; j < kColumns; ++j) sum[i][j] = T{};
    }
  };

  const int64_t chunk = g.chunk / kSteps;  // in tiles
  int64_t t = 1 - kStages, end = 0;        // below 0 there are only copies to begin
  bool first = true;
  do {
    end = std::min(end + chunk, tiles);
    for (; t < end; ++t) {
      __pipeline_wait_prior(kStages - 2);
      __syncthreads();  // tile t is here, and nobody reads the one before it any more
      load(t + kStages - 1);
      if (t < 0) continue;
      const T* a = shared + t % kStages * Shape::stage + row;
      const T* b = shared + t % kStages * Shape::stage + kSteps * Shape::a_line + column;
#pragma unroll 8
      for (int k = 0; k < kSteps; ++k) {
        T x[kRows], y[kColumns];
#pragma unroll
        for (int i = 0; i < kRows; i += kVectorRows) {
          const auto v =
              *reinterpret_cast<const Pack<T, kVectorRows>*>(a + k * Shape::a_line + i * 4);
#pragma unroll
          for (int e = 0; e < kVectorRows; ++e) x[i + e] = v.of[e];
        }
#pragma unroll
        for (int j = 0; j < kColumns; j += kVectorColumns) {
          const auto v =
              *reinterpret_cast<const Pack<T, kVectorColumns>*>(b + k * Shape::b_line + j * 8);
#pragma unroll
          for (int e = 0; e < kVectorColumns; ++e) y[j + e] = v.of[e];
        }
#pragma unroll
        for (int i = 0; i < kRows; ++i) {
#pragma unroll
          for (int j = 0; j < kColumns; ++j) sum[i][j] = multiply_add(x[i], y[j], sum[i][j]);
        }
      }
    }
    put(first, end == tiles);
    first = false;
  } while (end < tiles);
}

template <class Shape>
void start_tiles(const Launch& l, const GemmLaunch& g) {
  start_gemm<Shape>(l, g, &multiply_tiles<Shape>);
}

}  // namespace wengert::cuda
