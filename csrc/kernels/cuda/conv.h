// Convolutions on the device, as matrix products whose second factor is gathered while it is staged
// (implicit GEMM). A gradient by the input is a convolution too: for each residue of places by the
// stride (a class of places) one with the taps that reach them. A gradient by the weight is a
// product over all places, cut into parts that are summed in order.
#pragma once

#include <cuda_bf16.h>
#include <cuda_fp16.h>
#include <mma.h>

#include "kernels/cuda/device.h"
#include "kernels/cuda/operand.h"

namespace wengert::cuda {

inline constexpr int kConvThreads = 256;

// The places of one class on one axis, and the taps that reach them: place i of the class is place
// first + i step; its tap k reads base + i place_step + k tap_step, where that is within the
// source, times weight weight_first + k weight_step.
struct ConvClass {
  int count, first, step;
  int base, place_step;
  int taps, tap_step;
  int weight_first, weight_step;
};

struct ConvAxis {
  int source, places;  // sizes of what is read and what is made
  int kernel, stride, padding, dilation;
  int classes;   // 1, or the stride of a gradient by the input
  int tap_step;  // of such a gradient: taps of a class are so far apart

  ConvAxis() = default;
  ConvAxis(const ConvParams& p, int d, bool transposed);

  // Residue r of the places.
  WENGERT_DEVICE ConvClass of(int r, bool transposed) const {
    if (!transposed) return {places, 0, 1, -padding, stride, kernel, dilation, 0, 1};
    ConvClass c{(places - r + stride - 1) / stride, r, stride, 0, 1, 0, 0, 0, tap_step};
    for (int t = 0; t < kernel && t < tap_step; ++t) {
      const int at = r + padding - t * dilation;
      if (at % stride != 0) continue;
      c.base = at / stride;
      c.weight_first = t;
      c.taps = (kernel - t + tap_step - 1) / tap_step;
      c.tap_step = -(tap_step * dilation / stride);
      break;
    }
    return c;
  }
};

// out[b, group, m, place] = sum over c, taps of weight[group, m, c, tap] source[b, group, c, place
// and tap] + bias[group, m].
struct ConvArgs {
  ConvAxis axis[3];
  bool transposed;
  int groups, rows, channels;
  int64_t batch;
  int64_t row_step, channel_step, group_step;  // of the weight
  const void *source, *weight, *bias;
  void* out;
  int64_t source_size, out_size;  // of a channel
  int64_t n_most;                 // places of all samples in the greatest class
  int row_tiles, classes;
  int64_t n_tiles, blocks;

