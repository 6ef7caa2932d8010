// Exponential and hyperbolic functions. Above each function stands its largest error in ULP over
// all x86 ISAs: "f32" on every 397th float, "f64" on random and nasty points.
#pragma once

#include "kernels/cpu/vmath_basic.h"

namespace wengert::WENGERT_ISA {

// f32: 1.05 ULP; f64: 1.13 ULP. 2^n (1 + r p(r)) with |r| <= 1/2, r exact.
template <class T>
WENGERT_OUTLINE Vec<T> exp2(Vec<T> x) {
  using P = Ieee<T>;
  constexpr bool single = sizeof(T) == 4;
  x = clamp(x, single ? -152.0 : -1080.0, single ? 130.0 : 1026.0);
  const Vec<T> t = x + Vec<T>(P::round_magic), r = x - (t - Vec<T>(P::round_magic));
  Vec<T> p;
  if constexpr (single) {
    p = poly(r, 0x1.62e43p-1, 0x1.ebfbep-3, 0x1.c6b08ep-5, 0x1.3b2a1cp-7, 0x1.5d874cp-10,
             0x1.444018p-13, 0x1.00dc4ap-16);
  } else {
    p = poly(r, 0.6931471805599453, 0.24022650695910072, 0.055504108664821625, 0.009618129107628487,
             0.001333355814640645, 0.00015403530393354753, 1.5252733841582643e-05,
             1.3215486823316123e-06, 1.0178057074622272e-07, 7.0548914597429744e-09,
             4.455820211824555e-10, 2.5737825390934916e-11);
  }
  return scale(fma(r, p, Vec<T>(1.0)), bits(t) - static_cast<int_of<T>>(P::round_bits));
}

// e^a = 2^n (hi + lo) and e^-a = 2^n small for 0 <= a where sinh(a) is finite.
template <class T>
struct ExpPair {
  RawInt<T> n;
  Vec<T> hi, lo, small;
};
template <class T>
WENGERT_INLINE ExpPair<T> exp_pair(Vec<T> a) {
  const auto e = exp_parts(at_most(a, sizeof(T) == 4 ? 90.0 : 711.0));
  const auto s = fast_two_sum(Vec<T>(1.0), e.r), m = fast_two_sum(s.hi, s.lo + e.tail);
  return {e.n, m.hi, m.lo, power_of_minus<T>(e.n + e.n) / m.hi};
}

// f32: 0.77 ULP; f64: 0.81 ULP. Below 1 an odd polynomial.
template <class T>
WENGERT_OUTLINE Vec<T> sinh(Vec<T> x) {
  const Vec<T> a = abs(x), z = a * a;
  Vec<T> p;
  if constexpr (sizeof(T) == 4) {
    p = poly(z, 0x1.555556p-3, 0x1.11111ep-7, 0x1.a008fcp-13, 0x1.78a7c2p-19);
  } else {
    p = poly(z, 0.16666666666666666, 0.008333333333333299, 0.0001984126984132424,
             2.7557319191363664e-06, 2.5052117699409103e-08, 1.6057679312566906e-10,
             7.74618896833118e-13);
  }
  const auto e = exp_pair(a);
  const auto s = fast_two_sum(e.hi, -e.small);
  const Vec<T> far = scale(s.hi + (s.lo + e.lo), e.n - 1);
  return with_sign(select(a < Vec<T>(1.0), fma(a * z, p, a), far), x);
}

// f32: 0.82 ULP; f64: 0.83 ULP.
template <class T>
WENGERT_OUTLINE Vec<T> cosh(Vec<T> x) {
  const auto e = exp_pair(abs(x));
  const auto s = fast_two_sum(e.hi, e.small);
  return scale(s.hi + (s.lo + e.lo), e.n - 1);
}

}  // namespace wengert::WENGERT_ISA
