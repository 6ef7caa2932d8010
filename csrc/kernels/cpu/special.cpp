// Compiled with the base flags; see special.h.
#include "kernels/cpu/special.h"

#include <cmath>
#include <iterator>

#include "kernels/gamma.h"

namespace wengert::cpu {

using special::kInf, special::kNaN, special::kPi;

double digamma(double x) {
  return special::digamma(x);
}
double polygamma(double n, double x) {
  return special::polygamma(n, x);
}

// A start right to 1e-8 from polynomials, fitted at Chebyshev nodes, for erfinv(a) / a in terms of
// w = -log(1 - a^2), or, for doubles beyond them, to 0.2% (S. Winitzki, A handy approximation for
// the error function and its inverse, 2008). Then steps of Halley's method for erf(y) = x, each of
// which triples the digits; single precision needs none. Above 1/2 they solve erfc(y) = 1 - x,
// where the right side is exact.
double erfinv(double x, bool single) {
  const double a = std::fabs(x);
  if (!(a < 1)) return a == 1 ? std::copysign(kInf, x) : kNaN;
  if (a < 1e-9) return x * 0.88622692545275801365;  // sqrt(pi) / 2
  constexpr double central[] = {
      1.501409352,     0.2466402768,     -0.004177324922,  -0.001252708113,
      0.0002182639231, -4.995855102e-06, -3.426175951e-06, 4.786352609e-07,
      1.648717671e-08, -1.085287585e-08, 4.351147396e-10,  1.229407932e-10};  // in w - 2.5, below 5
  constexpr double tail[] = {2.832976798,      1.001675067,    0.009445585642, -0.007639091496,
                             0.0056839635,     -0.00358849413, 0.001493858174, -7.37748462e-05,
                             -0.0003171528093, 0.000127057218};  // in sqrt(w) - 3, below 16
  const auto polynomial = [](const auto& series, double t) {
    double p = 0;
    for (size_t k = std::size(series); k-- > 0;) p = p * t + series[k];
    return p;
  };
  const double w = -std::log((1 - a) * (1 + a));
  double y;
  if (w < 5) {
    y = a * polynomial(central, w - 2.5);
  } else if (w < 16) {
    y = a * polynomial(tail, std::sqrt(w) - 3);
  } else {
    constexpr double c = 0.147;
    const double b = 2 / (kPi * c) - 0.5 * w;
    y = std::sqrt(std::sqrt(b * b + w / c) - b);
  }
  for (int left = w >= 16 ? 3 : single ? 0 : 1; left > 0; --left) {
    const double error = a < 0.5 ? std::erf(y) - a : (1 - a) - std::erfc(y);
    const double step = error * 0.88622692545275801365 * std::exp(y * y);
    y -= step / (1 + y * step);
  }
  return std::copysign(y, x);
}

}  // namespace wengert::cpu
