// Reductions, softmax and cross-entropy, forward and backward.
#include "bench.h"
#include "call.h"
#include "ops/autograd.h"

namespace wengert::bench {
namespace {

constexpr int64_t kItem = sizeof(float);

template <class Reduce>
void reduce(benchmark::State& state, const Dims& sizes, Reduce body) {
  const Tensor x = filled(sizes);
  for (auto _ : state) benchmark::DoNotOptimize(body(x));
  count_bytes(state, x.numel() * kItem);
}
const Dims kRows{1}, kColumns{0};
Tensor sum_all(const Tensor& x) {
  return ops::sum(x, nullptr, false);
}
Tensor sum_rows(const Tensor& x) {
  return ops::sum(x, &kRows, false);
}
Tensor sum_columns(const Tensor& x) {
  return ops::sum(x, &kColumns, false);
}
Tensor max_all(const Tensor& x) {
  return ops::amax(x, nullptr, false);
}
Tensor max_rows(const Tensor& x) {
  return ops::amax(x, &kRows, false);
}
Tensor argmax_rows(const Tensor& x) {
  return ops::argmax(x, 1, false);
}

BENCHMARK_CAPTURE(reduce, sum_1k, Dims{1000}, sum_all)->UseRealTime();
BENCHMARK_CAPTURE(reduce, sum_1m, Dims{1'000'000}, sum_all)->UseRealTime();
BENCHMARK_CAPTURE(reduce, max_1m, Dims{1'000'000}, max_all)->UseRealTime();
BENCHMARK_CAPTURE(reduce, sum_rows_1000x1000, Dims{1000, 1000}, sum_rows)->UseRealTime();
BENCHMARK_CAPTURE(reduce, sum_columns_1000x1000, Dims{1000, 1000}, sum_columns)->UseRealTime();
BENCHMARK_CAPTURE(reduce, max_rows_1000x1000, Dims{1000, 1000}, max_rows)->UseRealTime();
BENCHMARK_CAPTURE(reduce, argmax_rows_1000x1000, Dims{1000, 1000}, argmax_rows)->UseRealTime();

void row_sizes(benchmark::internal::Benchmark* b) {
  b->ArgNames({"rows", "columns"})->Args({32, 10})->Args({1024, 1000})->UseRealTime();
}

void softmax(benchmark::State& state, bool log) {
  const Tensor x = filled({state.range(0), state.range(1)});
  for (auto _ : state) {
    benchmark::DoNotOptimize(log ? ops::log_softmax(x, -1) : ops::softmax(x, -1));
  }
  count_bytes(state, 2 * x.numel() * kItem);
}
BENCHMARK_CAPTURE(softmax, plain, false)->Apply(row_sizes);
BENCHMARK_CAPTURE(softmax, log, true)->Apply(row_sizes);

void softmax_forward_backward(benchmark::State& state) {
  const Dims sizes{state.range(0), state.range(1)};
  const Tensor x = leaf(sizes), g = filled(sizes);
  for (auto _ : state) benchmark::DoNotOptimize(grad({ops::softmax(x, -1)}, {g}, {x}, {}));
  count_bytes(state, 5 * x.numel() * kItem);
}
BENCHMARK(softmax_forward_backward)->Apply(row_sizes);

void cross_entropy_forward(benchmark::State& state) {
  const Tensor x = filled({state.range(0), state.range(1)});
  const Tensor target = ops::zeros({state.range(0)}, DType::Int64);
  const Call cross_entropy("cross_entropy", x, target);
  for (auto _ : state) benchmark::DoNotOptimize(cross_entropy());
  count_bytes(state, x.numel() * kItem);
}
BENCHMARK(cross_entropy_forward)->Apply(row_sizes);

void cross_entropy_forward_backward(benchmark::State& state) {
  const Tensor x = leaf({state.range(0), state.range(1)});
  const Tensor target = ops::zeros({state.range(0)}, DType::Int64);
  const Call cross_entropy("cross_entropy", x, target);
  for (auto _ : state) benchmark::DoNotOptimize(grad({cross_entropy()}, {}, {x}, {}));
  count_bytes(state, 3 * x.numel() * kItem);
}
BENCHMARK(cross_entropy_forward_backward)->Apply(row_sizes);

}  // namespace
}  // namespace wengert::bench
