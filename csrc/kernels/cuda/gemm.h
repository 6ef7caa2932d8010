// Matrix products: what their kernels have in common. A kernel makes tiles of C, one a block; how
// large they are is gemm_choice.h's business and changes no result.
//
// The order in which the products of an element are added depends on k and the dtype alone: one
// after another within a chunk of k, then the chunks' sums one after another. Chunks can be shared
// out over blocks (split), which leave their sums in memory for a second kernel, or made in turn by
// one, which keeps the sum so far in memory. So, as on the processor, a row of C does not depend on
// how many others there are; nor does a product on its batch. Only where cuBLASLt multiplies
// (cublaslt.h) this does not hold.
#pragma once

#include "kernels/cuda/device.h"
#include "kernels/cuda/gemm_choice.h"
#include "kernels/cuda/operand.h"

namespace wengert::cuda {

// How a kernel finds a factor's elements. `Steps` and `Other` take any strides.
enum class Reads : uint8_t {
  Vectors,      // side by side along m or n, and aligned: 16 bytes at a time
  Lines,        // side by side along m or n
  StepVectors,  // side by side along k, and aligned
  Steps,        // along k, at best side by side
};

// A matrix as a kernel sees it: `outer` is m or n.
struct GemmFactor {
  const char* data;
  int64_t outer_stride, k_stride;
  Reads reads;
};

// Batches of matrices: by dimension, where those of C, A, B and the bias are.
struct GemmBatch {
  int ndim;
  int64_t size[kMaxDims];
  int64_t stride[4][kMaxDims];

