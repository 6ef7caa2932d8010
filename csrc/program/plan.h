// What is done to a recording before it is replayed: the same numbers with less work and memory.
#pragma once

#include "program/fuse.h"
#include "program/rematerialise.h"

namespace wengert {

// Of launches and checks; bytes: what launches read and write, of the arena, of all intermediates,
// and of those alive at once.
struct PlanSize {
  int steps = 0;
  double moved = 0;
  size_t arena = 0, sum = 0, bound = 0;
  size_t arenas[kNumDevices] = {};  // of which arena is the sum
};

struct Plan {
  PlanSize before, after;  // the arena of before: of one that nothing was done for
  int dropped = 0;         // dead launches
  int folded = 0;          // those of constants, and checks
  int copies = 0;          // that are needless
  int joined = 0;          // activations that became a part of matrix products
  Rematerialised again;    // with a limit
  std::vector<Group> groups;
};

// Sets the offsets of a device's intermediates in an arena; returns its bytes.
size_t lay_out(std::vector<Slot>& slots, Device device);

// Leaves out, joins and moves steps, and sets the offsets of intermediates in the arena. With a
// limit of its bytes (0: none) steps are taken again where that saves memory.
Plan make_plan(Recording& r, size_t memory_limit);

}  // namespace wengert
