// What a core can do at most, to hold other loops against: multiply-adds on registers alone, and a
// copy past the caches.
#pragma once

#include "kernels/cpu/peak.h"
#include "kernels/cpu/vec.h"

namespace wengert::WENGERT_ISA {

WENGERT_INLINE Vec<float> multiply_add(Vec<float> a, Vec<float> b, Vec<float> c) {
#if defined(__FMA__) || defined(__AVX512F__) || defined(__aarch64__)
  return fma(a, b, c);
#else
  return a * b + c;
#endif
}

// Sums that do not wait for each other, enough for two units of a latency of up to six cycles, and
// few enough for 16 registers. They approach 1 and so are never slow numbers.
inline float peak_rounds(int64_t rounds) {
  const Vec<float> half(0.5);
  Vec<float> a(0.0), b(0.1), c(0.2), d(0.3), e(0.4), f(0.5);
  Vec<float> g(0.6), h(0.7), i(0.8), j(0.9), k(1.1), l(1.2);
  for (int64_t r = 0; r < rounds; ++r) {
    a = multiply_add(a, half, half), b = multiply_add(b, half, half);
    c = multiply_add(c, half, half), d = multiply_add(d, half, half);
    e = multiply_add(e, half, half), f = multiply_add(f, half, half);
    g = multiply_add(g, half, half), h = multiply_add(h, half, half);
    i = multiply_add(i, half, half), j = multiply_add(j, half, half);
    k = multiply_add(k, half, half), l = multiply_add(l, half, half);
  }
  return (((a + b) + (c + d)) + ((e + f) + (g + h)) + ((i + j) + (k + l))).v[0];
}

// n is a multiple of a vector's elements; both are aligned to a vector.
inline void stream_copy(const float* x, float* y, int64_t n) {
  for (int64_t i = 0; i < n; i += Vec<float>::N) {
    stream_vector(Vec<float>::load(x + i).v, y + i);
  }
#if defined(__SSE4_2__)
  _mm_sfence();
#endif
}

template <class Isa>
void fill_peak(Isa& isa) {
  isa.peak = {&peak_rounds, &stream_copy, 2 * 12 * Vec<float>::N};
}

}  // namespace wengert::WENGERT_ISA
