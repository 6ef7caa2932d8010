// Streams, events, capture and graphs: the calls themselves.
#include <algorithm>
#include <chrono>
#include <memory>

#include "cuda_emulator.h"
#include "machine.h"

using cuda_emulator::call;
using cuda_emulator::Capture;
using cuda_emulator::Machine;
using cuda_emulator::Record;

cudaError_t cudaStreamCreate(cudaStream_t* pStream) {
  return cudaStreamCreateWithPriority(pStream, cudaStreamDefault, 0);
}

cudaError_t cudaStreamCreateWithFlags(cudaStream_t* pStream, unsigned flags) {
  return cudaStreamCreateWithPriority(pStream, flags, 0);
}

cudaError_t cudaStreamCreateWithPriority(cudaStream_t* pStream, unsigned flags, int priority) {
  return call([&](Machine& m) {
    if (pStream == nullptr || flags > cudaStreamNonBlocking) return cudaErrorInvalidValue;
    *pStream = m.make_stream(flags, std::clamp(priority, -5, 0));
    return cudaSuccess;
  });
}

cudaError_t cudaStreamGetPriority(cudaStream_t hStream, int* priority) {
  return call([&](Machine& m) {
    const auto stream = m.stream(hStream);
    if (stream == nullptr) return cudaErrorInvalidResourceHandle;
    *priority = stream->priority;
    return cudaSuccess;
  });
}

cudaError_t cudaStreamGetFlags(cudaStream_t hStream, unsigned* flags) {
  return call([&](Machine& m) {
    const auto stream = m.stream(hStream);
    if (stream == nullptr) return cudaErrorInvalidResourceHandle;
    *flags = stream->flags;
    return cudaSuccess;
  });
}

cudaError_t cudaStreamGetDevice(cudaStream_t hStream, int* device) {
  return call([&](Machine& m) {
    if (m.stream(hStream) == nullptr) return cudaErrorInvalidResourceHandle;
    *device = 0;
    return cudaSuccess;
  });
}

cudaError_t cudaStreamDestroy(cudaStream_t stream) {
  return call([&](Machine& m) { return m.destroy_stream(stream); });
}

cudaError_t cudaStreamSynchronize(cudaStream_t stream) {
  return call([&](Machine& m) {
    const auto target = m.stream(stream);
    if (target == nullptr) return cudaErrorInvalidResourceHandle;
    if (const cudaError_t error = m.unsafe_wait(*target)) return error;
    m.run(*target);
    return cudaSuccess;
  });
}

cudaError_t cudaStreamQuery(cudaStream_t stream) {
  return call([&](Machine& m) {
    const auto target = m.stream(stream);
    if (target == nullptr) return cudaErrorInvalidResourceHandle;
    if (const cudaError_t error = m.unsafe_wait(*target)) return error;
    if (target->queue.empty()) return cudaSuccess;
    m.run(*target, target->queue.front().sequence);  // so that asking again and again ends
    return cudaErrorNotReady;
  });
}

cudaError_t cudaStreamWaitEvent(cudaStream_t stream, cudaEvent_t event, unsigned /*flags*/) {
  return call([&](Machine& m) {
    const auto target = m.stream(stream);
    if (target == nullptr || !m.events.contains(event)) return cudaErrorInvalidResourceHandle;
    return m.submit_wait(*target, *event);
  });
}

cudaError_t cudaLaunchHostFunc(cudaStream_t stream, cudaHostFn_t fn, void* userData) {
  return call([&](Machine& m) {
    const auto target = m.stream(stream);
    if (target == nullptr) return cudaErrorInvalidResourceHandle;
    if (fn == nullptr) return cudaErrorInvalidValue;
    return m.submit(
        *target, cudaGraphNodeTypeHost, [fn, userData] { fn(userData); },
        cuda_emulator::Runs::kOnHost);
  });
}

cudaError_t cudaEventCreate(cudaEvent_t* event) {
  return cudaEventCreateWithFlags(event, cudaEventDefault);
}

cudaError_t cudaEventCreateWithFlags(cudaEvent_t* event, unsigned flags) {
  return call([&](Machine& m) {
    if (event == nullptr) return cudaErrorInvalidValue;
    auto made = std::make_unique<CUevent_st>();
    made->flags = flags;
    *event = made.get();
    m.events.emplace(*event, std::move(made));
    return cudaSuccess;
  });
}

cudaError_t cudaEventDestroy(cudaEvent_t event) {
  return call([&](Machine& m) {
    return m.events.erase(event) == 1 ? cudaSuccess : cudaErrorInvalidResourceHandle;
  });
}

cudaError_t cudaEventRecord(cudaEvent_t event, cudaStream_t stream) {
  return call([&](Machine& m) {
    const auto target = m.stream(stream);
    if (target == nullptr || !m.events.contains(event)) return cudaErrorInvalidResourceHandle;
    return m.submit_record(target, *event);
  });
}

