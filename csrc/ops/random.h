// The random generator: a seed and a counter. Every draw takes the counters it needs, so numbers
// depend on the seed and the order of the draws alone.
#pragma once

#include <cstdint>
#include <mutex>

#include "ops/ops.h"

namespace wengert {

struct RandomState {
  uint64_t seed, counter;
};

class Generator {
 public:
  static constexpr uint64_t kFirstSeed = 67280421310721;  // PyTorch's, of a generator made anew

  explicit Generator(RandomState s = {kFirstSeed, 0}) : state_(s) {}

  Device device = Device::CPU;  // that it was made for; it serves any

  // The seed and the first of n fresh counters.
  RandomState take(uint64_t n);
  RandomState state() const;
  void set_state(RandomState s) { set(s, false); }
  void manual_seed(uint64_t seed) { set({seed, 0}, true); }
  uint64_t seed();  // from the system's entropy; returned

 private:
  void set(RandomState s, bool anew);

  mutable std::mutex lock_;
  RandomState state_;
};

Generator& default_generator();

struct Launch;

namespace ops {
// Takes counters for n elements and writes the stream into a launch.
void set_stream(Launch& l, Generator& g, int64_t n);
Tensor permutation(int64_t n, Generator& g);  // of 0, 1, ... n - 1
Tensor randint(int64_t low, int64_t high, const Dims& size, OptDType dtype, Generator& g);
// A contiguous tensor of compute dtype filled from a distribution (the kernels of random_isa.h).
enum class Distribution { Uniform, Normal, LogNormal, Exponential, Geometric, Cauchy, Bernoulli };
Tensor draw(Distribution d, const Dims& size, DType dtype, Generator& g, double a = 0,
            double b = 1);
// What an in-place fill does with numbers drawn apart.
Tensor refill(const char* op, const Tensor& self, const Tensor& drawn);
}  // namespace ops

}  // namespace wengert
