#include "ops/random.h"

#include <algorithm>
#include <mutex>
#include <numeric>
#include <random>

#include "kernels/launch.h"
#include "ops/elementwise.h"
#include "ops/op_table.h"

namespace wengert {
namespace {

struct Generator {
  std::mutex lock;
  RandomState state;
};
Generator& generator() {
  static Generator g{{}, {std::random_device{}(), 0}};
  return g;
}

// Counters a fill of n elements uses: four words each, two words an element at the most, in whole
// blocks of 64 elements.
uint64_t counters_for(int64_t n) {
  return (static_cast<uint64_t>(n) + 63) / 64 * 32;
}

void run_random(Kernel kernel, const Tensor& out, double a, double b) {
  Launch l;
  const Tensor* operands[] = {&out};
  l.kernel = id(kernel);
  l.dtype = out.dtype();
  const RandomState s = random_state();
  l.more[0] = static_cast<int64_t>(s.seed);
  l.more[1] = static_cast<int64_t>(take_counters(counters_for(out.numel())));
  l.number[0] = a;
  l.number[1] = b;
  describe(l, out.sizes(), operands, 1);
  launch(l);
}

Tensor filled(Kernel kernel, const Dims& size, DType dtype, double a, double b,
              bool requires_grad) {
  if (!is_floating(dtype)) {
    fail("rand: expected a floating point dtype, got ", name_of(dtype));
  }
  const Tensor out = Tensor::empty(size, dtype);
  run_random(kernel, out, a, b);
  if (requires_grad) set_requires_grad(out, true);
  return out;
}

Tensor rand(const Dims& size, OptDType dtype, Device, bool requires_grad) {
  return filled(Kernel::Uniform, size, dtype.value_or(default_dtype()), 0, 1, requires_grad);
}
Tensor randn(const Dims& size, OptDType dtype, Device, bool requires_grad) {
  return filled(Kernel::Normal, size, dtype.value_or(default_dtype()), 0, 1, requires_grad);
}
Tensor rand_like(const Tensor& x, OptDType dtype, bool requires_grad) {
  return filled(Kernel::Uniform, x.sizes(), dtype.value_or(x.dtype()), 0, 1, requires_grad);
}
Tensor randn_like(const Tensor& x, OptDType dtype, bool requires_grad) {
  return filled(Kernel::Normal, x.sizes(), dtype.value_or(x.dtype()), 0, 1, requires_grad);
}

Tensor randint(int64_t low, int64_t high, const Dims& size, OptDType dtype) {
  if (low >= high) fail("randint: expects low < high, got ", low, " and ", high);
  const Tensor out = Tensor::empty(size, DType::Int64);
  Launch l;
  const Tensor* operands[] = {&out};
  l.kernel = id(Kernel::RandInt);
  l.dtype = DType::Int64;
  l.integer[0] = low;
  l.integer[1] = high;
  l.more[0] = static_cast<int64_t>(random_state().seed);
  l.more[1] = static_cast<int64_t>(take_counters(counters_for(out.numel())));
  describe(l, out.sizes(), operands, 1);
  launch(l);
  return ops::to(out, dtype.value_or(DType::Int64));
}
Tensor randint_below(int64_t high, const Dims& size, OptDType dtype) {
  return randint(0, high, size, dtype);
}

// Fisher and Yates' shuffle, as Durstenfeld gave it (1964).
Tensor randperm(int64_t n) {
  if (n < 0) fail("randperm: n must be non-negative, got ", n);
  const Tensor out = ops::arange(n);
  const Tensor draws = randint(0, INT64_MAX, {n}, {});
  auto* p = out.data<int64_t>();
  const auto* r = draws.data<int64_t>();
  for (int64_t i = n - 1; i > 0; --i) std::swap(p[i], p[r[i] % (i + 1)]);
  return out;
}

Tensor refill(Kernel kernel, const char* op, const Tensor& self, double a, double b) {
  check_inplace(op, self, false);
  if (!is_floating(self.dtype())) {
    fail(op, ": expected a floating point tensor, got ", name_of(self.dtype()));
  }
  Tensor t = self;
  return ops::copy_(t, filled(kernel, self.sizes(), self.dtype(), a, b, false));
}
Tensor uniform_(const Tensor& self, double from, double to) {
  if (from > to) fail("uniform_: expects from <= to, got ", from, " > ", to);
  return refill(Kernel::Uniform, "uniform_", self, from, to);
}
Tensor normal_(const Tensor& self, double mean, double std) {
  if (std < 0) fail("normal_: expects std >= 0.0, but found std ", std);
  return refill(Kernel::Normal, "normal_", self, mean, std);
}

}  // namespace

void manual_seed(uint64_t seed) {
  set_random_state({seed, 0});
}
uint64_t initial_seed() {
  return random_state().seed;
}
uint64_t take_counters(uint64_t n) {
  const std::lock_guard hold(generator().lock);
  return std::exchange(generator().state.counter, generator().state.counter + n);
}
RandomState random_state() {
  const std::lock_guard hold(generator().lock);
  return generator().state;
}
void set_random_state(RandomState s) {
  const std::lock_guard hold(generator().lock);
  generator().state = s;
}

void add_random(OpTable& t) {
  constexpr auto rest = ", *, dtype? dtype=None, device? device=None, bool requires_grad=False)";
  constexpr auto like = "(Tensor input, *, dtype? dtype=None, bool requires_grad=False)";
  t.push_back(row<&rand>(text("rand(int* size", rest), kFunction, "Uniform numbers in [0, 1)."));
  t.push_back(row<&randn>(text("randn(int* size", rest), kFunction,
                          "Normal numbers of mean 0 and variance 1."));
  t.push_back(row<&rand_like>(text("rand_like", like), kFunction,
                              "Uniform numbers in [0, 1), shaped like input."));
  t.push_back(row<&randn_like>(text("randn_like", like), kFunction,
                               "Normal numbers of mean 0 and variance 1, shaped like input."));
  t.push_back(row<&randint_below>("randint(int high, int[] size, *, dtype? dtype=None)", kFunction,
                                  "Whole numbers in [0, high), or [low, high)."));
  t.push_back(
      row<&randint>("randint(int low, int high, int[] size, *, dtype? dtype=None)", kFunction, ""));
  t.push_back(row<&randperm>("randperm(int n)", kFunction,
                             "The numbers 0 to n - 1 in random order, int64."));
  t.push_back(row<&uniform_>("uniform_(Tensor self, float from=0.0, float to=1.0)", kMethod,
                             "Fills the tensor with uniform numbers in [from, to)."));
  t.push_back(row<&normal_>("normal_(Tensor self, float mean=0.0, float std=1.0)", kMethod,
                            "Fills the tensor with normal numbers."));
}

}  // namespace wengert
