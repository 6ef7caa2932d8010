// The thread pool: what ranges it hands out, who runs them, and that it lives through nesting,
// callers at the same time, and forks. See kernels/cpu/parallel.h.
#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstdint>
#include <cstdlib>
#include <mutex>
#include <thread>
#include <utility>
#include <vector>

#include "kernels/cpu/parallel.h"

namespace wengert {
namespace {

using Ranges = std::vector<std::pair<int64_t, int64_t>>;

Ranges ranges_of(int64_t n, int64_t grain) {
  Ranges ranges;
  std::mutex mutex;
  parallel_for(n, grain, [&](int64_t begin, int64_t end) {
    std::lock_guard lock(mutex);
    ranges.emplace_back(begin, end);
  });
  std::sort(ranges.begin(), ranges.end());
  return ranges;
}

// How many of `n` items were seen exactly once.
int64_t seen_once(int64_t n) {
  std::vector<std::atomic<int>> seen(static_cast<size_t>(n));
  parallel_for(n, 1, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) seen[i].fetch_add(1, std::memory_order_relaxed);
  });
  return std::count_if(seen.begin(), seen.end(), [](const auto& s) { return s.load() == 1; });
}

class Parallel : public testing::Test {
 protected:
  void SetUp() override { set_num_threads(4); }
  void TearDown() override { set_num_threads(1); }
};

// ThreadSanitizer cannot follow threads that a forked child starts.
#if defined(__SANITIZE_THREAD__)
constexpr bool kCanFork = false;
#else
constexpr bool kCanFork = true;
#endif

// Runs `f` in a forked child and returns what it returned; -1 if the child died or hung.
template <class F>
int in_child(F&& f) {
  const pid_t child = fork();
  if (child == 0) {
    alarm(20);
    std::exit(f());  // exit, not _exit: the child's own way out must work too
  }
  int status = 0;
  waitpid(child, &status, 0);
  return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

TEST_F(Parallel, PoolStartsAtFirstNeedOnly) {
  // In a process of its own, whatever ran before this test.
  const int code = in_child([] {
    if (pool_started()) return 1;
    set_num_threads(3);
    if (pool_started() || num_threads() != 3) return 2;
    parallel_for(10, 10, [](int64_t, int64_t) {});  // n <= grain: nobody is needed
    if (pool_started()) return 3;
    parallel_for(10, 1, [](int64_t, int64_t) {});
    return pool_started() ? 0 : 4;
  });
  EXPECT_EQ(code, 0);
}

TEST_F(Parallel, RangesCoverEachItemOnceInOrder) {
  const int64_t most = int64_t{1} << 60;
  for (int64_t n : {int64_t{0}, int64_t{1}, int64_t{2}, int64_t{3}, int64_t{4}, int64_t{5},
                    int64_t{7}, int64_t{100}, int64_t{1001}, most + 3}) {
    for (int64_t grain : {int64_t{0}, int64_t{1}, int64_t{2}, int64_t{26}, int64_t{1000}, most}) {
      SCOPED_TRACE(testing::Message() << "n " << n << " grain " << grain);
      const Ranges ranges = ranges_of(n, grain);
      int64_t next = 0;
      for (const auto& [begin, end] : ranges) {
        EXPECT_EQ(begin, next);
        EXPECT_LT(begin, end);
        if (n > grain) {
          EXPECT_GE(end - begin, grain);
        }
        next = end;
      }
      EXPECT_EQ(next, n);
      EXPECT_LE(ranges.size(), 4u);
    }
  }
  EXPECT_EQ(ranges_of(100, 1).size(), 4u);
  EXPECT_EQ(ranges_of(7, 2).size(), 3u);
}

TEST_F(Parallel, TheCallerRunsTheFirstRange) {
  std::thread::id first;
  parallel_for(100, 1, [&](int64_t begin, int64_t) {
    if (begin == 0) first = std::this_thread::get_id();
  });
  EXPECT_EQ(first, std::this_thread::get_id());
}

TEST_F(Parallel, ThreadCountMayChangeBetweenRegions) {
  for (int threads : {1, 8, 2, 5, 1, 3}) {
    set_num_threads(threads);
    EXPECT_EQ(num_threads(), threads);
    EXPECT_EQ(ranges_of(1000, 1).size(), static_cast<size_t>(threads));
    EXPECT_EQ(seen_once(1000), 1000);
  }
  set_num_threads(0);
  EXPECT_EQ(num_threads(), 1);
}

TEST_F(Parallel, NestedRegionsRunOnTheirCaller) {
  std::atomic<int> strangers{0}, inner{0};
  parallel_for(8, 1, [&](int64_t begin, int64_t end) {
    const auto self = std::this_thread::get_id();
    for (int64_t i = begin; i < end; ++i) {
      parallel_for(100, 1, [&](int64_t b, int64_t e) {
        inner += static_cast<int>(e - b);
        if (std::this_thread::get_id() != self) ++strangers;
      });
    }
  });
  EXPECT_EQ(inner.load(), 800);
  EXPECT_EQ(strangers.load(), 0);
}

TEST_F(Parallel, ManyCallersAtTheSameTime) {
  std::vector<std::thread> callers;
  std::atomic<int> wrong{0};
  for (int t = 0; t < 4; ++t) {
    callers.emplace_back([&] {
      for (int i = 0; i < 200; ++i) {
        if (seen_once(97) != 97) ++wrong;
      }
    });
  }
  for (auto& c : callers) c.join();
  EXPECT_EQ(wrong.load(), 0);
}

TEST_F(Parallel, WorkersWakeFromSleep) {
  for (int i = 0; i < 20; ++i) {
    std::this_thread::sleep_for(std::chrono::milliseconds(1));
    EXPECT_EQ(seen_once(64), 64);
  }
}

TEST_F(Parallel, AForkedChildHiresItsOwnWorkers) {
  if (!kCanFork) GTEST_SKIP() << "ThreadSanitizer";
  ASSERT_EQ(seen_once(100), 100);
  ASSERT_TRUE(pool_started());
  const int code = in_child([] {
    if (pool_started()) return 1;
    if (ranges_of(100, 1).size() != 4) return 2;
    if (!pool_started()) return 3;
    return in_child([] { return seen_once(100) == 100 ? 0 : 1; });  // and a grandchild
  });
  EXPECT_EQ(code, 0);
  EXPECT_EQ(in_child([] { return 0; }), 0);  // a child that never uses the pool
  EXPECT_EQ(seen_once(100), 100);
}

TEST_F(Parallel, ForkWhileOthersAreInRegions) {
  if (!kCanFork) GTEST_SKIP() << "ThreadSanitizer";
  // The busy thread does not allocate: a sanitizer's allocator may not be forked in mid-air.
  std::atomic<bool> stop{false};
  std::atomic<int64_t> done{0};
  std::thread busy([&] {
    while (!stop) parallel_for(64, 1, [&](int64_t begin, int64_t end) { done += end - begin; });
  });
  for (int i = 0; i < 10; ++i) {
    EXPECT_EQ(in_child([] { return seen_once(64) == 64 ? 0 : 1; }), 0);
  }
  stop = true;
  busy.join();
  EXPECT_EQ(done.load() % 64, 0);
}

}  // namespace
}  // namespace wengert
