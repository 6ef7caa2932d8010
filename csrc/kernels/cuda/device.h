// What every CUDA source begins with: how kernels are launched, and what a kernel is written in
// beyond CUDA itself. Read by the host's compiler too.
#pragma once

#include <cuda_runtime.h>

#include <cstdint>

#include "core/error.h"
#include "kernels/launch.h"

#if defined(WENGERT_CUDA_EMULATED)
#include <cuda_emulator.h>
#endif

#define WENGERT_DEVICE __device__ __forceinline__

namespace wengert::cuda {

// Throws Error for what CUDA reports, or OutOfMemory.
void check(cudaError_t result, const char* what);

cudaStream_t stream();  // the thread's current one

// Throws what CUDA says of a start; waits where launches block.
void launched(const Launch& l);

// Starts a kernel for a launch. Of no block there is nothing to do.
template <class... Params, class... Args>
void start(const Launch& l, void (*kernel)(Params...), dim3 grid, dim3 block, size_t shared,
           const Args&... args) {
  if (grid.x == 0 || grid.y == 0 || grid.z == 0) return;
#if defined(WENGERT_CUDA_EMULATED)
  cuda_emulator::launch(
      grid, block, shared, stream(),
      [kernel, ... given = static_cast<Params>(args)] { kernel(given...); },
      reinterpret_cast<const void*>(kernel));
#else
  // clang-format off
  kernel<<<grid, block, shared, stream()>>>(static_cast<Params>(args)...);
  // clang-format on
#endif
  launched(l);
}

// More shared memory than 48 KiB must be asked for, once a kernel.
template <class... Params>
void allow_shared(void (*kernel)(Params...), size_t bytes) {
#if !defined(WENGERT_CUDA_EMULATED)
  if (bytes > 48 * 1024) {
    check(
        cudaFuncSetAttribute(reinterpret_cast<const void*>(kernel),
                             cudaFuncAttributeMaxDynamicSharedMemorySize, static_cast<int>(bytes)),
        "shared memory");
  }
#else
  (void)kernel;
  (void)bytes;
#endif
}

// The shared memory that the launch asked for.
template <class T>
__device__ __forceinline__ T* dynamic_shared() {
#if defined(WENGERT_CUDA_EMULATED)
  return static_cast<T*>(cuda_emulator::dynamic_shared());
#else
  extern __shared__ __align__(128) unsigned char wengert_dynamic_shared[];
  return reinterpret_cast<T*>(wengert_dynamic_shared);
#endif
}

constexpr int kWarp = 32;

constexpr int64_t ceil_div(int64_t a, int64_t b) {
  return (a + b - 1) / b;
}

// Blocks for n units of work where each takes so many, and goes on with a stride: as many as fill
// the device a few times.
unsigned grid_for(int64_t n, int64_t per_block, int most_per_processor = 16);

// Memory for the length of a launch: handed back at once, and used again by what comes after it on
// the stream.
class Scratch {
 public:
  explicit Scratch(size_t bytes);
  Scratch(const Scratch&) = delete;
  Scratch& operator=(const Scratch&) = delete;
  ~Scratch();
  template <class T = char>
  T* data() const {
    return static_cast<T*>(data_);
  }

 private:
  void* data_;
  size_t bytes_;
};

}  // namespace wengert::cuda
