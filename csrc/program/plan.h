// What is done to a recording before it is replayed: the same numbers with less work and memory.
#pragma once

#include "program/fuse.h"

namespace wengert {

// Of launches and checks; bytes: what launches read and write, of the arena, of all intermediates,
// and of those alive at once.
struct PlanSize {
  int steps = 0;
  double moved = 0;
  size_t arena = 0, sum = 0, bound = 0;
};

struct Plan {
  PlanSize before, after;  // the arena of before: of one that nothing was done for
  int dropped = 0;         // dead launches
  std::vector<Group> groups;
};

// Leaves out, joins and moves steps, and sets the offsets of intermediates in the arena.
Plan make_plan(Recording& r);

}  // namespace wengert
