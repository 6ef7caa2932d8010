// Functions that are exact or nearly so: signs, classes of numbers, neighbours, remainders,
// hypotenuses. Errors in ULP stand above each function, as in vmath.h.
#pragma once

#include "kernels/cpu/vmath.h"

namespace wengert::WENGERT_ISA {

template <class T>
WENGERT_INLINE Mask<T> isfinite(Vec<T> x) {
  if constexpr (is_integer<T>) {
    return x == x;
  } else {
    return abs(x) < Vec<T>(__builtin_inf());
  }
}
template <class T>
WENGERT_INLINE Mask<T> isinf(Vec<T> x) {
  if constexpr (is_integer<T>) {
    return x != x;
  } else {
    return abs(x) == Vec<T>(__builtin_inf());
  }
}

template <class T>
WENGERT_INLINE Vec<T> copysign(Vec<T> magnitude, Vec<T> x) {
  return with_sign(abs(magnitude), x);
}

// f32, f64: 1.50 ULP.
template <class T>
WENGERT_INLINE Vec<T> rsqrt(Vec<T> x) {
  return Vec<T>(1.0) / sqrt(x);
}

// The neighbour of x towards y. Numbers of one sign are ordered as their bits are.
template <class T>
WENGERT_INLINE Vec<T> nextafter(Vec<T> x, Vec<T> y) {
  using V = Vec<T>;
  const V zero(0.0);
  const RawInt<T> away = ((x < y).v ^ (x > zero).v) | 1;  // 1 away from zero, -1 towards it
  const V smallest = with_sign(from_bits<T>(RawInt<T>{} + 1), y);
  const V next = select(x == zero, smallest, from_bits<T>(bits(x) + away));
  return select(x == y, y, select((x == x) & (y == y), next, x + y));
}

// a * b as a rounded product and what the rounding lost (Veltkamp and Dekker where there is no
// fma; |a| and |b| then at most 2^100 in float, 2^990 in double).
template <class T>
WENGERT_INLINE Sum<T> two_product(Vec<T> a, Vec<T> b) {
  const Vec<T> p = a * b;
#if defined(__FMA__) || defined(__aarch64__)
  return {p, fma(a, b, -p)};
#else
  const Vec<T> splitter(sizeof(T) == 4 ? 0x1p12 + 1 : 0x1p27 + 1);
  const Vec<T> ta = splitter * a, tb = splitter * b;
  const Vec<T> ah = ta - (ta - a), bh = tb - (tb - b), al = a - ah, bl = b - bh;
  return {p, ((ah * bh - p) + ah * bl + al * bh) + al * bl};
#endif
}

// n / d, likewise.
template <class T>
WENGERT_INLINE Sum<T> quotient(Sum<T> n, Sum<T> d) {
  const Vec<T> inverse = Vec<T>(1.0) / d.hi, q = n.hi * inverse;
  const auto product = two_product(q, d.hi);
  const Vec<T> left = ((n.hi - product.hi) - product.lo) + (n.lo - q * d.lo);
  return {q, left * inverse};
}

// Exact, as C's fmod. A quotient of half the mantissa's range is wrong by one at most when rounded,
// and the remainder left is exact; larger ones go to the C library, which divides bit by bit.
template <class T>
WENGERT_OUTLINE Vec<T> fmod(Vec<T> x, Vec<T> y) {
  using V = Vec<T>;
  const V a = abs(x), b = abs(y), quotient = a / b;
  const V q = trunc(quotient);
  const auto p = two_product(q, b);
  V r = (a - p.hi) - p.lo;
  r = select(r < V(0.0), r + b, r);
  r = select(a < b, x, with_sign(r, x));
  const Mask<T> easy = (quotient < V(sizeof(T) == 4 ? 0x1p22 : 0x1p51)) &
                       (b < V(sizeof(T) == 4 ? 0x1p100 : 0x1p990));
  const Mask<T> hard = !(easy | (a < b));
  if (__builtin_expect(any(hard), false)) {
    r = select(hard, lanes(cpu::Libm2::Fmod, x, y), r);
  }
  return r;
}

// f32: 0.50 ULP; f64: 1.2 ULP. Infinite beside an infinity, even if the other is NaN.
template <class T>
WENGERT_OUTLINE Vec<T> hypot(Vec<T> x, Vec<T> y) {
  using V = Vec<T>;
  V r;
  if constexpr (sizeof(T) == 4) {
    const auto a = widen(x), b = widen(y);
    r = narrow(sqrt(a.lo * a.lo + b.lo * b.lo), sqrt(a.hi * a.hi + b.hi * b.hi));
  } else {
    const V largest = maximum(abs(x), abs(y)), one(1.0);
    const Mask<T> big = largest > V(0x1p500), small = largest < V(0x1p-400);
    const V down = select(big, V(0x1p-600), select(small, V(0x1p600), one));
    const V up = select(big, V(0x1p600), select(small, V(0x1p-600), one));
    const V a = x * down, b = y * down;
    r = sqrt(a * a + b * b) * up;
  }
  return select(isinf(x) | isinf(y), V(__builtin_inf()), r);
}

}  // namespace wengert::WENGERT_ISA
