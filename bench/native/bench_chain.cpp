// A chain of 100 operations (mul, add, tanh in turn). One item is one operation, so that
// items_per_second is operations per second, there and back.
#include "bench.h"
#include "ops/autograd.h"
#include "ops/elementwise.h"

namespace wengert::bench {
namespace {

constexpr int kLength = 100;

Tensor chain(const Tensor& x, const Tensor& factor, const Tensor& term) {
  Tensor y = x;
  for (int i = 0; i < kLength; ++i) {
    const int kind = i % 3;
    y = kind == 0 ? apply<Mul>(y, factor) : kind == 1 ? apply<Add>(y, term) : apply<Tanh>(y);
  }
  return y;
}

void chain_forward(benchmark::State& state, bool recorded) {
  const int64_t n = state.range(0);
  const Tensor x = recorded ? leaf({n}) : filled({n});
  const Tensor factor = filled({n}), term = filled({n});
  for (auto _ : state) benchmark::DoNotOptimize(chain(x, factor, term));
  state.SetItemsProcessed(state.iterations() * kLength);
}
BENCHMARK_CAPTURE(chain_forward, unrecorded, false)->Arg(1)->Arg(1000);
BENCHMARK_CAPTURE(chain_forward, recorded, true)->Arg(1)->Arg(1000);

void chain_forward_backward(benchmark::State& state) {
  const int64_t n = state.range(0);
  const Tensor x = leaf({n}), factor = leaf({n}), term = leaf({n}), seed = filled({n});
  for (auto _ : state) {
    for (const Tensor* t : {&x, &factor, &term}) set_grad(*t, {});
    backward({chain(x, factor, term)}, {seed}, {}, {});
    benchmark::ClobberMemory();
  }
  state.SetItemsProcessed(state.iterations() * kLength);
}
BENCHMARK(chain_forward_backward)->Arg(1)->Arg(1000);

}  // namespace
}  // namespace wengert::bench
