// The gamma function's logarithmic derivatives, which the C library lacks, for one number. Included
// by one source of each back end.
#pragma once

#include <cmath>
#include <limits>

#if defined(__CUDACC__)
#define WENGERT_BOTH __host__ __device__
#else
#define WENGERT_BOTH
#endif

namespace wengert::special {

inline constexpr double kPi = 3.14159265358979323846;
inline constexpr double kNaN = std::numeric_limits<double>::quiet_NaN();
inline constexpr double kInf = std::numeric_limits<double>::infinity();

// On [1, 2] a minimax polynomial over the only positive zero, which keeps the digits there; the
// recurrence leads to it from below 10, the asymptotic series serves above, and reflection below
// zero (NIST Digital Library of Mathematical Functions, 5.5.2, 5.11.2, 5.5.4).
WENGERT_BOTH inline double digamma(double x) {
  if (x == 0) return std::copysign(kInf, -x);
  if (x < 0) {
    const double n = std::nearbyint(x), r = x - n;  // exact; tan(pi x) = tan(pi r)
    if (r == 0 || x == -kInf) return kNaN;
    return digamma(1 - x) - kPi / std::tan(kPi * r);
  }
  if (x < 1) return digamma(1 + x) - 1 / x;
  if (x < 10) {
    double sum = 0;
    while (x > 2) {
      x -= 1;
      sum += 1 / x;
    }
    constexpr double zero = 0x1.762d86356be3fp+0, zero_lost = 0x1.b86a722197829p-54;
    constexpr double series[] = {
        0.951055876031833,      -0.4236274212814607,    0.2405424842407739,
        -0.1484049230538499,    0.09498872445498299,    -0.06192213327816773,
        0.04076083381025781,    -0.02697579655361338,   0.017907252496126055,
        -0.011908222418806522,  0.007926943794929702,   -0.005279906969378638,
        0.003519014180550196,   -0.0023457433137342365, 0.0015565877964329607,
        -0.0010351702733222272, 0.0007234766007634017,  -0.0004900434260969136,
        0.0002269499719814535,  -0.0001375281211799883, 0.0002599120109504429,
        -0.0001837655348938188};
    const double t = x - 1.5;
    double p = 0;
    for (int k = static_cast<int>(sizeof series / sizeof *series) - 1; k >= 0; --k)
      p = p * t + series[k];
    return sum + ((x - zero) - zero_lost) * p;
  }
  // B_2k / 2k
  constexpr double series[] = {1.0 / 12,  -1.0 / 120,     1.0 / 252, -1.0 / 240,
                               1.0 / 132, -691.0 / 32760, 1.0 / 12};
  const double z = 1 / x / x;
  double tail = 0;
  for (int k = 6; k >= 0; --k) tail = z * (series[k] + tail);
  return std::log(x) - 0.5 / x - tail;
}

// n! times the sum of 1 / (x + k)^(n + 1) over all k from 0, x above 0: term by term until the
// asymptotic series holds (NIST Digital Library of Mathematical Functions, 5.15.1, 5.15.8), or no
// more is added, as is soon the case if n is large.
WENGERT_BOTH inline double shifted_sum(double n, double x) {
  const double factorial = n > 100 ? std::lgamma(n + 1) : std::tgamma(n + 1);
  const auto over_power = [n, factorial](double at, double power) {
    return n > 100 ? std::exp(factorial - power * std::log(at))  // n! may not fit
                   : factorial / std::pow(at, power);
  };
  double sum = 0;
  for (; x < 15 + n; x += 1) {
    const double added = over_power(x, n + 1);
    sum += added;
    if (!(added > sum * 0x1p-54)) return sum;
  }
  // B_2k (2k + n - 1)! / (2k)! / x^(2k + n)
  constexpr double bernoulli[] = {1.0 / 6,  -1.0 / 30,     1.0 / 42, -1.0 / 30,
                                  5.0 / 66, -691.0 / 2730, 7.0 / 6};
  const double term = over_power(x, n) / n;
  sum += term + 0.5 * over_power(x, n + 1);
  double ratio = 1;  // (2k + n - 1)! / ((2k)! (n - 1)! x^2k)
  for (int k = 1; k <= 7; ++k) {
    ratio *= (2 * k + n - 2) * (2 * k + n - 1) / ((2 * k - 1.0) * (2 * k) * x * x);
    sum += term * ratio * bernoulli[k - 1];
  }
  return sum;
}

// Below 0 the sum from x on is that over all integers but for the terms before x: those and all
// are sums from positive numbers on.
WENGERT_BOTH inline double polygamma(double n, double x) {
  if (n == 0) return digamma(x);
  if (std::isnan(x)) return kNaN;
  const bool odd = std::fmod(n, 2) == 1;
  if (x <= 0 && x == std::nearbyint(x)) return odd ? kInf : -kInf;
  double sum;
  if (x > 0) {
    sum = shifted_sum(n, x);
  } else {
    const double r = x - std::floor(x), sign = odd ? 1 : -1;
    sum = shifted_sum(n, r) + sign * shifted_sum(n, 1 - r) - sign * shifted_sum(n, 1 - x);
  }
  return odd ? sum : -sum;
}

}  // namespace wengert::special