  ConvArgs(const Launch& l);
  void tile(int row_tile, int n_tile);
};

// Whether positions fit 32 bits.
bool conv_fits(const Launch& l);

// Of small groups, each place by a thread (conv_direct.cu). Elements are stored as S.
template <class S>
bool run_conv_direct(const Launch& l, ConvArgs& a);
// What elements stored as S are summed in.
template <class S>
using ConvSum = std::conditional_t<is_half<S>, float, S>;

// What becomes of a block's number.
struct ConvBlock {
  ConvClass axis[3];
  int row0, group;
  int64_t n0, n_end;
  int k_end;
};
WENGERT_DEVICE ConvBlock conv_block(const ConvArgs& a, int64_t block, int row_tile, int n_tile) {
  ConvBlock b;
  b.row0 = static_cast<int>(block % a.row_tiles) * row_tile;
  block /= a.row_tiles;
  b.n0 = block % a.n_tiles * n_tile;
  block /= a.n_tiles;
  b.group = static_cast<int>(block % a.groups);
  int r = static_cast<int>(block / a.groups);
  b.n_end = a.batch;
  b.k_end = a.channels;
#pragma unroll
  for (int d = 2; d >= 0; --d) {
    b.axis[d] = a.axis[d].of(r % a.axis[d].classes, a.transposed);
    r /= a.axis[d].classes;
    b.n_end *= b.axis[d].count;
    b.k_end *= b.axis[d].taps;
  }
  return b;
}

// Quotients by uniform numbers: in 32 bits where that does.
WENGERT_DEVICE int64_t take_digit(int64_t& n, int size) {
  if (n >> 32 == 0) {
    const auto q = static_cast<uint32_t>(n) / static_cast<uint32_t>(size);
    const uint32_t digit = static_cast<uint32_t>(n) - q * static_cast<uint32_t>(size);
    n = q;
    return digit;
  }
  const int64_t q = n / size, digit = n - q * size;
  n = q;
  return digit;
}

// Place n of a class: the sample, and the place on each axis.
struct ConvPlace {
  int64_t b;
  int at[3];
};
WENGERT_DEVICE ConvPlace conv_place(const ConvClass* axis, int64_t n) {
  ConvPlace p;
#pragma unroll
  for (int d = 2; d >= 0; --d) p.at[d] = static_cast<int>(take_digit(n, axis[d].count));
  p.b = n;
  return p;
}

// A place or a tap: what it adds to positions, and to the address.
struct ConvShift {
  int64_t offset;
  int at[3];
};
WENGERT_DEVICE bool conv_reads(const ConvAxis* axis, const int (&place)[3], const int (&tap)[3]) {
  bool inside = true;
#pragma unroll
  for (int d = 0; d < 3; ++d) {
    inside &= static_cast<unsigned>(place[d] + tap[d]) < static_cast<unsigned>(axis[d].source);
  }
  return inside;
}

// --- tiles of multiply-adds ----------------------------------------------------------------------

// BM x BN results to a block, TM x TN to a thread, in quads that are far apart, so that a warp's
// reads are side by side; kDepth products are staged at a time, twice.
template <class T, int BM_, int BN_, int kDepth_, int TM_, int TN_>
struct ConvTile {
  using Stored = T;
  using Sum = T;
  static constexpr int BM = BM_, BN = BN_, kDepth = kDepth_, TM = TM_, TN = TN_;
  static constexpr int kAcross = BN / TN, kRowQuads = BM / (TM / 4), kColumnQuads = BN / (TN / 4);
  static constexpr int kLeft = BM * kDepth / kConvThreads, kRight = BN * kDepth / kConvThreads;
  static_assert(BM / TM * kAcross == kConvThreads);

  struct Sums {
    T of[TM][TN] = {};
  };
  T left_[2][kDepth][BM + 4], right_[2][kDepth][BN + 4];
  WENGERT_DEVICE T* left(int half, int k) { return left_[half][k]; }
  WENGERT_DEVICE T* right(int half, int k) { return right_[half][k]; }

  WENGERT_DEVICE static int row() { return static_cast<int>(threadIdx.x) / kAcross * 4; }
  WENGERT_DEVICE static int column() { return static_cast<int>(threadIdx.x) % kAcross * 4; }

  WENGERT_DEVICE void multiply(int half, Sums& sums) const {
#pragma unroll
    for (int k = 0; k < kDepth; ++k) {
      T a[TM], b[TN];
#pragma unroll
      for (int i = 0; i < TM; i += 4) {
        const auto v =
            *reinterpret_cast<const Pack<T, 4>*>(&left_[half][k][i / 4 * kRowQuads + row()]);
#pragma unroll
        for (int j = 0; j < 4; ++j) a[i + j] = v.of[j];
      }
#pragma unroll
      for (int i = 0; i < TN; i += 4) {
        const auto v =
            *reinterpret_cast<const Pack<T, 4>*>(&right_[half][k][i / 4 * kColumnQuads + column()]);
#pragma unroll
        for (int j = 0; j < 4; ++j) b[i + j] = v.of[j];
      }
#pragma unroll
      for (int i = 0; i < TM; ++i) {
#pragma unroll
        for (int j = 0; j < TN; ++j) sums.of[i][j] += a[i] * b[j];
      }
    }
  }
  WENGERT_DEVICE void finish(const Sums& sums, T (&to)[TM][TN]) {
#pragma unroll
    for (int i = 0; i < TM; ++i) {
#pragma unroll
      for (int j = 0; j < TN; ++j) to[i][j] = sums.of[i][j];
    }
  }
};

// The same of 16-bit floats by tensor cores: eight warps, four down and two across. What a thread
// has in the end are quads as above, by way of shared memory.
template <class S, int BM_>
struct ConvNarrowTile {
  using Stored = S;
  using Sum = float;
  using Hardware = std::conditional_t<std::is_same_v<S, BFloat16>, __nv_bfloat16, __half>;
  static constexpr int BM = BM_, BN = 64, kDepth = 32, TM = BM / 16, TN = 4;
  static constexpr int kAcross = 16, kRowQuads = 64, kColumnQuads = 64;
  static constexpr int kLeft = BM * kDepth / kConvThreads, kRight = BN * kDepth / kConvThreads;
  static constexpr int kDown = BM / 64, kRoomPitch = BN + 4;

