// The CUDA emulator's runtime: streams, memory, capture.
#include <cuda_runtime.h>
#include <gtest/gtest.h>

#include <string>
#include <thread>
#include <vector>

namespace {

using cuda_emulator::launch;

#define CHECK_CUDA(call) ASSERT_EQ((call), cudaSuccess)

const char* const kOrders[] = {"forward", "reverse", "random:1", "random:7"};

__global__ void add(int* p, int value) {
  *p += value;
}
__global__ void multiply(int* p, int value) {
  *p *= value;
}

void launch_add(int* p, int value, cudaStream_t stream) {
  launch(1, 1, 0, stream, [=] { add(p, value); });
}
void launch_multiply(int* p, int value, cudaStream_t stream) {
  launch(1, 1, 0, stream, [=] { multiply(p, value); });
}

class CudaEmulatorRuntime : public testing::Test {
 protected:
  void SetUp() override {
    testing::FLAGS_gtest_death_test_style = "threadsafe";
    cuda_emulator::set_order("forward");
    CHECK_CUDA(cudaMalloc(&cell_, sizeof(int)));
    CHECK_CUDA(cudaHostAlloc(&pinned_, sizeof(int), cudaHostAllocDefault));
    CHECK_CUDA(cudaMemset(cell_, 0, sizeof(int)));
    for (auto& stream : streams_) {
      CHECK_CUDA(cudaStreamCreateWithFlags(&stream, cudaStreamNonBlocking));
    }
    CHECK_CUDA(cudaEventCreate(&event_));
    CHECK_CUDA(cudaEventCreate(&other_event_));
    CHECK_CUDA(cudaDeviceSynchronize());
    *pinned_ = 0;
  }
  void TearDown() override {
    cudaDeviceReset();
    for (auto& stream : streams_) EXPECT_EQ(cudaStreamDestroy(stream), cudaSuccess);
    EXPECT_EQ(cudaEventDestroy(event_), cudaSuccess);
    EXPECT_EQ(cudaEventDestroy(other_event_), cudaSuccess);
    EXPECT_EQ(cudaFree(cell_), cudaSuccess);
    EXPECT_EQ(cudaFreeHost(pinned_), cudaSuccess);
    EXPECT_EQ(cuda_emulator::queued(), 0u);
    cuda_emulator::set_order("forward");
  }
  int value() {
    int got = 0;
    cudaDeviceSynchronize();
    EXPECT_EQ(cudaMemcpy(&got, cell_, sizeof got, cudaMemcpyDeviceToHost), cudaSuccess);
    return got;
  }

