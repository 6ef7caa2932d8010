// The C library's functions over a few lanes: what vmath.h falls back to. Compiled with the base
// flags.
//
// Sine and cosine of huge doubles go through long double: close to a multiple of pi/2, glibc's
// double versions are off by up to 8 ULP.
#include <cmath>

#include "kernels/cpu/vmath_table.h"

namespace wengert::cpu {

void libm_sin(const float* x, float* y, int n) {
  for (int i = 0; i < n; ++i) y[i] = std::sin(x[i]);
}
void libm_sin(const double* x, double* y, int n) {
  for (int i = 0; i < n; ++i) y[i] = static_cast<double>(std::sin(static_cast<long double>(x[i])));
}
void libm_cos(const float* x, float* y, int n) {
  for (int i = 0; i < n; ++i) y[i] = std::cos(x[i]);
}
void libm_cos(const double* x, double* y, int n) {
  for (int i = 0; i < n; ++i) y[i] = static_cast<double>(std::cos(static_cast<long double>(x[i])));
}
void libm_erf(const double* x, double* y, int n) {
  for (int i = 0; i < n; ++i) y[i] = std::erf(x[i]);
}
void libm_pow(const double* x, const double* y, double* z, int n) {
  for (int i = 0; i < n; ++i) z[i] = std::pow(x[i], y[i]);
}

}  // namespace wengert::cpu
