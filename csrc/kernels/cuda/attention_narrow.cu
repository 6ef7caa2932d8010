// Attention of 16-bit floats. Read attention_narrow.h first.
#include "kernels/cuda/attention_narrow.h"

#include "kernels/cuda/slots.h"

namespace wengert::cuda {

namespace {

constexpr int kKeys = 64;  // to a tile

// Scores are float32; weights take their place, rows as far apart.
template <class S, int W>
struct alignas(32) Shared {
  Hardware<S> q[kAttentionTile * (W + 8)], k[kKeys * (W + 8)], v[kKeys * (W + 8)];
  float scores[kAttentionTile * kRoomPitch];
  float factor[kAttentionTile];
  uint8_t kept[kAttentionTile * kKeys];
};

template <class S, int W>
__global__ void __launch_bounds__(kNarrowThreads, W == 64 ? 3 : 2)
    attend(const __grid_constant__ AttentionArgs a) {
  constexpr float lowest = -std::numeric_limits<float>::infinity();
  auto& shared = *dynamic_shared<Shared<S, W>>();
  const int warp = static_cast<int>(threadIdx.x) / kWarp;
  const int lane = static_cast<int>(threadIdx.x) % kWarp;
  const AttentionBlock block = query_block(a, W);
  const int b = block.b, h = block.h, q0 = block.first;
  const S* const k = a.k.at<S>(b, h / a.group);
  const S* const v = a.v.at<S>(b, h / a.group);
  const float* const mask = mask_of(a, b, h);
  const Elements element(shared.scores);
  float* const scores = shared.scores + warp * 16 * kRoomPitch;
  auto* const weights = reinterpret_cast<Hardware<S>*>(scores);
  float* const factor = shared.factor + warp * 16;
  uint8_t* const kept = shared.kept + warp * 16 * kKeys;
  const int first = q0 + warp * 16;  // query of the warp

  // Two lanes have a row's weights, half of them each.
  const int row = lane % 16, from = lane / 16 * (kKeys / 2);
  float peak = lowest, total = 0;
  Sums sums[W / 16];
#pragma unroll
  for (int c = 0; c < W / 16; ++c) wmma::fill_fragment(sums[c], 0.0f);

  const int seen = a.keys_seen(q0);
  bring_rows<kAttentionTile, W>(a.q.at<S>(b, h), a.q, q0, a.queries, a.columns, shared.q);
  bring_rows<kKeys, W>(k, a.k, 0, seen, a.columns, shared.k);
  for (int key = 0; key < seen; key += kKeys) {
    wait_for_rows();  // nobody reads the last values any more
    bring_rows<kKeys, W>(v, a.v, key, seen, a.value_columns, shared.v);
    {
      Sums s[kKeys / 16];
      multiply_rows<S, kKeys / 16, W>(shared.q + warp * 16 * (W + 8), shared.k, a.columns, s);
      __syncwarp();
#pragma unroll
      for (int n = 0; n < kKeys / 16; ++n) {
#pragma unroll
        for (int i = 0; i < 8; ++i) {
          s[n].x[i] = score_of(a, mask, s[n].x[i], first + element.row(i),
                               key + 16 * n + element.column(i));
        }
        wmma::store_matrix_sync(scores + 16 * n, s[n], kRoomPitch, wmma::mem_row_major);
      }
    }
    if (a.drops) draw_kept<kKeys, 16>(a, b, h, key, first, kept);
    __syncwarp();
    float w[kKeys / 2], m = peak;
#pragma unroll
    for (int j = 0; j < kKeys / 2; j += 4) {
      const auto x = *reinterpret_cast<const Pack<float, 4>*>(scores + row * kRoomPitch + from + j);
#pragma unroll
      for (int i = 0; i < 4; ++i) {
        w[j + i] = x.of[i];
        m = fmaxf(m, x.of[i]);
      }
    }
    m = fmaxf(m, __shfl_xor_sync(kAllLanes, m, 16));
    // Where nothing counts yet, every weight is exp(-inf).
    const float shift = m == lowest ? 0.0f : m, rescale = __expf(peak - shift);
    peak = m;
    float sum = 0;
#pragma unroll
    for (int j = 0; j < kKeys / 2; ++j) {
      w[j] = __expf(w[j] - shift);
      sum += w[j];
    }
    total = total * rescale + (sum + __shfl_xor_sync(kAllLanes, sum, 16));
    if (a.drops) {
#pragma unroll
      for (int j = 0; j < kKeys / 2; ++j) {
        w[j] = kept[(from + j) * 16 + row] ? w[j] * static_cast<float>(a.kept) : 0.0f;
      }
    }
    if (lane < 16) factor[row] = rescale;
    __syncwarp();
#pragma unroll
    for (int j = 0; j < kKeys / 2; ++j) {
      weights[row * 2 * kRoomPitch + from + j] = HardwareType<S>::of(w[j]);
    }
    if (__any_sync(kAllLanes, rescale != 1.0f)) {
#pragma unroll
      for (int i = 0; i < 8; ++i) {
        const float f = factor[element.row(i)];
#pragma unroll
        for (int c = 0; c < W / 16; ++c) sums[c].x[i] *= f;
      }
    }
    wait_for_rows();  // nobody reads the keys any more
    if (key + kKeys < seen) bring_rows<kKeys, W>(k, a.k, key + kKeys, seen, a.columns, shared.k);
    add_rows<S, kKeys / 16, W>(weights, 2 * kRoomPitch, shared.v, a.value_columns, sums);
  }

  __syncwarp();
  if (lane < 16) {
    factor[row] = total == 0 ? 0.0f : 1 / total;
    if (first + row < a.queries) {
      a.of_queries<float>(a.log_sums, b, h)[first + row] = total == 0 ? 0.0f : peak + logf(total);
    }
  }
  __syncwarp();
#pragma unroll
  for (int i = 0; i < 8; ++i) {
    const float f = factor[element.row(i)];
#pragma unroll
    for (int c = 0; c < W / 16; ++c) sums[c].x[i] *= f;
  }
  put_sums<S, W>(sums, scores, a.y.at<S>(b, h), a.y, first, a.queries, a.value_columns);
}

template <class S, int W>
void run_with(const Launch& l, const AttentionArgs& a) {
  [[maybe_unused]] static const bool once =
      (allow_shared(&attend<S, W>, sizeof(Shared<S, W>)), true);
  start(l, &attend<S, W>, static_cast<unsigned>(a.batch * a.heads * a.query_tiles), kNarrowThreads,
        sizeof(Shared<S, W>), a);
}

template <class S>
void run(const Launch& l) {
  if (l.count == 0) return;
  refuse_beyond_narrow(l);
  const AttentionArgs a(l, false);
  if (std::max(a.columns, a.value_columns) <= 64) {
    run_with<S, 64>(l, a);
  } else {
    run_with<S, 128>(l, a);
  }
}

}  // namespace

void fill_attention_narrow(KernelTable& t) {
  t.at(id(Kernel::Attention), DType::BFloat16) = &run<BFloat16>;
  t.at(id(Kernel::Attention), DType::Float16) = &run<Float16>;
}

}  // namespace wengert::cuda
