// The value type that the functors are instantiated with in a CUDA thread: one element, with the
// operations of the CPU's vector type (kernels/cpu/vec.h, vmath*.h), so that f and df are the same
// source. Transcendentals are CUDA's own.
#pragma once

#include <cmath>
#include <limits>
#include <type_traits>

#include "core/dtype.h"
#include "kernels/cuda/device.h"
#include "kernels/functors.h"
#include "kernels/reductions.h"

namespace wengert::cuda {

struct Flag {
  bool v;
  WENGERT_DEVICE friend Flag operator&(Flag a, Flag b) { return {a.v && b.v}; }
  WENGERT_DEVICE friend Flag operator|(Flag a, Flag b) { return {a.v || b.v}; }
  WENGERT_DEVICE friend Flag operator^(Flag a, Flag b) { return {a.v != b.v}; }
  WENGERT_DEVICE friend Flag operator!(Flag a) { return {!a.v}; }
};

template <class T>
inline constexpr bool is_number = !std::is_same_v<T, Bool8>;
template <class T>
inline constexpr bool is_real = std::is_floating_point_v<T>;

template <class T>
struct Lane {
  using value_type = T;
  T v;

  Lane() = default;
  WENGERT_DEVICE explicit Lane(double s) : v(static_cast<T>(s)) {}
  static WENGERT_DEVICE Lane broadcast(T s) { return of(s); }
  static WENGERT_DEVICE Lane of(T s) {
    Lane r;
    r.v = s;
    return r;
  }

  WENGERT_DEVICE friend Lane operator+(Lane a, Lane b) { return of(wrapped(a.v, b.v, Plus{})); }
  WENGERT_DEVICE friend Lane operator-(Lane a, Lane b) { return of(wrapped(a.v, b.v, Minus{})); }
  WENGERT_DEVICE friend Lane operator*(Lane a, Lane b) { return of(wrapped(a.v, b.v, Times{})); }
  WENGERT_DEVICE friend Lane operator/(Lane a, Lane b) { return of(a.v / b.v); }
  WENGERT_DEVICE friend Lane operator-(Lane a) {
    if constexpr (is_real<T>) {
      return of(-a.v);
    } else {
      return of(wrapped(T(0), a.v, Minus{}));
    }
  }
  WENGERT_DEVICE friend Flag operator==(Lane a, Lane b) { return {a.v == b.v}; }
  WENGERT_DEVICE friend Flag operator!=(Lane a, Lane b) { return {a.v != b.v}; }
  WENGERT_DEVICE friend Flag operator<(Lane a, Lane b) { return {a.v < b.v}; }
  WENGERT_DEVICE friend Flag operator<=(Lane a, Lane b) { return {a.v <= b.v}; }
  WENGERT_DEVICE friend Flag operator>(Lane a, Lane b) { return {a.v > b.v}; }
  WENGERT_DEVICE friend Flag operator>=(Lane a, Lane b) { return {a.v >= b.v}; }
  // of integers
  WENGERT_DEVICE friend Lane operator&(Lane a, Lane b) { return of(a.v & b.v); }
  WENGERT_DEVICE friend Lane operator|(Lane a, Lane b) { return of(a.v | b.v); }
  WENGERT_DEVICE friend Lane operator^(Lane a, Lane b) { return of(a.v ^ b.v); }
  WENGERT_DEVICE friend Lane operator~(Lane a) { return of(~a.v); }

 private:
  struct Plus {
    template <class U>
    WENGERT_DEVICE U operator()(U a, U b) const {
      return a + b;
    }
  };
  struct Minus {
    template <class U>
    WENGERT_DEVICE U operator()(U a, U b) const {
      return a - b;
    }
  };
  struct Times {
    template <class U>
    WENGERT_DEVICE U operator()(U a, U b) const {
      return a * b;
    }
  };
  // Integers wrap around.
  template <class F>
  static WENGERT_DEVICE T wrapped(T a, T b, F f) {
    if constexpr (is_real<T>) {
      return f(a, b);
    } else {
      using U = std::make_unsigned_t<T>;
      return static_cast<T>(f(static_cast<U>(a), static_cast<U>(b)));
    }
  }
};

// Bools: + is or, * is and, as PyTorch has it.
template <>
struct Lane<Bool8> {
  using value_type = Bool8;
  bool v;

