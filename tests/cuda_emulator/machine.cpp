#include "machine.h"

#include <algorithm>
#include <cstdlib>
#include <string>

#include "blocks.h"
#include "cuda_emulator.h"
#include "order.h"

namespace cuda_emulator {

namespace {

constexpr size_t kLongQueue = 4096;

bool is_on(const char* variable) {
  const char* value = std::getenv(variable);
  return value != nullptr && *value != '\0' && *value != '0';
}

}  // namespace

Order& order() {
  static Order* const order = [] {
    auto* made = new Order;
    const char* text = std::getenv("WENGERT_EMULATOR_ORDER");
    if (text != nullptr && !made->set(text)) {
      mistake("WENGERT_EMULATOR_ORDER is %s; expected forward, reverse or random:SEED", text);
    }
    return made;
  }();
  return *order;
}

bool Order::set(std::string_view text) {
  constexpr std::string_view kRandomly = "random:";
  if (text == "forward") {
    kind_ = Kind::kForward;
  } else if (text == "reverse") {
    kind_ = Kind::kReverse;
  } else if (text.starts_with(kRandomly)) {
    kind_ = Kind::kRandom;
    random_.seed(std::strtoull(std::string(text.substr(kRandomly.size())).c_str(), nullptr, 10));
  } else {
    return false;
  }
  return true;
}

bool set_order(std::string_view text) {
  const std::scoped_lock guard(machine().lock);
  return order().set(text);
}

Machine& machine() {
  static Machine* const machine = new Machine;  // outlives every static that still calls it
  return *machine;
}

cudaError_t& last_error() {
  thread_local cudaError_t error = cudaSuccess;
  return error;
}

cudaStreamCaptureMode& thread_capture_mode() {
  thread_local cudaStreamCaptureMode mode = cudaStreamCaptureModeGlobal;
  return mode;
}

Machine::Machine() : blocking_launches_(is_on("CUDA_LAUNCH_BLOCKING")) {
  make_stream(cudaStreamDefault, 0);  // the legacy stream
}

cudaStream_t Machine::make_stream(unsigned flags, int priority) {
  auto made = std::make_shared<CUstream_st>();
  made->id = streams_made_++;
  made->flags = flags;
  made->priority = priority;
  streams.push_back(made);
  return made.get();
}

std::shared_ptr<CUstream_st> Machine::stream(cudaStream_t handle) {
  if (handle == nullptr || handle == cudaStreamLegacy) return streams.front();
  if (handle == cudaStreamPerThread) {
    thread_local cudaStream_t own = nullptr;
    if (own == nullptr) own = make_stream(cudaStreamDefault, 0);
    handle = own;
  }
  for (const auto& one : streams) {
    if (one.get() == handle && !one->destroyed && one != streams.front()) return one;
  }
  return nullptr;
}

cudaError_t Machine::destroy_stream(cudaStream_t handle) {
  const auto found = stream(handle);
  if (found == nullptr || found == streams.front() || handle == cudaStreamPerThread) {
    return cudaErrorInvalidResourceHandle;
  }
  if (found->capture != nullptr) found->capture->invalid = true;
  found->destroyed = true;  // its work still runs
  forget_drained();
  return cudaSuccess;
}

void Machine::forget_drained() {
  std::erase_if(streams, [](const auto& one) { return one->destroyed && one->queue.empty(); });
}

void Machine::enqueue(CUstream_st& stream, Operation operation) {
  operation.sequence = ++sequence_;
  stream.queue.push_back(std::move(operation));
  if (stream.queue.size() > kLongQueue || blocking_launches_) run(stream);
}

cudaError_t Machine::submit(CUstream_st& stream, cudaGraphNodeType type, std::function<void()> run,
                            Runs runs) {
  if (stream.capture == nullptr) {
    if (&stream == streams.front().get()) {
      // Work of the legacy stream would have to wait for streams that only record.
      bool implicit = false;
      for (const auto& other : streams) {
        if (other->capture == nullptr || other->flags == cudaStreamNonBlocking) continue;
        other->capture->invalid = implicit = true;
      }
      if (implicit) return cudaErrorStreamCaptureImplicit;
    }
    Operation operation;
    operation.run = std::move(run);
    operation.runs = runs;
    enqueue(stream, std::move(operation));
    return cudaSuccess;
  }
  if (stream.capture->invalid) return cudaErrorStreamCaptureInvalidated;
  auto node = std::make_shared<CUgraphNode_st>();
  node->type = type;
  node->run = std::move(run);
  node->runs = runs;
  node->after = stream.tail;
  auto& nodes = stream.capture->graph->nodes;
  stream.tail = {nodes.size()};
  nodes.push_back(std::move(node));
  return cudaSuccess;
}

cudaError_t Machine::submit_record(const std::shared_ptr<CUstream_st>& stream, CUevent_st& event) {
  if (stream->capture != nullptr) {
    if (stream->capture->invalid) return cudaErrorStreamCaptureInvalidated;
    event.record = nullptr;
    event.capture = stream->capture;
    event.tail = stream->tail;
    return cudaSuccess;
  }
  auto record = std::make_shared<Record>();
  record->stream = stream;
  record->sequence = sequence_ + 1;
  const cudaError_t error = submit(
      *stream, cudaGraphNodeTypeEmpty,
      [record] {
        record->done = true;
        record->when = std::chrono::steady_clock::now();
      },
      Runs::kAlways);
  if (error != cudaSuccess) return error;
  event.record = std::move(record);
  event.capture = nullptr;
  return cudaSuccess;
}

cudaError_t Machine::submit_wait(CUstream_st& stream, const CUevent_st& event) {
  if (stream.capture != nullptr && stream.capture->invalid) {
    return cudaErrorStreamCaptureInvalidated;
  }
  if (event.capture == nullptr) {
    if (event.record == nullptr) return cudaSuccess;
    if (stream.capture != nullptr) {
      stream.capture->invalid = true;
      return cudaErrorStreamCaptureIsolation;
    }
    if (!event.record->done) {
      Operation operation;
      operation.after = event.record;
      enqueue(stream, std::move(operation));
    }
    return cudaSuccess;
  }
  if (event.capture->ended) return cudaErrorCapturedEvent;
  if (event.capture->invalid) return cudaErrorStreamCaptureInvalidated;
  if (&stream == streams.front().get()) {
    event.capture->invalid = true;
    return cudaErrorStreamCaptureImplicit;
  }
  if (stream.capture == nullptr) {
    stream.capture = event.capture;  // a fork
    stream.tail.clear();
  } else if (stream.capture != event.capture) {
    stream.capture->invalid = event.capture->invalid = true;
    return cudaErrorStreamCaptureMerge;
  }
  for (const size_t node : event.tail) {
    if (std::find(stream.tail.begin(), stream.tail.end(), node) == stream.tail.end()) {
      stream.tail.push_back(node);
    }
  }
  return cudaSuccess;
}

void Machine::execute(const std::function<void()>& run, Runs runs) {
  if (!run || (failure != cudaSuccess && runs != Runs::kAlways)) return;
  if (runs != Runs::kOnHost) {
    run();
    return;
  }
  memory.close();
  in_host_function = true;
  run();
  in_host_function = false;
  memory.open();
}

// All that an operation comes after has a smaller sequence number, so this ends.
void Machine::advance(CUstream_st& stream, uint64_t sequence) {
  CUstream_st& legacy = *streams.front();
  while (!stream.queue.empty() && stream.queue.front().sequence <= sequence) {
    const uint64_t now = stream.queue.front().sequence;
    if (const auto after = stream.queue.front().after; after != nullptr && !after->done) {
      advance(*after->stream, after->sequence);
    }
    if (&stream == &legacy) {
      for (size_t i = 1; i < streams.size(); ++i) {
        if (streams[i]->flags != cudaStreamNonBlocking) advance(*streams[i], now);
      }
    } else if (stream.flags != cudaStreamNonBlocking) {
      advance(legacy, now);
    }
    const Operation operation = std::move(stream.queue.front());
    stream.queue.pop_front();
    execute(operation.run, operation.runs);
  }
}

void Machine::run(CUstream_st& stream, uint64_t sequence) {
  const auto waits = [&] {
    return !stream.queue.empty() && stream.queue.front().sequence <= sequence;
  };
  if (!waits()) return;
  memory.open();
  if (order().kind() == Order::Kind::kReverse) {
    for (size_t i = streams.size(); i-- > 0;) {
      if (streams[i].get() != &stream) advance(*streams[i], kAll);
    }
  }
  if (order().kind() == Order::Kind::kRandom) {
    while (waits()) advance_any();
  }
  advance(stream, sequence);
  memory.close();
  forget_drained();
}

void Machine::advance_any() {
  std::vector<CUstream_st*> able;
  for (const auto& one : streams) {
    if (!one->queue.empty()) able.push_back(one.get());
  }
  CUstream_st& any = *able[order().pick(able.size())];
  advance(any, any.queue.front().sequence);
}

void Machine::run_all() {
  const auto waits = [](const auto& one) { return !one->queue.empty(); };
  if (std::none_of(streams.begin(), streams.end(), waits)) return;
  memory.open();
  if (order().kind() == Order::Kind::kRandom) {
    while (std::any_of(streams.begin(), streams.end(), waits)) advance_any();
  }
  std::vector<CUstream_st*> all;
  for (const auto& one : streams) all.push_back(one.get());
  order().arrange(all.begin(), all.end());
  for (CUstream_st* one : all) advance(*one, kAll);
  memory.close();
  forget_drained();
}

void Machine::run_graph(const CUgraph_st& graph) {
  std::vector<size_t> missing(graph.nodes.size());
  std::vector<std::vector<size_t>> followers(graph.nodes.size());
  std::vector<size_t> ready;
  for (size_t i = 0; i < graph.nodes.size(); ++i) {
    missing[i] = graph.nodes[i]->after.size();
    for (const size_t before : graph.nodes[i]->after) followers[before].push_back(i);
    if (missing[i] == 0) ready.push_back(i);
  }
  while (!ready.empty()) {
    const size_t place = order().pick(ready.size());
    const size_t next = ready[place];
    ready.erase(ready.begin() + static_cast<std::ptrdiff_t>(place));
    execute(graph.nodes[next]->run, graph.nodes[next]->runs);
    for (const size_t follower : followers[next]) {
      if (--missing[follower] == 0) ready.push_back(follower);
    }
  }
}

cudaError_t Machine::unsafe_call() {
  const cudaStreamCaptureMode own = thread_capture_mode();
  cudaError_t error = cudaSuccess;
  for (const auto& capture : captures) {
    const bool mine = capture->thread == std::this_thread::get_id();
    const bool forbids =
        mine ? capture->mode != cudaStreamCaptureModeRelaxed && own != cudaStreamCaptureModeRelaxed
             : capture->mode == cudaStreamCaptureModeGlobal && own == cudaStreamCaptureModeGlobal;
    if (!forbids) continue;
    capture->invalid = true;
    error = cudaErrorStreamCaptureUnsupported;
  }
  return error;
}

cudaError_t Machine::unsafe_wait(const CUstream_st& stream) {
  if (stream.capture != nullptr) {
    stream.capture->invalid = true;
    return cudaErrorStreamCaptureUnsupported;
  }
  if (&stream != streams.front().get()) return cudaSuccess;
  cudaError_t error = cudaSuccess;
  for (const auto& other : streams) {
    if (other->capture == nullptr || other->flags == cudaStreamNonBlocking) continue;
    other->capture->invalid = true;
    error = cudaErrorStreamCaptureImplicit;
  }
  return error;
}

cudaError_t Machine::unsafe_device_wait() {
  for (const auto& capture : captures) capture->invalid = true;
  return captures.empty() ? cudaSuccess : cudaErrorStreamCaptureUnsupported;
}

bool Machine::is_pinned(const void* p) const {
  const auto* at = static_cast<const char*>(p);
  auto after = pinned.upper_bound(at);
  if (after == pinned.begin()) return false;
  --after;
  return at < after->first + after->second;
}

size_t queued() {
  const std::scoped_lock guard(machine().lock);
  size_t total = 0;
  for (const auto& stream : machine().streams) total += stream->queue.size();
  return total;
}

void launch_kernel(dim3 grid, dim3 block, size_t shared, cudaStream_t stream,
                   std::function<void()> body, Name name) {
  call([&](Machine& m) {
    const auto target = m.stream(stream);
    if (target == nullptr) return cudaErrorInvalidResourceHandle;
    const bool empty =
        grid.x == 0 || grid.y == 0 || grid.z == 0 || block.x == 0 || block.y == 0 || block.z == 0;
    const bool large = block.x > 1024 || block.y > 1024 || block.z > 64 ||
                       uint64_t{block.x} * block.y * block.z > kMaxThreads || grid.x > 0x7fffffff ||
                       grid.y > 65535 || grid.z > 65535;
    if (empty || large || shared > kMaxShared) return cudaErrorInvalidConfiguration;
    auto launch =
        std::make_shared<const Launch>(Launch{grid, block, shared, std::move(body), name});
    return m.submit(*target, cudaGraphNodeTypeKernel, [&m, launch] {
      if (!run_grid(*launch)) m.failure = cudaErrorLaunchFailure;
    });
  });
}

}  // namespace cuda_emulator
