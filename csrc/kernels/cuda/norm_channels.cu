// Normalization of channels, and the sums over channels that gradients of weights are. Channels are
// the results of a reduction (reduce.h), whose elements have two sources.
#include "kernels/cuda/norm.h"
#include "kernels/cuda/reduce.h"
#include "kernels/cuda/rows.h"
#include "kernels/cuda/slots.h"

namespace wengert::cuda {
namespace {

constexpr int kEach = 8;  // elements that a thread takes at once
constexpr int kFold = 16;

// (outer, channels, inner), all dense, as a reduction to channels.
template <class T>
ReduceShape shape_of(const Launch& l, int64_t outer, int64_t channels, int64_t inner, const void* x,
                     const void* other) {
  Launch r;
  r.ndim = 3;
  r.integer[0] = 2;
  r.size[0] = channels;
  r.size[1] = outer;
  r.size[2] = inner;
  r.buffer[1].data = const_cast<void*>(x);
  r.buffer[1].dtype = l.dtype;
  r.buffer[1].stride[0] = inner;
  r.buffer[1].stride[1] = channels * inner;
  r.buffer[1].stride[2] = 1;
  ReduceShape s(r, 1, false, kEach);
  s.packed = s.packed && reinterpret_cast<uintptr_t>(other) % 16 == 0;
  return s;
}

// Calls step(offset, j, n) for a thread's elements of [first, end): n that are side by side, the
// j-th and after of those taken at once.
template <class T, class Step>
WENGERT_DEVICE void each_run(const ReduceShape& s, const Post& p, int64_t base, int64_t first,
                             int64_t end, Step step) {
  constexpr int N = kPerThread<T>;
  if (s.packed) {
#pragma unroll
    for (int u = 0; u < kEach / N; ++u) {
      const int64_t r = first + (static_cast<int64_t>(u) * p.lanes + p.lane) * N;
      if (r < end)
        step(base + s.reduced.source(r), u * N, r + N <= end ? N : static_cast<int>(end - r));
    }
  } else {
#pragma unroll
    for (int j = 0; j < kEach; ++j) {
      const int64_t r = first + static_cast<int64_t>(j) * p.lanes + p.lane;
      if (r < end) step(base + s.reduced.source(r), j, 1);
    }
  }
}
template <class T>
WENGERT_DEVICE void read_run(const T* x, int64_t at, int j, int n, T (&to)[kEach]) {
  constexpr int N = kPerThread<T>;
  if (n == N) {
    T v[N];
    read_pack<T, T>(reinterpret_cast<const char*>(x), at, v);
#pragma unroll
    for (int i = 0; i < N; ++i) to[j + i < kEach ? j + i : 0] = v[i];
    return;
  }
#pragma unroll
  for (int i = 0; i < N; ++i) {
    if (i < n) to[j + i < kEach ? j + i : 0] = x[at + i];
  }
}

// --- sums of gradients ---------------------------------------------------------------------------

template <class T>
struct SumArgs {
  ReduceShape shape;
  const T *g, *x, *statistics;
  int64_t channels, columns;
  Divider by_columns;
  bool wide;
  T *sum_g, *sum_gx;
};

template <class T>
__global__ void __launch_bounds__(kReduceThreads, 2)
    channel_sums(const __grid_constant__ SumArgs<T> a) {
  const ReduceShape& s = a.shape;
  const Post p(s);
  const Part part(s, p);
  const bool own = a.columns == 0;
  T mean = T(0), inverse = T(1);
  if (own && part.active)
    mean = a.statistics[part.to], inverse = a.statistics[a.channels + part.to];
  TwoSums<T> total{T(0), T(0)};
  const int64_t step = static_cast<int64_t>(kEach) * p.lanes;
  for (int64_t first = part.first; first < part.end;) {
    T sum[kEach] = {}, sum_x[kEach] = {};
    for (int fold = 0; fold < kFold && first < part.end; ++fold, first += step) {
      T g[kEach] = {}, hat[kEach] = {};
      each_run<T>(s, p, part.base, first, part.end, [&](int64_t at, int j, int n) {
        read_run(a.g, at, j, n, g);
        read_run(a.x, at, j, n, hat);
        if (!own) {
          const int64_t row =
              a.wide ? at / a.columns : a.by_columns.quotient(static_cast<uint32_t>(at));
          mean = a.statistics[2 * row];
          inverse = a.statistics[2 * row + 1];
        }
#pragma unroll
        for (int i = 0; i < kPerThread<T>; ++i) {
          if (i < n) hat[(j + i) % kEach] = (hat[(j + i) % kEach] - mean) * inverse;
        }
      });
#pragma unroll
      for (int j = 0; j < kEach; ++j) sum[j] += g[j], sum_x[j] = std::fma(g[j], hat[j], sum_x[j]);
    }
#pragma unroll
    for (int h = kEach / 2; h > 0; h /= 2) {
#pragma unroll
      for (int j = 0; j < h; ++j) sum[j] += sum[j + h], sum_x[j] += sum_x[j + h];
    }
    total.a += sum[0];
    total.b += sum_x[0];
  }
  total = join_block(s, p, total,
                     [](TwoSums<T> l, TwoSums<T> r) { return TwoSums<T>{l.a + r.a, l.b + r.b}; });
  if (p.lane != 0 || !part.active) return;
  const int64_t to = part.to * s.chunks + blockIdx.y;
  if (a.sum_g) a.sum_g[to] = total.a;
  if (a.sum_gx) a.sum_gx[to] = total.b;
}

// --- statistics of channels ----------------------------------------------------------------------

// Of n elements: their mean, and the sum of squared distances from it. Joined as by Chan, Golub and
// LeVeque, Updating formulae and a pairwise algorithm for computing sample variances (1979), so
// that one pass over memory is as exact as two.
template <class T>
struct Moments {
  T n, mean, squares;
  WENGERT_DEVICE Moments other(int h) const {
    return {__shfl_xor_sync(0xffffffffu, n, h), __shfl_xor_sync(0xffffffffu, mean, h),
            __shfl_xor_sync(0xffffffffu, squares, h)};
  }
};
template <class T>
WENGERT_DEVICE Moments<T> joined(Moments<T> a, Moments<T> b) {
  if (b.n == T(0)) return a;
  if (a.n == T(0)) return b;
  const T n = a.n + b.n, apart = b.mean - a.mean, share = b.n / n;
  return {n, a.mean + apart * share, a.squares + b.squares + apart * apart * a.n * share};
}

template <class T>
struct MomentArgs {
  ReduceShape shape;
  const T* x;
  int64_t channels;
  double eps;
  T* statistics;
  Moments<T>* parts;  // of chunks; null: there is one
};

template <class T>
WENGERT_DEVICE void put_statistics(const MomentArgs<T>& a, int64_t c, Moments<T> m) {
  const T n = static_cast<T>(a.shape.reduced.space.count);
  a.statistics[c] = n == T(0) ? m.squares / n : m.mean;
  a.statistics[a.channels + c] = inverse_deviation(m.squares, n, a.eps);
  a.statistics[2 * a.channels + c] = m.squares / n;
}

template <class T>
__global__ void __launch_bounds__(kReduceThreads, 3)
    channel_moments(const __grid_constant__ MomentArgs<T> a) {
  const ReduceShape& s = a.shape;
  const Post p(s);
  const Part part(s, p);
  Moments<T> total{T(0), T(0), T(0)};
  const int64_t step = static_cast<int64_t>(kEach) * p.lanes;
  for (int64_t first = part.first; first < part.end; first += step) {
    T x[kEach] = {};
    uint32_t there = 0;
    each_run<T>(s, p, part.base, first, part.end, [&](int64_t at, int j, int n) {
      read_run(a.x, at, j, n, x);
      there |= ((1u << n) - 1) << j;
    });
    const T n = static_cast<T>(__popc(there));
    T sum = T(0), squares = T(0);
#pragma unroll
    for (int j = 0; j < kEach; ++j) sum += x[j];  // what is not there is 0
    const T mean = there ? sum / n : T(0);
#pragma unroll
    for (int j = 0; j < kEach; ++j) {
      const T d = x[j] - mean;
      if (there >> j & 1) squares = std::fma(d, d, squares);
    }
    total = joined(total, {n, mean, squares});
  }
  total = join_block(s, p, total, [](Moments<T> l, Moments<T> r) { return joined(l, r); });
  if (p.lane != 0 || !part.active) return;
  if (a.parts) {
    a.parts[part.to * s.chunks + blockIdx.y] = total;
  } else {
    put_statistics(a, part.to, total);
  }
}

// A warp to a channel.
template <class T>
__global__ void __launch_bounds__(kReduceThreads)
    join_moments(const __grid_constant__ MomentArgs<T> a) {
  const int t = static_cast<int>(threadIdx.x), lane = t % kWarp;
  const int64_t c = static_cast<int64_t>(blockIdx.x) * (kReduceThreads / kWarp) + t / kWarp;
  Moments<T> total{T(0), T(0), T(0)};
  if (c < a.channels) {
    for (uint32_t k = static_cast<uint32_t>(lane); k < a.shape.chunks; k += kWarp) {
      total = joined(total, a.parts[c * a.shape.chunks + k]);
    }
  }
  total = join_row(kWarp, total, [](Moments<T> l, Moments<T> r) { return joined(l, r); });
  if (lane == 0 && c < a.channels) put_statistics(a, c, total);
}

// --- what is made of them, element by element ----------------------------------------------------

template <class T>
struct ApplyArgs {
  int64_t count, channels, inner;
  Divider by_inner, by_channels;
  bool wide, packed;
  const T *x, *g, *statistics, *weight, *bias, *sum_g, *sum_gx;  // g: of gradients
  T* out;
  T share;
};

// Packs of elements; of one channel, or of channels that are next to each other, or of any.
template <class T, bool kGradient>
__global__ void __launch_bounds__(kReduceThreads)
    normalize_channels(const __grid_constant__ ApplyArgs<T> a) {
  constexpr int N = kPerThread<T>;
  const int64_t step = static_cast<int64_t>(gridDim.x) * kReduceThreads * N;
  for (int64_t i = (static_cast<int64_t>(blockIdx.x) * kReduceThreads + threadIdx.x) * N;
       i < a.count; i += step) {
    const bool whole = a.packed && i + N <= a.count;
    T x[N], g[kGradient ? N : 1];
    if (whole) {
      read_pack<T, T>(reinterpret_cast<const char*>(a.x), i, x);
      if constexpr (kGradient) read_pack<T, T>(reinterpret_cast<const char*>(a.g), i, g);
    }
    T mean = T(0), scale = T(0), bias = T(0), about = T(0), along = T(0);
    int64_t channel = -1;
#pragma unroll
    for (int j = 0; j < N; ++j) {
      if (i + j >= a.count) break;
      if (!whole) {
        x[j] = a.x[i + j];
        if constexpr (kGradient) g[j] = a.g[i + j];
      }
      int64_t c;
      if (a.wide) {
        c = (i + j) / a.inner % a.channels;
      } else {
        const uint32_t q = a.by_inner.quotient(static_cast<uint32_t>(i + j));
        c = q - a.by_channels.quotient(q) * a.by_channels.by;
      }
      if (c != channel) {
        channel = c;
        mean = a.statistics[c];
        scale = a.statistics[a.channels + c];
        if constexpr (kGradient) {
          about = a.sum_g[c] * a.share;
          along = a.sum_gx[c] * a.share * scale;
        }
        if (a.weight) scale *= a.weight[c];
        if (a.bias) bias = a.bias[c];
      }
      if constexpr (kGradient) {
        x[j] = (g[j] - about - (x[j] - mean) * along) * scale;
      } else {
        x[j] = std::fma(x[j] - mean, scale, bias);
      }
      if (!whole) a.out[i + j] = x[j];
    }
    if (whole) write_pack<T, T>(reinterpret_cast<char*>(a.out), i, x);
  }
}

template <class T>
ApplyArgs<T> apply_args(const Launch& l, int x, int g, int statistics, int weight, int bias) {
  const int64_t count = l.size[0] * l.size[1] * l.size[2];
  const bool wide = count >= 1LL << 31;
  bool packed = true;
  for (int k : {0, x, g}) {
    packed = packed && reinterpret_cast<uintptr_t>(l.buffer[k].data) % 16 == 0;
  }
  return {.count = count,
          .channels = l.size[1],
          .inner = l.size[2],
          .by_inner = Divider(wide || count == 0 ? 1 : static_cast<uint32_t>(l.size[2])),
          .by_channels = Divider(wide || count == 0 ? 1 : static_cast<uint32_t>(l.size[1])),
          .wide = wide,
          .packed = packed,
          .x = data<T>(l, x),
          .g = data<T>(l, g),
          .statistics = data<T>(l, statistics),
          .weight = data<T>(l, weight),
          .bias = data<T>(l, bias),
          .sum_g = nullptr,
          .sum_gx = nullptr,
          .out = data<T>(l, 0),
          .share = T(1) / static_cast<T>(l.size[0] * l.size[2])};
}

template <class T>
void run_batch_norm(const Launch& l) {
  const int64_t channels = l.size[1];
  if (channels == 0) return;
  MomentArgs<T> m{
      .shape = shape_of<T>(l, l.size[0], channels, l.size[2], l.buffer[2].data, nullptr),
      .x = data<T>(l, 2),
      .channels = channels,
      .eps = l.number[0],
      .statistics = data<T>(l, 1),
      .parts = nullptr};
  const bool cut = m.shape.chunks > 1;
  const Scratch parts(cut ? static_cast<size_t>(channels) * m.shape.chunks * sizeof(Moments<T>)
                          : 0);
  if (cut) m.parts = parts.data<Moments<T>>();
  start(l, &channel_moments<T>, m.shape.grid(), kReduceThreads, 0, m);
  if (cut) {
    start(l, &join_moments<T>, static_cast<unsigned>(ceil_div(channels, kReduceThreads / kWarp)),
          kReduceThreads, 0, m);
  }
  const int weight = l.integer[1] ? 3 : -1;
  const int bias = l.integer[2] ? (l.integer[1] ? 4 : 3) : -1;
  const auto a = apply_args<T>(l, 2, 2, 1, weight, bias);
  start(l, &normalize_channels<T, false>, grid_for(a.count, kReduceThreads * kPerThread<T>),
        kReduceThreads, 0, a);
}

template <class T>
void run_batch_norm_grad(const Launch& l) {
  const int64_t channels = l.size[1];
  if (channels == 0) return;
  const bool wanted = l.integer[2] != 0;
  const Scratch own(wanted ? 0 : 2 * static_cast<size_t>(channels) * sizeof(T));
  T* const sum_gx = wanted ? data<T>(l, 1) : own.data<T>();
  T* const sum_g = wanted ? data<T>(l, 2) : own.data<T>() + channels;
  sum_channels<T>(l, {.outer = l.size[0],
                      .channels = channels,
                      .inner = l.size[2],
                      .g = l.buffer[3].data,
                      .x = l.buffer[4].data,
                      .statistics = l.buffer[5].data,
                      .columns = 0,
                      .sum_g = sum_g,
                      .sum_gx = sum_gx});
  ApplyArgs<T> a = apply_args<T>(l, 4, 3, 5, l.integer[1] ? 6 : -1, -1);
  a.sum_g = sum_g;
  a.sum_gx = sum_gx;
  start(l, &normalize_channels<T, true>, grid_for(a.count, kReduceThreads * kPerThread<T>),
        kReduceThreads, 0, a);
}

template <class T>
void fill_type(KernelTable& t) {
  t.at(id(Kernel::BatchNorm), kDTypeOf<T>) = &run_batch_norm<T>;
  t.at(id(Kernel::BatchNormGrad), kDTypeOf<T>) = &run_batch_norm_grad<T>;
}

}  // namespace

template <class T>
void sum_channels(const Launch& l, const ChannelSums& s) {
  if (s.channels == 0) return;
  const int64_t count = s.outer * s.channels * s.inner;
  const bool wide = count >= 1LL << 31 || s.columns >= 1LL << 31;
  SumArgs<T> a{.shape = shape_of<T>(l, s.outer, s.channels, s.inner, s.x, s.g),
               .g = static_cast<const T*>(s.g),
               .x = static_cast<const T*>(s.x),
               .statistics = static_cast<const T*>(s.statistics),
               .channels = s.channels,
               .columns = s.columns,
               .by_columns = Divider(wide || s.columns == 0 ? 1 : static_cast<uint32_t>(s.columns)),
               .wide = wide,
               .sum_g = static_cast<T*>(s.sum_g),
               .sum_gx = static_cast<T*>(s.sum_gx)};
  // A vector is of one row.
  if (s.columns % kPerThread<T> != 0) a.shape.packed = false;
  const auto start_sums = [&] { start(l, &channel_sums<T>, a.shape.grid(), kReduceThreads, 0, a); };
  if (a.shape.chunks == 1) return start_sums();
  const int64_t chunks = a.shape.chunks, parts = s.channels * chunks;
  const Scratch scratch(2 * static_cast<size_t>(parts) * sizeof(T));
  a.sum_g = scratch.data<T>();
  a.sum_gx = a.sum_g + parts;
  start_sums();
  const auto join = [&](const T* from, void* to) {
    join_parts(l, index_of<Sum, Reductions>, kDTypeOf<T>, {from, s.channels, chunks}, to);
  };
  join(a.sum_g, s.sum_g);
  join(a.sum_gx, s.sum_gx);
}
template void sum_channels<float>(const Launch&, const ChannelSums&);
template void sum_channels<double>(const Launch&, const ChannelSums&);

void fill_norm_channels(KernelTable& t) {
  fill_type<float>(t);
  fill_type<double>(t);
}

}  // namespace wengert::cuda
