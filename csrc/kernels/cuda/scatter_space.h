// The space of a scatter, in two parts. Units are positions of the dimensions that say where
// something is written; along the others a unit writes a whole row, always in the same way, so that
// what meets is found once for all of it.
#pragma once

#include <bit>

#include "kernels/cuda/operand.h"

namespace wengert::cuda {

struct ScatterSpace {
  Launch units, row;  // both have the buffers of the launch: destination, values, offsets
  int64_t least = 0;  // of the places that units may write to, in elements of the destination
  int64_t extent;     // how many there are

  explicit ScatterSpace(const Launch& l) : units(l), row(l), extent(l.integer[1]) {
    for (Launch* part : {&units, &row}) {
      part->ndim = 0;
      part->count = 1;
      part->dense = false;
    }
    const auto take = [&](Launch& part, int d) {
      const int to = part.ndim++;
      part.size[to] = l.size[d];
      part.count *= l.size[d];
      for (int k = 0; k < 3; ++k) part.buffer[k].stride[to] = l.buffer[k].stride[d];
    };
    for (int d = 0; d < l.ndim; ++d) {
      const int64_t step = l.buffer[0].stride[d];
      const bool along_row = step != 0 && l.buffer[2].stride[d] == 0;
      take(along_row ? row : units, d);
      if (along_row) continue;
      const int64_t reach = step * (l.size[d] - 1);
      extent += reach < 0 ? -reach : reach;
      if (reach < 0) least += reach;
    }
    for (Launch* part : {&units, &row}) {
      if (part->ndim > 0) continue;
      part->ndim = 1;
      part->size[0] = 1;
      for (int k = 0; k < 3; ++k) part->buffer[k].stride[0] = 0;
    }
  }
};

}  // namespace wengert::cuda
