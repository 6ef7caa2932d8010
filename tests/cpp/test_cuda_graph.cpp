// Graphs of launches on the CUDA device, by themselves: what recording one leaves alone.
#include <gtest/gtest.h>

#include <thread>

#include "core/device_memory.h"
#include "core/tensor.h"
#include "kernels/cuda/cuda.h"
#include "kernels/launch.h"

namespace wengert {
namespace {

constexpr int64_t kCount = 100;

Tensor made(int64_t count = kCount) {
  const int64_t sizes[] = {count};
  return Tensor::empty(Dims(sizes, 1), DType::Float32, Device::CUDA);
}

void fill(const Tensor& t, double value) {
  Launch l;
  l.kernel = id(Kernel::Fill);
  l.dtype = t.dtype();
  l.device = Device::CUDA;
  l.dense = true;
  l.ndim = l.nbuffers = 1;
  l.count = l.size[0] = t.numel();
  l.number[0] = value;
  l.buffer[0].data = t->data;
  l.buffer[0].storage = t->storage.get();
  l.buffer[0].dtype = t.dtype();
  l.buffer[0].stride[0] = 1;
  launch(l);
}

float last_of(const Tensor& t) {
  float x = 0;
  read_memory(&x, t->data + (t.numel() - 1) * static_cast<int64_t>(sizeof x), sizeof x, t.device());
  return x;
}

class CudaGraph : public testing::Test {
 protected:
  void SetUp() override {
    if (!cuda::is_available()) GTEST_SKIP() << cuda::why_none();
    cuda::require();
  }
};

TEST_F(CudaGraph, WhatOtherThreadsLaunchMeanwhileRuns) {
  const Tensor mine = made(), other = made();
  fill(mine, 1);
  float seen = 0;
  cuda::Graph g(
      [&] {
        fill(mine, 2);
        std::thread([&] {
          fill(other, 3);
          seen = last_of(other);
        }).join();
      },
      {});
  EXPECT_EQ(seen, 3);
  EXPECT_EQ(g.nodes(), 1u);
  EXPECT_EQ(last_of(mine), 1);
  fill(other, 4);
  g.run();
  EXPECT_EQ(last_of(mine), 2);
  EXPECT_EQ(last_of(other), 4);
}

TEST_F(CudaGraph, IsRecordedWhereLaunchesBlock) {
  const Tensor t = made();
  fill(t, 1);
  cuda::set_launches_block(true);
  cuda::Graph g([&] { fill(t, 2); }, {});
  EXPECT_EQ(last_of(t), 1);
  g.run();
  EXPECT_TRUE(cuda::stream_done(cuda::current_stream()));
  cuda::set_launches_block(false);
  EXPECT_EQ(last_of(t), 2);
}

TEST_F(CudaGraph, TakesMemoryThatWasKeptForUseAgain) {
  constexpr int64_t kLarge = 8 << 20;
  const Tensor t = made();
  fill(t, 1);
  fill(made(kLarge), 1);  // kept, for the stream
  size_t free = 0, total = 0;
  cuda::memory_info(free, total);
  const auto reserved = static_cast<double>(cuda::memory_stats().reserved);
  cuda::set_memory_fraction((reserved + kLarge) / static_cast<double>(total));
  cuda::Graph g(
      [&] {
        fill(t, 2);
        fill(made(kLarge), 2);
      },
      {});
  cuda::set_memory_fraction(1);
  g.run();
  EXPECT_EQ(last_of(t), 2);
  EXPECT_EQ(g.nodes(), 2u);
}

TEST_F(CudaGraph, LeavesItsMemoryToOthers) {
  constexpr int64_t kLarge = 16 << 20;
  const cuda::StreamId other = cuda::make_stream(0);
  cuda::Graph(
      [&] {
        const Tensor t = made(kLarge);
        fill(t, 1);
        cuda::record_stream(*t->storage, other);
      },
      {})
      .run();
  cuda::synchronize();
  const int64_t segments = cuda::memory_stats().segments;
  const Tensor t = made(kLarge);
  EXPECT_EQ(cuda::memory_stats().segments, segments);
}

}  // namespace
}  // namespace wengert
