// Quotients and remainders, powers and shifts of integers, and their floating point forms where the
// rounding is part of the definition. Integer division never traps: a zero divisor is refused
// before the launch, and the unused lanes of a vector divide by 1.
#pragma once

#include "kernels/cpu/vec.h"
#include "kernels/cpu/vmath_all.h"

namespace wengert::WENGERT_ISA {

// Integer powers by repeated squaring; a negative exponent gives the truncated quotient.
template <class T>
  requires std::is_integral_v<T>
WENGERT_INLINE Vec<T> pow(Vec<T> a, Vec<T> b) {
  Vec<T> r(1.0);
  for (int i = 0; i < Vec<T>::N; ++i) {
    uint64_t x = static_cast<uint64_t>(a.v[i]), y = 1;
    int64_t n = b.v[i];
    if (n < 0) {
      const int64_t base = a.v[i];
      y = base == 1 ? 1 : base == -1 ? (n % 2 ? ~uint64_t{0} : 1) : 0;
      n = 0;
    }
    for (; n > 0; n >>= 1, x *= x) {
      if (n & 1) y *= x;
    }
    r.v[i] = static_cast<T>(y);
  }
  return r;
}

// The quotient of C, with INT_MIN / -1 wrapping around.
template <class T>
  requires is_integer<T>
WENGERT_INLINE Vec<T> trunc_divide(Vec<T> a, Vec<T> b) {
  const Vec<T> zero(0.0), one(1.0), minus = zero - one;
  const Vec<T> divisor = select((b == zero) | (b == minus), one, b);
  return select(b == minus, zero - a, Vec<T>(a.v / divisor.v));
}
template <class T>
  requires is_integer<T>
WENGERT_INLINE Vec<T> fmod(Vec<T> a, Vec<T> b) {
  return a - trunc_divide(a, b) * b;
}
template <class T>
  requires is_integer<T>
WENGERT_INLINE Vec<T> remainder(Vec<T> a, Vec<T> b) {
  const Vec<T> zero(0.0), r = fmod(a, b);
  return select((r != zero) & ((r < zero) ^ (b < zero)), r + b, r);
}
template <class T>
  requires is_integer<T>
WENGERT_INLINE Vec<T> floor_divide(Vec<T> a, Vec<T> b) {
  const Vec<T> zero(0.0), q = trunc_divide(a, b), r = a - q * b;
  return select((r != zero) & ((r < zero) ^ (b < zero)), q - Vec<T>(1.0), q);
}

template <class T>
  requires(!is_integer<T>)
WENGERT_INLINE Vec<T> trunc_divide(Vec<T> a, Vec<T> b) {
  return trunc(a / b);
}
// As Python's %: the sign is the divisor's.
template <class T>
  requires(!is_integer<T>)
WENGERT_INLINE Vec<T> remainder(Vec<T> a, Vec<T> b) {
  const Vec<T> zero(0.0), r = fmod(a, b);
  return select((r != zero) & ((r < zero) ^ (b < zero)), r + b, r);
}
// As Python's //: the quotient belongs to that remainder, so rounding of a / b cannot lift it over
// a whole number.
template <class T>
  requires(!is_integer<T>)
WENGERT_INLINE Vec<T> floor_divide(Vec<T> a, Vec<T> b) {
  const Vec<T> zero(0.0), one(1.0), r = fmod(a, b);
  Vec<T> q = (a - r) / b;
  q = select((r != zero) & ((r < zero) ^ (b < zero)), q - one, q);
  const Vec<T> low = floor(q);
  const Vec<T> whole = select(q - low > Vec<T>(0.5), low + one, low);
  const Vec<T> rounded = select(q == zero, copysign(zero, a / b), whole);
  return select(b == zero, a / b, rounded);
}

// A shift by as many bits as there are, or by a negative number, shifts everything out.
template <class T>
WENGERT_INLINE Vec<T> shift_left(Vec<T> a, Vec<T> b) {
  constexpr int kBits = 8 * static_cast<int>(sizeof(T));
  const Vec<T> zero(0.0), n = select((b < zero) | (b >= Vec<T>(kBits)), zero, b);
  return select((b < zero) | (b >= Vec<T>(kBits)), zero, Vec<T>(a.v << n.v));
}
template <class T>
WENGERT_INLINE Vec<T> shift_right(Vec<T> a, Vec<T> b) {
  constexpr int kBits = 8 * static_cast<int>(sizeof(T));
  const Vec<T> zero(0.0), last(kBits - 1);
  return Vec<T>(a.v >> select((b < zero) | (b > last), last, b).v);
}
WENGERT_INLINE Vec<Bool8> shift_left(Vec<Bool8> a, Vec<Bool8> b) {
  return a & ~b;
}
WENGERT_INLINE Vec<Bool8> shift_right(Vec<Bool8> a, Vec<Bool8> b) {
  return a & ~b;
}

// Euclid, lane by lane; never negative.
template <class T>
WENGERT_INLINE Vec<T> gcd(Vec<T> a, Vec<T> b) {
  if constexpr (__is_same(T, Bool8)) {
    return a | b;
  } else {
    Vec<T> r = a;
    for (int i = 0; i < Vec<T>::N; ++i) {
      T x = a.v[i], y = b.v[i];
      while (y != 0) {
        const T rest = y == -1 ? 0 : x % y;
        x = y;
        y = rest;
      }
      r.v[i] = x < 0 ? -x : x;
    }
    return r;
  }
}

}  // namespace wengert::WENGERT_ISA
