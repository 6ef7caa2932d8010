// Launches that are taken tile by tile: what one of them writes and the next ones read stays in L1.
#pragma once

#include <vector>

#include "kernels/launch.h"

namespace wengert {

// One of them. Its space is so many rows as all have, one behind the other in every buffer.
struct TilePart {
  static constexpr int64_t kInMemory = -1;
  const Launch* launch;
  int64_t row;                   // elements of its space to a row
  int64_t step[kMaxBuffers];     // bytes from a buffer's row to the next
  int64_t scratch[kMaxBuffers];  // where in the scratch the rows of a tile are; or kInMemory
};

struct TileRun {
  std::vector<TilePart> parts;
  int64_t rows, tile;  // in all, and of a tile
  int64_t scratch;     // bytes, for a tile of what never comes to memory
};
void run_tiles(const TileRun& run);

// The inner loop of an elementwise launch that is dense and computed in its own type, for so many
// elements as one thread is to take.
using DenseLoop = void (*)(char* const* buffers, int64_t n, const double* params);
DenseLoop dense_loop(const Launch& l);  // null of others; params are l.number

}  // namespace wengert
