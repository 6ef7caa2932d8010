// The tape, read from C++: no language binding is needed for it.
#include <gtest/gtest.h>

#include <cmath>

#include "ops/autograd.h"
#include "ops/ops.h"
#include "ops/trace.h"

namespace wengert {
namespace {

Tensor leaf(double v) {
  const Tensor t = Tensor::scalar(v, DType::Float64);
  set_requires_grad(t, true);
  return t;
}

TEST(Trace, AdjointsAreComputedOnceHoweverOftenUsed) {
  const Tensor x = leaf(0.7);
  const Tensor a = ops::exp(x);
  const Tensor y = ops::mul(a, ops::add(a, a));
  const auto trace = Trace::of(y, {});
  backward({y}, {}, {}, {});
  const auto at = static_cast<size_t>(trace->find(a));
  EXPECT_EQ(trace->times_computed(at), 1u);
  EXPECT_EQ(trace->times_used(at), 1u);
  EXPECT_NEAR(trace->adjoint(at).to_double(), 4 * std::exp(0.7), 1e-14);
  EXPECT_NEAR(trace->value(at).to_double(), std::exp(0.7), 1e-15);
  EXPECT_EQ(trace->times_used(static_cast<size_t>(trace->find(y))), 2u);
}

TEST(Trace, KeepsWhatTheWalkFrees) {
  const Tensor x = leaf(2);
  const Tensor y = ops::exp(x);
  const auto trace = Trace::of(y, {});
  backward({y}, {}, {}, {});
  const auto at = static_cast<size_t>(trace->find(y));
  EXPECT_DOUBLE_EQ(trace->local_derivative(at, 0).to_double(), std::exp(2.0));
  EXPECT_THROW(backward({y}, {}, {}, {}), Error);
}

TEST(Trace, OutlivedByItsNodes) {
  const Tensor x = leaf(2);
  const Tensor y = ops::exp(x);
  Trace::of(y, {}).reset();
  backward({y}, {}, {}, {});
  EXPECT_DOUBLE_EQ(grad_of(x).to_double(), std::exp(2.0));
  EXPECT_FALSE(node_of(y)->watched.load());
}

TEST(Trace, ListsWhatIsRecordedMeanwhile) {
  const Tensor x = leaf(2);
  const auto trace = Trace::make();
  ops::exp(x);
  trace->start();
  ops::exp(x);
  ops::square(x);
  trace->stop();
  ops::exp(x);
  EXPECT_EQ(trace->lines().size(), 2u);
  EXPECT_EQ(trace->starts().size(), 1u);
  EXPECT_STREQ(trace->node(trace->lines()[1])->name(), "square");
}

TEST(Source, OfAScopeIsGivenToAllThatItRecords) {
  const Tensor x = leaf(2);
  const SourceScope from({7, 9});
  const Tensor y = ops::exp(x);
  EXPECT_EQ(node_of(y)->source.code, 7u);
  EXPECT_EQ(node_of(y)->source.at, 9u);
}

}  // namespace
}  // namespace wengert
