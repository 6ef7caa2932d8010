#include "kernels/cuda/graph.h"

#include "core/error.h"

namespace wengert::cuda {

class Graph::Impl {
 public:
  Impl(const std::function<void()>& launches, std::vector<HostRange> fixed)
      : cells_(std::move(fixed)) {
    const cudaStream_t s = stream();
    cudaGraph_t graph = nullptr;
    {
      const Pool::Use memory(pool_);
      struct Recording {
        Cells* before;
        explicit Recording(Cells* cells) : before(set_cells(cells)) {}
        Recording(const Recording&) = delete;
        Recording& operator=(const Recording&) = delete;
        ~Recording() { set_cells(before); }
      } const recording(&cells_);
      check(cudaStreamBeginCapture(s, cudaStreamCaptureModeRelaxed), "graph");
      try {
        launches();
      } catch (...) {
        cudaStreamEndCapture(s, &graph);
        if (graph) cudaGraphDestroy(graph);
        cudaGetLastError();
        throw;
      }
      check(cudaStreamEndCapture(s, &graph), "graph");
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
