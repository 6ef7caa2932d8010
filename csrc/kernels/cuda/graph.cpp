#include "kernels/cuda/graph.h"

#include <mutex>

#include "core/error.h"

namespace wengert::cuda {
namespace {

// Streams to record on. They are used again and live for good, as cuDNN's handle knows the last
// one.
struct Streams {
  std::mutex lock;
  std::vector<cudaStream_t> spare;
};
Streams& streams() {
  static auto* s = new Streams;
  return *s;
}
cudaStream_t take_stream() {
  Streams& all = streams();
  const std::scoped_lock locked(all.lock);
  cudaStream_t s = nullptr;
  if (all.spare.empty()) {
    check(cudaStreamCreateWithFlags(&s, cudaStreamNonBlocking), "stream");
  } else {
    s = all.spare.back();
    all.spare.pop_back();
  }
  return s;
}
void give_back(cudaStream_t s) {
  Streams& all = streams();
  const std::scoped_lock locked(all.lock);
  all.spare.push_back(s);
}

// While one lives, what this thread launches is recorded: on a stream of its own, so that what
// other threads launch on the current one meanwhile runs, and is none of the graph's.
class Recording {
 public:
  Recording(const Pool& pool, Cells* cells)
      : memory_(pool),
        stream_(take_stream()),
        cells_(set_cells(cells)),
        before_(set_current_stream(reinterpret_cast<StreamId>(stream_))) {}
  Recording(const Recording&) = delete;
  Recording& operator=(const Recording&) = delete;
  ~Recording() {
    set_current_stream(before_);
    set_cells(cells_);
    give_back(stream_);
  }

  cudaGraph_t of(const std::function<void()>& launches) {
    cudaGraph_t graph = nullptr;
    check(cudaStreamBeginCapture(stream_, cudaStreamCaptureModeRelaxed), "graph");
    try {
      launches();
    } catch (...) {
      cudaStreamEndCapture(stream_, &graph);
      if (graph) cudaGraphDestroy(graph);
      cudaGetLastError();
      throw;
    }
    check(cudaStreamEndCapture(stream_, &graph), "graph");
    return graph;
  }

 private:
  const Pool::Use memory_;
  const cudaStream_t stream_;
  Cells* const cells_;  // before
  const StreamId before_;
};

}  // namespace

class Graph::Impl {
 public:
  Impl(const std::function<void()>& launches, std::vector<HostRange> fixed)
      : cells_(std::move(fixed)) {
    cudaGraph_t graph = nullptr;
    try {
      graph = Recording(pool_, &cells_).of(launches);
    } catch (const Error& e) {
      if (e.kind() != ErrorKind::OutOfMemory) throw;
      // Now what is kept for use again can be given back.
      empty_cache();
      graph = Recording(pool_, &cells_).of(launches);
    }
    const cudaError_t made = cudaGraphInstantiate(&exec_, graph, 0);
    cudaGraphGetNodes(graph, nullptr, &nodes_);
    cudaGraphDestroy(graph);
    check(made, "graph");
  }
  Impl(const Impl&) = delete;
  Impl& operator=(const Impl&) = delete;
  // What it has begun must be done before its memory is another's.
  ~Impl() {
    cudaStreamSynchronize(stream_of(last_));
    cudaGraphExecDestroy(exec_);
  }

  void run() {
    cells_.write();
    last_ = current_stream();
    check(cudaGraphLaunch(exec_, stream_of(last_)), "graph");
    if (launches_block()) synchronize_stream(last_);
  }
  size_t nodes() const { return nodes_; }

 private:
  Pool pool_;  // outlives what uses its memory
  Cells cells_;
  cudaGraphExec_t exec_ = nullptr;
  size_t nodes_ = 0;
  StreamId last_ = default_stream();
};

Graph::Graph(const std::function<void()>& launches, std::vector<HostRange> fixed)
    : impl_(std::make_unique<Impl>(launches, std::move(fixed))) {}
Graph::~Graph() = default;
void Graph::run() {
  impl_->run();
}
size_t Graph::nodes() const {
  return impl_->nodes();
}

// A copy from or to memory of the host's that is not pinned waits for it, and what runs on the
// processor reads its numbers: neither can be part of a graph.
bool Graph::takes(const Launch& l) {
  if (l.device != Device::CUDA || l.kernel == id(Kernel::Transfer)) return false;
  return kernel_of(l) != &run_on_host;
}

void copy_within(void* to, const void* from, size_t bytes) {
  if (bytes == 0) return;
  check(cudaMemcpyAsync(to, from, bytes, cudaMemcpyDeviceToDevice, stream()), "copy");
}

}  // namespace wengert::cuda
