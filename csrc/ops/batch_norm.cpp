// Batch and instance normalization.
#include "kernels/launch.h"
#include "ops/elementwise.h"
#include "ops/normalization.h"
#include "ops/op_table.h"
#include "tape/backward.h"

namespace wengert {
namespace ops {
namespace {

// The input as (outer, channels, inner).
struct BatchNormPayload {
  int64_t outer, channels, inner;
  double eps;
  bool with_weight, with_bias;
};

void describe_channels(Launch& l, Kernel kernel, const Tensor* const* operands, int n,
                       const BatchNormPayload& p) {
  l.kernel = id(kernel);
  l.dtype = operands[0]->dtype();
  l.device = operands[0]->device();
  l.dense = true;
  l.ndim = 3;
  l.size[0] = p.outer;
  l.size[1] = p.channels;
  l.size[2] = p.inner;
  l.count = p.outer * p.channels * p.inner;
  l.number[0] = p.eps;
  l.nbuffers = static_cast<uint8_t>(n);
  for (int k = 0; k < n; ++k) set_buffer(l, k, *operands[k]);
}

// As of layer_norm, means over all but the channels.
void batch_norm_pull_recorded(Node& node, const Tensor& g, Tensor* out) {
  const auto& p = node.payload<BatchNormPayload>();
  const Dims shape{p.outer, p.channels, p.inner}, all{0, 2}, column{p.channels, 1};
  const auto mean_of = [&](const Var& v) { return Var(mean(v.tensor(), &all, true)); };
  const Var x(reshape(node.unpack(0), shape)), gs(reshape(g, shape));
  const Var centred = x - mean_of(x);
  const Var r = Var(1.0) / sqrt(mean_of(centred * centred) + Var(p.eps));
  const Var h = centred * r;
  const int bias = p.with_weight ? 2 : 1;
  if (node.wants(0)) {
    Var inner = r * (gs - mean_of(gs) - h * mean_of(gs * h));
    if (p.with_weight) inner = inner * Var(reshape(node.unpack(2), column));
    out[0] = reshape(inner.tensor(), node.input_sizes(0));
  }
  if (p.with_weight && node.wants(1)) out[1] = sum((gs * h).tensor(), &all, false);
  if (p.with_bias && node.wants(bias)) out[bias] = sum(gs.tensor(), &all, false);
}

void batch_norm_pull(Node& node, Tensor* g, Tensor* out) {
  if (grad_enabled()) return batch_norm_pull_recorded(node, *g, out);
  const auto& p = node.payload<BatchNormPayload>();
  const Tensor x = node.unpack(0), statistics = node.unpack(1), gs = contiguous(*g);
  const Tensor weight = p.with_weight ? node.unpack(2) : Tensor();
  const int bias = p.with_weight ? 2 : 1;
  const bool wants_weight = p.with_weight && node.wants(1);
  const bool wants_bias = p.with_bias && node.wants(bias), wanted = wants_weight || wants_bias;
  const Dims sums{wanted ? p.channels : 0};
  const Tensor gx = Tensor::empty(x.sizes(), x.dtype(), x.device());
  const Tensor gw = Tensor::empty(sums, x.dtype(), x.device());
  const Tensor gb = Tensor::empty(sums, x.dtype(), x.device());
  const Tensor* operands[] = {&gx, &gw, &gb, &gs, &x, &statistics, &weight};
  Launch l;
  l.integer[1] = p.with_weight;
  l.integer[2] = wanted;
  describe_channels(l, Kernel::BatchNormGrad, operands, p.with_weight ? 7 : 6, p);
  launch(l);
  if (node.wants(0)) out[0] = gx;
  if (wants_weight) out[1] = gw;
  if (wants_bias) out[bias] = gb;
}
constexpr Rule kBatchNorm{"batch_norm", &batch_norm_pull};

// Statistics: (3, channels), means, 1 / deviations and variances.
Tensor by_batch(const Tensor& input, const Tensor& weight_given, const Tensor& bias_given,
                const BatchNormPayload& p, Tensor& statistics) {
  const Tensor x = contiguous(input);
  const Tensor weight = p.with_weight ? contiguous(weight_given) : Tensor();
  const Tensor bias = p.with_bias ? contiguous(bias_given) : Tensor();
  const Tensor out = Tensor::empty(x.sizes(), x.dtype(), x.device());
  statistics = Tensor::empty({3, p.channels}, x.dtype(), x.device());
  const Tensor* operands[] = {&out, &statistics, &x, p.with_weight ? &weight : &bias, &bias};
  Launch l;
  l.integer[1] = p.with_weight;
  l.integer[2] = p.with_bias;
  describe_channels(l, Kernel::BatchNorm, operands, 3 + p.with_weight + p.with_bias, p);
  launch(l);
  if (recording(x, weight, bias)) {
    const Tensor* in[] = {&x, p.with_weight ? &weight : &bias, &bias};
    Node* n = record(kBatchNorm, in, 1 + p.with_weight + p.with_bias, out, 3, p);
    n->save(0, x);
    n->save(1, statistics);
    if (p.with_weight) n->save(2, weight);
  }
  return out;
}

Tensor by_running(const Tensor& x, const Tensor& mean, const Tensor& var, const Tensor& weight,
                  const Tensor& bias, double eps) {
  Dims sizes = Dims::filled(x.dim(), 1);
  sizes[1] = x.size(1);
  const Var r = Var(1.0) / sqrt(Var(to(detach(var), x.dtype())) + Var(eps));
  const Var scale = weight.defined() ? r * Var(weight) : r;
  Var shift = -(Var(to(detach(mean), x.dtype())) * scale);
  if (bias.defined()) shift = Var(bias) + shift;
  return (Var(x) * Var(reshape(scale.tensor(), sizes)) + Var(reshape(shift.tensor(), sizes)))
      .tensor();
}

// running = (1 - momentum) running + momentum value, unrecorded
void update(const Tensor& running, const Tensor& value, double momentum) {
  if (!running.defined()) return;
  const GradMode off(false);
  const Tensor now = to(value, running.dtype());
  const auto number = [&](double v) { return number_like({false, 0, v}, &now); };
  copy_into(running, add(mul(running, number(1 - momentum)), mul(now, number(momentum))));
  running.bump_version();
}

void check_sides(const char* op, const Tensor& input, const Tensor& running_mean,
                 const Tensor& running_var, const Tensor& weight, const Tensor& bias) {
  const int64_t channels = input.size(1);
  for (const auto& [t, what] :
       {std::pair{&running_mean, "running_mean"}, std::pair{&running_var, "running_var"},
        std::pair{&weight, "weight"}, std::pair{&bias, "bias"}}) {
    if (!t->defined() || t->numel() == channels) continue;
    fail(op, ": ", what, " should contain ", channels, " elements not ", t->numel());
  }
  check_channels(op, "weight", weight, channels, input);
  check_channels(op, "bias", bias, channels, input);
  check_floating_input(op, input);
  check_parameters_dtype(op, input, weight, bias);
}

// Ioffe, Szegedy, Batch normalization (2015).
Tensor batch_norm(const Tensor& input, const Tensor& running_mean, const Tensor& running_var,
                  const Tensor& weight, const Tensor& bias, bool training, double momentum,
                  double eps) {
  constexpr auto op = "batch_norm";
  if (input.dim() < 2) {
    fail(training ? ErrorKind::Index : ErrorKind::Runtime, op,
         ": expected input of shape (N, C, ...), got ", input.sizes());
  }
  const int64_t channels = input.size(1);
  const int64_t each = channels == 0 ? 0 : input.numel() / channels;
  if (training && each <= 1) {
    fail(ErrorKind::Value, op, ": expected more than 1 value per channel when training, got input ",
         "size ", input.sizes());
  }
  if (!training && !(running_mean.defined() && running_var.defined())) {
    fail(op, ": running_mean and running_var must be defined in evaluation mode");
  }
  check_sides(op, input, running_mean, running_var, weight, bias);
  const Tensor x = wide(input), w = wide(weight), b = wide(bias);
  if (!training) {
    return to(by_running(x, running_mean, running_var, w, b, eps), input.dtype());
  }
  const BatchNormPayload p{
      input.size(0), channels,         each / std::max<int64_t>(input.size(0), 1),
      eps,           weight.defined(), bias.defined()};
  Tensor statistics;
  const Tensor out = to(by_batch(x, w, b, p, statistics), input.dtype());
  if (running_mean.defined()) update(running_mean, select(statistics, 0, 0), momentum);
  if (running_var.defined()) {
    const GradMode off(false);
    const Tensor var = select(statistics, 0, 2);
    const double unbiased = static_cast<double>(each) / static_cast<double>(each - 1);
    update(running_var, mul(var, number_like({false, 0, unbiased}, &var)), momentum);
  }
  return out;
}

Tensor flat_sides(const Tensor& t, int64_t times) {
  if (!t.defined()) return t;
  return reshape(expand(unsqueeze(t, 0), {times, t.numel()}), {times * t.numel()});
}

// Ulyanov, Vedaldi, Lempitsky, Instance normalization (2016).
Tensor instance_norm(const Tensor& input, const Tensor& running_mean, const Tensor& running_var,
                     const Tensor& weight, const Tensor& bias, bool use_input_stats,
                     double momentum, double eps) {
  constexpr auto op = "instance_norm";
  if (input.dim() < 2) fail(op, ": expected input of shape (N, C, ...), got ", input.sizes());
  if (!use_input_stats) {
    return batch_norm(input, running_mean, running_var, weight, bias, false, momentum, eps);
  }
  const int64_t n = input.size(0), channels = input.size(1);
  const int64_t each = n * channels == 0 ? 0 : input.numel() / (n * channels);
  if (each <= 1) {
    fail(ErrorKind::Value, op, ": expected more than 1 spatial element when training, got input ",
         "size ", input.sizes());
  }
  check_sides(op, input, running_mean, running_var, weight, bias);
  if (!running_mean.defined() && !running_var.defined()) {
    return normalize_groups(input, channels, weight, bias, eps);
  }
  // the means over the instances of what each of them would make of the running statistics
  const auto repeat = [&](const Tensor& t) {
    return t.defined() ? contiguous(flat_sides(detach(t), n)) : t;
  };
  Dims sizes = input.sizes();
  sizes[0] = 1;
  sizes[1] = n * channels;
  const Tensor means = repeat(running_mean), vars = repeat(running_var);
  const Tensor out = batch_norm(reshape(input, sizes), means, vars, flat_sides(weight, n),
                                flat_sides(bias, n), true, momentum, eps);
  const Dims instances{0};
  for (const auto& [running, all] : {std::pair{&running_mean, &means}, {&running_var, &vars}}) {
    if (!running->defined()) continue;
    const GradMode off(false);
    copy_into(*running, mean(reshape(*all, {n, channels}), &instances, false));
    running->bump_version();
  }
  return reshape(out, input.sizes());
}

}  // namespace
}  // namespace ops

void add_batch_norm(OpTable& t) {
  using namespace ops;
  t.push_back(row<&batch_norm>(
      "batch_norm(Tensor input, Tensor? running_mean, Tensor? running_var, Tensor? weight=None, "
      "Tensor? bias=None, bool training=False, float momentum=0.1, float eps=1e-05)",
      kFunctional,
      "(x - mean) / sqrt(var + eps) weight + bias for each channel of (N, C, ...), mean and "
      "variance over all else (Ioffe, Szegedy, Batch normalization, 2015). In training those of "
      "the batch, which the running ones move towards by momentum, in place; else the running "
      "ones. Derivative in training: that of layer_norm."));
  t.push_back(row<&instance_norm>(
      "instance_norm(Tensor input, Tensor? running_mean=None, Tensor? running_var=None, Tensor? "
      "weight=None, Tensor? bias=None, bool use_input_stats=True, float momentum=0.1, float "
      "eps=1e-05)",
      kFunctional,
      "batch_norm of each sample of the batch alone (Ulyanov, Vedaldi, Lempitsky, Instance "
      "normalization, 2016)."));
}

}  // namespace wengert
