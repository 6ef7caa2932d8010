// The vector type that every CPU kernel is written in: about fifteen operations on the compiler's
// vector extensions. Included once by each ISA's translation unit (isa_*.cpp), which defines
// WENGERT_ISA (the namespace) and WENGERT_VEC_BYTES, and is compiled with that ISA's flags.
//
// Everything here is always-inline and lives in the ISA's namespace: a function that the linker
// could share between translation units would leak wide instructions into narrow machines.
#pragma once

#include <cstdint>
#include <cstring>

#include "core/dtype.h"
#if defined(__AVX2__) || defined(__SSE4_2__)
#include <immintrin.h>
#endif

#define WENGERT_INLINE inline __attribute__((always_inline))

namespace wengert::WENGERT_ISA {

inline constexpr int kVecBytes = WENGERT_VEC_BYTES;

// The signed integer of T's size: the lane type of masks and of bit tricks.
template <int Bytes>
struct IntOf;
template <>
struct IntOf<1> {
  using type = int8_t;
};
template <>
struct IntOf<2> {
  using type = int16_t;
};
template <>
struct IntOf<4> {
  using type = int32_t;
};
template <>
struct IntOf<8> {
  using type = int64_t;
};
template <class T>
using int_of = typename IntOf<sizeof(T)>::type;

template <class T>
struct RawVec {
  typedef T type __attribute__((vector_size(WENGERT_VEC_BYTES)));
};
template <class T>
using Raw = typename RawVec<T>::type;

// All bits of a lane set, or none.
template <class T>
struct Mask {
  Raw<int_of<T>> v;
  WENGERT_INLINE friend Mask operator&(Mask a, Mask b) { return {a.v & b.v}; }
  WENGERT_INLINE friend Mask operator|(Mask a, Mask b) { return {a.v | b.v}; }
  WENGERT_INLINE friend Mask operator^(Mask a, Mask b) { return {a.v ^ b.v}; }
  WENGERT_INLINE friend Mask operator!(Mask a) { return {~a.v}; }
};

// 0, 1, 2, ... in the lanes.
template <class T>
WENGERT_INLINE Raw<int_of<T>> lane_numbers() {
  Raw<int_of<T>> r{};
  for (int i = 0; i < kVecBytes / static_cast<int>(sizeof(T)); ++i)
    r[i] = static_cast<int_of<T>>(i);
  return r;
}
// The lanes below n.
template <class T>
WENGERT_INLINE Mask<T> first_lanes(int n) {
  return {lane_numbers<T>() < static_cast<int_of<T>>(n)};
}

// Part of a vector from and to memory, reading and writing nothing beyond. A memcpy of a length not
// known to the compiler is a call of some 5 ns; masked instructions are free.
template <class T>
WENGERT_INLINE Raw<T> load_part(const T* p, int n) {
#if defined(__AVX512BW__)
  if constexpr (sizeof(T) == 1) {
    return reinterpret_cast<Raw<T>>(_mm512_maskz_loadu_epi8((uint64_t{1} << n) - 1, p));
  } else if constexpr (sizeof(T) == 2) {
    return reinterpret_cast<Raw<T>>(
        _mm512_maskz_loadu_epi16(static_cast<__mmask32>((uint64_t{1} << n) - 1), p));
  } else if constexpr (sizeof(T) == 4) {
    return reinterpret_cast<Raw<T>>(
        _mm512_maskz_loadu_epi32(static_cast<__mmask16>((1u << n) - 1), p));
  } else {
    return reinterpret_cast<Raw<T>>(
        _mm512_maskz_loadu_epi64(static_cast<__mmask8>((1u << n) - 1), p));
  }
#elif defined(__AVX2__)
  if constexpr (sizeof(T) < 4) {
    Raw<T> r{};
    __builtin_memcpy(&r, p, static_cast<size_t>(n) * sizeof(T));
    return r;
  }
  const auto mask = reinterpret_cast<__m256i>(first_lanes<T>(n).v);
  if constexpr (sizeof(T) == 4) {
    return reinterpret_cast<Raw<T>>(_mm256_maskload_epi32(reinterpret_cast<const int*>(p), mask));
  } else if constexpr (sizeof(T) == 8) {
    return reinterpret_cast<Raw<T>>(
        _mm256_maskload_epi64(reinterpret_cast<const long long*>(p), mask));
  }
#else
  Raw<T> r{};
  __builtin_memcpy(&r, p, static_cast<size_t>(n) * sizeof(T));
  return r;
#endif
}
template <class T>
WENGERT_INLINE void store_part(Raw<T> v, T* p, int n) {
#if defined(__AVX512BW__)
  if constexpr (sizeof(T) == 1) {
    _mm512_mask_storeu_epi8(p, (uint64_t{1} << n) - 1, reinterpret_cast<__m512i>(v));
  } else if constexpr (sizeof(T) == 2) {
    _mm512_mask_storeu_epi16(p, static_cast<__mmask32>((uint64_t{1} << n) - 1),
                             reinterpret_cast<__m512i>(v));
  } else if constexpr (sizeof(T) == 4) {
    _mm512_mask_storeu_epi32(p, static_cast<__mmask16>((1u << n) - 1),
                             reinterpret_cast<__m512i>(v));
  } else {
    _mm512_mask_storeu_epi64(p, static_cast<__mmask8>((1u << n) - 1), reinterpret_cast<__m512i>(v));
  }
#elif defined(__AVX2__)
  const auto mask = reinterpret_cast<__m256i>(first_lanes<T>(n).v);
  if constexpr (sizeof(T) < 4) {
    __builtin_memcpy(p, &v, static_cast<size_t>(n) * sizeof(T));
  } else if constexpr (sizeof(T) == 4) {
    _mm256_maskstore_epi32(reinterpret_cast<int*>(p), mask, reinterpret_cast<__m256i>(v));
  } else {
    _mm256_maskstore_epi64(reinterpret_cast<long long*>(p), mask, reinterpret_cast<__m256i>(v));
  }
#else
  __builtin_memcpy(p, &v, static_cast<size_t>(n) * sizeof(T));
#endif
}

template <class T>
struct Vec {
  using value_type = T;
  static constexpr int N = kVecBytes / static_cast<int>(sizeof(T));
  Raw<T> v;

