// Runs CUDA kernels on the host, so that the CUDA backend can be tested where there is no GPU.
// The README beside this folder says what that shows and what it cannot show.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <string_view>
#include <type_traits>
#include <typeinfo>
#include <utility>

#include "cuda_emulator/api.h"

namespace cuda_emulator {

inline constexpr size_t kMaxThreads = 1024;
inline constexpr size_t kMaxShared = 163 * 1024;
inline constexpr size_t kMaxParameterBytes = 32764;

/// What messages call a kernel by: the type of the closure and, if it is given, the function.
struct Name {
  const char* closure;
  const void* kernel;
};

/// Queues a kernel; a bad configuration is told by cudaGetLastError, as a real launch does.
void launch_kernel(dim3 grid, dim3 block, size_t shared, cudaStream_t stream,
                   std::function<void()> body, Name name);

/// `kernel<<<grid, block, shared, stream>>>(args...)` is
/// `launch(grid, block, shared, stream, [=] { kernel(args...); })`.
template <class Body>
void launch(dim3 grid, dim3 block, size_t shared, cudaStream_t stream, Body body,
            const void* kernel = nullptr) {
  static_assert(sizeof(Body) <= kMaxParameterBytes, "a kernel's arguments are at most 32764 bytes");
  launch_kernel(grid, block, shared, stream, std::move(body), {typeid(Body).name(), kernel});
}

/// The launch's dynamic shared memory: aligned to 128, filled with 0xAB before each block.
void* dynamic_shared();

/// How many kernels have run.
uint64_t launches();

/// How many operations wait in all streams.
size_t queued();

/// `forward`, `reverse` or `random:SEED`, as the variable WENGERT_EMULATOR_ORDER says at start.
/// Returns false for anything else.
bool set_order(std::string_view order);

// What the device headers are made of.

struct Site {
  const char* file;
  int line;
};

/// Lanes of one warp that meet; kept until each of them has left.
struct Meeting {
  using Finish = void (*)(Meeting&);
  uint32_t mask = 0;
  uint32_t arrived = 0;
  uint32_t readers = 0;
  const char* what = nullptr;
  Site site{};
  Finish finish = nullptr;
  std::array<uint64_t, 32> value{};
};

/// Waits until every lane of `mask` that has not exited has come; the last one runs `finish`.
Meeting& meet(uint32_t mask, const char* what, uint64_t value, Site site,
              Meeting::Finish finish = nullptr);
void leave(Meeting& meeting);
unsigned lane();

/// A barrier of the block; returns how many threads came and how many of them with `predicate`.
struct Votes {
  int came;
  int agreed;
};
Votes block_barrier(const char* what, bool predicate, Site site);

/// Lets other threads of the block run.
void pause();

/// Ends the launch with an error that stays, as a trap on the device does.
[[noreturn]] void trap();

/// Ends the process: a mistake which hardware would answer with a hang or with nothing at all.
[[noreturn]] void mistake(const char* format, ...) __attribute__((format(printf, 1, 2)));

void copy_later(void* to, const void* from, size_t size, size_t zeros);
void copy_commit();
void copy_wait(size_t batches_left);

}  // namespace cuda_emulator

extern uint3 threadIdx;
extern uint3 blockIdx;
extern dim3 blockDim;
extern dim3 gridDim;
inline constexpr int warpSize = 32;
