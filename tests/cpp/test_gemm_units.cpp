// Products of bfloat16, and of float32 by its parts, against float64: every form by every unit that
// multiplies pairs, tiles in an emulation too, and by the kernels that widen. What instructions do
// to single numbers is checked bit for bit.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <limits>
#include <ostream>
#include <random>
#include <string>
#include <type_traits>
#include <utility>
#include <vector>

#include "core/dtype.h"
#include "emulated_tiles.h"
#include "isas.h"
#include "kernels/cpu/gemm.h"
#include "kernels/cpu/gemm_choice.h"
#include "kernels/cpu/parallel.h"

namespace wengert::cpu {
namespace {

void double_negatives(char* const* ptr, int64_t n, const double*) {
  float* x = reinterpret_cast<float*>(ptr[0]);
  for (int64_t i = 0; i < n; ++i) x[i] = x[i] < 0 ? 2 * x[i] : x[i];
}

struct Case {
  int64_t m, n, k;
  bool a_transposed = false, b_transposed = false;
  int spread = 1;  // of elements, in memory
  bool accumulate = false, bias = false, activation = false, wide = false;
};
std::ostream& operator<<(std::ostream& out, const Case& c) {
  return out << c.m << "x" << c.n << "x" << c.k << " transposed " << c.a_transposed
             << c.b_transposed << " spread " << c.spread << " accumulate " << c.accumulate
             << " bias " << c.bias << " activation " << c.activation << " wide " << c.wide;
}

// In exactly as much memory as its strides reach.
template <class T>
struct Matrix {
  std::vector<T> data;
  int64_t rs, cs;
  Matrix(int64_t rows, int64_t cols, bool transposed, int64_t spread, std::mt19937& random)
      : rs(spread * (transposed ? 1 : cols)), cs(spread * (transposed ? rows : 1)) {
    std::normal_distribution<float> normal;
    const int64_t size = rows > 0 && cols > 0 ? (rows - 1) * rs + (cols - 1) * cs + 1 : 0;
    for (int64_t i = 0; i < size; ++i) data.push_back(T(normal(random)));
    data.shrink_to_fit();
  }
  double at(int64_t i, int64_t j) const {
    return static_cast<double>(static_cast<float>(data[static_cast<size_t>(i * rs + j * cs)]));
  }
};

template <class In, class Out>
struct Problem {
  Matrix<In> a, b;
  Matrix<Out> bias, start;
  GemmArgs args;
  Problem(const Case& c, std::mt19937& random)
      : a(c.m, c.k, c.a_transposed, c.spread, random),
        b(c.k, c.n, c.b_transposed, c.spread, random),
        bias(1, c.n, false, 1, random),
        start(c.m, c.n + c.m % 3, false, 1, random) {
    args = {.m = c.m,
            .n = c.n,
            .k = c.k,
            .a = a.data.data(),
            .a_rs = a.rs,
            .a_cs = a.cs,
            .b = b.data.data(),
            .b_rs = b.rs,
            .b_cs = b.cs,
            .c_rs = start.rs,
            .accumulate = c.accumulate,
            .wide = c.wide,
            .bias = c.bias ? bias.data.data() : nullptr,
            .activation = c.activation ? double_negatives : nullptr};
  }
  std::vector<Out> result(const GemmIsa& isa) const {
    std::vector<Out> c = start.data;
    GemmArgs g = args;
    g.c = c.data();
    gemm(isa, g);
    return c;
  }
  // Maximum and root mean square of |error| / (|A| |B|).
  std::pair<double, double> errors(const GemmIsa& isa) const {
    const std::vector<Out> c = result(isa);
    double most = 0, squares = 0;
    for (int64_t i = 0; i < args.m; ++i) {
      for (int64_t j = 0; j < args.n; ++j) {
        double sum = 0, size = 0;
        for (int64_t p = 0; p < args.k; ++p) {
          sum += a.at(i, p) * b.at(p, j);
          size += std::abs(a.at(i, p) * b.at(p, j));
        }
        const double error = std::abs(c[static_cast<size_t>(i * args.c_rs + j)] - sum) / size;
        most = std::max(most, error);
        squares += error * error;
      }
    }
    return {most, std::sqrt(squares / static_cast<double>(args.m * args.n))};
  }
  // Within `sums` times |A| |B| and `rounding` times the result; gaps between rows untouched.
  void check(const GemmIsa& isa, double sums, double rounding) const {
    const std::vector<Out> c = result(isa);
    for (int64_t i = 0; i < args.m; ++i) {
      for (int64_t j = 0; j < args.c_rs; ++j) {
        const auto at = static_cast<size_t>(i * args.c_rs + j);
        if (at >= c.size()) continue;
        if (j >= args.n) {
          ASSERT_EQ(std::memcmp(&c[at], &start.data[at], sizeof(Out)), 0) << i << ", " << j;
          continue;
        }
        double sum = 0, size = 0;
        for (int64_t p = 0; p < args.k; ++p) {
          sum += a.at(i, p) * b.at(p, j);
          size += std::abs(a.at(i, p) * b.at(p, j));
        }
        if (args.accumulate) sum += start.at(i, j), size += std::abs(start.at(i, j));
        if (args.bias != nullptr) sum += bias.at(0, j), size += std::abs(bias.at(0, j));
        if (args.activation != nullptr && sum < 0) sum *= 2;
        const double found = static_cast<double>(static_cast<float>(c[at]));
        const double least = std::is_same_v<Out, Float16> ? 0x1p-25 : 1e-30;  // half a last bit
        ASSERT_NEAR(found, sum, 2 * sums * size + rounding * std::abs(sum) + least)
            << i << ", " << j;
      }
    }
  }
};

struct Named {
  std::string name;
  const GemmUnits* units;
};
std::vector<Named> all_units() {
  std::vector<Named> found;
  for (const PairUnit unit : {PairUnit::Tiles, PairUnit::Vectors}) {
    const GemmUnits* units = find_units(unit);
    if (units != nullptr) found.push_back({kPairUnitNames[static_cast<int>(unit)], units});
  }
  if (const GemmUnits* units = emulated_tiles()) found.push_back({"emulated tiles", units});
  return found;
}

class GemmUnitsTest : public testing::Test {
 protected:
  void TearDown() override { set_num_threads(1); }
  std::mt19937 random{20240229};

