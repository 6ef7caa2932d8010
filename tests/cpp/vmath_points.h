// Points to try the vector math functions at, and the measure of their errors.
#pragma once

#include <cmath>
#include <cstdint>
#include <cstring>
#include <limits>
#include <random>
#include <vector>

namespace wengert::cpu {

// |y - ref| in units of the last place of T in ref's binade; huge where one of them is NaN, where a
// zero has the wrong sign, or where only one is infinite.
template <class T, class R>
double ulp_error(T y, R ref) {
  using Limits = std::numeric_limits<T>;
  constexpr double wrong = 1e30;
  if (std::isnan(ref) || std::isnan(y)) return std::isnan(ref) && std::isnan(y) ? 0.0 : wrong;
  const T rounded = static_cast<T>(ref);
  if (y == rounded && std::signbit(y) == std::signbit(rounded)) {
    if (std::isinf(y) || y == 0) return 0.0;
  } else if (std::signbit(y) != std::signbit(rounded) || std::isinf(ref)) {
    return wrong;
  }
  int e = 0;
  std::frexp(ref, &e);
  if (e < Limits::min_exponent) e = Limits::min_exponent;
  const R unit = std::ldexp(R(1), e - Limits::digits);
  // An infinity stands for the first number that does not fit.
  const R got = std::isinf(y) ? std::copysign(std::ldexp(R(1), Limits::max_exponent), R(y)) : R(y);
  return static_cast<double>(std::fabs(got - ref) / unit);
}

template <class T>
std::vector<T> special_points() {
  using L = std::numeric_limits<T>;
  std::vector<T> points;
  for (T x : {T(0),
              L::denorm_min(),
              L::min() / 3,
              L::min(),
              L::epsilon(),
              L::epsilon() / 2,
              T(0.5),
              T(1) - L::epsilon() / 2,
              T(1),
              T(1) + L::epsilon(),
              T(1.5),
              T(2),
              T(2.5),
              T(3),
              T(7),
              T(1) / L::epsilon(),
              T(2) / L::epsilon(),
              T(0.5) / L::epsilon() + T(0.5),
              T(88.7228394),
              T(88.7228241),
              T(103.972076),
              T(103.972084),
              T(709.782712893384),
              T(745.1332191019411),
              T(745.1332191019412),
              T(1e5),
              T(524287.9),
              T(524288.1),
              T(1.7e6),
              T(1e22),
              L::max(),
              L::infinity(),
              L::quiet_NaN()}) {
    points.push_back(x);
    points.push_back(-x);
  }
  // Next to multiples of pi/2 and of ln(2)/2, where range reductions cancel or change step.
  for (double step : {1.5707963267948966, 0.34657359027997264}) {
    for (int k = 1; k < 300000; k += 1 + k / 40) {
      const T x = static_cast<T>(k * step);
      for (T y : {x, std::nextafter(x, T(0)), std::nextafter(x, L::infinity())}) {
        points.push_back(y);
        points.push_back(-y);
      }
    }
  }
  return points;
}

// Every 2147th float: two million of them.
inline std::vector<float> sample_floats() {
  std::vector<float> points = special_points<float>();
  for (uint64_t i = 0; i < (uint64_t(1) << 32); i += 2147) {
    const uint32_t bits = static_cast<uint32_t>(i);
    float x;
    std::memcpy(&x, &bits, sizeof x);
    points.push_back(x);
  }
  return points;
}
inline std::vector<double> sample_doubles() {
  std::vector<double> points = special_points<double>();
  std::mt19937_64 rng(1);
  const auto uniform = [&](double a, double b) {
    return std::uniform_real_distribution<double>(a, b)(rng);
  };
  for (int i = 0; i < 20000; ++i) {
    const uint64_t bits = rng();
    double x;
    std::memcpy(&x, &bits, sizeof x);
    points.push_back(x);
    points.push_back(uniform(-1, 1));
    points.push_back(uniform(-30, 30));
    points.push_back(uniform(-750, 750));
    points.push_back(uniform(-1.6e6, 1.6e6));
    points.push_back(1 + std::ldexp(uniform(-1, 1), static_cast<int>(uniform(-52, 0))));
    points.push_back(std::ldexp(uniform(-1, 1), static_cast<int>(uniform(-60, 8))));
  }
  return points;
}

template <class T>
bool same_value(T a, T b) {
  return std::isnan(a) ? std::isnan(b) : a == b && std::signbit(a) == std::signbit(b);
}

}  // namespace wengert::cpu
