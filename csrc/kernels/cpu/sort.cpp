// Sorting and searching rows. Elements become unsigned keys in the wanted order, so that one
// algorithm serves every type and direction: -0 equals 0, NaN is above everything. Equal keys keep
// the order of their places.
#include <algorithm>
#include <bit>
#include <cstring>
#include <type_traits>
#include <utility>
#include <vector>

#include "kernels/cpu/cpu.h"
#include "kernels/cpu/parallel.h"
#include "kernels/cpu/scratch.h"

namespace wengert::cpu {
namespace {

constexpr int64_t kGrain = 4096;      // elements a thread must get
constexpr int64_t kRadixFrom = 128;   // length of a row from which radix sort is the faster
constexpr int64_t kNetworkUpTo = 64;  // length of rows up to which a network is the fastest
constexpr int kDigit = 8;             // bits
constexpr int kBuckets = 1 << kDigit;

template <class T>
using KeyOf = std::conditional_t<sizeof(T) == 4, uint32_t, uint64_t>;

template <class T>
class Keyed {
 public:
  using Value = T;
  Keyed() = default;
  Keyed(KeyOf<T> key, int64_t place) : key_(key), place_(place) {}
  KeyOf<T> key() const { return key_; }
  int64_t place() const { return place_; }
  friend bool operator<(const Keyed& a, const Keyed& b) {
    return a.key_ != b.key_ ? a.key_ < b.key_ : a.place_ < b.place_;
  }

 private:
  KeyOf<T> key_;
  int64_t place_;
};

// The same in one word: of four bytes' keys, in rows that are not too long.
template <class T>
class Packed {
 public:
  using Value = T;
  static constexpr int64_t kLongest = int64_t{1} << 32;
  Packed() = default;
  Packed(KeyOf<T> key, int64_t place)
      : bits_(static_cast<uint64_t>(key) << 32 | static_cast<uint64_t>(place)) {}
  KeyOf<T> key() const { return static_cast<KeyOf<T>>(bits_ >> 32); }
  int64_t place() const { return static_cast<int64_t>(bits_ & 0xffffffff); }
  friend bool operator<(const Packed& a, const Packed& b) { return a.bits_ < b.bits_; }

