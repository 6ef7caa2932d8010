// Activation functions that would lose digits as compositions. Above each function stands its
// largest error in ULP, as in vmath_exp.h; those of AVX-512 are in vmath_lookup.h.
#pragma once

#include "kernels/cpu/vmath_exp.h"
#include "kernels/cpu/vmath_log.h"
#include "kernels/cpu/vmath_special.h"

namespace wengert::WENGERT_ISA {

template <class T>
WENGERT_INLINE Vec<T> silu(Vec<T> x) {
  return x * sigmoid(x);
}

// log(1 + e^x) and -log(1 + e^-x).
template <class T>
WENGERT_INLINE Vec<T> softplus(Vec<T> x) {
  return maximum(x, Vec<T>(0.0)) + log1p(exp(-abs(x)));
}
template <class T>
WENGERT_INLINE Vec<T> logsigmoid(Vec<T> x) {
  return minimum(x, Vec<T>(0.0)) - log1p(exp(-abs(x)));
}

// x tanh(log(1 + e^x)) is x n / (n + 2) with n = e^x (e^x + 2); above 0 both times e^-2x.
template <class T>
WENGERT_INLINE Vec<T> mish(Vec<T> x) {
  const Vec<T> e = exp(-abs(x)), one(1.0), two(2.0);
  const Mask<T> below = x < Vec<T>(0.0);
  const Vec<T> n = select(below, e * (e + two), fma(two, e, one));
  return x * (n / (n + select(below, two, two * (e * e))));
}

// Its derivative: with d = n + 2, (n d + 4 x e^x (1 + e^x)) / d^2; above 0 both times e^-4x.
template <class T>
WENGERT_INLINE Vec<T> mish_slope(Vec<T> x) {
  const Vec<T> e = exp(-abs(x)), one(1.0), two(2.0), square = e * e;
  const Mask<T> below = x < Vec<T>(0.0);
  const Vec<T> n = select(below, fma(two, e, square), fma(two, e, one));
  const Vec<T> inverse = one / (n + select(below, two, two * square));
  const Vec<T> u = Vec<T>(2.0) * inverse, s = u * u * (one + e) * select(below, e, square);
  return fma(select(s == Vec<T>(0.0), Vec<T>(0.0), x), s, n * inverse);
}

// e^(a^2 / 2) Phi(-a) for a >= 0, Phi the normal distribution function: for floats as erfcx, with
// other constants; for use from 3/4 on.
template <class T>
WENGERT_INLINE Sum<T> normal_tail(Vec<T> a) {
  using V = Vec<T>;
  if constexpr (sizeof(T) == 4) {
    const V t = (a - V(3.0)) / (a + V(3.0));
    const V p = poly(t, 0x1.f1b89cp-2, -0x1.8b5fa8p-4, -0x1.0d39dap-6, 0x1.71fcbap-5, -0x1.745dcp-6,
                     0x1.2f03c6p-10, 0x1.8857fp-9, -0x1.6632ep-12, -0x1.ef653cp-12, 0x1.ab959p-17,
                     0x1.9058d6p-15);
    return quotient({p, V(0.0)}, two_sum(a, V(1.0)));
  } else {
    const auto y = erfcx(a * V(0.7071067811865476));
    return {V(0.5) * y.hi, V(0.5) * y.lo};
  }
}
// max(x, 0) - |x| Phi(-|x|); the product keeps the rounding errors of its factors.
template <class T>
WENGERT_OUTLINE Vec<T> gelu(Vec<T> x) {
  using V = Vec<T>;
  constexpr bool single = sizeof(T) == 4;
  const V a = at_most(abs(x), single ? 14.9 : 39.0);
  const auto square = two_product(V(0.5) * a, a);
  const auto e = exp_parts(-square.hi);
  const auto s = fast_two_sum(V(1.0), e.r), g = fast_two_sum(s.hi, s.lo + e.tail);
  const auto w = normal_tail(a), aw = two_product(a, w.hi);
  const V low = fma(g.lo - g.hi * square.lo, aw.hi, g.hi * fma(a, w.lo, aw.lo));
  const V tail = scale(fma(g.hi, aw.hi, low), e.n);
  const V y = select(x > V(0.0), x - tail, fma(x, V(0.0), -tail));  // NaN for -inf
  V to_half;                                                        // Phi(x) - 1/2
  if constexpr (single) {
    to_half = x * poly(x * x, 0x1.988452p-2, -0x1.1057acp-4, 0x1.46adf8p-7, -0x1.33d438p-10,
                       0x1.980a6p-14);
  } else {
    to_half = V(0.5) * erf(x * V(0.7071067811865476));
  }
  return select(a < V(0.75), x * (V(0.5) + to_half), y);
}

}  // namespace wengert::WENGERT_ISA
