// One elementwise operation, recorded (a node is made and dropped) and not.
#include "bench.h"
#include "ops/elementwise.h"

namespace wengert::bench {
namespace {

struct Recorded {
  static Tensor input(int64_t n) { return leaf({n}); }
};
struct Unrecorded {
  static Tensor input(int64_t n) { return filled({n}); }
};

template <class F, class Mode>
void elementwise(benchmark::State& state) {
  const int64_t n = state.range(0);
  const Tensor a = Mode::input(n), b = Mode::input(n);
  for (auto _ : state) {
    if constexpr (F::arity == 1) {
      benchmark::DoNotOptimize(apply<F>(a));
    } else {
      benchmark::DoNotOptimize(apply<F>(a, b));
    }
  }
  count_bytes(state, (F::arity + 1) * n * static_cast<int64_t>(sizeof(float)));
}

void sizes(benchmark::internal::Benchmark* b) {
  b->Arg(1)->Arg(1000)->Arg(1'000'000)->UseRealTime();
}

BENCHMARK_TEMPLATE(elementwise, Add, Recorded)->Apply(sizes);
BENCHMARK_TEMPLATE(elementwise, Add, Unrecorded)->Apply(sizes);
BENCHMARK_TEMPLATE(elementwise, Mul, Recorded)->Apply(sizes);
BENCHMARK_TEMPLATE(elementwise, Mul, Unrecorded)->Apply(sizes);
BENCHMARK_TEMPLATE(elementwise, Tanh, Recorded)->Apply(sizes);
BENCHMARK_TEMPLATE(elementwise, Tanh, Unrecorded)->Apply(sizes);
BENCHMARK_TEMPLATE(elementwise, Exp, Recorded)->Apply(sizes);
BENCHMARK_TEMPLATE(elementwise, Exp, Unrecorded)->Apply(sizes);

// What a copy of the same memory costs: the bound of all of the above.
void copy(benchmark::State& state) {
  const int64_t n = state.range(0);
  const Tensor from = filled({n}), to = Tensor::empty({n}, DType::Float32);
  for (auto _ : state) {
    ops::copy_into(to, from);
    benchmark::ClobberMemory();
  }
  count_bytes(state, 2 * n * static_cast<int64_t>(sizeof(float)));
}
BENCHMARK(copy)->Apply(sizes);

// Operands in other orders than that of memory, and broadcast.
void add_transposed(benchmark::State& state) {
  const Tensor a = filled({1000, 1000}), b = ops::transpose(filled({1000, 1000}), 0, 1);
  for (auto _ : state) benchmark::DoNotOptimize(apply<Add>(a, b));
  count_bytes(state, 3 * a.numel() * static_cast<int64_t>(sizeof(float)));
}
BENCHMARK(add_transposed)->UseRealTime();

void add_row(benchmark::State& state) {
  const Tensor a = filled({1000, 1000}), b = filled({1000});
  for (auto _ : state) benchmark::DoNotOptimize(apply<Add>(a, b));
  count_bytes(state, 2 * a.numel() * static_cast<int64_t>(sizeof(float)));
}
BENCHMARK(add_row)->UseRealTime();

}  // namespace
}  // namespace wengert::bench