  struct Sums {
    nvcuda::wmma::fragment<nvcuda::wmma::accumulator, 16, 16, 16, float> of[kDown][2];
    WENGERT_DEVICE Sums() {
      for (auto& row : of) {
        for (auto& s : row) nvcuda::wmma::fill_fragment(s, 0.0f);
      }
    }
  };
  struct Staged {
    Hardware left[2][kDepth][BM + 8], right[2][kDepth][BN + 8];
  };
  union alignas(32) {
    Staged staged;
    float room[BM * kRoomPitch];
  };
  WENGERT_DEVICE S* left(int half, int k) { return reinterpret_cast<S*>(staged.left[half][k]); }
  WENGERT_DEVICE S* right(int half, int k) { return reinterpret_cast<S*>(staged.right[half][k]); }
  WENGERT_DEVICE static int row() { return static_cast<int>(threadIdx.x) / kAcross * 4; }
  WENGERT_DEVICE static int column() { return static_cast<int>(threadIdx.x) % kAcross * 4; }
  WENGERT_DEVICE static int warp() { return static_cast<int>(threadIdx.x) / kWarp; }

  WENGERT_DEVICE void multiply(int half, Sums& sums) const {
    namespace wmma = nvcuda::wmma;
    const int row0 = warp() % 4 * 16 * kDown, column0 = warp() / 4 * 32;
#pragma unroll
    for (int k = 0; k < kDepth; k += 16) {
      wmma::fragment<wmma::matrix_b, 16, 16, 16, Hardware, wmma::row_major> b[2];
#pragma unroll
      for (int j = 0; j < 2; ++j) {
        wmma::load_matrix_sync(b[j], &staged.right[half][k][column0 + 16 * j], BN + 8);
      }
#pragma unroll
      for (int i = 0; i < kDown; ++i) {
        wmma::fragment<wmma::matrix_a, 16, 16, 16, Hardware, wmma::col_major> a;
        wmma::load_matrix_sync(a, &staged.left[half][k][row0 + 16 * i], BM + 8);
#pragma unroll
        for (int j = 0; j < 2; ++j) wmma::mma_sync(sums.of[i][j], a, b[j], sums.of[i][j]);
      }
    }
  }
  WENGERT_DEVICE void finish(const Sums& sums, float (&to)[TM][TN]) {
    namespace wmma = nvcuda::wmma;
    __syncthreads();
    const int row0 = warp() % 4 * 16 * kDown, column0 = warp() / 4 * 32;
#pragma unroll
    for (int i = 0; i < kDown; ++i) {
#pragma unroll
      for (int j = 0; j < 2; ++j) {
        wmma::store_matrix_sync(room + (row0 + 16 * i) * kRoomPitch + column0 + 16 * j,
                                sums.of[i][j], kRoomPitch, wmma::mem_row_major);
      }
    }
    __syncthreads();
#pragma unroll
    for (int i = 0; i < TM; ++i) {
      const auto v = *reinterpret_cast<const Pack<float, 4>*>(
          room + (i / 4 * kRowQuads + row() + i % 4) * kRoomPitch + column());
#pragma unroll
      for (int j = 0; j < TN; ++j) to[i][j] = v.of[j];
    }
  }
};

}  // namespace wengert::cuda
