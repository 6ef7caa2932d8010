// The caching allocator: 64-byte aligned blocks in size classes, kept for reuse when freed.
#pragma once

#include <cstddef>
#include <cstdint>

namespace wengert {

inline constexpr size_t kAlignment = 64;

// Throws Error when the system has no memory; the cache is emptied and the request tried again
// first. `deallocate` takes the size that was asked for.
void* allocate(size_t bytes);
void deallocate(void* block, size_t bytes) noexcept;

struct MemoryStats {
  int64_t current_bytes;   // in blocks handed out now, rounded up to their size class
  int64_t peak_bytes;      // largest current_bytes since reset_peak, exact to 64 KiB a thread
  int64_t current_blocks;  // blocks handed out now
  int64_t cached_bytes;    // large blocks kept for reuse
};
MemoryStats memory_stats();
void reset_peak_memory_stats();
void empty_cache();  // gives cached large blocks back to the system

}  // namespace wengert
