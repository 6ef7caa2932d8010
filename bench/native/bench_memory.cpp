// The allocator: one block at a time, and many alive at once.
#include <vector>

#include "bench.h"

namespace wengert::bench {
namespace {

void allocate_free(benchmark::State& state) {
  const auto bytes = static_cast<size_t>(state.range(0));
  for (auto _ : state) {
    void* block = allocate(bytes);
    benchmark::DoNotOptimize(block);
    deallocate(block, bytes);
  }
}
BENCHMARK(allocate_free)->ArgName("bytes")->Arg(64)->Arg(4096)->Arg(1 << 16)->Arg(1 << 22);

// Blocks of an operation's sizes, freed in the order of a backward walk: the last first.
void allocate_free_many(benchmark::State& state) {
  constexpr size_t kBlocks = 1000;
  constexpr size_t kSizes[] = {64, 192, 256, 8192};
  std::vector<void*> blocks(kBlocks);
  for (auto _ : state) {
    for (size_t i = 0; i < kBlocks; ++i) blocks[i] = allocate(kSizes[i % 4]);
    for (size_t i = kBlocks; i-- > 0;) deallocate(blocks[i], kSizes[i % 4]);
  }
  state.SetItemsProcessed(state.iterations() * static_cast<int64_t>(kBlocks));
}
BENCHMARK(allocate_free_many);

// Several threads, each with blocks of its own.
BENCHMARK(allocate_free)->ArgName("bytes")->Arg(64)->Arg(1 << 22)->Threads(2);

void empty_tensor(benchmark::State& state) {
  const Dims sizes{state.range(0)};
  for (auto _ : state) benchmark::DoNotOptimize(Tensor::empty(sizes, DType::Float32));
}
BENCHMARK(empty_tensor)->Arg(1)->Arg(1000)->Arg(1'000'000);

}  // namespace
}  // namespace wengert::bench
