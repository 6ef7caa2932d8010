// Convolutions and their gradients by the input. Read conv.h first.
#include "kernels/cuda/conv.h"

#include <numeric>

#include "kernels/cuda/cuda.h"
#include "kernels/cuda/cudnn.h"
#include "kernels/cuda/slots.h"

namespace wengert::cuda {

bool conv_fits(const Launch& l) {
  const auto& p = *static_cast<const ConvParams*>(l.pointer);
  constexpr int64_t most = int64_t{1} << 30;
  bool fits = p.groups < most && p.in_channels < most && p.out_channels < most &&
              p.groups * std::max(p.in_channels, p.out_channels) < most &&
              std::max(p.in_channels, p.out_channels) * p.taps() < most;
  for (int d = 0; d < 3; ++d) {
    fits = fits && p.input[d] < most && p.output[d] < most && p.kernel[d] < most &&
           p.stride[d] < most && p.padding[d] < most && p.dilation[d] < most &&
           (p.kernel[d] - 1) * p.dilation[d] < most && p.output[d] * p.stride[d] < most;
  }
  return fits;
}

ConvAxis::ConvAxis(const ConvParams& p, int d, bool transposed)
    : source(static_cast<int>(transposed ? p.output[d] : p.input[d])),
      places(static_cast<int>(transposed ? p.input[d] : p.output[d])),
      kernel(static_cast<int>(p.kernel[d])),
      stride(static_cast<int>(p.stride[d])),
      padding(static_cast<int>(p.padding[d])),
      dilation(static_cast<int>(p.dilation[d])),
      classes(transposed ? std::min(stride, std::max(places, 1)) : 1),
      tap_step(stride / std::gcd(stride, dilation)) {}

ConvArgs::ConvArgs(const Launch& l) : transposed(l.kernel == id(Kernel::ConvGradInput)) {
  const auto& p = *static_cast<const ConvParams*>(l.pointer);
  batch = p.batch;
  groups = static_cast<int>(p.groups);
  classes = 1;
  n_most = batch;
  for (int d = 0; d < 3; ++d) {
    const ConvAxis& x = axis[d] = ConvAxis(p, d, transposed);
    classes *= x.classes;
    n_most *= transposed ? ceil_div(x.places, x.stride) : x.places;
  }
  const int64_t in = p.in_channels, out_channels = p.out_channels, taps = p.taps();
  rows = static_cast<int>(transposed ? in : out_channels);
  channels = static_cast<int>(transposed ? out_channels : in);
  row_step = transposed ? taps : in * taps;
  channel_step = transposed ? in * taps : taps;
  group_step = out_channels * in * taps;
  source_size = transposed ? p.output_size() : p.input_size();
  out_size = transposed ? p.input_size() : p.output_size();
  out = l.buffer[0].data;
  source = l.buffer[1].data;
  weight = l.buffer[2].data;
  bias = p.has_bias ? l.buffer[3].data : nullptr;
}

void ConvArgs::tile(int row_tile, int n_tile) {
  row_tiles = static_cast<int>(ceil_div(rows, row_tile));
  n_tiles = ceil_div(n_most, n_tile);
  blocks = n_tiles * row_tiles * groups * classes;
}

namespace {

// What all threads need of the products that are staged next.
template <int kDepth>
struct Taps {
  ConvShift shift[kDepth];
  int64_t weight[kDepth];  // offsets
};

template <int kDepth>
WENGERT_DEVICE void find_taps(const ConvArgs& a, const ConvBlock& b, int k0, Taps<kDepth>& to) {
  const int i = static_cast<int>(threadIdx.x);
  if (i >= kDepth || k0 + i >= b.k_end) return;
  int64_t k = k0 + i;
  ConvShift s;
  int w[3];
#pragma unroll
  for (int d = 2; d >= 0; --d) {
    const int tap = static_cast<int>(take_digit(k, b.axis[d].taps));
    s.at[d] = tap * b.axis[d].tap_step;
    w[d] = b.axis[d].weight_first + tap * b.axis[d].weight_step;
  }
  s.offset = k * a.source_size +
             (static_cast<int64_t>(s.at[0]) * a.axis[1].source + s.at[1]) * a.axis[2].source +
             s.at[2];
  to.shift[i] = s;
  to.weight[i] = k * a.channel_step +
                 (static_cast<int64_t>(w[0]) * a.axis[1].kernel + w[1]) * a.axis[2].kernel + w[2];
}

template <class Tile>
struct ConvShared {
  Tile tile;
  Taps<Tile::kDepth> taps[2];
  ConvBlock block;  // here, for the registers it would take
};

template <class Tile>
__global__ void __launch_bounds__(kConvThreads, sizeof(typename Tile::Sum) == 4 ? 2 : 1)
    convolve(const __grid_constant__ ConvArgs a) {
  using S = typename Tile::Stored;
  using T = typename Tile::Sum;
  constexpr int BM = Tile::BM, BN = Tile::BN, kDepth = Tile::kDepth;
  __shared__ __align__(32) unsigned char memory[sizeof(ConvShared<Tile>)];
  auto& shared = *reinterpret_cast<ConvShared<Tile>*>(memory);
  const int thread = static_cast<int>(threadIdx.x);
  for (int64_t block = blockIdx.x; block < a.blocks; block += gridDim.x) {
    __syncthreads();  // with the block before
    if (thread == 0) shared.block = conv_block(a, block, BM, BN);
    __syncthreads();
    const ConvBlock& b = shared.block;
    if (b.n0 >= b.n_end) continue;
    const S* const weight = static_cast<const S*>(a.weight) + b.group * a.group_step;
    const S* const source = static_cast<const S*>(a.source) + b.group * a.channels * a.source_size;

    // The place whose taps this thread gathers: neighbours read neighbours.
    const int column = thread % BN;
    ConvShift place{};
    const bool gathers = b.n0 + column < b.n_end;
    if (gathers) {
      const ConvPlace p = conv_place(b.axis, b.n0 + column);
#pragma unroll
      for (int d = 0; d < 3; ++d) place.at[d] = b.axis[d].base + p.at[d] * b.axis[d].place_step;
      place.offset =
          p.b * a.groups * a.channels * a.source_size +
          (static_cast<int64_t>(place.at[0]) * a.axis[1].source + place.at[1]) * a.axis[2].source +
          place.at[2];
    }

    S left[Tile::kLeft], right[Tile::kRight];
    typename Tile::Sums running;
    // Weights are read along what is side by side in memory.
    const bool by_rows =
        a.row_step < a.channel_step && a.axis[0].kernel * a.axis[1].kernel * a.axis[2].kernel == 1;
    const auto spot = [&](int i, int& m, int& k) {
      const int e = thread + i * kConvThreads;
      m = by_rows ? e % BM : e / kDepth;
      k = by_rows ? e / BM : e % kDepth;
    };
    const auto fetch = [&](int k0, const Taps<kDepth>& taps) {
#pragma unroll
      for (int i = 0; i < Tile::kLeft; ++i) {
        int m, k;
        spot(i, m, k);
        left[i] = b.row0 + m < a.rows && k0 + k < b.k_end
                      ? weight[(b.row0 + m) * a.row_step + taps.weight[k]]
                      : S{};
      }
#pragma unroll
      for (int i = 0; i < Tile::kRight; ++i) {
        const int k = thread / BN + i * (kConvThreads / BN);
        right[i] = S{};
        if (gathers && k0 + k < b.k_end && conv_reads(a.axis, place.at, taps.shift[k].at)) {
          right[i] = source[place.offset + taps.shift[k].offset];
        }
      }
    };
    const auto put = [&](int half) {
#pragma unroll
      for (int i = 0; i < Tile::kLeft; ++i) {
        int m, k;
        spot(i, m, k);
        shared.tile.left(half, k)[m] = left[i];
      }
#pragma unroll
      for (int i = 0; i < Tile::kRight; ++i) {
        shared.tile.right(half, thread / BN + i * (kConvThreads / BN))[column] = right[i];
      }
    };

    find_taps(a, b, 0, shared.taps[0]);
    __syncthreads();
    fetch(0, shared.taps[0]);
    put(0);
    find_taps(a, b, kDepth, shared.taps[1]);
    __syncthreads();
    for (int k0 = 0, half = 0; k0 < b.k_end; k0 += kDepth, half ^= 1) {
      const bool more = k0 + kDepth < b.k_end;
      if (more) fetch(k0 + kDepth, shared.taps[half ^ 1]);
      shared.tile.multiply(half, running);
      if (more) put(half ^ 1);
      find_taps(a, b, k0 + 2 * kDepth, shared.taps[half]);
      __syncthreads();
    }

    T sums[Tile::TM][Tile::TN];
    shared.tile.finish(running, sums);
#pragma unroll
    for (int c = 0; c < Tile::TN; c += 4) {
      int64_t to[4];
      const int64_t n = b.n0 + c / 4 * Tile::kColumnQuads + Tile::column();
#pragma unroll
      for (int j = 0; j < 4; ++j) {
        to[j] = -1;
        if (n + j >= b.n_end) continue;
        const ConvPlace p = conv_place(b.axis, n + j);
        int at[3];
#pragma unroll
        for (int d = 0; d < 3; ++d) at[d] = b.axis[d].first + p.at[d] * b.axis[d].step;
        to[j] = (p.b * a.groups + b.group) * a.rows * a.out_size +
                (static_cast<int64_t>(at[0]) * a.axis[1].places + at[1]) * a.axis[2].places + at[2];
      }
      const bool together = to[3] >= 0 && to[3] == to[0] + 3;
#pragma unroll
      for (int i = 0; i < Tile::TM; ++i) {
        const int m = b.row0 + i / 4 * Tile::kRowQuads + Tile::row() + i % 4;
        if (m >= a.rows) continue;
        const T bias =
            a.bias ? convert<T>(static_cast<const S*>(a.bias)[b.group * a.rows + m]) : T(0);
        S* const row = static_cast<S*>(a.out) + m * a.out_size;
        Pack<S, 4> v;
#pragma unroll
        for (int j = 0; j < 4; ++j) v.of[j] = convert<S>(sums[i][c + j] + bias);
        if (together && reinterpret_cast<uintptr_t>(row + to[0]) % alignof(Pack<S, 4>) == 0) {
          *reinterpret_cast<Pack<S, 4>*>(row + to[0]) = v;
        } else {
#pragma unroll
          for (int j = 0; j < 4; ++j) {
            if (to[j] >= 0) row[to[j]] = v.of[j];
          }
        }
      }
    }
  }
}

template <class Tile>
void run_tiles(const Launch& l, ConvArgs& a) {
  a.tile(Tile::BM, Tile::BN);
  start(l, &convolve<Tile>, static_cast<unsigned>(std::min<int64_t>(a.blocks, 0x7fffffff)),
        kConvThreads, 0, a);
}

template <class S>
void run_own(const Launch& l, ConvArgs& a) {
  if (run_conv_direct<S>(l, a)) return;
  if constexpr (is_half<S>) {
    if (a.rows > 64) {
      run_tiles<ConvNarrowTile<S, 128>>(l, a);
    } else {
      run_tiles<ConvNarrowTile<S, 64>>(l, a);
    }
  } else if constexpr (sizeof(S) == 8) {
    run_tiles<ConvTile<S, 64, 64, 16, 4, 4>>(l, a);
  } else {
    // The large tile does least besides multiplying, where there are enough of them for a device.
    constexpr int64_t kEnough = 200;
    a.tile(128, 128);
    if (a.rows <= 32) {
      run_tiles<ConvTile<S, 32, 128, 16, 4, 4>>(l, a);
    } else if (a.rows > 64 && a.blocks >= kEnough) {
      run_tiles<ConvTile<S, 128, 128, 8, 8, 8>>(l, a);
    } else {
      run_tiles<ConvTile<S, 64, 64, 16, 4, 4>>(l, a);
    }
  }
}

template <class S>
void run(const Launch& l) {
  if (l.count == 0) return;
  if (!conv_fits(l)) return run_on_host(l);
  ConvArgs a(l);
  // cuDNN's depthwise kernels are no faster than the direct one.
  if (a.rows == 1 || !run_cudnn(l)) run_own<S>(l, a);
}

}  // namespace

void fill_conv(KernelTable& t) {
  for (const Kernel k : {Kernel::Conv, Kernel::ConvGradInput}) {
    t.at(id(k), DType::Float32) = &run<float>;
    t.at(id(k), DType::Float64) = &run<double>;
    t.at(id(k), DType::BFloat16) = &run<BFloat16>;
    t.at(id(k), DType::Float16) = &run<Float16>;
  }
}

}  // namespace wengert::cuda
