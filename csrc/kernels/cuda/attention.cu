// Attention of float32 and float64. Read attention.h first.
#include "kernels/cuda/attention.h"

#include "kernels/cuda/cuda.h"
#include "kernels/cuda/slots.h"

namespace wengert::cuda {

namespace {

// Of so many rows: queries or keys.
Heads heads_of(const Launch& l, int k, int64_t rows) {
  const Buffer& b = l.buffer[k];
  const int64_t size[3] = {l.size[0], l.size[1], rows};
  const auto item = static_cast<int64_t>(item_size(b.dtype));
  Heads h{static_cast<char*>(b.data), b.stride[0], b.stride[1], b.stride[2], true};
  h.vectors = reinterpret_cast<uintptr_t>(b.data) % 16 == 0;
  for (int d = 0; d < 3; ++d) {
    h.vectors = h.vectors && (size[d] == 1 || b.stride[d] * item % 16 == 0);
  }
  return h;
}

}  // namespace

AttentionArgs::AttentionArgs(const Launch& l, bool backward)
    : batch(static_cast<int>(l.size[0])),
      heads(static_cast<int>(l.size[1])),
      queries(static_cast<int>(l.size[2])),
      keys(static_cast<int>(l.size[3])),
      columns(static_cast<int>(l.more[2])),
      value_columns(static_cast<int>(l.more[3])),
      group(static_cast<int>(l.more[4])),
      causal(l.more[5] != 0),
      masked(l.more[6] != 0),
      drops(l.number[1] > 0),
      scale(l.number[0]),
      kept(1 / (1 - l.number[1])),
      bound(success_bound(l.number[1])),
      source(drops ? RandomSource(l) : RandomSource()) {
  const int first = backward ? 4 : 2;  // q, k, v
  q = heads_of(l, first, queries);
  k = heads_of(l, first + 1, keys);
  v = heads_of(l, first + 2, keys);
  y = heads_of(l, backward ? 7 : 0, queries);
  g = gq = gk = gv = Heads{};
  if (backward) {
    gq = heads_of(l, 0, queries);
    gk = heads_of(l, 1, keys);
    gv = heads_of(l, 2, keys);
    g = heads_of(l, 3, queries);
  }
  log_sums = static_cast<char*>(l.buffer[backward ? 8 : 1].data);
  delta = nullptr;
  mask = nullptr;
  std::fill_n(mask_step, 4, 0);
  if (masked) {
    const Buffer& m = l.buffer[backward ? 9 : 5];
    mask = static_cast<const char*>(m.data);
    std::copy_n(m.stride, 4, mask_step);
  }
  query_tiles = static_cast<int>(ceil_div(queries, kAttentionTile));
  key_tiles = static_cast<int>(ceil_div(keys, kAttentionTile));
  chunks = 1;
}

bool attention_fits(const Launch& l) {
  constexpr int64_t most = (int64_t{1} << 31) - 1024;
  for (int d = 0; d < 4; ++d) {
    if (l.size[d] > most) return false;
  }
  const int64_t tiles = ceil_div(std::max(l.size[2], l.size[3]), kAttentionTile);
  const int64_t chunks = ceil_div(std::max(l.more[2], l.more[3]), kAttentionTile);
  return l.more[2] <= most && l.more[3] <= most && l.more[4] <= most && chunks <= most &&
         static_cast<double>(l.size[0] * l.size[1]) * static_cast<double>(tiles * chunks) <
             static_cast<double>(most);
}

namespace {

// Milakov, Gimelshein, Online normalizer calculation for softmax (2018). A thread's sums of weights
// are its own until the end; the maxima are all 16 threads' of a row.
template <class T, int W>
__global__ void __launch_bounds__(kAttentionThreads, sizeof(T) == 4 ? 2 : 1)
    attend(const __grid_constant__ AttentionArgs a) {
  constexpr T lowest = -std::numeric_limits<T>::infinity();
  T* const shared = dynamic_shared<T>();
  T* const weights = shared + kStaged;
  const Spot at;
  const AttentionBlock block = query_block(a, 16 * W);
  const int b = block.b, h = block.h, q0 = block.first, column0 = block.column0;
  const T* const q = a.q.at<T>(b, h);
  const T* const k = a.k.at<T>(b, h / a.group);
  const T* const v = a.v.at<T>(b, h / a.group);

  T sums[4][W] = {}, peak[4], total[4] = {};
#pragma unroll
  for (int i = 0; i < 4; ++i) peak[i] = lowest;
  const int seen = a.keys_seen(q0);
  for (int key = 0; key < seen; key += kAttentionTile) {
    T s[4][4];
    row_products(at, shared, q, a.q.row, a.q.vectors, q0, a.queries, k, a.k.row, a.k.vectors, key,
                 seen, a.columns, s);
    const Place place{b, h, q0 + at.row, key + at.column};
    finish_scores<true>(a, place, s);
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      T m = peak[i];
#pragma unroll
      for (int j = 0; j < 4; ++j) m = std::fmax(m, s[i][j]);
#pragma unroll
      for (int lanes = 8; lanes > 0; lanes /= 2) {
        m = std::fmax(m, __shfl_xor_sync(kAllLanes, m, lanes));
      }
      // Where nothing counts yet, every weight is exp(-inf).
      const T shift = m == lowest ? T(0) : m, rescale = std::exp(peak[i] - shift);
      peak[i] = m;
      T sum = T(0);
#pragma unroll
      for (int j = 0; j < 4; ++j) {
        s[i][j] = std::exp(s[i][j] - shift);
        sum += s[i][j];
      }
      total[i] = total[i] * rescale + sum;
#pragma unroll
      for (int c = 0; c < W; ++c) sums[i][c] *= rescale;
    }
    if (a.drops) {
      T f[4][4];
      dropout_tile<true>(a, place, f);
#pragma unroll
      for (int i = 0; i < 4; ++i) {
#pragma unroll
        for (int j = 0; j < 4; ++j) s[i][j] *= f[i][j];
      }
    }
    // The weights of the last tile are read no more: row_products has barriers.
    put_turned(at, s, weights);
    add_weighed_rows(at, shared, weights, v, a.v.row, a.v.vectors, key, seen, column0,
                     a.value_columns, sums);
  }

