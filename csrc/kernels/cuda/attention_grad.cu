// Gradients of attention of float32 and float64. With P the weights, F the factors of dropout and
// dP = g v^T: gv = (P F)^T g, dS = P (F dP - delta) scale, gq = dS k, gk = dS^T q, where delta, the
// sum of a row's P F dP, is that of g y. Read attention.h first.
#include "kernels/cuda/attention.h"
#include "kernels/cuda/cuda.h"
#include "kernels/cuda/slots.h"

namespace wengert::cuda {

namespace {

// A warp to a row.
template <class S, class T>
__global__ void __launch_bounds__(256) row_sums(const __grid_constant__ AttentionArgs a) {
  const int64_t rows = static_cast<int64_t>(a.batch) * a.heads * a.queries;
  const int lane = static_cast<int>(threadIdx.x) % kWarp;
  for (int64_t r = static_cast<int64_t>(blockIdx.x) * 8 + threadIdx.x / kWarp; r < rows;
       r += static_cast<int64_t>(gridDim.x) * 8) {
    const int64_t head = r / a.queries, i = r - head * a.queries;
    const int b = static_cast<int>(head / a.heads), h = static_cast<int>(head % a.heads);
    const S* const g = a.g.at<S>(b, h) + i * a.g.row;
    const S* const y = a.y.at<S>(b, h) + i * a.y.row;
    T sum = T(0);
    for (int c = lane; c < a.value_columns; c += kWarp) {
      sum += convert<T>(g[c]) * convert<T>(y[c]);
    }
    sum = warp_sum(sum);
    if (lane == 0) reinterpret_cast<T*>(a.delta)[r] = sum;
  }
}

}  // namespace

template <class S, class T>
void attention_delta(const Launch& l, const AttentionArgs& a) {
  const int64_t rows = static_cast<int64_t>(a.batch) * a.heads * a.queries;
  start(l, &row_sums<S, T>, grid_for(rows, 8), 256, 0, a);
}
template void attention_delta<float, float>(const Launch&, const AttentionArgs&);
template void attention_delta<double, double>(const Launch&, const AttentionArgs&);
template void attention_delta<BFloat16, float>(const Launch&, const AttentionArgs&);
template void attention_delta<Float16, float>(const Launch&, const AttentionArgs&);

namespace {

// Scores s and products dp = g v become P F and dS; zeros outside, whatever dp is there.
template <bool kQueriesInRows, class T>
WENGERT_DEVICE void pull_tile(const AttentionArgs& a, Place p, const T (&log_sum)[4],
                              const T (&delta)[4], T (&s)[4][4], T (&dp)[4][4]) {
  const T scale = static_cast<T>(a.scale);
  T f[4][4];
  if (a.drops) dropout_tile<kQueriesInRows>(a, p, f);
  finish_scores<kQueriesInRows>(a, p, s);
#pragma unroll
  for (int i = 0; i < 4; ++i) {
#pragma unroll
    for (int j = 0; j < 4; ++j) {
      const int n = kQueriesInRows ? i : j, key = kQueriesInRows ? j : i;
      const bool inside = p.q + n < a.queries && p.key + key < a.keys;
      const T w = std::exp(s[i][j] - log_sum[n]);
      const T g = a.drops ? dp[i][j] * f[i][j] : dp[i][j];
      s[i][j] = a.drops ? w * f[i][j] : w;
      dp[i][j] = inside ? w * (g - delta[n]) * scale : T(0);
    }
  }
}

// Of four queries from q on.
template <class T>
WENGERT_DEVICE void read_numbers(const AttentionArgs& a, char* from, int b, int h, int q,
                                 T (&to)[4]) {
#pragma unroll
  for (int i = 0; i < 4; ++i) to[i] = a.of_query<T>(from, b, h, q + i);
}

template <class T, int W>
__global__ void __launch_bounds__(kAttentionThreads, sizeof(T) == 4 ? 2 : 1)
    pull_queries(const __grid_constant__ AttentionArgs a) {
  T* const shared = dynamic_shared<T>();
  T* const weights = shared + kStaged;
  const Spot at;
  const AttentionBlock block = query_block(a, 16 * W);
  const int b = block.b, h = block.h, q0 = block.first, column0 = block.column0;
  const T* const q = a.q.at<T>(b, h);
  const T* const g = a.g.at<T>(b, h);
  const T* const k = a.k.at<T>(b, h / a.group);
  const T* const v = a.v.at<T>(b, h / a.group);
  T log_sum[4], delta[4], sums[4][W] = {};
  read_numbers(a, a.log_sums, b, h, q0 + at.row, log_sum);
  read_numbers(a, a.delta, b, h, q0 + at.row, delta);
  const int seen = a.keys_seen(q0);
  for (int key = 0; key < seen; key += kAttentionTile) {
    T s[4][4], dp[4][4];
    row_products(at, shared, q, a.q.row, a.q.vectors, q0, a.queries, k, a.k.row, a.k.vectors, key,
                 a.keys, a.columns, s);
    row_products(at, shared, g, a.g.row, a.g.vectors, q0, a.queries, v, a.v.row, a.v.vectors, key,
                 a.keys, a.value_columns, dp);
    pull_tile<true>(a, {b, h, q0 + at.row, key + at.column}, log_sum, delta, s, dp);
    put_turned(at, dp, weights);
    add_weighed_rows(at, shared, weights, k, a.k.row, a.k.vectors, key, a.keys, column0, a.columns,
                     sums);
  }
  const T ones[4] = {T(1), T(1), T(1), T(1)};
  put_rows(at, sums, ones, a.gq.at<T>(b, h), a.gq.row, a.gq.vectors, q0, a.queries, column0,
           a.columns);
}

// Keys are a tile's rows. Heads of queries that share the keys follow one another.
template <class T, int W>
__global__ void __launch_bounds__(kAttentionThreads, sizeof(T) == 4 ? 2 : 1)
    pull_keys(const __grid_constant__ AttentionArgs a) {
  T* const shared = dynamic_shared<T>();
  T* const weights = shared + kStaged;
  const Spot at;
  const AttentionBlock block = key_block(a, 16 * W);
  const int b = block.b, kv = block.h, key = block.first, column0 = block.column0;
  const T* const k = a.k.at<T>(b, kv);
  const T* const v = a.v.at<T>(b, kv);
  T of_k[4][W] = {}, of_v[4][W] = {};
  for (int h = kv * a.group; h < (kv + 1) * a.group; ++h) {
    const T* const q = a.q.at<T>(b, h);
    const T* const g = a.g.at<T>(b, h);
    for (int q0 = a.causal ? key : 0; q0 < a.queries; q0 += kAttentionTile) {
      T log_sum[4], delta[4], s[4][4], dp[4][4];
      read_numbers(a, a.log_sums, b, h, q0 + at.column, log_sum);
      read_numbers(a, a.delta, b, h, q0 + at.column, delta);
      row_products(at, shared, k, a.k.row, a.k.vectors, key, a.keys, q, a.q.row, a.q.vectors, q0,
                   a.queries, a.columns, s);
      row_products(at, shared, v, a.v.row, a.v.vectors, key, a.keys, g, a.g.row, a.g.vectors, q0,
                   a.queries, a.value_columns, dp);
      pull_tile<false>(a, {b, h, q0 + at.column, key + at.row}, log_sum, delta, s, dp);
      if (column0 < a.value_columns) {
        put_turned(at, s, weights);
        add_weighed_rows(at, shared, weights, g, a.g.row, a.g.vectors, q0, a.queries, column0,
                         a.value_columns, of_v);
      }
      if (column0 < a.columns) {
        __syncthreads();
        put_turned(at, dp, weights);
        add_weighed_rows(at, shared, weights, q, a.q.row, a.q.vectors, q0, a.queries, column0,
                         a.columns, of_k);
      }
    }
  }
  const T ones[4] = {T(1), T(1), T(1), T(1)};
  put_rows(at, of_k, ones, a.gk.at<T>(b, kv), a.gk.row, a.gk.vectors, key, a.keys, column0,
           a.columns);
  put_rows(at, of_v, ones, a.gv.at<T>(b, kv), a.gv.row, a.gv.vectors, key, a.keys, column0,
           a.value_columns);
}

template <class T, int W>
void run_with(const Launch& l, AttentionArgs& a) {
  [[maybe_unused]] static const bool once =
      (allow_shared(&pull_queries<T, W>, kAttentionShared<T>),
       allow_shared(&pull_keys<T, W>, kAttentionShared<T>), true);
  a.chunks = static_cast<int>(ceil_div(a.columns, 16 * W));
  start(l, &pull_queries<T, W>, static_cast<unsigned>(a.batch * a.heads * a.query_tiles * a.chunks),
        kAttentionThreads, kAttentionShared<T>, a);
  a.chunks = static_cast<int>(ceil_div(std::max(a.columns, a.value_columns), 16 * W));
  start(l, &pull_keys<T, W>,
        static_cast<unsigned>(a.batch * (a.heads / a.group) * a.key_tiles * a.chunks),
        kAttentionThreads, kAttentionShared<T>, a);
}

template <class T>
void run(const Launch& l) {
  if (l.count == 0) return;
  if (!attention_fits(l)) return run_on_host(l);
  AttentionArgs a(l, true);
  const Scratch delta(static_cast<size_t>(l.size[0] * l.size[1] * l.size[2]) * sizeof(T));
  a.delta = delta.data();
  attention_delta<T, T>(l, a);
  if (sizeof(T) == 8 || std::max(a.columns, a.value_columns) <= 64) {
    run_with<T, 4>(l, a);
  } else if constexpr (sizeof(T) == 4) {
    run_with<T, 8>(l, a);
  }
}

}  // namespace

void fill_attention_grad(KernelTable& t) {
  t.at(id(Kernel::AttentionGrad), DType::Float32) = &run<float>;
  t.at(id(Kernel::AttentionGrad), DType::Float64) = &run<double>;
}

}  // namespace wengert::cuda
