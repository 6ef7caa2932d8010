// Stretches of memory that live at different times, in one block.
#pragma once

#include <cstddef>
#include <vector>

namespace wengert {

size_t rounded(size_t bytes);  // up to where the next stretch may begin

struct Stretch {
  size_t bytes;
  int first, last;  // the first and the last time that it is touched
  size_t offset = 0;
};

// Sets the offsets, and returns the bytes of the block.
size_t pack(std::vector<Stretch>& stretches);

}  // namespace wengert
