// The emulated device: its memory, its streams and what waits in them.
#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <functional>
#include <limits>
#include <map>
#include <memory>
#include <mutex>
#include <thread>
#include <vector>

#include "cuda_emulator/api.h"
#include "memory.h"

namespace cuda_emulator {

/// A point in a stream, as an event marks it.
struct Record {
  std::shared_ptr<CUstream_st> stream;
  uint64_t sequence = 0;
  bool done = false;
  std::chrono::steady_clock::time_point when;
};

enum class Runs {
  kOnDevice,
  kOnHost,  // with the device's memory closed
  kAlways,  // even after a kernel has failed
};

struct Operation {
  uint64_t sequence = 0;
  std::function<void()> run;
  Runs runs = Runs::kOnDevice;
  std::shared_ptr<Record> after;  // in whatever stream
};

/// What a stream that is being captured collects.
struct Capture {
  unsigned long long id = 0;
  cudaStreamCaptureMode mode = cudaStreamCaptureModeGlobal;
  std::thread::id thread;
  cudaStream_t origin = nullptr;
  cudaGraph_t graph = nullptr;
  bool ended = false;
  bool invalid = false;
};

}  // namespace cuda_emulator

struct CUstream_st {
  uint64_t id = 0;
  unsigned flags = 0;
  int priority = 0;
  bool destroyed = false;
  std::deque<cuda_emulator::Operation> queue;
  std::shared_ptr<cuda_emulator::Capture> capture;
  std::vector<size_t> tail;  // the captured nodes that the next one comes after
};

struct CUevent_st {
  unsigned flags = 0;
  std::shared_ptr<cuda_emulator::Record> record;
  std::shared_ptr<cuda_emulator::Capture> capture;
  std::vector<size_t> tail;
};

struct CUgraphNode_st {
  cudaGraphNodeType type = cudaGraphNodeTypeEmpty;
  std::function<void()> run;
  cuda_emulator::Runs runs = cuda_emulator::Runs::kOnDevice;
  std::vector<size_t> after;
};

struct CUgraph_st {
  std::vector<std::shared_ptr<CUgraphNode_st>> nodes;
};

struct CUgraphExec_st {
  std::shared_ptr<const CUgraph_st> graph;
};

namespace cuda_emulator {

class Machine {
 public:
  static constexpr uint64_t kAll = std::numeric_limits<uint64_t>::max();

  Machine();

  /// Null for a handle that names no stream.
  std::shared_ptr<CUstream_st> stream(cudaStream_t handle);
  cudaStream_t make_stream(unsigned flags, int priority);
  cudaError_t destroy_stream(cudaStream_t handle);

  /// Queues an operation, or makes it a node where the stream is being captured.
  cudaError_t submit(CUstream_st& stream, cudaGraphNodeType type, std::function<void()> run,
                     Runs runs = Runs::kOnDevice);
  cudaError_t submit_record(const std::shared_ptr<CUstream_st>& stream, CUevent_st& event);
  cudaError_t submit_wait(CUstream_st& stream, const CUevent_st& event);

  /// Runs at least what `stream` holds up to `sequence`, and all that this has to come after.
  void run(CUstream_st& stream, uint64_t sequence = kAll);
  void run_all();
  void run_graph(const CUgraph_st& graph);

  /// Whether any capture forbids a call that would synchronise or allocate; breaks that capture.
  cudaError_t unsafe_call();
  /// The same for a call that waits for `stream`.
  cudaError_t unsafe_wait(const CUstream_st& stream);
  cudaError_t unsafe_device_wait();

  /// The host memory around `p` that was allocated or registered as pinned.
  bool is_pinned(const void* p) const;

  std::recursive_mutex lock;
  DeviceMemory memory;
  std::map<const char*, size_t> pinned;
  std::map<cudaEvent_t, std::unique_ptr<CUevent_st>> events;
  std::map<cudaGraph_t, std::shared_ptr<CUgraph_st>> graphs;
  std::map<cudaGraphExec_t, std::unique_ptr<CUgraphExec_st>> executables;
  std::vector<std::shared_ptr<CUstream_st>> streams;  // by id; the first is the legacy stream
  std::vector<std::shared_ptr<Capture>> captures;     // those not ended
  unsigned long long captures_begun = 0;
  cudaError_t failure = cudaSuccess;  // of a kernel; stays
  bool in_host_function = false;

 private:
  void enqueue(CUstream_st& stream, Operation operation);
  void advance(CUstream_st& stream, uint64_t sequence);
  void advance_any();
  void execute(const std::function<void()>& run, Runs runs);
  void forget_drained();

  uint64_t sequence_ = 0;
  uint64_t streams_made_ = 0;
  bool blocking_launches_ = false;
};

Machine& machine();

cudaError_t& last_error();
cudaStreamCaptureMode& thread_capture_mode();

/// What every call of the API does around its work.
template <class Work>
cudaError_t call(Work work) {
  Machine& m = machine();
  const std::scoped_lock guard(m.lock);
  cudaError_t error = m.in_host_function ? cudaErrorNotPermitted : m.failure;
  if (error == cudaSuccess) error = work(m);
  if (error == cudaSuccess) error = m.failure;
  if (error != cudaSuccess) last_error() = error;
  return error;
}

}  // namespace cuda_emulator
