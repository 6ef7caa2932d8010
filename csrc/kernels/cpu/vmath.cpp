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
      return each(x, y, n, [](T v) { return erfinv(v, sizeof(T) == 4); });
  }
}

template <class T>
void binary(Libm2 f, const T* x, const T* y, T* z, int n) {
  for (int i = 0; i < n; ++i) {
    z[i] = f == Libm2::Pow ? std::pow(x[i], y[i])
           : f == Libm2::Fmod
               ? std::fmod(x[i], y[i])
               : static_cast<T>(polygamma(static_cast<double>(x[i]), static_cast<double>(y[i])));
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
