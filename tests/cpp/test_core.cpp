// The allocator, shapes and tensors.
#include <gtest/gtest.h>

#include <cstring>
#include <thread>
#include <vector>

#include "core/tensor.h"
#include "ops/ops.h"

namespace wengert {
namespace {

TEST(Allocator, BlocksAreAlignedAndCounted) {
  for (size_t bytes :
       {size_t{0}, size_t{1}, size_t{64}, size_t{65}, size_t{1024}, size_t{1025}, size_t{4000},
        size_t{32768}, size_t{32769}, size_t{1} << 20, (size_t{1} << 22) + 1}) {
    const MemoryStats before = memory_stats();
    void* p = allocate(bytes);
    EXPECT_EQ(reinterpret_cast<uintptr_t>(p) % kAlignment, 0u) << bytes;
    std::memset(p, 1, bytes);
    const MemoryStats during = memory_stats();
    EXPECT_GE(during.current_bytes - before.current_bytes, static_cast<int64_t>(bytes));
    EXPECT_LE(during.current_bytes - before.current_bytes,
              static_cast<int64_t>(bytes * 5 / 4 + 64));
    EXPECT_EQ(during.current_blocks, before.current_blocks + 1);
    deallocate(p, bytes);
    EXPECT_EQ(memory_stats().current_bytes, before.current_bytes);
  }
}

TEST(Allocator, BlocksDoNotOverlap) {
  std::vector<std::pair<unsigned char*, size_t>> blocks;
  for (size_t i = 0; i < 2000; ++i) {
    const size_t bytes = (i * 7919) % 5000 + 1;
    auto* p = static_cast<unsigned char*>(allocate(bytes));
    std::memset(p, static_cast<int>(i & 255), bytes);
    blocks.emplace_back(p, bytes);
  }
  for (size_t i = 0; i < blocks.size(); ++i) {
    for (size_t k = 0; k < blocks[i].second; ++k) ASSERT_EQ(blocks[i].first[k], i & 255);
    deallocate(blocks[i].first, blocks[i].second);
  }
}

TEST(Allocator, FreedByAnotherThread) {
  const int64_t before = memory_stats().current_blocks;
  for (int round = 0; round < 20; ++round) {
    std::vector<void*> blocks;
    for (int i = 0; i < 500; ++i) blocks.push_back(allocate(512));
    std::thread([&] {
      for (void* p : blocks) deallocate(p, 512);
    }).join();
  }
  EXPECT_EQ(memory_stats().current_blocks, before);
}

TEST(Allocator, ImpossibleRequestThrowsAndLeavesItUsable) {
  EXPECT_THROW(allocate(size_t{1} << 60), Error);
  deallocate(allocate(100), 100);
}

TEST(Allocator, PeakFollowsLargeBlocks) {
  reset_peak_memory_stats();
  const int64_t before = memory_stats().current_bytes;
  void* p = allocate(size_t{8} << 20);
  deallocate(p, size_t{8} << 20);
  EXPECT_GE(memory_stats().peak_bytes - before, int64_t{8} << 20);
}

TEST(Dims, BroadcastShapes) {
  EXPECT_EQ(broadcast_shapes("op", {2, 3}, {3}), (Dims{2, 3}));
  EXPECT_EQ(broadcast_shapes("op", {2, 1}, {1, 4}), (Dims{2, 4}));
  EXPECT_EQ(broadcast_shapes("op", {}, {0, 4}), (Dims{0, 4}));
  EXPECT_EQ(broadcast_shapes("op", {1}, {0}), (Dims{0}));
  EXPECT_THROW(broadcast_shapes("op", {2, 3}, {4}), Error);
  EXPECT_THROW(broadcast_shapes("op", {0}, {2}), Error);
}

TEST(Dims, ErrorsNameOperationAndShapes) {
  try {
    broadcast_shapes("add", {2, 3}, {4});
    FAIL();
  } catch (const Error& e) {
    const std::string message = e.what();
    EXPECT_EQ(message.rfind("add: ", 0), 0u);
    EXPECT_NE(message.find("(2, 3)"), std::string::npos);
    EXPECT_NE(message.find("(4,)"), std::string::npos);
  }
}

TEST(Dims, TooManyDimensionsThrow) {
  Dims d = Dims::filled(kMaxDims, 1);
  EXPECT_THROW(d.push_back(1), Error);
}

TEST(Dims, Contiguity) {
  EXPECT_TRUE(is_contiguous({2, 3}, {3, 1}));
  EXPECT_TRUE(is_contiguous({2, 1, 3}, {3, 77, 1}));
  EXPECT_FALSE(is_contiguous({2, 3}, {1, 2}));
  EXPECT_TRUE(is_contiguous({0, 3}, {1, 2}));
}

TEST(Tensor, SizesAreChecked) {
  EXPECT_THROW(Tensor::empty({-1}, DType::Float32), Error);
  EXPECT_THROW(Tensor::empty({int64_t{1} << 40, int64_t{1} << 40}, DType::Float32), Error);
  EXPECT_EQ(Tensor::empty({0, 5}, DType::Float32).numel(), 0);
}

TEST(Tensor, ViewsShareStorage) {
  const Tensor t = ops::zeros({4, 3}, DType::Float32);
  const Tensor v = t.view({2, 3}, {6, 1}, 3);
  v.data<float>()[0] = 5;
  EXPECT_EQ(t.data<float>()[3], 5);
  EXPECT_EQ(v.offset(), 3);
  EXPECT_EQ(v->storage.get(), t->storage.get());
}

}  // namespace
}  // namespace wengert
