// Copies that exchange two dimensions: elements that lie next to each other in the source lie a row
// apart in the destination. Squares are turned in registers, so that whole vectors are read and
// written.
#pragma once

#include "kernels/cpu/vec.h"

namespace wengert::WENGERT_ISA {

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
template <class I>
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
  for (int i = 0; i < S; ++i) __builtin_memcpy(dst + i * dst_row, &r[i], sizeof(V));
}

// dst[i * dst_row + j] = src[j * src_row + i], i < rows, j < columns; strides in elements.
template <class I>
void turn(const void* from, int64_t src_row, void* to, int64_t dst_row, int64_t rows,
          int64_t columns) {
  constexpr int64_t S = kSquare<I>, kBlock = 4 * S;  // blocks stay within what the TLB holds
  const I* src = static_cast<const I*>(from);
  I* dst = static_cast<I*>(to);
  const int64_t whole_rows = rows - rows % S, whole_columns = columns - columns % S;
  for (int64_t jb = 0; jb < whole_columns; jb += kBlock) {
    const int64_t je = jb + kBlock < whole_columns ? jb + kBlock : whole_columns;
    for (int64_t i = 0; i < whole_rows; i += S) {
      for (int64_t j = jb; j < je; j += S) {
        turn_square<I>(src + j * src_row + i, src_row, dst + i * dst_row + j, dst_row);
      }
    }
  }
  for (int64_t i = 0; i < rows; ++i) {
    for (int64_t j = i < whole_rows ? whole_columns : 0; j < columns; ++j) {
      dst[i * dst_row + j] = src[j * src_row + i];
    }
  }
}

template <class Isa>
void fill_copy(Isa& isa) {
  isa.turn[0] = &turn<uint8_t>;
  isa.turn[1] = &turn<uint16_t>;
  isa.turn[2] = &turn<uint32_t>;
  isa.turn[3] = &turn<uint64_t>;
}

}  // namespace wengert::WENGERT_ISA
