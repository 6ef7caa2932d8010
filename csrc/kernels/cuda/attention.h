// Attention without the matrix of weights (Dao and others, FlashAttention, 2022), on the device: a
// block has a tile of queries (or of keys, for their gradients), goes over the keys (queries) tile
// by tile, and makes the scores anew wherever they are needed. Of float32 and float64 the products
// are of multiply-adds over tiles in shared memory, 4 x 4 results to a thread (attention.cu,
// attention_grad.cu); of 16-bit floats, of tensor cores (attention_narrow*.cu).
//
// No sum depends on the order of blocks: each gradient is one block's, from first to last.
#pragma once

#include <cmath>
#include <limits>

#include "kernels/cuda/device.h"
#include "kernels/cuda/operand.h"
#include "kernels/cuda/philox.h"
#include "kernels/cuda/warp.h"

namespace wengert::cuda {

inline constexpr int kAttentionTile = 64;  // queries, and in general keys; what dropout counts by

// An operand: rows are dense. Steps are in elements.
struct Heads {
  char* data;
  int64_t batch, head, row;
  bool vectors;  // rows begin at a multiple of 16 bytes

  template <class T>
  WENGERT_DEVICE T* at(int b, int h) const {
    return reinterpret_cast<T*>(data) + b * batch + h * head;
  }
};

struct AttentionArgs {
  int batch, heads, queries, keys;
  int columns, value_columns, group;
  bool causal, masked, drops;
  double scale;
  double kept;     // what is not dropped is multiplied by it
  uint32_t bound;  // words below drop
  RandomSource source;
  Heads q, k, v, y;
  Heads g, gq, gk, gv;
  char *log_sums, *delta;  // of each query, dense
  const char* mask;
  int64_t mask_step[4];
  int query_tiles, key_tiles, chunks;

  AttentionArgs(const Launch& l, bool backward);

