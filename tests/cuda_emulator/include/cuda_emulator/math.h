// What the kernels use of the mathematics that CUDA has and <math.h> lacks. The fast __expf is the
// exact one here: how much the hardware's differs cannot be shown.
#pragma once

#include <math.h>
#include <stdlib.h>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <limits>
#include <type_traits>

namespace cuda_emulator {

inline constexpr double kSqrtHalf = 0.70710678118654752440;
inline constexpr double kSqrtPi = 1.77245385090551602730;
inline constexpr double kPi = 3.14159265358979323846;

double erfcinv(double x);
double erfinv(double x);
double erfcx(double x);

/// sin or cos of pi times x, exact at the multiples of a half.
double sine_of_pi(double x);
double cosine_of_pi(double x);

/// A result the compiler cannot merge with the operation before or after it.
template <class T>
T settled(T x) {
  volatile T kept = x;
  return kept;
}

}  // namespace cuda_emulator

inline double erfinv(double x) {
  return cuda_emulator::erfinv(x);
}
inline double erfcinv(double x) {
  return cuda_emulator::erfcinv(x);
}
inline double erfcx(double x) {
  return cuda_emulator::erfcx(x);
}
inline double normcdf(double x) {
  return 0.5 * ::erfc(-x * cuda_emulator::kSqrtHalf);
}
inline double normcdfinv(double p) {
  return -2 * cuda_emulator::kSqrtHalf * erfcinv(2 * p);
}
inline double cyl_bessel_i0(double x) {
  return std::cyl_bessel_i(0.0, std::fabs(x));
}

inline float erfinvf(float x) {
  return static_cast<float>(erfinv(double{x}));
}
inline float cyl_bessel_i0f(float x) {
  return static_cast<float>(cyl_bessel_i0(double{x}));
}

// Newer C libraries have some of these.
#if !defined(__GLIBC__) || !__GLIBC_PREREQ(2, 41)
inline double sinpi(double x) {
  return cuda_emulator::sine_of_pi(x);
}
inline float cospif(float x) {
  return static_cast<float>(cuda_emulator::cosine_of_pi(x));
}
#endif
#if !defined(__GLIBC__) || !__GLIBC_PREREQ(2, 42)
inline double rsqrt(double x) {
  return 1 / ::sqrt(x);
}
inline float rsqrtf(float x) {
  return static_cast<float>(1 / ::sqrt(double{x}));
}
#endif
inline float rsqrt(float x) {
  return rsqrtf(x);
}

inline float __expf(float x) {
  return ::expf(x);
}

// One operation, rounded to nearest; never contracted with its neighbours.
inline float __fadd_rn(float x, float y) {
  using cuda_emulator::settled;
  return settled(settled(x) + settled(y));
}
inline float __fmul_rn(float x, float y) {
  return cuda_emulator::settled(x * y);
}
inline double __dadd_rn(double x, double y) {
  using cuda_emulator::settled;
  return settled(settled(x) + settled(y));
}
inline double __dmul_rn(double x, double y) {
  return cuda_emulator::settled(x * y);
}

namespace cuda_emulator {

// The device's conversions stay in range and make zero of NaN; C++ leaves both open.
template <class To, class From>
To saturated(From x) {
  if (x != x) return 0;
  if (x <= static_cast<From>(std::numeric_limits<To>::min())) return std::numeric_limits<To>::min();
  if (x >= static_cast<From>(std::numeric_limits<To>::max())) return std::numeric_limits<To>::max();
  return static_cast<To>(x);
}

}  // namespace cuda_emulator

inline int __float2int_rn(float x) {
  return cuda_emulator::saturated<int>(::rintf(x));
}
inline int __float2int_rz(float x) {
  return cuda_emulator::saturated<int>(::truncf(x));
}

// CUDA's min and max: of two numbers, and of mixed numbers by C's usual conversions. A NaN loses.
template <class A, class B>
  requires std::is_arithmetic_v<A> && std::is_arithmetic_v<B>
constexpr auto min(A a, B b) {
  using T = std::common_type_t<A, B>;
  const T x = static_cast<T>(a), y = static_cast<T>(b);
  if constexpr (std::is_floating_point_v<T>) {
    return std::fmin(x, y);
  } else {
    return y < x ? y : x;
  }
}
template <class A, class B>
  requires std::is_arithmetic_v<A> && std::is_arithmetic_v<B>
constexpr auto max(A a, B b) {
  using T = std::common_type_t<A, B>;
  const T x = static_cast<T>(a), y = static_cast<T>(b);
  if constexpr (std::is_floating_point_v<T>) {
    return std::fmax(x, y);
  } else {
    return x < y ? y : x;
  }
}
