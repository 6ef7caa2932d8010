// Optimizer steps. Bytes count each parameter, gradient and state read once, and each parameter and
// state written once.
#include "bench.h"
#include "ops/optim.h"

namespace wengert::bench {
namespace {

void step(benchmark::State& state, OptimizerLaunch settings, int states,
          StateDType kept = StateDType::AsParameter) {
  const int64_t tensors = state.range(0), each = state.range(1);
  std::vector<Tensor> params;
  for (int64_t i = 0; i < tensors; ++i) {
    params.push_back(leaf({each}));
    set_grad(params.back(), filled({each}));
  }
  OptimizerGroup group(settings.rule, params, kept);
  group.step(settings);  // makes the states
  for (auto _ : state) group.step(settings);
  const int64_t n = tensors * each;
  count_bytes(state, (3 + 2 * states) * n * static_cast<int64_t>(sizeof(float)));
  state.SetItemsProcessed(state.iterations() * n);
}

OptimizerLaunch adam(double weight_decay = 0) {
  OptimizerLaunch s{};
  s.rule = OptimizerRule::Adam;
  s.lr = 1e-3;
  s.beta1 = 0.9;
  s.beta2 = 0.999;
  s.eps = 1e-8;
  s.weight_decay = weight_decay;
  s.decoupled = weight_decay != 0;
  return s;
}

OptimizerLaunch sgd() {
  OptimizerLaunch s{};
  s.rule = OptimizerRule::SGD;
  s.lr = 1e-3;
  s.momentum = 0.9;
  return s;
}

void sizes(benchmark::internal::Benchmark* b) {
  b->ArgNames({"tensors", "each"})->UseRealTime()->Unit(benchmark::kMicrosecond);
  b->Args({1, 10'000'000})->Args({100, 10'000})->Args({6, 4096});
}
BENCHMARK_CAPTURE(step, adam, adam(), 2)->Apply(sizes);
BENCHMARK_CAPTURE(step, adamw, adam(0.01), 2)->Apply(sizes);
BENCHMARK_CAPTURE(step, sgd_momentum, sgd(), 1)->Apply(sizes);

}  // namespace
}  // namespace wengert::bench
