// Elementwise launches and reductions of rows that go tile by tile together, and small launches
// that know nothing of each other.
#pragma once

#include "kernels/tiles.h"
#include "program/recording.h"

namespace wengert {

// Steps that follow each other.
struct Group {
  enum Kind : uint8_t {
    Tiles,     // taken tile by tile
    Together,  // in any order, by as many threads as there are
  };
  Kind kind;
  int first, count;
  TileRun tiles;
};

// Moves steps that may go together behind each other. What only a group knows of becomes part of
// its scratch: Slot::in_tile. A step is moved ahead of at most `reach` others.
std::vector<Group> fuse(Recording& r, int reach);
// Small steps of which none needs another, among those that are in no group yet.
std::vector<Group> together(const Recording& r, const std::vector<Group>& taken);

}  // namespace wengert
