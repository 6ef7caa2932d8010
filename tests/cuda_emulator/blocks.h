// Runs the blocks of a grid, one after another.
#pragma once

#include <cstddef>
#include <functional>

#include "cuda_emulator.h"

namespace cuda_emulator {

struct Launch {
  dim3 grid;
  dim3 block;
  size_t shared = 0;
  std::function<void()> body;
  Name name{};
};

/// Returns false if a thread trapped.
bool run_grid(const Launch& launch);

}  // namespace cuda_emulator
