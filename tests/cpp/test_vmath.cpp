// The vector math functions against the C library in a wider type, on every ISA of this machine:
// strided samples of all bit patterns, nasty points, special values, and array tails. The allowed
// errors are those that csrc/kernels/cpu/vmath.h states.
#include <gtest/gtest.h>

#include <cmath>
#include <cstdint>
#include <cstring>
#include <limits>
#include <random>
#include <string>
#include <vector>

#include "isas.h"
#include "kernels/cpu/vmath_table.h"

namespace wengert::cpu {
namespace {

template <class R>
R sigmoid(R x) {
  return x < 0 ? std::exp(x) / (1 + std::exp(x)) : 1 / (1 + std::exp(-x));
}

// A function, its references for float and double, and the error allowed in ULP of the result for
// every argument.
struct Row {
  const char* name;
  double (*ref32)(double);
  long double (*ref64)(long double);
  double ulp32, ulp64;
};
const Row kRows[] = {
    {"exp", std::exp, std::exp, 1.0, 1.0},
    {"expm1", std::expm1, std::expm1, 1.25, 1.25},
    {"log", std::log, std::log, 1.0, 1.0},
    {"log1p", std::log1p, std::log1p, 1.0, 1.0},
    {"tanh", std::tanh, std::tanh, 1.4, 1.4},
    {"sigmoid", sigmoid<double>, sigmoid<long double>, 1.25, 1.25},
    {"sin", std::sin, std::sin, 1.5, 1.0},
    {"cos", std::cos, std::cos, 1.5, 1.0},
    {"erf", std::erf, std::erf, 1.5, 1.0},
    {"floor", std::floor, std::floor, 0.0, 0.0},
    {"trunc", std::trunc, std::trunc, 0.0, 0.0},
    {"round", std::nearbyint, std::nearbyint, 0.0, 0.0},
};

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
std::vector<float> sample_floats() {
  std::vector<float> points = special_points<float>();
  for (uint64_t i = 0; i < (uint64_t(1) << 32); i += 2147) {
    const uint32_t bits = static_cast<uint32_t>(i);
    float x;
    std::memcpy(&x, &bits, sizeof x);
    points.push_back(x);
  }
  return points;
}
std::vector<double> sample_doubles() {
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

template <class T, class Ref>
void expect_close(const Row& row, const char* isa, const std::vector<T>& x, Ref ref,
                  double allowed) {
  const UnaryLoop loop = find_vmath(isa, row.name, kDTypeOf<T>);
  ASSERT_NE(loop, nullptr) << row.name;
  std::vector<T> y(x.size());
  loop(x.data(), y.data(), static_cast<int64_t>(x.size()));
  double worst = -1.0;
  size_t at = 0;
  for (size_t i = 0; i < x.size(); ++i) {
    const double error = ulp_error(y[i], ref(x[i]));
    if (error > worst) {
      worst = error;
      at = i;
    }
  }
  EXPECT_LE(worst, allowed) << isa << " " << row.name << "(" << x[at] << ") = " << y[at]
                            << ", expected " << ref(x[at]);
}

class VMath : public testing::TestWithParam<const char*> {
 protected:
  void SetUp() override {
    if (find_vmath(GetParam(), "exp", DType::Float32) == nullptr) {
      GTEST_SKIP() << "this machine or build has no " << GetParam();
    }
  }
};

TEST_P(VMath, Float32WithinBounds) {
  const std::vector<float> x = sample_floats();
  for (const Row& row : kRows) expect_close<float>(row, GetParam(), x, row.ref32, row.ulp32);
}

TEST_P(VMath, Float64WithinBounds) {
  const std::vector<double> x = sample_doubles();
  for (const Row& row : kRows) expect_close<double>(row, GetParam(), x, row.ref64, row.ulp64);
}

// Results that must be exact, in both types.
struct Exact {
  const char* name;
  double x, y;
};
constexpr double kInf = std::numeric_limits<double>::infinity();
constexpr double kNaN = std::numeric_limits<double>::quiet_NaN();
const Exact kExact[] = {
    {"exp", 0.0, 1.0},       {"exp", -0.0, 1.0},      {"exp", kInf, kInf},
    {"exp", -kInf, 0.0},     {"exp", 1000.0, kInf},   {"exp", -1000.0, 0.0},
    {"exp", kNaN, kNaN},     {"expm1", 0.0, 0.0},     {"expm1", -0.0, -0.0},
    {"expm1", kInf, kInf},   {"expm1", -kInf, -1.0},  {"expm1", 1000.0, kInf},
    {"expm1", kNaN, kNaN},   {"log", 1.0, 0.0},       {"log", 0.0, -kInf},
    {"log", -0.0, -kInf},    {"log", -1.0, kNaN},     {"log", kInf, kInf},
    {"log", -kInf, kNaN},    {"log", kNaN, kNaN},     {"log1p", 0.0, 0.0},
    {"log1p", -0.0, -0.0},   {"log1p", -1.0, -kInf},  {"log1p", -2.0, kNaN},
    {"log1p", kInf, kInf},   {"log1p", -kInf, kNaN},  {"log1p", kNaN, kNaN},
    {"tanh", 0.0, 0.0},      {"tanh", -0.0, -0.0},    {"tanh", 100.0, 1.0},
    {"tanh", -100.0, -1.0},  {"tanh", kInf, 1.0},     {"tanh", -kInf, -1.0},
    {"tanh", kNaN, kNaN},    {"sigmoid", 0.0, 0.5},   {"sigmoid", -0.0, 0.5},
    {"sigmoid", 1e3, 1.0},   {"sigmoid", -1e3, 0.0},  {"sigmoid", kInf, 1.0},
    {"sigmoid", -kInf, 0.0}, {"sigmoid", kNaN, kNaN}, {"sin", 0.0, 0.0},
    {"sin", -0.0, -0.0},     {"sin", kInf, kNaN},     {"sin", -kInf, kNaN},
    {"sin", kNaN, kNaN},     {"cos", 0.0, 1.0},       {"cos", -0.0, 1.0},
    {"cos", kInf, kNaN},     {"cos", kNaN, kNaN},     {"erf", 0.0, 0.0},
    {"erf", -0.0, -0.0},     {"erf", 100.0, 1.0},     {"erf", -kInf, -1.0},
    {"erf", kNaN, kNaN},     {"floor", -0.5, -1.0},   {"floor", -0.0, -0.0},
    {"floor", kInf, kInf},   {"trunc", -0.5, -0.0},   {"trunc", 2.75, 2.0},
    {"trunc", -kInf, -kInf}, {"round", 0.5, 0.0},     {"round", 1.5, 2.0},
    {"round", 2.5, 2.0},     {"round", -0.5, -0.0},   {"round", kNaN, kNaN},
};

template <class T>
bool same_value(T a, T b) {
  return std::isnan(a) ? std::isnan(b) : a == b && std::signbit(a) == std::signbit(b);
}

template <class T>
void expect_exact(const char* isa) {
  for (const Exact& row : kExact) {
    const UnaryLoop loop = find_vmath(isa, row.name, kDTypeOf<T>);
    ASSERT_NE(loop, nullptr) << row.name;
    const T x = static_cast<T>(row.x);
    T y = 42;
    loop(&x, &y, 1);
    EXPECT_TRUE(same_value(y, static_cast<T>(row.y)))
        << isa << " " << row.name << "(" << x << ") = " << y << ", expected " << row.y;
  }
}

TEST_P(VMath, SpecialValuesAreExact) {
  expect_exact<float>(GetParam());
  expect_exact<double>(GetParam());
}

TEST_P(VMath, PowSpecialValuesAsTheCLibrary) {
  const BinaryLoop loop32 = find_vmath2(GetParam(), "pow", DType::Float32);
  const BinaryLoop loop64 = find_vmath2(GetParam(), "pow", DType::Float64);
  ASSERT_NE(loop32, nullptr);
  ASSERT_NE(loop64, nullptr);
  std::vector<float> values;
  for (float v :
       {0.0f, 1.0f, 2.0f, 0.5f, 3.0f, 1.5f, 0x1p-149f, 0x1p-126f, 0x1.fffffep127f, 16777215.0f,
        16777216.0f, 8388607.5f, 1e10f, 1.0000001f, 0.99999994f,
        std::numeric_limits<float>::infinity(), std::numeric_limits<float>::quiet_NaN()}) {
    values.push_back(v);
    values.push_back(-v);
  }
  for (float x : values) {
    for (float y : values) {
      float z = 42;
      loop32(&x, &y, &z, 1);
      const double ref = std::pow(static_cast<double>(x), static_cast<double>(y));
      EXPECT_LE(ulp_error(z, ref), 1.0) << "pow(" << x << ", " << y << ") = " << z;
      const double xd = x, yd = y;
      double zd = 42;
      loop64(&xd, &yd, &zd, 1);
      EXPECT_TRUE(same_value(zd, ref)) << "pow(" << x << ", " << y << ") = " << zd;
    }
  }
}

TEST_P(VMath, PowWithinBounds) {
  std::mt19937 rng(2);
  const auto uniform = [&](double a, double b) {
    return static_cast<float>(std::uniform_real_distribution<double>(a, b)(rng));
  };
  std::vector<float> x, y;
  for (int i = 0; i < 200000; ++i) {
    const uint32_t bits = static_cast<uint32_t>(rng());
    float any;
    std::memcpy(&any, &bits, sizeof any);
    x.push_back(any);
    y.push_back(uniform(-4, 4));
    x.push_back(uniform(0, 10));
    y.push_back(uniform(-40, 40));
    x.push_back(-uniform(0, 20));
    y.push_back(std::floor(uniform(-30, 30)));
    x.push_back(1 + uniform(-1, 1) * std::exp2(uniform(-24, 0)));  // large exponents, near one
    y.push_back(uniform(-1, 1) * std::exp2(uniform(0, 31)));
  }
  std::vector<float> z(x.size());
  find_vmath2(GetParam(), "pow", DType::Float32)(x.data(), y.data(), z.data(),
                                                 static_cast<int64_t>(z.size()));
  double worst = -1.0;
  size_t at = 0;
  for (size_t i = 0; i < z.size(); ++i) {
    const double error =
        ulp_error(z[i], std::pow(static_cast<double>(x[i]), static_cast<double>(y[i])));
    if (error > worst) {
      worst = error;
      at = i;
    }
  }
  EXPECT_LE(worst, 0.51) << "pow(" << x[at] << ", " << y[at] << ") = " << z[at];
}

// An element's bits do not depend on where it stands, and nothing is written past the end. Lanes
// that go to the C library stand next to lanes that do not.
template <class T>
void expect_tails(const char* isa) {
  constexpr int n = 37;
  std::vector<T> x(n);
  for (int i = 0; i < n; ++i) x[i] = static_cast<T>(i % 5 == 4 ? 1e8 + i : 0.37 * i - 3);
  for (const Row& row : kRows) {
    const UnaryLoop loop = find_vmath(isa, row.name, kDTypeOf<T>);
    std::vector<T> whole(n);
    loop(x.data(), whole.data(), n);
    for (int from = 0; from < 4; ++from) {
      for (int count = 0; count <= n - from; ++count) {
        std::vector<T> y(count + 1, T(-77));
        loop(x.data() + from, y.data(), count);
        ASSERT_EQ(y[count], T(-77)) << row.name;
        for (int i = 0; i < count; ++i) {
          ASSERT_TRUE(same_value(y[i], whole[from + i])) << isa << " " << row.name << " at " << i;
        }
      }
    }
  }
}

TEST_P(VMath, TailsAreAsWholeVectors) {
  expect_tails<float>(GetParam());
  expect_tails<double>(GetParam());
}

TEST_P(VMath, UnknownNamesAndTypesGiveNull) {
  EXPECT_EQ(find_vmath(GetParam(), "gamma", DType::Float32), nullptr);
  EXPECT_EQ(find_vmath(GetParam(), "exp", DType::Int64), nullptr);
  EXPECT_EQ(find_vmath2(GetParam(), "pow", DType::Bool), nullptr);
}

INSTANTIATE_TEST_SUITE_P(Isas, VMath, testing::ValuesIn(kIsas),
                         [](const auto& info) { return std::string(info.param); });

}  // namespace
}  // namespace wengert::cpu
