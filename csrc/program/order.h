// Which steps must stay behind which: who reads, writes and checks the same memory.
#pragma once

#include <vector>

#include "program/recording.h"

namespace wengert {

struct Order {
  // By step: those that follow from it directly, and how many it follows from.
  std::vector<std::vector<int>> next;
  std::vector<int> waits;
};
Order order_of(const Recording& r);

// Puts the steps where `order` says: a list of their places now.
void reorder(Recording& r, const std::vector<int>& order);

// Takes out those that are gone; returns how many.
int erase(Recording& r, const std::vector<bool>& gone);

// Sets the first and the last step that touch each slot.
void find_lifetimes(Recording& r);

}  // namespace wengert
