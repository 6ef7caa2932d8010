// The gamma function's logarithm and its derivative, and the inverse of the error function. Floats
// are computed in double to some 2^-30; doubles go lane by lane through scalar code. Above each
// function stands its largest error in ULP of floats over all x86 ISAs, on every 397th float.
#pragma once

#include "kernels/cpu/vmath_lookup.h"

namespace wengert::WENGERT_ISA {

// log(x) for x > 0 that was a float, right to 2^-33 of itself.
WENGERT_INLINE Vec<double> log_of_float(Vec<double> x) {
#if defined(__AVX512F__) && defined(__AVX512DQ__)
  return Vec<double>(0x1.62e42fefa39efp-1) * lookup::log2_of_float(x);
#else
  return log_core(x, Vec<double>(0.0));
#endif
}
// f of each half in double.
template <class F>
WENGERT_INLINE Vec<float> in_double(Vec<float> x, F f) {
  const auto wide = widen(x);
  return narrow(f(wide.lo), f(wide.hi));
}
// y, with f(x) by scalar code in the lanes where that is needed; `any` is harmless to f.
WENGERT_INLINE Vec<float> mend(Mask<float> needed, cpu::Libm f, Vec<float> x, Vec<float> y) {
  if (__builtin_expect(any(needed), false)) {
    y = select(needed, lanes(f, select(needed, x, Vec<float>(1.0))), y);
  }
  return y;
}

// sin(pi x) / pi and cos(pi x), both negated for odd round(x).
struct HalfTurns {
  Vec<double> sin, cos;
};
WENGERT_INLINE HalfTurns half_turns(Vec<double> x) {
  const Vec<double> r = x - round(x), z = r * r;
  return {r * poly(z, 0.9999999999830185, -1.6449340619481074, 0.8117421961226382,
                   -0.19074790245249879, 0.026117470370140006, -0.0022372309700976214),
          poly(z, 0.9999999999992512, -4.934802200250956, 4.058712107589369, -1.3352623161480328,
               0.2353254434242572, -0.025776340722237712, 0.0018400218047400952)};
}

// For x >= 0. Around the zeros at 1 and 2, a polynomial that has them; from 5/2 on Stirling's
// series, with coefficients fitted to end it after five (NIST Digital Library of Mathematical
// Functions, 5.11.1).
WENGERT_INLINE Vec<double> lgamma_of_positive(Vec<double> x) {
  using V = Vec<double>;
  const V one(1.0), two(2.0);
  const Mask<double> small = x < one, large = x >= V(2.5);
  const V y = select(small, x + one, x), t = y - V(1.75);
  const V p = poly(t, 0.4501393109776051, -0.11948157869908045, 0.0445205900219008,
                   -0.019054294545892723, 0.008773468872285455, -0.00422204926100316,
                   0.002116863555796051, -0.0010825220779477442, 0.00047547172794880506,
                   -0.00022727265972775391, 0.00024738604328006377, -0.00014351952387571206);
  const V log_x = log_of_float(x), u = one / select(large, x, one), z = u * u;
  const V series = poly(z, 0.08333333319996436, -0.002777734078465088, 0.0007912949702070346,
                        -0.0005489055391629922, 0.000426250071612664);
  const V far = fma(u, series, fma(x - V(0.5), log_x, V(0.9189385332046728) - x));
  const V near = fma((y - one) * (y - two), p, select(small, -log_x, V(0.0)));
  return select(large, far, near);
}
// Below zero, by reflection (5.5.3); near the zeros there, where that cancels, by scalar code.
// 0.55 ULP.
template <class T>
WENGERT_OUTLINE Vec<T> lgamma(Vec<T> x) {
  if constexpr (sizeof(T) == 8) {
    return lanes(cpu::Libm::Lgamma, x);
  } else {
    using V = Vec<T>;
    const V inf(__builtin_inf()), zero(0.0);
    V y = in_double(x, [](Vec<double> v) __attribute__((always_inline)) {
      const Mask<double> below = v < Vec<double>(0.0);
      const Vec<double> r = lgamma_of_positive(abs(v));
      if (!any(below)) return r;
      return select(below, -log_of_float(abs(v * half_turns(v).sin)) - r, r);
    });
    const Mask<T> below = x < zero;
    y = mend(below & (abs(y) < V(0.125)), cpu::Libm::Lgamma, x, y);
    return select(isinf(x) | (x == zero) | (below & (round(x) == x)), inf, y);
  }
}

// For x >= 0, as lgamma: a polynomial around the only zero, which is not a double; the logarithm
// and a fitted series (5.11.2) from 5/2 on.
WENGERT_INLINE Vec<double> digamma_of_positive(Vec<double> x) {
  using V = Vec<double>;
  const V one(1.0);
  const Mask<double> small = x < one, large = x >= V(2.5);
  const V y = select(small, x + one, x), t = y - V(1.75), u = one / x, z = u * u;
  const V p =
      poly(t, 0.8581832186023494, -0.3262545736880977, 0.15711989222880163, -0.08228823337653983,
           0.04480511629913234, -0.024853354575664878, 0.01393485505400703, -0.008125812365811315,
           0.0047175902516946155, -0.001957209963114862, 0.0009525377999772117,
           -0.0015840177668259927, 0.0010007756503123107);
  const V from_zero = (y - V(0x1.762d86356be3fp+0)) - V(0x1.b86a722197829p-54);
  const V series = poly(z, -0.08333333322125029, 0.008333280316116853, -0.003964048581481741,
                        0.004040320181261612, -0.005723421366760462, 0.005909827468569458);
  const V far = fma(z, series, fma(V(-0.5), u, log_of_float(x)));
  return select(large, far, fma(from_zero, p, select(small, -u, V(0.0))));
}
// Below zero, by reflection (5.5.4) as lgamma. At 0 infinite with the sign of -x; NaN at the other
// poles.
// 0.57 ULP.
template <class T>
WENGERT_OUTLINE Vec<T> digamma(Vec<T> x) {
  if constexpr (sizeof(T) == 8) {
    return lanes(cpu::Libm::Digamma, x);
  } else {
    using V = Vec<T>;
    V y = in_double(x, [](Vec<double> v) __attribute__((always_inline)) {
      const Vec<double> one(1.0);
      const Mask<double> below = v < Vec<double>(0.0);
      const Vec<double> r = digamma_of_positive(select(below, one - v, v));
      if (!any(below)) return r;
      const auto turns = half_turns(v);
      return select(below, r - turns.cos / turns.sin, r);
    });
    const Mask<T> below = x < V(0.0);
    y = mend(below & (abs(y) < V(0.25)), cpu::Libm::Digamma, x, y);
    y = select(x == V(__builtin_inf()), x, y);
    return select(below & (round(x) == x), V(__builtin_nan("")), y);
  }
}

// See special.h.
template <class T>
WENGERT_INLINE Vec<T> polygamma(Vec<T> n, Vec<T> x) {
  return lanes(cpu::Libm2::Polygamma, n, x);
}

// x p(w) with w = -log(1 - x^2), fitted in two parts.
// 0.57 ULP.
template <class T>
WENGERT_OUTLINE Vec<T> erfinv(Vec<T> x) {
  if constexpr (sizeof(T) == 8) {
    return lanes(cpu::Libm::Erfinv, x);
  } else {
    using V = Vec<T>;
    const V one(1.0), a = abs(x);
    const V y = in_double(x, [](Vec<double> v) __attribute__((always_inline)) {
      using D = Vec<double>;
      const D w = -log_of_float((D(1.0) - v) * (D(1.0) + v)), t = w - D(2.5);
      D p = poly(t, 1.501409352, 0.2466402768, -0.004177324922, -0.001252708113, 0.0002182639231,
                 -4.995855102e-06, -3.426175951e-06, 4.786352609e-07, 1.648717671e-08,
                 -1.085287585e-08, 4.351147396e-10, 1.229407932e-10);
      if (const auto tail = w >= D(5.0); any(tail)) {
        const D s = sqrt(w) - D(3.0);
        p = select(
            tail,
            poly(s, 2.832976798, 1.001675067, 0.009445585642, -0.007639091496, 0.0056839635,
                 -0.00358849413, 0.001493858174, -7.37748462e-05, -0.0003171528093, 0.000127057218),
            p);
      }
      return v * p;
    });
    return select(a < one, y, select(a == one, x * V(__builtin_inf()), V(__builtin_nan(""))));
  }
}

}  // namespace wengert::WENGERT_ISA
