// Gradients of attention of 16-bit floats: attention_grad.cu's formulas. Read attention_narrow.h
// first.
#include "kernels/cuda/attention_narrow.h"
#include "kernels/cuda/slots.h"

namespace wengert::cuda {

namespace {

// Rows of a tile that a block goes over: fewer where sums take most of the registers.
template <int W>
inline constexpr int kStep = W == 64 ? 64 : 32;

// The block's own rows, the two steps of which one arrives while the other is used, and factors of
// the products that follow: of a warp, sixteen rows. Results leave by way of the steps' memory.
template <class S, int W>
struct alignas(32) Shared {
  static constexpr int kPitch = kStep<W> + 8;
  Hardware<S> own[2][kAttentionTile * (W + 8)];
  Hardware<S> step[2][2][kStep<W> * (W + 8)];
  Hardware<S> weights[kAttentionTile * kPitch];
  float log_sum[2][kAttentionTile], delta[2][kAttentionTile];
  uint8_t kept[kAttentionTile * kStep<W>];
};
template <class S, int W>
inline constexpr bool kRoomFits =
    sizeof(Shared<S, W>::step) >= kAttentionTile * kRoomPitch * sizeof(float);

// Scores s and products g v become P F and dS; zeros outside.
struct Pulled {
  float weight, gradient;
};
WENGERT_DEVICE Pulled pull(const AttentionArgs& a, const float* mask, float s, float dp, int q,
                           int key, float log_sum, float delta, bool kept) {
  if (q >= a.queries || key >= a.keys) return {0, 0};
  const float w = __expf(score_of(a, mask, s, q, key) - log_sum);
  const float f = !a.drops ? 1.0f : kept ? static_cast<float>(a.kept) : 0.0f;
  return {w * f, w * (dp * f - delta) * static_cast<float>(a.scale)};
}

template <class S, int W>
__global__ void __launch_bounds__(kNarrowThreads)
    pull_queries(const __grid_constant__ AttentionArgs a) {
  static_assert(kRoomFits<S, W>);
  constexpr int kKeys = kStep<W>, kPitch = Shared<S, W>::kPitch;
  auto& shared = *dynamic_shared<Shared<S, W>>();
  const int thread = static_cast<int>(threadIdx.x), warp = thread / kWarp;
  const AttentionBlock block = query_block(a, W);
  const int b = block.b, h = block.h, q0 = block.first;
  const S* const k = a.k.at<S>(b, h / a.group);
  const S* const v = a.v.at<S>(b, h / a.group);
  const float* const mask = mask_of(a, b, h);
  const Elements element(reinterpret_cast<float*>(shared.weights));
  auto* const weights = shared.weights + warp * 16 * kPitch;
  uint8_t* const kept = shared.kept + warp * 16 * kKeys;
  const int first = q0 + warp * 16;

  Sums sums[W / 16];
#pragma unroll
  for (int c = 0; c < W / 16; ++c) wmma::fill_fragment(sums[c], 0.0f);
  if (thread < kAttentionTile) {
    shared.log_sum[0][thread] = a.of_query<float>(a.log_sums, b, h, q0 + thread);
    shared.delta[0][thread] = a.of_query<float>(a.delta, b, h, q0 + thread);
  }
  const int seen = a.keys_seen(q0);
  const auto bring = [&](int key, int half) {
    bring_rows<kKeys, W>(k, a.k, key, seen, a.columns, shared.step[half][0]);
    bring_rows<kKeys, W>(v, a.v, key, seen, a.value_columns, shared.step[half][1]);
  };
  bring_rows<kAttentionTile, W>(a.q.at<S>(b, h), a.q, q0, a.queries, a.columns, shared.own[0]);
  bring_rows<kAttentionTile, W>(a.g.at<S>(b, h), a.g, q0, a.queries, a.value_columns,
                                shared.own[1]);
  bring(0, 0);
  int half = 0;
  for (int key = 0; key < seen; key += kKeys, half ^= 1) {
    wait_for_rows();
    if (key + kKeys < seen) bring(key + kKeys, half ^ 1);
    Sums s[kKeys / 16], dp[kKeys / 16];
    multiply_rows<S, kKeys / 16, W>(shared.own[0] + warp * 16 * (W + 8), shared.step[half][0],
                                    a.columns, s);
    multiply_rows<S, kKeys / 16, W>(shared.own[1] + warp * 16 * (W + 8), shared.step[half][1],
                                    a.value_columns, dp);
    __syncwarp();
    if (a.drops) draw_kept<kKeys, 16>(a, b, h, key, first, kept);
#pragma unroll
    for (int i = 0; i < 8; ++i) {
      const int r = element.row(i), c = element.column(i);
      const float log_sum = shared.log_sum[0][warp * 16 + r];
      const float delta = shared.delta[0][warp * 16 + r];
#pragma unroll
      for (int n = 0; n < kKeys / 16; ++n) {
        const Pulled p = pull(a, mask, s[n].x[i], dp[n].x[i], first + r, key + 16 * n + c, log_sum,
                              delta, a.drops && kept[(16 * n + c) * 16 + r]);
        weights[r * kPitch + 16 * n + c] = HardwareType<S>::of(p.gradient);
      }
    }
    __syncwarp();
    add_rows<S, kKeys / 16, W>(weights, kPitch, shared.step[half][0], a.columns, sums);
  }
  __syncthreads();
  float* const room = reinterpret_cast<float*>(shared.step) + warp * 16 * kRoomPitch;
  put_sums<S, W>(sums, room, a.gq.at<S>(b, h), a.gq, first, a.queries, a.columns);
}

template <class S, int W>
__global__ void __launch_bounds__(kNarrowThreads)
    pull_keys(const __grid_constant__ AttentionArgs a) {
  constexpr int kQueries = kStep<W>, kPitch = Shared<S, W>::kPitch;
  auto& shared = *dynamic_shared<Shared<S, W>>();
  const int thread = static_cast<int>(threadIdx.x), warp = thread / kWarp;
  const AttentionBlock block = key_block(a, W);
  const int b = block.b, kv = block.h, key0 = block.first;
  const Elements element(reinterpret_cast<float*>(shared.weights));
  auto* const weights = shared.weights + warp * 16 * kPitch;
  uint8_t* const kept = shared.kept + warp * 16 * kQueries;
  const int first = key0 + warp * 16;

  Sums of_k[W / 16], of_v[W / 16];
#pragma unroll
  for (int c = 0; c < W / 16; ++c) {
    wmma::fill_fragment(of_k[c], 0.0f);
    wmma::fill_fragment(of_v[c], 0.0f);
  }
  bring_rows<kAttentionTile, W>(a.k.at<S>(b, kv), a.k, key0, a.keys, a.columns, shared.own[0]);
  bring_rows<kAttentionTile, W>(a.v.at<S>(b, kv), a.v, key0, a.keys, a.value_columns,
                                shared.own[1]);
  const int q_first = a.causal ? key0 : 0;
  const auto bring = [&](int h, int q, int half) {
    bring_rows<kQueries, W>(a.q.at<S>(b, h), a.q, q, a.queries, a.columns, shared.step[half][0]);
    bring_rows<kQueries, W>(a.g.at<S>(b, h), a.g, q, a.queries, a.value_columns,
                            shared.step[half][1]);
    if (thread < kQueries) {
      shared.log_sum[half][thread] = a.of_query<float>(a.log_sums, b, h, q + thread);
      shared.delta[half][thread] = a.of_query<float>(a.delta, b, h, q + thread);
    }
  };
  int h = kv * a.group, q = q_first, half = 0;
  const int last = h + a.group;
  bool more = q < a.queries;
  if (more) bring(h, q, 0);
  while (more) {
    const int this_h = h, this_q = q;
    q += kQueries;
    if (q >= a.queries) {
      q = q_first;
      ++h;
    }
    more = h < last;
    wait_for_rows();
    if (more) bring(h, q, half ^ 1);
    Sums s[kQueries / 16], dp[kQueries / 16];
    multiply_rows<S, kQueries / 16, W>(shared.own[0] + warp * 16 * (W + 8), shared.step[half][0],
                                       a.columns, s);
    multiply_rows<S, kQueries / 16, W>(shared.own[1] + warp * 16 * (W + 8), shared.step[half][1],
                                       a.value_columns, dp);
    __syncwarp();
    if (a.drops) draw_kept<16, kQueries>(a, b, this_h, first, this_q, kept);
    const float* const mask = mask_of(a, b, this_h);
#pragma unroll
    for (int i = 0; i < 8; ++i) {
      const int r = element.row(i);
#pragma unroll
      for (int n = 0; n < kQueries / 16; ++n) {
        const int c = 16 * n + element.column(i);
        const Pulled p =
            pull(a, mask, s[n].x[i], dp[n].x[i], this_q + c, first + r, shared.log_sum[half][c],
                 shared.delta[half][c], a.drops && kept[r * kQueries + c]);
        weights[r * kPitch + c] = HardwareType<S>::of(p.weight);
        dp[n].x[i] = p.gradient;
      }
    }
    __syncwarp();
    add_rows<S, kQueries / 16, W>(weights, kPitch, shared.step[half][1], a.value_columns, of_v);
    __syncwarp();
#pragma unroll
    for (int i = 0; i < 8; ++i) {
#pragma unroll
      for (int n = 0; n < kQueries / 16; ++n) {
        weights[element.row(i) * kPitch + 16 * n + element.column(i)] =
            HardwareType<S>::of(dp[n].x[i]);
      }
    }
    __syncwarp();
    add_rows<S, kQueries / 16, W>(weights, kPitch, shared.step[half][0], a.columns, of_k);
    half ^= 1;
  }
  wait_for_rows();  // where no query sees the keys, their rows may still be on the way
  float* const room = reinterpret_cast<float*>(shared.step) + warp * 16 * kRoomPitch;
  put_sums<S, W>(of_k, room, a.gk.at<S>(b, kv), a.gk, first, a.keys, a.columns);
  put_sums<S, W>(of_v, room, a.gv.at<S>(b, kv), a.gv, first, a.keys, a.value_columns);
}

template <class S, int W>
void run_with(const Launch& l, const AttentionArgs& a) {
  [[maybe_unused]] static const bool once =
      (allow_shared(&pull_queries<S, W>, sizeof(Shared<S, W>)),
       allow_shared(&pull_keys<S, W>, sizeof(Shared<S, W>)), true);
  start(l, &pull_queries<S, W>, static_cast<unsigned>(a.batch * a.heads * a.query_tiles),
        kNarrowThreads, sizeof(Shared<S, W>), a);
  start(l, &pull_keys<S, W>, static_cast<unsigned>(a.batch * (a.heads / a.group) * a.key_tiles),
        kNarrowThreads, sizeof(Shared<S, W>), a);
}

template <class S>
void run(const Launch& l) {
  if (l.count == 0) return;
  refuse_beyond_narrow(l);
  AttentionArgs a(l, true);
  const Scratch delta(static_cast<size_t>(l.size[0] * l.size[1] * l.size[2]) * sizeof(float));
  a.delta = delta.data();
  attention_delta<S, float>(l, a);
  if (std::max(a.columns, a.value_columns) <= 64) {
    run_with<S, 64>(l, a);
  } else {
    run_with<S, 128>(l, a);
  }
}

}  // namespace

void fill_attention_narrow_grad(KernelTable& t) {
  t.at(id(Kernel::AttentionGrad), DType::BFloat16) = &run<BFloat16>;
  t.at(id(Kernel::AttentionGrad), DType::Float16) = &run<Float16>;
}

}  // namespace wengert::cuda