  int* cell_ = nullptr;
  int* pinned_ = nullptr;
  cudaStream_t streams_[3] = {};
  cudaEvent_t event_ = nullptr, other_event_ = nullptr;
};

TEST_F(CudaEmulatorRuntime, WorkWaitsUntilSomethingAsksForIt) {
  launch_add(cell_, 5, streams_[0]);
  CHECK_CUDA(cudaMemcpyAsync(pinned_, cell_, sizeof(int), cudaMemcpyDeviceToHost, streams_[0]));
  EXPECT_EQ(*pinned_, 0);  // nobody has waited
  EXPECT_EQ(cuda_emulator::queued(), 2u);
  EXPECT_EQ(cudaStreamQuery(streams_[0]), cudaErrorNotReady);
  EXPECT_EQ(cudaGetLastError(), cudaErrorNotReady);
  CHECK_CUDA(cudaStreamSynchronize(streams_[0]));
  EXPECT_EQ(*pinned_, 5);
  EXPECT_EQ(cudaStreamQuery(streams_[0]), cudaSuccess);
}

TEST_F(CudaEmulatorRuntime, PageableMemoryIsReadAtTheCallAndPinnedMemoryLater) {
  int pageable = 3;
  *pinned_ = 3;
  CHECK_CUDA(cudaMemcpyAsync(cell_, &pageable, sizeof(int), cudaMemcpyHostToDevice, streams_[0]));
  pageable = 4;
  EXPECT_EQ(value(), 3);
  CHECK_CUDA(cudaMemcpyAsync(cell_, pinned_, sizeof(int), cudaMemcpyHostToDevice, streams_[0]));
  *pinned_ = 4;
  EXPECT_EQ(value(), 4);
  CHECK_CUDA(cudaMemcpyAsync(&pageable, cell_, sizeof(int), cudaMemcpyDeviceToHost, streams_[0]));
  EXPECT_EQ(pageable, 4);  // this one waits
}

TEST_F(CudaEmulatorRuntime, EventsOrderStreams) {
  for (const char* order : kOrders) {
    cuda_emulator::set_order(order);
    CHECK_CUDA(cudaMemset(cell_, 0, sizeof(int)));
    CHECK_CUDA(cudaDeviceSynchronize());
    launch_add(cell_, 2, streams_[2]);
    CHECK_CUDA(cudaEventRecord(event_, streams_[2]));
    CHECK_CUDA(cudaStreamWaitEvent(streams_[0], event_));
    launch_multiply(cell_, 10, streams_[0]);
    CHECK_CUDA(cudaEventRecord(event_, streams_[0]));
    CHECK_CUDA(cudaStreamWaitEvent(streams_[1], event_));
    launch_add(cell_, 3, streams_[1]);
    CHECK_CUDA(cudaStreamSynchronize(streams_[1]));
    EXPECT_EQ(value(), 23) << order;
  }
}

TEST_F(CudaEmulatorRuntime, AMissingEventShowsInSomeOrder) {
  const auto result = [&](const char* order) {
    cuda_emulator::set_order(order);
    cudaMemset(cell_, 0, sizeof(int));
    cudaDeviceSynchronize();
    launch_add(cell_, 2, streams_[0]);
    launch_multiply(cell_, 10, streams_[1]);
    return value();
  };
  EXPECT_EQ(result("forward"), 20);
  EXPECT_EQ(result("reverse"), 2);
}

TEST_F(CudaEmulatorRuntime, OnlyWhatIsNeededRuns) {
  launch_add(cell_, 1, streams_[0]);
  CHECK_CUDA(cudaEventRecord(event_, streams_[0]));
  launch_add(cell_, 1, streams_[0]);
  launch_add(cell_, 1, streams_[1]);
  EXPECT_EQ(cudaEventQuery(event_), cudaErrorNotReady);
  CHECK_CUDA(cudaEventSynchronize(event_));
  CHECK_CUDA(cudaEventQuery(event_));
  EXPECT_EQ(cuda_emulator::queued(), 2u);
  float ms = -1;
  CHECK_CUDA(cudaEventRecord(other_event_, streams_[0]));
  EXPECT_EQ(cudaEventElapsedTime(&ms, event_, other_event_), cudaErrorNotReady);
  CHECK_CUDA(cudaEventSynchronize(other_event_));
  CHECK_CUDA(cudaEventElapsedTime(&ms, event_, other_event_));
  EXPECT_GE(ms, 0);
}

TEST_F(CudaEmulatorRuntime, TheLegacyStreamWaitsForBlockingStreams) {
  for (const char* order : kOrders) {
    cuda_emulator::set_order(order);
    cudaStream_t blocking;
    CHECK_CUDA(cudaStreamCreate(&blocking));
    CHECK_CUDA(cudaMemset(cell_, 0, sizeof(int)));
    launch_add(cell_, 2, blocking);
    launch_multiply(cell_, 10, nullptr);
    launch_add(cell_, 1, blocking);
    CHECK_CUDA(cudaStreamSynchronize(blocking));
    EXPECT_EQ(value(), 21) << order;
    launch_add(cell_, 1, blocking);
    CHECK_CUDA(cudaStreamDestroy(blocking));  // its work still runs
    EXPECT_EQ(value(), 22);
    EXPECT_EQ(cudaStreamSynchronize(blocking), cudaErrorInvalidResourceHandle);
  }
}

TEST_F(CudaEmulatorRuntime, ALongQueueRunsByItself) {
  for (int i = 0; i < 5000; ++i) launch_add(cell_, 1, streams_[0]);
  EXPECT_LT(cuda_emulator::queued(), 4097u);
  EXPECT_EQ(value(), 5000);
}

TEST_F(CudaEmulatorRuntime, HostFunctionsRunInTheStream) {
  struct Seen {
    int* pinned;
    int value;
    cudaError_t error;
  } seen{pinned_, -1, cudaSuccess};
  launch_add(cell_, 7, streams_[0]);
  cudaMemcpyAsync(pinned_, cell_, sizeof(int), cudaMemcpyDeviceToHost, streams_[0]);
  CHECK_CUDA(cudaLaunchHostFunc(
      streams_[0],
      [](void* data) {
        auto* to = static_cast<Seen*>(data);
        to->value = *to->pinned;
        to->error = cudaDeviceSynchronize();  // not allowed here
      },
      &seen));
  EXPECT_EQ(seen.value, -1);
  CHECK_CUDA(cudaStreamSynchronize(streams_[0]));
  EXPECT_EQ(seen.value, 7);
  EXPECT_EQ(seen.error, cudaErrorNotPermitted);
}

TEST_F(CudaEmulatorRuntime, TheHostCannotReachDeviceMemory) {
  launch_add(cell_, 7, streams_[0]);
  CHECK_CUDA(cudaDeviceSynchronize());
  EXPECT_DEATH(
      {
        volatile int got = *cell_;
        (void)got;
      },
      "");
  EXPECT_DEATH(*const_cast<volatile int*>(cell_) = 1, "");
}

TEST_F(CudaEmulatorRuntime, MemoryRunsOut) {
  size_t free = 0, total = 0;
  CHECK_CUDA(cudaMemGetInfo(&free, &total));
  void* p = &free;
  EXPECT_EQ(cudaMalloc(&p, total + 1), cudaErrorMemoryAllocation);
  EXPECT_EQ(p, nullptr);
  EXPECT_EQ(cudaGetLastError(), cudaErrorMemoryAllocation);
  EXPECT_EQ(cudaGetLastError(), cudaSuccess);
  CHECK_CUDA(cudaMalloc(&p, free / 2));
  void* q = nullptr;
  EXPECT_EQ(cudaMalloc(&q, free / 2 + 8192), cudaErrorMemoryAllocation);
  CHECK_CUDA(cudaFree(p));
  CHECK_CUDA(cudaMalloc(&q, free / 2 + 8192));
  CHECK_CUDA(cudaFree(q));
  EXPECT_EQ(cudaFree(q), cudaErrorInvalidValue);
  size_t after = 0;
  CHECK_CUDA(cudaMemGetInfo(&after, nullptr));
  EXPECT_EQ(after, free);
}

TEST_F(CudaEmulatorRuntime, FreshMemoryHoldsNothingUseful) {
  for (int round = 0; round < 2; ++round) {
    float* p = nullptr;
    CHECK_CUDA(cudaMalloc(&p, 1000 * sizeof(float)));
    std::vector<float> got(1000);
    CHECK_CUDA(cudaMemcpy(got.data(), p, 4000, cudaMemcpyDeviceToHost));
    for (const float x : got) ASSERT_TRUE(x != x);
    CHECK_CUDA(cudaMemset(p, 0, 4000));
    CHECK_CUDA(cudaFree(p));
  }
}

TEST_F(CudaEmulatorRuntime, FreedMemoryFaultsInAKernel) {
  EXPECT_DEATH(
      {
        int* p = nullptr;
        cudaMalloc(&p, 1 << 16);
        cudaFree(p);
        launch_add(p, 1, nullptr);
        cudaDeviceSynchronize();
      },
      "");
}

TEST_F(CudaEmulatorRuntime, StreamOrderedMemory) {
  int* p = nullptr;
  CHECK_CUDA(cudaMallocAsync(&p, sizeof(int), streams_[0]));
  CHECK_CUDA(cudaMemsetAsync(p, 0, sizeof(int), streams_[0]));
  launch_add(p, 4, streams_[0]);
  CHECK_CUDA(cudaMemcpyAsync(cell_, p, sizeof(int), cudaMemcpyDeviceToDevice, streams_[0]));
  CHECK_CUDA(cudaFreeAsync(p, streams_[0]));
  EXPECT_EQ(value(), 4);
  EXPECT_EQ(cudaFreeAsync(p, streams_[0]), cudaErrorInvalidValue);
}

TEST_F(CudaEmulatorRuntime, CopiesAreChecked) {
  int here[8] = {};
  EXPECT_EQ(cudaMemcpy(here, cell_, sizeof(int), cudaMemcpyHostToDevice), cudaErrorInvalidValue);
  EXPECT_EQ(cudaMemcpy(here, cell_, 2 * sizeof(int), cudaMemcpyDeviceToHost),
            cudaErrorInvalidValue);
  EXPECT_EQ(cudaMemcpy2D(here, 4, cell_, 8, 8, 1, cudaMemcpyDefault), cudaErrorInvalidPitchValue);
  cudaPointerAttributes attributes;
  CHECK_CUDA(cudaPointerGetAttributes(&attributes, cell_));
  EXPECT_EQ(attributes.type, cudaMemoryTypeDevice);
  CHECK_CUDA(cudaPointerGetAttributes(&attributes, pinned_));
  EXPECT_EQ(attributes.type, cudaMemoryTypeHost);
  CHECK_CUDA(cudaPointerGetAttributes(&attributes, here));
  EXPECT_EQ(attributes.type, cudaMemoryTypeUnregistered);
}

TEST_F(CudaEmulatorRuntime, CopiesInTwoDimensions) {
  const int from[6] = {1, 2, 3, 4, 5, 6};
  int to[8] = {};
  int* p = nullptr;
  CHECK_CUDA(cudaMalloc(&p, 8 * sizeof(int)));
  CHECK_CUDA(cudaMemset(p, 0, 8 * sizeof(int)));
  CHECK_CUDA(cudaDeviceSynchronize());
  CHECK_CUDA(cudaMemcpy2DAsync(p, 16, from, 12, 12, 2, cudaMemcpyHostToDevice, streams_[0]));
  CHECK_CUDA(cudaMemcpy2DAsync(to, 16, p, 16, 16, 2, cudaMemcpyDeviceToHost, streams_[0]));
  EXPECT_EQ(std::vector<int>(to, to + 8), (std::vector<int>{1, 2, 3, 0, 4, 5, 6, 0}));
  CHECK_CUDA(cudaFree(p));
}

TEST_F(CudaEmulatorRuntime, BadLaunchesAreTold) {
  const auto tried = [&](dim3 grid, dim3 block, size_t shared) {
    launch(grid, block, shared, nullptr, [] {});
    return cudaGetLastError();
  };
  EXPECT_EQ(tried(1, 1024, 163 * 1024), cudaSuccess);
  EXPECT_EQ(tried(0, 1, 0), cudaErrorInvalidConfiguration);
  EXPECT_EQ(tried(1, 1025, 0), cudaErrorInvalidConfiguration);
  EXPECT_EQ(tried(1, dim3(32, 33), 0), cudaErrorInvalidConfiguration);
  EXPECT_EQ(tried(dim3(1, 65536), 1, 0), cudaErrorInvalidConfiguration);
  EXPECT_EQ(tried(1, 1, 164 * 1024), cudaErrorInvalidConfiguration);
}

TEST_F(CudaEmulatorRuntime, ATrapStaysUntilTheDeviceIsReset) {
  int* const p = cell_;
  launch(2, 64, 0, streams_[0], [=] {
    __syncthreads();
    if (threadIdx.x == 33) __trap();
    __syncthreads();
    add(p, 1);
  });
  EXPECT_EQ(cudaStreamSynchronize(streams_[0]), cudaErrorLaunchFailure);
  EXPECT_EQ(cudaMalloc(reinterpret_cast<void**>(&pinned_), 1), cudaErrorLaunchFailure);
  EXPECT_EQ(cudaGetLastError(), cudaErrorLaunchFailure);
  CHECK_CUDA(cudaDeviceReset());
  EXPECT_EQ(value(), 0);
  launch(2, 64, 0, streams_[0], [=] {
    if (__syncthreads_count(1) == 64 && threadIdx.x == 0) add(p, 1);
  });
  EXPECT_EQ(value(), 2);
}

TEST_F(CudaEmulatorRuntime, CaptureAndReplay) {
  for (const char* order : kOrders) {
    cuda_emulator::set_order(order);
    CHECK_CUDA(cudaMemset(cell_, 0, sizeof(int)));
    CHECK_CUDA(cudaDeviceSynchronize());
    CHECK_CUDA(cudaStreamBeginCapture(streams_[0], cudaStreamCaptureModeThreadLocal));
    launch_add(cell_, 1, streams_[0]);
    launch_multiply(cell_, 2, streams_[0]);
    CHECK_CUDA(cudaMemcpyAsync(pinned_, cell_, sizeof(int), cudaMemcpyDeviceToHost, streams_[0]));
    cudaStreamCaptureStatus status;
    CHECK_CUDA(cudaStreamIsCapturing(streams_[0], &status));
    EXPECT_EQ(status, cudaStreamCaptureStatusActive);
    cudaGraph_t graph;
    CHECK_CUDA(cudaStreamEndCapture(streams_[0], &graph));
    size_t nodes = 0;
    CHECK_CUDA(cudaGraphGetNodes(graph, nullptr, &nodes));
    EXPECT_EQ(nodes, 3u);
    cudaGraphExec_t executable;
    CHECK_CUDA(cudaGraphInstantiate(&executable, graph));
    CHECK_CUDA(cudaGraphDestroy(graph));
    EXPECT_EQ(value(), 0);  // capturing ran nothing
    *pinned_ = 0;
    for (int i = 0; i < 3; ++i) CHECK_CUDA(cudaGraphLaunch(executable, streams_[1]));
    EXPECT_EQ(*pinned_, 0);
    CHECK_CUDA(cudaGraphExecDestroy(executable));  // what is queued keeps it
    CHECK_CUDA(cudaStreamSynchronize(streams_[1]));
    EXPECT_EQ(*pinned_, 14);
  }
}

TEST_F(CudaEmulatorRuntime, CaptureForksAndJoins) {
  for (const char* order : kOrders) {
    cuda_emulator::set_order(order);
    CHECK_CUDA(cudaMemset(cell_, 0, sizeof(int)));
    CHECK_CUDA(cudaDeviceSynchronize());
    CHECK_CUDA(cudaStreamBeginCapture(streams_[0], cudaStreamCaptureModeGlobal));
    launch_add(cell_, 3, streams_[0]);
    CHECK_CUDA(cudaEventRecord(event_, streams_[0]));
    CHECK_CUDA(cudaStreamWaitEvent(streams_[1], event_));
    launch_multiply(cell_, 5, streams_[1]);
    CHECK_CUDA(cudaEventRecord(other_event_, streams_[1]));
    CHECK_CUDA(cudaStreamWaitEvent(streams_[0], other_event_));
    launch_add(cell_, 1, streams_[0]);
    cudaGraph_t graph;
    CHECK_CUDA(cudaStreamEndCapture(streams_[0], &graph));
    cudaGraphExec_t executable;
    CHECK_CUDA(cudaGraphInstantiate(&executable, graph));
    CHECK_CUDA(cudaGraphDestroy(graph));
    CHECK_CUDA(cudaGraphLaunch(executable, streams_[2]));
    EXPECT_EQ(value(), 16) << order;
    CHECK_CUDA(cudaGraphExecDestroy(executable));
    EXPECT_EQ(cudaEventQuery(event_), cudaErrorCapturedEvent);
  }
}

TEST_F(CudaEmulatorRuntime, WhatCaptureForbids) {
  cudaGraph_t graph = nullptr;
  const auto broken_by = [&](cudaError_t want, auto call) {
    EXPECT_EQ(cudaStreamBeginCapture(streams_[0], cudaStreamCaptureModeGlobal), cudaSuccess);
    EXPECT_EQ(call(), want);
    launch_add(cell_, 1, streams_[0]);
    EXPECT_EQ(cudaGetLastError(), cudaErrorStreamCaptureInvalidated);
    EXPECT_EQ(cudaStreamEndCapture(streams_[0], &graph), cudaErrorStreamCaptureInvalidated);
    EXPECT_EQ(graph, nullptr);
    cudaGetLastError();
  };
  int pageable = 0;
  void* p = nullptr;
  const auto kNo = cudaErrorStreamCaptureUnsupported;
  broken_by(kNo, [&] { return cudaMalloc(&p, 4); });
  broken_by(kNo, [&] { return cudaStreamSynchronize(streams_[0]); });
  broken_by(kNo, [&] { return cudaStreamQuery(streams_[0]); });
  broken_by(kNo, [&] { return cudaDeviceSynchronize(); });
  broken_by(kNo, [&] {
    return cudaMemcpyAsync(cell_, &pageable, 4, cudaMemcpyHostToDevice, streams_[0]);
  });
  CHECK_CUDA(cudaEventRecord(event_, streams_[1]));
  broken_by(cudaErrorStreamCaptureIsolation,
            [&] { return cudaStreamWaitEvent(streams_[0], event_); });

  // Work that never comes back to the stream where capture began.
  CHECK_CUDA(cudaStreamBeginCapture(streams_[0], cudaStreamCaptureModeGlobal));
  CHECK_CUDA(cudaEventRecord(event_, streams_[0]));
  CHECK_CUDA(cudaStreamWaitEvent(streams_[1], event_));
  launch_add(cell_, 1, streams_[1]);
  EXPECT_EQ(cudaStreamEndCapture(streams_[0], &graph), cudaErrorStreamCaptureUnjoined);

  // A stream that the legacy stream would have to wait for.
  cudaStream_t blocking;
  CHECK_CUDA(cudaStreamCreate(&blocking));
  CHECK_CUDA(cudaStreamBeginCapture(blocking, cudaStreamCaptureModeRelaxed));
  EXPECT_EQ(cudaMemset(cell_, 0, 4), cudaErrorStreamCaptureImplicit);
  EXPECT_EQ(cudaStreamEndCapture(blocking, &graph), cudaErrorStreamCaptureInvalidated);
  CHECK_CUDA(cudaStreamDestroy(blocking));
  EXPECT_EQ(cudaStreamBeginCapture(nullptr, cudaStreamCaptureModeGlobal), kNo);

  // Relaxed capture allows allocation.
  CHECK_CUDA(cudaStreamBeginCapture(streams_[0], cudaStreamCaptureModeRelaxed));
  CHECK_CUDA(cudaMalloc(&p, 4));
  CHECK_CUDA(cudaStreamEndCapture(streams_[0], &graph));
  CHECK_CUDA(cudaGraphDestroy(graph));
  CHECK_CUDA(cudaFree(p));
}

TEST_F(CudaEmulatorRuntime, ThreadsMayCallAtOnce) {
  std::vector<std::thread> threads;
  for (int t = 0; t < 3; ++t) {
    threads.emplace_back([this, t] {
      for (int i = 0; i < 300; ++i) {
        launch_add(cell_, 1, streams_[t]);
        if (i % 17 == 0) cudaStreamSynchronize(streams_[t]);
      }
    });
  }
  for (auto& thread : threads) thread.join();
  EXPECT_EQ(value(), 900);
}

TEST_F(CudaEmulatorRuntime, TheDeviceDescribesItself) {
  cudaDeviceProp prop;
  CHECK_CUDA(cudaGetDeviceProperties(&prop, 0));
  EXPECT_EQ(std::string(prop.name), "wengert CUDA emulator");
  int value = 0;
  CHECK_CUDA(cudaDeviceGetAttribute(&value, cudaDevAttrMultiProcessorCount, 0));
  EXPECT_EQ(value, prop.multiProcessorCount);
  EXPECT_EQ(cudaSetDevice(1), cudaErrorInvalidDevice);
  EXPECT_EQ(std::string(cudaGetErrorName(cudaErrorInvalidDevice)), "cudaErrorInvalidDevice");
  cudaGetLastError();
}

}  // namespace
