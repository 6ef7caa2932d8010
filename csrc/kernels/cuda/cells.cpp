#include "kernels/cuda/cells.h"

#include "kernels/cuda/graph.h"

namespace wengert::cuda {
namespace {
thread_local Cells* the_cells = nullptr;
}  // namespace

Cells* set_cells(Cells* cells) {
  return std::exchange(the_cells, cells);
}

const void* cell_for(const void* host, size_t bytes) {
  return the_cells ? the_cells->place(host, bytes) : nullptr;
}

const void* Cells::place(const void* host, size_t bytes) {
  for (const HostRange& f : fixed_) {
    if (f.data <= host &&
        static_cast<const char*>(host) < static_cast<const char*>(f.data) + f.bytes)
      return nullptr;
  }
  for (const Cell& c : cells_) {
    if (c.host == host && c.bytes == bytes) return device_ + c.offset;
  }
  const size_t offset = (used_ + bytes - 1) / bytes * bytes;  // a power of two: aligned to itself
  if (offset + bytes > kRoom) fail("cuda: a graph reads more than ", kRoom, " bytes of the host's");
  cells_.push_back({host, bytes, offset});
  used_ = offset + bytes;
  return device_ + offset;
}

Cells::Cells(std::vector<HostRange> fixed)
    : fixed_(std::move(fixed)), device_(static_cast<char*>(allocate_device(kRoom))) {}

Cells::~Cells() {
  for (Slot& s : ring_) {
    if (!s.data) continue;
    cudaEventSynchronize(s.done);
    cudaEventDestroy(s.done);
    free_pinned(s.data, kRoom);
  }
  free_device(device_, kRoom);
}

void Cells::write() {
  if (cells_.empty()) return;
  Slot& s = ring_[turn_++ % kSlots];
  if (!s.data) {
    s.data = static_cast<char*>(allocate_pinned(kRoom));
    check(cudaEventCreateWithFlags(&s.done, cudaEventDisableTiming), "event");
  } else {
    check(cudaEventSynchronize(s.done), "graph");
  }
  for (const Cell& c : cells_) std::memcpy(s.data + c.offset, c.host, c.bytes);
  check(cudaMemcpyAsync(device_, s.data, used_, cudaMemcpyHostToDevice, stream()), "graph");
  check(cudaEventRecord(s.done, stream()), "graph");
}

}  // namespace wengert::cuda
