// Float32 matrix products: the driver alone, on this thread's buffers and with all threads, and
// the operation, which also makes its result.
#include "bench.h"
#include "kernels/cpu/cpu.h"

namespace wengert::bench {
namespace {

void gemm_driver(benchmark::State& state, bool transposed) {
  const int64_t m = state.range(0), n = state.range(1), k = state.range(2);
  const Tensor a = filled({m, k}), b = filled({k, n}), c = Tensor::empty({m, n}, DType::Float32);
  cpu::GemmArgs args;
  args.m = m;
  args.n = n;
  args.k = k;
  args.a = a.data();
  args.a_rs = k;
  args.b = b.data();
  args.b_rs = transposed ? 1 : n;
  args.b_cs = transposed ? k : 1;
  args.c = c.data();
  args.c_rs = n;
  const cpu::GemmIsa& isa = cpu::isa().gemm[static_cast<int>(DType::Float32)];
  for (auto _ : state) {
    cpu::gemm(isa, args);
    benchmark::ClobberMemory();
  }
  count_flops(state, 2.0 * static_cast<double>(m * n * k));
}

void squares(benchmark::internal::Benchmark* b) {
  b->ArgNames({"m", "n", "k"})->UseRealTime();
  for (int64_t n = 16; n <= 1024; n *= 2) b->Args({n, n, n});
}
BENCHMARK_CAPTURE(gemm_driver, plain, false)->Apply(squares)->Args({256, 256, 784});
BENCHMARK_CAPTURE(gemm_driver, b_transposed, true)->Apply(squares)->Args({32, 64, 64});

void matmul(benchmark::State& state, bool transposed) {
  const int64_t m = state.range(0), n = state.range(1), k = state.range(2);
  const Tensor a = filled({m, k});
  const Tensor b = transposed ? ops::transpose(filled({n, k}), 0, 1) : filled({k, n});
  for (auto _ : state) benchmark::DoNotOptimize(ops::matmul(a, b));
  count_flops(state, 2.0 * static_cast<double>(m * n * k));
}
BENCHMARK_CAPTURE(matmul, plain, false)->Apply(squares);
BENCHMARK_CAPTURE(matmul, b_transposed, true)->Apply(squares)->Args({32, 64, 64});

void linear(benchmark::State& state) {
  const int64_t m = state.range(0), n = state.range(1), k = state.range(2);
  const Tensor x = filled({m, k}), weight = filled({n, k}), bias = filled({n});
  for (auto _ : state) benchmark::DoNotOptimize(ops::linear(x, weight, bias));
  count_flops(state, 2.0 * static_cast<double>(m * n * k));
}
BENCHMARK(linear)
    ->ArgNames({"m", "n", "k"})
    ->Args({1, 64, 64})
    ->Args({32, 64, 64})
    ->Args({256, 1024, 1024})
    ->UseRealTime();

}  // namespace
}  // namespace wengert::bench
