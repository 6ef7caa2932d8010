// Copies past the caches, and copies that exchange two dimensions: elements that lie next to each
// other in the source lie a row apart in the destination. Squares are turned in registers, so that
// whole vectors are read and written.
#pragma once

#include "kernels/cpu/vec.h"

namespace wengert::WENGERT_ISA {

// n bytes. Whole lines go past the caches, the ends of the destination by ordinary stores.
inline void stream(const void* from, int64_t n, void* to) {
  constexpr int64_t line = 64;
  const char* f = static_cast<const char*>(from);
  char* t = static_cast<char*>(to);
  const int64_t before = static_cast<int64_t>(-reinterpret_cast<uintptr_t>(to) % line);
  int64_t i = before < n ? before : n;
  if (i > 0) __builtin_memcpy(t, f, static_cast<size_t>(i));
  for (; i + line <= n; i += line) {
    Raw<uint8_t> v[line / kVecBytes];
    __builtin_memcpy(v, f + i, sizeof v);
    for (int u = 0; u < line / kVecBytes; ++u) stream_vector(v[u], t + i + u * kVecBytes);
  }
  if (i < n) __builtin_memcpy(t + i, f + i, static_cast<size_t>(n - i));
}

template <class I>
void repeat_item(const void* from, int64_t n, void* to) {
  const I item = *static_cast<const I*>(from);
  I* const t = static_cast<I*>(to);
  for (int64_t i = 0; i < n; ++i) t[i] = item;
}

// Sides of a square: as many elements as a vector has, 16 at most.
template <class I>
constexpr int kSquare =
    kVecBytes / static_cast<int>(sizeof(I)) < 16 ? kVecBytes / static_cast<int>(sizeof(I)) : 16;

template <class I>
struct SquareRow {
  typedef I type __attribute__((vector_size(kSquare<I> * sizeof(I))));
};

// a0 b0 a1 b1 ... of the first halves, and of the second ones.
template <class V, int... L>
WENGERT_INLINE void interleave(V a, V b, V& low, V& high, std::integer_sequence<int, L...>) {
  constexpr int n = sizeof...(L);
  low = __builtin_shufflevector(a, b, (L / 2 + L % 2 * n)...);
  high = __builtin_shufflevector(a, b, (n / 2 + L / 2 + L % 2 * n)...);
}

// One square. After log2(S) perfect shuffles of S rows, row i is column i.
template <class I, bool past>
WENGERT_INLINE void turn_square(const I* src, int64_t src_row, I* dst, int64_t dst_row) {
  constexpr int S = kSquare<I>;
  using V = typename SquareRow<I>::type;
  V r[S], t[S];
  for (int j = 0; j < S; ++j) __builtin_memcpy(&r[j], src + j * src_row, sizeof(V));
#pragma GCC unroll 4
  for (int stage = 1; stage < S; stage *= 2) {
#pragma GCC unroll 8
    for (int k = 0; k < S / 2; ++k) {
      interleave(r[k], r[k + S / 2], t[2 * k], t[2 * k + 1], std::make_integer_sequence<int, S>{});
    }
#pragma GCC unroll 16
    for (int k = 0; k < S; ++k) r[k] = t[k];
  }
#pragma GCC unroll 16
  for (int i = 0; i < S; ++i) {
    if constexpr (past) {
      stream_vector(r[i], dst + i * dst_row);
    } else {
      __builtin_memcpy(dst + i * dst_row, &r[i], sizeof(V));
    }
  }
}

template <class I, bool past>
WENGERT_INLINE void turn_as(const I* src, int64_t src_row, I* dst, int64_t dst_row, int64_t rows,
                            int64_t columns) {
  constexpr int64_t S = kSquare<I>, kBlock = 4 * S;  // blocks stay within what the TLB holds
  const int64_t whole_rows = rows - rows % S, whole_columns = columns - columns % S;
  for (int64_t jb = 0; jb < whole_columns; jb += kBlock) {
    const int64_t je = jb + kBlock < whole_columns ? jb + kBlock : whole_columns;
    for (int64_t i = 0; i < whole_rows; i += S) {
      for (int64_t j = jb; j < je; j += S) {
        turn_square<I, past>(src + j * src_row + i, src_row, dst + i * dst_row + j, dst_row);
      }
    }
  }
  for (int64_t i = 0; i < rows; ++i) {
    for (int64_t j = i < whole_rows ? whole_columns : 0; j < columns; ++j) {
      dst[i * dst_row + j] = src[j * src_row + i];
    }
  }
}

// dst[i * dst_row + j] = src[j * src_row + i], i < rows, j < columns; strides in elements. Past the
// caches if asked to, where the rows of squares are whole lines.
template <class I>
void turn(const void* from, int64_t src_row, void* to, int64_t dst_row, int64_t rows,
          int64_t columns, bool past) {
  constexpr int64_t line = 64;
  const I* src = static_cast<const I*>(from);
  I* dst = static_cast<I*>(to);
  if constexpr (kSquare<I> * sizeof(I) == line) {
    const int64_t row_bytes = dst_row * static_cast<int64_t>(sizeof(I));
    if (past && reinterpret_cast<uintptr_t>(to) % line == 0 && row_bytes % line == 0) {
      return turn_as<I, true>(src, src_row, dst, dst_row, rows, columns);
    }
  }
  turn_as<I, false>(src, src_row, dst, dst_row, rows, columns);
}

template <class Isa>
void fill_copy(Isa& isa) {
#if defined(__SSE4_2__)
  isa.stream = &stream;
#endif
  isa.repeat[0] = &repeat_item<uint8_t>;
  isa.repeat[1] = &repeat_item<uint16_t>;
  isa.repeat[2] = &repeat_item<uint32_t>;
  isa.repeat[3] = &repeat_item<uint64_t>;
  isa.turn[0] = &turn<uint8_t>;
  isa.turn[1] = &turn<uint16_t>;
  isa.turn[2] = &turn<uint32_t>;
  isa.turn[3] = &turn<uint64_t>;
}

}  // namespace wengert::WENGERT_ISA
