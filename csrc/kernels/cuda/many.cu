// Norms and changes of many tensors at once, loss scales, and states in bytes.
#include <cmath>

#include "kernels/cuda/lists.h"
#include "kernels/cuda/rows.h"
#include "kernels/cuda/slots.h"
#include "kernels/cuda/states.h"

namespace wengert::cuda {
namespace {

constexpr int kThreads = 256;

struct ManyItem {
  void* data;
  int64_t count;
  uint32_t first;  // chunk
  DType dtype;
  bool aligned;
};
template <int Items>
struct ManyList {
  int64_t chunk;
  int num_items;
  uint32_t chunks;
  ManyItem item[Items];
};

// The chunk of a block of threads.
struct Part {
  void* data;
  int64_t begin, end;
  DType dtype;
  bool aligned;
};
template <int Items>
WENGERT_DEVICE Part part_of(const ManyList<Items>& l) {
  const ManyItem& it = l.item[item_of(l.item, l.num_items, blockIdx.x)];
  const int64_t begin = static_cast<int64_t>(blockIdx.x - it.first) * l.chunk;
  const int64_t end = it.count - begin < l.chunk ? it.count : begin + l.chunk;
  return {it.data, begin, end, it.dtype, it.aligned};
}

// Calls work with some elements of the part, as T, and whether they changed: kAhead vectors are
// asked for before the first is worked on.
template <class T, class S, bool kWrites, class Work>
WENGERT_DEVICE void for_part_of(const Part& part, Work work) {
  constexpr int N = 16 / sizeof(S), kAhead = 2;
  S* const p = static_cast<S*>(part.data);
  int64_t i = part.begin;
  if (part.aligned) {
    constexpr int64_t kStep = int64_t{kThreads} * N;
    for (i += static_cast<int64_t>(threadIdx.x) * N; i + (kAhead - 1) * kStep + N <= part.end;
         i += kAhead * kStep) {
      Pack<S, N> v[kAhead];
#pragma unroll
      for (int u = 0; u < kAhead; ++u) {
        v[u] = *reinterpret_cast<const Pack<S, N>*>(p + i + u * kStep);
      }
#pragma unroll
      for (int u = 0; u < kAhead; ++u) {
#pragma unroll
        for (int j = 0; j < N; ++j) {
          const T x = work(convert<T>(v[u].of[j]));
          if constexpr (kWrites) v[u].of[j] = convert<S>(x);
        }
        if constexpr (kWrites) *reinterpret_cast<Pack<S, N>*>(p + i + u * kStep) = v[u];
      }
    }
    // What is left: no thread's vectors are another's.
#pragma unroll 1
    for (int u = 0; u < kAhead; ++u) {
#pragma unroll 1
      for (int j = 0; j < N; ++j) {
        const int64_t at = i + u * kStep + j;
        if (at >= part.end) continue;
        const T x = work(convert<T>(p[at]));
        if constexpr (kWrites) p[at] = convert<S>(x);
      }
    }
    return;
  }
  for (i += threadIdx.x; i < part.end; i += kThreads) {
    const T x = work(convert<T>(p[i]));
    if constexpr (kWrites) p[i] = convert<S>(x);
  }
}
template <bool kWrites, class Work>
WENGERT_DEVICE void for_part(const Part& part, Work work) {
  if (part.dtype == DType::Float32) {
    for_part_of<float, float, kWrites>(part, work);
  } else if (part.dtype == DType::Float64) {
    for_part_of<double, double, kWrites>(part, work);
  } else {
    for_part_of<float, BFloat16, kWrites>(part, work);
  }
}

// The next tensors of a launch, as many as there is room for.
template <int Items>
void fill_list(const TensorList& from, int64_t& k, int64_t chunk, ManyList<Items>& to) {
  to.chunk = chunk;
  to.num_items = 0;
  to.chunks = 0;
  for (; k < from.num_items && to.num_items < Items; ++k) {
    const ListedTensor& t = from.items[k];
    if (t.count == 0) continue;
    to.item[to.num_items++] = {t.data, t.count, to.chunks, t.dtype, is_aligned(t.data, 16)};
    to.chunks += static_cast<uint32_t>(ceil_div(t.count, chunk));
  }
}
// Calls start_with(list) until all tensors of a launch have been in one.
template <class Start>
void for_lists(const Launch& l, Start start_with) {
  const auto& list = *static_cast<const TensorList*>(l.pointer);
  const int64_t chunk = chunk_of(l.count);
  constexpr int kFew = kFewItems<ManyItem>, kMany = kManyItems<ManyItem>;
  for (int64_t k = 0; k < list.num_items;) {
    const auto some = [&]<int Items>() {
      ManyList<Items> to;
      fill_list(list, k, chunk, to);
      start_with(to);
    };
    if (list.num_items - k <= kFew) {
      some.template operator()<kFew>();
    } else {
      some.template operator()<kMany>();
    }
  }
}

// --- a norm --------------------------------------------------------------------------------------

enum class Order : uint8_t { One, Two, Infinity };

// Sums are kept in double: squares do not overflow, and all bits of a square count. NaN stays.
template <Order O>
WENGERT_DEVICE double joined(double a, double b) {
  if constexpr (O == Order::Infinity) {
    return b > a || b != b ? b : a;
  } else {
    return a + b;
  }
}
// Of all threads; always in the same order.
template <Order O>
WENGERT_DEVICE double of_block(double x) {
  using One = OneSum<double>;
  return join_row(kThreads, One{x}, [](One l, One r) { return One{joined<O>(l.a, r.a)}; }).a;
}

template <Order O, int Items>
__global__ void __launch_bounds__(kThreads)
    norm_parts(const __grid_constant__ ManyList<Items> l, double* parts) {
  double all = 0;
  for_part<false>(part_of(l), [&](auto x) {
    if constexpr (O == Order::Two) {
      const auto wide = static_cast<double>(x);
      all = std::fma(wide, wide, all);
    } else {
      all = joined<O>(all, static_cast<double>(fabs(x)));
    }
    return x;
  });
  all = of_block<O>(all);
  if (threadIdx.x == 0) parts[blockIdx.x] = all;
}
template <Order O>
__global__ void __launch_bounds__(kThreads)
    norm_of_parts(const double* parts, int64_t n, void* to, bool wide) {
  double all = 0;
  for (int64_t i = threadIdx.x; i < n; i += kThreads) all = joined<O>(all, parts[i]);
  all = of_block<O>(all);
  if (threadIdx.x != 0) return;
  if constexpr (O == Order::Two) all = std::sqrt(all);
  if (wide) {
    *static_cast<double*>(to) = all;
  } else {
    *static_cast<float*>(to) = static_cast<float>(all);
  }
}

template <Order O>
void norm_of_order(const Launch& l) {
  const auto& list = *static_cast<const TensorList*>(l.pointer);
  const int64_t chunk = chunk_of(l.count);
  int64_t parts = 0;
  for (int64_t k = 0; k < list.num_items; ++k) parts += ceil_div(list.items[k].count, chunk);
  const Scratch scratch(static_cast<size_t>(std::max<int64_t>(parts, 1)) * sizeof(double));
  double* to = scratch.data<double>();
  for_lists(l, [&]<int Items>(const ManyList<Items>& some) {
    start(l, &norm_parts<O, Items>, some.chunks, kThreads, 0, some, to);
    to += some.chunks;
  });
  start(l, &norm_of_parts<O>, 1, kThreads, 0, scratch.data<double>(), parts, l.buffer[0].data,
        l.buffer[0].dtype == DType::Float64);
}
void run_many_norm(const Launch& l) {
  const double order = l.more_numbers[0];
  if (order == 1) return norm_of_order<Order::One>(l);
  if (order == 2) return norm_of_order<Order::Two>(l);
  norm_of_order<Order::Infinity>(l);
}

// --- changes in place ----------------------------------------------------------------------------

struct Change {
  KernelId kernel;
  const void* norm;  // of ManyClip
  DType norm_dtype;
  double low, high;    // ManyClip: low is the greatest norm
  const float* scale;  // of ManyUnscale
  float* found_inf;
};

template <int Items>
__global__ void __launch_bounds__(kThreads)
    change(const __grid_constant__ ManyList<Items> l, const __grid_constant__ Change c) {
  const Part part = part_of(l);
  if (c.kernel == id(Kernel::ManyLimit)) {
    for_part<true>(part, [&](auto x) {
      using T = decltype(x);
      const T low = static_cast<T>(c.low), high = static_cast<T>(c.high);
      x = x < low ? low : x;
      return x > high ? high : x;
    });
    return;
  }
  const bool unscales = c.kernel == id(Kernel::ManyUnscale);
  const double factor =
      unscales ? static_cast<double>(static_cast<float>(1 / static_cast<double>(*c.scale)))
               : clip_factor(c.norm, c.norm_dtype, c.low);
  if (!unscales && factor == 1) return;  // a product with 1 changes no bit
  bool finite = true;
  for_part<true>(part, [&](auto x) {
    using T = decltype(x);
    finite &= x - x == T(0);
    return x * static_cast<T>(factor);
  });
  if (unscales && !finite) *c.found_inf = 1;  // whoever finds one writes the same
}

void run_change(const Launch& l) {
  Change c{l.kernel,          nullptr, DType::Float32, l.more_numbers[0],
           l.more_numbers[1], nullptr, nullptr};
  if (l.kernel == id(Kernel::ManyClip)) {
    c.norm = l.buffer[0].data;
    c.norm_dtype = l.buffer[0].dtype;
  } else if (l.kernel == id(Kernel::ManyUnscale)) {
    c.found_inf = static_cast<float*>(l.buffer[0].data);
    c.scale = static_cast<const float*>(l.buffer[1].data);
  }
  for_lists(l, [&]<int Items>(const ManyList<Items>& some) {
    start(l, &change<Items>, some.chunks, kThreads, 0, some, c);
  });
}

struct ScaleArgs {
  float* scale;
  int32_t* steps;
  const float* found_inf;
  double growth, backoff, interval;
};
__global__ void update_scale(const __grid_constant__ ScaleArgs a) {
  const bool found = *a.found_inf != 0;
  if (!found && static_cast<double>(++*a.steps) != a.interval) return;
  const auto next = static_cast<float>(*a.scale * (found ? a.backoff : a.growth));
  if (found || next - next == 0.0f) *a.scale = next;
  *a.steps = 0;
}
void run_update_scale(const Launch& l) {
  const ScaleArgs a{static_cast<float*>(l.buffer[0].data),
                    static_cast<int32_t*>(l.buffer[1].data),
                    static_cast<const float*>(l.buffer[2].data),
                    l.more_numbers[0],
                    l.more_numbers[1],
                    l.more_numbers[2]};
  start(l, &update_scale, 1, 1, 0, a);
}

// --- bytes ---------------------------------------------------------------------------------------

struct BytesArgs {
  uint8_t* codes;
  float *peaks, *x;
  int64_t count;
  bool with_signs, back, aligned;
};
// A warp a block.
__global__ void __launch_bounds__(kThreads) bytes(const __grid_constant__ BytesArgs a) {
  constexpr int N = static_cast<int>(kStateBlock) / kWarp;
  const ByteMap map{a.with_signs};
  const int64_t blocks = (a.count + kStateBlock - 1) / kStateBlock;
  const int lane = static_cast<int>(threadIdx.x) % kWarp;
  int64_t block = (static_cast<int64_t>(blockIdx.x) * kThreads + threadIdx.x) / kWarp;
  for (; block < blocks; block += static_cast<int64_t>(gridDim.x) * kThreads / kWarp) {
    const int64_t begin = block * kStateBlock, left = a.count - begin;
    const int n = static_cast<int>(left < kStateBlock ? left : kStateBlock);
    const Place at{begin, lane, n, n == kStateBlock && a.aligned};
    if (a.back) {
      Fetched<uint8_t, N> codes;
      fetch(a.codes, at, codes);
      const float scale = map.scale(a.peaks[block]);
      float x[N];
#pragma unroll
      for (int k = 0; k < N; ++k) x[k] = map.decode(codes[k], scale);
      write_part<float>(a.x, at, x);
    } else {
      Fetched<float, N> from;
      fetch(a.x, at, from);
      float x[N];
#pragma unroll
      for (int k = 0; k < N; ++k) x[k] = from[k];
      const float peak = peak_of(x), inverse = map.inverse(peak);
      uint8_t codes[N];
#pragma unroll
      for (int k = 0; k < N; ++k) codes[k] = map.encode(x[k], inverse, ByteMap::kStep / 2);
      write_part<uint8_t>(a.codes, at, codes);
      if (lane == 0) a.peaks[block] = peak;
    }
  }
}
void run_bytes(const Launch& l) {
  const bool back = l.kernel == id(Kernel::Dequantize);
  const auto buffer = [&](int k) { return l.buffer[k].data; };
  BytesArgs a{};
  a.codes = static_cast<uint8_t*>(buffer(back ? 1 : 0));
  a.peaks = static_cast<float*>(buffer(back ? 2 : 1));
  a.x = static_cast<float*>(buffer(back ? 0 : 2));
  a.count = l.count;
  a.with_signs = l.integer[0] != 0;
  a.back = back;
  a.aligned = is_aligned(a.codes, 4) && is_aligned(a.x, 16);
  start(l, &bytes, grid_for(ceil_div(l.count, kStateBlock) * kWarp, kThreads), kThreads, 0, a);
}

}  // namespace

void fill_many(KernelTable& t) {
  t.at(id(Kernel::ManyNorm), DType::Float64) = &run_many_norm;
  for (const Kernel k : {Kernel::ManyClip, Kernel::ManyLimit, Kernel::ManyUnscale}) {
    t.at(id(k), DType::Float64) = &run_change;
  }
  t.at(id(Kernel::UpdateScale), DType::Float32) = &run_update_scale;
  t.at(id(Kernel::Quantize), DType::Float32) = &run_bytes;
  t.at(id(Kernel::Dequantize), DType::Float32) = &run_bytes;
}

}  // namespace wengert::cuda
