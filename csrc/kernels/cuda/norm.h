// What normalizations of rows and of channels share.
#pragma once

#include "kernels/cuda/lane.h"
#include "kernels/cuda/operand.h"

namespace wengert::cuda {

// Sums over channels of (outer, channels, inner): of g, and of g times the normalized x. The
// statistics are the channel's, as BatchNorm has them, or those of the row of so many columns that
// an element is in, as LayerNorm has them.
struct ChannelSums {
  int64_t outer, channels, inner;
  const void *g, *x, *statistics;
  int64_t columns;  // of a row; 0: the statistics are the channel's
  void *sum_g, *sum_gx;
};
template <class T>
void sum_channels(const Launch& l, const ChannelSums& s);

// 1 / sqrt(mean of squares + eps)
template <class T>
WENGERT_DEVICE T inverse_deviation(T squares, T n, double eps) {
  return T(1) / std::sqrt(squares / n + static_cast<T>(eps));
}

}  // namespace wengert::cuda
