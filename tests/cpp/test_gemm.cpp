// Matrix products against the naive reference, bit for bit: every instruction set this machine has,
// awkward sizes around each block size, all transposes, odd strides, epilogues, batches, threads.
// What the bits may depend on is said at the top of kernels/cpu/gemm.h.
#include <gtest/gtest.h>

#include <cmath>
#include <cstdint>
#include <cstring>
#include <limits>
#include <ostream>
#include <random>
#include <string>
#include <vector>

#include "core/dtype.h"
#include "isas.h"
#include "kernels/cpu/gemm.h"
#include "kernels/cpu/parallel.h"

namespace wengert::cpu {
namespace {

template <class T>
void halve_negatives(char* const* ptr, int64_t n, const double* params) {
  T* out = reinterpret_cast<T*>(ptr[0]);
  const T* in = reinterpret_cast<const T*>(ptr[1]);
  const T slope = static_cast<T>(params != nullptr ? *params : 0.5);
  for (int64_t i = 0; i < n; ++i) out[i] = in[i] < T(0) ? in[i] * slope : in[i];
}

enum Layout { kRowMajor, kTransposed, kSpread, kSameRow, kSameColumn, kSameValue, kNumLayouts };

// A matrix in exactly as much memory as its strides reach, so that a sanitizer sees any step
// beyond.
template <class T>
struct Matrix {
  std::vector<T> data;
  int64_t rs = 0, cs = 0;
  Matrix(int64_t rows, int64_t cols, Layout layout, std::mt19937& random) {
    const int64_t strides[kNumLayouts][2] = {{cols, 1}, {1, rows}, {2 * cols + 3, 2},
                                             {0, 1},    {1, 0},    {0, 0}};
    rs = strides[layout][0];
    cs = strides[layout][1];
    const int64_t size = rows > 0 && cols > 0 ? (rows - 1) * rs + (cols - 1) * cs + 1 : 0;
    std::normal_distribution<double> normal;
    for (int64_t i = 0; i < size; ++i) data.push_back(static_cast<T>(normal(random)));
    data.shrink_to_fit();
  }
};

struct Case {
  int64_t m, n, k;
  Layout a = kRowMajor, b = kRowMajor;
  bool accumulate = false, bias = false, activation = false;
};
std::ostream& operator<<(std::ostream& out, const Case& c) {
  return out << c.m << "x" << c.n << "x" << c.k << " layouts " << c.a << c.b << " accumulate "
             << c.accumulate << " bias " << c.bias << " activation " << c.activation;
}

template <class T>
bool same_bits(T x, T y) {
  return (std::isnan(x) && std::isnan(y)) || std::memcmp(&x, &y, sizeof x) == 0;
}
template <class T>
void expect_same(const std::vector<T>& x, const std::vector<T>& y) {
  ASSERT_EQ(x.size(), y.size());
  for (size_t i = 0; i < x.size(); ++i) {
    ASSERT_TRUE(same_bits(x[i], y[i])) << "element " << i << ": " << x[i] << " and " << y[i];
  }
}

template <class T>
struct Problem {
  Matrix<T> a, b;
  std::vector<T> bias, start;  // C lies in `start` with gaps between its rows
  GemmArgs args;
  Problem(const Case& c, std::mt19937& random)
      : a(c.m, c.k, c.a, random), b(c.k, c.n, c.b, random) {
    bias = Matrix<T>(1, c.n, kRowMajor, random).data;
    const int64_t gap = c.m % 3;
    start = Matrix<T>(c.m, c.n + gap, kRowMajor, random).data;
    args = {.m = c.m,
            .n = c.n,
            .k = c.k,
            .a = a.data.data(),
            .a_rs = a.rs,
            .a_cs = a.cs,
            .b = b.data.data(),
            .b_rs = b.rs,
            .b_cs = b.cs,
            .c_rs = c.n + gap,
            .accumulate = c.accumulate,
            .bias = c.bias ? bias.data() : nullptr,
            .activation = c.activation ? halve_negatives<T> : nullptr};
  }
  std::vector<T> result(const GemmIsa& isa, void (*f)(const GemmIsa&, const GemmArgs&)) const {
    std::vector<T> c = start;
    GemmArgs g = args;
    g.c = c.data();
    f(isa, g);
    return c;
  }
};
void fast(const GemmIsa& isa, const GemmArgs& g) {
  gemm(isa, g);
}

template <class T>
class Gemm : public testing::Test {
 protected:
  void TearDown() override { set_num_threads(1); }
  std::mt19937 random{20240229};

