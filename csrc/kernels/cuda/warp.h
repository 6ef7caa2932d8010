// Sums over the threads of a warp and of a block, in a fixed order.
#pragma once

#include "kernels/cuda/device.h"

namespace wengert::cuda {

inline constexpr unsigned kAllLanes = 0xffffffffu;

WENGERT_DEVICE int lane_id() {
  return static_cast<int>(threadIdx.x) % kWarp;
}
WENGERT_DEVICE int warp_id() {
  return static_cast<int>(threadIdx.x) / kWarp;
}

// The sum of v of so many lanes side by side, for each of them.
template <int kLanes = kWarp, class T>
WENGERT_DEVICE T warp_sum(T v) {
#pragma unroll
  for (int step = kLanes / 2; step > 0; step /= 2) v += __shfl_xor_sync(kAllLanes, v, step);
  return v;
}

// The sum of v of the lanes up to this one.
template <class T>
WENGERT_DEVICE T warp_sum_to_here(T v) {
#pragma unroll
  for (int step = 1; step < kWarp; step *= 2) {
    const T other = __shfl_up_sync(kAllLanes, v, static_cast<unsigned>(step));
    if (lane_id() >= step) v += other;
  }
  return v;
}

// The sum of v of the threads before this one, and that of all. Shared memory for a number a warp;
// what was read of it must have been read before.
template <class T>
WENGERT_DEVICE T block_sum_before(T v, T* of_warps, T& all) {
  const T here = warp_sum_to_here(v);
  if (lane_id() == kWarp - 1) of_warps[warp_id()] = here;
  __syncthreads();
  T before = 0;
  all = 0;
  const int warps = static_cast<int>(blockDim.x) / kWarp;
  for (int w = 0; w < warps; ++w) {
    if (w < warp_id()) before += of_warps[w];
    all += of_warps[w];
  }
  return before + here - v;
}

}  // namespace wengert::cuda