  // Calls f with the kernels for a 16-bit type of every instruction set, then of every unit.
  template <class F>
  void each(DType d, F&& f) {
    for (const char* name : kIsas) {
      const GemmIsa* isa = find_gemm(name, d);
      if (isa == nullptr) continue;
      SCOPED_TRACE(name);
      f(*isa);
    }
    if (d != DType::BFloat16) return;
    for (const Named& unit : all_units()) {
      SCOPED_TRACE(unit.name);
      f(unit.units->bfloat16);
    }
  }
  // Calls f with the kernels, how many products, and what error their sums may have.
  template <class F>
  void each_split(F&& f) {
    const double errors[] = {0x1p-7, 0x1p-15, 0x1p-22};
    for (const Named& unit : all_units()) {
      for (int q = 0; q < 3; ++q) {
        GemmIsa isa = unit.units->float32[q];
        if (isa.otherwise == nullptr) isa.otherwise = find_gemm("avx512", DType::Float32);
        SCOPED_TRACE(unit.name + ", products " + std::to_string(isa.products));
        f(isa, errors[q]);
      }
    }
  }
  std::vector<Case> cases() {
    std::vector<Case> all;
    int turn = 0;
    for (int64_t m : {0, 1, 2, 13, 14, 15, 16, 17, 31, 32, 33, 61}) {
      for (int64_t n : {0, 1, 7, 16, 17, 31, 32, 33, 65}) {
        for (int64_t k : {0, 1, 2, 3, 16, 31, 32, 33, 67}) {
          ++turn;  // walks through layouts and epilogues at coprime paces
          all.push_back({m, n, k, turn % 2 == 0, turn / 2 % 2 == 0, turn % 11 == 0 ? 2 : 1,
                         turn % 3 == 0, turn % 5 < 2, turn % 7 < 2, turn % 13 < 6});
        }
      }
    }
    for (const bool a : {false, true}) {
      for (const bool b : {false, true}) {
        all.push_back({173, 66, 2500, a, b, 1, a, b, !b, !a});
        all.push_back({29, 1100, 513, a, b, 1, !a, !b, a, a});
        all.push_back({1030, 37, 259, a, b, 1, b, a, b, b});
      }
    }
    return all;
  }
};

TEST_F(GemmUnitsTest, EveryFormOfBFloat16) {
  each(DType::BFloat16, [&](const GemmIsa& isa) {
    for (const Case& c : cases()) {
      SCOPED_TRACE(testing::Message() << c);
      if (c.wide)
        Problem<BFloat16, float>(c, random).check(isa, 0x1p-21, 0x1p-23);
      else
        Problem<BFloat16, BFloat16>(c, random).check(isa, 0x1p-21, 0x1p-8);
    }
  });
}

TEST_F(GemmUnitsTest, EveryFormOfFloat16) {
  each(DType::Float16, [&](const GemmIsa& isa) {
    for (const Case& c : cases()) {
      SCOPED_TRACE(testing::Message() << c);
      if (c.wide)
        Problem<Float16, float>(c, random).check(isa, 0x1p-21, 0x1p-23);
      else
        Problem<Float16, Float16>(c, random).check(isa, 0x1p-17, 0x1p-11);
    }
  });
}

TEST_F(GemmUnitsTest, EveryFormOfSplitFloat32) {
  each_split([&](const GemmIsa& isa, double error) {
    int turn = 0;
    for (const Case& c : cases()) {
      if (isa.a_by_rows && ++turn % 7 != 0) continue;  // an emulation takes its time
      SCOPED_TRACE(testing::Message() << c);
      Problem<float, float>(c, random).check(isa, error, 0x1p-23);
    }
  });
}

TEST_F(GemmUnitsTest, SameBitsOnAnyNumberOfThreads) {
  const Case cases[] = {{129, 143, 151, false, true, 1, true, true, true},
                        {257, 263, 269, false, true, 1, true, true, true},
                        {2, 4000, 700, true},
                        {3000, 2, 211, false, true},
                        {300, 40, 2700, true, false}};
  const auto same = [&](const auto& problem, const GemmIsa& isa) {
    set_num_threads(1);
    const auto alone = problem.result(isa);
    for (int threads : {2, 3, 7}) {
      set_num_threads(threads);
      const auto found = problem.result(isa);
      ASSERT_EQ(std::memcmp(found.data(), alone.data(), alone.size() * sizeof alone[0]), 0);
    }
  };
  for (const Case& c : cases) {
    SCOPED_TRACE(testing::Message() << c);
    each(DType::BFloat16, [&](const GemmIsa& isa) {
      if (isa.a_by_rows && &c != cases) return;
      same(Problem<BFloat16, BFloat16>(c, random), isa);
    });
    each_split([&](const GemmIsa& isa, double) {
      if (isa.a_by_rows && &c != cases) return;  // an emulation takes its time
      Problem<float, float> problem(c, random);
      same(problem, isa);
      problem.a.data[5] = std::numeric_limits<float>::infinity();
      same(problem, isa);
    });
  }
}

TEST_F(GemmUnitsTest, WhatPartsCannotHoldGoesToTheOtherKernels) {
  constexpr float kInf = std::numeric_limits<float>::infinity();
  constexpr float kNan = std::numeric_limits<float>::quiet_NaN();
  constexpr float kMax = std::numeric_limits<float>::max();
  struct Special {
    float value, beside;  // one element of A, all of B
    bool one;             // whether a single product sends it away, too
  };
  const Special specials[] = {{kInf, 1, true},
                              {-kInf, 1, true},
                              {kNan, 1, true},
                              {kMax, 0.5f, true},
                              {-kMax, 0.25f, true},
                              {0x1p-126f, 1, false},
                              {0x1p-140f, 1, false},
                              {0x1.234568p-104f, 1, false},
                              {0x1.234568p-90f, 0x1.1p-20f, false}};
  each_split([&](const GemmIsa& isa, double) {
    for (const Special& s : specials) {
      if (isa.products == 1 && !s.one) continue;
      for (const bool in_b : {false, true}) {
        for (const bool accumulate : {false, true}) {
          SCOPED_TRACE(testing::Message() << s.value << " in B " << in_b << accumulate);
          Problem<float, float> problem({20, 40, 24, false, true, 1, accumulate}, random);
          auto& with = in_b ? problem.b.data : problem.a.data;
          auto& other = in_b ? problem.a.data : problem.b.data;
          std::fill(other.begin(), other.end(), s.beside);
          with[3 * 24 + 5] = s.value;
          for (const int threads : {1, 2}) {
            set_num_threads(threads);
            const auto found = problem.result(isa), wanted = problem.result(*isa.otherwise);
            ASSERT_EQ(std::memcmp(found.data(), wanted.data(), found.size() * sizeof(float)), 0);
          }
        }
      }
    }
  });
}

// The bound that lets six products stand in for float32, whatever sums them: MKL's and OpenBLAS's
// errors are within a tenth of a multiply-add kernel's here.
TEST_F(GemmUnitsTest, SixProductsAreAsExactAsMultiplyAdds) {
  const GemmIsa* plain = find_gemm("avx512", DType::Float32);
  each_split([&](const GemmIsa& isa, double) {
    if (isa.products != 6) return;
    for (int family = 0; family < 3; ++family) {
      SCOPED_TRACE(family);
      const int64_t n = 96, k = 700;
      Problem<float, float> problem({n, n, k}, random);
      std::uniform_real_distribution<float> uniform(0, 1);
      for (std::vector<float>* all : {&problem.a.data, &problem.b.data}) {
        for (float& x : *all) {
          if (family == 1) x = uniform(random);
          if (family == 2) x *= std::pow(10.0f, 12 * uniform(random) - 6);
        }
      }
      const auto six = problem.errors(isa), one = problem.errors(*plain);
      EXPECT_LE(six.first, 1.25 * one.first);
      EXPECT_LE(six.second, 1.25 * one.second);
    }
  });
}

// What splits exactly: every bit of A comes out of A times one.
TEST_F(GemmUnitsTest, ThreePartsHoldEveryBit) {
  each_split([&](const GemmIsa& isa, double) {
    if (isa.products != 6) return;
    const int64_t n = 64;
    Problem<float, float> problem({n, n, n}, random);
    std::vector<float>& a = problem.a.data;
    std::uniform_int_distribution<uint32_t> bits(0x3c000000u, 0x43ffffffu);
    for (float& x : a) {
      const uint32_t u = bits(random) | (random() & 1u) << 31;
      std::memcpy(&x, &u, sizeof x);
    }
    a[0] = 0, a[1] = -0.0f, a[2] = 1 + 0x1p-23f, a[3] = 2 - 0x1p-23f;
    for (int64_t i = 0; i < n * n; ++i) problem.b.data[static_cast<size_t>(i)] = i % (n + 1) == 0;
    const auto c = problem.result(isa);
    const int64_t rs = problem.args.c_rs;
    for (int64_t i = 0; i < n; ++i) {
      for (int64_t j = 0; j < n; ++j) {
        ASSERT_EQ(c[static_cast<size_t>(i * rs + j)], a[static_cast<size_t>(i * n + j)]);
      }
    }
  });
}

TEST_F(GemmUnitsTest, BatchesOfBFloat16) {
  each(DType::BFloat16, [&](const GemmIsa& isa) {
    const int64_t count = 5, m = 17, n = 33, k = 21;
    const auto a = Matrix<BFloat16>(count, m * k, false, 1, random).data;
    const auto b = Matrix<BFloat16>(1, k * n, false, 1, random).data;
    std::vector<BFloat16> got(static_cast<size_t>(count * m * n)), want = got;
    GemmArgs g{.m = m, .n = n, .k = k, .a_rs = k, .b = b.data(), .b_rs = n, .c_rs = n};
    for (int64_t i = 0; i < count; ++i) {
      g.a = a.data() + i * m * k;
      g.c = want.data() + i * m * n;
      gemm(isa, g);
    }
    g.a = a.data();
    g.c = got.data();
    for (const int threads : {1, 3}) {
      set_num_threads(threads);
      gemm(isa, g, {.count = count, .a_step = m * k, .b_step = 0, .c_step = m * n});
      ASSERT_EQ(std::memcmp(got.data(), want.data(), got.size() * sizeof got[0]), 0);
    }
  });
}

// vdpbf16ps as kernels/cpu/gemm_pairs_isa.h describes it, and an emulated tile, on a row of A times
// a column of B, bit for bit.
TEST_F(GemmUnitsTest, PairsAreSummedAsDescribed) {
  const GemmUnits* vectors = find_units(PairUnit::Vectors);
  if (vectors == nullptr) GTEST_SKIP() << "no avx512bf16 here";
  for (const int64_t k : {1, 2, 3, 64, 129}) {
    const Problem<BFloat16, float> problem({2, 2, k, false, true, 1, false, false, false, true},
                                           random);
    const auto c = problem.result(vectors->bfloat16);
    const auto value = [&](const Matrix<BFloat16>& x, int64_t i, int64_t j) {
      return j < k ? static_cast<float>(x.data[static_cast<size_t>(i * k + j)]) : 0.0f;
    };
    float sum = 0;
    for (int64_t p = 0; p < k; p += 2) {
      const float second = value(problem.a, 1, p + 1) * value(problem.b, 1, p + 1);
      sum = std::fma(value(problem.a, 1, p), value(problem.b, 1, p), sum + second);
    }
    EXPECT_EQ(c[static_cast<size_t>(problem.args.c_rs + 1)], sum) << k;
  }
}

}  // namespace
}  // namespace wengert::cpu
