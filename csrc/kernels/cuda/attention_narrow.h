// Attention of 16-bit floats by tensor cores. A block has four warps, and a warp sixteen rows of
// the block's tile all to itself: queries, or keys for their gradients. What the warps share is
// brought by asynchronous copies while they compute. Sums are float32; weights and their gradients
// are rounded to the inputs' type where they become factors of a product.
//
// CUDA does not say which thread has which element of a fragment, but it is the same for all
// fragments of a kind: a fragment of numbers 0 to 255 tells.
#pragma once

#include <cuda_bf16.h>
#include <cuda_fp16.h>
#include <cuda_pipeline.h>
#include <mma.h>

#include "kernels/cuda/attention.h"
#include "kernels/cuda/cuda.h"

namespace wengert::cuda {

namespace wmma = nvcuda::wmma;

inline constexpr int kNarrowThreads = 128;
inline constexpr int kRoomPitch = 68;  // of a warp's sixteen rows of 64 floats

// Throws where there is more than these kernels take: the processor's have no such dtypes.
inline void refuse_beyond_narrow(const Launch& l) {
  if (attention_fits(l) && std::max(l.more[2], l.more[3]) <= kNarrowAttention) return;
  fail(kernel_name(l.kernel), ": too many elements for a cuda kernel of dtype ", name_of(l.dtype));
}

template <class S>
struct HardwareType;
template <>
struct HardwareType<BFloat16> {
  using type = __nv_bfloat16;
  static WENGERT_DEVICE type of(float x) { return __float2bfloat16_rn(x); }
};
template <>
struct HardwareType<Float16> {
  using type = __half;
  static WENGERT_DEVICE type of(float x) { return __float2half_rn(x); }
};
template <class S>
using Hardware = typename HardwareType<S>::type;

using Sums = wmma::fragment<wmma::accumulator, 16, 16, 16, float>;
template <class S, class Order>
using Left = wmma::fragment<wmma::matrix_a, 16, 16, 16, Hardware<S>, Order>;
template <class S, class Order>
using Right = wmma::fragment<wmma::matrix_b, 16, 16, 16, Hardware<S>, Order>;
static_assert(Sums::num_elements == 8);

// The rows and columns of a thread's elements of Sums. `room`: 256 floats of shared memory.
struct Elements {
  int at[8];

