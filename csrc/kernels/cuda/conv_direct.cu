// Convolutions of so few output channels to a group (depthwise ones have one) that tiles would
// multiply mostly nothing: a thread makes a place of all of them. Their gradients by the weight:
// a block to a pair of channels. Read conv.h first.
#include "kernels/cuda/conv.h"

namespace wengert::cuda {

namespace {

constexpr int kMostRows = 4;

template <class S, int kRows>
__global__ void __launch_bounds__(kConvThreads)
    convolve_directly(const __grid_constant__ ConvArgs a) {
  using T = ConvSum<S>;
  for (int64_t block = blockIdx.x; block < a.blocks; block += gridDim.x) {
    const ConvBlock b = conv_block(a, block, kMostRows, kConvThreads);
    const int64_t n = b.n0 + threadIdx.x;
    if (n >= b.n_end) continue;
    const ConvPlace p = conv_place(b.axis, n);
    int first[3], at[3];
#pragma unroll
    for (int d = 0; d < 3; ++d) {
      first[d] = b.axis[d].base + p.at[d] * b.axis[d].place_step;
      at[d] = b.axis[d].first + p.at[d] * b.axis[d].step;
    }
    const S* source =
        static_cast<const S*>(a.source) + (p.b * a.groups + b.group) * a.channels * a.source_size;
    const S* weight = static_cast<const S*>(a.weight) + b.group * a.group_step;
    T sums[kRows] = {};
    for (int c = 0; c < a.channels; ++c) {
      for (int i = 0; i < b.axis[0].taps; ++i) {
        const int x = first[0] + i * b.axis[0].tap_step;
        if (static_cast<unsigned>(x) >= static_cast<unsigned>(a.axis[0].source)) continue;
        const int64_t w0 = b.axis[0].weight_first + i * b.axis[0].weight_step;
        for (int j = 0; j < b.axis[1].taps; ++j) {
          const int y = first[1] + j * b.axis[1].tap_step;
          if (static_cast<unsigned>(y) >= static_cast<unsigned>(a.axis[1].source)) continue;
          const int64_t w1 = b.axis[1].weight_first + j * b.axis[1].weight_step;
          const S* const from =
              source + (static_cast<int64_t>(x) * a.axis[1].source + y) * a.axis[2].source;
          const S* const by = weight + (w0 * a.axis[1].kernel + w1) * a.axis[2].kernel;
          for (int k = 0; k < b.axis[2].taps; ++k) {
            const int z = first[2] + k * b.axis[2].tap_step;
            if (static_cast<unsigned>(z) >= static_cast<unsigned>(a.axis[2].source)) continue;
            const T v = convert<T>(from[z]);
            const S* const w = by + b.axis[2].weight_first + k * b.axis[2].weight_step;
#pragma unroll
            for (int m = 0; m < kRows; ++m) {
              if (m < a.rows) sums[m] += convert<T>(w[m * a.row_step]) * v;
            }
          }
        }
      }
      source += a.source_size;
      weight += a.channel_step;
    }
    S* const out = static_cast<S*>(a.out) + (p.b * a.groups + b.group) * a.rows * a.out_size +
                   (static_cast<int64_t>(at[0]) * a.axis[1].places + at[1]) * a.axis[2].places +
                   at[2];
#pragma unroll
    for (int m = 0; m < kRows; ++m) {
      if (m >= a.rows) break;
      const T bias =
          a.bias ? convert<T>(static_cast<const S*>(a.bias)[b.group * a.rows + m]) : T(0);
      out[m * a.out_size] = convert<S>(sums[m] + bias);
    }
  }
}

template <class S, int kRows>
void start_directly(const Launch& l, const ConvArgs& a) {
  start(l, &convolve_directly<S, kRows>,
        static_cast<unsigned>(std::min<int64_t>(a.blocks, 0x7fffffff)), kConvThreads, 0, a);
}

}  // namespace

template <class S>
bool run_conv_direct(const Launch& l, ConvArgs& a) {
  if (a.rows > kMostRows) return false;
  a.tile(kMostRows, kConvThreads);
  if (a.rows == 1) {
    start_directly<S, 1>(l, a);
  } else {
    start_directly<S, kMostRows>(l, a);
  }
  return true;
}
template bool run_conv_direct<float>(const Launch&, ConvArgs&);
template bool run_conv_direct<double>(const Launch&, ConvArgs&);
template bool run_conv_direct<BFloat16>(const Launch&, ConvArgs&);
template bool run_conv_direct<Float16>(const Launch&, ConvArgs&);

}  // namespace wengert::cuda
