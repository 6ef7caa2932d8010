// The machine's own limits, measured: what "percent of the peak" is a percentage of.
#pragma once

#include <cstdint>

namespace wengert::cpu {

struct PeakLoops {
  float (*multiply_adds)(int64_t rounds);
  void (*copy)(const float* x, float* y, int64_t n);
  int64_t flops;  // a round of multiply_adds, a multiply-add being two
};

struct Peak {
  double flops;  // float32 operations a second
  double bytes;  // a second, read or written, of a copy of arrays far larger than the caches
};

// Of the ISA in use, all threads of the pool together: the best of what fits into so many seconds,
// at least three runs each.
Peak measure_peak(double seconds);

}  // namespace wengert::cpu