  Vec() = default;
  WENGERT_INLINE Vec(Raw<T> r) : v(r) {}  // NOLINT
  WENGERT_INLINE explicit Vec(double s) : v(static_cast<T>(s) - Raw<T>{}) {}

  static WENGERT_INLINE Vec broadcast(T s) { return Vec(s - Raw<T>{}); }
  static WENGERT_INLINE Vec load(const T* p) {
    Vec r;
    __builtin_memcpy(&r.v, p, sizeof r.v);
    return r;
  }
  // The first n lanes; the others are zero. Tails run the same instructions as whole vectors, so
  // an element's bits do not depend on where it stands in an array.
  static WENGERT_INLINE Vec load(const T* p, int n) {
    return n >= N ? load(p) : Vec(load_part(p, n));
  }
  WENGERT_INLINE void store(T* p) const { __builtin_memcpy(p, &v, sizeof v); }
  WENGERT_INLINE void store(T* p, int n) const { n >= N ? store(p) : store_part(v, p, n); }

  WENGERT_INLINE friend Vec operator+(Vec a, Vec b) { return a.v + b.v; }
  WENGERT_INLINE friend Vec operator-(Vec a, Vec b) { return a.v - b.v; }
  WENGERT_INLINE friend Vec operator*(Vec a, Vec b) { return a.v * b.v; }
  WENGERT_INLINE friend Vec operator/(Vec a, Vec b) { return a.v / b.v; }
  WENGERT_INLINE friend Vec operator-(Vec a) { return -a.v; }
  WENGERT_INLINE friend Mask<T> operator==(Vec a, Vec b) { return {a.v == b.v}; }
  WENGERT_INLINE friend Mask<T> operator!=(Vec a, Vec b) { return {a.v != b.v}; }
  WENGERT_INLINE friend Mask<T> operator<(Vec a, Vec b) { return {a.v < b.v}; }
  WENGERT_INLINE friend Mask<T> operator<=(Vec a, Vec b) { return {a.v <= b.v}; }
  WENGERT_INLINE friend Mask<T> operator>(Vec a, Vec b) { return {a.v > b.v}; }
  WENGERT_INLINE friend Mask<T> operator>=(Vec a, Vec b) { return {a.v >= b.v}; }
  // of integers
  WENGERT_INLINE friend Vec operator&(Vec a, Vec b) { return from_raw(raw(a) & raw(b)); }
  WENGERT_INLINE friend Vec operator|(Vec a, Vec b) { return from_raw(raw(a) | raw(b)); }
  WENGERT_INLINE friend Vec operator^(Vec a, Vec b) { return from_raw(raw(a) ^ raw(b)); }
  WENGERT_INLINE friend Vec operator~(Vec a) { return from_raw(~raw(a)); }

