// What the sources of the back end share of its state; for the host's compiler alone.
#pragma once

#include <cuda_runtime.h>

#include <span>

#include "core/watch.h"
#include "kernels/cuda/cuda.h"

namespace wengert::cuda {

void check(cudaError_t result, const char* what);

inline cudaStream_t stream_of(StreamId s) {
  return reinterpret_cast<cudaStream_t>(s);
}
inline cudaEvent_t event_of(EventId e) {
  return reinterpret_cast<cudaEvent_t>(e);
}

// --- memory ------------------------------------------------------------------------------------

// In the order of the current stream: what a stream gives back is handed out to it alone.
void* allocate_device(size_t bytes);
void free_device(void* block, size_t bytes) noexcept;

// While one lives, what this thread allocates on the stream comes from memory of its own, which is
// nobody else's until the pool is gone: for launches that run again later, as a graph.
class Pool {
 public:
  Pool();
  Pool(const Pool&) = delete;
  Pool& operator=(const Pool&) = delete;
  ~Pool();  // what it holds is the stream's again

  class Use {
   public:
    explicit Use(const Pool& pool);
    Use(const Use&) = delete;
    Use& operator=(const Use&) = delete;
    ~Use();

   private:
    uintptr_t before_;
  };

 private:
  uintptr_t id_;
};

// Looks at tensors that are copied to the host on the way, and throws what the check throws: of
// what has arrived, or waits for all.
void check_later(const CheckRule& rule, std::span<const Tensor> of, const CheckFacts& facts);
void look_at_checks(bool wait);

// Copies through pinned memory of the back end's own; see DeviceMemory.
void read_device(void* to_host, const void* from, size_t bytes);
void write_device(void* to, const void* from_host, size_t bytes);
void wait_device() noexcept;

// A copy from or to this pinned memory has been started on the current stream.
void pinned_is_used(const void* p);
void empty_pinned_cache() noexcept;

}  // namespace wengert::cuda
