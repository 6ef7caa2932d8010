// The vector math functions against the C library in a wider type, on every ISA of this machine:
// strided samples of all bit patterns, nasty points, special values, and array tails. The allowed
// errors are a little more than those stated in csrc/kernels/cpu/vmath*.h.
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
#include "vmath_points.h"
#include "vmath_references.h"

namespace wengert::cpu {
namespace {

template <class T, class Ref>
void expect_close(const Reference& row, const char* isa, const std::vector<T>& x, Ref ref,
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
  for (const Reference& row : kReferences)
    expect_close<float>(row, GetParam(), x, row.single, allowed32(row, GetParam()));
}

TEST_P(VMath, Float64WithinBounds) {
  const std::vector<double> x = sample_doubles();
  for (const Reference& row : kReferences)
    expect_close<double>(row, GetParam(), x, row.twice, row.ulp64);
}

// Results that must be exact, in both types.
struct Exact {
  const char* name;
  double x, y;
};
constexpr double kInf = std::numeric_limits<double>::infinity();
constexpr double kNaN = std::numeric_limits<double>::quiet_NaN();
const Exact kExact[] = {
    {"exp2", 0.0, 1.0},       {"exp2", 10.0, 1024.0},  {"exp2", -3.0, 0.125},
    {"exp2", kInf, kInf},     {"exp2", -kInf, 0.0},    {"exp2", 5000.0, kInf},
    {"exp2", -5000.0, 0.0},   {"exp2", kNaN, kNaN},    {"log2", 1.0, 0.0},
    {"log2", 0.0, -kInf},     {"log2", -0.0, -kInf},   {"log2", -1.0, kNaN},
    {"log2", kInf, kInf},     {"log2", 1024.0, 10.0},  {"log2", 0.125, -3.0},
    {"log2", kNaN, kNaN},     {"log10", 1.0, 0.0},     {"log10", 0.0, -kInf},
    {"log10", -1.0, kNaN},    {"log10", kInf, kInf},   {"log10", 1000.0, 3.0},
    {"log10", 100000.0, 5.0}, {"log10", kNaN, kNaN},   {"rsqrt", 0.0, kInf},
    {"rsqrt", -0.0, -kInf},   {"rsqrt", 4.0, 0.5},     {"rsqrt", -1.0, kNaN},
    {"rsqrt", kInf, 0.0},     {"tan", 0.0, 0.0},       {"tan", -0.0, -0.0},
    {"tan", kInf, kNaN},      {"tan", -kInf, kNaN},    {"tan", kNaN, kNaN},
    {"asin", 0.0, 0.0},       {"asin", -0.0, -0.0},    {"asin", 1.5, kNaN},
    {"asin", -1.5, kNaN},     {"asin", kInf, kNaN},    {"asin", kNaN, kNaN},
    {"acos", 1.0, 0.0},       {"acos", 1.5, kNaN},     {"acos", -kInf, kNaN},
    {"acos", kNaN, kNaN},     {"atan", 0.0, 0.0},      {"atan", -0.0, -0.0},
    {"atan", kNaN, kNaN},     {"sinh", 0.0, 0.0},      {"sinh", -0.0, -0.0},
    {"sinh", kInf, kInf},     {"sinh", -kInf, -kInf},  {"sinh", 1000.0, kInf},
    {"sinh", -1000.0, -kInf}, {"sinh", kNaN, kNaN},    {"cosh", 0.0, 1.0},
    {"cosh", -0.0, 1.0},      {"cosh", kInf, kInf},    {"cosh", -kInf, kInf},
    {"cosh", -1000.0, kInf},  {"cosh", kNaN, kNaN},    {"asinh", 0.0, 0.0},
    {"asinh", -0.0, -0.0},    {"asinh", kInf, kInf},   {"asinh", -kInf, -kInf},
    {"asinh", kNaN, kNaN},    {"acosh", 1.0, 0.0},     {"acosh", 0.5, kNaN},
    {"acosh", -2.0, kNaN},    {"acosh", -kInf, kNaN},  {"acosh", kInf, kInf},
    {"acosh", kNaN, kNaN},    {"atanh", 0.0, 0.0},     {"atanh", -0.0, -0.0},
    {"atanh", 1.0, kInf},     {"atanh", -1.0, -kInf},  {"atanh", 2.0, kNaN},
    {"atanh", -kInf, kNaN},   {"atanh", kNaN, kNaN},   {"erfc", 0.0, 1.0},
    {"erfc", -0.0, 1.0},      {"erfc", kInf, 0.0},     {"erfc", -kInf, 2.0},
    {"erfc", 100.0, 0.0},     {"erfc", -100.0, 2.0},   {"erfc", kNaN, kNaN},
    {"lgamma", 1.0, 0.0},     {"lgamma", 2.0, 0.0},    {"lgamma", 0.0, kInf},
    {"lgamma", -3.0, kInf},   {"lgamma", kInf, kInf},  {"lgamma", -kInf, kInf},
    {"lgamma", kNaN, kNaN},   {"digamma", 0.0, -kInf}, {"digamma", -0.0, kInf},
    {"digamma", -1.0, kNaN},  {"digamma", -7.0, kNaN}, {"digamma", kInf, kInf},
    {"digamma", -kInf, kNaN}, {"digamma", kNaN, kNaN}, {"erfinv", 0.0, 0.0},
    {"erfinv", -0.0, -0.0},   {"erfinv", 1.0, kInf},   {"erfinv", -1.0, -kInf},
    {"erfinv", 1.5, kNaN},    {"erfinv", -kInf, kNaN}, {"erfinv", kNaN, kNaN},
    {"ceil", 0.5, 1.0},       {"ceil", -0.5, -0.0},    {"ceil", -0.0, -0.0},
    {"ceil", kInf, kInf},     {"ceil", kNaN, kNaN},    {"isfinite", 1.0, 1.0},
    {"isfinite", 0.0, 1.0},   {"isfinite", kInf, 0.0}, {"isfinite", -kInf, 0.0},
    {"isfinite", kNaN, 0.0},  {"isinf", 1.0, 0.0},     {"isinf", kInf, 1.0},
    {"isinf", -kInf, 1.0},    {"isinf", kNaN, 0.0},    {"exp", 0.0, 1.0},
    {"exp", -0.0, 1.0},       {"exp", kInf, kInf},     {"exp", -kInf, 0.0},
    {"exp", 1000.0, kInf},    {"exp", -1000.0, 0.0},   {"exp", kNaN, kNaN},
    {"expm1", 0.0, 0.0},      {"expm1", -0.0, -0.0},   {"expm1", kInf, kInf},
    {"expm1", -kInf, -1.0},   {"expm1", 1000.0, kInf}, {"expm1", kNaN, kNaN},
    {"log", 1.0, 0.0},        {"log", 0.0, -kInf},     {"log", -0.0, -kInf},
    {"log", -1.0, kNaN},      {"log", kInf, kInf},     {"log", -kInf, kNaN},
    {"log", kNaN, kNaN},      {"log1p", 0.0, 0.0},     {"log1p", -0.0, -0.0},
    {"log1p", -1.0, -kInf},   {"log1p", -2.0, kNaN},   {"log1p", kInf, kInf},
    {"log1p", -kInf, kNaN},   {"log1p", kNaN, kNaN},   {"tanh", 0.0, 0.0},
    {"tanh", -0.0, -0.0},     {"tanh", 100.0, 1.0},    {"tanh", -100.0, -1.0},
    {"tanh", kInf, 1.0},      {"tanh", -kInf, -1.0},   {"tanh", kNaN, kNaN},
    {"sigmoid", 0.0, 0.5},    {"sigmoid", -0.0, 0.5},  {"sigmoid", 1e3, 1.0},
    {"sigmoid", -1e3, 0.0},   {"sigmoid", kInf, 1.0},  {"sigmoid", -kInf, 0.0},
    {"sigmoid", kNaN, kNaN},  {"sin", 0.0, 0.0},       {"sin", -0.0, -0.0},
    {"sin", kInf, kNaN},      {"sin", -kInf, kNaN},    {"sin", kNaN, kNaN},
    {"cos", 0.0, 1.0},        {"cos", -0.0, 1.0},      {"cos", kInf, kNaN},
    {"cos", kNaN, kNaN},      {"erf", 0.0, 0.0},       {"erf", -0.0, -0.0},
    {"erf", 100.0, 1.0},      {"erf", -kInf, -1.0},    {"erf", kNaN, kNaN},
    {"floor", -0.5, -1.0},    {"floor", -0.0, -0.0},   {"floor", kInf, kInf},
    {"trunc", -0.5, -0.0},    {"trunc", 2.75, 2.0},    {"trunc", -kInf, -kInf},
    {"round", 0.5, 0.0},      {"round", 1.5, 2.0},     {"round", 2.5, 2.0},
    {"round", -0.5, -0.0},    {"round", kNaN, kNaN},
};

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

// An element's bits do not depend on where it stands, and nothing is written past the end. Lanes
// that go to the C library stand next to lanes that do not.
template <class T>
void expect_tails(const char* isa) {
  constexpr int n = 37;
  std::vector<T> x(n);
  for (int i = 0; i < n; ++i) x[i] = static_cast<T>(i % 5 == 4 ? 1e8 + i : 0.37 * i - 3);
  for (const Reference& row : kReferences) {
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
