// What is done to a recording before it is replayed: the same numbers with less work and memory.
#pragma once

#include "program/recording.h"

namespace wengert {

struct PlanReport {
  size_t arena = 0, sum = 0, bound = 0;  // bytes: of the arena, of all intermediates, alive at once
  int recorded = 0;                      // launches and checks
  int dropped = 0;                       // dead launches
};

// Sets the offsets of intermediates in the arena.
PlanReport make_plan(Recording& r);

}  // namespace wengert