  Lane() = default;
  WENGERT_DEVICE explicit Lane(double s) : v(s != 0) {}
  static WENGERT_DEVICE Lane of(bool s) {
    Lane r;
    r.v = s;
    return r;
  }
  WENGERT_DEVICE friend Lane operator+(Lane a, Lane b) { return of(a.v || b.v); }
  WENGERT_DEVICE friend Lane operator*(Lane a, Lane b) { return of(a.v && b.v); }
  WENGERT_DEVICE friend Lane operator-(Lane a, Lane b) { return of(a.v != b.v); }
  WENGERT_DEVICE friend Lane operator&(Lane a, Lane b) { return of(a.v && b.v); }
  WENGERT_DEVICE friend Lane operator|(Lane a, Lane b) { return of(a.v || b.v); }
  WENGERT_DEVICE friend Lane operator^(Lane a, Lane b) { return of(a.v != b.v); }
  WENGERT_DEVICE friend Lane operator~(Lane a) { return of(!a.v); }
  WENGERT_DEVICE friend Flag operator==(Lane a, Lane b) { return {a.v == b.v}; }
  WENGERT_DEVICE friend Flag operator!=(Lane a, Lane b) { return {a.v != b.v}; }
  WENGERT_DEVICE friend Flag operator<(Lane a, Lane b) { return {a.v < b.v}; }
  WENGERT_DEVICE friend Flag operator<=(Lane a, Lane b) { return {a.v <= b.v}; }
  WENGERT_DEVICE friend Flag operator>(Lane a, Lane b) { return {a.v > b.v}; }
  WENGERT_DEVICE friend Flag operator>=(Lane a, Lane b) { return {a.v >= b.v}; }
};

template <class T>
WENGERT_DEVICE Lane<T> select(Flag c, Lane<T> a, Lane<T> b) {
  return c.v ? a : b;
}

// --- what every dtype has ------------------------------------------------------------------------

template <class T>
WENGERT_DEVICE Lane<T> abs(Lane<T> x) {
  if constexpr (std::is_same_v<T, Bool8>) {
    return x;
  } else if constexpr (is_real<T>) {
    return Lane<T>::of(std::fabs(x.v));
  } else {
    return x.v < 0 ? -x : x;
  }
}
// NaN in either operand gives NaN.
template <class T>
WENGERT_DEVICE Lane<T> maximum(Lane<T> a, Lane<T> b) {
  return select((a > b) | (a != a), a, b);
}
template <class T>
WENGERT_DEVICE Lane<T> minimum(Lane<T> a, Lane<T> b) {
  return select((a < b) | (a != a), a, b);
}
// -1, 0 or 1; 0 of NaN.
template <class T>
WENGERT_DEVICE Lane<T> sign(Lane<T> x) {
  if constexpr (std::is_same_v<T, Bool8>) {
    return x;
  } else {
    return Lane<T>::of(static_cast<T>((x.v > T(0)) - (x.v < T(0))));
  }
}
template <class T>
WENGERT_DEVICE Flag signbit(Lane<T> x) {
  if constexpr (std::is_same_v<T, Bool8>) {
    return {false};
  } else if constexpr (is_real<T>) {
    return {std::signbit(x.v)};
  } else {
    return {x.v < 0};
  }
}
template <class T>
WENGERT_DEVICE Flag isfinite(Lane<T> x) {
  if constexpr (is_real<T>) {
    return {std::fabs(x.v) < std::numeric_limits<T>::infinity()};
  } else {
    return {true};
  }
}
template <class T>
WENGERT_DEVICE Flag isinf(Lane<T> x) {
  if constexpr (is_real<T>) {
    return {std::fabs(x.v) == std::numeric_limits<T>::infinity()};
  } else {
    return {false};
  }
}

// --- integers ------------------------------------------------------------------------------------

// By repeated squaring; a negative exponent gives the truncated quotient.
template <class T>
  requires std::is_integral_v<T>
WENGERT_DEVICE Lane<T> pow(Lane<T> a, Lane<T> b) {
  uint64_t x = static_cast<uint64_t>(a.v), y = 1;
  int64_t n = b.v;
  if (n < 0) {
    const int64_t base = a.v;
    y = base == 1 ? 1 : base == -1 ? (n % 2 ? ~uint64_t{0} : 1) : 0;
    n = 0;
  }
  for (; n > 0; n >>= 1, x *= x) {
    if (n & 1) y *= x;
  }
  return Lane<T>::of(static_cast<T>(y));
}

// The quotient of C, with INT_MIN / -1 wrapping around; a zero divisor is refused before a launch.
template <class T>
WENGERT_DEVICE Lane<T> trunc_divide(Lane<T> a, Lane<T> b) {
  if constexpr (std::is_same_v<T, Bool8>) {
    return a;
  } else if constexpr (is_real<T>) {
    return Lane<T>::of(std::trunc(a.v / b.v));
  } else {
    return b.v == T(-1) ? -a : Lane<T>::of(static_cast<T>(a.v / (b.v == 0 ? T(1) : b.v)));
  }
}
template <class T>
WENGERT_DEVICE Lane<T> fmod(Lane<T> a, Lane<T> b) {
  if constexpr (is_real<T>) {
    return Lane<T>::of(std::fmod(a.v, b.v));
  } else {
    return a - trunc_divide(a, b) * b;
  }
}
// As Python's %: the sign is the divisor's.
template <class T>
WENGERT_DEVICE Lane<T> remainder(Lane<T> a, Lane<T> b) {
  const Lane<T> zero(0.0), r = fmod(a, b);
  return select((r != zero) & ((r < zero) ^ (b < zero)), r + b, r);
}
template <class T>
WENGERT_DEVICE Lane<T> copysign(Lane<T> magnitude, Lane<T> x) {
  return Lane<T>::of(std::copysign(magnitude.v, x.v));
}
// As Python's //: the quotient belongs to that remainder, so rounding of a / b cannot lift it over
// a whole number.
template <class T>
WENGERT_DEVICE Lane<T> floor_divide(Lane<T> a, Lane<T> b) {
  const Lane<T> zero(0.0), one(1.0), r = fmod(a, b);
  if constexpr (is_real<T>) {
    Lane<T> q = (a - r) / b;
    q = select((r != zero) & ((r < zero) ^ (b < zero)), q - one, q);
    const Lane<T> low = Lane<T>::of(std::floor(q.v));
    const Lane<T> whole = select(q - low > Lane<T>(0.5), low + one, low);
    const Lane<T> rounded = select(q == zero, copysign(zero, a / b), whole);
    return select(b == zero, a / b, rounded);
  } else {
    const Lane<T> q = trunc_divide(a, b);
    return select((r != zero) & ((r < zero) ^ (b < zero)), q - one, q);
  }
}
// A shift by as many bits as there are, or by a negative number, shifts everything out.
template <class T>
WENGERT_DEVICE Lane<T> shift_left(Lane<T> a, Lane<T> b) {
  if constexpr (std::is_same_v<T, Bool8>) {
    return a & ~b;
  } else {
    constexpr T bits = 8 * sizeof(T);
    using U = std::make_unsigned_t<T>;
    return b.v < 0 || b.v >= bits ? Lane<T>(0.0)
                                  : Lane<T>::of(static_cast<T>(static_cast<U>(a.v) << b.v));
  }
}
template <class T>
WENGERT_DEVICE Lane<T> shift_right(Lane<T> a, Lane<T> b) {
  if constexpr (std::is_same_v<T, Bool8>) {
    return a & ~b;
  } else {
    constexpr T last = 8 * sizeof(T) - 1;
    return Lane<T>::of(static_cast<T>(a.v >> (b.v < 0 || b.v > last ? last : b.v)));
  }
}
// Euclid; never negative.
template <class T>
WENGERT_DEVICE Lane<T> gcd(Lane<T> a, Lane<T> b) {
  if constexpr (std::is_same_v<T, Bool8>) {
    return a | b;
  } else {
    T x = a.v, y = b.v;
    while (y != 0) {
      const T rest = y == T(-1) ? T(0) : static_cast<T>(x % y);
      x = y;
      y = rest;
    }
    return x < 0 ? -Lane<T>::of(x) : Lane<T>::of(x);
  }
}

// Rounding, of integers nothing.
template <class T>
WENGERT_DEVICE Lane<T> floor(Lane<T> x) {
  if constexpr (is_real<T>) x.v = std::floor(x.v);
  return x;
}
template <class T>
WENGERT_DEVICE Lane<T> ceil(Lane<T> x) {
  if constexpr (is_real<T>) x.v = std::ceil(x.v);
  return x;
}
template <class T>
WENGERT_DEVICE Lane<T> trunc(Lane<T> x) {
  if constexpr (is_real<T>) x.v = std::trunc(x.v);
  return x;
}
template <class T>
WENGERT_DEVICE Lane<T> round(Lane<T> x) {  // ties to even
  if constexpr (is_real<T>) x.v = std::rint(x.v);
  return x;
}

}  // namespace wengert::cuda

#include "kernels/cuda/lane_math.h"
