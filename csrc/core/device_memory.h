// Memory that is not the processor's, as the back end that owns it hands it out.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <span>

namespace wengert {

enum class Device : uint8_t;
class Tensor;
struct CheckRule;
struct CheckFacts;

struct DeviceMemory {
  void* (*allocate)(size_t bytes);  // throws Error where there is none left
  void (*deallocate)(void* block, size_t bytes) noexcept;
  // Between it and the host's, after all that was launched before. The host's bytes are there, or
  // no longer needed, on return.
  void (*read)(void* to_host, const void* from, size_t bytes);
  void (*write)(void* to, const void* from_host, size_t bytes);
  // Waits for all that was launched, on any stream: before memory is another library's to use.
  void (*wait)() noexcept;
  // Throws what the check throws of tensors there, now or at a later time at which the host waits.
  void (*check)(const CheckRule& rule, std::span<const Tensor> of, const CheckFacts& facts);
};

// Throws Error where no back end is in use.
const DeviceMemory& device_memory();
void set_device_memory(const DeviceMemory& memory);         // by the back end, once
extern std::atomic<const DeviceMemory*> the_device_memory;  // null until then
// Whether a tensor may be elsewhere than in the processor's memory: every operation asks.
inline bool device_memory_in_use() {
  return the_device_memory.load(std::memory_order_relaxed) != nullptr;
}

// Between a device's memory, the processor's too, and the host's.
void read_memory(void* to_host, const void* from, size_t bytes, Device device);
void write_memory(void* to, const void* from_host, size_t bytes, Device device);

}  // namespace wengert
