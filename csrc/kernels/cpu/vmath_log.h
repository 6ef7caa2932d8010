// Logarithms to other bases, and the inverse hyperbolic functions as logarithms of sums that keep
// their rounding errors. Above each function stands its largest error in ULP over all x86 ISAs:
// "f32" on every 397th float, "f64" on random and nasty points.
#pragma once

#include "kernels/cpu/vmath_basic.h"

namespace wengert::WENGERT_ISA {

// log(x) / log(base), with 1 / log(base) = ratio_hi + ratio_lo and log(2) / log(base) = step_hi +
// step_lo. The high parts are so short that their products with f's high half and with an exponent
// are exact.
struct LogBase {
  double ratio_hi, ratio_lo, step_hi, step_lo;
};
template <class T>
WENGERT_INLINE Vec<T> log_to_base(Vec<T> x, LogBase base) {
  constexpr int low_bits = sizeof(T) == 4 ? 12 : 27;
  const auto [e, f] = log_split(x);
  const Vec<T> ratio_hi(base.ratio_hi), ratio_lo(base.ratio_lo);
  const Vec<T> f_hi = from_bits<T>(bits(f) >> low_bits << low_bits), f_lo = f - f_hi;
  const auto s = fast_two_sum(e * Vec<T>(base.step_hi), f_hi * ratio_hi);
  const Vec<T> rest = log_rest(f, Vec<T>(0.0)) * Vec<T>(base.ratio_hi + base.ratio_lo);
  const Vec<T> low = fma(f_lo, ratio_hi, fma(f, ratio_lo, fma(e, Vec<T>(base.step_lo), s.lo)));
  return log_special(x, s.hi + (rest + low));
}

// f32: 1.13 ULP; f64: 0.99 ULP.
template <class T>
WENGERT_OUTLINE Vec<T> log2(Vec<T> x) {
  constexpr bool single = sizeof(T) == 4;
  return log_to_base(x, single ? LogBase{0x1.714p+0, 0x1.47652b82fe177p-12, 1.0, 0.0}
                               : LogBase{0x1.715476p+0, 0x1.4ae0bf85ddf44p-26, 1.0, 0.0});
}
// f32: 0.89 ULP; f64: 0.93 ULP.
template <class T>
WENGERT_OUTLINE Vec<T> log10(Vec<T> x) {
  constexpr bool single = sizeof(T) == 4;
  return log_to_base(
      x, single ? LogBase{0x1.bcap-2, 0x1.7b1526e50e32ap-14, 0x1.344p-2, 0x1.3509f79fef312p-18}
                : LogBase{0x1.bcb7b1p-2, 0x1.49b9438ca9aaep-28, 0x1.34413509f78p-2,
                          0x1.fef311f12b358p-46});
}

// The square root of s with its rounding error.
template <class T>
WENGERT_INLINE Sum<T> sqrt_of(Sum<T> s) {
  const Vec<T> r = sqrt(s.hi), twice = select(r == Vec<T>(0.0), Vec<T>(1.0), r + r);
  const auto square = two_product(r, r);
  return {r, (((s.hi - square.hi) - square.lo) + s.lo) / twice};
}

// From here on sqrt(x^2 + 1) and sqrt(x^2 - 1) are x.
template <class T>
inline constexpr double kRootIsX = sizeof(T) == 4 ? 0x1p14 : 0x1p30;

// log(u + root) where u + root is at least 1; log(2 u) for large u.
template <class T>
WENGERT_INLINE Vec<T> log_of_sum(Vec<T> u, Sum<T> root) {
  const Mask<T> large = u > Vec<T>(kRootIsX<T>);
  const auto s = two_sum(u, root.hi);
  const Vec<T> hi = select(large, u, s.hi);
  const Vec<T> extra = select(large, Vec<T>(0.0), (s.lo + root.lo) / s.hi);
  const Vec<T> y = log_core(hi, extra) + select(large, Vec<T>(0x1.62e42fefa39efp-1), Vec<T>(0.0));
  return log_special(hi, y);
}

// f32: 1.03 ULP; f64: 1.00 ULP. log(a + sqrt(a^2 + 1)) for a = |x|.
template <class T>
WENGERT_OUTLINE Vec<T> asinh(Vec<T> x) {
  const Vec<T> a = abs(x), b = at_most(a, kRootIsX<T>);
  const auto square = two_product(b, b), s = two_sum(square.hi, Vec<T>(1.0));
  return with_sign(log_of_sum(a, sqrt_of(fast_two_sum(s.hi, s.lo + square.lo))), x);
}

// f32: 1.03 ULP; f64: 0.99 ULP. log(x + sqrt(x^2 - 1)).
template <class T>
WENGERT_OUTLINE Vec<T> acosh(Vec<T> x) {
  const Vec<T> b = at_most(x, kRootIsX<T>);
  const auto square = two_product(b, b), s = two_sum(square.hi, Vec<T>(-1.0));
  const Vec<T> y = log_of_sum(x, sqrt_of(fast_two_sum(s.hi, s.lo + square.lo)));
  return select(x >= Vec<T>(1.0), y, Vec<T>(__builtin_nan("")));
}

// f32: 1.00 ULP; f64: 1.00 ULP. log((1 + a) / (1 - a)) / 2 for a = |x|.
template <class T>
WENGERT_OUTLINE Vec<T> atanh(Vec<T> x) {
  const Vec<T> a = abs(x), one(1.0);
  const auto q = quotient(fast_two_sum(one, a), fast_two_sum(one, -a));
  const Vec<T> extra = select(a == one, Vec<T>(0.0), q.lo / q.hi);
  return with_sign(Vec<T>(0.5) * log_special(q.hi, log_core(q.hi, extra)), x);
}

}  // namespace wengert::WENGERT_ISA
