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

// Recurrence until the asymptotic series holds (NIST Digital Library of Mathematical Functions,
// 5.15.1, 5.15.5, 5.15.8).
double polygamma(double n, double x) {
  if (n == 0) return digamma(x);
  if (!(x > -1e4)) return kNaN;
  if (x <= 0 && x == std::nearbyint(x)) return std::fmod(n, 2) == 1 ? kInf : kNaN;
  const double factorial = std::tgamma(n + 1);
  double sum = 0;
  for (; x < 15 + n; x += 1) sum += factorial / std::pow(x, n + 1);
  // B_2k (2k + n - 1)! / (2k)! / x^(2k + n)
  constexpr double bernoulli[] = {1.0 / 6,  -1.0 / 30,     1.0 / 42, -1.0 / 30,
                                  5.0 / 66, -691.0 / 2730, 7.0 / 6};
  double term = factorial / (n * std::pow(x, n));
  sum += term + 0.5 * factorial / std::pow(x, n + 1);
  double ratio = 1;  // (2k + n - 1)! / ((2k)! (n - 1)! x^2k)
  for (int k = 1; k <= 7; ++k) {
    ratio *= (2 * k + n - 2) * (2 * k + n - 1) / ((2 * k - 1.0) * (2 * k) * x * x);
    sum += term * ratio * bernoulli[k - 1];
  }
  return std::fmod(n, 2) == 1 ? sum : -sum;
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
