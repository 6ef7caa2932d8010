// Device memory: a region of addresses that faults unless work of the device runs.
#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <map>
#include <vector>

namespace cuda_emulator {

class DeviceMemory {
 public:
  DeviceMemory();

  /// Null if the capacity does not suffice.
  void* allocate(size_t size);
  /// False if no live allocation begins at `p`.
  bool release(void* p);

  bool contains(const void* p) const;
  /// Whether all of it lies inside one live allocation.
  bool holds(const void* p, size_t size) const;
  /// The beginning of the allocation around `p`, or null.
  void* start_of(const void* p) const;

  void open();
  void close();

  size_t capacity() const { return capacity_; }
  size_t used() const { return used_; }

 private:
  struct Allocation {
    size_t pages;  // its bytes, in whole pages
    char* pointer;
    size_t size;
    bool fresh;  // to be filled with 0xFF when the region is opened next
  };
  struct Span {
    size_t offset, size;
  };
  using Clock = std::chrono::steady_clock;

  std::map<size_t, Allocation>::const_iterator around(const void* p) const;
  void find_spans();
  void protect(int protection);

  char* base_ = nullptr;
  size_t reserved_ = 0;
  size_t capacity_ = 0;
  size_t used_ = 0;
  size_t page_ = 4096;
  bool guard_ = false;
  bool open_ = false;
  bool changed_ = false;
  Clock::duration cost_{};
  Clock::time_point closed_;
  std::map<size_t, Allocation> allocations_;  // by their offset
  std::vector<size_t> fresh_;
  std::vector<Span> spans_;  // neighbours among the allocations, as one
};

}  // namespace cuda_emulator
