// Whether all elements of an array are finite, by their bits: the same loop for every dtype.
#pragma once

#include "kernels/cpu/vec.h"

namespace wengert::WENGERT_ISA {

// Infinities and NaNs have an exponent of all ones. One added to it carries into the sign, which
// was cleared. I: unsigned, of the element's size; Mantissa: its explicit bits.
template <class I, int Mantissa>
bool all_finite(const void* x, int64_t n) {
  typedef I V __attribute__((vector_size(WENGERT_VEC_BYTES)));
  constexpr int N = kVecBytes / static_cast<int>(sizeof(I));
  constexpr I sign = static_cast<I>(I(1) << (8 * sizeof(I) - 1));
  constexpr I magnitude = static_cast<I>(~sign), one = static_cast<I>(I(1) << Mantissa);
  const char* p = static_cast<const char*>(x);
  V seen[4] = {};
  int64_t i = 0;
  const auto look = [&](int u) __attribute__((always_inline)) {
    V v;
    __builtin_memcpy(&v, p + (i + u * N) * static_cast<int64_t>(sizeof(I)), sizeof v);
    seen[u] |= (v & magnitude) + one;
  };
  for (; i + 4 * N <= n; i += 4 * N) {
    for (int u = 0; u < 4; ++u) look(u);
  }
  for (; i + N <= n; i += N) look(0);
  I rest = 0;
  for (; i < n; ++i) {
    I v;
    __builtin_memcpy(&v, p + i * static_cast<int64_t>(sizeof(I)), sizeof v);
    rest = static_cast<I>(rest | static_cast<I>((v & magnitude) + one));
  }
  const V all = (seen[0] | seen[1]) | (seen[2] | seen[3]);
  for (int lane = 0; lane < N; ++lane) rest = static_cast<I>(rest | all[lane]);
  return (rest & sign) == 0;
}

template <class Isa>
void fill_finite(Isa& isa) {
  isa.all_finite[static_cast<int>(DType::Float16)] = &all_finite<uint16_t, 10>;
  isa.all_finite[static_cast<int>(DType::BFloat16)] = &all_finite<uint16_t, 7>;
  isa.all_finite[static_cast<int>(DType::Float32)] = &all_finite<uint32_t, 23>;
  isa.all_finite[static_cast<int>(DType::Float64)] = &all_finite<uint64_t, 52>;
}

}  // namespace wengert::WENGERT_ISA
