// Gradients of convolutions by the weight: gw[m, c, tap] = the sum over samples and places of
// g[m, place] x[c, place and tap]. Read conv.h first.
#include "kernels/cuda/conv.h"
#include "kernels/cuda/cuda.h"
#include "kernels/cuda/cudnn.h"
#include "kernels/cuda/slots.h"
#include "kernels/cuda/warp.h"

namespace wengert::cuda {

namespace {

constexpr int64_t kBlocksWanted = 1024;  // some for each of the largest device's processors

struct WeightArgs {
  ConvAxis axis[3];
  int groups, rows, channels, columns;  // columns: channels times taps
  int64_t places, depth;                // of a sample; of all
  int64_t source_size, count;           // of a channel of x; of weights
  const void *g, *x;
  void* out;  // the weights, for each part
  int row_tiles, column_tiles;
  int64_t parts, part;  // parts of so many places each

  explicit WeightArgs(const Launch& l) {
    const auto& p = *static_cast<const ConvParams*>(l.pointer);
    for (int d = 0; d < 3; ++d) axis[d] = ConvAxis(p, d, false);
    groups = static_cast<int>(p.groups);
    rows = static_cast<int>(p.out_channels);
    channels = static_cast<int>(p.in_channels);
    columns = static_cast<int>(p.in_channels * p.taps());
    places = p.output_size();
    depth = p.batch * places;
    source_size = p.input_size();
    count = p.groups * p.out_channels * p.in_channels * p.taps();
    out = l.buffer[0].data;
    g = l.buffer[1].data;
    x = l.buffer[2].data;
  }

