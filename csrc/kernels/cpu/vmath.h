// Vector transcendental functions over Vec<float> and Vec<double>: the most used ones, and what all
// are made of. The others stand in vmath_*.h; vmath_all.h includes all. Included, after vec.h, once
// by each ISA's translation unit; the loops that the tests reach them through are in
// vmath_table_isa.h.
//
// Above each function stands its largest error in ULP, for every argument and over all ISAs: "f32"
// measured on every finite float (pow, and NEON under an emulator: samples), "f64" on random and
// nasty points; the floats of AVX-512 go to vmath_lookup.h instead. All take NaN, infinities,
// signed zeros and subnormals, and round subnormal results once.
//
// fma() is a * b + c where the ISA lacks it, so no step relies on a product being exact unless its
// operands are short enough: the constants of the range reductions end in zero bits for this.
// All coefficients are minimax fits (Remez) made for these intervals.
#pragma once

#include "kernels/cpu/vec.h"
#include "kernels/cpu/vmath_table.h"
#if defined(__aarch64__)
#include <arm_neon.h>
#endif

// A function too long to be copied to each caller: one body for each ISA's unit, and private to it.
#define WENGERT_OUTLINE static __attribute__((noinline))

namespace wengert::WENGERT_ISA {

// A function of the C library, or of special.cpp, lane by lane.
template <class T>
WENGERT_OUTLINE Vec<T> lanes(cpu::Libm f, Vec<T> x) {
  T in[Vec<T>::N], out[Vec<T>::N];
  x.store(in);
  cpu::libm(f, in, out, Vec<T>::N);
  return Vec<T>::load(out);
}
template <class T>
WENGERT_OUTLINE Vec<T> lanes(cpu::Libm2 f, Vec<T> x, Vec<T> y) {
  T a[Vec<T>::N], b[Vec<T>::N], out[Vec<T>::N];
  x.store(a);
  y.store(b);
  cpu::libm(f, a, b, out, Vec<T>::N);
  return Vec<T>::load(out);
}

// ---- Bits, rounding, conversion ----
//
// The AVX-512 intrinsics are the zero-masked ones with every lane on: GCC 12 warns about the
// undefined source operand of the plain ones.

template <class T>
struct Ieee;
template <>
struct Ieee<float> {
  static constexpr int mantissa = 23, bias = 127;
  static constexpr int32_t one = 0x3f800000, sqrt_half = 0x3f3504f3;
  static constexpr uint32_t round_bits = 0x4b400000;  // of round_magic
  static constexpr double round_magic = 0x1.8p23;     // x + magic - magic rounds to an integer
  static constexpr double min_normal = 0x1p-126, subnormal_scale = 0x1p24;
  static constexpr double ln2_hi = 0x1.62e4p-1;  // 15 bits: times n is exact
  static constexpr double ln2_lo = 0x1.7f7d1cp-20;
  static constexpr double exp_max = 89.0, exp_min = -104.0;  // beyond: infinity, zero
};
template <>
struct Ieee<double> {
  static constexpr int mantissa = 52, bias = 1023;
  static constexpr int64_t one = 0x3ff0000000000000, sqrt_half = 0x3fe6a09e667f3bcd;
  static constexpr uint64_t round_bits = 0x4338000000000000;
  static constexpr double round_magic = 0x1.8p52;
  static constexpr double min_normal = 0x1p-1022, subnormal_scale = 0x1p54;
  static constexpr double ln2_hi = 0x1.62e42fefa3p-1;  // 41 bits
  static constexpr double ln2_lo = 0x1.3de6af278ece6p-42;
  static constexpr double exp_max = 710.0, exp_min = -746.0;
};

template <class T>
using RawInt = Raw<int_of<T>>;
template <int Bytes>
struct UintOf;
template <>
struct UintOf<4> {
  using type = uint32_t;
};
template <>
struct UintOf<8> {
  using type = uint64_t;
};
template <class T>
using RawUint = Raw<typename UintOf<sizeof(T)>::type>;

// Right shift that fills with zeros; 64-bit lanes have no other before AVX-512.
template <class T>
WENGERT_INLINE RawInt<T> shift_right(RawInt<T> a, int n) {
  return reinterpret_cast<RawInt<T>>(reinterpret_cast<RawUint<T>>(a) >> n);
}

template <class T>
WENGERT_INLINE Vec<T> sign_bit(Vec<T> x) {
  using I = int_of<T>;
  constexpr I sign = static_cast<I>(I(1) << (sizeof(I) * 8 - 1));
  return from_bits<T>(bits(x) & (RawInt<T>{} + sign));
}
// magnitude >= 0 with the sign of x.
template <class T>
WENGERT_INLINE Vec<T> with_sign(Vec<T> magnitude, Vec<T> x) {
  return from_bits<T>(bits(magnitude) | bits(sign_bit(x)));
}

template <class T>
WENGERT_INLINE bool any(Mask<T> m) {
#if defined(__AVX512F__)
  const auto v = reinterpret_cast<__m512i>(m.v);
  return _mm512_test_epi32_mask(v, v) != 0;
#elif defined(__AVX2__)
  const auto v = reinterpret_cast<__m256i>(m.v);
  return _mm256_testz_si256(v, v) == 0;
#elif defined(__SSE4_1__)
  const auto v = reinterpret_cast<__m128i>(m.v);
  return _mm_testz_si128(v, v) == 0;
#else
  int_of<T> r = 0;
  for (int i = 0; i < Vec<T>::N; ++i) r |= m.v[i];
  return r != 0;
#endif
}

// 2^n for n in the normal range.
template <class T>
WENGERT_INLINE Vec<T> power_of_two(RawInt<T> n) {
  return from_bits<T>((n + Ieee<T>::bias) << Ieee<T>::mantissa);
}
// x * 2^n for any n that exp produces. Two steps, because 2^n alone may overflow or underflow; the
// first is exact, so a subnormal result is rounded once.
template <class T>
WENGERT_INLINE Vec<T> scale(Vec<T> x, RawInt<T> n) {
  const RawInt<T> half = shift_right<T>(n + 4096, 1) - 2048;
  return x * power_of_two<T>(half) * power_of_two<T>(n - half);
}

// Mode is the x86 rounding mode: 0 to nearest with halves to even, 1 down, 2 up, 3 towards zero.
template <int Mode, class T>
WENGERT_INLINE Vec<T> round_to(Vec<T> x) {
  if constexpr (is_integer<T>) {
    return x;
  } else if constexpr (sizeof(T) == 4) {
#if defined(__AVX512F__)
    return _mm512_maskz_roundscale_ps(0xffff, x.v, 0x08 | Mode);
#elif defined(__AVX2__)
    return _mm256_round_ps(x.v, 0x08 | Mode);
#elif defined(__SSE4_1__)
    return _mm_round_ps(x.v, 0x08 | Mode);
#elif defined(__aarch64__)
    const auto v = (float32x4_t)x.v;
    return reinterpret_cast<Raw<T>>(Mode == 0   ? vrndnq_f32(v)
                                    : Mode == 1 ? vrndmq_f32(v)
                                    : Mode == 2 ? vrndpq_f32(v)
                                                : vrndq_f32(v));
#endif
  } else {
#if defined(__AVX512F__)
    return _mm512_maskz_roundscale_pd(0xff, x.v, 0x08 | Mode);
#elif defined(__AVX2__)
    return _mm256_round_pd(x.v, 0x08 | Mode);
#elif defined(__SSE4_1__)
    return _mm_round_pd(x.v, 0x08 | Mode);
#elif defined(__aarch64__)
    const auto v = (float64x2_t)x.v;
    return reinterpret_cast<Raw<T>>(Mode == 0   ? vrndnq_f64(v)
                                    : Mode == 1 ? vrndmq_f64(v)
                                    : Mode == 2 ? vrndpq_f64(v)
                                                : vrndq_f64(v));
#endif
  }
}
// To the nearest integer, halves to even.
template <class T>
WENGERT_INLINE Vec<T> round(Vec<T> x) {
  return round_to<0>(x);
}
template <class T>
WENGERT_INLINE Vec<T> floor(Vec<T> x) {
  return round_to<1>(x);
}
template <class T>
WENGERT_INLINE Vec<T> ceil(Vec<T> x) {
  return round_to<2>(x);
}
template <class T>
WENGERT_INLINE Vec<T> trunc(Vec<T> x) {
  return round_to<3>(x);
}

// A vector of floats as doubles: its lower and its upper lanes.
struct Widened {
  Vec<double> lo, hi;
};
WENGERT_INLINE Widened widen(Vec<float> x) {
#if defined(__AVX512F__)
  return {_mm512_maskz_cvtps_pd(0xff, _mm512_maskz_extractf32x8_ps(0xff, x.v, 0)),
          _mm512_maskz_cvtps_pd(0xff, _mm512_maskz_extractf32x8_ps(0xff, x.v, 1))};
#elif defined(__AVX2__)
  return {_mm256_cvtps_pd(_mm256_castps256_ps128(x.v)),
          _mm256_cvtps_pd(_mm256_extractf128_ps(x.v, 1))};
#elif defined(__SSE4_1__)
  return {_mm_cvtps_pd(x.v), _mm_cvtps_pd(_mm_movehl_ps(x.v, x.v))};
#elif defined(__aarch64__)
  const auto v = (float32x4_t)x.v;
  return {reinterpret_cast<Raw<double>>(vcvt_f64_f32(vget_low_f32(v))),
          reinterpret_cast<Raw<double>>(vcvt_high_f64_f32(v))};
#endif
}
WENGERT_INLINE Vec<float> narrow(Vec<double> lo, Vec<double> hi) {
#if defined(__AVX512F__)
  const __m512 low =
      _mm512_maskz_insertf32x8(0xffff, _mm512_setzero_ps(), _mm512_maskz_cvtpd_ps(0xff, lo.v), 0);
  return _mm512_maskz_insertf32x8(0xffff, low, _mm512_maskz_cvtpd_ps(0xff, hi.v), 1);
#elif defined(__AVX2__)
  return _mm256_insertf128_ps(_mm256_castps128_ps256(_mm256_cvtpd_ps(lo.v)), _mm256_cvtpd_ps(hi.v),
                              1);
#elif defined(__SSE4_1__)
  return _mm_movelh_ps(_mm_cvtpd_ps(lo.v), _mm_cvtpd_ps(hi.v));
#elif defined(__aarch64__)
  return reinterpret_cast<Raw<float>>(
      vcvt_high_f32_f64(vcvt_f32_f64((float64x2_t)lo.v), (float64x2_t)hi.v));
#endif
}

// c0 + c1 x + c2 x^2 + ..., by Horner's rule.
template <class T>
WENGERT_INLINE Vec<T> poly(Vec<T>, double c0) {
  return Vec<T>(c0);
}
template <class T, class... C>
WENGERT_INLINE Vec<T> poly(Vec<T> x, double c0, C... rest) {
  return fma(poly(x, rest...), x, Vec<T>(c0));
}

// a + b as a rounded sum and what the rounding lost (Dekker's Fast2Sum: |a| >= |b| or a == 0; and
// Knuth's TwoSum, for any a and b).
template <class T>
struct Sum {
  Vec<T> hi, lo;
};
template <class T>
WENGERT_INLINE Sum<T> fast_two_sum(Vec<T> a, Vec<T> b) {
  const Vec<T> s = a + b;
  return {s, b - (s - a)};
}
template <class T>
WENGERT_INLINE Sum<T> two_sum(Vec<T> a, Vec<T> b) {
  const Vec<T> s = a + b, t = s - a;
  return {s, (a - (s - t)) + (b - t)};
}

// ---- Exponentials ----

// e^x = 2^n (1 + r + tail) with |r| <= ln(2)/2, r rounded and tail holding what it lost. Argument
// reduction by Cody and Waite (Software Manual for the Elementary Functions, 1980); x must already
// be in the range where n is the exponent of a double or a float. NaN ends in r.
template <class T>
struct ExpParts {
  RawInt<T> n;
  Vec<T> r, tail;
};
template <class T>
WENGERT_INLINE ExpParts<T> exp_parts(Vec<T> x) {
  using P = Ieee<T>;
  const Vec<T> t = fma(x, Vec<T>(0x1.71547652b82fep+0), Vec<T>(P::round_magic));
  const Vec<T> n = t - Vec<T>(P::round_magic);
  const Vec<T> high = fma(n, Vec<T>(-P::ln2_hi), x);
  const Vec<T> low = n * Vec<T>(P::ln2_lo);
  const Vec<T> r = high - low;
  const Vec<T> lost = (high - r) - low;
  Vec<T> p;
  if constexpr (sizeof(T) == 4) {
    p = poly(r, 0.5, 0x1.555554p-3, 0x1.5554bp-5, 0x1.11118ep-7, 0x1.6d73f8p-10, 0x1.a02f36p-13);
  } else {
    p = poly(r, 0.5, 0.16666666666666677, 0.041666666666666505, 0.0083333333333214191,
             0.0013888888888964066, 0.00019841269886748905, 2.4801587170327329e-05,
             2.7557243502188095e-06, 2.7557403573883873e-07, 2.5109309357897608e-08,
             2.0875333777752699e-09);
  }
  return {bits(t) - static_cast<int_of<T>>(P::round_bits), r, fma(r * r, p, lost)};
}
// 2^-n, for use beside 1: exact there as long as it matters, and no smaller than 2^-(bias - 1).
template <class T>
WENGERT_INLINE Vec<T> power_of_minus(RawInt<T> n) {
  constexpr int_of<T> most = Ieee<T>::bias - 1;
  return power_of_two<T>(n > most ? RawInt<T>{} - most : -n);
}
// Comparisons are written so that NaN stays NaN.
template <class T>
WENGERT_INLINE Vec<T> clamp(Vec<T> x, double low, double high) {
  x = select(x < Vec<T>(low), Vec<T>(low), x);
  return select(x > Vec<T>(high), Vec<T>(high), x);
}
template <class T>
WENGERT_INLINE Vec<T> at_most(Vec<T> x, double high) {
  return select(x > Vec<T>(high), Vec<T>(high), x);
}

// f32: 0.87 ULP; f64: 0.83 ULP.
template <class T>
WENGERT_INLINE Vec<T> exp(Vec<T> x) {
  const auto e = exp_parts(clamp(x, Ieee<T>::exp_min, Ieee<T>::exp_max));
  return scale(Vec<T>(1.0) + (e.r + e.tail), e.n);
}

// f32: 1.06 ULP; f64: 1.04 ULP. 2^n ((1 - 2^-n) + r + tail): the first two terms are added with
// their rounding error kept, since they cancel where n is 1 or -1.
template <class T>
WENGERT_INLINE Vec<T> expm1(Vec<T> x) {
  const auto e = exp_parts(clamp(x, -40.0, Ieee<T>::exp_max));
  const auto s = fast_two_sum(Vec<T>(1.0) - power_of_minus<T>(e.n), e.r);
  const Vec<T> y = scale(s.hi + (s.lo + e.tail), e.n);
  return select(x == Vec<T>(0.0), x, y);
}

// a + b + r + tail as a sum and its rounding error; a >= |b|, and |a + b| >= |r| or a + b == 0.
template <class T>
WENGERT_INLINE Sum<T> sum_of(Vec<T> a, Vec<T> b, const ExpParts<T>& e) {
  const auto s = fast_two_sum(a, b), t = fast_two_sum(s.hi, e.r);
  return fast_two_sum(t.hi, s.lo + t.lo + e.tail);
}

// f32: 1.29 ULP; f64: 1.21 ULP. (e^2a - 1) / (e^2a + 1) for a = |x|, both divided by 2^n. Numerator
// and denominator keep their rounding errors, which correct the quotient to first order; for that
// a reciprocal right to 6% is enough.
template <class T>
WENGERT_INLINE Vec<T> tanh(Vec<T> x) {
  const Vec<T> a = at_most(abs(x), sizeof(T) == 4 ? 10.0 : 20.0);
  const auto e = exp_parts(a + a);
  const Vec<T> p = power_of_minus<T>(e.n);
  const auto n = sum_of(Vec<T>(1.0), -p, e), d = sum_of(Vec<T>(1.0), p, e);
  const Vec<T> q = n.hi / d.hi;
  const Vec<T> about = poly(d.hi, 2.29676723, -1.58893571, 0.33843146);
  return with_sign(fma(n.lo - q * d.lo, about, q), x);
}

// f32: 1.14 ULP; f64: 1.06 ULP. With e^|x| = 2^n (1 + r + tail), the smaller of sigmoid(x) and
// sigmoid(-x) is 2^-n / (2^-n + 1 + r + tail); the other is one minus it.
template <class T>
WENGERT_INLINE Vec<T> sigmoid(Vec<T> x) {
  const auto e = exp_parts(at_most(abs(x), -Ieee<T>::exp_min));
  const auto d = sum_of(Vec<T>(1.0), power_of_minus<T>(e.n), e);
  const Vec<T> one(1.0), r = one / d.hi;
  const Vec<T> small = scale(r - r * r * d.lo, -e.n);
  return select(x < Vec<T>(0.0), small, one - small);
}

// ---- Logarithms ----

// u = 2^e (1 + f) with 1 + f between sqrt(1/2) and sqrt(2), for positive normal u (for others the
// result is of no use, but harmless: unsigned lanes wrap). The biased exponent stays positive and
// goes to T through the mantissa of 2^mantissa, for want of a 64-bit conversion before AVX-512.
template <class T>
struct LogParts {
  Vec<T> e, f;
};
template <class T>
WENGERT_INLINE LogParts<T> log_parts(Vec<T> u) {
  using P = Ieee<T>;
  using U = RawUint<T>;
  constexpr auto offset = static_cast<typename UintOf<sizeof(T)>::type>(P::one - P::sqrt_half);
  constexpr auto bias = static_cast<typename UintOf<sizeof(T)>::type>(P::bias);
  constexpr double two_m = static_cast<double>(int64_t(1) << P::mantissa);
  const U raw = reinterpret_cast<U>(u.v), biased = (raw + offset) >> P::mantissa;
  const Vec<T> e = reinterpret_cast<Raw<T>>(biased | reinterpret_cast<U>(Vec<T>(two_m).v));
  const Vec<T> m = reinterpret_cast<Raw<T>>(raw - ((biased - bias) << P::mantissa));
  return {e - Vec<T>(two_m + P::bias), m - Vec<T>(1.0)};
}

// The same for subnormal u too.
template <class T>
WENGERT_INLINE LogParts<T> log_split(Vec<T> u) {
  using P = Ieee<T>;
  const Mask<T> tiny = u < Vec<T>(P::min_normal);
  const auto [e, f] = log_parts(select(tiny, u * Vec<T>(P::subnormal_scale), u));
  return {e - select(tiny, Vec<T>(sizeof(T) == 4 ? 24.0 : 54.0), Vec<T>(0.0)), f};
}
// log(1 + f) - f + extra (Muller, Elementary Functions, ch. 11). In double the atanh series in
// s = f / (2 + f) is half as long as a polynomial in f, and worth a division.
template <class T>
WENGERT_INLINE Vec<T> log_rest(Vec<T> f, Vec<T> extra) {
  const Vec<T> half_square = Vec<T>(0.5) * f * f;
  if constexpr (sizeof(T) == 4) {
    const Vec<T> p =
        poly(f, 0x1.555548p-2, -0x1.000006p-2, 0x1.99a4b4p-3, -0x1.555c4ap-3, 0x1.233782p-3,
             -0x1.fc22a2p-4, 0x1.e6ef96p-4, -0x1.de3886p-4, 0x1.14555ap-4);
    return fma(f * f * f, p, extra) - half_square;
  } else {
    const Vec<T> s = f / (Vec<T>(2.0) + f), z = s * s;
    const Vec<T> p =
        poly(z, 0.66666666666666663, 0.40000000000006286, 0.28571428569072926, 0.22222222648752463,
             0.18181775508542011, 0.15387097644583822, 0.13249962264060616, 0.13252751967816206);
    return fma(s, fma(z, p, half_square), extra) - half_square;
  }
}
// log(u) + extra for positive finite u and |extra| far below 1.
template <class T>
WENGERT_INLINE Vec<T> log_core(Vec<T> u, Vec<T> extra) {
  using P = Ieee<T>;
  const auto [e, f] = log_split(u);
  const Vec<T> rest = log_rest(f, fma(e, Vec<T>(P::ln2_lo), extra));
  return fma(e, Vec<T>(P::ln2_hi), f + rest);
}
// y where u is positive and finite; else what log(u) is there.
template <class T>
WENGERT_INLINE Vec<T> log_special(Vec<T> u, Vec<T> y) {
  const Vec<T> zero(0.0), inf = Vec<T>(__builtin_inf());
  const Vec<T> other = select(u < zero, Vec<T>(__builtin_nan("")), select(u == zero, -inf, u));
  return select((u > zero) & (u < inf), y, other);
}

// f32: 0.85 ULP; f64: 0.78 ULP.
template <class T>
WENGERT_INLINE Vec<T> log(Vec<T> x) {
  return log_special(x, log_core(x, Vec<T>(0.0)));
}

// f32: 0.86 ULP; f64: 0.76 ULP. log(u) + c / u, u the rounded 1 + x and c what it lost.
template <class T>
WENGERT_INLINE Vec<T> log1p(Vec<T> x) {
  const auto u = two_sum(Vec<T>(1.0), x);
  const Vec<T> y = log_special(u.hi, log_core(u.hi, u.lo / u.hi));
  return select(x == Vec<T>(0.0), x, y);
}

// ---- Sine and cosine ----

// x = n pi/2 + r + r_lo with |r| a little over pi/4 at most; quadrant holds n in its low bits.
template <class T>
struct TrigParts {
  RawInt<T> quadrant;
  Vec<T> r, r_lo;
};
// Arguments up to this size are reduced by vector code. It is set by n having 20 bits at most,
// which leave 33 for an exact product with a part of pi/2.
template <class T>
inline constexpr double kTrigLimit = sizeof(T) == 4 ? 0x1p19 : 1.6e6;

// Cody and Waite again: in double for floats (pi/2 to 86 bits), in four parts for doubles (pi/2 to
// 152 bits), as arguments may lie within 2^-60 of a multiple of pi/2.
WENGERT_INLINE TrigParts<float> trig_parts(Vec<float> x) {
  const Vec<float> magic(Ieee<float>::round_magic);
  const Vec<float> t = fma(x, Vec<float>(0x1.45f306dc9c883p-1), magic);
  const auto wide = widen(x), n = widen(t - magic);
  const Vec<double> p1(-0x1.921fb544p+0), p2(-0x1.0b4611a626331p-34);
  return {bits(t),
          narrow(fma(n.lo, p2, fma(n.lo, p1, wide.lo)), fma(n.hi, p2, fma(n.hi, p1, wide.hi))),
          Vec<float>(0.0)};
}
WENGERT_INLINE TrigParts<double> trig_parts(Vec<double> x) {
  using V = Vec<double>;
  const V magic(Ieee<double>::round_magic);
  const V t = fma(x, V(0x1.45f306dc9c883p-1), magic), n = t - magic;
  const auto a = two_sum(fma(n, V(-0x1.921fb544p+0), x), n * V(-0x1.0b4611a6p-34));
  const auto b = two_sum(a.hi, n * V(-0x1.3198a2ep-69));
  const V low = fma(n, V(-0x1.b839a252049c1p-104), a.lo + b.lo);
  const auto r = fast_two_sum(b.hi, low);
  return {bits(t), r.hi, r.lo};
}

// sin(r + r_lo) and cos(r + r_lo), each as two terms still to be added.
template <class T>
struct TrigSums {
  Sum<T> sin, cos;
};
template <class T>
WENGERT_INLINE TrigSums<T> trig_sums(const TrigParts<T>& p) {
  const Vec<T> r = p.r, z = r * r, half = Vec<T>(0.5) * z, one(1.0);
  Vec<T> ps, pc;
  if constexpr (sizeof(T) == 4) {
    ps = poly(z, -0x1.555556p-3, 0x1.111104p-7, -0x1.a00bc6p-13, 0x1.6bfdf2p-19);
    pc = poly(z, 0x1.555556p-5, -0x1.6c16b4p-10, 0x1.a00dd8p-16, -0x1.2388c6p-22);
  } else {
    ps = poly(z, -0.16666666666666666, 0.0083333333333333228, -0.00019841269841255118,
              2.7557319214216837e-06, -2.5052104918620081e-08, 1.6058367541603983e-10,
              -7.5787440373463716e-13);
    pc = poly(z, 0.041666666666666664, -0.0013888888888888874, 2.480158730157152e-05,
              -2.7557319215385846e-07, 2.0876754368386107e-09, -1.1470293515940963e-11,
              4.7381201703748526e-14);
  }
  const Vec<T> w = one - half;
  return {{r, fma(r * z, ps, p.r_lo * w)}, {w, ((one - w) - half) + fma(z * z, pc, -(r * p.r_lo))}};
}
// sin(r + r_lo) in even quadrants, cos in odd, negated in the upper two.
template <class T>
WENGERT_INLINE Vec<T> trig_value(const TrigParts<T>& p, RawInt<T> quadrant) {
  const auto sums = trig_sums(p);
  const Vec<T> s = sums.sin.hi + sums.sin.lo, c = sums.cos.hi + sums.cos.lo;
  const Mask<T> odd = {(quadrant & 1) != 0};
  const Vec<T> y = select(odd, c, s);
  return from_bits<T>(bits(y) ^ ((quadrant & 2) << (static_cast<int>(sizeof(T)) * 8 - 2)));
}

// The lanes of x beyond kTrigLimit; infinities and NaN are not among them, as the arithmetic makes
// NaN of both.
template <class T>
WENGERT_INLINE Mask<T> trig_beyond(Vec<T> x) {
  return (abs(x) > Vec<T>(kTrigLimit<T>)) & (abs(x) < Vec<T>(__builtin_inf()));
}

// f32: 1.50 ULP up to 2^19; f64: 0.80 ULP up to 1.6e6; beyond, the C library's, 0.57 seen.
template <class T>
WENGERT_INLINE Vec<T> sin(Vec<T> x) {
  const auto p = trig_parts(x);
  Vec<T> y = select(x == Vec<T>(0.0), x, trig_value(p, p.quadrant));
  if (const Mask<T> beyond = trig_beyond(x); __builtin_expect(any(beyond), false)) {
    y = select(beyond, lanes(cpu::Libm::Sin, select(beyond, x, Vec<T>(0.0))), y);
  }
  return y;
}

// f32: 1.50 ULP up to 2^19; f64: 0.80 ULP up to 1.6e6; beyond, the C library's, 0.57 seen.
template <class T>
WENGERT_INLINE Vec<T> cos(Vec<T> x) {
  const auto p = trig_parts(x);
  Vec<T> y = trig_value(p, p.quadrant + 1);
  if (const Mask<T> beyond = trig_beyond(x); __builtin_expect(any(beyond), false)) {
    y = select(beyond, lanes(cpu::Libm::Cos, select(beyond, x, Vec<T>(0.0))), y);
  }
  return y;
}

// ---- Error function ----

// f32: 1.32 ULP; f64: the C library's, 0.97 seen (lane by lane). Below 0.92 an odd polynomial,
// above it 1 - e^p(x) with p a fit to log(erfc(x)), which is nearly a parabola (Abramowitz and
// Stegun 7.1).
template <class T>
WENGERT_INLINE Vec<T> erf(Vec<T> x) {
  if constexpr (sizeof(T) == 4) {
    const Vec<T> a = abs(x), z = a * a;
    const Vec<T> near = fma(a,
                            poly(z, 0x1.06eba8p-3, -0x1.812742p-2, 0x1.ce2de2p-4, -0x1.b80b0ep-6,
                                 0x1.54a492p-8, -0x1.a8fc78p-11, 0x1.58949cp-14),
                            a);
    const auto e = exp_parts(poly(at_most(a, 4.0), 0x1.65aba4p-13, -0x1.212698p+0, -0x1.444b42p-1,
                                  -0x1.bb564cp-4, 0x1.9b194ep-6, -0x1.10a9f8p-8, 0x1.c54d22p-12,
                                  -0x1.5ecd66p-16));
    const Vec<T> one(1.0);
    const Vec<T> far = one - power_of_two<T>(e.n) * (one + (e.r + e.tail));
    return with_sign(select(a < Vec<T>(0.92), near, far), x);
  } else {
    return lanes(cpu::Libm::Erf, x);
  }
}

// ---- Powers ----

// x^y = e^(y log x) for the doubles that non-negative floats become, right to 2^-36: short versions
// of log and exp, with no subnormals to take care of and the exponent kept where 2^n is normal.
WENGERT_INLINE Vec<double> power_of_floats(Vec<double> x, Vec<double> y) {
  using P = Ieee<double>;
  using V = Vec<double>;
  const V zero(0.0), two(2.0), inf(__builtin_inf()), ln2(0x1.62e42fefa39efp-1);
  const auto [e, f] = log_parts(x);
  const V s = f / (two + f), z = s * s;
  const V p = poly(z, 0.66666666675846187, 0.39999995604746008, 0.28572111136145861,
                   0.22176099579002598, 0.19585521734214401);
  V log_x = fma(e, ln2, s * fma(z, p, two));
  log_x = select(x == zero, -inf, select(x < inf, log_x, x));
  const V w = clamp(y * log_x, -200.0, 200.0);
  const V t = fma(w, V(0x1.71547652b82fep+0), V(P::round_magic)), n = t - V(P::round_magic);
  const V r = fma(n, -ln2, w);
  const V q = poly(r, 1.0, 1.0, 0.50000000001074552, 0.16666666755447776, 0.041666665941911665,
                   0.0083332886108920257, 0.0013888986272412229, 0.00019905227267108565,
                   2.4796342631909039e-05);
  return q * power_of_two<double>(bits(t) - static_cast<int64_t>(P::round_bits));
}

// r = |x|^y with the sign of x^y, and the cases that the C standard lists.
WENGERT_INLINE Vec<float> pow_special(Vec<float> x, Vec<float> y, Vec<float> r) {
  using V = Vec<float>;
  const V zero(0.0), one(1.0), inf(__builtin_inf()), nan(__builtin_nan("")), half = V(0.5) * y;
  const Mask<float> integer = trunc(y) == y, odd = integer & (trunc(half) != half);
  r = select(odd, from_bits<float>(bits(r) | bits(sign_bit(x))), r);
  r = select((x < zero) & (x > -inf) & !integer, nan, r);
  r = select((x != x) | (y != y), nan, r);
  return select((x == one) | (y == zero) | ((x == -one) & (abs(y) == inf)), one, r);
}

// f32: 0.51 ULP; f64: the C library's (lane by lane). Floats go through double, where zeros,
// infinities, overflow and subnormal results need no care.
template <class T>
WENGERT_INLINE Vec<T> pow(Vec<T> x, Vec<T> y) {
  if constexpr (sizeof(T) == 4) {
    const auto wx = widen(abs(x)), wy = widen(y);
    return pow_special(x, y, narrow(power_of_floats(wx.lo, wy.lo), power_of_floats(wx.hi, wy.hi)));
  } else {
    return lanes(cpu::Libm2::Pow, x, y);
  }
}

}  // namespace wengert::WENGERT_ISA
