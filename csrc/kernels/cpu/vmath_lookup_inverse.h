// Single precision tangent, inverse trigonometric and inverse hyperbolic functions for AVX-512: the
// formulas of vmath_trig.h and vmath_log.h with one branch of a polynomial or of a table where
// those have several, by masked instructions. Included after all other vmath headers, as
// vmath_lookup.h.
#pragma once

#include "kernels/cpu/vmath_lookup.h"

#if defined(__AVX512F__) && defined(__AVX512DQ__)
namespace wengert::WENGERT_ISA {

namespace lookup {

WENGERT_INLINE __mmask16 greater(V a, V b) {
  return _mm512_cmp_ps_mask(a.v, b.v, _CMP_GT_OQ);
}
// x + y in the lanes of m, x in the others; and y, 0 in the others.
WENGERT_INLINE V add_where(__mmask16 m, V x, V y) {
  return _mm512_mask_add_ps(x.v, m, x.v, y.v);
}
WENGERT_INLINE V where(__mmask16 m, V y) {
  return _mm512_maskz_mov_ps(m, y.v);
}

// pi / 2 as a float, and what that lacks.
inline constexpr double kQuarterTurn = 0x1.921fb4p+0, kQuarterTurnLost = 0x1.4442d2p-24;

// ---- Tangent ----

// With x = n pi/2 + r + lost: tan(r + lost) as a sum, or for odd n the inverse of it, negated. The
// signs are such that -0 stays.
WENGERT_INLINE V tan(V x) {
  const V magic(0x1.8p23), t = fma(x, V(0x1.45f306p-1), magic), n = t - magic;
  const V first = fma(n, V(-kQuarterTurn), x);
  const V second = n * V(0x1.4442dp-24), less = fma(n, V(0x1.4442dp-24), -second);
  const V r = first - second, more = less + (second - (first - r));
  const V lost = fma(n, V(-0x1.84698ap-48), -more);
  const V z = r * r;
  const V p = poly(z, 0x1.55556p-2, 0x1.110d9cp-3, 0x1.bada4ap-5, 0x1.5cba46p-6, 0x1.62f0d2p-7,
                   0x1.82868cp-14, 0x1.1ec6b6p-8);
  const auto sum = fast_two_sum(r, fma(r * z, p, fma(lost, z, lost)));
  const V inverse = about_inverse(sum.hi);
  const V error = fma(-sum.lo, inverse, fma(-sum.hi, inverse, V(1.0)));
  const __mmask16 odd =
      _mm512_test_epi32_mask(reinterpret_cast<__m512i>(bits(t)), _mm512_set1_epi32(1));
  return blend(odd, -fma(inverse, error, inverse), sum.hi);
}

// ---- Inverse trigonometric functions ----

// (atan(w) - w) / w^3 for |w| <= 1, z = w^2.
WENGERT_INLINE V atan_rest(V z) {
  return poly(z, -0x1.55553ep-2, 0x1.9991e6p-3, -0x1.2420b6p-3, 0x1.c08f64p-4, -0x1.58155ep-4,
              0x1.da5ed4p-5, -0x1.fdfc1cp-6, 0x1.64c1cep-7, -0x1.d4984ap-10);
}
// Beyond 1, pi/2 + atan(-1 / a) for a = |x|.
WENGERT_INLINE V atan(V x) {
  const V a = abs(x);
  const __mmask16 far = greater(a, V(1.0));
  const V w = _mm512_mask_div_ps(a.v, far, V(-1.0).v, a.v), z = w * w;
  const V y = w + fma(w * z, atan_rest(z), where(far, V(kQuarterTurnLost)));
  return with_sign_of(add_where(far, y, V(kQuarterTurn)), x);
}
// The angle of the point (x, y): with w the smaller of |x| and |y| by the larger, atan(w) from the
// nearest axis on, forth or back. Equal ones, which may be infinite or zero, are not divided.
WENGERT_INLINE V atan2(V y, V x) {
  const V ax = abs(x), ay = abs(y), zero(0.0);
  const __mmask16 steep = greater(ay, ax), left = is_negative(x);
  const V n = _mm512_maskz_min_ps(kAll, ay.v, ax.v), d = _mm512_maskz_max_ps(kAll, ay.v, ax.v);
  const __mmask16 differ = _mm512_cmp_ps_mask(ax.v, ay.v, _CMP_NEQ_UQ);
  const __mmask16 any = _mm512_cmp_ps_mask(ax.v, zero.v, _CMP_NEQ_UQ) | differ;
  const V q = where(any, _mm512_mask_div_ps(V(1.0).v, differ, n.v, d.v));
  const __mmask16 back = steep ^ left;
  const V w = _mm512_mask_sub_ps(q.v, back, zero.v, q.v), z = w * w;
  const auto base = [&](double quarter) __attribute__((always_inline)) {
    return blend(steep, V(quarter), where(left, V(2 * quarter)));
  };
  const V low = fma(w * z, atan_rest(z), base(kQuarterTurnLost));
  const V angle = base(kQuarterTurn) + (w + low);
  const V with_nan =
      angle + where(static_cast<__mmask16>(_mm512_cmp_ps_mask(x.v, y.v, _CMP_UNORD_Q)), x + y);
  return with_sign_of(with_nan, y);
}

// As asin_parts, with the root's rounding error left out.
struct AsinParts {
  __mmask16 beyond;
  V s, rest;  // asin(s) = s + s rest
};
WENGERT_INLINE AsinParts asin_parts(V x) {
  const V a = abs(x), half(0.5);
  const __mmask16 beyond = greater(a, half);
  const V z = blend(beyond, fma(-half, a, half), a * a);
  const V s = _mm512_mask_sqrt_ps(a.v, beyond, z.v);
  return {beyond, s,
          z * poly(z, 0x1.5555c8p-3, 0x1.330204p-4, 0x1.747bb8p-5, 0x1.8c3e5p-6, 0x1.595c6p-5)};
}
WENGERT_INLINE V asin(V x) {
  const auto [beyond, s, rest] = asin_parts(x);
  const V hi(kQuarterTurn), t = V(-2.0) * s;
  const auto sum = fast_two_sum(hi, t);
  const V far = sum.hi + (sum.lo + fma(t, rest, V(kQuarterTurnLost)));
  return with_sign_of(blend(beyond, far, fma(s, rest, s)), x);
}
// pi/2 - asin(x); beyond 1/2, 2 asin(s) or pi - 2 asin(s).
WENGERT_INLINE V acos(V x) {
  const auto [beyond, s, rest] = asin_parts(x);
  const auto near = static_cast<__mmask16>(~beyond);
  const I sign = (bits(x) ^ bits(where(near, V(-0.0)))) & INT32_MIN;
  const V t = from_bits<float>(bits(add_where(beyond, s, s)) ^ sign);
  const auto base = [&](double quarter) __attribute__((always_inline)) {
    return blend(near, V(quarter), where(is_negative(x), V(2 * quarter)));
  };
  const auto sum = fast_two_sum(base(kQuarterTurn), t);
  return sum.hi + (sum.lo + fma(t, rest, base(kQuarterTurnLost)));
}

// ---- Inverse hyperbolic functions ----

// log(1 + x.hi + x.lo), x.lo far smaller than x.hi. Where large, log(2 u) instead.
WENGERT_INLINE V log1p_of(Sum<float> x, __mmask16 large, V u_large) {
  const V one(1.0);
  const V high = _mm512_maskz_max_ps(kAll, one.v, x.hi.v);
  const V low = _mm512_maskz_min_ps(kAll, one.v, x.hi.v), sum = high + low;
  const V c = (low - (sum - high)) + x.lo, u = blend(large, u_large, sum);
  const auto [whole, r, inverse] = log_parts(u);
  const V down = from_bits<float>(0x7f000000 - (bits(u) & 0x7f800000));  // 1 / 2^exponent
  const V lost = _mm512_maskz_mul_ps(static_cast<__mmask16>(~large), c.v, down.v) * inverse;
  return ln_of(add_where(large, whole, one), r, lost);
}
// From here on sqrt(x^2 + 1) and sqrt(x^2 - 1) are x.
inline constexpr double kLarge = 0x1p14;

// sqrt(a^2 + 1) - 1 without cancellation, for a = |x|.
WENGERT_INLINE V asinh(V x) {
  const V a = abs(x), b = at_most(a, kLarge), one(1.0), square = b * b;
  const V v = square / (one + sqrt(one + square));
  return with_sign_of(log1p_of(fast_two_sum(a, v), greater(a, V(kLarge)), a), x);
}
// With t = x - 1, log(1 + t + sqrt(t^2 + 2t)).
WENGERT_INLINE V acosh(V x) {
  const V t = at_most(x, kLarge) - V(1.0), square = fma(abs(t), t, t + t);  // below 0 if t is
  const V s = sqrt(square), lost = fma(-s, s, square);
  const V inverse = _mm512_maskz_rsqrt14_ps(kAll, at_least(square, 0x1p-30).v);
  const auto sum = fast_two_sum(s, t);
  return log1p_of({sum.hi, fma(lost, V(0.5) * inverse, sum.lo)}, greater(x, V(kLarge)), x);
}
// log(1 + 2a / (1 - a)) / 2 for a = |x|.
WENGERT_INLINE V atanh(V x) {
  const V a = abs(x), one(1.0), d = one - a, d_lost = (one - d) - a;
  const V n = a + a, q = n / d, left = fma(-q, d_lost, fma(-q, d, n));
  const auto infinite = _mm512_cmp_ps_mask(a.v, one.v, _CMP_EQ_OQ);
  const V y = log1p_of({q, left * about_inverse(d)}, infinite, q);
  return with_sign_of(V(0.5) * y, x);
}

}  // namespace lookup

// Beside each its largest error in ULP over every fifth float (atan2: of random pairs).

WENGERT_INLINE Vec<float> tan(Vec<float> x) {  // 1.38 up to 2^17
  Vec<float> y = lookup::tan(x);
  if (__builtin_expect(lookup::greater(abs(x), Vec<float>(0x1p17)) != 0, false)) {
    y = select(turns_too_often(x), lanes(cpu::Libm::Tan, x), y);
  }
  return y;
}
WENGERT_INLINE Vec<float> atan(Vec<float> x) {  // 1.21
  return lookup::atan(x);
}
WENGERT_INLINE Vec<float> atan2(Vec<float> y, Vec<float> x) {  // 1.55
  return lookup::atan2(y, x);
}
WENGERT_INLINE Vec<float> asin(Vec<float> x) {  // 1.16
  return lookup::asin(x);
}
WENGERT_INLINE Vec<float> acos(Vec<float> x) {  // 1.14
  return lookup::acos(x);
}
WENGERT_INLINE Vec<float> asinh(Vec<float> x) {  // 1.01
  return lookup::asinh(x);
}
WENGERT_INLINE Vec<float> acosh(Vec<float> x) {  // 0.92
  return lookup::acosh(x);
}
WENGERT_INLINE Vec<float> atanh(Vec<float> x) {  // 0.93
  return lookup::atanh(x);
}

}  // namespace wengert::WENGERT_ISA
#endif
