// Launches over many arrays at once, which are listed in the launch's own parameters: nothing has
// to be copied to the device before. Arrays are cut into chunks, a block of threads takes one.
#pragma once

#include <algorithm>

#include "kernels/cuda/device.h"
#include "kernels/cuda/operand.h"

namespace wengert::cuda {

// CUDA 12.1 and later, of architectures since 7.0, pass more than 4 KiB.
inline constexpr size_t kParameterBytes = CUDART_VERSION >= 12010 ? 32764 : 4096;

// How many items stand in a launch: a short list is cheaper to hand over.
template <class Item>
inline constexpr int kFewItems = static_cast<int>(3500 / sizeof(Item));
template <class Item>
inline constexpr int kManyItems = static_cast<int>((kParameterBytes - 500) / sizeof(Item));

// Elements to a chunk: some thousand chunks where there are so many elements. It depends on their
// number alone, and with it the order of sums.
inline int64_t chunk_of(int64_t count) {
  int64_t chunk = 4096;
  while (chunk < 65536 && chunk * 4096 < count) chunk *= 2;
  return chunk;
}

// The item that a chunk belongs to: the last one whose first chunk is not above it.
template <class Item>
WENGERT_DEVICE int item_of(const Item* items, int n, uint32_t chunk) {
  int low = 0, high = n;
  while (high - low > 1) {
    const int middle = (low + high) / 2;
    if (items[middle].first <= chunk) {
      low = middle;
    } else {
      high = middle;
    }
  }
  return low;
}

inline bool is_aligned(const void* p, size_t bytes) {
  return reinterpret_cast<uintptr_t>(p) % std::min<size_t>(bytes, 16) == 0;
}

// What brings gradients of this norm to max_norm, at most 1; in the norm's precision. NaN stays.
WENGERT_DEVICE double clip_factor(const void* norm, DType dtype, double max_norm) {
  double factor;
  if (dtype == DType::Float64) {
    factor = max_norm / (*static_cast<const double*>(norm) + 1e-6);
  } else {
    factor = static_cast<float>(max_norm) / (*static_cast<const float*>(norm) + 1e-6f);
  }
  return factor > 1 ? 1 : factor;
}

}  // namespace wengert::cuda