  // The numbers of a head's queries; and that of one, 0 beyond the last.
  template <class T>
  WENGERT_DEVICE T* of_queries(char* p, int b, int h) const {
    return reinterpret_cast<T*>(p) + (static_cast<int64_t>(b) * heads + h) * queries;
  }
  template <class T>
  WENGERT_DEVICE T of_query(char* p, int b, int h, int q) const {
    return q < queries ? of_queries<T>(p, b, h)[q] : T(0);
  }
  // Keys that a tile's queries may see.
  WENGERT_DEVICE int keys_seen(int q0) const {
    const int end = min(queries, q0 + kAttentionTile);
    return causal ? min(keys, end) : keys;
  }
};

// What becomes of a block's number: its head, where its tile begins, and the chunk of the result's
// columns that it makes.
struct AttentionBlock {
  int b, h, first, column0;
};
WENGERT_DEVICE AttentionBlock attention_block(int chunks, int chunk, int tiles, int heads) {
  int block = static_cast<int>(blockIdx.x);
  AttentionBlock at;
  at.column0 = block % chunks * chunk;
  block /= chunks;
  at.first = block % tiles * kAttentionTile;
  block /= tiles;
  at.h = block % heads;
  at.b = block / heads;
  return at;
}
WENGERT_DEVICE AttentionBlock query_block(const AttentionArgs& a, int chunk) {
  AttentionBlock at = attention_block(a.chunks, chunk, a.query_tiles, a.heads);
  // With a causal mask the last have the most to do: they begin.
  at.first = (a.query_tiles - 1) * kAttentionTile - at.first;
  return at;
}
WENGERT_DEVICE AttentionBlock key_block(const AttentionArgs& a, int chunk) {
  return attention_block(a.chunks, chunk, a.key_tiles, a.heads / a.group);
}

// Whether sizes fit what kernels count with.
bool attention_fits(const Launch& l);

// delta: the rows' sums of g y, of elements stored as S.
template <class S, class T>
void attention_delta(const Launch& l, const AttentionArgs& a);

// The words of four queries from q on, a multiple of 4, for one key.
WENGERT_DEVICE RandomWords attention_words(const AttentionArgs& a, int b, int h, int key, int q) {
  const int64_t head = static_cast<int64_t>(b) * a.heads + h;
  const int64_t row = static_cast<int64_t>(a.query_tiles) * kAttentionTile;
  return RandomStream(a.source).words(((head * a.keys + key) * row + q) / 4);
}

// --- tiles of multiply-adds ----------------------------------------------------------------------

inline constexpr int kAttentionThreads = 256;      // 16 by 16
inline constexpr int kPitch = kAttentionTile + 4;  // of a row in shared memory
inline constexpr int kDepth = 32;                  // columns of a product that are staged at a time

// Elements of shared memory: two turned tiles, in whose place rows stand later; the weights.
inline constexpr int kStaged = 2 * kDepth * kPitch;
template <class T>
inline constexpr size_t kAttentionShared = (kStaged + kAttentionTile * kPitch) * sizeof(T);

// A block's thread among 16 x 16: its rows of a tile are 4 row.., its columns 4 column..
struct Spot {
  int row = 4 * static_cast<int>(threadIdx.x / 16), column = 4 * static_cast<int>(threadIdx.x % 16);
};

template <class T>
WENGERT_DEVICE Pack<T, 4> read_four(const T* p, int left, bool vectors) {
  if (vectors && left >= 4) return *reinterpret_cast<const Pack<T, 4>*>(p);
  Pack<T, 4> x;
#pragma unroll
  for (int j = 0; j < 4; ++j) x.of[j] = j < left ? p[j] : T(0);
  return x;
}

// 64 rows from row0 on, kDepth columns from column0 on, as to[column][row]; zeros beyond the ends.
template <class T>
WENGERT_DEVICE void stage_turned(const T* from, int64_t step, bool vectors, int row0, int rows,
                                 int column0, int columns, T* to) {
  const int lane = static_cast<int>(threadIdx.x) % kWarp, warp = static_cast<int>(threadIdx.x) / 32;
  const int c = 4 * (lane % 4 + 4 * (warp % 2));
#pragma unroll
  for (int pass = 0; pass < 2; ++pass) {
    const int r = lane / 4 + 8 * (warp / 2) + 32 * pass;
    const bool inside = row0 + r < rows;
    const Pack<T, 4> x = read_four(from + (inside ? (row0 + r) * step : 0) + column0 + c,
                                   inside ? columns - column0 - c : 0, vectors);
#pragma unroll
    for (int j = 0; j < 4; ++j) to[(c + j) * kPitch + r] = x.of[j];
  }
}

// kRows rows from row0 on, kColumns columns from column0 on, as they are.
template <int kRows, int kColumns, class T>
WENGERT_DEVICE void stage_rows(const T* from, int64_t step, bool vectors, int row0, int rows,
                               int column0, int columns, T* to) {
  constexpr int kQuads = kColumns / 4;
#pragma unroll
  for (int i = 0; i < kRows * kQuads; i += kAttentionThreads) {
    const int e = i + static_cast<int>(threadIdx.x), r = e / kQuads, c = 4 * (e % kQuads);
    const bool inside = row0 + r < rows;
    *reinterpret_cast<Pack<T, 4>*>(to + r * kColumns + c) =
        read_four(from + (inside ? (row0 + r) * step : 0) + column0 + c,
                  inside ? columns - column0 - c : 0, vectors);
  }
}

// sums += left^T right: left[k][row], right[k][column]. Of W columns to a thread each four are 64
// after the last, so that a warp's reads are side by side.
template <int kCount, int W, class T>
WENGERT_DEVICE void add_products(Spot at, const T* left, const T* right, int right_pitch,
                                 T (&sums)[4][W]) {
#pragma unroll 4
  for (int k = 0; k < kCount; ++k) {
    const auto a = *reinterpret_cast<const Pack<T, 4>*>(left + k * kPitch + at.row);
#pragma unroll
    for (int c = 0; c < W; c += 4) {
      const auto b =
          *reinterpret_cast<const Pack<T, 4>*>(right + k * right_pitch + 16 * c + at.column);
#pragma unroll
      for (int i = 0; i < 4; ++i) {
#pragma unroll
        for (int j = 0; j < 4; ++j) sums[i][c + j] += a.of[i] * b.of[j];
      }
    }
  }
}

// The products of rows of two matrices: a tile of 64 x 64.
template <class T>
WENGERT_DEVICE void row_products(Spot at, T* shared, const T* a, int64_t a_step, bool a_vectors,
                                 int a0, int a_rows, const T* b, int64_t b_step, bool b_vectors,
                                 int b0, int b_rows, int columns, T (&out)[4][4]) {
#pragma unroll
  for (int i = 0; i < 4; ++i) {
#pragma unroll
    for (int j = 0; j < 4; ++j) out[i][j] = T(0);
  }
  T* const other = shared + kDepth * kPitch;
  for (int c = 0; c < columns; c += kDepth) {
    __syncthreads();
    stage_turned(a, a_step, a_vectors, a0, a_rows, c, columns, shared);
    stage_turned(b, b_step, b_vectors, b0, b_rows, c, columns, other);
    __syncthreads();
    add_products<kDepth>(at, shared, other, kPitch, out);
  }
}

// sums[row][] += weights[k][row] x[k][], k of 64: 16 W columns from column0 on.
template <int W, class T>
WENGERT_DEVICE void add_weighed_rows(Spot at, T* shared, const T* weights, const T* x, int64_t step,
                                     bool vectors, int row0, int rows, int column0, int columns,
                                     T (&sums)[4][W]) {
  constexpr int kColumns = 16 * W, kRows = W == 4 ? 64 : 32;
  static_assert(kRows * kColumns <= kStaged && kRows <= kAttentionTile);
#pragma unroll 1
  for (int k = 0; k < kAttentionTile; k += kRows) {
    __syncthreads();
    stage_rows<kRows, kColumns>(x, step, vectors, row0 + k, rows, column0, columns, shared);
    __syncthreads();
    add_products<kRows>(at, weights + k * kPitch, shared, kColumns, sums);
  }
}

// A thread's part of a tile goes to weights[column][row].
template <class T>
WENGERT_DEVICE void put_turned(Spot at, const T (&x)[4][4], T* weights) {
#pragma unroll
  for (int j = 0; j < 4; ++j) {
    Pack<T, 4> v;
#pragma unroll
    for (int i = 0; i < 4; ++i) v.of[i] = x[i][j];
    *reinterpret_cast<Pack<T, 4>*>(weights + (at.column + j) * kPitch + at.row) = v;
  }
}

// Of a thread: where its four queries and its four keys begin.
struct Place {
  int b, h, q, key;
};

// Products become scores; -inf where there is nothing to attend to. Queries are the tile's rows, or
// its columns.
template <bool kQueriesInRows, class T>
WENGERT_DEVICE void finish_scores(const AttentionArgs& a, Place p, T (&s)[4][4]) {
  const T scale = static_cast<T>(a.scale);
  const T* const mask =
      reinterpret_cast<const T*>(a.mask) + p.b * a.mask_step[0] + p.h * a.mask_step[1];
#pragma unroll
  for (int i = 0; i < 4; ++i) {
#pragma unroll
    for (int j = 0; j < 4; ++j) {
      const int q = p.q + (kQueriesInRows ? i : j), key = p.key + (kQueriesInRows ? j : i);
      T v = s[i][j] * scale;
      const bool inside = q < a.queries && key < a.keys;
      if (a.masked && inside) v += mask[q * a.mask_step[2] + key * a.mask_step[3]];
      if (!inside || (a.causal && key > q)) v = -std::numeric_limits<T>::infinity();
      s[i][j] = v;
    }
  }
}

// Factors of dropout.
template <bool kQueriesInRows, class T>
WENGERT_DEVICE void dropout_tile(const AttentionArgs& a, Place p, T (&f)[4][4]) {
  const T kept = static_cast<T>(a.kept);
#pragma unroll
  for (int key = 0; key < 4; ++key) {
    const RandomWords w = attention_words(a, p.b, p.h, p.key + key, p.q);
#pragma unroll
    for (int q = 0; q < 4; ++q) {
      (kQueriesInRows ? f[q][key] : f[key][q]) = w.of[q] < a.bound ? T(0) : kept;
    }
  }
}

// 4 rows by W columns of sums, multiplied by a factor for each row.
template <int W, class T>
WENGERT_DEVICE void put_rows(Spot at, const T (&sums)[4][W], const T (&factor)[4], T* to,
                             int64_t step, bool vectors, int row0, int rows, int column0,
                             int columns) {
#pragma unroll
  for (int i = 0; i < 4; ++i) {
    if (row0 + at.row + i >= rows) break;
    T* const row = to + (row0 + at.row + i) * step;
#pragma unroll
    for (int c = 0; c < W; c += 4) {
      const int column = column0 + 16 * c + at.column;
      Pack<T, 4> v;
#pragma unroll
      for (int j = 0; j < 4; ++j) v.of[j] = sums[i][c + j] * factor[i];
      if (vectors && column + 4 <= columns) {
        *reinterpret_cast<Pack<T, 4>*>(row + column) = v;
      } else {
#pragma unroll
        for (int j = 0; j < 4; ++j) {
          if (column + j < columns) row[column + j] = v.of[j];
        }
      }
    }
  }
}

}  // namespace wengert::cuda
