// The tape, the walk, and the operations as a C++ program uses them.
#include <gtest/gtest.h>

#include <cmath>
#include <set>
#include <string>
#include <vector>

#include "kernels/cpu/parallel.h"
#include "kernels/launch.h"
#include "ops/autograd.h"
#include "ops/elementwise.h"
#include "ops/op_table.h"
#include "ops/optim.h"
#include "tape/node.h"

namespace wengert {
namespace {

Tensor leaf(double v, DType dtype = DType::Float64) {
  const Tensor t = Tensor::scalar(v, dtype);
  set_requires_grad(t, true);
  return t;
}
double grad_value(const Tensor& t) {
  return grad_of(t).to_double();
}

class Names : public LaunchObserver {
 public:
  Names() : before_(set_launch_observer(this)) {}
  ~Names() override { set_launch_observer(before_); }
  void on_launch(const Launch& l) override { seen.push_back(kernel_name(l.kernel)); }
  std::vector<std::string> seen;

 private:
  LaunchObserver* before_;
};

TEST(Walk, ProductRule) {
  const Tensor a = leaf(3), b = leaf(4);
  backward({ops::mul(ops::mul(a, b), a)}, {}, {}, {});
  EXPECT_DOUBLE_EQ(grad_value(a), 24);
  EXPECT_DOUBLE_EQ(grad_value(b), 9);
}

TEST(Walk, SharedGradientBuffersAreNotAliased) {
  const Tensor a = leaf(1), b = leaf(2);
  const Tensor z = ops::add(a, b);
  backward({z}, {}, {}, {true});
  backward({z}, {}, {}, {});
  EXPECT_DOUBLE_EQ(grad_value(a), 2);
  EXPECT_DOUBLE_EQ(grad_value(b), 2);
  EXPECT_NE(grad_of(a)->storage.get(), grad_of(b)->storage.get());
}

TEST(Walk, MillionOperationsInConstantStack) {
  const Tensor x = leaf(1), one = Tensor::scalar(1.0, DType::Float64);
  Tensor y = x;
  for (int i = 0; i < 1000000; ++i) y = ops::mul(y, one);
  backward({y}, {}, {}, {});
  EXPECT_DOUBLE_EQ(grad_value(x), 1);
}

TEST(Walk, UnwalkedChainIsFreedInConstantStack) {
  const int64_t before = memory_stats().current_blocks;
  {
    const Tensor x = leaf(1);
    Tensor y = x;
    for (int i = 0; i < 300000; ++i) y = ops::add(y, x);
  }
  EXPECT_EQ(memory_stats().current_blocks, before);
}

TEST(Walk, GradOnlyTouchesWhatIsAsked) {
  const Tensor a = leaf(2), b = leaf(5);
  const Tensor y = ops::mul(ops::exp(a), ops::exp(b));
  const Names names;
  const auto g = grad({y}, {}, {a}, {});
  EXPECT_NEAR(g[0].to_double(), std::exp(7.0), 1e-9 * std::exp(7.0));
  EXPECT_FALSE(grad_of(a).defined());
  for (const std::string& n : names.seen) EXPECT_NE(n, "mul.grad1");
}

// One pair f, df serves the kernels and, instantiated on tensors, every higher derivative.
TEST(Functors, ThirdDerivativesOfTenOperations) {
  struct Case {
    const char* name;
    Tensor (*f)(const Tensor&);
    double x, expected;
  };
  const double t = std::tanh(0.3), s = 1 / (1 + std::exp(-0.3));
  const Case cases[] = {
      {"exp", &apply<Exp>, 0.3, std::exp(0.3)},
      {"log", &apply<Log>, 0.3, 2 / std::pow(0.3, 3)},
      {"sqrt", &apply<Sqrt>, 0.3, 0.375 * std::pow(0.3, -2.5)},
      {"sin", &apply<Sin>, 0.3, -std::cos(0.3)},
      {"cos", &apply<Cos>, 0.3, std::sin(0.3)},
      {"tanh", &apply<Tanh>, 0.3, (1 - t * t) * (6 * t * t - 2)},
      {"sigmoid", &apply<Sigmoid>, 0.3, s * (1 - s) * (1 - 6 * s + 6 * s * s)},
      {"reciprocal", &apply<Reciprocal>, 0.3, -6 / std::pow(0.3, 4)},
      {"square", &apply<Square>, 0.3, 0},
      {"erf", &apply<Erf>, 0.3, 1.1283791670955126 * std::exp(-0.09) * (4 * 0.09 - 2)},
      {"abs", &apply<Abs>, 0.3, 0},
  };
  for (const Case& c : cases) {
    const Tensor x = leaf(c.x);
    Tensor y = c.f(x);
    for (int order = 0; order < 3; ++order) {
      BackwardOptions options;
      options.retain_graph = options.create_graph = true;
      options.allow_unused = options.materialize = true;
      if (!requires_grad(y)) {
        y = Tensor::scalar(0.0, DType::Float64);  // a constant derivative: the next is zero
        break;
      }
      y = grad({y}, {}, {x}, options)[0];
    }
    EXPECT_NEAR(y.to_double(), c.expected, 1e-10 * (1 + std::abs(c.expected))) << c.name;
  }
}

TEST(Launches, BackwardOfAnElementwiseOperationIsOne) {
  const Tensor x = leaf(0.5);
  const Tensor y = apply<Tanh>(x);
  const Tensor g = Tensor::scalar(1.0, DType::Float64);
  const Names names;
  backward({y}, {g}, {}, {});
  ASSERT_GE(names.seen.size(), 1u);
  EXPECT_EQ(names.seen[0], "tanh.grad0");
}

TEST(Launches, LinearWithBiasIsOne) {
  const Tensor x = ops::zeros({4, 3}, DType::Float32), w = ops::zeros({5, 3}, DType::Float32);
  const Tensor b = ops::zeros({5}, DType::Float32);
  const Names names;
  ops::linear(x, w, b);
  EXPECT_EQ(names.seen, std::vector<std::string>{"gemm"});
}

TEST(Launches, AbsentKernelNamesBackEndAndDType) {
  Launch l;
  l.kernel = id(Kernel::Softmax);
  l.dtype = DType::Int64;
  l.device = Device::CPU;
  try {
    launch(l);
    FAIL();
  } catch (const Error& e) {
    EXPECT_EQ(e.kind(), ErrorKind::NotImplemented);
    EXPECT_STREQ(e.what(), "softmax: no cpu kernel for dtype int64");
  }
}

TEST(Versions, ChangedSavedTensorIsRefused) {
  const Tensor x = leaf(2);
  const Tensor y = ops::exp(x);
  {
    const GradMode off(false);
    Tensor t = y;
    ops::copy_(t, Tensor::scalar(0.0, DType::Float64));
  }
  try {
    backward({y}, {}, {}, {});
    FAIL();
  } catch (const Error& e) {
    EXPECT_EQ(std::string(e.what()).rfind("exp: ", 0), 0u) << e.what();
  }
}

TEST(OpTable, EveryRowHasAFunctionAndADocstring) {
  std::set<std::string> seen;
  for (const Op& op : op_table()) {
    EXPECT_TRUE(op.call || op.call_many) << op.name;
    const bool first = seen.insert(op.name).second;
    EXPECT_TRUE(!op.doc.empty() || !first) << op.name;  // overloads share the first's
    EXPECT_NE(op.where, 0) << op.name;
  }
}

TEST(Optimizer, ChecksComeBeforeTheFirstWrite) {
  const Tensor a = ops::zeros({2}, DType::Float32), b = ops::zeros({2}, DType::Float64);
  for (const Tensor& t : {a, b}) {
    set_requires_grad(t, true);
    set_grad(t, ops::ones_like(t));
  }
  OptimizerGroup group(OptimizerRule::SGD, {a, b});
  OptimizerLaunch settings{};
  settings.rule = OptimizerRule::SGD;
  settings.lr = 1;
  EXPECT_THROW(group.step(settings), Error);
  EXPECT_EQ(a.data<float>()[0], 0);
}

}  // namespace
}  // namespace wengert
