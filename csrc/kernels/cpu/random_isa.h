// Counter-based random numbers. Element i of an array depends on the seed, the stream's counter and
// i alone, so any split over threads gives the same numbers.
#pragma once

#include "kernels/cpu/cpu.h"
#include "kernels/cpu/philox.h"
#include "kernels/cpu/vmath_all.h"

namespace wengert::WENGERT_ISA {

typedef uint64_t Words __attribute__((vector_size(WENGERT_VEC_BYTES)));
inline constexpr int kWordLanes = kVecBytes / 8;

// The products of the lower halves of lanes.
WENGERT_INLINE Words times_low(Words a, Words b) {
#if defined(__AVX512F__)
  return reinterpret_cast<Words>(_mm512_maskz_mul_epu32(
      static_cast<__mmask8>(-1), reinterpret_cast<__m512i>(a), reinterpret_cast<__m512i>(b)));
#elif defined(__AVX2__)
  return reinterpret_cast<Words>(
      _mm256_mul_epu32(reinterpret_cast<__m256i>(a), reinterpret_cast<__m256i>(b)));
#elif defined(__SSE4_2__)
  return reinterpret_cast<Words>(
      _mm_mul_epu32(reinterpret_cast<__m128i>(a), reinterpret_cast<__m128i>(b)));
#else
  return (a & 0xffffffff) * (b & 0xffffffff);
#endif
}

// kRandomBlock 32-bit words: words 4j .. 4j+3 come from counter first + j. The same as cpu::philox,
// a counter to a lane; of its words, the lower halves of lanes, the upper halves are of no account.
WENGERT_INLINE void philox_block(cpu::RandomStream s, uint64_t first, uint32_t* out) {
  constexpr int kVecs = cpu::kRandomBlock / 4 / kWordLanes;
  const auto all = [](uint64_t x) { return x - Words{}; };
  Words lanes{};
  for (int i = 0; i < kWordLanes; ++i) lanes[i] = static_cast<uint64_t>(i);
  Words c[4][kVecs];
  for (int v = 0; v < kVecs; ++v) {
    c[0][v] = lanes + all(s.counter + first + static_cast<uint64_t>(v * kWordLanes));
    c[1][v] = c[0][v] >> 32;
    c[2][v] = c[3][v] = Words{};
  }
  uint32_t k0 = static_cast<uint32_t>(s.seed), k1 = static_cast<uint32_t>(s.seed >> 32);
  for (int round = 0; round < 10; ++round) {
    for (int v = 0; v < kVecs; ++v) {
      const Words p0 = times_low(c[0][v], all(0xD2511F53)),
                  p1 = times_low(c[2][v], all(0xCD9E8D57));
      c[0][v] = (p1 >> 32) ^ c[1][v] ^ all(k0);
      c[2][v] = (p0 >> 32) ^ c[3][v] ^ all(k1);
      c[1][v] = p1;
      c[3][v] = p0;
    }
    k0 += 0x9E3779B9;
    k1 += 0xBB67AE85;
  }
  for (int v = 0; v < kVecs; ++v) {
    const Words low = (c[0][v] & all(0xffffffff)) | c[1][v] << 32;
    const Words high = (c[2][v] & all(0xffffffff)) | c[3][v] << 32;
    Words both[2];
#if defined(__clang__)
    uint64_t pair[2 * kWordLanes];
    for (int i = 0; i < kWordLanes; ++i) pair[2 * i] = low[i], pair[2 * i + 1] = high[i];
    __builtin_memcpy(both, pair, sizeof both);
#else
    Words from{};
    for (int i = 0; i < kWordLanes; ++i) {
      from[i] = static_cast<uint64_t>(i / 2 + i % 2 * kWordLanes);
    }
    both[0] = __builtin_shuffle(low, high, from);
    both[1] = __builtin_shuffle(low, high, from + all(kWordLanes / 2));
#endif
    __builtin_memcpy(out + v * 4 * kWordLanes, both, sizeof both);
  }
}

// A block from where it was made: all of it, or its first m numbers.
template <class T>
WENGERT_INLINE void put_block(const T* from, int64_t m, T* to, bool past) {
  constexpr int n = cpu::kRandomBlock;
  if (m == n && past) {
    for (int j = 0; j < n; j += Vec<T>::N) stream_vector(Vec<T>::load(from + j).v, to + j);
  } else if (m == n) {
    for (int j = 0; j < n; j += Vec<T>::N) Vec<T>::load(from + j).store(to + j);
  } else {
    for (int64_t j = 0; j < m; ++j) to[j] = from[j];
  }
}

enum class Interval { HalfOpen, Open };  // [0, 1) or (0, 1)

// kRandomBlock uniform numbers. Of the half-open interval: s.bits bits of one word for float (24,
// or the fewer that a narrow type will hold), 53 of two words for double. Of the open interval: the
// midpoints of as many steps as stay exact.
template <class T, Interval kInterval>
WENGERT_INLINE void uniform_block(cpu::RandomStream s, int64_t begin, T* out) {
  constexpr int n = cpu::kRandomBlock;
  constexpr bool open = kInterval == Interval::Open;
  uint32_t word[2 * n];
  if constexpr (sizeof(T) == 4) {
    philox_block(s, static_cast<uint64_t>(begin) / 4, word);
    const int kept = open ? 23 : s.bits;
    const T step = T(1) / static_cast<T>(int32_t{1} << kept);
    const T shift = open ? T(0x1p-24) : T(0);
    for (int i = 0; i < n; ++i) {
      out[i] = static_cast<T>(static_cast<int32_t>(word[i] >> (32 - kept))) * step + shift;
    }
  } else {
    philox_block(s, static_cast<uint64_t>(begin) / 2, word);
    philox_block(s, static_cast<uint64_t>(begin) / 2 + n / 4, word + n);
    constexpr int kept = open ? 52 : 53;
    constexpr T step = open ? T(0x1p-52) : T(0x1p-53), shift = open ? T(0x1p-53) : T(0);
    for (int i = 0; i < n; ++i) {
      const uint64_t both = uint64_t{word[2 * i]} << 32 | word[2 * i + 1];
      out[i] = static_cast<T>(static_cast<int64_t>(both >> (64 - kept))) * step + shift;
    }
  }
}

template <class T>
void uniform_fill(cpu::RandomStream s, int64_t begin, int64_t end, double low, double high,
                  void* out) {
  constexpr int64_t n = cpu::kRandomBlock;
  const T scale = static_cast<T>(high - low), shift = static_cast<T>(low);
  for (int64_t i = begin; i < end; i += n) {
    alignas(64) T u[n];
    uniform_block<T, Interval::HalfOpen>(s, i, u);
    for (int j = 0; j < n; ++j) u[j] = u[j] * scale + shift;
    put_block(u, end - i < n ? end - i : n, static_cast<T*>(out) + i, s.past);
  }
}

// Box and Muller, A note on the generation of random normal deviates (1958): within a block the
// first half of the uniforms gives radii, the second half angles.
template <class T, bool kExp>
void normal_fill(cpu::RandomStream s, int64_t begin, int64_t end, double mean, double std,
                 void* out) {
  constexpr int n = cpu::kRandomBlock, half = n / 2, N = Vec<T>::N;
  const auto place = [&](Vec<T> z) {
    const Vec<T> x = Vec<T>(mean) + Vec<T>(std) * z;
    if constexpr (kExp) return exp(x);
    return x;
  };
  s.bits = 24;
  for (int64_t i = begin; i < end; i += n) {
    alignas(64) T u[n];
    uniform_block<T, Interval::HalfOpen>(s, i, u);
    for (int j = 0; j < half; j += N) {
      // 1 - u lies in (0, 1]: its logarithm is finite
      const Vec<T> r = sqrt(Vec<T>(-2.0) * log(Vec<T>(1.0) - Vec<T>::load(u + j)));
      const Vec<T> angle = Vec<T>(6.283185307179586) * Vec<T>::load(u + half + j);
      place(r * cos(angle)).store(u + j);
      place(r * sin(angle)).store(u + half + j);
    }
    put_block(u, end - i < n ? end - i : n, static_cast<T*>(out) + i, s.past);
  }
}

// Distributions by inversion: f maps uniforms of the open interval to the numbers wanted.
template <class T, class F>
WENGERT_INLINE void inverted_fill(cpu::RandomStream s, int64_t begin, int64_t end, void* out,
                                  F&& f) {
  constexpr int n = cpu::kRandomBlock;
  for (int64_t i = begin; i < end; i += n) {
    alignas(64) T u[n];
    uniform_block<T, Interval::Open>(s, i, u);
    for (int j = 0; j < n; j += Vec<T>::N) f(Vec<T>::load(u + j)).store(u + j);
    put_block(u, end - i < n ? end - i : n, static_cast<T*>(out) + i, s.past);
  }
}

template <class T>
void exponential_fill(cpu::RandomStream s, int64_t begin, int64_t end, double rate, double,
                      void* out) {
  const Vec<T> scale(-1.0 / rate);
  inverted_fill<T>(s, begin, end, out, [&](Vec<T> u) { return log(u) * scale; });
}

// The number of trials up to the first success; `log_failure` is log(1 - p).
template <class T>
void geometric_fill(cpu::RandomStream s, int64_t begin, int64_t end, double log_failure, double,
                    void* out) {
  const Vec<T> scale(log_failure);
  inverted_fill<T>(s, begin, end, out, [&](Vec<T> u) { return -floor(-(log(u) / scale)); });
}

// tan(pi (u - 1/2)) as a cotangent of the distance v to the nearer end, which keeps the tails.
template <class T>
void cauchy_fill(cpu::RandomStream s, int64_t begin, int64_t end, double median, double sigma,
                 void* out) {
  inverted_fill<T>(s, begin, end, out, [&](Vec<T> u) {
    const Vec<T> one(1.0), half(0.5);
    const Vec<T> v = Vec<T>(3.141592653589793) * select(u < half, u, one - u);
    const Vec<T> t = Vec<T>(sigma) * (cos(v) / sin(v));
    return Vec<T>(median) + select(u < half, -t, t);
  });
}

// The words below which a draw is a success of probability p < 1.
WENGERT_INLINE uint32_t success_bound(double p) {
  return static_cast<uint32_t>(static_cast<int64_t>(p * 0x1p32));
}

template <class T>
void bernoulli_fill(cpu::RandomStream s, int64_t begin, int64_t end, double p, double, void* out) {
  constexpr int64_t n = cpu::kRandomBlock;
  const uint32_t bound = success_bound(p);
  for (int64_t i = begin; i < end; i += n) {
    alignas(64) uint32_t word[n];
    alignas(64) T hit[n];
    philox_block(s, static_cast<uint64_t>(i) / 4, word);
    for (int j = 0; j < n; ++j) hit[j] = word[j] < bound ? T(1) : T(0);
    put_block(hit, end - i < n ? end - i : n, static_cast<T*>(out) + i, s.past);
  }
}

// x times scale, or times 0 with probability p.
template <class T>
void dropout_fill(cpu::RandomStream s, int64_t begin, int64_t end, double p, double scale,
                  const void* x, void* out) {
  constexpr int64_t n = cpu::kRandomBlock;
  const uint32_t bound = success_bound(p);
  const T kept = static_cast<T>(scale);
  for (int64_t i = begin; i < end; i += n) {
    alignas(64) uint32_t word[n];
    philox_block(s, static_cast<uint64_t>(i) / 4, word);
    const int64_t m = end - i < n ? end - i : n;
    const T* from = static_cast<const T*>(x) + i;
    alignas(64) T made[n];
    for (int64_t j = 0; j < m; ++j) made[j] = from[j] * (word[j] < bound ? T(0) : kept);
    put_block(made, m, static_cast<T*>(out) + i, s.past);
  }
}

// Whole numbers in [low, low + range): two words an element, mapped to the range by a 128-bit
// product (Lemire, Fast random integer generation in an interval, 2019, without the rejection: the
// bias is below range / 2^64). A range of 0 stands for 2^64.
inline void integer_fill(cpu::RandomStream s, int64_t begin, int64_t end, int64_t low,
                         uint64_t range, int64_t* out) {
  constexpr int64_t n = cpu::kRandomBlock / 2;  // numbers to a block of words
  __extension__ using Wide = unsigned __int128;
  const auto all = [](uint64_t x) { return x - Words{}; };
  for (int64_t i = begin; i < end; i += n) {
    alignas(64) uint32_t word[2 * n];
    philox_block(s, static_cast<uint64_t>(i) / 2, word);
    const int64_t m = end - i < n ? end - i : n;
    if (m == n && range - 1 < UINT32_MAX) {  // the product in halves, a number to a lane
      for (int j = 0; j < n; j += kWordLanes) {
        Words x;
        __builtin_memcpy(&x, word + 2 * j, sizeof x);
        const Words rest = times_low(x >> 32, all(range)) >> 32;
        x = ((times_low(x, all(range)) + rest) >> 32) + all(static_cast<uint64_t>(low));
        __builtin_memcpy(out + i + j, &x, sizeof x);
      }
      continue;
    }
    for (int64_t j = 0; j < m; ++j) {
      const uint64_t x = uint64_t{word[2 * j]} << 32 | word[2 * j + 1];
      const uint64_t offset = range == 0 ? x : static_cast<uint64_t>(Wide{x} * range >> 64);
      out[i + j] = static_cast<int64_t>(static_cast<uint64_t>(low) + offset);
    }
  }
}

template <class T, class Isa>
void fill_random(Isa& isa) {
  constexpr int t = static_cast<int>(kDTypeOf<T>);
  const auto set = [&](Kernel k, cpu::RandomLoop loop) {
    isa.random[cpu::distribution_index(id(k))][t] = loop;
  };
  set(Kernel::Uniform, &uniform_fill<T>);
  set(Kernel::Normal, &normal_fill<T, false>);
  set(Kernel::LogNormal, &normal_fill<T, true>);
  set(Kernel::Exponential, &exponential_fill<T>);
  set(Kernel::Geometric, &geometric_fill<T>);
  set(Kernel::Cauchy, &cauchy_fill<T>);
  set(Kernel::Bernoulli, &bernoulli_fill<T>);
  isa.dropout[t] = &dropout_fill<T>;
}

}  // namespace wengert::WENGERT_ISA