  T factor[4];
#pragma unroll
  for (int i = 0; i < 4; ++i) {
    total[i] = warp_sum<16>(total[i]);
    factor[i] = total[i] == T(0) ? T(0) : T(1) / total[i];
    if (column0 == 0 && at.column == 0 && q0 + at.row + i < a.queries) {
      a.of_queries<T>(a.log_sums, b, h)[q0 + at.row + i] =
          total[i] == T(0) ? T(0) : peak[i] + std::log(total[i]);
    }
  }
  put_rows(at, sums, factor, a.y.at<T>(b, h), a.y.row, a.y.vectors, q0, a.queries, column0,
           a.value_columns);
}

template <class T, int W>
void run_with(const Launch& l, AttentionArgs& a) {
  a.chunks = static_cast<int>(ceil_div(a.value_columns, 16 * W));
  [[maybe_unused]] static const bool once =
      (allow_shared(&attend<T, W>, kAttentionShared<T>), true);
  start(l, &attend<T, W>, static_cast<unsigned>(a.batch * a.heads * a.query_tiles * a.chunks),
        kAttentionThreads, kAttentionShared<T>, a);
}

template <class T>
void run(const Launch& l) {
  if (l.count == 0) return;
  if (!attention_fits(l)) return run_on_host(l);
  AttentionArgs a(l, false);
  // Scores are made once for each chunk of values.
  if (sizeof(T) == 8 || a.value_columns <= 64) {
    run_with<T, 4>(l, a);
  } else if constexpr (sizeof(T) == 4) {
    run_with<T, 8>(l, a);
  }
}

}  // namespace

void fill_attention(KernelTable& t) {
  t.at(id(Kernel::Attention), DType::Float32) = &run<float>;
  t.at(id(Kernel::Attention), DType::Float64) = &run<double>;
}

}  // namespace wengert::cuda
