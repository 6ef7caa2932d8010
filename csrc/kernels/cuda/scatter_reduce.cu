// What meets at a place is combined. Of whole numbers, and of extremes, the order changes nothing:
// atomic operations. Sums and products of floating point numbers are made in the order of
// positions: units are sorted by the place they go to, and runs of one place are combined tile by
// tile. A run that goes on beyond its tile leaves what it has so far as an element of the next
// level, until one tile holds all.
#include <algorithm>

#include "kernels/cuda/keys.h"
#include "kernels/cuda/radix_sort.h"
#include "kernels/cuda/scatter_space.h"
#include "kernels/cuda/slots.h"
#include "kernels/kernels.h"

namespace wengert::cuda {
namespace {

constexpr int kThreads = 256;
constexpr int kTile = 32;  // elements of a run that a thread combines

// --- in any order ------------------------------------------------------------------------------

struct CombineArgs {
  Space space;
  Operand to, from, at;
  Reduction how;
};

template <class T>
struct WordOf {
  using type = std::conditional_t<sizeof(T) == 4, unsigned, unsigned long long>;
};
// NaN is better than all numbers; of zeros, that whose sign says so.
template <class T>
WENGERT_DEVICE KeyOf<T> rank_of(T x, bool most) {
  using K = KeyOf<T>;
  constexpr K sign = K(1) << (sizeof(K) * 8 - 1);
  const K bits = bits_of(x);
  const K key = bits & sign ? ~bits : bits | sign;
  return x != x ? ~K(0) : most ? key : ~key;
}

template <class T>
WENGERT_DEVICE void combine(T* to, T v, Reduction how) {
  if constexpr (std::is_same_v<T, Bool8>) {
    // All that write, write the same.
    const bool either = how == Reduction::Sum || how == Reduction::AMax;
    if ((v.value != 0) == either) *to = Bool8(either);
  } else {
    using Word = typename WordOf<T>::type;
    auto* word = reinterpret_cast<Word*>(to);
    if constexpr (std::is_integral_v<T>) {
      if (how == Reduction::Sum) {
        atomicAdd(word, static_cast<Word>(v));
        return;
      }
    }
    Word seen = *reinterpret_cast<volatile Word*>(word);
    for (;;) {
      Word wanted;
      if constexpr (std::is_integral_v<T>) {
        if (how == Reduction::Product) {
          wanted = seen * static_cast<Word>(v);
        } else {
          const T have = static_cast<T>(seen);
          if (how == Reduction::AMax ? have >= v : have <= v) return;
          wanted = static_cast<Word>(v);
        }
      } else {
        const bool most = how == Reduction::AMax;
        if (rank_of(v, most) <= rank_of(number_of_bits(static_cast<KeyOf<T>>(seen)), most)) return;
        wanted = static_cast<Word>(bits_of(v));
      }
      const Word before = atomicCAS(word, seen, wanted);
      if (before == seen) return;
      seen = before;
    }
  }
}

template <class T>
__global__ void __launch_bounds__(kThreads) combine_all(const __grid_constant__ CombineArgs a) {
  const int64_t step = static_cast<int64_t>(gridDim.x) * kThreads;
  for (int64_t i = static_cast<int64_t>(blockIdx.x) * kThreads + threadIdx.x; i < a.space.count;
       i += step) {
    const int64_t at = reinterpret_cast<const int64_t*>(a.at.data)[place_in(a.at, a.space, i)];
    combine(reinterpret_cast<T*>(a.to.data) + place_in(a.to, a.space, i) + at,
            reinterpret_cast<const T*>(a.from.data)[place_in(a.from, a.space, i)], a.how);
  }
}

// --- in order ----------------------------------------------------------------------------------

// What is sorted, and how a place and a value are found again.
struct InOrder {
  Launch units, row;  // destination, values, offsets
  int64_t least;      // of the keys, which say where in the destination a unit goes
  int64_t extent;     // of the keys
  int64_t scale;      // elements of the destination to a key
  int64_t skip;       // the offset that gets nothing; below 0: none
  bool product;
  const void* factor;  // by key, for all that goes there; or null
};

template <class Key>
struct KeyArgs {
  Space space;
  Operand to, at;
  int64_t least, extent, skip;
  Key* key;
};
template <class Key>
__global__ void __launch_bounds__(kThreads) make_keys(const __grid_constant__ KeyArgs<Key> a) {
  const int64_t step = static_cast<int64_t>(gridDim.x) * kThreads;
  for (int64_t u = static_cast<int64_t>(blockIdx.x) * kThreads + threadIdx.x; u < a.space.count;
       u += step) {
    const int64_t at = reinterpret_cast<const int64_t*>(a.at.data)[place_in(a.at, a.space, u)];
    const int64_t key = place_in(a.to, a.space, u) + at - a.least;
    const bool counts = key >= 0 && key < a.extent && (a.skip < 0 || at != a.skip);
    a.key[u] = counts ? static_cast<Key>(key) : ~Key(0);
  }
}

template <class T, class Key>
struct LevelArgs {
  Space units, row;
  Operand values, values_in_row, to_in_row;
  T* to;
  int64_t least, scale;
  const T* factor;
  bool product;
  int64_t count, tiles;  // elements of this level
  const Key* key;        // sorted; ~0 where there is none
  const void* unit;      // of the first level: which it is; of uint32_t, or
  bool wide_units;       // of uint64_t
  const T* partial;      // of the others: [element][column]
  Key* next_key;         // two to a tile: the run that began before it, that which goes on after
  T* next_partial;
};

// A thread takes a column of a tile. Neighbours have neighbouring columns, if there are many.
template <class T, class Key>
__global__ void __launch_bounds__(kThreads)
    combine_runs(const __grid_constant__ LevelArgs<T, Key> a) {
  constexpr Key none = ~Key(0);
  const int64_t columns = a.row.count, work = a.tiles * columns;
  const int64_t step = static_cast<int64_t>(gridDim.x) * kThreads;
  for (int64_t w = static_cast<int64_t>(blockIdx.x) * kThreads + threadIdx.x; w < work; w += step) {
    const int64_t tile = columns == 1 ? w : w / columns, c = w - tile * columns;
    const int64_t first = tile * kTile, end = first + kTile < a.count ? first + kTile : a.count;
    const int64_t from_column = place_in(a.values_in_row, a.row, c);
    const int64_t to_column = place_in(a.to_in_row, a.row, c);
    // The last of what comes before; of a level above the first, whose tiles leave two, it may be
    // one further away.
    Key before = none;
    if (first > 0) {
      before = a.key[first - 1];
      if (before == none && a.partial) before = a.key[first - 2];
    }
    Key head = none, tail = none, run = none;
    T head_value{}, tail_value{}, value{};
    bool began_before = false;
    const auto finish = [&](bool goes_on) {
      if (run == none) return;
      if (began_before) {
        head = run;
        head_value = value;
      } else if (goes_on) {
        tail = run;
        tail_value = value;
      } else {
        T* to = a.to + (static_cast<int64_t>(run) * a.scale + a.least) + to_column;
        *to = a.product ? *to * value : *to + value;
      }
    };
    for (int64_t e = first; e < end; ++e) {
      const Key key = a.key[e];
      if (key == none) continue;
      T v;
      if (a.partial) {
        v = a.partial[e * columns + c];
      } else {
        const int64_t u = a.wide_units
                              ? static_cast<int64_t>(static_cast<const uint64_t*>(a.unit)[e])
                              : static_cast<int64_t>(static_cast<const uint32_t*>(a.unit)[e]);
        v = reinterpret_cast<const T*>(a.values.data)[place_in(a.values, a.units, u) + from_column];
        if (a.factor) v *= a.factor[key];
      }
      if (key == run) {
        value = a.product ? value * v : value + v;
        continue;
      }
      finish(false);
      began_before = e == first && key == before;
      run = key;
      value = v;
    }
    finish(end < a.count && a.key[end] == run);
    if (!a.next_key) continue;
    if (c == 0) {
      a.next_key[2 * tile] = head;
      a.next_key[2 * tile + 1] = tail;
    }
    if (head != none) a.next_partial[2 * tile * columns + c] = head_value;
    if (tail != none) a.next_partial[(2 * tile + 1) * columns + c] = tail_value;
  }
}

template <class T, class Key, class Place>
void combine_in_order(const Launch& l, const InOrder& o) {
  const int64_t n = o.units.count;
  const SortScratch<Key, Place> sorting(1, n);
  const KeyArgs<Key> k{Space(o.units),
                       operand_of(o.units, 0, 1, l.dtype),
                       operand_of(o.units, 2, 1, DType::Int64),
                       o.least,
                       o.extent,
                       o.skip,
                       sorting.buffers().key[0]};
  start(l, &make_keys<Key>, grid_for(n, kThreads), kThreads, 0, k);
  // The keys are below the extent, and so what stands for none, cut off there, is above them.
  const int bits = std::bit_width(static_cast<uint64_t>(o.extent));
  const int in = sort_keys(l, sorting.buffers(), 1, n, bits);

  const int64_t columns = o.row.count, tiles = ceil_div(n, kTile);
  // A level's elements are a sixteenth of those below it, and two.
  int64_t above = 0;
  for (int64_t t = tiles; t > 1; t = ceil_div(2 * t, kTile)) above += 2 * t;
  const Scratch memory(static_cast<size_t>(above * columns + 1) * sizeof(T) +
                       static_cast<size_t>(above) * sizeof(Key));
  T* partial = memory.data<T>();
  Key* next_key = reinterpret_cast<Key*>(partial + above * columns + (above * columns & 1));
  LevelArgs<T, Key> a{Space(o.units),
                      Space(o.row),
                      operand_of(o.units, 1, 1, l.dtype),
                      operand_of(o.row, 1, 1, l.dtype),
                      operand_of(o.row, 0, 1, l.dtype),
                      static_cast<T*>(l.buffer[0].data),
                      o.least,
                      o.scale,
                      static_cast<const T*>(o.factor),
                      o.product,
                      n,
                      tiles,
                      sorting.buffers().key[in],
                      sorting.buffers().place[in],
                      sizeof(Place) == 8,
                      nullptr,
                      nullptr,
                      nullptr};
  for (;;) {
    const bool last = a.tiles == 1;
    a.next_key = last ? nullptr : next_key;
    a.next_partial = partial;
    start(l, &combine_runs<T, Key>, grid_for(a.tiles * columns, kThreads), kThreads, 0, a);
    if (last) return;
    a.key = next_key;
    a.partial = partial;
    a.factor = nullptr;
    a.count = 2 * a.tiles;
    a.tiles = ceil_div(a.count, kTile);
    next_key += a.count;
    partial += a.count * columns;
  }
}

template <class T>
void combine_in_order(const Launch& l, const InOrder& o) {
  if (o.units.count >= int64_t{1} << 32) return combine_in_order<T, uint64_t, uint64_t>(l, o);
  if (o.extent >= int64_t{1} << 32) return combine_in_order<T, uint64_t, uint32_t>(l, o);
  combine_in_order<T, uint32_t, uint32_t>(l, o);
}

// --- drivers -----------------------------------------------------------------------------------

template <class T>
void run_scatter_reduce(const Launch& l) {
  if (l.count == 0 || (l.buffer[0].storage && l.buffer[0].storage->bytes == 0)) return;
  const auto how = static_cast<Reduction>(l.integer[0]);
  if constexpr (std::is_floating_point_v<T>) {
    if (how == Reduction::Sum || how == Reduction::Product) {
      const ScatterSpace s(l);
      return combine_in_order<T>(
          l, {s.units, s.row, s.least, s.extent, 1, -1, how == Reduction::Product, nullptr});
    }
  }
  const CombineArgs a{Space(l), operand_of(l, 0, 1, l.dtype), operand_of(l, 1, 1, l.dtype),
                      operand_of(l, 2, 1, DType::Int64), how};
  start(l, &combine_all<T>, grid_for(l.count, kThreads), kThreads, 0, a);
}

template <class T>
void run_embedding_grad(const Launch& l) {
  const int64_t count = l.size[0], columns = l.size[1], rows = l.integer[0];
  if (rows == 0 || columns == 0) return;
  check(cudaMemsetAsync(l.buffer[0].data, 0, static_cast<size_t>(rows * columns) * sizeof(T),
                        stream()),
        "embedding");
  if (count == 0) return;
  InOrder o{l, l, 0, rows, columns, l.integer[1], false, nullptr};
  if (l.integer[2]) o.factor = l.buffer[3].data;
  const int64_t sizes[2] = {count, columns};
  const int64_t strides[2][3] = {{0, columns, 1}, {1, 1, 0}};
  for (int part = 0; part < 2; ++part) {
    Launch& p = part ? o.row : o.units;
    p.ndim = 1;
    p.dense = false;
    p.count = p.size[0] = sizes[part];
    for (int k = 0; k < 3; ++k) p.buffer[k].stride[0] = strides[part][k];
  }
  combine_in_order<T>(l, o);
}

}  // namespace

void fill_scatter_reduce(KernelTable& t) {
  const auto fill = [&]<class T>(T) {
    t.at(id(Kernel::ScatterReduce), kDTypeOf<T>) = &run_scatter_reduce<T>;
    if constexpr (std::is_floating_point_v<T>) {
      t.at(id(Kernel::EmbeddingGrad), kDTypeOf<T>) = &run_embedding_grad<T>;
    }
  };
  fill(Bool8{});
  fill(int32_t{});
  fill(int64_t{});
  fill(float{});
  fill(double{});
}

}  // namespace wengert::cuda
