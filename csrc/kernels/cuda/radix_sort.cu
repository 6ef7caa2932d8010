// Short rows: a bitonic network in shared memory. Longer ones: radix sort from the lowest digit up,
// where a pass counts the digits of each tile, adds the counts up, and moves each tile's elements
// in the order of their digits (Merrill, Grimshaw, High performance and scalable radix sorting,
// 2011). Tiles belong to one row each, so many rows are sorted side by side.
#include "kernels/cuda/radix_sort.h"

#include <algorithm>

#include "kernels/cuda/warp.h"

namespace wengert::cuda {
namespace {

constexpr int kThreads = 256, kWarps = kThreads / kWarp;
constexpr int kDigit = 8, kBuckets = 1 << kDigit;
static_assert(kBuckets == kThreads);  // a thread stands for a digit, too

template <class Key>
inline constexpr int kItems = 64 / sizeof(Key);  // of a thread
template <class Key>
inline constexpr int kTile = kThreads * kItems<Key>;

// --- short rows --------------------------------------------------------------------------------

constexpr int kNetwork = 512;  // elements to a block, at the least

template <class Key, class Place>
struct ShortArgs {
  Key* key;
  Place* place;
  int64_t rows, n;
  int width;      // n or more: a power of two
  int rows_here;  // of a block
  Key mask;       // of the bits that count
};

template <class Key, class Place>
__global__ void __launch_bounds__(1024)
    sort_short(const __grid_constant__ ShortArgs<Key, Place> a) {
  Key* key = dynamic_shared<Key>();
  const int count = a.width * a.rows_here, threads = static_cast<int>(blockDim.x);
  auto* place = reinterpret_cast<uint32_t*>(key + count);
  const int64_t first = static_cast<int64_t>(blockIdx.x) * a.rows_here;
  const int me = static_cast<int>(threadIdx.x);
  for (int i = me; i < count; i += threads) {
    const int64_t row = first + i / a.width;
    const int column = i % a.width;
    // What fills a row up goes behind all of it, as its places are above.
    key[i] = row < a.rows && column < a.n ? a.key[row * a.n + column] : ~Key(0);
    place[i] = static_cast<uint32_t>(column);
  }
  for (int size = 2; size <= a.width; size *= 2) {
    for (int apart = size / 2; apart > 0; apart /= 2) {
      __syncthreads();
      const int i = 2 * me - (me & (apart - 1)), j = i + apart;
      const bool up = (i & (a.width - 1) & size) == 0;
      const Key ki = key[i], kj = key[j];
      const uint32_t pi = place[i], pj = place[j];
      const Key ci = ki & a.mask, cj = kj & a.mask;
      const bool after = ci != cj ? ci > cj : pi > pj;
      if (after == up) {
        key[i] = kj;
        key[j] = ki;
        place[i] = pj;
        place[j] = pi;
      }
    }
  }
  __syncthreads();
  for (int i = me; i < count; i += threads) {
    const int64_t row = first + i / a.width;
    const int column = i % a.width;
    if (row < a.rows && column < a.n) {
      a.key[row * a.n + column] = key[i];
      a.place[row * a.n + column] = static_cast<Place>(place[i]);
    }
  }
}

template <class Key, class Place>
void run_short(const Launch& l, const SortBuffers<Key, Place>& b, int64_t rows, int64_t n,
               int bits) {
  ShortArgs<Key, Place> a{b.key[0], b.place[0], rows, n, 2, 1, 0};
  while (a.width < n) a.width *= 2;
  a.rows_here = std::max(1, kNetwork / a.width);
  a.mask = static_cast<Key>(~Key(0)) >> (static_cast<int>(sizeof(Key)) * 8 - bits);
  const int count = a.width * a.rows_here;
  start(l, &sort_short<Key, Place>, static_cast<unsigned>(ceil_div(rows, a.rows_here)), count / 2,
        static_cast<size_t>(count) * (sizeof(Key) + sizeof(uint32_t)), a);
}

// --- long rows ---------------------------------------------------------------------------------

template <class Key, class Place>
struct PassArgs {
  const Key* key;
  const Place* place;  // null in the first pass: places are as yet in order
  Key* key_to;
  Place* place_to;
  Place* before;  // [row][digit][tile]: counts, then how many of the digit are in tiles before
  Place* totals;  // [row][digit]
  int64_t n, tiles, rows;
  int shift;
};

template <class Key>
WENGERT_DEVICE int digit_of(Key key, int shift) {
  return static_cast<int>(key >> shift & (kBuckets - 1));
}

template <class Key, class Place>
__global__ void __launch_bounds__(kThreads)
    count_digits(const __grid_constant__ PassArgs<Key, Place> a) {
  __shared__ unsigned count[kBuckets];
  const int me = static_cast<int>(threadIdx.x);
  const int64_t row = blockIdx.x / a.tiles, tile = blockIdx.x % a.tiles;
  const int64_t first = tile * kTile<Key>;
  const Key* from = a.key + row * a.n + first;
  count[me] = 0;
  __syncthreads();
#pragma unroll
  for (int j = 0; j < kItems<Key>; ++j) {
    const int i = j * kThreads + me;
    if (first + i < a.n) atomicAdd(&count[digit_of(from[i], a.shift)], 1u);
  }
  __syncthreads();
  a.before[(row * kBuckets + me) * a.tiles + tile] = count[me];
}

// A warp to the tiles of a row's digit.
template <class Key, class Place>
__global__ void __launch_bounds__(kThreads)
    add_counts(const __grid_constant__ PassArgs<Key, Place> a) {
  constexpr int kEach = 8;
  const int64_t which = static_cast<int64_t>(blockIdx.x) * kWarps + warp_id();
  if (which >= a.rows * kBuckets) return;
  Place* count = a.before + which * a.tiles;
  Place before = 0;
  for (int64_t from = 0; from < a.tiles; from += kWarp * kEach) {
    const int64_t mine = from + lane_id() * kEach;
    Place c[kEach], sum = 0;
#pragma unroll
    for (int j = 0; j < kEach; ++j) {
      c[j] = mine + j < a.tiles ? count[mine + j] : 0;
      sum += c[j];
    }
    const Place here = warp_sum_to_here(sum);
    Place at = before + here - sum;
#pragma unroll
    for (int j = 0; j < kEach; ++j) {
      if (mine + j < a.tiles) count[mine + j] = at;
      at += c[j];
    }
    before += __shfl_sync(kAllLanes, here, kWarp - 1);
  }
  if (lane_id() == 0) a.totals[which] = before;
}

// Lanes that have this lane's digit, itself among them.
WENGERT_DEVICE unsigned lanes_alike(int digit, bool there) {
  unsigned alike = __ballot_sync(kAllLanes, there);
#pragma unroll
  for (int bit = 0; bit < kDigit; ++bit) {
    const bool set = digit >> bit & 1;
    const unsigned with = __ballot_sync(kAllLanes, set);
    alike &= set ? with : ~with;
  }
  return alike;
}

// Elements go to their places within the tile first, in shared memory, so that those of a digit
// leave for memory side by side.
template <class Key, class Place>
__global__ void __launch_bounds__(kThreads)
    move_digits(const __grid_constant__ PassArgs<Key, Place> a) {
  constexpr int N = kItems<Key>;
  constexpr size_t item = sizeof(Key) > sizeof(Place) ? sizeof(Key) : sizeof(Place);
  __shared__ __align__(16) unsigned char moved[kTile<Key> * item];
  __shared__ unsigned count[kWarps][kBuckets];  // then: those of the digit in warps before
  __shared__ unsigned start_of[kBuckets];       // of a digit in the tile
  __shared__ Place to[kBuckets];                // where in the row a digit's elements go
  __shared__ unsigned of_warps[kWarps];
  __shared__ Place totals_of_warps[kWarps];
  const int me = static_cast<int>(threadIdx.x), lane = lane_id(), warp = warp_id();
  const int64_t row = blockIdx.x / a.tiles, tile = blockIdx.x % a.tiles;
  const int64_t first = tile * kTile<Key>, row_at = row * a.n;
  const int here = static_cast<int>(a.n - first < kTile<Key> ? a.n - first : kTile<Key>);
  for (int i = me; i < kWarps * kBuckets; i += kThreads) (&count[0][0])[i] = 0;
  __syncthreads();
  // A warp takes what lies side by side, so that the order of lanes and items is that of places.
  Key key[N];
  unsigned rank[N];
  const int mine = warp * kWarp * N + lane;
#pragma unroll
  for (int j = 0; j < N; ++j) {
    const int i = mine + j * kWarp;
    key[j] = i < here ? a.key[row_at + first + i] : Key(0);
  }
#pragma unroll
  for (int j = 0; j < N; ++j) {
    const bool there = mine + j * kWarp < here;
    const int digit = digit_of(key[j], a.shift);
    const unsigned alike = lanes_alike(digit, there);
    const unsigned have = count[warp][digit];
    rank[j] = have + static_cast<unsigned>(__popc(alike & ((1u << lane) - 1)));
    __syncwarp();
    if (there && alike >> lane == 1) {  // the last of them
      count[warp][digit] = have + static_cast<unsigned>(__popc(alike));
    }
    __syncwarp();
  }
  __syncthreads();
  unsigned total = 0;
  for (int w = 0; w < kWarps; ++w) {
    const unsigned c = count[w][me];
    count[w][me] = total;
    total += c;
  }
  unsigned all;
  start_of[me] = block_sum_before(total, of_warps, all);
  Place row_all;
  const Place below = block_sum_before(a.totals[row * kBuckets + me], totals_of_warps, row_all);
  to[me] = below + a.before[(row * kBuckets + me) * a.tiles + tile];
  __syncthreads();
  auto* keys = reinterpret_cast<Key*>(moved);
  auto* places = reinterpret_cast<Place*>(moved);
#pragma unroll
  for (int j = 0; j < N; ++j) {
    const int digit = digit_of(key[j], a.shift);
    rank[j] += start_of[digit] + count[warp][digit];
    if (mine + j * kWarp < here) keys[rank[j]] = key[j];
  }
  __syncthreads();
  Place goes[N];
#pragma unroll
  for (int j = 0; j < N; ++j) {
    const int i = j * kThreads + me;
    if (i >= here) continue;
    const Key k = keys[i];
    const int digit = digit_of(k, a.shift);
    goes[j] = to[digit] + static_cast<Place>(static_cast<unsigned>(i) - start_of[digit]);
    a.key_to[row_at + static_cast<int64_t>(goes[j])] = k;
  }
  __syncthreads();
#pragma unroll
  for (int j = 0; j < N; ++j) {
    const int i = mine + j * kWarp;
    if (i >= here) continue;
    places[rank[j]] = a.place ? a.place[row_at + first + i] : static_cast<Place>(first + i);
  }
  __syncthreads();
#pragma unroll
  for (int j = 0; j < N; ++j) {
    const int i = j * kThreads + me;
    if (i < here) a.place_to[row_at + static_cast<int64_t>(goes[j])] = places[i];
  }
}

}  // namespace

template <class Key, class Place>
int sort_keys(const Launch& l, const SortBuffers<Key, Place>& b, int64_t rows, int64_t n,
              int bits) {
  if (rows == 0 || n == 0) return 0;
  bits = std::max(bits, 1);
  if (n <= kShortRow) {
    run_short(l, b, rows, n, bits);
    return 0;
  }
  const int64_t tiles = ceil_div(n, kTile<Key>);
  const Scratch counts(static_cast<size_t>(rows * kBuckets * (tiles + 1)) * sizeof(Place));
  PassArgs<Key, Place> a{};
  a.totals = counts.data<Place>();
  a.before = a.totals + rows * kBuckets;
  a.n = n;
  a.tiles = tiles;
  a.rows = rows;
  int in = 0;
  for (a.shift = 0; a.shift < bits; a.shift += kDigit, in = 1 - in) {
    a.key = b.key[in];
    a.place = a.shift ? b.place[in] : nullptr;
    a.key_to = b.key[1 - in];
    a.place_to = b.place[1 - in];
    const auto blocks = static_cast<unsigned>(rows * tiles);
    start(l, &count_digits<Key, Place>, blocks, kThreads, 0, a);
    start(l, &add_counts<Key, Place>, static_cast<unsigned>(rows * kBuckets / kWarps), kThreads, 0,
          a);
    start(l, &move_digits<Key, Place>, blocks, kThreads, 0, a);
  }
  return in;
}

template int sort_keys(const Launch&, const SortBuffers<uint32_t, uint32_t>&, int64_t, int64_t,
                       int);
template int sort_keys(const Launch&, const SortBuffers<uint64_t, uint32_t>&, int64_t, int64_t,
                       int);
template int sort_keys(const Launch&, const SortBuffers<uint64_t, uint64_t>&, int64_t, int64_t,
                       int);

}  // namespace wengert::cuda
