#include "kernels/cpu/peak.h"

#include <algorithm>
#include <atomic>
#include <chrono>
#include <limits>
#include <memory>

#include "core/allocator.h"
#include "kernels/cpu/cpu.h"
#include "kernels/cpu/parallel.h"

namespace wengert::cpu {
namespace {

constexpr int64_t kRounds = int64_t{1} << 18;  // some 0.4 ms
constexpr int64_t kCopied = int64_t{1} << 24;  // float32: 64 MiB
constexpr int64_t kBlock = int64_t{1} << 12;   // so that cuts between threads are aligned
constexpr size_t kBytes = kCopied * sizeof(float);

template <class Work>
double least_seconds(double budget, Work&& work) {
  using Clock = std::chrono::steady_clock;
  const auto elapsed = [](Clock::time_point from) {
    return std::chrono::duration<double>(Clock::now() - from).count();
  };
  const auto begin = Clock::now();
  double least = std::numeric_limits<double>::infinity();
  for (int done = 0; done < 3 || elapsed(begin) < budget; ++done) {
    const auto start = Clock::now();
    work();
    least = std::min(least, elapsed(start));
  }
  return least;
}

struct Deallocate {
  void operator()(float* p) const { deallocate(p, kBytes); }
};
std::unique_ptr<float, Deallocate> array() {
  return std::unique_ptr<float, Deallocate>(static_cast<float*>(allocate(kBytes)));
}

}  // namespace

Peak measure_peak(double seconds) {
  const PeakLoops& loops = isa().peak;
  const int threads = num_threads();
  std::atomic<float> kept{0};  // or the compiler drops the loop
  const double computing = least_seconds(seconds / 2, [&] {
    parallel_for(threads, 1, [&](int64_t begin, int64_t end) {
      kept.store(loops.multiply_adds(kRounds * (end - begin)), std::memory_order_relaxed);
    });
  });
  const auto from = array(), to = array();
  std::fill_n(from.get(), kCopied, 1.0f);
  std::fill_n(to.get(), kCopied, 0.0f);
  const double copying = least_seconds(seconds / 2, [&] {
    parallel_for(kCopied / kBlock, 1, [&](int64_t begin, int64_t end) {
      loops.copy(from.get() + begin * kBlock, to.get() + begin * kBlock, (end - begin) * kBlock);
    });
  });
  return {static_cast<double>(kRounds * loops.flops * threads) / computing,
          2.0 * static_cast<double>(kBytes) / copying};
}

}  // namespace wengert::cpu
