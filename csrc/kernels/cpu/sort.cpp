// Sorting and searching rows. Elements become unsigned keys in the wanted order, so that one
// algorithm serves every type and direction: -0 equals 0, NaN is above everything. Equal keys keep
// the order of their places.
#include <algorithm>
#include <bit>
#include <cstring>
#include <type_traits>
#include <utility>

#include "kernels/cpu/cpu.h"
#include "kernels/cpu/parallel.h"
#include "kernels/cpu/scratch.h"

namespace wengert::cpu {
namespace {

constexpr int64_t kGrain = 4096;     // elements a thread must get
constexpr int64_t kRadixFrom = 128;  // length of a row from which radix sort is the faster
constexpr int kDigit = 8;            // bits
constexpr int kBuckets = 1 << kDigit;

template <class T>
using KeyOf = std::conditional_t<sizeof(T) == 4, uint32_t, uint64_t>;

template <class T>
struct Keyed {
  KeyOf<T> key;
  int64_t place;
  friend bool operator<(const Keyed& a, const Keyed& b) {
    return a.key != b.key ? a.key < b.key : a.place < b.place;
  }
};

template <class T>
KeyOf<T> key_of(T x, bool descending) {
  using K = KeyOf<T>;
  constexpr K sign = K(1) << (sizeof(K) * 8 - 1);
  K key;
  if constexpr (std::is_floating_point_v<T>) {
    const K bits = std::bit_cast<K>(x == 0 ? T(0) : x);
    key = x != x ? ~K(0) : bits & sign ? ~bits : bits | sign;
  } else {
    key = static_cast<K>(x) ^ sign;
  }
  return descending ? ~key : key;
}

// By one digit after the other from the lowest; digits that all keys share are passed over.
template <class T>
void radix_sort(Keyed<T>* items, Keyed<T>* other, int64_t n) {
  constexpr int digits = sizeof(KeyOf<T>) * 8 / kDigit;
  int64_t count[digits][kBuckets] = {};
  const auto digit = [](KeyOf<T> key, int d) { return key >> (d * kDigit) & (kBuckets - 1); };
  for (int64_t i = 0; i < n; ++i) {
    for (int d = 0; d < digits; ++d) ++count[d][digit(items[i].key, d)];
  }
  Keyed<T>*from = items, *to = other;
  for (int d = 0; d < digits; ++d) {
    if (count[d][digit(from[0].key, d)] == n) continue;
    int64_t at = 0;
    for (int64_t& c : count[d]) at += std::exchange(c, at);
    for (int64_t i = 0; i < n; ++i) to[count[d][digit(from[i].key, d)]++] = from[i];
    std::swap(from, to);
  }
  if (from != items) std::copy_n(from, n, items);
}

// Rows of keyed elements, each worker with its own scratch. body(row, source, items, spare) gets
// them in the order of their places.
template <class T, class Body>
void each_row(const T* x, int64_t rows, int64_t n, bool descending, int64_t spare, Body&& body) {
  if (n == 0) return;
  parallel_for(rows, std::max<int64_t>(1, kGrain / n), [&](int64_t b, int64_t e) {
    const Scratch scratch((n + spare) * static_cast<int64_t>(sizeof(Keyed<T>)));
    auto* items = reinterpret_cast<Keyed<T>*>(scratch.data());
    for (int64_t r = b; r < e; ++r) {
      const T* row = x + r * n;
      for (int64_t i = 0; i < n; ++i) items[i] = {key_of(row[i], descending), i};
      body(r, row, items, items + n);
    }
  });
}

template <class T>
T* data(const Launch& l, int k) {
  return static_cast<T*>(l.buffer[k].data);
}

template <class Body>
void visit_numbers(const Launch& l, Body&& body) {
  visit_compute(l.dtype, [&]<class T>() {
    if constexpr (!std::is_same_v<T, Bool8>) body.template operator()<T>();
  });
}

template <class T>
void sort_items(Keyed<T>* items, Keyed<T>* spare, int64_t n) {
  if (n >= kRadixFrom) {
    radix_sort(items, spare, n);
  } else {
    std::sort(items, items + n);
  }
}

// The element most often there, of equally frequent ones the smallest; the last place of it.
template <class T>
Keyed<T> most_frequent(Keyed<T>* items, Keyed<T>* spare, int64_t n) {
  sort_items(items, spare, n);
  int64_t longest = 0, last = 0;
  for (int64_t start = 0, end; start < n; start = end) {
    end = start + 1;
    while (end < n && items[end].key == items[start].key) ++end;
    if (end - start > longest) longest = end - start, last = end - 1;
  }
  return items[last];
}

}  // namespace

void run_sort(const Launch& l) {
  visit_numbers(l, [&]<class T>() {
    const int64_t n = l.size[1];
    T* values = data<T>(l, 0);
    auto* places = data<int64_t>(l, 1);
    each_row(data<const T>(l, 2), l.size[0], n, l.integer[0], n >= kRadixFrom ? n : 0,
             [&](int64_t r, const T* x, Keyed<T>* items, Keyed<T>* spare) {
               sort_items(items, spare, n);
               for (int64_t i = 0; i < n; ++i) {
                 places[r * n + i] = items[i].place;
                 values[r * n + i] = x[items[i].place];
               }
             });
  });
}

void run_topk(const Launch& l) {
  visit_numbers(l, [&]<class T>() {
    const int64_t n = l.size[1], k = l.integer[1];
    T* values = data<T>(l, 0);
    auto* places = data<int64_t>(l, 1);
    each_row(data<const T>(l, 2), l.size[0], n, l.integer[0], 0,
             [&](int64_t r, const T* x, Keyed<T>* items, Keyed<T>*) {
               if (k < n) std::nth_element(items, items + k, items + n);
               if (l.integer[2]) std::sort(items, items + k);
               for (int64_t i = 0; i < k; ++i) {
                 places[r * k + i] = items[i].place;
                 values[r * k + i] = x[items[i].place];
               }
             });
  });
}

void run_select(const Launch& l) {
  visit_numbers(l, [&]<class T>() {
    const int64_t n = l.size[1], rank = l.integer[0];
    T* values = data<T>(l, 0);
    auto* places = data<int64_t>(l, 1);
    const bool sorts = rank == kSelectMode && n >= kRadixFrom;
    each_row(data<const T>(l, 2), l.size[0], n, false, sorts ? n : 0,
             [&](int64_t r, const T* x, Keyed<T>* items, Keyed<T>* spare) {
               Keyed<T> chosen;
               if (rank == kSelectMode) {
                 chosen = most_frequent(items, spare, n);
               } else {
                 int64_t at = rank;
                 const auto nan = std::find_if(x, x + n, [](T v) { return v != v; }) - x;
                 if (rank == kSelectMedian || rank == kSelectNanMedian) {
                   const auto nans = std::count_if(x + nan, x + n, [](T v) { return v != v; });
                   at =
                       rank == kSelectMedian ? (n - 1) / 2 : std::max<int64_t>(0, n - nans - 1) / 2;
                 }
                 if (rank == kSelectMedian && nan < n) {
                   chosen = {0, nan};
                 } else {
                   std::nth_element(items, items + at, items + n);
                   chosen = items[at];
                 }
               }
               places[r] = chosen.place;
               values[r] = x[chosen.place];
             });
  });
}

// How many elements of a sorted sequence come before a value: those below it, or with `right`
// those not above it.
void run_searchsorted(const Launch& l) {
  visit_numbers(l, [&]<class T>() {
    const int64_t rows = l.size[0], n = l.size[1], per_row = l.size[2];
    const bool right = l.integer[0];
    auto* places = data<int64_t>(l, 0);
    const T *sequence = data<const T>(l, 1), *values = data<const T>(l, 2);
    const auto* sorter = l.nbuffers > 3 ? data<const int64_t>(l, 3) : nullptr;
    const bool shared = l.integer[1];
    parallel_for(rows * per_row, kGrain / 4, [&](int64_t b, int64_t e) {
      for (int64_t i = b; i < e; ++i) {
        const int64_t base = shared ? 0 : i / per_row * n;
        const auto key = key_of(values[i], false);
        int64_t low = 0, high = n;
        while (low < high) {
          const int64_t middle = low + (high - low) / 2;
          const int64_t at = base + (sorter ? sorter[base + middle] : middle);
          const auto k = key_of(sequence[at], false);
          (right ? k <= key : k < key) ? low = middle + 1 : high = middle;
        }
        places[i] = low;
      }
    });
  });
}

}  // namespace wengert::cpu