  WENGERT_DEVICE explicit Elements(float* room) {
    for (int i = static_cast<int>(threadIdx.x); i < 256; i += kNarrowThreads) {
      room[i] = static_cast<float>(i);
    }
    __syncthreads();
    Sums s;
    wmma::load_matrix_sync(s, room, 16, wmma::mem_row_major);
#pragma unroll
    for (int i = 0; i < 8; ++i) at[i] = static_cast<int>(s.x[i]);
    __syncthreads();
  }
  WENGERT_DEVICE int row(int i) const { return at[i] / 16; }
  WENGERT_DEVICE int column(int i) const { return at[i] % 16; }
};

// kRows rows from row0 on into shared memory, rows of W + 8; zeros beyond the ends. They are there
// once copies are waited for and all threads have met.
template <int kRows, int W, class S>
WENGERT_DEVICE void bring_rows(const S* from, const Heads& heads, int row0, int rows, int columns,
                               Hardware<S>* to) {
  constexpr int kPacks = W / 8;
  static_assert(kRows * kPacks % kNarrowThreads == 0);
#pragma unroll 4
  for (int i = 0; i < kRows * kPacks; i += kNarrowThreads) {
    const int e = i + static_cast<int>(threadIdx.x), r = e / kPacks, c = 8 * (e % kPacks);
    const int left = row0 + r < rows ? columns - c : 0;
    const S* const x = from + (left > 0 ? (row0 + r) * heads.row + c : 0);
    auto* const at = reinterpret_cast<S*>(to + r * (W + 8) + c);
    if (left >= 8 && heads.vectors) {
      __pipeline_memcpy_async(at, x, 16);
    } else {
      for (int j = 0; j < 8; ++j) at[j] = j < left ? x[j] : S{};
    }
  }
}
WENGERT_DEVICE void wait_for_rows() {
  __pipeline_commit();
  __pipeline_wait_prior(0);
  __syncthreads();
}

// out[n] = rows of the warp times rows 16 n of b, over columns.
template <class S, int kTiles, int W>
WENGERT_DEVICE void multiply_rows(const Hardware<S>* a, const Hardware<S>* b, int columns,
                                  Sums (&out)[kTiles]) {
#pragma unroll
  for (int n = 0; n < kTiles; ++n) wmma::fill_fragment(out[n], 0.0f);
#pragma unroll 2
  for (int c = 0; c < columns; c += 16) {
    Left<S, wmma::row_major> x;
    wmma::load_matrix_sync(x, a + c, W + 8);
#pragma unroll
    for (int n = 0; n < kTiles; ++n) {
      Right<S, wmma::col_major> y;
      wmma::load_matrix_sync(y, b + n * 16 * (W + 8) + c, W + 8);
      wmma::mma_sync(out[n], x, y, out[n]);
    }
  }
}

// sums += the warp's weights, sixteen rows of 16 kTiles, times as many rows of x.
template <class S, int kTiles, int W>
WENGERT_DEVICE void add_rows(const Hardware<S>* weights, int pitch, const Hardware<S>* x,
                             int columns, Sums (&sums)[W / 16]) {
#pragma unroll
  for (int k = 0; k < kTiles; ++k) {
    Left<S, wmma::row_major> w;
    wmma::load_matrix_sync(w, weights + 16 * k, static_cast<unsigned>(pitch));
#pragma unroll
    for (int c = 0; c < W / 16; ++c) {
      if (16 * c >= columns) break;
      Right<S, wmma::row_major> y;
      wmma::load_matrix_sync(y, x + k * 16 * (W + 8) + 16 * c, W + 8);
      wmma::mma_sync(sums[c], w, y, sums[c]);
    }
  }
}

// A warp's sums to its sixteen rows of the result, by way of `room`, 16 x kRoomPitch floats.
template <class S, int W>
WENGERT_DEVICE void put_sums(Sums (&sums)[W / 16], float* room, S* to, const Heads& heads, int row0,
                             int rows, int columns) {
  const int lane = static_cast<int>(threadIdx.x) % kWarp;
#pragma unroll
  for (int half = 0; half < W / 64; ++half) {
    __syncwarp();
#pragma unroll
    for (int c = 0; c < 4; ++c) {
      wmma::store_matrix_sync(room + 16 * c, sums[4 * half + c], kRoomPitch, wmma::mem_row_major);
    }
    __syncwarp();
    for (int e = lane; e < 16 * 8; e += kWarp) {
      const int r = e / 8, c = 8 * (e % 8), left = columns - 64 * half - c;
      if (row0 + r >= rows || left <= 0) continue;
      S* const out = to + (row0 + r) * heads.row + 64 * half + c;
      Pack<S, 8> v;
      for (int j = 0; j < 8; ++j) {
        v.of[j] = std::bit_cast<S>(HardwareType<S>::of(room[r * kRoomPitch + c + j]));
      }
      if (left >= 8 && heads.vectors) {
        *reinterpret_cast<Pack<S, 8>*>(out) = v;
      } else {
        for (int j = 0; j < 8 && j < left; ++j) out[j] = v.of[j];
      }
    }
  }
}

// What a score is besides the product; -inf where there is nothing to attend to.
WENGERT_DEVICE float score_of(const AttentionArgs& a, const float* mask, float product, int q,
                              int key) {
  const bool inside = q < a.queries && key < a.keys;
  if (!inside || (a.causal && key > q)) return -std::numeric_limits<float>::infinity();
  const float s = product * static_cast<float>(a.scale);
  return a.masked ? s + mask[q * a.mask_step[2] + key * a.mask_step[3]] : s;
}
WENGERT_DEVICE const float* mask_of(const AttentionArgs& a, int b, int h) {
  return reinterpret_cast<const float*>(a.mask) + b * a.mask_step[0] + h * a.mask_step[1];
}

// A byte for each of kKeys keys by kQueries queries of the warp: whether dropout keeps it. That of
// key k and query q is at k kQueries + q; four queries are a counter's words.
template <int kKeys, int kQueries>
WENGERT_DEVICE void draw_kept(const AttentionArgs& a, int b, int h, int key, int q, uint8_t* kept) {
  for (int e = static_cast<int>(threadIdx.x) % kWarp; e < kKeys * kQueries / 4; e += kWarp) {
    const RandomWords w =
        attention_words(a, b, h, key + e / (kQueries / 4), q + 4 * (e % (kQueries / 4)));
    uint32_t bytes = 0;
#pragma unroll
    for (int i = 0; i < 4; ++i) bytes |= (w.of[i] < a.bound ? 0u : 1u) << 8 * i;
    reinterpret_cast<uint32_t*>(kept)[e] = bytes;
  }
  __syncwarp();
}

}  // namespace wengert::cuda