  WENGERT_DEVICE void offsets(int64_t index, int64_t (&out)[4]) const {
    for (int64_t& o : out) o = 0;
    for (int d = ndim - 1; d >= 0; --d) {
      const int64_t at = d == 0 ? index : index % size[d];
      if (d > 0) index /= size[d];
#pragma unroll
      for (int k = 0; k < 4; ++k) out[k] += at * stride[k][d];
    }
  }
};

// Where sums are that are not results yet: of chunks, or of those before this one.
struct GemmSums {
  void* data;  // null: in C
  int64_t row_stride, column_stride, batch_stride, chunk_stride;
};

struct GemmLaunch {
  DType dtype;  // of A, B, C and the bias
  int64_t m, n, k;
  GemmFactor a, b;
  char* c;
  int64_t c_row, c_column;
  const char* bias;
  bool bias_by_row;  // the matrices are turned: C^T = B^T A^T
  bool accumulate;
  int activation;  // a functor of one operand, by its place in MapFunctors, or -1
  GemmBatch batch;
  int64_t batch_count, first;  // of this launch; the first's index
  int64_t chunk;               // of k; a multiple of every kernel's step
  int chunks;                  // at least 1
  bool split;                  // a block makes one chunk, and leaves its sum
  bool unfinished;             // bias and activation are another kernel's; sums are not in C
  GemmSums sums;
};

// What a block knows of its place.
struct GemmPlace {
  int64_t row, column;  // of its tile, in elements
  int64_t k_begin, k_end;
  const char *a, *b;  // its matrices
  char* c;
  const char* bias;
  char* sums;  // null: in C
};

// Blocks: tiles in x, eight rows of tiles at a time so that what they read stays in the L2 cache;
// matrices and chunks in z.
template <class S, class In, class C>
WENGERT_DEVICE GemmPlace place_of(const GemmLaunch& g, int tile_rows, int tile_columns) {
  constexpr unsigned kGroup = 8;
  const auto rows = static_cast<unsigned>(ceil_div(g.m, tile_rows));
  const auto columns = static_cast<unsigned>(ceil_div(g.n, tile_columns));
  const unsigned group = blockIdx.x / (kGroup * columns), in = blockIdx.x % (kGroup * columns);
  const unsigned height = std::min(kGroup, rows - group * kGroup);
  GemmPlace p;
  p.row = static_cast<int64_t>(group * kGroup + in % height) * tile_rows;
  p.column = static_cast<int64_t>(in / height) * tile_columns;
  const unsigned chunk = g.split ? blockIdx.z % static_cast<unsigned>(g.chunks) : 0;
  const int64_t matrix =
      g.first + (g.split ? blockIdx.z / static_cast<unsigned>(g.chunks) : blockIdx.z);
  p.k_begin = g.split ? chunk * g.chunk : 0;
  p.k_end = g.split ? std::min(g.k, p.k_begin + g.chunk) : g.k;
  int64_t at[4];
  g.batch.offsets(matrix, at);
  constexpr int64_t in_item = sizeof(In), c_item = sizeof(C);
  p.a = g.a.data + (at[1] + p.row * g.a.outer_stride + p.k_begin * g.a.k_stride) * in_item;
  p.b = g.b.data + (at[2] + p.column * g.b.outer_stride + p.k_begin * g.b.k_stride) * in_item;
  p.c = g.c + at[0] * c_item;
  p.bias = g.bias ? g.bias + at[3] * c_item : nullptr;
  p.sums = static_cast<char*>(g.sums.data);
  if (p.sums) {
    p.sums += (matrix * g.sums.batch_stride + chunk * g.sums.chunk_stride) *
              static_cast<int64_t>(sizeof(S));
  }
  return p;
}

// Elements [0, n) of a line, n <= V: at once where that can be done.
template <class T, class D, int V>
WENGERT_DEVICE void read_group(const D* p, int64_t step, int n, T (&x)[V]) {
  constexpr size_t kBytes = sizeof(D) * V;
  if (n == V && step == 1 && reinterpret_cast<uintptr_t>(p) % alignof(Pack<D, V>) == 0) {
    static_assert(kBytes % alignof(Pack<D, V>) == 0);
    read_pack<T, D>(reinterpret_cast<const char*>(p), 0, x);
    return;
  }
#pragma unroll
  for (int j = 0; j < V; ++j) x[j] = j < n ? convert<T>(p[j * step]) : T{};
}
template <class T, class D, int V>
WENGERT_DEVICE void write_group(D* p, int64_t step, int n, const T (&x)[V]) {
  if (n == V && step == 1 && reinterpret_cast<uintptr_t>(p) % alignof(Pack<D, V>) == 0) {
    write_pack<T, D>(reinterpret_cast<char*>(p), 0, x);
    return;
  }
#pragma unroll
  for (int j = 0; j < V; ++j) {
    if (j < n) p[j * step] = convert<D>(x[j]);
  }
}

template <class S>
WENGERT_DEVICE S plus(S a, S b) {
  if constexpr (std::is_integral_v<S>) {
    return static_cast<S>(static_cast<uint64_t>(a) + static_cast<uint64_t>(b));
  } else {
    return a + b;
  }
}

// The sums v of a chunk, of V elements from (row, column) on along a row, or along a column: added
// to what is there, and, when no chunk follows, made results. `Activate` is given the launch and v.
template <class C, class S, int V, class Activate>
WENGERT_DEVICE void put_sums(const GemmLaunch& g, const GemmPlace& p, int64_t row, int64_t column,
                             bool by_columns, S (&v)[V], bool first, bool last,
                             const Activate& activate) {
  const int64_t left = by_columns ? g.m - row : g.n - column;
  if (row >= g.m || column >= g.n) return;
  const int n = left < V ? static_cast<int>(left) : V;
  C* const c = reinterpret_cast<C*>(p.c) + row * g.c_row + column * g.c_column;
  const int64_t c_step = by_columns ? g.c_row : g.c_column;
  S* sums = nullptr;
  int64_t step = 0;
  if (p.sums) {
    sums = reinterpret_cast<S*>(p.sums) + row * g.sums.row_stride + column * g.sums.column_stride;
    step = by_columns ? g.sums.row_stride : g.sums.column_stride;
    if (g.split) return write_group(sums, step, n, v);
  }
  if (!first || g.accumulate) {
    S before[V];
    if (!first && sums) {
      read_group(sums, step, n, before);
    } else {
      read_group<S>(c, c_step, n, before);
    }
#pragma unroll
    for (int j = 0; j < V; ++j) v[j] = plus(before[j], v[j]);
  }
  if (sums && (!last || g.unfinished)) return write_group(sums, step, n, v);
  if (last) {
    if (p.bias) {
      const C* bias = reinterpret_cast<const C*>(p.bias);
      S b[V];
      if (g.bias_by_row == by_columns) {
        read_group<S>(bias + (by_columns ? row : column), 1, n, b);
      } else {
        read_group<S>(bias + (by_columns ? column : row), 0, n, b);
      }
#pragma unroll
      for (int j = 0; j < V; ++j) v[j] = plus(v[j], b[j]);
    }
    activate(g, v);
  }
  write_group(c, c_step, n, v);
}

// Starts the kernel of a shape of tiles, which has but one.
template <class Shape>
void start_gemm(const Launch& l, const GemmLaunch& g, void (*kernel)(GemmLaunch)) {
  static_assert(kGemmChunkSteps % Shape::steps == 0);
  [[maybe_unused]] static const bool once = (allow_shared(kernel, Shape::shared), true);
  const auto tiles =
      static_cast<unsigned>(ceil_div(g.m, Shape::rows) * ceil_div(g.n, Shape::columns));
  const auto matrices = static_cast<unsigned>(g.batch_count * (g.split ? g.chunks : 1));
  start(l, kernel, dim3(tiles, 1, matrices), Shape::threads, Shape::shared, g);
}

}  // namespace wengert::cuda
