// Launches that are recorded as a CUDA graph, and what a replay of them reads anew; see cells.h.
#pragma once

#include <cstring>
#include <utility>
#include <vector>

#include "kernels/cuda/cells.h"
#include "kernels/cuda/state.h"

namespace wengert::cuda {

// The cells of one graph. The host's bytes go through pinned memory, in turn, so that a replay need
// not wait for the one before.
class Cells {
 public:
  explicit Cells(std::vector<HostRange> fixed);
  Cells(const Cells&) = delete;
  Cells& operator=(const Cells&) = delete;
  ~Cells();

  const void* place(const void* host, size_t bytes);
  void write();

 private:
  static constexpr size_t kRoom = 16384;  // bytes
  static constexpr int kSlots = 8;
  struct Cell {
    const void* host;
    size_t bytes, offset;
  };
  struct Slot {
    char* data = nullptr;
    cudaEvent_t done = nullptr;
  };
  std::vector<HostRange> fixed_;
  std::vector<Cell> cells_;
  size_t used_ = 0;
  char* device_;
  Slot ring_[kSlots];
  unsigned turn_ = 0;
};

// Where this thread's launches find cells; returns what was set before.
Cells* set_cells(Cells* cells);

}  // namespace wengert::cuda
