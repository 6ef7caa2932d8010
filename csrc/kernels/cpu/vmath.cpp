// The scalar functions over a few lanes: what the vector math headers fall back to. Compiled with
// the base flags.
#include <math.h>

#include <cmath>

#include "kernels/cpu/special.h"
#include "kernels/cpu/vmath_table.h"

namespace wengert::cpu {
namespace {

template <class T, class F>
void each(const T* x, T* y, int n, F f) {
  for (int i = 0; i < n; ++i) y[i] = static_cast<T>(f(x[i]));
}

// Huge doubles go through long double: close to a multiple of pi/2, glibc's double versions of sine
// and cosine are off by up to 8 ULP.
float wide(float x) {
  return x;
}
long double wide(double x) {
  return x;
}

// The one that does not write the global signgam.
double lgamma_of(double x) {
  int sign = 0;
  return ::lgamma_r(x, &sign);
}

template <class T>
void unary(Libm f, const T* x, T* y, int n) {
  switch (f) {
    case Libm::Sin:
      return each(x, y, n, [](T v) { return std::sin(wide(v)); });
    case Libm::Cos:
      return each(x, y, n, [](T v) { return std::cos(wide(v)); });
    case Libm::Tan:
      return each(x, y, n, [](T v) { return std::tan(wide(v)); });
    case Libm::Erf:
      return each(x, y, n, [](T v) { return std::erf(v); });
    case Libm::Lgamma:
      return each(x, y, n, [](T v) { return lgamma_of(v); });
    case Libm::Digamma:
      return each(x, y, n, [](T v) { return digamma(v); });
    case Libm::Erfinv:
      return each(x, y, n, [](T v) { return erfinv(v); });
    case Libm::Exp2:
      return each(x, y, n, [](T v) { return std::exp2(v); });
    case Libm::Log2:
      return each(x, y, n, [](T v) { return std::log2(v); });
    case Libm::Log10:
      return each(x, y, n, [](T v) { return std::log10(v); });
    case Libm::Asin:
      return each(x, y, n, [](T v) { return std::asin(v); });
    case Libm::Acos:
      return each(x, y, n, [](T v) { return std::acos(v); });
    case Libm::Atan:
      return each(x, y, n, [](T v) { return std::atan(v); });
    case Libm::Sinh:
      return each(x, y, n, [](T v) { return std::sinh(v); });
    case Libm::Cosh:
      return each(x, y, n, [](T v) { return std::cosh(v); });
    case Libm::Asinh:
      return each(x, y, n, [](T v) { return std::asinh(v); });
    case Libm::Acosh:
      return each(x, y, n, [](T v) { return std::acosh(v); });
    case Libm::Atanh:
      return each(x, y, n, [](T v) { return std::atanh(v); });
    case Libm::Erfc:
      return each(x, y, n, [](T v) { return std::erfc(v); });
  }
}

template <class T>
void binary(Libm2 f, const T* x, const T* y, T* z, int n) {
  for (int i = 0; i < n; ++i) {
    z[i] = f == Libm2::Pow    ? std::pow(x[i], y[i])
           : f == Libm2::Fmod ? std::fmod(x[i], y[i])
           : f == Libm2::Polygamma
               ? static_cast<T>(polygamma(static_cast<double>(x[i]), static_cast<double>(y[i])))
               : std::atan2(x[i], y[i]);
  }
}

}  // namespace

void libm(Libm f, const float* x, float* y, int n) {
  unary(f, x, y, n);
}
void libm(Libm f, const double* x, double* y, int n) {
  unary(f, x, y, n);
}
void libm(Libm2 f, const float* x, const float* y, float* z, int n) {
  binary(f, x, y, z, n);
}
void libm(Libm2 f, const double* x, const double* y, double* z, int n) {
  binary(f, x, y, z, n);
}

}  // namespace wengert::cpu
