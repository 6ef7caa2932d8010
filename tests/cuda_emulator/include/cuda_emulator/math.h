// The mathematics CUDA has and <math.h> lacks. The fast forms (__expf and others) are the exact
// ones here: how much the hardware's differ cannot be shown.
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
inline double rcbrt(double x) {
  return 1 / ::cbrt(x);
}
inline double rhypot(double x, double y) {
  return 1 / ::hypot(x, y);
}
inline double norm3d(double a, double b, double c) {
  return std::hypot(a, b, c);
}
inline double cyl_bessel_i0(double x) {
  return std::cyl_bessel_i(0.0, std::fabs(x));
}
inline double cyl_bessel_i1(double x) {
  return std::copysign(std::cyl_bessel_i(1.0, std::fabs(x)), x);
}

inline float erfinvf(float x) {
  return static_cast<float>(erfinv(double{x}));
}
inline float erfcinvf(float x) {
  return static_cast<float>(erfcinv(double{x}));
}
inline float erfcxf(float x) {
  return static_cast<float>(erfcx(double{x}));
}
inline float normcdff(float x) {
  return static_cast<float>(normcdf(double{x}));
}
inline float normcdfinvf(float p) {
  return static_cast<float>(normcdfinv(double{p}));
}
inline float rcbrtf(float x) {
  return static_cast<float>(rcbrt(double{x}));
}
inline float rhypotf(float x, float y) {
  return static_cast<float>(rhypot(double{x}, double{y}));
}
inline float norm3df(float a, float b, float c) {
  return std::hypot(a, b, c);
}
inline float cyl_bessel_i0f(float x) {
  return static_cast<float>(cyl_bessel_i0(double{x}));
}
inline float cyl_bessel_i1f(float x) {
  return static_cast<float>(cyl_bessel_i1(double{x}));
}

// Newer C libraries have some of these.
#if !defined(__GLIBC__) || !__GLIBC_PREREQ(2, 41)
inline double sinpi(double x) {
  return cuda_emulator::sine_of_pi(x);
}
inline double cospi(double x) {
  return cuda_emulator::cosine_of_pi(x);
}
inline float sinpif(float x) {
  return static_cast<float>(cuda_emulator::sine_of_pi(x));
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
inline void sincospi(double x, double* sine, double* cosine) {
  *sine = sinpi(x);
  *cosine = cospi(x);
}
inline void sincospif(float x, float* sine, float* cosine) {
  *sine = sinpif(x);
  *cosine = cospif(x);
}

inline float __expf(float x) {
  return ::expf(x);
}
inline float __exp10f(float x) {
  return ::powf(10.0f, x);
}
inline float __logf(float x) {
  return ::logf(x);
}
inline float __log2f(float x) {
  return ::log2f(x);
}
inline float __log10f(float x) {
  return ::log10f(x);
}
inline float __powf(float x, float y) {
  return ::powf(x, y);
}
inline float __sinf(float x) {
  return ::sinf(x);
}
inline float __cosf(float x) {
  return ::cosf(x);
}
inline float __tanf(float x) {
  return ::tanf(x);
}
inline void __sincosf(float x, float* sine, float* cosine) {
  *sine = ::sinf(x);
  *cosine = ::cosf(x);
}
inline float __tanhf(float x) {
  return ::tanhf(x);
}
inline float __saturatef(float x) {
  return x > 0 ? (x < 1 ? x : 1.0f) : 0.0f;
}
inline float __fdividef(float x, float y) {
  // The device's own rule for a very large divisor.
  return ::fabsf(y) > 0x1p126f && !::isnan(x) && !::isinf(x) ? 0.0f : x / y;
}

// One operation, rounded to nearest; never contracted with its neighbours.
inline float __fadd_rn(float x, float y) {
  using cuda_emulator::settled;
  return settled(settled(x) + settled(y));
}
inline float __fmul_rn(float x, float y) {
  return cuda_emulator::settled(x * y);
}
inline float __fsub_rn(float x, float y) {
  return __fadd_rn(x, -y);
}
inline float __fdiv_rn(float x, float y) {
  return x / y;
}
inline float __fmaf_rn(float x, float y, float z) {
  return ::fmaf(x, y, z);
}
inline float __frcp_rn(float x) {
  return 1 / x;
}
inline float __fsqrt_rn(float x) {
  return ::sqrtf(x);
}
inline float __frsqrt_rn(float x) {
  return rsqrtf(x);
}
inline double __dadd_rn(double x, double y) {
  using cuda_emulator::settled;
  return settled(settled(x) + settled(y));
}
inline double __dmul_rn(double x, double y) {
  return cuda_emulator::settled(x * y);
}
inline double __dsub_rn(double x, double y) {
  return __dadd_rn(x, -y);
}
inline double __ddiv_rn(double x, double y) {
  return x / y;
}
inline double __fma_rn(double x, double y, double z) {
  return ::fma(x, y, z);
}
inline double __drcp_rn(double x) {
  return 1 / x;
}
inline double __dsqrt_rn(double x) {
  return ::sqrt(x);
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
inline int __float2int_rd(float x) {
  return cuda_emulator::saturated<int>(::floorf(x));
}
inline int __float2int_ru(float x) {
  return cuda_emulator::saturated<int>(::ceilf(x));
}
inline unsigned __float2uint_rn(float x) {
  return cuda_emulator::saturated<unsigned>(::rintf(x));
}
inline unsigned __float2uint_rz(float x) {
  return cuda_emulator::saturated<unsigned>(::truncf(x));
}
inline long long __float2ll_rn(float x) {
  return cuda_emulator::saturated<long long>(::rintf(x));
}
inline long long __float2ll_rz(float x) {
  return cuda_emulator::saturated<long long>(::truncf(x));
}
inline int __double2int_rn(double x) {
  return cuda_emulator::saturated<int>(::rint(x));
}
inline int __double2int_rz(double x) {
  return cuda_emulator::saturated<int>(::trunc(x));
}
inline long long __double2ll_rn(double x) {
  return cuda_emulator::saturated<long long>(::rint(x));
}
inline long long __double2ll_rz(double x) {
  return cuda_emulator::saturated<long long>(::trunc(x));
}
inline float __int2float_rn(int x) {
  return static_cast<float>(x);
}
inline float __uint2float_rn(unsigned x) {
  return static_cast<float>(x);
}
inline float __ll2float_rn(long long x) {
  return static_cast<float>(x);
}
inline double __int2double_rn(int x) {
  return x;
}
inline double __ll2double_rn(long long x) {
  return static_cast<double>(x);
}
inline float __double2float_rn(double x) {
  return static_cast<float>(x);
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
