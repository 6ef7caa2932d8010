#include "program/arena.h"

#include <algorithm>
#include <cstdint>
#include <tuple>

#include "core/allocator.h"

namespace wengert {

size_t rounded(size_t bytes) {
  return (bytes + kAlignment - 1) / kAlignment * kAlignment;
}

// Offline dynamic storage allocation, greatest first into the lowest gap that fits (Pisarchyk, Lee,
// Efficient memory management for deep neural net inference, 2020: greedy by size).
size_t pack(std::vector<Stretch>& stretches) {
  std::vector<uint32_t> order(stretches.size());
  for (uint32_t i = 0; i < order.size(); ++i) order[i] = i;
  // By all that there is, so that the same stretches in another order need no more.
  std::sort(order.begin(), order.end(), [&](uint32_t a, uint32_t b) {
    const Stretch &x = stretches[a], &y = stretches[b];
    return std::tuple(y.bytes, x.first, x.last, a) < std::tuple(x.bytes, y.first, y.last, b);
  });
  const auto by_offset = [&](uint32_t a, uint32_t b) {
    return stretches[a].offset < stretches[b].offset;
  };
  size_t all = 0;
  std::vector<uint32_t> placed;
  for (uint32_t i : order) {
    Stretch& s = stretches[i];
    const size_t bytes = rounded(s.bytes);
    s.offset = 0;
    for (uint32_t other : placed) {
      const Stretch& o = stretches[other];
      if (o.last < s.first || s.last < o.first) continue;
      if (s.offset + bytes <= o.offset) break;
      s.offset = std::max(s.offset, o.offset + rounded(o.bytes));
    }
    all = std::max(all, s.offset + bytes);
    placed.insert(std::upper_bound(placed.begin(), placed.end(), i, by_offset), i);
  }
  return all;
}

}  // namespace wengert
