// What the native benchmarks share.
#pragma once

#include <benchmark/benchmark.h>

#include "core/tensor.h"
#include "ops/ops.h"
#include "tape/node.h"

namespace wengert::bench {

// Values in (-1, 1), no two neighbours alike, the same in every run.
inline Tensor filled(const Dims& sizes) {
  const Tensor t = Tensor::empty(sizes, DType::Float32);
  auto* p = t.data<float>();
  for (int64_t i = 0; i < t.numel(); ++i) p[i] = static_cast<float>((i * 37 + 11) % 199 - 99) / 100;
  return t;
}

inline Tensor leaf(const Dims& sizes) {
  Tensor t = filled(sizes);
  set_requires_grad(t, true);
  return t;
}

// Bytes that must move at least, shown as bytes per second.
inline void count_bytes(benchmark::State& state, int64_t bytes) {
  state.SetBytesProcessed(state.iterations() * bytes);
}

// Shown as FLOP/s.
inline void count_flops(benchmark::State& state, double flops) {
  state.counters["FLOP/s"] =
      benchmark::Counter(flops, benchmark::Counter::kIsIterationInvariantRate);
}

}  // namespace wengert::bench
