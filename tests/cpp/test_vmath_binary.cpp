// The vector math functions of two arguments against the C library in a wider type, and the special
// functions that no library has, on every ISA of this machine.
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

namespace wengert::cpu {
namespace {

class VMath2 : public testing::TestWithParam<const char*> {
 protected:
  void SetUp() override {
    if (find_vmath(GetParam(), "exp", DType::Float32) == nullptr) {
      GTEST_SKIP() << "this machine or build has no " << GetParam();
    }
  }
};

TEST_P(VMath2, PowSpecialValuesAsTheCLibrary) {
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

TEST_P(VMath2, PowWithinBounds) {
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
  const bool single = std::strcmp(GetParam(), "avx512") == 0;  // not in double
  EXPECT_LE(worst, single ? 1.5 : 0.6) << "pow(" << x[at] << ", " << y[at] << ") = " << z[at];
}

// The others: name, references, and the error allowed in ULP.
struct Row {
  const char* name;
  double (*ref32)(double, double);
  long double (*ref64)(long double, long double);
  double ulp;
};
const Row kRows[] = {
    {"atan2", std::atan2, std::atan2, 1.75},
    {"fmod", std::fmod, std::fmod, 0.0},
    {"hypot", std::hypot, std::hypot, 1.25},
    {"copysign", std::copysign, std::copysign, 0.0},
};

// All pairs of the special points, then pairs of random ones, and ones near each other.
template <class T>
void pairs(std::vector<T>& x, std::vector<T>& y, const std::vector<T>& points) {
  constexpr size_t specials = 66;
  for (size_t i = 0; i < specials; ++i) {
    for (size_t k = 0; k < specials; ++k) {
      x.push_back(points[i]);
      y.push_back(points[k]);
    }
  }
  std::mt19937_64 rng(3);
  std::uniform_real_distribution<double> factor(-3, 3);
  for (int i = 0; i < 200000; ++i) {
    const T a = points[rng() % points.size()];
    x.push_back(a);
    y.push_back(points[rng() % points.size()]);
    x.push_back(a);
    y.push_back(static_cast<T>(static_cast<double>(a) * factor(rng)));
  }
}

template <class T, class Ref>
void expect_close(const Row& row, const char* isa, const std::vector<T>& points, Ref ref) {
  std::vector<T> x, y;
  pairs(x, y, points);
  std::vector<T> z(x.size());
  const BinaryLoop loop = find_vmath2(isa, row.name, kDTypeOf<T>);
  ASSERT_NE(loop, nullptr) << row.name;
  loop(x.data(), y.data(), z.data(), static_cast<int64_t>(z.size()));
  double worst = -1.0;
  size_t at = 0;
  for (size_t i = 0; i < z.size(); ++i) {
    const double error = ulp_error(z[i], ref(x[i], y[i]));
    if (error > worst) {
      worst = error;
      at = i;
    }
  }
  EXPECT_LE(worst, row.ulp) << isa << " " << row.name << "(" << x[at] << ", " << y[at]
                            << ") = " << z[at] << ", expected " << ref(x[at], y[at]);
}

TEST_P(VMath2, WithinBounds) {
  const std::vector<float> x32 = sample_floats();
  const std::vector<double> x64 = sample_doubles();
  for (const Row& row : kRows) {
    expect_close<float>(row, GetParam(), x32, row.ref32);
    expect_close<double>(row, GetParam(), x64, row.ref64);
  }
}

template <class T>
void expect_neighbours(const char* isa, const std::vector<T>& points) {
  std::vector<T> x, y;
  pairs(x, y, points);
  std::vector<T> z(x.size());
  find_vmath2(isa, "nextafter", kDTypeOf<T>)(x.data(), y.data(), z.data(),
                                             static_cast<int64_t>(z.size()));
  for (size_t i = 0; i < z.size(); ++i) {
    ASSERT_TRUE(same_value(z[i], std::nextafter(x[i], y[i])))
        << isa << " nextafter(" << x[i] << ", " << y[i] << ") = " << z[i];
  }
}

TEST_P(VMath2, Neighbours) {
  expect_neighbours<float>(GetParam(), sample_floats());
  expect_neighbours<double>(GetParam(), sample_doubles());
}

// Values from mpmath, to more digits than a double has.
struct Known {
  const char* name;
  double x;
  long double y;
  double ulp;
};
const Known kKnown[] = {
    {"digamma", 1e-300, -9.99999999999999974940908e+299L, 3.0},
    {"digamma", 0.0078125, -1.2856443747297672763722e+2L, 3.0},
    {"digamma", 0.3, -3.50252422220013312491535L, 3.0},
    {"digamma", 1.0, -5.77215664901532860606512e-1L, 3.0},
    {"digamma", 1.25, -2.2745353337626540808953e-1L, 3.0},
    {"digamma", 1.4616321449683622, -9.24126552172942751679235e-17L, 3.0},
    {"digamma", 1.4616321449683625, 1.2245374622004069031325e-16L, 3.0},
    {"digamma", 1.4616321449683622, -9.24126552172942751679235e-17L, 3.0},
    {"digamma", 1.5, 3.64899739785765205590237e-2L, 3.0},
    {"digamma", 2.0, 4.22784335098467139393488e-1L, 3.0},
    {"digamma", 2.71, 8.01245467827031678472973e-1L, 3.0},
    {"digamma", 5.5, 1.61109314858175112373363L, 3.0},
    {"digamma", 9.999, 2.25164741720573531415833L, 3.0},
    {"digamma", 10.0, 2.25175258906672110764746L, 3.0},
    {"digamma", 12.5, 2.48519565127491204815044L, 3.0},
    {"digamma", 1000.0, 6.90725519564881205205001L, 3.0},
    {"digamma", 1e+20, 4.60517018598809136803548e+1L, 3.0},
    {"digamma", 1e+300, 6.90775527898213705257902e+2L, 3.0},
    {"digamma", -0.25, 2.91413912021352783037311L, 3.0},
    {"digamma", -1.375, 1.94123062936282737218316L, 3.0},
    {"digamma", -2.3, 3.31732315756182273911448L, 3.0},
    {"digamma", -10.75, -7.20895760167161174009372e-1L, 3.0},
    {"erfinv", 1e-310, 8.86226925452755306166228e-311L, 2.0},
    {"erfinv", 1e-09, 8.86226925452758069076721e-10L, 2.0},
    {"erfinv", 0.001, 8.86227157466552123013753e-4L, 2.0},
    {"erfinv", 0.125, 1.11235451840949959147184e-1L, 2.0},
    {"erfinv", 0.3, 2.72462714726754345024653e-1L, 2.0},
    {"erfinv", -0.49999, -4.76925150415316583504422e-1L, 2.0},
    {"erfinv", 0.5, 4.76936276204469873381418e-1L, 2.0},
    {"erfinv", 0.75, 8.13419847597618541690289e-1L, 2.0},
    {"erfinv", -0.9375, -1.31715033498613074888393L, 2.0},
    {"erfinv", 0.999, 2.32675376551352449386643L, 2.0},
    {"erfinv", 0.99999999, 4.05223724326876335538688L, 2.0},
    {"erfinv", 0.9999999999999999, 5.86358474875516792720766L, 2.0},
    {"erfinv", -0.9999999999999999, -5.86358474875516792720766L, 2.0},
};

TEST_P(VMath2, SpecialFunctions) {
  for (const Known& known : kKnown) {
    const UnaryLoop loop32 = find_vmath(GetParam(), known.name, DType::Float32);
    const UnaryLoop loop64 = find_vmath(GetParam(), known.name, DType::Float64);
    ASSERT_TRUE(loop32 && loop64) << known.name;
    double y64 = 42;
    loop64(&known.x, &y64, 1);
    EXPECT_LE(ulp_error(y64, known.y), known.ulp) << known.name << "(" << known.x << ") = " << y64;
    const float x32 = static_cast<float>(known.x);
    if (static_cast<double>(x32) != known.x) continue;
    float y32 = 42;
    loop32(&x32, &y32, 1);
    EXPECT_LE(ulp_error(y32, known.y), 0.6) << known.name << "(" << known.x << ") = " << y32;
  }
}

// Floats have vector code, doubles the scalar functions that the values above are for.
TEST_P(VMath2, SpecialFunctionsOfFloatsAsOfDoubles) {
  const std::vector<float> x = sample_floats();
  const std::vector<double> wide(x.begin(), x.end());
  const auto n = static_cast<int64_t>(x.size());
  std::vector<float> y(x.size());
  std::vector<double> ref(x.size());
  for (const char* name : {"digamma", "erfinv", "lgamma"}) {
    find_vmath(GetParam(), name, DType::Float32)(x.data(), y.data(), n);
    find_vmath(GetParam(), name, DType::Float64)(wide.data(), ref.data(), n);
    for (size_t i = 0; i < x.size(); ++i) {
      ASSERT_LE(ulp_error(y[i], ref[i]), 0.6) << name << "(" << x[i] << ") = " << y[i];
    }
  }
}

// The first derivative of digamma, which no instruction set has a loop of its own for.
const Known kTrigamma[] = {
    {"trigamma", 1e-100, 9.999999999999999600162e+199L, 4.0},
    {"trigamma", 0.0078125, 1.6385626348148031663598e+4L, 4.0},
    {"trigamma", 0.3, 1.22453645461077313011666e+1L, 4.0},
    {"trigamma", 1.0, 1.64493406684822643647242L, 4.0},
    {"trigamma", 1.4616321449683622, 9.6767224544762125499517e-1L, 4.0},
    {"trigamma", 2.71, 4.45250532991292941476175e-1L, 4.0},
    {"trigamma", 5.5, 1.993423869896276591275e-1L, 4.0},
    {"trigamma", 10.0, 1.05166335681685746122201e-1L, 4.0},
    {"trigamma", 1000.0, 1.00050016666663333335714e-3L, 4.0},
    {"trigamma", 1e+20, 1.000000000000000000005e-20L, 4.0},
    {"trigamma", 1e+300, 9.9999999999999994749524e-301L, 4.0},
    {"trigamma", -0.25, 1.85418796476716064983977e+1L, 4.0},
    {"trigamma", -1.375, 1.1041219903986230338855e+1L, 4.0},
    {"trigamma", -10.75, 1.96503782800990933647495e+1L, 4.0},
};

TEST(Polygamma, OfOrderOne) {
  for (const Known& known : kTrigamma) {
    const double one = 1;
    double y = 42;
    libm(Libm2::Polygamma, &one, &known.x, &y, 1);
    EXPECT_LE(ulp_error(y, known.y), known.ulp) << "polygamma(1, " << known.x << ") = " << y;
  }
}

INSTANTIATE_TEST_SUITE_P(Isas, VMath2, testing::ValuesIn(kIsas),
                         [](const auto& info) { return std::string(info.param); });

}  // namespace
}  // namespace wengert::cpu
