// Offsets from indices, where elements are not zero, membership in a set, and counts.
#include <algorithm>
#include <limits>

#include "kernels/cuda/keys.h"
#include "kernels/cuda/operand.h"
#include "kernels/cuda/radix_sort.h"
#include "kernels/cuda/slots.h"
#include "kernels/cuda/warp.h"
#include "kernels/kernels.h"

namespace wengert::cuda {
namespace {

constexpr int kThreads = 256, kWarps = kThreads / kWarp;

// --- offsets -----------------------------------------------------------------------------------

struct OffsetArgs {
  Space space;
  Operand to, index;
  int64_t size, stride;
  bool adds;
  long long* bounds;
};

__global__ void no_bounds(long long* bounds) {
  bounds[0] = std::numeric_limits<long long>::max();
  bounds[1] = std::numeric_limits<long long>::min();
}

template <class T>
__global__ void __launch_bounds__(kThreads) make_offsets(const __grid_constant__ OffsetArgs a) {
  long long least = std::numeric_limits<long long>::max();
  long long greatest = std::numeric_limits<long long>::min();
  const int64_t step = static_cast<int64_t>(gridDim.x) * kThreads;
  for (int64_t i = static_cast<int64_t>(blockIdx.x) * kThreads + threadIdx.x; i < a.space.count;
       i += step) {
    const long long v = reinterpret_cast<const T*>(a.index.data)[place_in(a.index, a.space, i)];
    least = v < least ? v : least;
    greatest = v > greatest ? v : greatest;
    // Who looks at the bounds may do so later: until then an index beyond them counts as the first.
    const int64_t from_first = v < 0 ? v + a.size : v;
    const int64_t offset = from_first >= 0 && from_first < a.size ? from_first * a.stride : 0;
    int64_t* to = reinterpret_cast<int64_t*>(a.to.data) + place_in(a.to, a.space, i);
    *to = a.adds ? *to + offset : offset;
  }
#pragma unroll
  for (int lanes = kWarp / 2; lanes > 0; lanes /= 2) {
    const long long low = __shfl_xor_sync(kAllLanes, least, lanes);
    const long long high = __shfl_xor_sync(kAllLanes, greatest, lanes);
    least = low < least ? low : least;
    greatest = high > greatest ? high : greatest;
  }
  if (lane_id() == 0 && least <= greatest) {
    atomicMin(a.bounds, least);
    atomicMax(a.bounds + 1, greatest);
  }
}

void run_index_offsets(const Launch& l) {
  if (l.count == 0) return;
  const OffsetArgs a{Space(l),
                     operand_of(l, 0, 1, DType::Int64),
                     operand_of(l, 2, 1, l.dtype),
                     l.integer[0],
                     l.integer[1],
                     l.integer[2] != 0,
                     static_cast<long long*>(l.buffer[1].data)};
  start(l, &no_bounds, 1, 1, 0, a.bounds);
  start(l, l.dtype == DType::Int32 ? &make_offsets<int32_t> : &make_offsets<int64_t>,
        grid_for(l.count, kThreads, 8), kThreads, 0, a);
}

// --- where it is not zero ----------------------------------------------------------------------

struct NonzeroArgs {
  Space space;
  const void* x;
  bool floating;    // the sign of a zero does not count
  int64_t* before;  // of each block, and of all
  int64_t* out;
};

constexpr int kWarpShare = kNonzeroBlock / kWarps;  // elements of a block that a warp takes
constexpr int kWarpSteps = kWarpShare / kWarp;
static_assert(kWarpSteps == kWarp);  // lane j keeps which are not zero at step j

// U: an unsigned integer of the element's size.
template <class U>
WENGERT_DEVICE unsigned nonzero_of_steps(const NonzeroArgs& a, int64_t first) {
  unsigned mine = 0;
#pragma unroll 8
  for (int step = 0; step < kWarpSteps; ++step) {
    const int64_t i = first + step * kWarp + lane_id();
    U v = i < a.space.count ? static_cast<const U*>(a.x)[i] : U(0);
    if (a.floating) v = static_cast<U>(v << 1);
    const unsigned found = __ballot_sync(kAllLanes, v != 0);
    if (lane_id() == step) mine = found;
  }
  return mine;
}

template <class U>
__global__ void __launch_bounds__(kThreads) count_nonzero(const __grid_constant__ NonzeroArgs a) {
  __shared__ int of_warps[kWarps];
  const int64_t first = blockIdx.x * kNonzeroBlock + warp_id() * kWarpShare;
  int all;
  block_sum_before(__popc(nonzero_of_steps<U>(a, first)), of_warps, all);
  if (threadIdx.x == 0) a.before[blockIdx.x + 1] = all;
}

constexpr int kSumThreads = 1024;
__global__ void __launch_bounds__(kSumThreads) sum_up(int64_t* before, int64_t blocks) {
  __shared__ int64_t of_warps[kSumThreads / kWarp];
  int64_t so_far = 0;
  for (int64_t from = 0; from < blocks; from += kSumThreads) {
    const int64_t i = from + threadIdx.x;
    const int64_t v = i < blocks ? before[i + 1] : 0;
    int64_t all;
    const int64_t here = block_sum_before(v, of_warps, all) + v;
    if (i < blocks) before[i + 1] = so_far + here;
    so_far += all;
    __syncthreads();
  }
  if (threadIdx.x == 0) before[0] = 0;
}

template <class U>
__global__ void __launch_bounds__(kThreads) find_nonzero(const __grid_constant__ NonzeroArgs a) {
  __shared__ int of_warps[kWarps];
  const int64_t first = blockIdx.x * kNonzeroBlock + warp_id() * kWarpShare;
  const unsigned mine = nonzero_of_steps<U>(a, first);
  int all;
  const int before = block_sum_before(__popc(mine), of_warps, all);
  const int dims = a.space.ndim;
  for (int step = 0; step < kWarpSteps; ++step) {
    const unsigned found = __shfl_sync(kAllLanes, mine, step);
    const int at = __shfl_sync(kAllLanes, before, step);
    if (!(found >> lane_id() & 1)) continue;
    const int here = at + __popc(found & ((1u << lane_id()) - 1));
    int64_t* out = a.out + (a.before[blockIdx.x] + here) * dims;
    int64_t place = first + step * kWarp + lane_id();
    for (int d = dims - 1; d > 0; --d) {
      const int64_t rest = a.space.wide ? place / a.space.size[d]
                                        : a.space.divider[d].quotient(static_cast<uint32_t>(place));
      out[d] = place - rest * a.space.size[d];
      place = rest;
    }
    if (dims > 0) out[0] = place;
  }
}

NonzeroArgs nonzero_args(const Launch& l) {
  return {Space(l), l.buffer[1].data, is_floating(l.dtype), nullptr, nullptr};
}
unsigned nonzero_blocks(const Launch& l) {
  return static_cast<unsigned>(ceil_div(l.count, kNonzeroBlock));
}

void run_nonzero_count(const Launch& l) {
  NonzeroArgs a = nonzero_args(l);
  a.before = static_cast<int64_t*>(l.buffer[0].data);
  visit_item(item_size(l.dtype),
             [&]<class U>(U) { start(l, &count_nonzero<U>, nonzero_blocks(l), kThreads, 0, a); });
  start(l, &sum_up, 1, kSumThreads, 0, a.before, int64_t{nonzero_blocks(l)});
}

void run_nonzero(const Launch& l) {
  NonzeroArgs a = nonzero_args(l);
  a.out = static_cast<int64_t*>(l.buffer[0].data);
  a.before = static_cast<int64_t*>(l.buffer[2].data);
  visit_item(item_size(l.dtype),
             [&]<class U>(U) { start(l, &find_nonzero<U>, nonzero_blocks(l), kThreads, 0, a); });
}

// --- membership --------------------------------------------------------------------------------

template <class T>
struct IsinArgs {
  const T *x, *set;
  KeyOf<T>* among;  // the set's keys, in the end sorted
  int64_t count, members;
  Bool8* out;
  bool invert;
};

template <class T>
__global__ void __launch_bounds__(kThreads) keys_of_set(const __grid_constant__ IsinArgs<T> a) {
  const int64_t step = static_cast<int64_t>(gridDim.x) * kThreads;
  for (int64_t i = static_cast<int64_t>(blockIdx.x) * kThreads + threadIdx.x; i < a.members;
       i += step) {
    a.among[i] = key_of(a.set[i], false);
  }
}

template <class T>
__global__ void __launch_bounds__(kThreads) look_up(const __grid_constant__ IsinArgs<T> a) {
  const int64_t step = static_cast<int64_t>(gridDim.x) * kThreads;
  for (int64_t i = static_cast<int64_t>(blockIdx.x) * kThreads + threadIdx.x; i < a.count;
       i += step) {
    const T v = a.x[i];
    const KeyOf<T> key = key_of(v, false);
    int64_t low = 0, high = a.members;
    while (low < high) {
      const int64_t middle = low + (high - low) / 2;
      a.among[middle] < key ? low = middle + 1 : high = middle;
    }
    // NaN equals nothing
    const bool found = v == v && low < a.members && a.among[low] == key;
    a.out[i] = Bool8(found != a.invert);
  }
}

template <class T, class Place>
void isin(const Launch& l) {
  using Key = std::conditional_t<sizeof(Place) == 8, uint64_t, KeyOf<T>>;
  static_assert(sizeof(Key) == sizeof(KeyOf<T>));
  const int64_t n = l.integer[0];
  const SortScratch<Key, Place> sorting(1, n);
  IsinArgs<T> a{static_cast<const T*>(l.buffer[1].data),
                static_cast<const T*>(l.buffer[2].data),
                sorting.buffers().key[0],
                l.count,
                n,
                static_cast<Bool8*>(l.buffer[0].data),
                l.integer[1] != 0};
  start(l, &keys_of_set<T>, grid_for(n, kThreads), kThreads, 0, a);
  a.among = sorting.buffers().key[sort_keys(l, sorting.buffers(), 1, n, sizeof(T) * 8)];
  start(l, &look_up<T>, grid_for(l.count, kThreads), kThreads, 0, a);
}

template <class T>
void run_isin(const Launch& l) {
  if (l.count == 0) return;
  if constexpr (sizeof(T) == 8) {
    if (l.integer[0] >= int64_t{1} << 32) return isin<T, uint64_t>(l);
  }
  isin<T, uint32_t>(l);
}

// --- counts ------------------------------------------------------------------------------------

struct CountArgs {
  const int64_t* place;
  unsigned long long* out;
  int64_t count, bins;
};

constexpr int64_t kMostBins = 8192;  // that are counted in shared memory first

__global__ void __launch_bounds__(kThreads) count_few(const __grid_constant__ CountArgs a) {
  unsigned* bin = dynamic_shared<unsigned>();
  const int me = static_cast<int>(threadIdx.x), bins = static_cast<int>(a.bins);
  for (int b = me; b < bins; b += kThreads) bin[b] = 0;
  __syncthreads();
  const int64_t step = static_cast<int64_t>(gridDim.x) * kThreads;
  for (int64_t i = static_cast<int64_t>(blockIdx.x) * kThreads + me; i < a.count; i += step) {
    const int64_t place = a.place[i];
    if (place >= 0 && place < a.bins) atomicAdd(bin + place, 1u);
  }
  __syncthreads();
  for (int b = me; b < bins; b += kThreads) {
    if (bin[b]) atomicAdd(a.out + b, static_cast<unsigned long long>(bin[b]));
  }
}
__global__ void __launch_bounds__(kThreads) count_many(const __grid_constant__ CountArgs a) {
  const int64_t step = static_cast<int64_t>(gridDim.x) * kThreads;
  for (int64_t i = static_cast<int64_t>(blockIdx.x) * kThreads + threadIdx.x; i < a.count;
       i += step) {
    const int64_t place = a.place[i];
    if (place >= 0 && place < a.bins) atomicAdd(a.out + place, 1ull);
  }
}

void run_bincount(const Launch& l) {
  const CountArgs a{static_cast<const int64_t*>(l.buffer[1].data),
                    static_cast<unsigned long long*>(l.buffer[0].data), l.count, l.size[1]};
  // A block's own table must pay for being added up.
  if (a.bins <= kMostBins && a.count >= 4 * a.bins) {
    const int64_t each = std::max<int64_t>(4 * kThreads, 4 * a.bins);
    start(l, &count_few, grid_for(a.count, each, 4), kThreads,
          static_cast<size_t>(a.bins) * sizeof(unsigned), a);
  } else {
    start(l, &count_many, grid_for(a.count, kThreads), kThreads, 0, a);
  }
}

}  // namespace

void fill_index(KernelTable& t) {
  for (int d = 0; d < kNumDTypes; ++d) {
    t.slot[id(Kernel::NonzeroCount)][d] = &run_nonzero_count;
    t.slot[id(Kernel::Nonzero)][d] = &run_nonzero;
  }
  t.at(id(Kernel::IndexOffsets), DType::Int32) = &run_index_offsets;
  t.at(id(Kernel::IndexOffsets), DType::Int64) = &run_index_offsets;
  t.at(id(Kernel::Isin), DType::Int32) = &run_isin<int32_t>;
  t.at(id(Kernel::Isin), DType::Int64) = &run_isin<int64_t>;
  t.at(id(Kernel::Isin), DType::Float32) = &run_isin<float>;
  t.at(id(Kernel::Isin), DType::Float64) = &run_isin<double>;
  t.at(id(Kernel::Bincount), DType::Int64) = &run_bincount;
}

}  // namespace wengert::cuda
