#include "cuda_emulator/math.h"

#include <cmath>
#include <limits>

namespace cuda_emulator {

double erfcx(double x) {
  if (x < 25) return std::exp(x * x) * std::erfc(x);
  const double inverse = 1 / (x * x);  // the asymptotic series, exact to a double from here on
  return (1 - inverse * (0.5 - inverse * (0.75 - inverse * 1.875))) / (x * kSqrtPi);
}

double erfcinv(double x) {
  if (!(x >= 0 && x <= 2)) return std::numeric_limits<double>::quiet_NaN();
  if (x == 0) return std::numeric_limits<double>::infinity();
  if (x > 1) return -erfcinv(2 - x);
  // A rough start, then Newton's steps on log(erfc), which is nearly a parabola.
  const double large = std::sqrt(std::max(0.0, -std::log(x * kSqrtPi)));
  double y = x > 0.5 ? (1 - x) * kSqrtPi / 2 : large;
  for (int i = 0; i < 60; ++i) {
    const double value = std::erfc(y);
    const double slope = -2 / kSqrtPi * std::exp(-y * y) / value;
    const double step = (std::log(value) - std::log(x)) / slope;
    y -= step;
    if (std::fabs(step) <= 1e-16 * std::fabs(y)) break;
  }
  return y;
}

double erfinv(double x) {
  if (!(x >= -1 && x <= 1)) return std::numeric_limits<double>::quiet_NaN();
  if (std::fabs(x) > 0.5) return std::copysign(erfcinv(1 - std::fabs(x)), x);
  double y = x * kSqrtPi / 2;
  for (int i = 0; i < 60; ++i) {
    const double step = (std::erf(y) - x) * kSqrtPi / 2 * std::exp(y * y);
    y -= step;
    if (std::fabs(step) <= 1e-17 * std::fabs(y)) break;
  }
  return y;
}

double sine_of_pi(double x) {
  const double r = std::remainder(x, 2.0);  // exact, in [-1, 1]
  if (std::fabs(r) == 1 || r == 0) return std::copysign(0.0, x);
  if (std::fabs(r) <= 0.25) return std::sin(kPi * r);
  if (std::fabs(r) >= 0.75) return std::copysign(std::sin(kPi * (1 - std::fabs(r))), r);
  return std::copysign(std::cos(kPi * (std::fabs(r) - 0.5)), r);
}

double cosine_of_pi(double x) {
  const double r = std::fabs(std::remainder(x, 2.0));
  if (r <= 0.25) return std::cos(kPi * r);
  if (r >= 0.75) return -std::cos(kPi * (1 - r));
  return std::sin(kPi * (0.5 - r));
}

}  // namespace cuda_emulator
