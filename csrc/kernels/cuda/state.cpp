// The device, its streams and events.
#include "kernels/cuda/state.h"

#include <pthread.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <cstdlib>
#include <mutex>
#include <string_view>

#include "core/device_memory.h"
#include "core/error.h"
#include "kernels/cuda/device.h"

namespace wengert::cuda {
namespace {

struct Found {
  int count = 0;
  std::string why;
  Found() {
    const cudaError_t result = cudaGetDeviceCount(&count);
    if (result != cudaSuccess) {
      count = 0;
      why = cudaGetErrorString(result);
      cudaGetLastError();
    } else if (count == 0) {
      why = "no CUDA device";
    }
  }
};
const Found& found() {
  static const Found f;
  return f;
}

// Made when the device is first used.
struct Device0 {
  DeviceProperties properties;
  cudaStream_t stream = nullptr;

  Device0() {
    check(cudaSetDevice(0), "device");
    cudaDeviceProp p;
    check(cudaGetDeviceProperties(&p, 0), "device");
    properties = {p.name,
                  p.major,
                  p.minor,
                  p.multiProcessorCount,
                  static_cast<int64_t>(p.totalGlobalMem),
                  p.l2CacheSize,
                  static_cast<int64_t>(p.sharedMemPerBlock),
                  static_cast<int64_t>(p.sharedMemPerBlockOptin),
                  p.maxThreadsPerMultiProcessor,
                  p.warpSize};
    check(cudaStreamCreateWithFlags(&stream, cudaStreamNonBlocking), "stream");
    static constexpr DeviceMemory memory{&allocate_device, &free_device, &read_device,
                                         &write_device,    &wait_device, &check_later};
    set_device_memory(memory);
  }
};
std::atomic<Device0*> the_device{nullptr};
std::atomic<bool> forked{false};  // since the device was first used

Device0& device() {
  Device0* d = the_device.load(std::memory_order_acquire);
  if (forked.load(std::memory_order_relaxed)) [[unlikely]] {
    fail(
        "cuda: a forked process cannot go on with its parent's CUDA device; start processes with "
        "'spawn'");
  }
  if (d) [[likely]]
    return *d;
  static std::mutex lock;
  const std::scoped_lock locked(lock);
  d = the_device.load(std::memory_order_acquire);
  if (d) return *d;
  if (found().count == 0) fail("cuda: no device is available: ", found().why);
  d = new Device0;  // for as long as the process runs: streams end after what uses them
  pthread_atfork(nullptr, nullptr, [] { forked.store(true, std::memory_order_relaxed); });
  the_device.store(d, std::memory_order_release);
  return *d;
}

constexpr unsigned kPooledStreams = 32;
thread_local StreamId current = 0;  // 0: the default one

std::atomic<bool> blocking = [] {
  const char* set = std::getenv("CUDA_LAUNCH_BLOCKING");
  return set && std::string_view(set) == "1";
}();

}  // namespace

void check(cudaError_t result, const char* what) {
  if (result == cudaSuccess) [[likely]]
    return;
  cudaGetLastError();
  fail(result == cudaErrorMemoryAllocation ? ErrorKind::OutOfMemory : ErrorKind::Runtime,
       "cuda: ", what, ": ", cudaGetErrorString(result), " (", cudaGetErrorName(result), ")");
}

bool built() {
  return true;
}
bool emulated() {
#if defined(WENGERT_CUDA_EMULATED)
  return true;
#else
  return false;
#endif
}
int device_count() {
  return found().count;
}
const std::string& why_none() {
  return found().why;
}
bool is_available() {
  return found().count > 0;
}
void require() {
  device();
}
bool is_initialized() {
  return the_device.load(std::memory_order_relaxed) != nullptr;
}
const DeviceProperties& properties() {
  return device().properties;
}
int driver_version() {
  int v = 0;
  return cudaDriverGetVersion(&v) == cudaSuccess ? v : 0;
}
int runtime_version() {
  int v = 0;
  return cudaRuntimeGetVersion(&v) == cudaSuccess ? v : 0;
}

std::vector<std::string> architectures() {
  std::vector<std::string> out;
  std::string_view all = WENGERT_CUDA_ARCHITECTURES;  // "80-real,90a-real,80-virtual"
  while (!all.empty()) {
    const std::string_view one = all.substr(0, all.find(','));
    all.remove_prefix(std::min(all.size(), one.size() + 1));
    const std::string number(one.substr(0, one.find('-')));
    out.push_back((one.ends_with("virtual") ? "compute_" : "sm_") + number);
  }
  return out;
}

// --- streams -----------------------------------------------------------------------------------

StreamId default_stream() {
  return reinterpret_cast<StreamId>(device().stream);
}
StreamId current_stream() {
  return current ? current : default_stream();
}
StreamId set_current_stream(StreamId s) {
  const StreamId before = current_stream();
  current = s == default_stream() ? 0 : s;
  return before;
}
cudaStream_t stream() {
  return stream_of(current_stream());
}
// From a pool, in turn, for good: a stream's memory is ordered by it, and a thread may have it as
// its current one.
StreamId make_stream(int priority) {
  device();
  static std::mutex lock;
  static std::array<cudaStream_t, kPooledStreams> pools[2];
  static unsigned turns[2];
  const std::scoped_lock locked(lock);
  const bool first = priority < 0;
  cudaStream_t& s = pools[first][turns[first]++ % kPooledStreams];
  if (!s) check(cudaStreamCreateWithPriority(&s, cudaStreamNonBlocking, first ? -1 : 0), "stream");
  return reinterpret_cast<StreamId>(s);
}
namespace {
bool is_done(cudaError_t queried, const char* what) {
  if (queried == cudaErrorNotReady) {
    cudaGetLastError();
    return false;
  }
  check(queried, what);
  return true;
}
}  // namespace
bool stream_done(StreamId s) {
  return is_done(cudaStreamQuery(stream_of(s)), "stream");
}
void synchronize_stream(StreamId s) {
  check(cudaStreamSynchronize(stream_of(s)), "synchronize");
  look_at_checks(false);
}
void synchronize() {
  device();
  check(cudaDeviceSynchronize(), "synchronize");
  look_at_checks(true);
}
void wait_event(StreamId s, EventId e) {
  check(cudaStreamWaitEvent(stream_of(s), event_of(e), 0), "wait_event");
}

EventId make_event(bool timing) {
  device();
  cudaEvent_t e;
  check(cudaEventCreateWithFlags(&e, timing ? cudaEventDefault : cudaEventDisableTiming), "event");
  return reinterpret_cast<EventId>(e);
}
void free_event(EventId e) noexcept {
  cudaEventDestroy(event_of(e));
}
void record_event(EventId e, StreamId s) {
  check(cudaEventRecord(event_of(e), stream_of(s)), "event");
}
bool event_done(EventId e) {
  return is_done(cudaEventQuery(event_of(e)), "event");
}
void synchronize_event(EventId e) {
  check(cudaEventSynchronize(event_of(e)), "event");
}
float elapsed_ms(EventId from, EventId to) {
  float ms = 0;
  check(cudaEventElapsedTime(&ms, event_of(from), event_of(to)), "elapsed_time");
  return ms;
}

// --- launches ----------------------------------------------------------------------------------

bool launches_block() {
  return blocking;
}
void set_launches_block(bool on) {
  blocking = on;
}

void launched(const Launch& l) {
  cudaError_t result = cudaGetLastError();
  if (result == cudaSuccess && blocking.load(std::memory_order_relaxed)) [[unlikely]] {
    // A stream that is recorded cannot be waited for.
    cudaStreamCaptureStatus recorded = cudaStreamCaptureStatusNone;
    result = cudaStreamIsCapturing(stream(), &recorded);
    if (result == cudaSuccess && recorded == cudaStreamCaptureStatusNone) {
      result = cudaStreamSynchronize(stream());
    }
  }
  if (result != cudaSuccess) [[unlikely]] {
    check(result, kernel_name(l.kernel).c_str());
  }
}

unsigned grid_for(int64_t n, int64_t per_block, int most_per_processor) {
  const int64_t most = int64_t{properties().multi_processor_count} * most_per_processor;
  return static_cast<unsigned>(std::min(ceil_div(n, per_block), most));
}

Scratch::Scratch(size_t bytes) : data_(bytes ? allocate_device(bytes) : nullptr), bytes_(bytes) {}
Scratch::~Scratch() {
  if (data_) free_device(data_, bytes_);
}

}  // namespace wengert::cuda
