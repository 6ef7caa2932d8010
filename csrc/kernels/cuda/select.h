// What is wanted of rows in order: the first so many, or one of a rank.
#pragma once

#include "kernels/cuda/device.h"

namespace wengert::cuda {

enum class Which : uint8_t { First, Rank, Median, NanMedian, Mode };

struct Wanted {
  int64_t taken, rank;
  Which which;
  bool descending;
};

// Where a median is: of a row's numbers, or at its first NaN.
WENGERT_DEVICE int64_t median_rank(Which which, int64_t n, int64_t numbers) {
  if (which == Which::Median && numbers < n) return numbers;
  return (numbers > 0 ? numbers - 1 : 0) / 2;
}

// Long rows, of which little is wanted (and no mode), are not sorted for it. Values and places as
// Kernel::Topk and Kernel::Select have them.
template <class T>
void select_rows(const Launch& l, const Wanted& w);

}  // namespace wengert::cuda