  // As many parts as make enough blocks of `tiles` tiles, none shorter than `least`.
  void cut(int64_t tiles, int64_t least, int64_t multiple) {
    parts = std::max<int64_t>(
        1, std::min(ceil_div(kBlocksWanted, std::max<int64_t>(tiles, 1)), depth / least));
    // no more memory than 256 MiB for the parts' results
    parts = std::max<int64_t>(1, std::min(parts, (int64_t{1} << 25) / std::max<int64_t>(count, 1)));
    part = std::max<int64_t>(1, ceil_div(ceil_div(depth, parts), multiple)) * multiple;
    parts = std::max<int64_t>(1, ceil_div(depth, part));
  }
};

// A place's offset in g, and where its windows begin.
template <int kDepth>
struct Places {
  int64_t g[kDepth];
  ConvShift x[kDepth];
};

WENGERT_DEVICE void find_place(const WeightArgs& a, int64_t k, int64_t& g, ConvShift& x) {
  int64_t rest = k;
  int at[3];
#pragma unroll
  for (int d = 2; d >= 0; --d) at[d] = static_cast<int>(take_digit(rest, a.axis[d].places));
  g = rest * a.groups * a.rows * a.places + (k - rest * a.places);
#pragma unroll
  for (int d = 0; d < 3; ++d) x.at[d] = at[d] * a.axis[d].stride - a.axis[d].padding;
  x.offset = rest * a.groups * a.channels * a.source_size +
             (static_cast<int64_t>(x.at[0]) * a.axis[1].source + x.at[1]) * a.axis[2].source +
             x.at[2];
}
WENGERT_DEVICE ConvShift find_tap(const WeightArgs& a, int n) {
  int64_t rest = n;
  ConvShift s;
#pragma unroll
  for (int d = 2; d >= 0; --d) {
    s.at[d] = static_cast<int>(take_digit(rest, a.axis[d].kernel)) * a.axis[d].dilation;
  }
  s.offset = rest * a.source_size +
             (static_cast<int64_t>(s.at[0]) * a.axis[1].source + s.at[1]) * a.axis[2].source +
             s.at[2];
  return s;
}

template <class Tile>
struct WeightShared {
  Tile tile;
  Places<Tile::kDepth> places[2];
};

template <class Tile>
__global__ void __launch_bounds__(kConvThreads, sizeof(typename Tile::Sum) == 4 ? 2 : 1)
    weigh(const __grid_constant__ WeightArgs a) {
  using S = typename Tile::Stored;
  using T = typename Tile::Sum;
  constexpr int BM = Tile::BM, BN = Tile::BN, kDepth = Tile::kDepth;
  constexpr int kRowsApart = kConvThreads / kDepth;  // of what a thread stages
  __shared__ __align__(32) unsigned char memory[sizeof(WeightShared<Tile>)];
  auto& shared = *reinterpret_cast<WeightShared<Tile>*>(memory);
  const int thread = static_cast<int>(threadIdx.x);
  int64_t block = blockIdx.x;
  const int n0 = static_cast<int>(block % a.column_tiles) * BN;
  block /= a.column_tiles;
  const int row0 = static_cast<int>(block % a.row_tiles) * BM;
  block /= a.row_tiles;
  const int group = static_cast<int>(block % a.groups);
  const int64_t part = block / a.groups;
  const int64_t begin = part * a.part, end = min(begin + a.part, a.depth);
  const S* const g = static_cast<const S*>(a.g) + group * a.rows * a.places;
  const S* const x = static_cast<const S*>(a.x) + group * a.channels * a.source_size;

  // Threads side by side stage places side by side, of rows and of taps that stay the same.
  const int k = thread % kDepth, line = thread / kDepth;
  ConvShift tap[Tile::kRight];
#pragma unroll
  for (int i = 0; i < Tile::kRight; ++i) {
    const int n = n0 + line + i * kRowsApart;
    tap[i] = find_tap(a, n < a.columns ? n : 0);
  }
  S left[Tile::kLeft], right[Tile::kRight];
  typename Tile::Sums running;
  const auto find = [&](int64_t k0, Places<kDepth>& to) {
    if (thread < kDepth && k0 + thread < end) {
      find_place(a, k0 + thread, to.g[thread], to.x[thread]);
    }
  };
  const auto fetch = [&](int64_t k0, const Places<kDepth>& places) {
    const bool inside = k0 + k < end;
#pragma unroll
    for (int i = 0; i < Tile::kLeft; ++i) {
      const int m = row0 + line + i * kRowsApart;
      left[i] = inside && m < a.rows ? g[m * a.places + places.g[k]] : S{};
    }
#pragma unroll
    for (int i = 0; i < Tile::kRight; ++i) {
      right[i] = S{};
      if (inside && n0 + line + i * kRowsApart < a.columns &&
          conv_reads(a.axis, places.x[k].at, tap[i].at)) {
        right[i] = x[places.x[k].offset + tap[i].offset];
      }
    }
  };
  const auto put = [&](int half) {
#pragma unroll
    for (int i = 0; i < Tile::kLeft; ++i) {
      shared.tile.left(half, k)[line + i * kRowsApart] = left[i];
    }
#pragma unroll
    for (int i = 0; i < Tile::kRight; ++i) {
      shared.tile.right(half, k)[line + i * kRowsApart] = right[i];
    }
  };
  find(begin, shared.places[0]);
  __syncthreads();
  fetch(begin, shared.places[0]);
  put(0);
  find(begin + kDepth, shared.places[1]);
  __syncthreads();
  int half = 0;
  for (int64_t k0 = begin; k0 < end; k0 += kDepth, half ^= 1) {
    const bool more = k0 + kDepth < end;
    if (more) fetch(k0 + kDepth, shared.places[half ^ 1]);
    shared.tile.multiply(half, running);
    if (more) put(half ^ 1);
    find(k0 + 2 * kDepth, shared.places[half]);
    __syncthreads();
  }
  T sums[Tile::TM][Tile::TN];
  shared.tile.finish(running, sums);
  T* const out = static_cast<T*>(a.out) + part * a.count;
#pragma unroll
  for (int i = 0; i < Tile::TM; ++i) {
    const int m = row0 + i / 4 * Tile::kRowQuads + Tile::row() + i % 4;
    if (m >= a.rows) continue;
#pragma unroll
    for (int j = 0; j < Tile::TN; ++j) {
      const int n = n0 + j / 4 * Tile::kColumnQuads + Tile::column() + j % 4;
      if (n < a.columns) {
        out[(static_cast<int64_t>(group) * a.rows + m) * a.columns + n] = sums[i][j];
      }
    }
  }
}

// The weights of one pair of channels, kTaps of them to a block, from first to last place of a
// part: threads side by side have places side by side.
constexpr int kTaps = 9;
template <class S>
__global__ void __launch_bounds__(kConvThreads) weigh_pair(const __grid_constant__ WeightArgs a) {
  using T = ConvSum<S>;
  __shared__ T of_warp[kConvThreads / kWarp][kTaps];
  const int thread = static_cast<int>(threadIdx.x);
  const int taps = a.columns / a.channels;
  int64_t block = blockIdx.x;
  const int first = static_cast<int>(block % a.column_tiles) * kTaps;
  block /= a.column_tiles;
  const int c = static_cast<int>(block % a.channels);
  block /= a.channels;
  const int64_t row = block % (static_cast<int64_t>(a.groups) * a.rows);  // among all channels of g
  const int64_t part = block / (static_cast<int64_t>(a.groups) * a.rows);
  const int64_t begin = part * a.part, end = min(begin + a.part, a.depth);
  const S* const g = static_cast<const S*>(a.g) + row * a.places;
  const S* const x = static_cast<const S*>(a.x) + (row / a.rows * a.channels + c) * a.source_size;
  __shared__ ConvShift tap[kTaps];
  if (thread < kTaps && first + thread < taps) tap[thread] = find_tap(a, first + thread);
  __syncthreads();
  T sums[kTaps] = {};
  for (int64_t k = begin + thread; k < end; k += kConvThreads) {
    int64_t at;
    ConvShift place;
    find_place(a, k, at, place);
    const T v = convert<T>(g[at]);
#pragma unroll
    for (int t = 0; t < kTaps; ++t) {
      if (first + t < taps && conv_reads(a.axis, place.at, tap[t].at)) {
        sums[t] += v * convert<T>(x[place.offset + tap[t].offset]);
      }
    }
  }
#pragma unroll
  for (int t = 0; t < kTaps; ++t) {
    sums[t] = warp_sum(sums[t]);
    if (thread % kWarp == 0) of_warp[thread / kWarp][t] = sums[t];
  }
  __syncthreads();
  if (thread < kTaps && first + thread < taps) {
    T sum = T(0);
    for (int w = 0; w < kConvThreads / kWarp; ++w) sum += of_warp[w][thread];
    static_cast<T*>(a.out)[part * a.count + row * a.columns + c * taps + first + thread] = sum;
  }
}

// What all parts wrote, as sums; results are stored as S.
struct PartsArgs {
  const void* parts;
  void* out;
  int64_t count, number;
};
template <class S>
__global__ void __launch_bounds__(kConvThreads) add_parts(const __grid_constant__ PartsArgs a) {
  using T = ConvSum<S>;
  for (int64_t i = static_cast<int64_t>(blockIdx.x) * kConvThreads + threadIdx.x; i < a.count;
       i += static_cast<int64_t>(gridDim.x) * kConvThreads) {
    T sum = T(0);
    for (int64_t part = 0; part < a.number; ++part) {
      sum += static_cast<const T*>(a.parts)[part * a.count + i];
    }
    static_cast<S*>(a.out)[i] = convert<S>(sum);
  }
}

// run(a): the weights of all parts.
template <class S, class Run>
void in_parts(const Launch& l, WeightArgs& a, Run run) {
  if (!is_half<S> && a.parts == 1) return run();
  const Scratch parts(static_cast<size_t>(a.parts * a.count) * sizeof(ConvSum<S>));
  void* const out = a.out;
  a.out = parts.data();
  run();
  const PartsArgs sum{parts.data(), out, a.count, a.parts};
  start(l, &add_parts<S>, grid_for(a.count, kConvThreads), kConvThreads, 0, sum);
}

template <class Tile>
void run_tiles(const Launch& l, WeightArgs& a) {
  a.row_tiles = static_cast<int>(ceil_div(a.rows, Tile::BM));
  a.column_tiles = static_cast<int>(ceil_div(a.columns, Tile::BN));
  const int64_t tiles = static_cast<int64_t>(a.row_tiles) * a.column_tiles * a.groups;
  a.cut(tiles, 256, Tile::kDepth);
  in_parts<typename Tile::Stored>(l, a, [&] {
    start(l, &weigh<Tile>, static_cast<unsigned>(tiles * a.parts), kConvThreads, 0, a);
  });
}

template <class S>
void run(const Launch& l) {
  if (l.count == 0) return;
  if (!conv_fits(l)) return run_on_host(l);
  WeightArgs a(l);
  const bool pairs = a.rows <= 4 && a.channels <= 4;
  if (!pairs && run_cudnn(l)) return;
  if (pairs) {
    a.column_tiles = static_cast<int>(ceil_div(a.columns / a.channels, kTaps));
    const int64_t tiles = static_cast<int64_t>(a.groups) * a.rows * a.channels * a.column_tiles;
    a.cut(tiles, 4 * kConvThreads, 1);
    in_parts<S>(l, a, [&] {
      start(l, &weigh_pair<S>, static_cast<unsigned>(tiles * a.parts), kConvThreads, 0, a);
    });
  } else if constexpr (is_half<S>) {
    if (a.rows > 64) {
      run_tiles<ConvNarrowTile<S, 128>>(l, a);
    } else {
      run_tiles<ConvNarrowTile<S, 64>>(l, a);
    }
  } else if constexpr (sizeof(S) == 8) {
    run_tiles<ConvTile<S, 64, 64, 16, 4, 4>>(l, a);
  } else if (a.rows <= 32) {
    run_tiles<ConvTile<S, 32, 128, 16, 4, 4>>(l, a);
  } else if (a.rows > 64 && a.columns > 64) {
    run_tiles<ConvTile<S, 128, 128, 8, 8, 8>>(l, a);
  } else {
    run_tiles<ConvTile<S, 64, 64, 16, 4, 4>>(l, a);
  }
}

}  // namespace

void fill_conv_weight(KernelTable& t) {
  t.at(id(Kernel::ConvGradWeight), DType::Float32) = &run<float>;
  t.at(id(Kernel::ConvGradWeight), DType::Float64) = &run<double>;
  t.at(id(Kernel::ConvGradWeight), DType::BFloat16) = &run<BFloat16>;
  t.at(id(Kernel::ConvGradWeight), DType::Float16) = &run<Float16>;
}

}  // namespace wengert::cuda