  void check(const GemmIsa& isa, const Case& c) {
    SCOPED_TRACE(testing::Message() << c);
    const Problem<T> problem(c, random);
    expect_same(problem.result(isa, fast), problem.result(isa, gemm_reference<T>));
  }
  template <class F>
  void each_isa(F&& f) {
    for (const char* name : kIsas) {
      if (const GemmIsa* isa = find_gemm(name, kDTypeOf<T>); isa != nullptr) {
        SCOPED_TRACE(name);
        f(*isa);
      }
    }
  }
};
using Floats = testing::Types<float, double>;
TYPED_TEST_SUITE(Gemm, Floats);

TYPED_TEST(Gemm, NoOtherDTypesAndNoOtherNames) {
  EXPECT_EQ(find_gemm("avx512", DType::Int64), nullptr);
  EXPECT_EQ(find_gemm("z80", DType::Float32), nullptr);
}

TYPED_TEST(Gemm, SmallSizesAndEveryEpilogue) {
  this->each_isa([&](const GemmIsa& isa) {
    int turn = 0;
    for (int64_t m : {0, 1, 2, 5, 13, 14, 15, 29}) {
      for (int64_t n : {0, 1, 7, 16, 17, 31, 33, 65}) {
        for (int64_t k : {0, 1, 3, 16, 37}) {
          ++turn;  // walks through layouts and epilogues at coprime paces
          this->check(isa, {m, n, k, Layout(turn % 3), Layout(turn / 3 % 3), turn % 2 == 0,
                            turn % 5 < 2, turn % 7 < 3});
        }
      }
    }
  });
}

TYPED_TEST(Gemm, EveryPairOfLayouts) {
  this->each_isa([&](const GemmIsa& isa) {
    for (int a = 0; a < kNumLayouts; ++a) {
      for (int b = 0; b < kNumLayouts; ++b) {
        this->check(isa, {31, 53, 71, Layout(a), Layout(b)});
        this->check(isa, {1, 67, 19, Layout(a), Layout(b), true, true});
        this->check(isa, {67, 1, 19, Layout(a), Layout(b), false, true, true});
        this->check(isa, {67, 3, 419, Layout(a), Layout(b), true, true});
        this->check(isa, {450, 8, 19, Layout(a), Layout(b), false, true});
        this->check(isa, {29, 2, 33, Layout(a), Layout(b)});
      }
    }
  });
}

TYPED_TEST(Gemm, AroundTheBlockSizes) {
  this->each_isa([&](const GemmIsa& isa) {
    const int64_t width = int64_t{isa.nv} * isa.lanes;
    for (int64_t d : {-1, 0, 1}) {
      for (bool flag : {false, true}) {
        const Layout a = flag ? kTransposed : kRowMajor, b = flag ? kRowMajor : kTransposed;
        this->check(isa, {isa.mc + d, 2 * width + d, 67, a, b, flag, true, !flag});
        this->check(isa, {2 * isa.mr + d, 3 * width + 5, isa.kc + d, a, b, flag, flag, true});
        this->check(isa, {isa.mr + 1, width + d, 2 * isa.kc + d, a, b, flag, true, flag});
        this->check(isa, {3, isa.nc + d, 9, a, b, flag, flag, flag});
        this->check(isa, {3 * isa.mr, isa.nc + d, 11, b, b, !flag, flag, flag});
      }
    }
    this->check(isa, {1031, 37, isa.kc + 1, kRowMajor, kTransposed, true, true, true});
    this->check(isa, {5, 1031, 3 * isa.kc + 1, kTransposed, kRowMajor, true, true, true});
    this->check(isa, {1, 300, 2 * isa.kc + 7, kRowMajor, kTransposed, true, true, true});
  });
}

TYPED_TEST(Gemm, SameBitsOnAnyNumberOfThreads) {
  const Case cases[] = {{257, 263, 269, kRowMajor, kTransposed, true, true, true},
                        {300, 40, 700, kTransposed, kRowMajor, true, false, false},
                        {9, 3000, 300, kRowMajor, kRowMajor, false, true, true},
                        {3000, 5, 211, kRowMajor, kTransposed, false, false, true}};
  this->each_isa([&](const GemmIsa& isa) {
    for (const Case& c : cases) {
      SCOPED_TRACE(testing::Message() << c);
      const Problem<TypeParam> problem(c, this->random);
      set_num_threads(1);
      const auto alone = problem.result(isa, fast);
      for (int threads : {2, 3, 4, 7}) {
        set_num_threads(threads);
        expect_same(problem.result(isa, fast), alone);
      }
    }
  });
}

TYPED_TEST(Gemm, ARowDoesNotKnowItsNeighbours) {
  using T = TypeParam;
  this->each_isa([&](const GemmIsa& isa) {
    for (Layout b : {kRowMajor, kTransposed}) {
      const Problem<T> problem({97, 130, isa.kc + 44, kRowMajor, b, false, true}, this->random);
      const auto all = problem.result(isa, fast);
      for (int64_t rows : {1, 2, 5, 33}) {
        const int64_t first = 41;
        std::vector<T> c(static_cast<size_t>(rows * 130));
        GemmArgs g = problem.args;
        g.m = rows;
        g.a = problem.a.data.data() + first * g.a_rs;
        g.c = c.data();
        const int64_t whole_rs = g.c_rs;
        g.c_rs = 130;
        gemm(isa, g);
        for (int64_t i = 0; i < rows * 130; ++i) {
          ASSERT_TRUE(same_bits(c[i], all[(first + i / 130) * whole_rs + i % 130])) << i;
        }
      }
    }
  });
}

TYPED_TEST(Gemm, NanAndInfinityAreNumbersToo) {
  using T = TypeParam;
  constexpr T kInf = std::numeric_limits<T>::infinity();
  this->each_isa([&](const GemmIsa& isa) {
    Problem<T> problem({20, 40, 24, kRowMajor, kTransposed}, this->random);
    problem.a.data[3 * 24 + 5] = std::numeric_limits<T>::quiet_NaN();  // row 3
    problem.a.data[7 * 24 + 1] = T(0);                                 // row 7: 0 * inf
    problem.b.data[9 * 24 + 1] = kInf;                                 // column 9
    const auto c = problem.result(isa, fast);
    expect_same(c, problem.result(isa, gemm_reference<T>));
    for (int64_t i = 0; i < 20; ++i) {
      for (int64_t j = 0; j < 40; ++j) {
        const T x = c[i * problem.args.c_rs + j];
        EXPECT_EQ(std::isnan(x), i == 3 || (i == 7 && j == 9)) << i << ", " << j;
        EXPECT_EQ(std::isinf(x), j == 9 && i != 3 && i != 7) << i << ", " << j;
      }
    }
  });
}

TYPED_TEST(Gemm, Batches) {
  using T = TypeParam;
  struct Row {
    int64_t count, m, n, k;
    bool steps;
  };
  const Row rows[] = {{0, 3, 3, 3, true},      {1, 3, 5, 7, false},       {5, 4, 9, 6, true},
                      {64, 17, 33, 20, false}, {3, 130, 140, 150, false}, {37, 40, 40, 41, true}};
  this->each_isa([&](const GemmIsa& isa) {
    for (const Row& r : rows) {
      const int64_t a_size = r.m * r.k, b_size = r.k * r.n, c_size = r.m * r.n;
      const auto a = Matrix<T>(r.count, a_size, kRowMajor, this->random).data;
      const auto b = Matrix<T>(r.count, b_size, kRowMajor, this->random).data;
      std::vector<T> want(static_cast<size_t>(r.count * c_size)), got = want;
      std::vector<int64_t> a_at, b_at, c_at;  // A backwards, one B for two products
      GemmArgs g{.m = r.m, .n = r.n, .k = r.k, .a_rs = r.k, .b_rs = r.n, .c_rs = r.n};
      for (int64_t i = 0; i < r.count; ++i) {
        a_at.push_back(r.steps ? i * a_size : (r.count - 1 - i) * a_size);
        b_at.push_back(r.steps ? 0 : i / 2 * b_size);
        c_at.push_back(i * c_size);
        g.a = a.data() + a_at.back();
        g.b = b.data() + b_at.back();
        g.c = want.data() + c_at.back();
        gemm_reference<T>(isa, g);
      }
      g.a = a.data();
      g.b = b.data();
      g.c = got.data();
      const GemmBatch batch =
          r.steps ? GemmBatch{.count = r.count, .a_step = a_size, .b_step = 0, .c_step = c_size}
                  : GemmBatch{.count = r.count,
                              .a_offsets = a_at.data(),
                              .b_offsets = b_at.data(),
                              .c_offsets = c_at.data()};
      for (int threads : {1, 2, 3}) {
        SCOPED_TRACE(testing::Message() << r.count << " products, threads " << threads);
        set_num_threads(threads);
        got.assign(got.size(), T(-1));
        g.c = got.data();
        gemm(isa, g, batch);
        expect_same(got, want);
      }
    }
  });
}

TYPED_TEST(Gemm, ActivationGetsItsParameters) {
  using T = TypeParam;
  const double slope = 0.25;
  this->each_isa([&](const GemmIsa& isa) {
    Problem<T> problem({9, 21, 6, kRowMajor, kRowMajor, false, true, true}, this->random);
    const auto half = problem.result(isa, fast);
    problem.args.activation_params = &slope;
    const auto quarter = problem.result(isa, fast);
    expect_same(quarter, problem.result(isa, gemm_reference<T>));
    EXPECT_NE(std::memcmp(half.data(), quarter.data(), half.size() * sizeof(T)), 0);
  });
}

}  // namespace
}  // namespace wengert::cpu
