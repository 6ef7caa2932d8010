// Intermediates that are computed again when they are needed instead of being kept.
#pragma once

#include "program/recording.h"

namespace wengert {

struct Rematerialised {
  int steps = 0;    // taken again
  double cost = 1;  // of all steps, by their work; what it was is 1
};

// Takes steps again so that an arena of `limit` bytes holds all intermediates; throws if that
// cannot be.
//
// Evicts, when memory runs short, what is the cheapest to have again by its size and by how long it
// has not been or will not be used: Kirisame et al., Dynamic tensor rematerialization, 2021, whose
// cost of an eviction counts what is evicted around it too. As the whole program is known, several
// measures of time are tried, and the cheapest schedule is taken.
Rematerialised rematerialise(Recording& r, size_t limit);

}  // namespace wengert