 private:
  static WENGERT_INLINE Raw<int_of<T>> raw(Vec a) { return reinterpret_cast<Raw<int_of<T>>>(a.v); }
  static WENGERT_INLINE Vec from_raw(Raw<int_of<T>> b) { return reinterpret_cast<Raw<T>>(b); }
};

// Bools: + is or, * is and, as PyTorch has it. Lanes hold 0 or 1.
template <>
struct Vec<Bool8> {
  using value_type = Bool8;
  static constexpr int N = kVecBytes;
  Raw<uint8_t> v;

  Vec() = default;
  WENGERT_INLINE Vec(Raw<uint8_t> r) : v(r) {}  // NOLINT
  WENGERT_INLINE explicit Vec(double s) : v(lanes(s != 0)) {}
  static WENGERT_INLINE Raw<uint8_t> lanes(uint8_t b) { return b - Raw<uint8_t>{}; }
  static WENGERT_INLINE Vec load(const Bool8* p, int n = N) {
    return Vec<uint8_t>::load(reinterpret_cast<const uint8_t*>(p), n).v;
  }
  WENGERT_INLINE void store(Bool8* p, int n = N) const {
    Vec<uint8_t>(v).store(reinterpret_cast<uint8_t*>(p), n);
  }
  WENGERT_INLINE friend Vec operator+(Vec a, Vec b) { return a.v | b.v; }
  WENGERT_INLINE friend Vec operator*(Vec a, Vec b) { return a.v & b.v; }
  WENGERT_INLINE friend Vec operator-(Vec a, Vec b) { return a.v ^ b.v; }
  WENGERT_INLINE friend Vec operator&(Vec a, Vec b) { return a.v & b.v; }
  WENGERT_INLINE friend Vec operator|(Vec a, Vec b) { return a.v | b.v; }
  WENGERT_INLINE friend Vec operator^(Vec a, Vec b) { return a.v ^ b.v; }
  WENGERT_INLINE friend Vec operator~(Vec a) { return a.v ^ lanes(1); }
  WENGERT_INLINE friend Mask<Bool8> operator==(Vec a, Vec b) { return {a.v == b.v}; }
  WENGERT_INLINE friend Mask<Bool8> operator!=(Vec a, Vec b) { return {a.v != b.v}; }
  WENGERT_INLINE friend Mask<Bool8> operator<(Vec a, Vec b) { return {a.v < b.v}; }
  WENGERT_INLINE friend Mask<Bool8> operator<=(Vec a, Vec b) { return {a.v <= b.v}; }
  WENGERT_INLINE friend Mask<Bool8> operator>(Vec a, Vec b) { return {a.v > b.v}; }
  WENGERT_INLINE friend Mask<Bool8> operator>=(Vec a, Vec b) { return {a.v >= b.v}; }
};

// The lane type's bits as integers and back.
template <class T>
WENGERT_INLINE Raw<int_of<T>> bits(Vec<T> x) {
  return reinterpret_cast<Raw<int_of<T>>>(x.v);
}
template <class T>
WENGERT_INLINE Vec<T> from_bits(Raw<int_of<T>> b) {
  return reinterpret_cast<Raw<T>>(b);
}

WENGERT_INLINE Vec<Bool8> select(Mask<Bool8> c, Vec<Bool8> a, Vec<Bool8> b) {
  const auto m = reinterpret_cast<Raw<uint8_t>>(c.v);
  return (a.v & m) | (b.v & ~m);
}
template <class T>
WENGERT_INLINE Vec<T> select(Mask<T> c, Vec<T> a, Vec<T> b) {
  return c.v ? a.v : b.v;
}

// Lane i takes lane i ^ Distance, a power of two.
template <int Distance, class T>
WENGERT_INLINE Vec<T> swap_lanes(Vec<T> x) {
#if defined(__clang__)
  Vec<T> r;
  for (int i = 0; i < Vec<T>::N; ++i) r.v[i] = x.v[i ^ Distance];
  return r;
#else
  return __builtin_shuffle(x.v, lane_numbers<T>() ^ Distance);
#endif
}

// a * b + c, rounded once where the ISA has it; never contracted behind our back
// (-ffp-contract=off), so that a formula has the same bits wherever it is inlined.
template <class T>
WENGERT_INLINE Vec<T> fma(Vec<T> a, Vec<T> b, Vec<T> c) {
#if defined(__AVX512F__)
  if constexpr (sizeof(T) == 4)
    return _mm512_fmadd_ps(a.v, b.v, c.v);
  else
    return _mm512_fmadd_pd(a.v, b.v, c.v);
#elif defined(__FMA__)
  if constexpr (sizeof(T) == 4)
    return _mm256_fmadd_ps(a.v, b.v, c.v);
  else
    return _mm256_fmadd_pd(a.v, b.v, c.v);
#elif defined(__aarch64__)
  Vec<T> r;
  for (int i = 0; i < Vec<T>::N; ++i) {
    if constexpr (sizeof(T) == 4)
      r.v[i] = __builtin_fmaf(a.v[i], b.v[i], c.v[i]);
    else
      r.v[i] = __builtin_fma(a.v[i], b.v[i], c.v[i]);
  }
  return r;
#else
  return a.v * b.v + c.v;
#endif
}

// Correctly rounded. The masked forms are the plain ones without a GCC 12 warning.
template <class T>
WENGERT_INLINE Vec<T> sqrt(Vec<T> x) {
#if defined(__AVX512F__)
  if constexpr (sizeof(T) == 4)
    return _mm512_maskz_sqrt_ps(static_cast<__mmask16>(-1), x.v);
  else
    return _mm512_maskz_sqrt_pd(static_cast<__mmask8>(-1), x.v);
#elif defined(__AVX2__)
  if constexpr (sizeof(T) == 4)
    return _mm256_sqrt_ps(x.v);
  else
    return _mm256_sqrt_pd(x.v);
#elif defined(__SSE4_2__)
  if constexpr (sizeof(T) == 4)
    return _mm_sqrt_ps(x.v);
  else
    return _mm_sqrt_pd(x.v);
#else
  Vec<T> r;
  for (int i = 0; i < Vec<T>::N; ++i) {
    if constexpr (sizeof(T) == 4)
      r.v[i] = __builtin_sqrtf(x.v[i]);
    else
      r.v[i] = __builtin_sqrt(x.v[i]);
  }
  return r;
#endif
}

template <class T>
WENGERT_INLINE Vec<T> abs(Vec<T> x) {
  if constexpr (static_cast<T>(0.5) != T(0)) {
    using I = int_of<T>;
    constexpr I sign = static_cast<I>(I(1) << (sizeof(I) * 8 - 1));
    return from_bits<T>(bits(x) & (Raw<I>{} + static_cast<I>(~sign)));
  } else {
    return select(x < Vec<T>(0.0), -x, x);
  }
}

// NaN in either operand gives NaN, as PyTorch's maximum and minimum. The instructions give b where
// either is NaN, so a's are kept apart.
template <class T>
WENGERT_INLINE Vec<T> maximum(Vec<T> a, Vec<T> b) {
#if defined(__AVX512F__)
  if constexpr (__is_same(T, float)) {
    return _mm512_mask_max_ps(a.v, _mm512_cmp_ps_mask(a.v, a.v, _CMP_ORD_Q), a.v, b.v);
  } else if constexpr (__is_same(T, double)) {
    return _mm512_mask_max_pd(a.v, _mm512_cmp_pd_mask(a.v, a.v, _CMP_ORD_Q), a.v, b.v);
  }
#endif
  return select((a > b) | (a != a), a, b);
}
template <class T>
WENGERT_INLINE Vec<T> minimum(Vec<T> a, Vec<T> b) {
#if defined(__AVX512F__)
  if constexpr (__is_same(T, float)) {
    return _mm512_mask_min_ps(a.v, _mm512_cmp_ps_mask(a.v, a.v, _CMP_ORD_Q), a.v, b.v);
  } else if constexpr (__is_same(T, double)) {
    return _mm512_mask_min_pd(a.v, _mm512_cmp_pd_mask(a.v, a.v, _CMP_ORD_Q), a.v, b.v);
  }
#endif
  return select((a < b) | (a != a), a, b);
}

// -1, 0 or 1; 0 of NaN, as PyTorch.
template <class T>
WENGERT_INLINE Vec<T> sign(Vec<T> x) {
  const Vec<T> zero(0.0);
  return select(x > zero, Vec<T>(1.0), select(x < zero, zero - Vec<T>(1.0), zero));
}
WENGERT_INLINE Vec<Bool8> sign(Vec<Bool8> x) {
  return x;
}

// Integers and bools: what has no fraction.
template <class T>
inline constexpr bool is_integer = static_cast<double>(static_cast<T>(0.5)) != 0.5;
// Bools have no sign.
template <class T>
WENGERT_INLINE Mask<T> signbit(Vec<T> x) {
  if constexpr (__is_same(T, Bool8)) {
    return {Raw<int8_t>{}};
  } else {
    return {bits(x) < 0};
  }
}

// A vector to a place that is aligned to its size, past the caches where the ISA can do so.
template <class Raw>
WENGERT_INLINE void stream_vector(Raw v, void* to) {
#if defined(__AVX512F__)
  if constexpr (sizeof v == 64) return _mm512_stream_si512(static_cast<__m512i*>(to), (__m512i)v);
#endif
#if defined(__AVX2__)
  if constexpr (sizeof v == 32) return _mm256_stream_si256(static_cast<__m256i*>(to), (__m256i)v);
#endif
#if defined(__SSE4_2__)
  if constexpr (sizeof v == 16) return _mm_stream_si128(static_cast<__m128i*>(to), (__m128i)v);
#endif
  __builtin_memcpy(to, &v, sizeof v);
}

// Calls step(i, lanes) for each whole vector of n elements, and for the part of one that is left.
template <class T, class Step>
WENGERT_INLINE void over(int64_t n, Step&& step) {
  constexpr int N = Vec<T>::N;
  int64_t i = 0;
  for (; i + N <= n; i += N) step(i, N);
  if (i < n) step(i, static_cast<int>(n - i));
}
// The same from one copy of step: half the code, for a branch at every load and store.
template <class T, class Step>
WENGERT_INLINE void over_compact(int64_t n, Step&& step) {
  constexpr int N = Vec<T>::N;
#pragma GCC unroll 1
  for (int64_t i = 0; i < n; i += N) step(i, n - i < N ? static_cast<int>(n - i) : N);
}

}  // namespace wengert::WENGERT_ISA
