// The first k of long rows, or the one of a rank. The last key wanted is found digit by digit from
// the highest, by counting those digits that follow what is known of it; then, in the order of
// their places, what comes before it is taken, and as many of those equal to it as are wanted.
#include "kernels/cuda/select.h"

#include <algorithm>

#include "kernels/cuda/keys.h"
#include "kernels/cuda/radix_sort.h"
#include "kernels/cuda/warp.h"
#include "kernels/kernels.h"

namespace wengert::cuda {
namespace {

constexpr int kThreads = 256, kWarps = kThreads / kWarp;
constexpr int kDigit = 8, kBuckets = 1 << kDigit;
static_assert(kBuckets == kThreads);
constexpr int kSteps = 16;  // of a warp
constexpr int kTile = kThreads * kSteps;

template <class T>
struct SelectArgs {
  using Key = KeyOf<T>;
  const T* x;
  T* values;
  int64_t* places;
  int64_t rows, n, tiles;
  Wanted wanted;
  int shift;
  Key* last;         // of each row: the digits known of the last key wanted
  unsigned* rank;    // its rank among keys of those digits
  unsigned* digits;  // [row][digit]: how many there are
  uint2* before;     // [row][tile]: below the last key, and equal to it; then in the tiles before
  Key* found;        // [row][taken], in the order of places
  unsigned* found_at;
};

// Into the ranks, which are 0.
template <class T>
__global__ void __launch_bounds__(kThreads) count_nan(const __grid_constant__ SelectArgs<T> a) {
  const int64_t row = blockIdx.x / a.tiles, first = blockIdx.x % a.tiles * kTile;
  unsigned found = 0;
  for (int j = 0; j < kSteps; ++j) {
    const int64_t i = first + j * kThreads + threadIdx.x;
    const T v = i < a.n ? a.x[row * a.n + i] : T(0);
    found += v != v;
  }
  found = __reduce_add_sync(kAllLanes, found);
  if (lane_id() == 0 && found) atomicAdd(a.rank + row, found);
}

template <class T>
__global__ void __launch_bounds__(kThreads) begin(const __grid_constant__ SelectArgs<T> a) {
  const int64_t row = static_cast<int64_t>(blockIdx.x) * kThreads + threadIdx.x;
  if (row >= a.rows) return;
  const Which which = a.wanted.which;
  int64_t rank = which == Which::First ? a.wanted.taken - 1 : a.wanted.rank;
  if (which == Which::Median || which == Which::NanMedian) {
    rank = median_rank(which, a.n, a.n - a.rank[row]);
  }
  a.rank[row] = static_cast<unsigned>(rank);
  a.last[row] = 0;
}

template <class T>
__global__ void __launch_bounds__(kThreads) count_digits(const __grid_constant__ SelectArgs<T> a) {
  using Key = KeyOf<T>;
  __shared__ unsigned count[kBuckets];
  const int me = static_cast<int>(threadIdx.x);
  const int64_t row = blockIdx.x / a.tiles, first = blockIdx.x % a.tiles * kTile;
  count[me] = 0;
  __syncthreads();
  const Key known = a.last[row];
  const bool all = a.shift + kDigit == static_cast<int>(sizeof(Key)) * 8;
#pragma unroll 4
  for (int j = 0; j < kSteps; ++j) {
    const int64_t i = first + j * kThreads + me;
    if (i >= a.n) break;
    const Key key = key_of(a.x[row * a.n + i], a.wanted.descending);
    if (all || ((key ^ known) >> (a.shift + kDigit)) == 0) {
      atomicAdd(&count[static_cast<int>(key >> a.shift & (kBuckets - 1))], 1u);
    }
  }
  __syncthreads();
  if (count[me]) atomicAdd(a.digits + row * kBuckets + me, count[me]);
}

// A block to a row, a thread to a digit.
template <class T>
__global__ void __launch_bounds__(kThreads) choose_digit(const __grid_constant__ SelectArgs<T> a) {
  __shared__ unsigned of_warps[kWarps];
  const int64_t row = blockIdx.x;
  unsigned* mine = a.digits + row * kBuckets + threadIdx.x;
  const unsigned have = *mine, rank = a.rank[row];
  *mine = 0;  // for the next digit
  unsigned all;
  const unsigned before = block_sum_before(have, of_warps, all);
  __syncthreads();  // all have read the rank
  if (before <= rank && rank < before + have) {
    a.last[row] |= static_cast<KeyOf<T>>(threadIdx.x) << a.shift;
    a.rank[row] = rank - before;
  }
}

// A warp takes what lies side by side, 32 elements at a step.
template <class T, class Each>
WENGERT_DEVICE void each_step(const SelectArgs<T>& a, int64_t row, int64_t first, Each each) {
  const KeyOf<T> last = a.last[row];
  for (int j = 0; j < kSteps; ++j) {
    const int64_t i = first + warp_id() * kWarp * kSteps + j * kWarp + lane_id();
    const bool there = i < a.n;
    const KeyOf<T> key = there ? key_of(a.x[row * a.n + i], a.wanted.descending) : KeyOf<T>(0);
    each(i, key, there && key < last, there && key == last);
  }
}

template <class T>
__global__ void __launch_bounds__(kThreads) count_taken(const __grid_constant__ SelectArgs<T> a) {
  __shared__ unsigned below_of_warps[kWarps], equal_of_warps[kWarps];
  const int64_t row = blockIdx.x / a.tiles, tile = blockIdx.x % a.tiles;
  unsigned below = 0, equal = 0;
  each_step(a, row, tile * kTile, [&](int64_t, KeyOf<T>, bool is_below, bool is_equal) {
    below += is_below;
    equal += is_equal;
  });
  uint2 all;
  block_sum_before(below, below_of_warps, all.x);
  block_sum_before(equal, equal_of_warps, all.y);
  if (threadIdx.x == 0) a.before[blockIdx.x] = all;
}

// A warp to a row.
template <class T>
__global__ void __launch_bounds__(kThreads) add_counts(const __grid_constant__ SelectArgs<T> a) {
  const int64_t row = static_cast<int64_t>(blockIdx.x) * kWarps + warp_id();
  if (row >= a.rows) return;
  uint2* of_row = a.before + row * a.tiles;
  uint2 so_far{0, 0};
  for (int64_t from = 0; from < a.tiles; from += kWarp) {
    const int64_t i = from + lane_id();
    const uint2 mine = i < a.tiles ? of_row[i] : uint2{0, 0};
    const unsigned below = warp_sum_to_here(mine.x), equal = warp_sum_to_here(mine.y);
    if (i < a.tiles) of_row[i] = {so_far.x + below - mine.x, so_far.y + equal - mine.y};
    so_far.x += __shfl_sync(kAllLanes, below, kWarp - 1);
    so_far.y += __shfl_sync(kAllLanes, equal, kWarp - 1);
  }
}

template <class T>
__global__ void __launch_bounds__(kThreads) take(const __grid_constant__ SelectArgs<T> a) {
  __shared__ unsigned below_of_warps[kWarps], equal_of_warps[kWarps];
  const int64_t row = blockIdx.x / a.tiles, tile = blockIdx.x % a.tiles;
  unsigned below = 0, equal = 0, unused;
  each_step(a, row, tile * kTile, [&](int64_t, KeyOf<T>, bool is_below, bool is_equal) {
    below += is_below;
    equal += is_equal;
  });
  // What is before the warp's first lane is before the warp.
  const uint2 before = a.before[blockIdx.x];
  below = before.x + block_sum_before(below, below_of_warps, unused);
  equal = before.y + block_sum_before(equal, equal_of_warps, unused);
  below = __shfl_sync(kAllLanes, below, 0);
  equal = __shfl_sync(kAllLanes, equal, 0);
  const unsigned rank = a.rank[row], lower = (1u << lane_id()) - 1;
  const bool one = a.wanted.which != Which::First;
  each_step(a, row, tile * kTile, [&](int64_t i, KeyOf<T> key, bool is_below, bool is_equal) {
    const unsigned belows = __ballot_sync(kAllLanes, is_below);
    const unsigned equals = __ballot_sync(kAllLanes, is_equal);
    const unsigned b = below + static_cast<unsigned>(__popc(belows & lower));
    const unsigned e = equal + static_cast<unsigned>(__popc(equals & lower));
    below += static_cast<unsigned>(__popc(belows));
    equal += static_cast<unsigned>(__popc(equals));
    if (one) {
      if (is_equal && e == rank) {
        a.places[row] = i;
        a.values[row] = a.x[row * a.n + i];
      }
    } else if (is_below || (is_equal && e <= rank)) {
      const int64_t to = row * a.wanted.taken + b + (e <= rank ? e : rank + 1);
      a.found[to] = key;
      a.found_at[to] = static_cast<unsigned>(i);
    }
  });
}

struct EndArgs {
  const unsigned *order, *found_at;
  int64_t count, taken, n;
  int64_t* places;
};
template <class T>
__global__ void __launch_bounds__(kThreads)
    put_in_order(const __grid_constant__ EndArgs a, const T* x, T* values) {
  const int64_t step = static_cast<int64_t>(gridDim.x) * kThreads;
  for (int64_t u = static_cast<int64_t>(blockIdx.x) * kThreads + threadIdx.x; u < a.count;
       u += step) {
    const int64_t row = u / a.taken;
    const int64_t place = a.found_at[row * a.taken + a.order[u]];
    a.places[u] = place;
    values[u] = x[row * a.n + place];
  }
}

}  // namespace

template <class T>
void select_rows(const Launch& l, const Wanted& w) {
  using Key = KeyOf<T>;
  const int64_t rows = l.size[0], n = l.size[1], tiles = ceil_div(n, kTile);
  const bool one = w.which != Which::First;
  const SortScratch<Key, uint32_t> sorting(one ? 0 : rows, w.taken);
  const auto count = static_cast<size_t>(rows);
  const Scratch memory(count * (sizeof(Key) + sizeof(uint2) * static_cast<size_t>(tiles) +
                                sizeof(unsigned) * (kBuckets + 1)) +
                       (one ? 0 : count * static_cast<size_t>(w.taken) * sizeof(unsigned)));
  SelectArgs<T> a{};
  a.x = static_cast<const T*>(l.buffer[2].data);
  a.values = static_cast<T*>(l.buffer[0].data);
  a.places = static_cast<int64_t*>(l.buffer[1].data);
  a.rows = rows;
  a.n = n;
  a.tiles = tiles;
  a.wanted = w;
  a.before = memory.data<uint2>();
  a.last = reinterpret_cast<Key*>(a.before + rows * tiles);
  a.rank = reinterpret_cast<unsigned*>(a.last + rows);
  a.digits = a.rank + rows;
  a.found = sorting.buffers().key[0];
  a.found_at = a.digits + rows * kBuckets;
  const auto blocks = static_cast<unsigned>(rows * tiles);
  const auto row_blocks = static_cast<unsigned>(ceil_div(rows, kThreads));
  check(cudaMemsetAsync(a.rank, 0, count * (kBuckets + 1) * sizeof(unsigned), stream()), "select");
  if (std::is_floating_point_v<T> && (w.which == Which::Median || w.which == Which::NanMedian)) {
    start(l, &count_nan<T>, blocks, kThreads, 0, a);
  }
  start(l, &begin<T>, row_blocks, kThreads, 0, a);
  for (a.shift = static_cast<int>(sizeof(Key)) * 8 - kDigit; a.shift >= 0; a.shift -= kDigit) {
    start(l, &count_digits<T>, blocks, kThreads, 0, a);
    start(l, &choose_digit<T>, static_cast<unsigned>(rows), kThreads, 0, a);
  }
  start(l, &count_taken<T>, blocks, kThreads, 0, a);
  start(l, &add_counts<T>, static_cast<unsigned>(ceil_div(rows, kWarps)), kThreads, 0, a);
  start(l, &take<T>, blocks, kThreads, 0, a);
  if (one) return;
  // Equal keys stand in the order of their places already.
  const int in = sort_keys(l, sorting.buffers(), rows, w.taken, sizeof(Key) * 8);
  const EndArgs e{sorting.buffers().place[in], a.found_at, rows * w.taken, w.taken, n, a.places};
  start(l, &put_in_order<T>, grid_for(e.count, kThreads), kThreads, 0, e, a.x, a.values);
}

template void select_rows<float>(const Launch&, const Wanted&);
template void select_rows<double>(const Launch&, const Wanted&);
template void select_rows<int64_t>(const Launch&, const Wanted&);

}  // namespace wengert::cuda
