// The random generator: a seed and a counter. Every draw takes the counters it needs, so numbers
// depend on the seed and the order of the draws alone.
#pragma once

#include <cstdint>

namespace wengert {

void manual_seed(uint64_t seed);
uint64_t initial_seed();
uint64_t take_counters(uint64_t n);  // the first of n fresh counters
// The state, for saving and restoring.
struct RandomState {
  uint64_t seed, counter;
};
RandomState random_state();
void set_random_state(RandomState s);

}  // namespace wengert
