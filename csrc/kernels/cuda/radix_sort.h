// Stable sorting of rows of unsigned keys, with the place that each came from.
#pragma once

#include "kernels/cuda/device.h"

namespace wengert::cuda {

// Two arrays of each kind, of all rows one behind the other.
template <class Key, class Place>
struct SortBuffers {
  Key* key[2];
  Place* place[2];
};

// Sorts rows of n keys, which lie in the first array, by their lowest `bits`; returns in which
// arrays the result is. Keys and places: uint32_t, uint32_t; uint64_t, uint32_t; or uint64_t twice.
template <class Key, class Place>
int sort_keys(const Launch& l, const SortBuffers<Key, Place>& b, int64_t rows, int64_t n, int bits);

// Rows that have room in one block.
inline constexpr int64_t kShortRow = 2048;

// The four arrays in one piece of scratch memory.
template <class Key, class Place>
class SortScratch {
 public:
  SortScratch(int64_t rows, int64_t n)
      : memory_(static_cast<size_t>(arrays(n) * rows * n) * (sizeof(Key) + sizeof(Place))) {
    const int64_t count = rows * n;
    Key* keys = memory_.template data<Key>();
    auto* places = reinterpret_cast<Place*>(keys + arrays(n) * count);
    const int64_t second = n > kShortRow ? count : 0;
    buffers_ = {{keys, keys + second}, {places, places + second}};
  }
  const SortBuffers<Key, Place>& buffers() const { return buffers_; }

 private:
  static int64_t arrays(int64_t n) { return n > kShortRow ? 2 : 1; }
  Scratch memory_;
  SortBuffers<Key, Place> buffers_;
};

}  // namespace wengert::cuda
