// Sorting networks down the lanes.
#pragma once

#include "kernels/cpu/cpu.h"
#include "kernels/cpu/vec.h"

namespace wengert::WENGERT_ISA {

// Merge exchange (Batcher, Sorting networks and their applications, 1968; Knuth, The Art of
// Computer Programming 3, algorithm 5.2.2M): what it compares depends on n alone.
inline void sort_columns(uint64_t* words, int64_t n) {
  typedef uint64_t V __attribute__((vector_size(WENGERT_VEC_BYTES)));
  constexpr int64_t lanes = kVecBytes / 8, vecs = (cpu::kSortLanes + lanes - 1) / lanes;
  static_assert(vecs * lanes == cpu::kSortLanes);
  const auto exchange = [&](uint64_t* p, uint64_t* q) __attribute__((always_inline)) {
    for (int64_t v = 0; v < vecs; ++v) {
      V a, b;
      __builtin_memcpy(&a, p + v * lanes, sizeof a);
      __builtin_memcpy(&b, q + v * lanes, sizeof b);
      const V low = a < b ? a : b, high = a < b ? b : a;
      __builtin_memcpy(p + v * lanes, &low, sizeof low);
      __builtin_memcpy(q + v * lanes, &high, sizeof high);
    }
  };
  int64_t top = 1;
  while (2 * top < n) top *= 2;
  if (n < 2) return;
  for (int64_t p = top; p > 0; p /= 2) {
    int64_t q = top, r = 0, d = p;
    for (;;) {
      for (int64_t i = 0; i + d < n; ++i) {
        if ((i & p) == r) exchange(words + i * cpu::kSortLanes, words + (i + d) * cpu::kSortLanes);
      }
      if (q == p) break;
      d = q - p;
      q /= 2;
      r = p;
    }
  }
}

}  // namespace wengert::WENGERT_ISA
