// Matrix products by the matrix units: of bfloat16, float16, or float32 rounded to TF32, summed in
// float32. As gemm_tiles.h, but a warp makes fragments of 16 x 16, and tiles lie in shared memory
// as they lie in memory, by rows or by columns, as fragments may.
//
// Fragments of one shape are multiplied by one instruction, so the order of sums is the same for
// all sizes of tiles.
#pragma once

#include <cuda_bf16.h>
#include <cuda_fp16.h>
#include <cuda_pipeline.h>
#include <mma.h>

#include "kernels/cuda/gemm_activation.h"
#include "kernels/cuda/gemm_choice.h"

namespace wengert::cuda {

namespace wmma = nvcuda::wmma;

struct Tf32 {};

// What a type is in memory, to a fragment, and in the host's words; the steps of k in a fragment.
template <class T>
struct UnitTypes;
template <>
struct UnitTypes<BFloat16> {
  using Element = __nv_bfloat16;
  using Fragment = __nv_bfloat16;
  using Stored = BFloat16;
  static constexpr int steps = 16;
};
template <>
struct UnitTypes<Float16> {
  using Element = __half;
  using Fragment = __half;
  using Stored = Float16;
  static constexpr int steps = 16;
};
template <>
struct UnitTypes<Tf32> {
  using Element = float;
  using Fragment = wmma::precision::tf32;
  using Stored = float;
  static constexpr int steps = 8;
};

template <class Type, int kRows, int kColumns, int kSteps, int kWarpRows, int kWarpColumns,
          int kStagesUsed>
struct UnitShape {
  using Types = UnitTypes<Type>;
  using T = typename Types::Stored;
  static constexpr int rows = kRows, columns = kColumns, steps = kSteps;
  static constexpr int warp_rows = kWarpRows, warp_columns = kWarpColumns;
  static constexpr int stages = kStagesUsed;
  static constexpr int warps = (kRows / kWarpRows) * (kColumns / kWarpColumns);
  static constexpr int threads = warps * kWarp;
  // Lines 16 bytes longer: the eight rows that an instruction loads lie in different banks.
  static constexpr int pad = 16 / sizeof(T);
  static constexpr int a_size = std::max(kRows * (kSteps + pad), kSteps*(kRows + pad));
  static constexpr int b_size = std::max(kColumns * (kSteps + pad), kSteps*(kColumns + pad));
  static constexpr int stage = a_size + b_size;
  // Where a warp's fragment of sums is seen as a matrix.
  static constexpr int sums_line = 20, sums = 16 * sums_line;
  static constexpr size_t stage_bytes = sizeof(T) * stage * kStagesUsed;
  static constexpr size_t shared = stage_bytes + sizeof(float) * sums * warps;
  static_assert(sizeof(T) * a_size % 32 == 0 && sizeof(T) * b_size % 32 == 0);
};

constexpr bool reads_steps(Reads r) {
  return r == Reads::StepVectors || r == Reads::Steps;
}

// Elements [0, kOuter) x [0, kSteps) of a matrix: to lines of steps, or to lines along m or n.
// Zeros beyond `outer` and `steps`.
template <class Shape, int kOuter>
WENGERT_DEVICE void copy_lines(typename Shape::T* to, const GemmFactor& f, const char* from,
                               int64_t outer, int64_t steps) {
  using T = typename Shape::T;
  constexpr int kThreads = Shape::threads, kSteps = Shape::steps, kVector = 16 / sizeof(T);
  const auto* source = reinterpret_cast<const T*>(from);
  const bool by_steps = reads_steps(f.reads);
  const int line = by_steps ? kSteps : kOuter;  // elements, side by side
  const int64_t in_line = by_steps ? steps : outer, lines = by_steps ? outer : steps;
  const int64_t next = by_steps ? f.outer_stride : f.k_stride;
  if (f.reads == Reads::Vectors || f.reads == Reads::StepVectors) {
    constexpr int kAll = kOuter * kSteps / kVector;
    const int per_line = line / kVector;
#pragma unroll
    for (int e = 0; e < (kAll + kThreads - 1) / kThreads; ++e) {
      const int v = static_cast<int>(threadIdx.x) + e * kThreads;
      if (kAll % kThreads != 0 && v >= kAll) break;
      const int l = v / per_line, i = v % per_line * kVector;
      const T* p = source + l * next + i;
      T* at = to + l * (line + Shape::pad) + i;
      if (l < lines && i + kVector <= in_line) {
        __pipeline_memcpy_async(at, p, 16);
      } else {
#pragma unroll 1
        for (int j = 0; j < kVector; ++j) at[j] = l < lines && i + j < in_line ? p[j] : T{};
      }
    }
    return;
  }
  // Any strides: an element at a time, some under way before the first is stored.
  const int64_t along = by_steps ? f.k_stride : f.outer_stride;
  constexpr int kAll = kOuter * kSteps, kBatch = 8;
  static_assert(kAll % (kThreads * kBatch) == 0 || kAll < kThreads * kBatch);
#pragma unroll 1
  for (int e = static_cast<int>(threadIdx.x); e < kAll; e += kThreads * kBatch) {
    T v[kBatch];
#pragma unroll
    for (int j = 0; j < kBatch; ++j) {
      const int x = e + j * kThreads, l = x / line, i = x % line;
      v[j] = x < kAll && l < lines && i < in_line ? source[l * next + i * along] : T{};
    }
#pragma unroll
    for (int j = 0; j < kBatch; ++j) {
      const int x = e + j * kThreads, l = x / line, i = x % line;
      if (x < kAll) to[l * (line + Shape::pad) + i] = v[j];
    }
  }
}

template <class T, class Fragment>
WENGERT_DEVICE void round_to_tf32(Fragment& f) {
  if constexpr (std::is_same_v<T, float>) {
#pragma unroll
    for (int i = 0; i < f.num_elements; ++i) f.x[i] = wmma::__float_to_tf32(f.x[i]);
  }
}

// A warp's fragments of one tile of A and B, multiplied and added.
template <class Shape, class LayoutA, class LayoutB, class Sums>
WENGERT_DEVICE void multiply_stage(const typename Shape::T* a_tile, const typename Shape::T* b_tile,
                                   int row, int column, Sums& sums) {
  using Types = typename Shape::Types;
  using Element = typename Types::Element;
  constexpr int kSteps = Types::steps;
  constexpr int kRows = Shape::warp_rows / 16, kColumns = Shape::warp_columns / 16;
  constexpr bool kRowsOfA = std::is_same_v<LayoutA, wmma::row_major>;
  constexpr bool kRowsOfB = std::is_same_v<LayoutB, wmma::row_major>;
  constexpr int kLineA = (kRowsOfA ? Shape::steps : Shape::rows) + Shape::pad;
  constexpr int kLineB = (kRowsOfB ? Shape::columns : Shape::steps) + Shape::pad;
  const auto* a0 = reinterpret_cast<const Element*>(a_tile);
  const auto* b0 = reinterpret_cast<const Element*>(b_tile);
#pragma unroll
  for (int k = 0; k < Shape::steps; k += kSteps) {
    wmma::fragment<wmma::matrix_b, 16, 16, kSteps, typename Types::Fragment, LayoutB> b[kColumns];
#pragma unroll
    for (int j = 0; j < kColumns; ++j) {
      const int at = column + 16 * j;
      wmma::load_matrix_sync(b[j], b0 + (kRowsOfB ? k * kLineB + at : at * kLineB + k), kLineB);
      round_to_tf32<Element>(b[j]);
    }
#pragma unroll
    for (int i = 0; i < kRows; ++i) {  // one of A at a time: registers are scarce
      wmma::fragment<wmma::matrix_a, 16, 16, kSteps, typename Types::Fragment, LayoutA> a;
      const int at = row + 16 * i;
      wmma::load_matrix_sync(a, a0 + (kRowsOfA ? at * kLineA + k : k * kLineA + at), kLineA);
      round_to_tf32<Element>(a);
#pragma unroll
      for (int j = 0; j < kColumns; ++j) wmma::mma_sync(sums[i][j], a, b[j], sums[i][j]);
    }
  }
}

template <class Shape>
__global__ void __launch_bounds__(Shape::threads, Shape::threads == 256 ? 2 : 3)
    multiply_units(const __grid_constant__ GemmLaunch g) {
  using T = typename Shape::T;
  constexpr int kSteps = Shape::steps, kStages = Shape::stages;
  constexpr int kRows = Shape::warp_rows / 16, kColumns = Shape::warp_columns / 16;
  constexpr int kWarpsAcross = Shape::columns / Shape::warp_columns;

  T* const shared = dynamic_shared<T>();
  const GemmPlace p = place_of<float, T, T>(g, Shape::rows, Shape::columns);
  const int lane = static_cast<int>(threadIdx.x) % kWarp;
  const int warp = static_cast<int>(threadIdx.x) / kWarp;
  const int row = warp / kWarpsAcross * Shape::warp_rows;
  const int column = warp % kWarpsAcross * Shape::warp_columns;
  float* const seen =
      reinterpret_cast<float*>(reinterpret_cast<char*>(shared) + Shape::stage_bytes) +
      warp * Shape::sums;

  const int64_t rows = g.m - p.row, columns = g.n - p.column, all = p.k_end - p.k_begin;
  const int64_t tiles = ceil_div(all, kSteps);
  const char *next_a = p.a, *next_b = p.b;
  int filled = 0, used = 0;  // stages
  const auto load = [&](int64_t t) {
    if (t < tiles) {
      T* a = shared + filled * Shape::stage;
      T* b = a + Shape::a_size;
      const int64_t left = all - t * kSteps;
      copy_lines<Shape, Shape::rows>(a, g.a, next_a, rows, left);
      copy_lines<Shape, Shape::columns>(b, g.b, next_b, columns, left);
      next_a += kSteps * g.a.k_stride * static_cast<int64_t>(sizeof(T));
      next_b += kSteps * g.b.k_stride * static_cast<int64_t>(sizeof(T));
      filled = filled + 1 == kStages ? 0 : filled + 1;
    }
    __pipeline_commit();
  };

  wmma::fragment<wmma::accumulator, 16, 16, Shape::Types::steps, float> sums[kRows][kColumns];
#pragma unroll
  for (int i = 0; i < kRows; ++i) {
#pragma unroll
    for (int j = 0; j < kColumns; ++j) wmma::fill_fragment(sums[i][j], 0.0f);
  }
  // Through shared memory, where it is known which element is which; along what lies side by side
  // in C, which is a column if the matrices are turned.
  const bool by_columns = g.c_row == 1 && g.c_column != 1;
  const auto put = [&](bool first, bool last) {
#pragma unroll 1
    for (int part = 0; part < kRows * kColumns; ++part) {
#pragma unroll
      for (int i = 0; i < kRows; ++i) {
#pragma unroll
        for (int j = 0; j < kColumns; ++j) {
          if (part != i * kColumns + j) continue;
          wmma::store_matrix_sync(seen, sums[i][j], Shape::sums_line,
                                  by_columns ? wmma::mem_col_major : wmma::mem_row_major);
        }
      }
      __syncwarp();
      const int64_t top = p.row + row + 16 * (part / kColumns);
      const int64_t left = p.column + column + 16 * (part % kColumns);
#pragma unroll 1
      for (int e = lane; e < 64; e += kWarp) {
        const int line = e / 4, at = e % 4 * 4;
        float v[4];
        read_group(seen + line * Shape::sums_line + at, 1, 4, v);
        put_sums<T>(g, p, top + (by_columns ? at : line), left + (by_columns ? line : at),
                    by_columns, v, first, last, CommonOnly{});
      }
      __syncwarp();
    }
#pragma unroll
    for (int i = 0; i < kRows; ++i) {
#pragma unroll
      for (int j = 0; j < kColumns; ++j) wmma::fill_fragment(sums[i][j], 0.0f);
    }
  };

  const bool a_steps = reads_steps(g.a.reads), b_steps = reads_steps(g.b.reads);
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
      const T* a = shared + used * Shape::stage;
      const T* b = a + Shape::a_size;
      used = used + 1 == kStages ? 0 : used + 1;
      using wmma::col_major, wmma::row_major;
      if (a_steps) {
        if (b_steps) {
          multiply_stage<Shape, row_major, col_major>(a, b, row, column, sums);
        } else {
          multiply_stage<Shape, row_major, row_major>(a, b, row, column, sums);
        }
      } else if (b_steps) {
        multiply_stage<Shape, col_major, col_major>(a, b, row, column, sums);
      } else {
        multiply_stage<Shape, col_major, row_major>(a, b, row, column, sums);
      }
    }
    put(first, end == tiles);
    first = false;
  } while (end < tiles);
}

template <class Shape>
void start_units(const Launch& l, const GemmLaunch& g) {
  start_gemm<Shape>(l, g, &multiply_units<Shape>);
}

// The tiles for products by the units.
template <class Type>
void multiply_by_units(const Launch& l, const GemmLaunch& g, GemmTile tile) {
  constexpr int kSteps = 64 / sizeof(typename UnitTypes<Type>::Stored);  // 64 bytes a line
  switch (tile) {
    case GemmTile::Large:
      return start_units<UnitShape<Type, 128, 128, kSteps, 64, 32, 3>>(l, g);
    case GemmTile::Medium:
    case GemmTile::Small:
      return start_units<UnitShape<Type, 64, 64, kSteps, 32, 32, 3>>(l, g);
    case GemmTile::Thin:
      return start_units<UnitShape<Type, 16, 128, 2 * kSteps, 16, 32, 3>>(l, g);
  }
}

}  // namespace wengert::cuda
