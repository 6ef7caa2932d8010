// The generator, and the fills: tensors whose elements are drawn independently from one
// distribution. Draws that depend on other tensors are in sampling.cpp.
#include "ops/random.h"
#include "core/watch.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <random>
#include <utility>

#include "kernels/launch.h"
#include "ops/elementwise.h"
#include "ops/flat_launch.h"
#include "ops/op_table.h"

namespace wengert {

RandomState Generator::take(uint64_t n) {
  const std::lock_guard hold(lock_);
  return {state_.seed, std::exchange(state_.counter, state_.counter + n)};
}
RandomState Generator::state() const {
  const std::lock_guard hold(lock_);
  return state_;
}
void Generator::set(RandomState s, bool anew) {
  if (HostWatcher* w = host_watcher()) w->on_seed(*this, s.seed, s.counter, anew);
  const std::lock_guard hold(lock_);
  state_ = s;
}
uint64_t Generator::seed() {
  std::random_device entropy;
  const uint64_t fresh = uint64_t{entropy()} << 32 | entropy();
  manual_seed(fresh);
  return fresh;
}

Generator& default_generator() {
  static Generator g({std::random_device{}(), 0});
  return g;
}

namespace ops {
namespace {

// Counters a fill of n elements uses: four words each, two words an element at the most, in whole
// blocks of 64 elements.
uint64_t counters_for(int64_t n) {
  return (static_cast<uint64_t>(n) + 63) / 64 * 32;
}

// The numbers that a dtype holds without gaps: [-2^digits, 2^digits] for floating point.
struct WholeRange {
  int64_t low, high;
};
WholeRange whole_range(DType d) {
  switch (d) {
    case DType::Bool:
      return {0, 1};
    case DType::UInt8:
      return {0, 255};
    case DType::Int8:
      return {-128, 127};
    case DType::Int16:
      return {INT16_MIN, INT16_MAX};
    case DType::Int32:
      return {INT32_MIN, INT32_MAX};
    case DType::Int64:
      return {INT64_MIN, INT64_MAX};
    default: {
      const int digits = d == DType::Float16    ? 11
                         : d == DType::BFloat16 ? 8
                         : d == DType::Float32  ? 24
                                                : 53;
      return {-(int64_t{1} << digits), int64_t{1} << digits};
    }
  }
}

double largest(DType d) {
  switch (d) {
    case DType::Float16:
      return 65504;
    case DType::BFloat16:
      return 0x1.FEp127;
    case DType::Float32:
      return std::numeric_limits<float>::max();
    default:
      return std::numeric_limits<double>::max();
  }
}

// Whole numbers of int64; high == low stands for all of them.
Tensor integers(int64_t low, int64_t high, const Dims& size, Generator& g) {
  const Tensor out = Tensor::empty(size, DType::Int64);
  const Tensor* operands[] = {&out};
  Launch l;
  l.kernel = id(Kernel::Randint);
  l.dtype = DType::Int64;
  l.integer[0] = low;
  l.integer[1] = high;
  set_stream(l, g, out.numel());
  describe(l, out.sizes(), operands, 1);
  launch(l);
  return out;
}

void check_whole(const char* op, int64_t low, int64_t high, DType dtype) {
  if (low >= high) {
    fail(op, ": expects 'from' to be less than 'to', but got from=", low, " >= to=", high);
  }
  const WholeRange holds = whole_range(dtype);
  if (low < holds.low || low > holds.high) {
    fail(op, ": from = ", low, " is out of bounds for ", name_of(dtype), " [", holds.low, ", ",
         holds.high, "]");
  }
  if (high - 1 < holds.low || high - 1 > holds.high) {
    fail(op, ": to - 1 = ", high - 1, " is out of bounds for ", name_of(dtype), " [", holds.low,
         ", ", holds.high, "]");
  }
}

void check_floating(const char* op, DType dtype) {
  if (!is_floating(dtype)) {
    fail(op, ": expected a floating point dtype, got ", name_of(dtype));
  }
}

Tensor finish(const char* op, Tensor t, bool requires_grad) {
  if (requires_grad) {
    if (!is_floating(t.dtype())) {
      fail(op, ": only Tensors of floating point dtype can require gradients, got ",
           name_of(t.dtype()));
    }
    set_requires_grad(t, true);
  }
  return t;
}

// Straight into dense memory.
void draw_into(Distribution which, const Tensor& out, DType for_dtype, Generator& g, double a,
               double b) {
  const Tensor* operands[] = {&out};
  Launch l;
  l.kernel = static_cast<KernelId>(id(Kernel::Uniform) + static_cast<int>(which));
  l.dtype = out.dtype();
  l.number[0] = a;
  l.number[1] = b;
  set_stream(l, g, out.numel());
  // no more bits than the dtype holds: rounding would give 1
  if (is_narrow(for_dtype)) l.more[2] = for_dtype == DType::Float16 ? 11 : 8;
  describe(l, out.sizes(), operands, 1);
  launch(l);
}

// --- functions ---------------------------------------------------------------------------------

template <Distribution kWhich>
Tensor standard(const char* op, const Dims& size, DType dtype, Generator& g, bool requires_grad) {
  check_floating(op, dtype);
  return finish(op, draw(kWhich, size, dtype, g), requires_grad);
}

Tensor rand(const Dims& size, Generator& g, OptDType dtype, Device, bool requires_grad) {
  return standard<Distribution::Uniform>("rand", size, dtype.value_or(default_dtype()), g,
                                         requires_grad);
}
Tensor randn(const Dims& size, Generator& g, OptDType dtype, Device, bool requires_grad) {
  return standard<Distribution::Normal>("randn", size, dtype.value_or(default_dtype()), g,
                                        requires_grad);
}
Tensor rand_like(const Tensor& x, Generator& g, OptDType dtype, Device, bool requires_grad) {
  return standard<Distribution::Uniform>("rand_like", x.sizes(), dtype.value_or(x.dtype()), g,
                                         requires_grad);
}
Tensor randn_like(const Tensor& x, Generator& g, OptDType dtype, Device, bool requires_grad) {
  return standard<Distribution::Normal>("randn_like", x.sizes(), dtype.value_or(x.dtype()), g,
                                        requires_grad);
}

Tensor randint_row(int64_t low, int64_t high, const Dims& size, Generator& g, OptDType dtype,
                   Device, bool requires_grad) {
  return finish("randint", randint(low, high, size, dtype, g), requires_grad);
}
Tensor randint_below(int64_t high, const Dims& size, Generator& g, OptDType dtype, Device device,
                     bool requires_grad) {
  return randint_row(0, high, size, g, dtype, device, requires_grad);
}
Tensor randint_like(const Tensor& x, int64_t low, int64_t high, Generator& g, OptDType dtype,
                    Device device, bool requires_grad) {
  return randint_row(low, high, x.sizes(), g, dtype.value_or(x.dtype()), device, requires_grad);
}
Tensor randint_like_below(const Tensor& x, int64_t high, Generator& g, OptDType dtype,
                          Device device, bool requires_grad) {
  return randint_like(x, 0, high, g, dtype, device, requires_grad);
}

}  // namespace

Tensor permutation(int64_t n, Generator& g) {
  const Tensor out = Tensor::empty({n}, DType::Int64);
  const Tensor draws = integers(0, INT64_MAX, {n}, g);
  Launch l = flat_launch(Kernel::Shuffle, DType::Int64, out.device(), n, 2);
  int k = 0;
  for (const Tensor* t : {&out, &draws}) {
    set_buffer(l, k, *t);
    l.buffer[k++].stride[0] = 1;
  }
  launch(l);
  return out;
}

namespace {

Tensor randperm(int64_t n, Generator& g, OptDType dtype, Device, bool requires_grad) {
  if (n < 0) fail("randperm: n must be non-negative, got ", n);
  const DType d = dtype.value_or(DType::Int64);
  if (d == DType::Bool) fail(ErrorKind::NotImplemented, "randperm: no permutation of dtype bool");
  if (n > 0 && n - 1 > whole_range(d).high) {
    fail("randperm: n = ", n, " is too large for ", name_of(d),
         ", which holds whole numbers up to ", whole_range(d).high);
  }
  return finish("randperm", to(permutation(n, g), d), requires_grad);
}

// --- methods that fill -------------------------------------------------------------------------

// Draws straight into dense memory that nothing is recorded about; else apart.
Tensor fill_from(const char* op, Distribution which, const Tensor& self, Generator& g, double a,
                 double b) {
  check_floating(op, self.dtype());
  const bool records = check_inplace(op, self, false);
  if (records || !self.contiguous() || is_narrow(self.dtype())) {
    return refill(op, self, draw(which, self.sizes(), self.dtype(), g, a, b));
  }
  draw_into(which, self, self.dtype(), g, a, b);
  note_change(op, self);
  return self;
}

Tensor uniform_(const Tensor& self, double from, double to, Generator& g) {
  check_floating("uniform_", self.dtype());
  const double limit = largest(self.dtype());
  if (!(std::abs(from) <= limit)) {
    fail("uniform_: from = ", from, " is out of bounds for ", name_of(self.dtype()));
  }
  if (!(std::abs(to) <= limit)) {
    fail("uniform_: to = ", to, " is out of bounds for ", name_of(self.dtype()));
  }
  if (from > to) fail("uniform_: expects from <= to, got ", from, " > ", to);
  if (to - from > limit) {
    fail("uniform_: expects to - from <= ", limit, ", but found to = ", to, " and from = ", from);
  }
  return fill_from("uniform_", Distribution::Uniform, self, g, from, to);
}
Tensor normal_(const Tensor& self, double mean, double std, Generator& g) {
  if (!(std >= 0)) fail("normal_: expects std >= 0.0, but found std ", std);
  return fill_from("normal_", Distribution::Normal, self, g, mean, std);
}
Tensor log_normal_(const Tensor& self, double mean, double std, Generator& g) {
  if (!(std > 0)) fail("log_normal_: expects std > 0.0, but found std=", std);
  return fill_from("log_normal_", Distribution::LogNormal, self, g, mean, std);
}
Tensor exponential_(const Tensor& self, double lambd, Generator& g) {
  if (!(lambd > 0)) fail("exponential_: expects lambda > 0.0, but found lambda=", lambd);
  return fill_from("exponential_", Distribution::Exponential, self, g, lambd, 0);
}
Tensor cauchy_(const Tensor& self, double median, double sigma, Generator& g) {
  if (!(sigma > 0)) fail("cauchy_: expects sigma > 0.0, but found sigma=", sigma);
  return fill_from("cauchy_", Distribution::Cauchy, self, g, median, sigma);
}
Tensor geometric_(const Tensor& self, double p, Generator& g) {
  if (!(p > 0 && p < 1)) fail("geometric_: expects p to be in (0, 1), but got p=", p);
  if (self.dtype() == DType::Bool) {
    fail(ErrorKind::NotImplemented, "geometric_: not defined for bool tensors");
  }
  check_inplace("geometric_", self, false);
  const double log_failure = std::log1p(-p);
  if (is_floating(self.dtype())) {
    return fill_from("geometric_", Distribution::Geometric, self, g, log_failure, 0);
  }
  return refill("geometric_", self,
                draw(Distribution::Geometric, self.sizes(), DType::Float64, g, log_failure, 0));
}

// Without bounds: from 0 to the largest number that the dtype holds, with those below it.
Tensor random_between(const Tensor& self, int64_t from, OptInt to, Generator& g) {
  check_inplace("random_", self, false);
  const WholeRange holds = whole_range(self.dtype());
  if (to) {
    check_whole("random_", from, *to, self.dtype());
    return refill("random_", self, integers(from, *to, self.sizes(), g));
  }
  if (from < holds.low || from > holds.high) {
    fail("random_: from = ", from, " is out of bounds for ", name_of(self.dtype()), " [", holds.low,
         ", ", holds.high, "]");
  }
  // One past int64's largest number is its smallest: equal bounds ask for all of them.
  const auto end = static_cast<int64_t>(static_cast<uint64_t>(holds.high) + 1);
  return refill("random_", self, integers(from, end, self.sizes(), g));
}
Tensor random_below(const Tensor& self, int64_t to, Generator& g) {
  return random_between(self, 0, to, g);
}
Tensor random_any(const Tensor& self, Generator& g) {
  return random_between(self, 0, {}, g);
}

}  // namespace

void set_stream(Launch& l, Generator& g, int64_t n) {
  if (HostWatcher* w = host_watcher()) w->on_draw(g);
  const RandomState s = g.take(counters_for(n));
  l.more[0] = static_cast<int64_t>(s.seed);
  l.more[1] = static_cast<int64_t>(s.counter);
  l.more[2] = 24;
}

Tensor draw(Distribution which, const Dims& size, DType dtype, Generator& g, double a, double b) {
  const Tensor out = Tensor::empty(size, compute_dtype(dtype));
  draw_into(which, out, dtype, g, a, b);
  return to(out, dtype);
}

Tensor refill(const char* op, const Tensor& self, const Tensor& drawn) {
  check_inplace(op, self, false);
  Tensor t = self;
  return copy_(t, drawn, op);
}

Tensor randint(int64_t low, int64_t high, const Dims& size, OptDType dtype, Generator& g) {
  const DType d = dtype.value_or(DType::Int64);
  check_whole("randint", low, high, d);
  return to(integers(low, high, size, g), d);
}

}  // namespace ops

void add_random(OpTable& t) {
  using namespace ops;
  const std::string rest =
      "*, Generator? generator=None, dtype? dtype=None, device? device=None, "
      "bool requires_grad=False)";
  const std::string own = "*, Generator? generator=None)";
  t.push_back(row<&rand>("rand(int* size, " + rest, kFunction, "Uniform numbers in [0, 1)."));
  t.push_back(row<&randn>("randn(int* size, " + rest, kFunction,
                          "Normal numbers of mean 0 and variance 1."));
  t.push_back(row<&rand_like>("rand_like(Tensor input, " + rest, kFunction,
                              "Uniform numbers in [0, 1), shaped like input."));
  t.push_back(row<&randn_like>("randn_like(Tensor input, " + rest, kFunction,
                               "Normal numbers of mean 0 and variance 1, shaped like input."));
  t.push_back(row<&randint_below>("randint(int high, int[] size, " + rest, kFunction,
                                  "Whole numbers in [0, high), or [low, high)."));
  t.push_back(row<&randint_row>("randint(int low, int high, int[] size, " + rest, kFunction, ""));
  t.push_back(row<&randint_like_below>("randint_like(Tensor input, int high, " + rest, kFunction,
                                       "Whole numbers in [0, high), or [low, high), shaped like "
                                       "input."));
  t.push_back(
      row<&randint_like>("randint_like(Tensor input, int low, int high, " + rest, kFunction, ""));
  t.push_back(row<&randperm>("randperm(int n, " + rest, kFunction,
                             "The numbers 0 to n - 1 in random order, int64 by default."));
  t.push_back(row<&uniform_>("uniform_(Tensor self, float from=0.0, float to=1.0, " + own, kMethod,
                             "Fills the tensor with uniform numbers in [from, to)."));
  t.push_back(row<&normal_>("normal_(Tensor self, float mean=0.0, float std=1.0, " + own, kMethod,
                            "Fills the tensor with normal numbers."));
  t.push_back(row<&log_normal_>("log_normal_(Tensor self, float mean=1.0, float std=2.0, " + own,
                                kMethod,
                                "Fills the tensor with numbers whose logarithms are normal, of "
                                "this mean and std."));
  t.push_back(row<&exponential_>("exponential_(Tensor self, float lambd=1.0, " + own, kMethod,
                                 "Fills the tensor with exponential numbers of rate lambd: density "
                                 "lambd exp(-lambd x) for x > 0."));
  t.push_back(row<&cauchy_>("cauchy_(Tensor self, float median=0.0, float sigma=1.0, " + own,
                            kMethod,
                            "Fills the tensor with Cauchy numbers: density "
                            "sigma / (pi ((x - median)^2 + sigma^2))."));
  t.push_back(row<&geometric_>("geometric_(Tensor self, float p, " + own, kMethod,
                               "Fills the tensor with the number of trials, each of probability "
                               "p, up to the first success."));
  t.push_back(row<&random_any>("random_(Tensor self, " + own, kMethod,
                               "Fills the tensor with whole numbers from [from, to), by default "
                               "from 0 up to the largest up to which the dtype holds all."));
  t.push_back(row<&random_below>("random_(Tensor self, int to, " + own, kMethod, ""));
  t.push_back(row<&random_between>("random_(Tensor self, int from, int? to, " + own, kMethod, ""));
  add_sampling(t);
}

}  // namespace wengert