 private:
  uint64_t bits_;
};
static_assert(sizeof(Packed<float>) == sizeof(uint64_t));

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
template <class Item>
void radix_sort(Item* items, Item* other, int64_t n) {
  using Key = KeyOf<typename Item::Value>;
  constexpr int digits = sizeof(Key) * 8 / kDigit;
  int64_t count[digits][kBuckets] = {};
  const auto digit = [](Key key, int d) { return key >> (d * kDigit) & (kBuckets - 1); };
  for (int64_t i = 0; i < n; ++i) {
    for (int d = 0; d < digits; ++d) ++count[d][digit(items[i].key(), d)];
  }
  Item *from = items, *to = other;
  for (int d = 0; d < digits; ++d) {
    if (count[d][digit(from[0].key(), d)] == n) continue;
    int64_t at = 0;
    for (int64_t& c : count[d]) at += std::exchange(c, at);
    for (int64_t i = 0; i < n; ++i) to[count[d][digit(from[i].key(), d)]++] = from[i];
    std::swap(from, to);
  }
  if (from != items) std::copy_n(from, n, items);
}

// Rows of keyed elements, each worker with its own scratch. body(row, source, items, spare) gets
// them in the order of their places.
template <class Item, class T, class Body>
void each_row(const T* x, int64_t rows, int64_t n, bool descending, int64_t spare, Body&& body) {
  if (n == 0) return;
  parallel_for(rows, std::max<int64_t>(1, kGrain / n), [&](int64_t b, int64_t e) {
    const Scratch scratch((n + spare) * static_cast<int64_t>(sizeof(Item)));
    auto* items = reinterpret_cast<Item*>(scratch.data());
    for (int64_t r = b; r < e; ++r) {
      const T* row = x + r * n;
      for (int64_t i = 0; i < n; ++i) items[i] = Item(key_of(row[i], descending), i);
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

// Calls body<T, Item>() with what elements of rows of n are sorted as.
template <class Body>
void visit_items(const Launch& l, int64_t n, Body&& body) {
  visit_numbers(l, [&]<class T>() {
    if constexpr (sizeof(T) == 4) {
      if (n <= Packed<T>::kLongest) return body.template operator()<T, Packed<T>>();
    }
    body.template operator()<T, Keyed<T>>();
  });
}

template <class Item>
void sort_items(Item* items, Item* spare, int64_t n) {
  if (n >= kRadixFrom) {
    radix_sort(items, spare, n);
  } else {
    std::sort(items, items + n);
  }
}

// The element most often there, of equally frequent ones the smallest; the last place of it.
template <class Item>
Item most_frequent(Item* items, Item* spare, int64_t n) {
  sort_items(items, spare, n);
  int64_t longest = 0, last = 0;
  for (int64_t start = 0, end; start < n; start = end) {
    end = start + 1;
    while (end < n && items[end].key() == items[start].key()) ++end;
    if (end - start > longest) longest = end - start, last = end - 1;
  }
  return items[last];
}

// What stood at an item's place: its key tells, but of zeros and NaNs, which come in kinds.
template <class T, class Item>
T value_of(const Item& item, const T* row, bool descending) {
  using K = KeyOf<T>;
  constexpr K sign = K(1) << (sizeof(K) * 8 - 1);
  const K key = descending ? ~item.key() : item.key();
  if constexpr (std::is_floating_point_v<T>) {
    if (key == sign || key == ~K(0)) return row[item.place()];
    return std::bit_cast<T>(key & sign ? key ^ sign : ~key);
  } else {
    return static_cast<T>(key ^ sign);
  }
}

// Rows of few elements, a row to a lane, by a network.
template <class T>
void sort_short_rows(const T* x, int64_t rows, int64_t n, bool descending, T* values,
                     int64_t* places) {
  constexpr int64_t lanes = kSortLanes;
  parallel_for((rows + lanes - 1) / lanes, std::max<int64_t>(1, kGrain / (n * lanes)),
               [&](int64_t b, int64_t e) {
                 alignas(64) Packed<T> tile[kNetworkUpTo * lanes];
                 for (int64_t first = b * lanes; first < std::min(rows, e * lanes);
                      first += lanes) {
                   const int64_t have = std::min(lanes, rows - first);
                   for (int64_t r = 0; r < lanes; ++r) {
                     const T* row = x + (first + std::min(r, have - 1)) * n;
                     for (int64_t i = 0; i < n; ++i) {
                       tile[i * lanes + r] = Packed<T>(key_of(row[i], descending), i);
                     }
                   }
                   isa().sort_columns(reinterpret_cast<uint64_t*>(tile), n);
                   for (int64_t r = 0; r < have; ++r) {
                     const int64_t start = (first + r) * n;
                     for (int64_t i = 0; i < n; ++i) {
                       const Packed<T> item = tile[i * lanes + r];
                       places[start + i] = item.place();
                       values[start + i] = value_of(item, x + start, descending);
                     }
                   }
                 }
               });
}

}  // namespace

void run_sort(const Launch& l) {
  visit_items(l, l.size[1], [&]<class T, class Item>() {
    const int64_t rows = l.size[0], n = l.size[1];
    const bool descending = l.integer[0];
    T* values = data<T>(l, 0);
    auto* places = data<int64_t>(l, 1);
    const T* from = data<const T>(l, 2);
    if constexpr (sizeof(T) == 4) {
      if (n > 0 && n <= kNetworkUpTo && rows >= kSortLanes / 2) {
        return sort_short_rows(from, rows, n, descending, values, places);
      }
    }
    each_row<Item>(from, rows, n, descending, n >= kRadixFrom ? n : 0,
                   [&](int64_t r, const T* x, Item* items, Item* spare) {
                     sort_items(items, spare, n);
                     for (int64_t i = 0; i < n; ++i) {
                       places[r * n + i] = items[i].place();
                       values[r * n + i] = value_of(items[i], x, descending);
                     }
                   });
  });
}

namespace {

// The k first of a row in order: a heap of those found so far, the last of them on top. Most
// elements come after that one, and the instruction set's loop passes over them. False if too many
// do not, as where the row is nearly sorted backwards; `items` holds k then as before.
template <class T>
bool first_of(const T* x, int64_t n, int64_t k, bool descending, Keyed<T>* items) {
  const auto next = isa().places[descending][static_cast<int>(kDTypeOf<T>)].next;
  for (int64_t i = 0; i < k; ++i) items[i] = {key_of(x[i], descending), i};
  std::make_heap(items, items + k);
  int64_t budget = n / 8 + 8 * k;
  for (int64_t i = k;;) {
    const T last = x[items[0].place()];
    if (!descending && last != last) return false;  // NaN is the last here, but to `next` the first
    i += next(x + i, n - i, &last);
    if (i >= n) return true;
    if (--budget == 0) return false;
    if (const Keyed<T> item{key_of(x[i], descending), i}; item < items[0]) {
      std::pop_heap(items, items + k);
      items[k - 1] = item;
      std::push_heap(items, items + k);
    }
    ++i;
  }
}

}  // namespace

void run_topk(const Launch& l) {
  visit_numbers(l, [&]<class T>() {
    const int64_t n = l.size[1], k = l.integer[1];
    T* values = data<T>(l, 0);
    auto* places = data<int64_t>(l, 1);
    if (k == 0) return;
    const bool descending = l.integer[0], few = k <= n / 4;
    const T* from = data<const T>(l, 2);
    parallel_for(l.size[0], std::max<int64_t>(1, kGrain / n), [&](int64_t b, int64_t e) {
      std::vector<Keyed<T>> items(static_cast<size_t>(few ? k : n));
      for (int64_t r = b; r < e; ++r) {
        const T* x = from + r * n;
        if (!few || !first_of(x, n, k, descending, items.data())) {
          items.resize(static_cast<size_t>(n));
          for (int64_t i = 0; i < n; ++i) {
            items[static_cast<size_t>(i)] = {key_of(x[i], descending), i};
          }
          if (k < n) std::nth_element(items.begin(), items.begin() + k, items.end());
        }
        if (l.integer[2]) std::sort(items.begin(), items.begin() + k);
        for (int64_t i = 0; i < k; ++i) {
          const int64_t place = items[static_cast<size_t>(i)].place();
          places[r * k + i] = place;
          values[r * k + i] = x[place];
        }
      }
    });
  });
}

void run_select(const Launch& l) {
  visit_items(l, l.size[1], [&]<class T, class Item>() {
    const int64_t n = l.size[1], rank = l.integer[0];
    T* values = data<T>(l, 0);
    auto* places = data<int64_t>(l, 1);
    const bool sorts = rank == kSelectMode && n >= kRadixFrom;
    each_row<Item>(
        data<const T>(l, 2), l.size[0], n, false, sorts ? n : 0,
        [&](int64_t r, const T* x, Item* items, Item* spare) {
          Item chosen;
          if (rank == kSelectMode) {
            chosen = most_frequent(items, spare, n);
          } else {
            int64_t at = rank;
            const auto nan = std::find_if(x, x + n, [](T v) { return v != v; }) - x;
            if (rank == kSelectMedian || rank == kSelectNanMedian) {
              const auto nans = std::count_if(x + nan, x + n, [](T v) { return v != v; });
              at = rank == kSelectMedian ? (n - 1) / 2 : std::max<int64_t>(0, n - nans - 1) / 2;
            }
            if (rank == kSelectMedian && nan < n) {
              chosen = Item(0, nan);
            } else {
              std::nth_element(items, items + at, items + n);
              chosen = items[at];
            }
          }
          places[r] = chosen.place();
          values[r] = x[chosen.place()];
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
