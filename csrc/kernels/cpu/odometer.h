// Walking a strided iteration space: where the operands stand, moved on from row to row.
#pragma once

#include <algorithm>

#include "kernels/launch.h"

namespace wengert::cpu {

inline int64_t item_of(const Launch& l, int k) {
  return static_cast<int64_t>(item_size(l.buffer[k].dtype));
}

// Where the operands stand while the first `dims` dimensions are walked like an odometer.
class Odometer {
 public:
  Odometer(const Launch& l, int dims, int64_t start) : l_(l), dims_(dims) {
    for (int k = 0; k < l.nbuffers; ++k) at_[k] = static_cast<char*>(l.buffer[k].data);
    for (int d = dims - 1; d >= 0; --d) {
      index_[d] = start % l.size[d];
      start /= l.size[d];
      for (int k = 0; k < l.nbuffers; ++k) {
        step_[d][k] = l.buffer[k].stride[d] * item_of(l, k);
        at_[k] += index_[d] * step_[d][k];
      }
    }
  }
  void next() {
    for (int d = dims_ - 1; d >= 0; --d) {
      if (++index_[d] < l_.size[d]) {
        for (int k = 0; k < l_.nbuffers; ++k) at_[k] += step_[d][k];
        return;
      }
      index_[d] = 0;
      for (int k = 0; k < l_.nbuffers; ++k) at_[k] -= (l_.size[d] - 1) * step_[d][k];
    }
  }
  char* at(int k) const { return at_[k]; }
  // Bytes from one element to the next along a dimension.
  int64_t step(int k, int d) const { return l_.buffer[k].stride[d] * item_of(l_, k); }

 private:
  const Launch& l_;
  int dims_;
  int64_t index_[kMaxDims], step_[kMaxDims][kMaxBuffers];
  char* at_[kMaxBuffers];
};

// Cuts the elements [begin, end) of the space into runs along the last dimension and calls
// run(row, column, done, count) for each: `done` elements went before it.
template <class F>
void each_run(const Launch& l, int64_t begin, int64_t end, F&& run) {
  const int last = l.ndim - 1;
  const int64_t n = l.size[last];
  Odometer row(l, last, begin / n);
  int64_t column = begin % n;
  for (int64_t at = begin; at < end; column = 0, row.next()) {
    const int64_t count = std::min(n - column, end - at);
    run(row, column, at - begin, count);
    at += count;
  }
}

}  // namespace wengert::cpu
