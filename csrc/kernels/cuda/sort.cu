// Sorting and searching rows, by the keys of their elements.
#include <algorithm>

#include "kernels/cuda/cuda.h"
#include "kernels/cuda/keys.h"
#include "kernels/cuda/radix_sort.h"
#include "kernels/cuda/select.h"
#include "kernels/cuda/slots.h"
#include "kernels/kernels.h"

namespace wengert::cuda {
namespace {

constexpr int kThreads = 256;

// What is wanted of sorted rows: the first `taken`, or one whose rank may depend on the row.
template <class T, class Key, class Place>
struct RowArgs {
  const T* x;
  Key* key;
  const Place* place;
  T* values;
  int64_t* places;
  int64_t rows, n, taken, rank;
  Which which;
  bool descending;
  unsigned long long* longest;  // of Mode: of each row, how long a run is, and how far from the end
};

template <class T, class Key, class Place>
__global__ void __launch_bounds__(kThreads)
    make_keys(const __grid_constant__ RowArgs<T, Key, Place> a) {
  const int64_t count = a.rows * a.n, step = static_cast<int64_t>(gridDim.x) * kThreads;
  for (int64_t i = static_cast<int64_t>(blockIdx.x) * kThreads + threadIdx.x; i < count;
       i += step) {
    a.key[i] = key_of(a.x[i], a.descending);
  }
}

// How many of a sorted row are below a key.
template <class Key>
WENGERT_DEVICE int64_t count_below(const Key* row, int64_t n, Key key) {
  int64_t low = 0, high = n;
  while (low < high) {
    const int64_t middle = low + (high - low) / 2;
    row[middle] < key ? low = middle + 1 : high = middle;
  }
  return low;
}

template <class T, class Key, class Place>
__global__ void __launch_bounds__(kThreads)
    find_longest(const __grid_constant__ RowArgs<T, Key, Place> a) {
  const int64_t count = a.rows * a.n, step = static_cast<int64_t>(gridDim.x) * kThreads;
  for (int64_t u = static_cast<int64_t>(blockIdx.x) * kThreads + threadIdx.x; u < count;
       u += step) {
    const int64_t r = u / a.n, i = u - r * a.n;
    const Key* row = a.key + r * a.n;
    if (i + 1 < a.n && row[i + 1] == row[i]) continue;
    const auto length = static_cast<unsigned long long>(i + 1 - count_below(row, i, row[i]));
    atomicMax(a.longest + r, length << 32 | static_cast<unsigned long long>(a.n - 1 - i));
  }
}

template <class T, class Key, class Place>
__global__ void __launch_bounds__(kThreads) take(const __grid_constant__ RowArgs<T, Key, Place> a) {
  const int64_t count = a.rows * a.taken, step = static_cast<int64_t>(gridDim.x) * kThreads;
  for (int64_t u = static_cast<int64_t>(blockIdx.x) * kThreads + threadIdx.x; u < count;
       u += step) {
    const int64_t r = u / a.taken;
    const Key* row = a.key + r * a.n;
    int64_t i = u - r * a.taken;
    if (a.which == Which::Rank) i = a.rank;
    if (a.which == Which::Mode) i = a.n - 1 - static_cast<int64_t>(a.longest[r] & 0xffffffff);
    if (a.which == Which::Median || a.which == Which::NanMedian) {
      int64_t numbers = a.n;
      if (std::is_floating_point_v<T>) {
        numbers = count_below(row, a.n, static_cast<Key>(~KeyOf<T>(0)));
      }
      i = median_rank(a.which, a.n, numbers);
    }
    const auto place = static_cast<int64_t>(a.place[r * a.n + i]);
    a.places[u] = place;
    a.values[u] = value_of(static_cast<KeyOf<T>>(row[i]), a.descending, a.x + r * a.n + place);
  }
}

template <class T, class Key, class Place>
void sort_and_take(const Launch& l, const Wanted& w) {
  const int64_t rows = l.size[0], n = l.size[1];
  const SortScratch<Key, Place> sorting(rows, n);
  const bool mode = w.which == Which::Mode;
  const Scratch longest(mode ? static_cast<size_t>(rows) * 8 : 0);
  RowArgs<T, Key, Place> a{static_cast<const T*>(l.buffer[2].data),
                           sorting.buffers().key[0],
                           nullptr,
                           static_cast<T*>(l.buffer[0].data),
                           static_cast<int64_t*>(l.buffer[1].data),
                           rows,
                           n,
                           w.taken,
                           w.rank,
                           w.which,
                           w.descending,
                           longest.data<unsigned long long>()};
  start(l, &make_keys<T, Key, Place>, grid_for(rows * n, kThreads), kThreads, 0, a);
  const int in = sort_keys(l, sorting.buffers(), rows, n, sizeof(T) * 8);
  a.key = sorting.buffers().key[in];
  a.place = sorting.buffers().place[in];
  if (mode) {
    check(cudaMemsetAsync(a.longest, 0, static_cast<size_t>(rows) * 8, stream()), "mode");
    start(l, &find_longest<T, Key, Place>, grid_for(rows * n, kThreads), kThreads, 0, a);
  }
  start(l, &take<T, Key, Place>, grid_for(rows * w.taken, kThreads), kThreads, 0, a);
}

template <class T>
void sort_and_take(const Launch& l, const Wanted& w) {
  if (l.size[0] == 0 || l.size[1] == 0 || w.taken == 0) return;
  const int64_t n = l.size[1];
  const bool few = w.which != Which::Mode && n > kShortRow && w.taken <= n / 8;
  if (few && n < int64_t{1} << 32) return select_rows<T>(l, w);
  if (n < int64_t{1} << 32) return sort_and_take<T, KeyOf<T>, uint32_t>(l, w);
  if (w.which == Which::Mode) return run_on_host(l);
  sort_and_take<T, uint64_t, uint64_t>(l, w);
}

template <class T>
void run_sort(const Launch& l) {
  sort_and_take<T>(l, {l.size[1], 0, Which::First, l.integer[0] != 0});
}
template <class T>
void run_topk(const Launch& l) {
  sort_and_take<T>(l, {l.integer[1], 0, Which::First, l.integer[0] != 0});
}
template <class T>
void run_select(const Launch& l) {
  const int64_t rank = l.integer[0];
  const Which which = rank == kSelectMedian      ? Which::Median
                      : rank == kSelectNanMedian ? Which::NanMedian
                      : rank == kSelectMode      ? Which::Mode
                                                 : Which::Rank;
  sort_and_take<T>(l, {1, rank, which, false});
}

// --- binary search -----------------------------------------------------------------------------

template <class T>
struct SearchArgs {
  const T *sequence, *values;
  const int64_t* sorter;  // or null
  int64_t* places;
  int64_t count, n, per_row;
  bool right, shared;
};

template <class T>
__global__ void __launch_bounds__(kThreads) search(const __grid_constant__ SearchArgs<T> a) {
  const int64_t step = static_cast<int64_t>(gridDim.x) * kThreads;
  for (int64_t i = static_cast<int64_t>(blockIdx.x) * kThreads + threadIdx.x; i < a.count;
       i += step) {
    const int64_t base = a.shared ? 0 : i / a.per_row * a.n;
    const KeyOf<T> key = key_of(a.values[i], false);
    int64_t low = 0, high = a.n;
    while (low < high) {
      const int64_t middle = low + (high - low) / 2;
      int64_t at = middle;
      if (a.sorter) {
        // Whether it is a place of the row may be looked at later.
        const int64_t sorted = a.sorter[base + middle];
        at = sorted >= 0 && sorted < a.n ? sorted : 0;
      }
      at += base;
      const KeyOf<T> k = key_of(a.sequence[at], false);
      (a.right ? k <= key : k < key) ? low = middle + 1 : high = middle;
    }
    a.places[i] = low;
  }
}

template <class T>
void run_searchsorted(const Launch& l) {
  const SearchArgs<T> a{static_cast<const T*>(l.buffer[1].data),
                        static_cast<const T*>(l.buffer[2].data),
                        l.nbuffers > 3 ? static_cast<const int64_t*>(l.buffer[3].data) : nullptr,
                        static_cast<int64_t*>(l.buffer[0].data),
                        l.size[0] * l.size[2],
                        l.size[1],
                        l.size[2],
                        l.integer[0] != 0,
                        l.integer[1] != 0};
  start(l, &search<T>, grid_for(a.count, kThreads), kThreads, 0, a);
}

template <class T>
void fill_of(KernelTable& t) {
  constexpr DType d = kDTypeOf<T>;
  t.at(id(Kernel::Sort), d) = &run_sort<T>;
  t.at(id(Kernel::Topk), d) = &run_topk<T>;
  t.at(id(Kernel::Select), d) = &run_select<T>;
  t.at(id(Kernel::Searchsorted), d) = &run_searchsorted<T>;
}

}  // namespace

void fill_sort(KernelTable& t) {
  fill_of<float>(t);
  fill_of<double>(t);
  fill_of<int64_t>(t);
}

}  // namespace wengert::cuda
