// Random draws that depend on tensors: normal of tensors, Bernoulli, Poisson, categories, dropout.
#include <cmath>

#include "kernels/launch.h"
#include "ops/checks.h"
#include "ops/elementwise.h"
#include "ops/op_table.h"
#include "ops/random.h"

namespace wengert {
namespace ops {

void check_within(const Tensor& t, double low, double high, const char* op, const char* expected) {
  host_check(checks::kWithin, {contiguous(detach(t))},
             {.text = {op, expected}, .number = {low, high}});
}

namespace {

void check_floating(const char* op, const char* what, const Tensor& t) {
  if (!is_floating(t.dtype())) {
    fail(op, ": expected a floating point ", what, ", got ", name_of(t.dtype()));
  }
}

// A draw jumps from value to value: its derivative by what it was drawn from counts as zero.
constexpr Rule kFlat{"draw", [](Node& node, Tensor*, Tensor* out) {
                       for (int i = 0; i < node.num_inputs; ++i) {
                         if (!node.wants(i)) continue;
                         const auto& in = node.edges()[i].node->outputs()[node.edges()[i].slot];
                         out[i] = zeros(in.sizes, in.dtype);
                       }
                     }};
Tensor flat(const Tensor& out, const Tensor& a, const Tensor& b = {}) {
  if (recording(a, b)) {
    const Tensor* in[] = {&a, &b};
    record(kFlat, in, b.defined() ? 2 : 1, out, 0);
  }
  return out;
}

// --- normal ------------------------------------------------------------------------------------

Tensor placed(const Dims& sizes, DType dtype, Generator& g, const Tensor& mean, const Tensor& std) {
  const GradMode off(false);
  return add(mul(draw(Distribution::Normal, sizes, dtype, g), to(std, dtype)), to(mean, dtype));
}
void check_std(const Tensor& std) {
  check_within(std, 0, INFINITY, "normal", "expects all elements of std >= 0.0");
}
void check_std(double std) {
  if (!(std >= 0)) fail("normal: expects std >= 0.0, but found std ", std);
}

Tensor normal_tensors(const Tensor& mean, const Tensor& std, Generator& g) {
  check_floating("normal", "mean", mean);
  check_floating("normal", "std", std);
  const Dims sizes = broadcast_shapes("normal", mean.sizes(), std.sizes());
  check_std(std);
  return flat(placed(sizes, mean.dtype(), g, mean, std), mean, std);
}
Tensor normal_mean(const Tensor& mean, double std, Generator& g) {
  check_floating("normal", "mean", mean);
  check_std(std);
  return flat(
      placed(mean.sizes(), mean.dtype(), g, mean, Tensor::scalar(std, compute_dtype(mean.dtype()))),
      mean);
}
Tensor normal_std(double mean, const Tensor& std, Generator& g) {
  check_floating("normal", "std", std);
  check_std(std);
  return flat(
      placed(std.sizes(), std.dtype(), g, Tensor::scalar(mean, compute_dtype(std.dtype())), std),
      std);
}
Tensor normal_sizes(double mean, double std, const Dims& size, Generator& g, OptDType dtype, Device,
                    bool requires_grad) {
  check_std(std);
  const DType d = dtype.value_or(default_dtype());
  if (!is_floating(d)) fail("normal: expected a floating point dtype, got ", name_of(d));
  const Tensor out = draw(Distribution::Normal, size, d, g, mean, std);
  if (requires_grad) set_requires_grad(out, true);
  return out;
}

// --- Bernoulli ---------------------------------------------------------------------------------

// Zeros and ones in p's shape; of bool.
Tensor successes(const char* op, const Tensor& p, Generator& g) {
  check_floating(op, "p", p);
  check_within(p, 0, 1, op, "expects all elements of p to be in [0, 1]");
  const GradMode off(false);
  // u < p with u in [0, 1): never for p = 0, always for p = 1
  const DType d = compute_dtype(p.dtype());
  return apply<Lt>(draw(Distribution::Uniform, p.sizes(), d, g), to(p, d));
}
Tensor successes(const char* op, double p, const Tensor& like, Generator& g) {
  if (!(p >= 0 && p <= 1)) fail(op, ": expects p to be in [0, 1], but got p=", p);
  if (p == 1) return full(like.sizes(), {true, 1, 1}, DType::Float32);
  return draw(Distribution::Bernoulli, like.sizes(), DType::Float32, g, p);
}

Tensor bernoulli(const Tensor& input, Generator& g) {
  check_floating("bernoulli", "input", input);
  return flat(to(successes("bernoulli", input, g), input.dtype()), input);
}
Tensor bernoulli_p(const Tensor& input, double p, Generator& g) {
  return flat(to(successes("bernoulli", p, input, g), input.dtype()), input);
}
Tensor bernoulli_inplace(const Tensor& self, double p, Generator& g) {
  check_inplace("bernoulli_", self, false);
  return refill("bernoulli_", self, successes("bernoulli_", p, self, g));
}
Tensor bernoulli_inplace_tensor(const Tensor& self, const Tensor& p, Generator& g) {
  check_inplace("bernoulli_", self, false);
  check_floating("bernoulli_", "p", p);
  return refill("bernoulli_", self, successes("bernoulli_", expand(detach(p), self.sizes()), g));
}

// --- Poisson -----------------------------------------------------------------------------------

Tensor poisson(const Tensor& input, Generator& g) {
  check_floating("poisson", "input", input);
  check_within(input, 0, INFINITY, "poisson",
               "invalid rate; expected all rates to be non-negative");
  Tensor out;
  {
    const GradMode off(false);
    const Tensor rates = contiguous(to(input, compute_dtype(input.dtype())));
    out = Tensor::empty(rates.sizes(), rates.dtype());
    const Tensor* operands[] = {&out, &rates};
    Launch l;
    l.kernel = id(Kernel::Poisson);
    l.dtype = rates.dtype();
    set_stream(l, g, 2 * rates.numel());  // a counter an element
    describe(l, out.sizes(), operands, 2);
    launch(l);
    out = to(out, input.dtype());
  }
  return flat(out, input);
}

// --- categories --------------------------------------------------------------------------------

Tensor multinomial(const Tensor& input, int64_t num_samples, bool replacement, Generator& g) {
  if (input.dim() != 1 && input.dim() != 2) {
    fail("multinomial: input must have 1 or 2 dimensions, got shape ", input.sizes());
  }
  check_floating("multinomial", "input", input);
  if (num_samples <= 0)
    fail("multinomial: cannot draw num_samples = ", num_samples, " <= 0 samples");
  const int64_t categories = input.sizes().back();
  if (!replacement && num_samples > categories) {
    fail("multinomial: cannot draw ", num_samples, " samples from ", categories,
         " categories without replacement");
  }
  if (categories == 0) fail("multinomial: no categories to draw from, got shape ", input.sizes());
  const GradMode off(false);
  const int64_t rows = input.numel() / categories;
  const Tensor weights = contiguous(to(input, DType::Float64));
  host_check(checks::kWeights, {weights}, {.integer = {rows, categories}});
  const Tensor draws =
      replacement ? draw(Distribution::Uniform, {rows, num_samples}, DType::Float64, g)
                  : draw(Distribution::Exponential, {rows, categories}, DType::Float64, g, 1);
  const Tensor out =
      Tensor::empty(input.dim() == 1 ? Dims{num_samples} : Dims{rows, num_samples}, DType::Int64);
  Launch l;
  l.kernel = id(Kernel::Multinomial);
  l.dtype = DType::Int64;
  l.device = out.device();
  l.dense = true;
  l.ndim = 2;
  l.size[0] = rows;
  l.size[1] = num_samples;
  l.count = rows * num_samples;
  l.integer[0] = categories;
  l.integer[1] = replacement ? 1 : 0;
  l.nbuffers = 3;
  set_buffer(l, 0, out);
  set_buffer(l, 1, weights);
  set_buffer(l, 2, draws);
  launch(l);
  return out;
}

// --- dropout -----------------------------------------------------------------------------------

// What drew the mask. The backward draws it again: cheaper than keeping it, and the derivative of
// the derivative is the same operation once more.
struct Mask {
  RandomState stream;
  double p, scale;
};

void run_dropout(const Tensor& out, const Tensor& x, const Mask& mask) {
  const Tensor* operands[] = {&out, &x};
  Launch l;
  l.kernel = id(Kernel::Dropout);
  l.dtype = x.dtype();
  l.number[0] = mask.p;
  l.number[1] = mask.scale;
  l.more[0] = static_cast<int64_t>(mask.stream.seed);
  l.more[1] = static_cast<int64_t>(mask.stream.counter);
  l.more[2] = 24;
  describe(l, out.sizes(), operands, 2);
  launch(l);
}

Tensor masked(const Tensor& x, const Mask& mask);
constexpr Rule kDropout{"dropout", [](Node& node, Tensor* g, Tensor* out) {
                          const Mask mask = node.payload<Mask>();
                          const bool reuse = !grad_enabled() && g->unique() &&
                                             (*g)->storage->unique() && g->contiguous();
                          if (!reuse) {
                            out[0] = masked(*g, mask);
                          } else {
                            run_dropout(*g, *g, mask);
                            out[0] = *g;
                          }
                        }};

Tensor masked(const Tensor& x, const Mask& mask) {
  const Tensor dense = contiguous(x);
  const Tensor out = Tensor::empty(x.sizes(), x.dtype(), x.device());
  run_dropout(out, dense, mask);
  if (recording(dense)) {
    const Tensor* in[] = {&dense};
    record(kDropout, in, 1, out, 0, mask);
  }
  return out;
}

Tensor masked_inplace(const Tensor& x, const Mask& mask) {
  const bool records = check_inplace("dropout_", x, recording(x));
  if (!x.contiguous() || is_narrow(x.dtype())) {
    const Tensor wide = to(x, compute_dtype(x.dtype()));
    return overwrite("dropout_", x, masked(wide.impl() == x.impl() ? clone(x) : wide, mask));
  }
  run_dropout(x, x, mask);
  if (records) {
    const Tensor* in[] = {&x};
    record(kDropout, in, 1, x, 0, mask);
  }
  note_change("dropout_", x);
  return x;
}

Tensor dropout(const Tensor& input, double p, bool training, bool inplace) {
  if (!(p >= 0 && p <= 1)) {
    fail(std::isnan(p) ? ErrorKind::Runtime : ErrorKind::Value,
         "dropout: probability has to be between 0 and 1, but got ", p);
  }
  if (!training || p == 0 || input.numel() == 0) return input;
  if (!is_floating(input.dtype())) {
    if (p == 1 && !inplace) return zeros_like(input);
    fail("dropout: result type ", name_of(default_dtype()),
         " can't be cast to the desired output type ", name_of(input.dtype()));
  }
  // p = 1 keeps all, times 0: NaN and infinity show, as in PyTorch
  Mask mask{{0, 0}, p == 1 ? 0 : p, p == 1 ? 0 : 1 / (1 - p)};
  Launch l;
  if (p < 1) {
    set_stream(l, default_generator(), input.numel());
    mask.stream = {static_cast<uint64_t>(l.more[0]), static_cast<uint64_t>(l.more[1])};
  }
  if (inplace) return masked_inplace(input, mask);
  return to(masked(to(input, compute_dtype(input.dtype())), mask), input.dtype());
}
Tensor dropout_train(const Tensor& input, double p, bool train) {
  return dropout(input, p, train, false);
}
Tensor dropout_inplace(const Tensor& input, double p, bool train) {
  return dropout(input, p, train, true);
}

}  // namespace
}  // namespace ops

void add_sampling(OpTable& t) {
  using namespace ops;
  const std::string own = "*, Generator? generator=None)";
  constexpr uint8_t both = kMethod | kFunction;
  t.push_back(row<&normal_tensors>("normal(Tensor mean, Tensor std, " + own, kFunction,
                                   "Normal numbers, each of the mean and standard deviation given "
                                   "for it."));
  t.push_back(row<&normal_mean>("normal(Tensor mean, float std=1.0, " + own, kFunction, ""));
  t.push_back(row<&normal_std>("normal(float mean, Tensor std, " + own, kFunction, ""));
  t.push_back(row<&normal_sizes>(
      "normal(float mean, float std, int[] size, *, Generator? generator=None, dtype? dtype=None, "
      "device? device=None, bool requires_grad=False)",
      kFunction, ""));
  t.push_back(row<&bernoulli>("bernoulli(Tensor input, " + own, both,
                              "1 with the probability that stands in input, else 0; with p, 1 with "
                              "that probability everywhere. The derivative counts as zero."));
  t.push_back(row<&bernoulli_p>("bernoulli(Tensor input, float p, " + own, both, ""));
  t.push_back(row<&bernoulli_inplace_tensor>("bernoulli_(Tensor self, Tensor p, " + own, kMethod,
                                             "Fills the tensor with ones of probability p, and "
                                             "zeros."));
  t.push_back(row<&bernoulli_inplace>("bernoulli_(Tensor self, float p=0.5, " + own, kMethod, ""));
  t.push_back(row<&poisson>("poisson(Tensor input, Generator? generator=None)", kFunction,
                            "Poisson numbers of the rates in input. The derivative counts as "
                            "zero."));
  t.push_back(row<&multinomial>(
      "multinomial(Tensor input, int num_samples, bool replacement=False, " + own, both,
      "Indices of categories, drawn by the weights in (each row of) input."));
  t.push_back(row<&dropout>(
      "dropout(Tensor input, float p=0.5, bool training=True, bool inplace=False)",
      kFunction | kFunctional,
      "Each element set to 0 with probability p, else divided by 1 - p; input itself if not "
      "training. Derivative: the same, with the same elements set to 0."));
  t.push_back(row<&dropout_train>("dropout(Tensor input, float p, bool train)", kFunction, ""));
  t.push_back(row<&dropout_inplace>("dropout_(Tensor input, float p, bool train)", kFunction,
                                    "dropout in place."));
}

}  // namespace wengert
