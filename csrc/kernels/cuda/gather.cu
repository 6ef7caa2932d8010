// Gather, scatter and rows of a table: elements that move by offsets, 16 bytes at a time where they
// lie side by side on both sides.
#include <limits>

#include "kernels/cuda/scatter_space.h"
#include "kernels/cuda/slots.h"
#include "kernels/kernels.h"

namespace wengert::cuda {
namespace {

constexpr int kThreads = 256;
constexpr int kAhead = 4;  // of a thread: that many reads are on their way at once

// --- gather ------------------------------------------------------------------------------------

struct GatherArgs {
  Space space;
  Operand to, from, at;
};

template <class U>
WENGERT_DEVICE const U* elements(const Operand& o) {
  return reinterpret_cast<const U*>(o.data);
}
template <class U>
WENGERT_DEVICE U* elements_of(const Operand& o) {
  return reinterpret_cast<U*>(o.data);
}

template <class U>
__global__ void __launch_bounds__(kThreads) gather(const __grid_constant__ GatherArgs a) {
  constexpr int64_t chunk = kThreads * kAhead;
  const int64_t step = gridDim.x * chunk;
  for (int64_t base = blockIdx.x * chunk + threadIdx.x; base < a.space.count; base += step) {
    int64_t at[kAhead];
    U v[kAhead];
#pragma unroll
    for (int j = 0; j < kAhead; ++j) {
      const int64_t i = base + j * kThreads;
      if (i >= a.space.count) break;
      at[j] = elements<int64_t>(a.at)[place_in(a.at, a.space, i)];
    }
#pragma unroll
    for (int j = 0; j < kAhead; ++j) {
      const int64_t i = base + j * kThreads;
      if (i >= a.space.count) break;
      v[j] = elements<U>(a.from)[place_in(a.from, a.space, i) + at[j]];
    }
#pragma unroll
    for (int j = 0; j < kAhead; ++j) {
      const int64_t i = base + j * kThreads;
      if (i >= a.space.count) break;
      elements_of<U>(a.to)[place_in(a.to, a.space, i)] = v[j];
    }
  }
}

// The last dimension counts vectors: as many elements as 16 bytes hold lie side by side there. The
// offset may still lead to where they are not aligned.
template <class U>
__global__ void __launch_bounds__(kThreads) gather_rows(const __grid_constant__ GatherArgs a) {
  constexpr int N = 16 / sizeof(U);
  using Vector = Pack<U, N>;
  const int64_t step = static_cast<int64_t>(gridDim.x) * kThreads;
  for (int64_t i = static_cast<int64_t>(blockIdx.x) * kThreads + threadIdx.x; i < a.space.count;
       i += step) {
    const U* from = elements<U>(a.from) + place_in(a.from, a.space, i) +
                    elements<int64_t>(a.at)[place_in(a.at, a.space, i)];
    U* to = elements_of<U>(a.to) + place_in(a.to, a.space, i);
    Vector v;
    if (reinterpret_cast<uintptr_t>(from) % sizeof(Vector) == 0) {
      v = *reinterpret_cast<const Vector*>(from);
    } else {
#pragma unroll
      for (int j = 0; j < N; ++j) v.of[j] = from[j];
    }
    *reinterpret_cast<Vector*>(to) = v;
  }
}

// Makes the last dimension one of vectors of n elements, if that can be for the first two buffers;
// `fixed` is that whose addresses do not depend on offsets.
bool in_vectors(Launch& l, int n, int fixed) {
  const int last = l.ndim - 1;
  if (n == 1 || l.size[last] % n != 0) return false;
  const auto item = item_size(l.buffer[fixed].dtype);
  if (reinterpret_cast<uintptr_t>(l.buffer[fixed].data) % (static_cast<size_t>(n) * item) != 0) {
    return false;
  }
  for (int k = 0; k < 2; ++k) {
    if (l.buffer[k].stride[last] != 1) return false;
    for (int d = 0; d < last; ++d) {
      if (l.size[d] != 1 && l.buffer[k].stride[d] % n != 0) return false;
    }
  }
  l.size[last] /= n;
  l.count /= n;
  for (int k = 0; k < 2; ++k) l.buffer[k].stride[last] = n;
  l.dense = false;
  return true;
}

// Whether there is any element to index; a wrong index of no elements may be told of later.
bool is_there(const Buffer& b) {
  return b.data && (!b.storage || b.storage->bytes > 0);
}

void run_gather(const Launch& given) {
  if (given.count == 0 || !is_there(given.buffer[1])) return;
  visit_item(item_size(given.dtype), [&]<class U>(U) {
    Launch l = given;
    const bool rows =
        l.buffer[2].stride[l.ndim - 1] == 0 && in_vectors(l, 16 / static_cast<int>(sizeof(U)), 0);
    const GatherArgs a{Space(l), operand_of(l, 0, 1, l.dtype), operand_of(l, 1, 1, l.dtype),
                       operand_of(l, 2, 1, DType::Int64)};
    if (rows) {
      start(given, &gather_rows<U>, grid_for(l.count, kThreads), kThreads, 0, a);
    } else {
      start(given, &gather<U>, grid_for(l.count, kThreads * kAhead), kThreads, 0, a);
    }
  });
}

struct TableArgs {
  const char *table, *index;
  char* to;
  int64_t count, columns;  // vectors
  int64_t rows;            // of the table
};

// V: what is moved at once.
template <class V>
__global__ void __launch_bounds__(kThreads) take_rows(const __grid_constant__ TableArgs a) {
  const auto* table = reinterpret_cast<const V*>(a.table);
  const auto* index = reinterpret_cast<const int64_t*>(a.index);
  auto* to = reinterpret_cast<V*>(a.to);
  constexpr int64_t chunk = kThreads * kAhead;
  const int64_t step = gridDim.x * chunk;
  for (int64_t base = blockIdx.x * chunk + threadIdx.x; base < a.count; base += step) {
    V v[kAhead];
#pragma unroll
    for (int j = 0; j < kAhead; ++j) {
      const int64_t i = base + j * kThreads;
      if (i >= a.count) break;
      const int64_t row = i / a.columns;
      // Whether an index is one of the table's may be looked at later.
      const int64_t which = index[row];
      v[j] = table[(which >= 0 && which < a.rows ? which : 0) * a.columns + (i - row * a.columns)];
    }
#pragma unroll
    for (int j = 0; j < kAhead; ++j) {
      const int64_t i = base + j * kThreads;
      if (i < a.count) to[i] = v[j];
    }
  }
}

void run_embedding(const Launch& l) {
  const auto item = static_cast<int64_t>(item_size(l.dtype)), bytes = l.size[1] * item;
  const Buffer& from = l.buffer[1];
  const auto* table = static_cast<const char*>(from.data);
  auto* to = static_cast<char*>(l.buffer[0].data);
  if (l.count == 0 || bytes == 0 || !is_there(from)) return;
  int64_t rows = std::numeric_limits<int64_t>::max();
  if (from.storage) {
    const int64_t before = table - static_cast<const char*>(from.storage->data);
    rows = (static_cast<int64_t>(from.storage->bytes) - before) / bytes;
  }
  const auto addresses = reinterpret_cast<uintptr_t>(table) | reinterpret_cast<uintptr_t>(to) |
                         static_cast<uintptr_t>(bytes);
  const auto with = [&]<class V>(V) {
    const int64_t columns = bytes / static_cast<int64_t>(sizeof(V));
    const TableArgs a{
        table, static_cast<const char*>(l.buffer[2].data), to, l.size[0] * columns, columns, rows};
    start(l, &take_rows<V>, grid_for(a.count, kThreads * kAhead), kThreads, 0, a);
  };
  if (addresses % 16 == 0) return with(Pack<uint64_t, 2>{});
  visit_item(static_cast<size_t>(item), with);
}

// --- scatter -----------------------------------------------------------------------------------

// Which unit is the last to write to a place is found before anything is written: a table says of
// each place the greatest unit (from 1), whatever order they come in.
constexpr unsigned long long kEmpty = ~0ull;
struct ClaimArgs {
  Space space;
  Operand to, at;  // of the units
  int64_t least;
  unsigned long long* key;   // null: a place is its own slot
  unsigned long long* last;  // of each slot
  unsigned long long slots;  // a power of two, if there are keys
  uint8_t* wins;
};

WENGERT_DEVICE unsigned long long key_of_unit(const ClaimArgs& a, int64_t unit) {
  return static_cast<unsigned long long>(place_in(a.to, a.space, unit) +
                                         elements<int64_t>(a.at)[place_in(a.at, a.space, unit)] -
                                         a.least);
}
WENGERT_DEVICE unsigned long long slot_for(unsigned long long key, unsigned long long slots) {
  key *= 0x9E3779B97F4A7C15ull;
  return (key ^ key >> 32) & (slots - 1);
}

__global__ void __launch_bounds__(kThreads) claim(const __grid_constant__ ClaimArgs a) {
  const int64_t step = static_cast<int64_t>(gridDim.x) * kThreads;
  for (int64_t u = static_cast<int64_t>(blockIdx.x) * kThreads + threadIdx.x; u < a.space.count;
       u += step) {
    unsigned long long slot = key_of_unit(a, u);
    if (a.key) {
      const unsigned long long key = slot;
      for (slot = slot_for(key, a.slots);; slot = (slot + 1) & (a.slots - 1)) {
        const unsigned long long have = atomicCAS(a.key + slot, kEmpty, key);
        if (have == kEmpty || have == key) break;
      }
    }
    atomicMax(a.last + slot, static_cast<unsigned long long>(u) + 1);
  }
}

__global__ void __launch_bounds__(kThreads) decide(const __grid_constant__ ClaimArgs a) {
  const int64_t step = static_cast<int64_t>(gridDim.x) * kThreads;
  for (int64_t u = static_cast<int64_t>(blockIdx.x) * kThreads + threadIdx.x; u < a.space.count;
       u += step) {
    unsigned long long slot = key_of_unit(a, u);
    if (a.key) {
      const unsigned long long key = slot;
      slot = slot_for(key, a.slots);
      while (a.key[slot] != key) slot = (slot + 1) & (a.slots - 1);
    }
    a.wins[u] = a.last[slot] == static_cast<unsigned long long>(u) + 1;
  }
}

struct PutArgs {
  Space units, row;
  Operand to, from, at;            // of the units
  Operand to_in_row, from_in_row;  // apart from them
  int64_t count;                   // elements or vectors
  const uint8_t* wins;             // null: all do
};

template <class U, int N>
__global__ void __launch_bounds__(kThreads) put(const __grid_constant__ PutArgs a) {
  using Vector = Pack<U, N>;
  const int64_t step = static_cast<int64_t>(gridDim.x) * kThreads;
  for (int64_t i = static_cast<int64_t>(blockIdx.x) * kThreads + threadIdx.x; i < a.count;
       i += step) {
    const int64_t u = a.row.count == 1 ? i : i / a.row.count, c = i - u * a.row.count;
    if (a.wins && !a.wins[u]) continue;
    const U* from =
        elements<U>(a.from) + place_in(a.from, a.units, u) + place_in(a.from_in_row, a.row, c);
    U* to = elements_of<U>(a.to) + place_in(a.to, a.units, u) + place_in(a.to_in_row, a.row, c) +
            elements<int64_t>(a.at)[place_in(a.at, a.units, u)];
    if constexpr (N == 1) {
      *to = *from;
    } else {
      const auto v = *reinterpret_cast<const Vector*>(from);
      if (reinterpret_cast<uintptr_t>(to) % sizeof(Vector) == 0) {
        *reinterpret_cast<Vector*>(to) = v;
      } else {
#pragma unroll
        for (int j = 0; j < N; ++j) to[j] = v.of[j];
      }
    }
  }
}

bool is_one_value(const Launch& l) {
  for (int d = 0; d < l.ndim; ++d) {
    if (l.size[d] != 1 && l.buffer[1].stride[d] != 0) return false;
  }
  return true;
}

// Of vectors: the units' values must be aligned, too.
bool row_in_vectors(ScatterSpace& s, int n) {
  for (int k = 0; k < 2; ++k) {
    for (int d = 0; d < s.units.ndim; ++d) {
      if (s.units.size[d] != 1 && s.units.buffer[k].stride[d] % n != 0) return false;
    }
  }
  return in_vectors(s.row, n, 1);
}

void run_scatter(const Launch& l) {
  if (l.count == 0 || !is_there(l.buffer[0])) return;
  ScatterSpace s(l);
  const Launch& units = s.units;
  PutArgs a{Space(units),
            Space(s.row),
            operand_of(units, 0, 1, l.dtype),
            operand_of(units, 1, 1, l.dtype),
            operand_of(units, 2, 1, DType::Int64),
            {},
            {},
            0,
            nullptr};
  const bool meets = units.count > 1 && !is_one_value(l);
  const bool direct = s.extent <= 4 * units.count;
  uint64_t slots = static_cast<uint64_t>(s.extent);
  if (!direct) slots = std::bit_ceil(2 * static_cast<uint64_t>(units.count));
  const size_t table = slots * 8;
  const Scratch memory(meets ? (direct ? 1 : 2) * table + static_cast<size_t>(units.count) : 0);
  if (meets) {
    auto* last = memory.data<unsigned long long>();
    auto* key = direct ? nullptr : last + slots;
    auto* wins = memory.data<uint8_t>() + (direct ? 1 : 2) * table;
    const ClaimArgs c{a.units, a.to, a.at, s.least, key, last, slots, wins};
    check(cudaMemsetAsync(last, 0, table, stream()), "scatter");
    if (key) check(cudaMemsetAsync(key, 0xff, table, stream()), "scatter");
    const unsigned grid = grid_for(units.count, kThreads);
    start(l, &claim, grid, kThreads, 0, c);
    start(l, &decide, grid, kThreads, 0, c);
    a.wins = wins;
  }
  visit_item(item_size(l.dtype), [&]<class U>(U) {
    constexpr int n = 16 / sizeof(U);
    const bool vectors = row_in_vectors(s, n);
    a.row = Space(s.row);
    a.to_in_row = operand_of(s.row, 0, 1, l.dtype);
    a.from_in_row = operand_of(s.row, 1, 1, l.dtype);
    a.count = units.count * s.row.count;
    start(l, vectors ? &put<U, n> : &put<U, 1>, grid_for(a.count, kThreads), kThreads, 0, a);
  });
}

}  // namespace

void fill_gather(KernelTable& t) {
  for (int d = 0; d < kNumDTypes; ++d) {
    t.slot[id(Kernel::Gather)][d] = &run_gather;
    t.slot[id(Kernel::Embedding)][d] = &run_embedding;
    t.slot[id(Kernel::Scatter)][d] = &run_scatter;
  }
}

}  // namespace wengert::cuda
