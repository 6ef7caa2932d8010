// Counter-based random numbers: Philox4x32-10 (Salmon, Moraes, Dror, Shaw, Parallel random numbers:
// as easy as 1, 2, 3, 2011). Element i of an array depends on the seed, the stream's counter and i
// alone, so any split over threads gives the same numbers.
#pragma once

#include "kernels/cpu/cpu.h"
#include "kernels/cpu/vmath.h"

namespace wengert::WENGERT_ISA {

// kRandomBlock 32-bit words: words 4j .. 4j+3 come from counter first + j.
WENGERT_INLINE void philox_block(cpu::RandomStream s, uint64_t first, uint32_t* out) {
  constexpr int kLanes = cpu::kRandomBlock / 4;
  uint32_t c[4][kLanes];
  for (int j = 0; j < kLanes; ++j) {
    const uint64_t at = s.counter + first + static_cast<uint64_t>(j);
    c[0][j] = static_cast<uint32_t>(at);
    c[1][j] = static_cast<uint32_t>(at >> 32);
    c[2][j] = 0;
    c[3][j] = 0;
  }
  uint32_t k0 = static_cast<uint32_t>(s.seed), k1 = static_cast<uint32_t>(s.seed >> 32);
  for (int round = 0; round < 10; ++round) {
    for (int j = 0; j < kLanes; ++j) {
      const uint64_t p0 = uint64_t{0xD2511F53} * c[0][j], p1 = uint64_t{0xCD9E8D57} * c[2][j];
      const uint32_t n0 = static_cast<uint32_t>(p1 >> 32) ^ c[1][j] ^ k0;
      const uint32_t n2 = static_cast<uint32_t>(p0 >> 32) ^ c[3][j] ^ k1;
      c[0][j] = n0;
      c[1][j] = static_cast<uint32_t>(p1);
      c[2][j] = n2;
      c[3][j] = static_cast<uint32_t>(p0);
    }
    k0 += 0x9E3779B9;
    k1 += 0xBB67AE85;
  }
  for (int j = 0; j < kLanes; ++j) {
    for (int w = 0; w < 4; ++w) out[4 * j + w] = c[w][j];
  }
}

// kRandomBlock numbers in [0, 1): 24 bits of one word for float, 53 of two for double.
template <class T>
WENGERT_INLINE void uniform_block(cpu::RandomStream s, int64_t begin, T* out) {
  constexpr int n = cpu::kRandomBlock;
  uint32_t word[2 * n];
  if constexpr (sizeof(T) == 4) {
    philox_block(s, static_cast<uint64_t>(begin) / 4, word);
    for (int i = 0; i < n; ++i) {
      out[i] = static_cast<T>(static_cast<int32_t>(word[i] >> 8)) * T(0x1p-24);
    }
  } else {
    philox_block(s, static_cast<uint64_t>(begin) / 2, word);
    philox_block(s, static_cast<uint64_t>(begin) / 2 + n / 4, word + n);
    for (int i = 0; i < n; ++i) {
      const uint64_t both = uint64_t{word[2 * i]} << 32 | word[2 * i + 1];
      out[i] = static_cast<T>(static_cast<int64_t>(both >> 11)) * T(0x1p-53);
    }
  }
}

template <class T>
void uniform_fill(cpu::RandomStream s, int64_t begin, int64_t end, double low, double high,
                  void* out) {
  constexpr int64_t n = cpu::kRandomBlock;
  const T scale = static_cast<T>(high - low), shift = static_cast<T>(low);
  for (int64_t i = begin; i < end; i += n) {
    T u[n];
    uniform_block(s, i, u);
    const int64_t m = end - i < n ? end - i : n;
    for (int64_t j = 0; j < m; ++j) static_cast<T*>(out)[i + j] = u[j] * scale + shift;
  }
}

// Box and Muller, A note on the generation of random normal deviates (1958): within a block the
// first half of the uniforms gives radii, the second half angles.
template <class T>
void normal_fill(cpu::RandomStream s, int64_t begin, int64_t end, double mean, double std,
                 void* out) {
  constexpr int n = cpu::kRandomBlock, half = n / 2, N = Vec<T>::N;
  for (int64_t i = begin; i < end; i += n) {
    alignas(64) T u[n];
    uniform_block(s, i, u);
    for (int j = 0; j < half; j += N) {
      // 1 - u lies in (0, 1]: its logarithm is finite
      const Vec<T> r = sqrt(Vec<T>(-2.0) * log(Vec<T>(1.0) - Vec<T>::load(u + j)));
      const Vec<T> angle = Vec<T>(6.283185307179586) * Vec<T>::load(u + half + j);
      (Vec<T>(mean) + Vec<T>(std) * (r * cos(angle))).store(u + j);
      (Vec<T>(mean) + Vec<T>(std) * (r * sin(angle))).store(u + half + j);
    }
    const int64_t m = end - i < n ? end - i : n;
    for (int64_t j = 0; j < m; ++j) static_cast<T*>(out)[i + j] = u[j];
  }
}

// Whole numbers in [low, low + range): two words an element, mapped to the range by a 128-bit
// product (Lemire, Fast random integer generation in an interval, 2019, without the rejection: the
// bias is below range / 2^64).
inline void integer_fill(cpu::RandomStream s, int64_t begin, int64_t end, int64_t low,
                         uint64_t range, int64_t* out) {
  constexpr int64_t n = cpu::kRandomBlock / 2;  // numbers to a block of words
  __extension__ using Wide = unsigned __int128;
  for (int64_t i = begin; i < end; i += n) {
    uint32_t word[2 * n];
    philox_block(s, static_cast<uint64_t>(i) / 2, word);
    const int64_t m = end - i < n ? end - i : n;
    for (int64_t j = 0; j < m; ++j) {
      const uint64_t x = uint64_t{word[2 * j]} << 32 | word[2 * j + 1];
      out[i + j] = static_cast<int64_t>(static_cast<uint64_t>(low) +
                                        static_cast<uint64_t>(Wide{x} * range >> 64));
    }
  }
}

template <class T, class Isa>
void fill_random(Isa& isa) {
  constexpr int t = static_cast<int>(kDTypeOf<T>);
  isa.uniform[t] = &uniform_fill<T>;
  isa.normal[t] = &normal_fill<T>;
}

}  // namespace wengert::WENGERT_ISA
