// Tangent and inverse trigonometric functions. Above each function stands its largest error in ULP
// over all x86 ISAs: "f32" on every 397th float, "f64" on random and nasty points.
#pragma once

#include "kernels/cpu/vmath_basic.h"

namespace wengert::WENGERT_ISA {

// tan(x - n pi/2) for the doubles that floats become: sine by cosine, right to 2^-30.
WENGERT_INLINE Vec<double> tan_of_floats(Vec<double> x, Vec<double> n) {
  using V = Vec<double>;
  const V r = fma(n, V(-0x1.0b4611a626331p-34), fma(n, V(-0x1.921fb544p+0), x)), z = r * r;
  const V s = r * poly(z, 1.0, -0.16666666663858606, 0.008333331875459392, -0.00019840086964800245,
                       2.7249940396777236e-06);
  const V c = poly(z, 1.0, -0.5, 0.04166666666432331, -0.0013888887672448128,
                   2.4800600484822646e-05, -2.7300962328841376e-07);
  const V half = V(0.5) * n;
  const Mask<double> odd = round(half) != half;
  return select(odd, -c, s) / select(odd, s, c);
}

// f32: 1.16 ULP up to 2^19; f64: 0.94 ULP up to 1.6e6; beyond, the C library's. Sine by
// cosine, in double with the rounding errors of both.
template <class T>
WENGERT_OUTLINE Vec<T> tan(Vec<T> x) {
  Vec<T> y;
  if constexpr (sizeof(T) == 4) {
    const Vec<T> magic(Ieee<T>::round_magic);
    const auto wide = widen(x), n = widen(fma(x, Vec<T>(0x1.45f306dc9c883p-1), magic) - magic);
    y = narrow(tan_of_floats(wide.lo, n.lo), tan_of_floats(wide.hi, n.hi));
  } else {
    const auto t = trig_parts(x);
    const auto sums = trig_sums(t);
    const auto s = fast_two_sum(sums.sin.hi, sums.sin.lo);
    const auto c = fast_two_sum(sums.cos.hi, sums.cos.lo);
    const Mask<T> odd = {(t.quadrant & 1) != 0};
    const auto q = quotient(Sum<T>{select(odd, -c.hi, s.hi), select(odd, -c.lo, s.lo)},
                            Sum<T>{select(odd, s.hi, c.hi), select(odd, s.lo, c.lo)});
    y = select(x == Vec<T>(0.0), x, q.hi + q.lo);
  }
  if (const Mask<T> beyond = trig_beyond(x); __builtin_expect(any(beyond), false)) {
    y = select(beyond, lanes(cpu::Libm::Tan, select(beyond, x, Vec<T>(0.0))), y);
  }
  return y;
}

// (asin(s) - s) / s for 0 <= s <= 1/2, z = s^2.
template <class T>
WENGERT_INLINE Vec<T> asin_rest(Vec<T> z) {
  if constexpr (sizeof(T) == 4) {
    return z * poly(z, 0x1.555554p-3, 0x1.333448p-4, 0x1.6d55b6p-5, 0x1.fe1578p-6, 0x1.16874ep-6,
                    0x1.15f6f8p-5);
  } else {
    return z * poly(z, 0.16666666666666669, 0.0749999999999823, 0.04464285714674408,
                    0.03038194410931859, 0.02237217407591623, 0.017352366770821602,
                    0.013971589351156988, 0.011475585102152247, 0.01034568014116163,
                    0.005361396549206934, 0.017657013052043827, -0.015243946835016805,
                    0.02902036889263471);
  }
}
// Up to 1/2, asin(s) with s = |x|; beyond, pi/2 - 2 asin(s) with s = sqrt((1 - |x|) / 2).
template <class T>
struct AsinParts {
  Mask<T> beyond;
  Vec<T> s, rest;  // asin(s) = s + rest
};
template <class T>
WENGERT_INLINE AsinParts<T> asin_parts(Vec<T> a) {
  const Vec<T> half(0.5);
  const Mask<T> beyond = a > half;
  const Vec<T> z = select(beyond, half * (Vec<T>(1.0) - a), a * a);
  const Vec<T> s = select(beyond, sqrt(z), a);
  return {beyond, s, s * asin_rest(z)};
}
// pi / 2 as a T and what is lost by that.
template <class T>
inline constexpr double kHalfPi = sizeof(T) == 4 ? 0x1.921fb4p+0 : 0x1.921fb54442d18p+0;
template <class T>
inline constexpr double kHalfPiLost =
    sizeof(T) == 4 ? 0x1.4442d18469899p-24 : 0x1.1a62633145c07p-54;

// f32: 1.09 ULP; f64: 1.10 ULP.
template <class T>
WENGERT_OUTLINE Vec<T> asin(Vec<T> x) {
  const auto p = asin_parts(abs(x));
  const Vec<T> hi(kHalfPi<T>), lo(kHalfPiLost<T>);
  const auto far = fast_two_sum(hi, -(p.s + p.s));
  const Vec<T> y = far.hi + (far.lo + (lo - (p.rest + p.rest)));
  return with_sign(select(p.beyond, y, p.s + p.rest), x);
}
// f32: 1.07 ULP; f64: 1.07 ULP.
template <class T>
WENGERT_OUTLINE Vec<T> acos(Vec<T> x) {
  const auto p = asin_parts(abs(x));
  const Vec<T> hi(kHalfPi<T>), lo(kHalfPiLost<T>), zero(0.0);
  const Mask<T> negative = x < zero;
  const Vec<T> s = select(p.beyond, p.s + p.s, p.s),
               rest = select(p.beyond, p.rest + p.rest, p.rest);
  // asin, pi - 2 asin, pi/2 - asin or pi/2 + asin
  const Vec<T> from = select(p.beyond, select(negative, hi + hi, zero), hi);
  const Vec<T> lost = select(p.beyond, select(negative, lo + lo, zero), lo);
  const Mask<T> add = (negative & !p.beyond) | (p.beyond & !negative);
  const auto sum = fast_two_sum(from, select(add, s, -s));
  return sum.hi + (sum.lo + (lost + select(add, rest, -rest)));
}

// The angle of the point (x, y). With n the smaller and d the larger of |x| and |y|, it is
// k pi/4 +- atan(q), where q is n / d, or (n - d) / (n + d) if that is nearer to zero; n - d is
// exact there.
template <class T>
WENGERT_INLINE Vec<T> angle(Vec<T> y, Vec<T> x) {
  using V = Vec<T>;
  const V ax = abs(x), ay = abs(y), zero(0.0), one(1.0);
  const Mask<T> steep = ay > ax;
  V n = select(steep, ax, ay), d = select(steep, ay, ax);
  const Mask<T> huge = d > V(sizeof(T) == 4 ? 0x1p120 : 0x1p1000);
  n = select(huge, V(0.25) * n, n);
  d = select(huge, V(0.25) * d, d);
  const Mask<T> equal = n == d;  // infinities and zeros among them
  d = select(d == zero, one, select(equal, one, d));
  n = select(equal & (ay > zero), one, n);
  const Mask<T> middle = n + n > d;
  const V q = select(middle, n - d, n) / select(middle, n + d, d), z = q * q;
  V p;
  if constexpr (sizeof(T) == 4) {
    p = poly(z, -0x1.555556p-2, 0x1.99999p-3, -0x1.248f94p-3, 0x1.c6955cp-4, -0x1.6e0202p-4,
             0x1.128cc8p-4, -0x1.0d771ep-5);
  } else {
    p = poly(z, -0.3333333333333333, 0.1999999999999997, -0.1428571428570675, 0.11111111110326513,
             -0.09090909048232712, 0.07692306298892268, -0.06666637099298042, 0.05881925080184239,
             -0.0525881233927967, 0.04730463728984979, -0.04185216787271517, 0.03403096475038627,
             -0.021743962918367332, 0.007694068027399015);
  }
  V k = select(middle, one, zero), s = select(steep, -q, q);
  k = select(steep, V(2.0) - k, k);
  const Mask<T> left = {bits(x) < 0};
  k = select(left, V(4.0) - k, k);
  s = select(left, -s, s);
  // pi/4 in two parts, the first so short that its product with k is exact
  constexpr double hi = sizeof(T) == 4 ? 0x1.921fap-1 : 0x1.921fb54442d1p-1;
  constexpr double lo = sizeof(T) == 4 ? 0x1.54442d184698ap-21 : 0x1.08d313198a2e0p-50;
  const auto sum = fast_two_sum(k * V(hi), s);
  return with_sign(sum.hi + (sum.lo + fma(s * z, p, k * V(lo))), y);
}
// f32: 1.30 ULP; f64: 1.34 ULP.
template <class T>
WENGERT_OUTLINE Vec<T> atan(Vec<T> x) {
  return angle(x, Vec<T>(1.0));
}
// f32: 1.55 ULP; f64: 1.50 ULP.
template <class T>
WENGERT_OUTLINE Vec<T> atan2(Vec<T> y, Vec<T> x) {
  return angle(y, x);
}

}  // namespace wengert::WENGERT_ISA
