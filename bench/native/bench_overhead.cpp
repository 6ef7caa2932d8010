// What an operation costs before its arithmetic: handing work to the threads and waiting for it,
// and a node on the tape. The allocator has a file of its own.
#include "bench.h"
#include "kernels/cpu/parallel.h"

namespace wengert::bench {
namespace {

// A range a thread, with nothing to do. Regions follow one another, so that workers are found
// spinning; one that has gone to sleep takes tens of microseconds to wake.
void fork_join(benchmark::State& state) {
  const int before = num_threads(), threads = static_cast<int>(state.range(0));
  set_num_threads(threads);
  for (auto _ : state) {
    parallel_for(threads, 1, [](int64_t begin, int64_t) { benchmark::DoNotOptimize(begin); });
  }
  set_num_threads(before);
}
BENCHMARK(fork_join)->ArgName("threads")->Arg(1)->Arg(2)->UseRealTime();

const Rule kRule{"Nothing", [](Node&, Tensor*, Tensor*) {}};

// A node with two edges and a saved tensor, attached to a result and dropped again.
void record_and_release(benchmark::State& state) {
  const Tensor x = leaf({1}), y = leaf({1}), result = filled({1});
  const Tensor* inputs[] = {&x, &y};
  for (auto _ : state) {
    record(kRule, inputs, 2, result, 1)->save(0, x);
    result->node = {};
  }
}
BENCHMARK(record_and_release);

// The same with the result's tensor, as an operation makes it.
void make_record_and_release(benchmark::State& state) {
  const Tensor x = leaf({1}), y = leaf({1});
  const Tensor* inputs[] = {&x, &y};
  for (auto _ : state) {
    const Tensor result = Tensor::empty({1}, DType::Float32);
    record(kRule, inputs, 2, result, 1)->save(0, x);
  }
}
BENCHMARK(make_record_and_release);

// Nodes that own one another are released in a row, not by recursion.
void record_chain_and_release(benchmark::State& state) {
  const int64_t length = state.range(0);
  const Tensor x = leaf({1});
  for (auto _ : state) {
    Tensor result = x;
    for (int64_t i = 0; i < length; ++i) {
      const Tensor next = Tensor::empty({1}, DType::Float32);
      const Tensor* inputs[] = {&result};
      record(kRule, inputs, 1, next, 0);
      result = next;
    }
  }
  state.SetItemsProcessed(state.iterations() * length);
}
BENCHMARK(record_chain_and_release)->Arg(100)->Arg(10000);

}  // namespace
}  // namespace wengert::bench