namespace {

// Waiting for an event of a capture, or for any event during one, breaks the capture.
cudaError_t waitable(Machine& m, cudaEvent_t event) {
  if (!m.events.contains(event)) return cudaErrorInvalidResourceHandle;
  if (event->capture != nullptr) {
    event->capture->invalid = true;
    return cudaErrorCapturedEvent;
  }
  return m.unsafe_call();
}

}  // namespace

cudaError_t cudaEventSynchronize(cudaEvent_t event) {
  return call([&](Machine& m) {
    if (const cudaError_t error = waitable(m, event)) return error;
    const auto record = event->record;
    if (record != nullptr && !record->done) m.run(*record->stream, record->sequence);
    return cudaSuccess;
  });
}

cudaError_t cudaEventQuery(cudaEvent_t event) {
  return call([&](Machine& m) {
    if (const cudaError_t error = waitable(m, event)) return error;
    const auto record = event->record;
    if (record == nullptr || record->done) return cudaSuccess;
    m.run(*record->stream, record->stream->queue.front().sequence);
    return cudaErrorNotReady;
  });
}

cudaError_t cudaEventElapsedTime(float* ms, cudaEvent_t start, cudaEvent_t end) {
  return call([&](Machine& m) {
    for (const cudaEvent_t event : {start, end}) {
      if (!m.events.contains(event) || event->flags & cudaEventDisableTiming) {
        return cudaErrorInvalidResourceHandle;
      }
      if (event->capture != nullptr) return cudaErrorCapturedEvent;
      if (event->record == nullptr) return cudaErrorInvalidResourceHandle;
    }
    if (!start->record->done || !end->record->done) return cudaErrorNotReady;
    *ms = std::chrono::duration<float, std::milli>(end->record->when - start->record->when).count();
    return cudaSuccess;
  });
}

cudaError_t cudaStreamBeginCapture(cudaStream_t stream, cudaStreamCaptureMode mode) {
  return call([&](Machine& m) {
    const auto target = m.stream(stream);
    if (target == nullptr) return cudaErrorInvalidResourceHandle;
    if (target == m.streams.front()) return cudaErrorStreamCaptureUnsupported;
    if (target->capture != nullptr) {
      target->capture->invalid = true;
      return cudaErrorIllegalState;
    }
    auto graph = std::make_shared<CUgraph_st>();
    auto capture = std::make_shared<Capture>();
    capture->id = ++m.captures_begun;
    capture->mode = mode;
    capture->thread = std::this_thread::get_id();
    capture->origin = target.get();
    capture->graph = graph.get();
    m.graphs.emplace(graph.get(), std::move(graph));
    m.captures.push_back(capture);
    target->capture = std::move(capture);
    target->tail.clear();
    return cudaSuccess;
  });
}

namespace {

// Every stream that joined must have been waited for: its last nodes come before the origin's.
bool is_joined(const Machine& m, const CUstream_st& origin) {
  const auto& nodes = origin.capture->graph->nodes;
  std::vector<char> reached(nodes.size(), 0);
  std::vector<size_t> open = origin.tail;
  while (!open.empty()) {
    const size_t node = open.back();
    open.pop_back();
    if (reached[node]) continue;
    reached[node] = 1;
    open.insert(open.end(), nodes[node]->after.begin(), nodes[node]->after.end());
  }
  for (const auto& stream : m.streams) {
    if (stream->capture != origin.capture) continue;
    for (const size_t node : stream->tail) {
      if (!reached[node]) return false;
    }
  }
  return true;
}

}  // namespace

cudaError_t cudaStreamEndCapture(cudaStream_t stream, cudaGraph_t* pGraph) {
  return call([&](Machine& m) {
    const auto target = m.stream(stream);
    if (target == nullptr || pGraph == nullptr) return cudaErrorInvalidValue;
    *pGraph = nullptr;
    const auto capture = target->capture;
    if (capture == nullptr) return cudaErrorIllegalState;
    if (capture->origin != target.get()) {
      capture->invalid = true;
      return cudaErrorStreamCaptureUnmatched;
    }
    if (capture->mode != cudaStreamCaptureModeRelaxed &&
        capture->thread != std::this_thread::get_id()) {
      return cudaErrorStreamCaptureWrongThread;
    }
    const cudaError_t error = capture->invalid         ? cudaErrorStreamCaptureInvalidated
                              : !is_joined(m, *target) ? cudaErrorStreamCaptureUnjoined
                                                       : cudaSuccess;
    capture->ended = true;
    std::erase(m.captures, capture);
    for (const auto& member : m.streams) {
      if (member->capture != capture) continue;
      member->capture = nullptr;
      member->tail.clear();
    }
    if (error != cudaSuccess) {
      m.graphs.erase(capture->graph);
    } else {
      *pGraph = capture->graph;
    }
    return error;
  });
}

