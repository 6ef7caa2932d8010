// Single precision functions for AVX-512, where a permutation picks from a table in registers and
// one instruction takes a number apart or puts it together. What they save is arithmetic: a
// polynomial for each piece of an axis is short, and needs no second branch to blend with.
//
// Included after all other vmath headers: the overloads at the end are preferred to those
// templates.
#pragma once

#include "kernels/cpu/vmath.h"
#include "kernels/cpu/vmath_activation.h"
#include "kernels/cpu/vmath_exp.h"
#include "kernels/cpu/vmath_log.h"
#include "kernels/cpu/vmath_lookup_tables.h"

#if defined(__AVX512F__) && defined(__AVX512DQ__)
namespace wengert::WENGERT_ISA {

namespace lookup {

using V = Vec<float>;
using I = Raw<int32_t>;

// The zero-masked intrinsics with every lane on: GCC 12 warns about the undefined source operand of
// the plain ones.
inline constexpr __mmask16 kAll = 0xffff;

// The larger and the smaller of x and a constant; a NaN in x stays.
WENGERT_INLINE V at_least(V x, double low) {
  return _mm512_maskz_max_ps(kAll, V(low).v, x.v);
}
WENGERT_INLINE V at_most(V x, double high) {
  return _mm512_maskz_min_ps(kAll, V(high).v, x.v);
}
// x 2^floor(n), rounded once.
WENGERT_INLINE V scale(V x, V n) {
  return _mm512_maskz_scalef_ps(kAll, x.v, n.v);
}
// 1 / x to 14 bits, x neither subnormal nor huge.
WENGERT_INLINE V about_inverse(V x) {
  return _mm512_maskz_rcp14_ps(kAll, x.v);
}
// Lane i is table[index[i] modulo the table's size].
WENGERT_INLINE V pick(const float (&table)[16], I index) {
  return _mm512_maskz_permutexvar_ps(kAll, reinterpret_cast<__m512i>(index), _mm512_load_ps(table));
}
WENGERT_INLINE V pick(const float (&table)[32], I index) {
  return _mm512_permutex2var_ps(_mm512_load_ps(table), reinterpret_cast<__m512i>(index),
                                _mm512_load_ps(table + 16));
}
WENGERT_INLINE Vec<double> pick(const double (&table)[16], Raw<int64_t> index) {
  return _mm512_permutex2var_pd(_mm512_load_pd(table), reinterpret_cast<__m512i>(index),
                                _mm512_load_pd(table + 8));
}
WENGERT_INLINE V negative(V x) {
  return from_bits<float>(bits(x) | INT32_MIN);
}
// x with the sign of s, x >= 0; and x with its sign changed where s has one.
WENGERT_INLINE V with_sign_of(V x, V s) {
  return from_bits<float>(bits(x) | (bits(s) & INT32_MIN));
}
WENGERT_INLINE __mmask16 is_negative(V x) {
  return _mm512_movepi32_mask(reinterpret_cast<__m512i>(x.v));
}
WENGERT_INLINE V blend(__mmask16 m, V yes, V no) {
  return _mm512_mask_blend_ps(m, no.v, yes.v);
}
// poly() with coefficients that are vectors.
template <class... C>
WENGERT_INLINE V horner(V, V c0) {
  return c0;
}
template <class... C>
WENGERT_INLINE V horner(V x, V c0, C... rest) {
  return fma(horner(x, rest...), x, c0);
}
// The polynomial of row `index` of a table, whose first column is where it is centred: its value is
// at_centre + slope * d.
struct Piece {
  V at_centre, slope, d;
};
template <int Columns, int Rows>
WENGERT_INLINE Piece piece(const float (&table)[Columns][Rows], I index, V x) {
  const V d = x - pick(table[0], index);
  V p = pick(table[Columns - 1], index);
#pragma GCC unroll 8
  for (int k = Columns - 2; k > 1; --k) p = fma(p, d, pick(table[k], index));
  return {pick(table[1], index), p, d};
}

// ---- Exponentials ----

// With |r| <= log(2) / 2 after Cody and Waite's reduction.
WENGERT_INLINE V exp(V x) {
  const V b = at_most(at_least(x, -104.0), 89.0), magic(0x1.8p23);
  const V t = fma(b, V(0x1.715476p+0), magic), n = t - magic;
  const V r = fma(n, V(0x1.05c61p-29), fma(n, V(-0x1.62e43p-1), b));
  const V p =
      poly(r, 1.0, 1.0, 0x1.fffffcp-2, 0x1.555492p-3, 0x1.5558bp-5, 0x1.12398ap-7, 0x1.6a4d7p-10);
  return scale(p, n);
}
WENGERT_INLINE V exp2(V x) {
  const V b = at_most(at_least(x, -152.0), 129.0), magic(0x1.8p23);
  const V n = (b + magic) - magic, r = b - n;
  const V p = poly(r, 1.0, 0x1.62e43p-1, 0x1.ebfbdcp-3, 0x1.c6af7ap-5, 0x1.3b2dd4p-7,
                   0x1.5f0952p-10, 0x1.4178a4p-13);
  return scale(p, n);
}
// 2^n (1 + r + rest) - 1, halved until the end, as 2^128 is no float.
WENGERT_INLINE V expm1(V x) {
  const V b = at_most(at_least(x, -18.0), 89.0), magic(0x1.8p23);
  const V t = fma(b, V(0x1.715476p+0), magic), n = t - magic;
  const V high = fma(n, V(-0x1.62e43p-1), b), low = n * V(-0x1.05c61p-29);
  const V r = high - low, lost = (high - r) - low;
  const V p = poly(r, 0x1.fffffcp-2, 0x1.555492p-3, 0x1.5558bp-5, 0x1.12398ap-7, 0x1.6a4d7p-10);
  const V half = from_bits<float>((bits(t) << 23) + 0x3f000000);  // 2^(n - 1)
  const V from = half - V(0.5), sum = fma(r, half, from);
  const V y = sum + fma(fma(r * r, p, lost), half, fma(r, half, from - sum));
  return with_sign_of(y + y, x);
}

// e^-|x|: to little more than half a unit, and with what that lacks.
WENGERT_INLINE Sum<float> exp_of_minus_sum(V x) {
  const V b = at_least(negative(x), -104.0), magic(0x1.8p19);
  const V t = fma(b, V(0x1.715476p+0), magic), n = t - magic;
  const V r = fma(n, V(0x1.05c61p-29), fma(n, V(-0x1.62e43p-1), b));
  const V q = fma(r * r, poly(r, 0x1.00022p-1, 0x1.55575p-3), r);
  const V hi = pick(kExp2, bits(t)), lo = fma(hi, q, pick(kExp2Lost, bits(t)));
  const V sum = hi + lo;
  return {scale(sum, n), scale(lo - (sum - hi), n)};
}
WENGERT_INLINE V exp_of_minus(V x) {
  return exp_of_minus_sum(x).hi;
}

// e^a / 4 and e^-a / 4 for 0 <= a < 90, the larger as a sum.
struct ExpPair {
  V hi, lo, small;
};
WENGERT_INLINE ExpPair exp_pair(V a) {
  const V magic(0x1.8p19);
  const V t = fma(a, V(0x1.715476p+0), magic), n = t - magic;
  const V r = fma(n, V(0x1.05c61p-29), fma(n, V(-0x1.62e43p-1), a)), z = r * r;
  const V odd = fma(r * z, V(0x1.55575p-3), r), even = z * V(0x1.00022p-1);
  const V hi = pick(kExp2, bits(t)), back = pick(kExp2, -bits(t));
  const V lo = fma(hi, even + odd, pick(kExp2Lost, bits(t)));
  const V up = n - V(2.0), down = V(-2.0) - n;
  return {scale(hi, up), scale(lo, up), scale(fma(back, even - odd, back), down)};
}
WENGERT_INLINE V cosh(V x) {
  const auto [hi, lo, small] = exp_pair(at_most(abs(x), 90.0));
  const V half = hi + (lo + small);
  return half + half;
}
// Below 1 an odd polynomial.
WENGERT_INLINE V sinh(V x) {
  const V a = abs(x), z = a * a;
  const auto [hi, lo, small] = exp_pair(at_most(a, 90.0));
  const V p = poly(z, 0x1.555556p-3, 0x1.11111ep-7, 0x1.a008fcp-13, 0x1.78a7c2p-19);
  const V half = hi + (lo - small);
  const __mmask16 near = _mm512_cmp_ps_mask(a.v, V(1.0).v, _CMP_LT_OQ);
  return with_sign_of(blend(near, fma(a * z, p, a), half + half), x);
}

// ---- Logarithms ----

// log(u) / log(2) = whole + log(1 + r) / log(2), with a short whole that is 0 or an integer beside
// 1 and powers of 2; -inf for 0, inf for inf, NaN below 0, without any test.
struct LogParts {
  V whole, r, inverse;
};
WENGERT_INLINE LogParts log_parts(V u) {
  const V e = _mm512_maskz_getexp_ps(kAll, u.v);
  const V m =
      _mm512_maskz_getmant_ps(kAll, u.v, _MM_MANT_NORM_1_2, static_cast<_MM_MANTISSA_SIGN_ENUM>(3));
  const I index = bits(m) >> 19;
  const V inverse = pick(kInverse, index);
  return {e + pick(kLog2, index), fma(m, inverse, V(-1.0)), inverse};
}
// log(2) whole + log(1 + r)
WENGERT_INLINE V ln_of(V whole, V r) {
  const V p = poly(r, -0x1.fffffep-2, 0x1.55585ap-2, -0x1.002534p-2, 0x1.842518p-3);
  const V low = fma(whole, V(0x1.efa39ep-25), fma(r * r, p, r));
  return fma(whole, V(0x1.62e42ep-1), low);
}
// The same of r + lost.
WENGERT_INLINE V ln_of(V whole, V r, V lost) {
  const V s = r + lost;
  const V p = poly(s, -0x1.fffffep-2, 0x1.55585ap-2, -0x1.002534p-2, 0x1.842518p-3);
  const V low = fma(whole, V(0x1.efa39ep-25), r + fma(s * s, p, lost));
  return fma(whole, V(0x1.62e42ep-1), low);
}
WENGERT_INLINE V log(V x) {
  const auto [whole, r, inverse] = log_parts(x);
  return ln_of(whole, r);
}
WENGERT_INLINE V log2(V x) {
  const auto [whole, r, inverse] = log_parts(x);
  const V p = poly(r, 0x1.4ae0cp-26, -0x1.715476p-1, 0x1.ec74eep-2, -0x1.7183bp-2, 0x1.17c728p-2);
  return whole + fma(r, V(0x1.715476p+0), r * p);
}
WENGERT_INLINE V log10(V x) {
  const auto [whole, r, inverse] = log_parts(x);
  const V p = poly(r, -0x1.5b235ep-27, -0x1.bcb7bp-3, 0x1.287d1ap-3, -0x1.bcf572p-4, 0x1.50f84ap-4);
  const V low = fma(whole, V(0x1.09f7ap-26), fma(r, V(0x1.bcb7b2p-2), r * p));
  return fma(whole, V(0x1.344134p-2), low);
}
// As log(u + c) with c what the rounding of u = 1 + x lost; their sum is exact where u is near 1.
WENGERT_INLINE V log1p(V x) {
  const V high = _mm512_maskz_max_ps(kAll, V(1.0).v, x.v),
          low = _mm512_maskz_min_ps(kAll, V(1.0).v, x.v);
  const V u = high + low, c = low - (u - high);
  const auto [whole, r, inverse] = log_parts(u);
  const V down = from_bits<float>(0x7f000000 - (bits(u) & 0x7f800000));  // 1 / 2^exponent
  // of no account for large u, not a number for an infinite one
  const __mmask16 small = _mm512_cmp_ps_mask(u.v, V(0x1p40).v, _CMP_LT_OQ);
  const V scaled = _mm512_maskz_mul_ps(small, c.v, down.v);
  return with_sign_of(ln_of(whole, fma(scaled, inverse, r)), x);
}

// ---- Functions that saturate ----

// Odd functions from their tables. In the first piece, around 0, that holds (f(x) - x) / x.
WENGERT_INLINE V tanh(V x) {
  const V a = at_most(abs(x), 9.5);
  const __mmask16 first = _mm512_cmp_ps_mask(a.v, V(0x1.8p-5).v, _CMP_LT_OQ);
  const Piece p = piece(kTanh, bits(at_least(a, 0x1.5p-5)) >> 21, a);
  return with_sign_of(fma(p.slope, p.d, blend(first, a, p.at_centre)), x);
}
WENGERT_INLINE V erf(V x) {
  const V a = at_most(abs(x), 0x1.fffffep+1);
  const __mmask16 first = _mm512_cmp_ps_mask(a.v, V(0x1.4p-6).v, _CMP_LT_OQ);
  const Piece p = piece(kErf, bits(at_least(a, 0x1.1p-6)) >> 21, a);
  return with_sign_of(fma(p.slope, p.d, blend(first, a, p.at_centre)), x);
}

// n / (d + lost), the quotient corrected by its remainder.
WENGERT_INLINE V divide(V n, V d, V lost) {
  const V inverse = about_inverse(d), q = n * inverse;
  return fma(fma(-lost, q, fma(-d, q, n)), inverse, q);
}
// 1 / (1 + e^-|x|), times e^-|x| below 0.
WENGERT_INLINE V sigmoid(V x) {
  const V e = exp_of_minus(x), one(1.0), d = one + e;
  return divide(blend(is_negative(x), e, one), d, e - (d - one));
}
// log(1 + e^-|x|)
WENGERT_INLINE V log1p_exp(V x) {
  const auto e = exp_of_minus_sum(x);
  const I u = bits(at_most(V(1.0) + e.hi, 0x1.fffffep+0));
  const __mmask16 first =
      _mm512_testn_epi32_mask(reinterpret_cast<__m512i>(u), _mm512_set1_epi32(0x780000));
  const Piece p = piece(kLog1p, u >> 19, e.hi);
  return blend(first, e.hi, p.at_centre) + fma(p.slope, p.d, e.lo);
}
WENGERT_INLINE V softplus(V x) {
  return at_least(x, 0.0) + log1p_exp(x);
}
WENGERT_INLINE V logsigmoid(V x) {
  return at_most(x, 0.0) - log1p_exp(x);
}
// x tanh(log(1 + e^x)) is x n / (n + 2) with n = e^x (e^x + 2); above 0 both by e^-2x.
WENGERT_INLINE V mish(V x) {
  const V e = exp_of_minus(x), one(1.0), two(2.0);
  const __mmask16 below = is_negative(x);
  const V n = blend(below, e * (e + two), fma(two, e, one));
  const V add = blend(below, two, two * (e * e)), d = n + add;
  return x * divide(n, d, add - (d - n));
}

// For a = min(|x|, 14.9): w = e^(a^2 / 2) Phi(-a), Phi the normal distribution function, and
// e^(-a^2 / 2) = 2^n (hi + lo).
struct Normal {
  V a, n, hi, lo;
  Piece w;
};
WENGERT_INLINE Normal normal(V x) {
  const V a = at_most(abs(x), 14.9), magic(0x1.8p19);
  const V t = fma(a * V(-0x1.715476p-1), a, magic), n = t - magic;
  // r = a^2 + 2 log(2) n; the product with the short part of 2 log(2) is exact
  const V r = fma(n, V(-0x1.bd0106p-12), fma(a, a, n * V(0x1.63p+0)));
  const V q = r * poly(r, -0.5, 0x1.000222p-3, -0x1.555722p-6);
  const V hi = pick(kExp2, bits(t)), lo = fma(hi, q, pick(kExp2Lost, bits(t)));
  return {a, n, hi, lo, piece(kNormal, bits(a + V(1.0)) >> 21, a)};
}
// max(x, 0) - |x| Phi(-|x|), the product with the rounding errors of its factors.
WENGERT_INLINE V gelu(V x) {
  const auto [a, n, hi, lo, w] = normal(x);
  const V h = a * hi, lost = fma(a, lo, fma(a, hi, -h)), rest = w.slope * w.d;
  const V tail = scale(fma(w.at_centre, h, fma(rest, h, (w.at_centre + rest) * lost)), n);
  const V below = fma(x, V(0.0), -tail);  // NaN for -inf, as PyTorch has it
  return _mm512_mask_sub_ps(below.v, static_cast<__mmask16>(~is_negative(x)), x.v, tail.v);
}
// Phi(x) + x phi(x)
WENGERT_INLINE V gelu_slope(V x) {
  const auto [a, n, hi, lo, w] = normal(x);
  const V e = scale(hi + lo, n), tail = e * fma(w.slope, w.d, w.at_centre);
  const V b = at_most(at_least(x, -14.9), 14.9);
  return fma(b * V(0x1.988454p-2), e, blend(is_negative(x), tail, V(1.0) - tail));
}

// ---- Sine and cosine ----

// x = n pi/16 + r. The first step is exact, and so is the second where it cancels.
struct TrigParts {
  I n;
  V r;
};
WENGERT_INLINE TrigParts sixteenths(V x) {
  const V magic(0x1.8p23), t = fma(x, V(0x1.45f306p+2), magic), n = t - magic;
  const V r = fma(n, V(0x1.777a5cp-28), fma(n, V(-0x1.921fb6p-3), x));
  return {bits(t), fma(n, V(0x1.ee59dap-53), r)};
}
// sin(k pi/16 + r) by the addition theorem.
WENGERT_INLINE V sine(I k, V r) {
  const V z = r * r;
  const V s = r * z * poly(z, -0x1.555554p-3, 0x1.10f816p-7);
  const V c = z * poly(z, -0x1.fffffcp-2, 0x1.552ccep-5);
  const V sin_k = pick(kSin, k), cos_k = pick(kSin, k + 8);
  return sin_k + fma(cos_k, r, fma(cos_k, s, fma(sin_k, c, pick(kSinLost, k))));
}

WENGERT_INLINE V sin(V x) {
  const auto p = sixteenths(x);
  return sine(p.n, p.r);
}
WENGERT_INLINE V cos(V x) {
  const auto p = sixteenths(x);
  return sine(p.n + 8, p.r);
}

// ---- Powers ----

// log2(x) for x in (0, inf), right to 2^-33 of itself.
WENGERT_INLINE Vec<double> log2_of_float(Vec<double> x) {
  using D = Vec<double>;
  const D e = _mm512_maskz_getexp_pd(0xff, x.v);
  const D m = _mm512_maskz_getmant_pd(0xff, x.v, _MM_MANT_NORM_1_2, _MM_MANT_SIGN_zero);
  const Raw<int64_t> index = bits(m) >> 48;
  const D r = fma(m, pick(kInverseDouble, index), D(-1.0));
  const D p = poly(r, 1.4426950408724042, -0.7213475111835543, 0.48089845712633633,
                   -0.36070045117517413, 0.2886340716240133, -0.22404019823249938);
  return fma(r, p, e + pick(kLog2Double, index));
}

// |x|^y for finite x, not 0, and finite y: 2^(y log2(x)), the logarithm and the product as sums.
// The inverse picked for x is so short that r is exact.
WENGERT_INLINE V pow_of_magnitude(V x, V y) {
  const V e = _mm512_maskz_getexp_ps(kAll, x.v);
  const V m = _mm512_maskz_getmant_ps(kAll, x.v, _MM_MANT_NORM_1_2, _MM_MANT_SIGN_zero);
  const I index = bits(m) >> 18;
  const V r = fma(m, pick(kShortInverse, index), V(-1.0));
  const auto whole = fast_two_sum(e, pick(kShortLog2, index));
  const V ratio(0x1.715476p+0),
      tail = poly(r, -0x1.715476p-1, 0x1.ec709ep-2, -0x1.716804p-2, 0x1.2790a8p-2, -0x1.57450ap-3);
  const V slope = fma(r, tail, ratio), slope_lost = fma(r, tail, ratio - slope) + V(0x1.4ae0cp-26);
  const V first = r * slope, first_lost = fma(r, slope, -first);
  const auto log = fast_two_sum(whole.hi, first);  // exact, as whole is 0 or not much smaller
  const V lost = (whole.lo + pick(kShortLog2Lost, index)) + log.lo;
  const V log_lost = fma(r, slope_lost, first_lost) + lost;
  const V product = y * log.hi, low = fma(y, log_lost, fma(y, log.hi, -product));
  const V near = _mm512_maskz_reduce_ps(kAll, product.v, 4 << 4), n = product - near;
  // of no account, and perhaps not a number, where n is huge
  constexpr int smaller = 0x06;  // the operand that is nearer to 0
  const V d = _mm512_maskz_range_ps(kAll, (near + low).v, V(0.0625).v, smaller);
  const V p = d * poly(d, 0x1.62e43p-1, 0x1.ebfff4p-3, 0x1.c6ae38p-5);
  const I part = bits(n + V(0x1.8p19));
  const V two = pick(kExp2, part);
  return scale(two + fma(two, p, pick(kExp2Lost, part)), n);
}

}  // namespace lookup

// Beside each its largest error in ULP: of the most used ones over all floats, of the others over
// every 97th (docs/accuracy.md).

WENGERT_INLINE Vec<float> exp(Vec<float> x) {  // 0.90
  return lookup::exp(x);
}
WENGERT_INLINE Vec<float> exp2(Vec<float> x) {  // 0.82
  return lookup::exp2(x);
}
WENGERT_INLINE Vec<float> expm1(Vec<float> x) {  // 1.06
  return lookup::expm1(x);
}
WENGERT_INLINE Vec<float> log(Vec<float> x) {  // 1.07
  return lookup::log(x);
}
WENGERT_INLINE Vec<float> log2(Vec<float> x) {  // 1.00
  return lookup::log2(x);
}
WENGERT_INLINE Vec<float> log10(Vec<float> x) {  // 1.23
  return lookup::log10(x);
}
WENGERT_INLINE Vec<float> log1p(Vec<float> x) {  // 1.12
  return lookup::log1p(x);
}
WENGERT_INLINE Vec<float> tanh(Vec<float> x) {  // 0.97
  return lookup::tanh(x);
}
WENGERT_INLINE Vec<float> sigmoid(Vec<float> x) {  // 1.50
  return lookup::sigmoid(x);
}
WENGERT_INLINE Vec<float> erf(Vec<float> x) {  // 0.94
  return lookup::erf(x);
}
WENGERT_INLINE Vec<float> softplus(Vec<float> x) {  // 1.30
  return lookup::softplus(x);
}
WENGERT_INLINE Vec<float> logsigmoid(Vec<float> x) {  // 1.30
  return lookup::logsigmoid(x);
}
WENGERT_INLINE Vec<float> mish(Vec<float> x) {
  return lookup::mish(x);
}
WENGERT_INLINE Vec<float> gelu(Vec<float> x) {  // 0.85
  return lookup::gelu(x);
}
WENGERT_INLINE Vec<float> gelu_slope(Vec<float> x) {
  return lookup::gelu_slope(x);
}
WENGERT_INLINE Vec<float> sinh(Vec<float> x) {  // 0.75
  return lookup::sinh(x);
}
WENGERT_INLINE Vec<float> cosh(Vec<float> x) {  // 0.89
  return lookup::cosh(x);
}
// Whether any is beyond 2^17, where the steps of the reduction lose too much; NaN and infinities
// are not.
WENGERT_INLINE Mask<float> turns_too_often(Vec<float> x) {
  return (abs(x) > Vec<float>(0x1p17)) & (abs(x) < Vec<float>(__builtin_inf()));
}
// Beyond 2^17, the C library's.
WENGERT_INLINE Vec<float> sin(Vec<float> x) {  // 1.48
  Vec<float> y = select(x == Vec<float>(0.0), x, lookup::sin(x));
  if (const auto beyond = turns_too_often(x); __builtin_expect(any(beyond), false)) {
    y = select(beyond, lanes(cpu::Libm::Sin, select(beyond, x, Vec<float>(0.0))), y);
  }
  return y;
}
WENGERT_INLINE Vec<float> cos(Vec<float> x) {  // 1.49
  Vec<float> y = lookup::cos(x);
  if (const auto beyond = turns_too_often(x); __builtin_expect(any(beyond), false)) {
    y = select(beyond, lanes(cpu::Libm::Cos, select(beyond, x, Vec<float>(0.0))), y);
  }
  return y;
}
WENGERT_INLINE Vec<float> pow(Vec<float> x, Vec<float> y) {  // 1.42
  using V = Vec<float>;
  V r = lookup::pow_of_magnitude(x, y);
  constexpr int zero = 0x06, infinite = 0x18, nan = 0x81, negative = 0x40;  // of vfpclassps
  const int odd_ones = _mm512_fpclass_ps_mask(x.v, zero | infinite | nan | negative) |
                       _mm512_fpclass_ps_mask(y.v, infinite | nan);
  if (__builtin_expect(odd_ones != 0, false)) r = pow_special(x, y, r);
  return r;
}

}  // namespace wengert::WENGERT_ISA
#endif
