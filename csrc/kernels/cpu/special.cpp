// Compiled with the base flags; see special.h.
#include "kernels/cpu/special.h"

#include <cmath>
#include <limits>

namespace wengert::cpu {

namespace {
constexpr double kPi = 3.14159265358979323846;
constexpr double kNaN = std::numeric_limits<double>::quiet_NaN();
constexpr double kInf = std::numeric_limits<double>::infinity();
}  // namespace

// Recurrence up to 10, then the asymptotic series; reflection below zero (NIST Digital Library of
// Mathematical Functions, 5.5.2, 5.11.2, 5.5.4).
double digamma(double x) {
  if (x == 0) return std::copysign(kInf, -x);
  if (x < 0) {
    const double n = std::nearbyint(x), r = x - n;  // exact; tan(pi x) = tan(pi r)
    if (r == 0 || x == -kInf) return kNaN;
    return digamma(1 - x) - kPi / std::tan(kPi * r);
  }
  double sum = 0;
  for (; x < 10; x += 1) sum -= 1 / x;
  // B_2k / 2k
  constexpr double series[] = {1.0 / 12,  -1.0 / 120,     1.0 / 252, -1.0 / 240,
                               1.0 / 132, -691.0 / 32760, 1.0 / 12};
  const double z = 1 / (x * x);
  double tail = 0;
  for (int k = 6; k >= 0; --k) tail = z * (series[k] + tail);
  return sum + (std::log(x) - 0.5 / x - tail);
}

// As digamma (NIST Digital Library of Mathematical Functions, 5.15.5, 5.15.6, 5.15.8).
double trigamma(double x) {
  if (x <= 0) {
    const double n = std::nearbyint(x), r = x - n;
    if (r == 0 || x == -kInf) return x == -kInf ? kNaN : kInf;
    const double s = std::sin(kPi * r);
    return kPi * kPi / (s * s) - trigamma(1 - x);
  }
  double sum = 0;
  for (; x < 10; x += 1) sum += 1 / (x * x);
  // B_2k
  constexpr double series[] = {1.0 / 6,  -1.0 / 30,     1.0 / 42, -1.0 / 30,
                               5.0 / 66, -691.0 / 2730, 7.0 / 6};
  const double z = 1 / (x * x);
  double tail = 0;
  for (int k = 6; k >= 0; --k) tail = z * (series[k] + tail);
  return sum + 1 / x + 0.5 * z + tail / x;
}

// A start right to 0.2% (S. Winitzki, A handy approximation for the error function and its inverse,
// 2008), then two steps of Halley's method for erf(y) = x, each of which triples the digits. Above
// 1/2 they solve erfc(y) = 1 - x, where the right side is exact.
double erfinv(double x) {
  const double a = std::fabs(x);
  if (!(a < 1)) return a == 1 ? std::copysign(kInf, x) : kNaN;
  if (a < 1e-9) return x * 0.88622692545275801365;  // sqrt(pi) / 2
  constexpr double c = 0.147;
  const double l = std::log1p(-a * a), b = 2 / (kPi * c) + 0.5 * l;
  double y = std::sqrt(std::sqrt(b * b - l / c) - b);
  for (int i = 0; i < 2; ++i) {
    const double error = a < 0.5 ? std::erf(y) - a : (1 - a) - std::erfc(y);
    const double step = error * 0.88622692545275801365 * std::exp(y * y);
    y -= step / (1 + y * step);
  }
  return std::copysign(y, x);
}

}  // namespace wengert::cpu
