// The CUDA back end as the layers above see it: nothing of CUDA's own headers. A build without it
// has all of this too, and says that there is no device.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "kernels/launch.h"

namespace wengert::cuda {

// Whether the back end is part of this build; of an emulation of CUDA on the processor, for tests.
bool built();
bool emulated();

// 0 where there is none; `why_none` says why. The first asks the driver.
int device_count();
const std::string& why_none();
bool is_available();
// Begins to use the device, if nobody has; throws Error where there is none.
void require();
bool is_initialized();

const KernelTable& table();
// Whether buffer k may be a number in the processor's memory.
bool takes_number(const Launch& l, int k);

struct DeviceProperties {
  std::string name;
  int major, minor;
  int multi_processor_count;
  int64_t total_memory;   // bytes
  int64_t l2_cache_size;  // bytes
  int64_t shared_memory_per_block, shared_memory_per_block_optin;
  int max_threads_per_multi_processor;
  int warp_size;
};
const DeviceProperties& properties();
int driver_version();                      // such as 13000; 0: no driver
int runtime_version();                     // that the build has
std::vector<std::string> architectures();  // that the build has code for, such as "sm_90a"

// --- memory ------------------------------------------------------------------------------------

struct DeviceMemoryStats {
  int64_t allocated, peak_allocated;  // bytes in blocks handed out
  int64_t reserved, peak_reserved;    // bytes asked of CUDA
  int64_t blocks, segments;           // handed out; asked of CUDA
  int64_t allocations;                // so far
  int64_t retries, out_of_memory;     // times the cache was emptied for a request; those refused
};
DeviceMemoryStats memory_stats();
void reset_peak_memory_stats();
void empty_cache();
void memory_info(size_t& free, size_t& total);
// Of all memory, what this process may take; throws where that is not between 0 and 1.
void set_memory_fraction(double fraction);

// Host memory that the device copies from and to by itself.
void* allocate_pinned(size_t bytes);
void free_pinned(void* block, size_t bytes) noexcept;
// A tensor of this one's sizes and dtype in it, with these strides, uninitialised.
Tensor empty_pinned(const Tensor& like, const Dims& strides);
bool is_pinned(const void* p);

// --- streams and events ------------------------------------------------------------------------

// What runs on one stream runs in order. The default stream is this library's first one; a thread
// launches on its current one.
using StreamId = uintptr_t;
using EventId = uintptr_t;
StreamId default_stream();
StreamId current_stream();
StreamId set_current_stream(StreamId s);  // returns the one before
StreamId make_stream(int priority);       // below 0: before others; lives as long as the process
bool stream_done(StreamId s);
void synchronize_stream(StreamId s);
void synchronize();  // all of the device
void wait_event(StreamId s, EventId e);

EventId make_event(bool timing);
void free_event(EventId e) noexcept;
void record_event(EventId e, StreamId s);
bool event_done(EventId e);
void synchronize_event(EventId e);
float elapsed_ms(EventId from, EventId to);

// The storage is used on that stream too: its memory is not handed out again before that is done.
void record_stream(const Storage& storage, StreamId s);

// --- graphs ------------------------------------------------------------------------------------

struct HostRange {
  const void* data;
  size_t bytes;
};

// What a function launches, all of which must be such as `takes` says, as one launch. Nothing runs
// while it is recorded. What launches read of the processor's memory (numbers, settings, states of
// random generators) is read again at each run, but for what lies in `fixed`.
class Graph {
 public:
  Graph(const std::function<void()>& launches, std::vector<HostRange> fixed);
  Graph(const Graph&) = delete;
  Graph& operator=(const Graph&) = delete;
  ~Graph();
  void run();
  size_t nodes() const;
  static bool takes(const Launch& l);

 private:
  class Impl;
  std::unique_ptr<Impl> impl_;
};

// On the current stream, between places of device memory.
void copy_within(void* to, const void* from, size_t bytes);

// Whether every launch is waited for, so that what goes wrong is told where it was begun: set by
// the variable CUDA_LAUNCH_BLOCKING.
bool launches_block();
void set_launches_block(bool on);

// Attention of 16-bit floats has kernels for as many columns of queries and of values; their
// log-sum-exps and their mask are float32.
inline constexpr int64_t kNarrowAttention = 128;

// --- matrix products ---------------------------------------------------------------------------

// The file of cuBLASLt, which is looked for when first asked; "" where there is none. It may be set
// as WENGERT_CUBLAS says: "0", a file or a directory, or "1" for the usual places.
std::string cublas();
void set_cublas(const std::string& where);
int64_t cublas_calls();  // products that it has made
// For tests, also WENGERT_CUDA_GEMM: instead of what would be chosen a tile (large, medium, small,
// thin), "turned", "split" or "whole", for any size "library"; joined by commas. "" chooses again.
void force_gemm(const std::string& names);

// Runs on the processor, over copies of the memory, what there is no CUDA kernel for; and how many
// launches have.
void run_on_host(const Launch& l);
int64_t host_launches();

}  // namespace wengert::cuda
