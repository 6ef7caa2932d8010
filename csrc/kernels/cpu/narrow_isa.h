// Elementwise kernels of narrow types that work on their elements as they are stored, without tiles
// of converted ones: bytes and 16-bit integers in vectors of their own, 16-bit floating point
// numbers (AVX-512 only) through single precision in registers. Results are the same as through
// tiles: integers wrap around, halves are rounded once. Other kernels of narrow types go through
// tiles (map.cpp).
#pragma once

#include "kernels/cpu/map_isa.h"

namespace wengert::WENGERT_ISA {

// No products of their own among these: wrapping int32 results to a narrow type and computing in it
// are the same for all of them.
using NarrowIntegerFunctors =
    TypeList<Neg, Abs, Square, Add, Sub, Mul, Maximum, Minimum, ClampMin, ClampMax, Where, Sign,
             Relu, Clamp, Eq, Ne, Lt, Le, Gt, Ge, LogicalNot, LogicalAnd, LogicalOr, BitwiseNot,
             BitwiseAnd, BitwiseOr, BitwiseXor>;

template <class T, class Table, class... Fs>
void fill_narrow_integers(Table& map, TypeList<Fs...>) {
  ((map[map_kernel<Fs>][static_cast<int>(kDTypeOf<T>)] = &map_forward<Fs, T>), ...);
}

#if defined(__AVX512BW__) && defined(__AVX512VL__)

// Shifts by counts that differ; those of 16 and more, which negative ones are as unsigned numbers,
// shift everything out. There are none of bytes: even and odd ones are shifted as 16-bit integers.
inline constexpr __mmask32 kAllWords = 0xffffffff;
WENGERT_INLINE __m512i words_left(__m512i a, __m512i n) {
  return _mm512_maskz_sllv_epi16(kAllWords, a, n);
}
template <class T>
WENGERT_INLINE __m512i words_right(__m512i a, __m512i n) {
  return static_cast<T>(-1) < 0 ? _mm512_maskz_srav_epi16(kAllWords, a, n)
                                : _mm512_maskz_srlv_epi16(kAllWords, a, n);
}
template <class T, class Shift>
WENGERT_INLINE Vec<T> shift_bytes(Vec<T> x, Vec<T> count, Shift shift) {
  const auto a = reinterpret_cast<__m512i>(x.v), n = reinterpret_cast<__m512i>(count.v);
  const __m512i eight = _mm512_set1_epi16(8), low = _mm512_set1_epi16(0xff);
  const __m512i even = shift(words_right<T>(words_left(a, eight), eight), _mm512_and_si512(n, low));
  const __m512i odd = shift(words_right<T>(a, eight), words_right<uint8_t>(n, eight));
  constexpr __mmask64 odd_bytes = 0xaaaaaaaaaaaaaaaa;
  return reinterpret_cast<Raw<T>>(_mm512_mask_mov_epi8(even, odd_bytes, words_left(odd, eight)));
}
template <class T>
  requires(sizeof(T) == 1 && !__is_same(T, Bool8))
WENGERT_INLINE Vec<T> shift_left(Vec<T> x, Vec<T> count) {
  return shift_bytes(x, count, [](__m512i a, __m512i n) __attribute__((always_inline)) {
    return words_left(a, n);
  });
}
template <class T>
  requires(sizeof(T) == 1 && !__is_same(T, Bool8))
WENGERT_INLINE Vec<T> shift_right(Vec<T> x, Vec<T> count) {
  return shift_bytes(x, count, [](__m512i a, __m512i n) __attribute__((always_inline)) {
    return words_right<T>(a, n);
  });
}
WENGERT_INLINE Vec<int16_t> shift_left(Vec<int16_t> x, Vec<int16_t> count) {
  const auto a = reinterpret_cast<__m512i>(x.v), n = reinterpret_cast<__m512i>(count.v);
  return reinterpret_cast<Raw<int16_t>>(words_left(a, n));
}
WENGERT_INLINE Vec<int16_t> shift_right(Vec<int16_t> x, Vec<int16_t> count) {
  const auto a = reinterpret_cast<__m512i>(x.v), n = reinterpret_cast<__m512i>(count.v);
  return reinterpret_cast<Raw<int16_t>>(words_right<int16_t>(a, n));
}
using NarrowShifts = TypeList<LeftShift, RightShift>;

using HalfFunctors = TypeList<Neg, Abs, Square, Reciprocal, Sqrt, Rsqrt, Add, Sub, Mul, Div,
                              Maximum, Minimum, ClampMin, ClampMax, Clamp, Where, Eq, Ne, Lt, Le,
                              Gt, Ge, Isnan, Relu, Gelu, Silu, Exp, Log, Tanh, Sigmoid>;

template <class S>
WENGERT_INLINE Vec<float> load_half(const char* p, int n) {
  const __m256i h = n >= 16 ? _mm256_loadu_si256(reinterpret_cast<const __m256i*>(p))
                            : _mm256_maskz_loadu_epi16(static_cast<__mmask16>((1u << n) - 1), p);
  constexpr __mmask16 all = 0xffff;
  if constexpr (__is_same(S, Float16)) {
    return _mm512_maskz_cvtph_ps(all, h);
  } else {
    return _mm512_castsi512_ps(
        _mm512_maskz_slli_epi32(all, _mm512_maskz_cvtepu16_epi32(all, h), 16));
  }
}
template <class S>
WENGERT_INLINE void store_half(Vec<float> v, char* p, int n) {
  constexpr __mmask16 all = 0xffff;
  __m256i h;
  if constexpr (__is_same(S, Float16)) {
    h = _mm512_maskz_cvtps_ph(all, v.v, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
  } else {
    // to nearest, ties to even; NaN stays NaN
    const Raw<int32_t> u = bits(v), rounded = u + (((u >> 16) & 1) + 0x7fff);
    const auto kept = select(v == v, from_bits<float>(rounded), from_bits<float>(u | 0x400000));
    const __m512i high = reinterpret_cast<__m512i>(bits(kept) >> 16);
    h = _mm512_maskz_cvtepi32_epi16(all, high);
  }
  if (n >= 16) {
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(p), h);
  } else {
    _mm256_mask_storeu_epi16(p, static_cast<__mmask16>((1u << n) - 1), h);
  }
}
template <class S>
WENGERT_INLINE void store_half(Mask<float> m, char* p, int n) {
  store_mask(m, p, n);
}

template <class F, int I, class S>
WENGERT_INLINE auto load_half_operand(const char* p, int64_t i, int n) {
  if constexpr (I == mask_operand<F>()) {
    return load_mask<float>(p + i, n);
  } else {
    return load_half<S>(p + 2 * i, n);
  }
}

// ptr: out, x0, x1, x2
template <class F, class S>
void map_half(char* const* ptr, int64_t n, const double* params) {
  const F fn = make_functor<F>(params);
  constexpr int64_t out_item = F::kind == Kind::Compare ? 1 : 2;
  over_compact<float>(n, [&](int64_t i, int m) __attribute__((always_inline)) {
    const auto x0 = load_half_operand<F, 0, S>(ptr[1], i, m);
    char* out = ptr[0] + i * out_item;
    if constexpr (F::arity == 1) {
      store_half<S>(fn.f(x0), out, m);
    } else if constexpr (F::arity == 2) {
      store_half<S>(fn.f(x0, load_half_operand<F, 1, S>(ptr[2], i, m)), out, m);
    } else {
      store_half<S>(fn.f(x0, load_half_operand<F, 1, S>(ptr[2], i, m),
                         load_half_operand<F, 2, S>(ptr[3], i, m)),
                    out, m);
    }
  });
}
template <class S, class Table, class... Fs>
void fill_halves(Table& map, TypeList<Fs...>) {
  ((map[map_kernel<Fs>][static_cast<int>(kDTypeOf<S>)] = &map_half<Fs, S>), ...);
}

// The other loops over casts become vector code by themselves.
inline void float16_to_float32(char* const* ptr, int64_t n, const double*) {
  float* out = reinterpret_cast<float*>(ptr[0]);
  over<float>(n, [&](int64_t i, int m) __attribute__((always_inline)) {
    load_half<Float16>(ptr[1] + 2 * i, m).store(out + i, m);
  });
}
inline void float32_to_float16(char* const* ptr, int64_t n, const double*) {
  const float* in = reinterpret_cast<const float*>(ptr[1]);
  over<float>(n, [&](int64_t i, int m) __attribute__((always_inline)) {
    store_half<Float16>(Vec<float>::load(in + i, m), ptr[0] + 2 * i, m);
  });
}

#endif

template <class Isa>
void fill_narrow(Isa& isa) {
  fill_narrow_integers<uint8_t>(isa.map, NarrowIntegerFunctors{});
  fill_narrow_integers<int8_t>(isa.map, NarrowIntegerFunctors{});
  fill_narrow_integers<int16_t>(isa.map, NarrowIntegerFunctors{});
#if defined(__AVX512BW__) && defined(__AVX512VL__)
  fill_narrow_integers<uint8_t>(isa.map, NarrowShifts{});
  fill_narrow_integers<int8_t>(isa.map, NarrowShifts{});
  fill_narrow_integers<int16_t>(isa.map, NarrowShifts{});
  fill_halves<Float16>(isa.map, HalfFunctors{});
  fill_halves<BFloat16>(isa.map, HalfFunctors{});
  constexpr int half = static_cast<int>(DType::Float16), single = static_cast<int>(DType::Float32);
  isa.cast[half][single] = &float16_to_float32;
  isa.cast[single][half] = &float32_to_float16;
#endif
}

}  // namespace wengert::WENGERT_ISA