cudaError_t cudaStreamIsCapturing(cudaStream_t stream, cudaStreamCaptureStatus* pCaptureStatus) {
  return cudaStreamGetCaptureInfo(stream, pCaptureStatus);
}

cudaError_t cudaStreamGetCaptureInfo(cudaStream_t stream, cudaStreamCaptureStatus* status,
                                     unsigned long long* id, cudaGraph_t* graph,
                                     const cudaGraphNode_t** dependencies,
                                     const cudaGraphEdgeData** edges, size_t* count) {
  return call([&](Machine& m) {
    const auto target = m.stream(stream);
    if (target == nullptr) return cudaErrorInvalidResourceHandle;
    if (status == nullptr) return cudaErrorInvalidValue;
    const auto capture = target->capture;
    *status = capture == nullptr ? cudaStreamCaptureStatusNone
              : capture->invalid ? cudaStreamCaptureStatusInvalidated
                                 : cudaStreamCaptureStatusActive;
    if (capture == nullptr) return cudaSuccess;
    if (id != nullptr) *id = capture->id;
    if (graph != nullptr) *graph = capture->graph;
    if (dependencies != nullptr) *dependencies = nullptr;
    if (edges != nullptr) *edges = nullptr;
    if (count != nullptr) *count = target->tail.size();
    return cudaSuccess;
  });
}

cudaError_t cudaThreadExchangeStreamCaptureMode(cudaStreamCaptureMode* mode) {
  return call([&](Machine&) {
    if (mode == nullptr) return cudaErrorInvalidValue;
    std::swap(*mode, cuda_emulator::thread_capture_mode());
    return cudaSuccess;
  });
}

cudaError_t cudaGraphInstantiate(cudaGraphExec_t* pGraphExec, cudaGraph_t graph,
                                 unsigned long long /*flags*/) {
  return call([&](Machine& m) {
    const auto found = m.graphs.find(graph);
    if (pGraphExec == nullptr || found == m.graphs.end()) return cudaErrorInvalidValue;
    auto made = std::make_unique<CUgraphExec_st>();
    made->graph = std::make_shared<const CUgraph_st>(*found->second);
    *pGraphExec = made.get();
    m.executables.emplace(*pGraphExec, std::move(made));
    return cudaSuccess;
  });
}

cudaError_t cudaGraphInstantiateWithFlags(cudaGraphExec_t* pGraphExec, cudaGraph_t graph,
                                          unsigned long long flags) {
  return cudaGraphInstantiate(pGraphExec, graph, flags);
}

cudaError_t cudaGraphUpload(cudaGraphExec_t graphExec, cudaStream_t stream) {
  return call([&](Machine& m) {
    if (!m.executables.contains(graphExec)) return cudaErrorInvalidValue;
    return m.stream(stream) == nullptr ? cudaErrorInvalidResourceHandle : cudaSuccess;
  });
}

cudaError_t cudaGraphLaunch(cudaGraphExec_t graphExec, cudaStream_t stream) {
  return call([&](Machine& m) {
    const auto target = m.stream(stream);
    if (target == nullptr) return cudaErrorInvalidResourceHandle;
    if (!m.executables.contains(graphExec)) return cudaErrorInvalidValue;
    return m.submit(*target, cudaGraphNodeTypeGraph,
                    [&m, graph = graphExec->graph] { m.run_graph(*graph); });
  });
}

cudaError_t cudaGraphExecDestroy(cudaGraphExec_t graphExec) {
  return call([&](Machine& m) {
    return m.executables.erase(graphExec) == 1 ? cudaSuccess : cudaErrorInvalidValue;
  });
}

cudaError_t cudaGraphDestroy(cudaGraph_t graph) {
  return call(
      [&](Machine& m) { return m.graphs.erase(graph) == 1 ? cudaSuccess : cudaErrorInvalidValue; });
}

cudaError_t cudaGraphGetNodes(cudaGraph_t graph, cudaGraphNode_t* nodes, size_t* numNodes) {
  return call([&](Machine& m) {
    if (numNodes == nullptr || !m.graphs.contains(graph)) return cudaErrorInvalidValue;
    if (nodes != nullptr) {
      for (size_t i = 0; i < *numNodes; ++i) {
        nodes[i] = i < graph->nodes.size() ? graph->nodes[i].get() : nullptr;
      }
      *numNodes = std::min(*numNodes, graph->nodes.size());
    } else {
      *numNodes = graph->nodes.size();
    }
    return cudaSuccess;
  });
}

cudaError_t cudaGraphNodeGetType(cudaGraphNode_t node, cudaGraphNodeType* pType) {
  return call([&](Machine&) {
    if (node == nullptr || pType == nullptr) return cudaErrorInvalidValue;
    *pType = node->type;
    return cudaSuccess;
  });
}
