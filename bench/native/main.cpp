// Native benchmarks of the C++ core: no Python anywhere. Threads are those of WENGERT_NUM_THREADS,
// the instruction set that of WENGERT_ISA.
#include <benchmark/benchmark.h>

#include <string>

#include "kernels/cpu/cpu.h"
#include "kernels/cpu/parallel.h"

int main(int argc, char** argv) {
  benchmark::AddCustomContext("instruction set", wengert::cpu::isa().name);
  benchmark::AddCustomContext("threads", std::to_string(wengert::num_threads()));
  benchmark::Initialize(&argc, argv);
  if (benchmark::ReportUnrecognizedArguments(argc, argv)) return 1;
  benchmark::RunSpecifiedBenchmarks();
  benchmark::Shutdown();
  return 0;
}
