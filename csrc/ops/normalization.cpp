// Normalization of rows: layer, root mean square and group, by one kernel each way; instance, which
// is of groups of one channel.
#include "ops/normalization.h"

#include <cmath>
#include <limits>

#include "kernels/launch.h"
#include "ops/elementwise.h"
#include "ops/op_table.h"
#include "tape/backward.h"

namespace wengert {
namespace ops {

Tensor wide(const Tensor& t) {
  return t.defined() ? to(t, compute_dtype(t.dtype())) : t;
}

void check_floating_input(const char* op, const Tensor& input) {
  if (is_floating(input.dtype())) return;
  fail(ErrorKind::NotImplemented, op, ": not implemented for ", name_of(input.dtype()),
       "; expected a floating point input");
}

void check_parameters_dtype(const char* op, const Tensor& input, const Tensor& weight,
                            const Tensor& bias) {
  for (const Tensor* t : {&weight, &bias}) {
    if (!t->defined() || t->dtype() == input.dtype()) continue;
    // narrow inputs go with parameters of the dtype that they are computed in
    if (is_narrow(input.dtype()) && t->dtype() == compute_dtype(input.dtype())) continue;
    fail(op, ": expected weight and bias of the input's dtype ", name_of(input.dtype()), ", got ",
         name_of(t->dtype()));
  }
}

void check_channels(const char* op, const char* what, const Tensor& t, int64_t channels,
                    const Tensor& input) {
  if (!t.defined() || (t.dim() == 1 && t.numel() == channels)) return;
  fail(op, ": expected ", what,
       " to be a vector of size equal to the number of channels in input, ", "but got ", what,
       " of shape ", t.sizes(), " and input of shape ", input.sizes());
}

namespace {

// The input as (outer, groups, weights, inner): a row is the last two dimensions.
struct NormPayload {
  int64_t outer, groups, weights, inner;
  double eps;
  bool about_zero, with_weight, with_bias;
  int64_t columns() const { return weights * inner; }
  int64_t rows() const { return outer * groups; }
};

void describe_norm(Launch& l, Kernel kernel, const Tensor* const* operands, int n,
                   const NormPayload& p) {
  l.kernel = id(kernel);
  l.dtype = operands[0]->dtype();
  l.device = operands[0]->device();
  l.dense = true;
  l.ndim = 2;
  l.size[0] = p.rows();
  l.size[1] = p.columns();
  l.count = l.size[0] * l.size[1];
  l.number[0] = p.eps;
  l.more[0] = p.groups;
  l.more[1] = p.inner;
  l.nbuffers = static_cast<uint8_t>(n);
  for (int k = 0; k < n; ++k) set_buffer(l, k, *operands[k]);
}

Tensor times_mean(const Tensor& x, const Dims& dims) {
  return mean(x, &dims, true);
}

// With h = (x - mean) r, r = 1 / deviation and u = g w:
// dx = r (u - mean(u) - h mean(u h)), dw = sum g h, db = sum g; about 0 without mean(u).
void norm_pull_recorded(Node& node, const Tensor& g, Tensor* out) {
  const auto& p = node.payload<NormPayload>();
  const Dims shape{p.outer, p.groups, p.weights, p.inner}, row{2, 3}, others{0, 3};
  const Tensor x = reshape(node.unpack(0), shape), gs = reshape(g, shape);
  const Tensor centred = p.about_zero ? x : sub(x, times_mean(x, row));
  const Var variance(times_mean(square(centred), row));
  const Var r = Var(1.0) / sqrt(variance + Var(p.eps));
  const Var h = Var(centred) * r;
  Var u(gs);
  if (p.with_weight) {
    u = u * Var(reshape(node.unpack(2), {p.groups, p.weights, 1}));
  }
  if (node.wants(0)) {
    Var inner = u - h * Var(times_mean((u * h).tensor(), row));
    if (!p.about_zero) inner = inner - Var(times_mean(u.tensor(), row));
    out[0] = reshape((r * inner).tensor(), node.input_sizes(0));
  }
  if (p.with_weight && node.wants(1)) {
    out[1] = reshape(sum((Var(gs) * h).tensor(), &others, false), node.input_sizes(1));
  }
  const int bias = p.with_weight ? 2 : 1;
  if (p.with_bias && node.wants(bias)) {
    out[bias] = reshape(sum(gs, &others, false), node.input_sizes(bias));
  }
}

void norm_pull(Node& node, Tensor* g, Tensor* out) {
  if (grad_enabled()) return norm_pull_recorded(node, *g, out);
  const auto& p = node.payload<NormPayload>();
  const Tensor x = node.unpack(0), statistics = node.unpack(1), gs = contiguous(*g);
  const Tensor weight = p.with_weight ? node.unpack(2) : Tensor();
  const int bias = p.with_weight ? 2 : 1;
  const bool wants_weight = p.with_weight && node.wants(1);
  const bool wants_bias = p.with_bias && node.wants(bias), wanted = wants_weight || wants_bias;
  const Dims sums{wanted ? p.groups * p.weights : 0};
  const Tensor gx = Tensor::empty(x.sizes(), x.dtype(), x.device());
  const Tensor gw = Tensor::empty(sums, x.dtype(), x.device());
  const Tensor gb = Tensor::empty(sums, x.dtype(), x.device());
  const Tensor* operands[] = {&gx, &gw, &gb, &gs, &x, &statistics, &weight};
  Launch l;
  l.integer[1] = p.with_weight;
  l.integer[2] = wanted;
  describe_norm(l, p.about_zero ? Kernel::RmsNormGrad : Kernel::LayerNormGrad, operands,
                p.with_weight ? 7 : 6, p);
  launch(l);
  if (node.wants(0)) out[0] = gx;
  if (wants_weight) out[1] = reshape(gw, node.input_sizes(1));
  if (wants_bias) out[bias] = reshape(gb, node.input_sizes(bias));
}
constexpr Rule kLayerNorm{"layer_norm", &norm_pull};
constexpr Rule kRmsNorm{"rms_norm", &norm_pull};
constexpr Rule kGroupNorm{"group_norm", &norm_pull};

Tensor normalized(const Rule& rule, const Tensor& input, const Tensor& weight_given,
                  const Tensor& bias_given, NormPayload p) {
  const Tensor x = contiguous(input);
  const Tensor weight = p.with_weight ? contiguous(weight_given) : Tensor();
  const Tensor bias = p.with_bias ? contiguous(bias_given) : Tensor();
  const Tensor out = Tensor::empty(x.sizes(), x.dtype(), x.device());
  const Tensor statistics = Tensor::empty({p.rows(), 2}, x.dtype(), x.device());
  const Tensor* operands[] = {&out, &statistics, &x, p.with_weight ? &weight : &bias, &bias};
  Launch l;
  l.integer[1] = p.with_weight;
  l.integer[2] = p.with_bias;
  describe_norm(l, p.about_zero ? Kernel::RmsNorm : Kernel::LayerNorm, operands,
                3 + p.with_weight + p.with_bias, p);
  launch(l);
  if (recording(x, weight, bias)) {
    const Tensor* in[] = {&x, p.with_weight ? &weight : &bias, &bias};
    Node* n = record(rule, in, 1 + p.with_weight + p.with_bias, out, 3, p);
    n->save(0, x);
    n->save(1, statistics);
    if (p.with_weight) n->save(2, weight);
  }
  return out;
}

// The trailing dimensions that a shape names, as one.
NormPayload rows_of_shape(const char* op, const Tensor& input, const Dims& shape,
                          const Tensor& weight, const Tensor& bias, double eps) {
  if (shape.empty()) {
    fail(op, ": expected normalized_shape to be at least 1-dimensional, got ", shape);
  }
  const int outer = input.dim() - shape.size();
  bool fits = outer >= 0;
  for (int d = 0; fits && d < shape.size(); ++d) fits = input.size(outer + d) == shape[d];
  if (!fits) {
    fail(op, ": given normalized_shape=", shape, ", expected input with these last sizes, but got ",
         "input of shape ", input.sizes());
  }
  for (const auto& [t, what] : {std::pair{&weight, "weight"}, std::pair{&bias, "bias"}}) {
    if (!t->defined() || t->sizes() == shape) continue;
    fail(op, ": expected ", what, " to be of same shape as normalized_shape, but got ", what,
         " of shape ", t->sizes(), " and normalized_shape = ", shape);
  }
  NormPayload p{};
  p.outer = 1;
  for (int d = 0; d < outer; ++d) p.outer *= input.size(d);
  p.groups = p.inner = 1;
  p.weights = product(shape);
  p.eps = eps;
  p.with_weight = weight.defined();
  p.with_bias = bias.defined();
  return p;
}

Tensor layer_norm(const Tensor& input, const Dims& normalized_shape, const Tensor& weight,
                  const Tensor& bias, double eps) {
  constexpr auto op = "layer_norm";
  const NormPayload p = rows_of_shape(op, input, normalized_shape, weight, bias, eps);
  check_floating_input(op, input);
  check_parameters_dtype(op, input, weight, bias);
  return to(normalized(kLayerNorm, wide(input), wide(weight), wide(bias), p), input.dtype());
}

// What is added before the root where nothing is given: the dtype's eps.
double eps_of(DType d) {
  if (d == DType::Float64) return std::numeric_limits<double>::epsilon();
  return std::numeric_limits<float>::epsilon();
}

// Zhang, Sennrich, Root mean square layer normalization (2019).
Tensor rms_norm(const Tensor& input, const Dims& normalized_shape, const Tensor& weight,
                std::optional<double> eps) {
  constexpr auto op = "rms_norm";
  NormPayload p = rows_of_shape(op, input, normalized_shape, weight, {}, 0);
  check_floating_input(op, input);
  p.eps = eps ? *eps : eps_of(input.dtype());
  p.about_zero = true;
  if (!weight.defined()) return to(normalized(kRmsNorm, wide(input), {}, {}, p), input.dtype());
  const DType d = promote_types(input.dtype(), weight.dtype());
  if (is_narrow(input.dtype()) || weight.dtype() == input.dtype()) {
    const DType computed = compute_dtype(d);
    return to(normalized(kRmsNorm, to(input, computed), to(weight, computed), {}, p),
              is_narrow(input.dtype()) ? input.dtype() : d);
  }
  // a weight of another dtype multiplies the result
  p.with_weight = false;
  return mul(normalized(kRmsNorm, input, {}, {}, p), weight);
}

}  // namespace

Tensor normalize_groups(const Tensor& input, int64_t groups, const Tensor& weight,
                        const Tensor& bias, double eps) {
  NormPayload p{};
  p.outer = input.size(0);
  p.groups = groups;
  p.weights = input.size(1) / groups;
  p.inner = 1;
  for (int d = 2; d < input.dim(); ++d) p.inner *= input.size(d);
  p.eps = eps;
  p.with_weight = weight.defined();
  p.with_bias = bias.defined();
  if (input.numel() == 0) {
    // nothing to normalize; gradients of weights are zeros
    Tensor out = wide(input);
    Dims sizes = Dims::filled(input.dim(), 1);
    sizes[1] = input.size(1);
    if (weight.defined()) out = mul(out, reshape(wide(weight), sizes));
    return to(bias.defined() ? add(out, reshape(wide(bias), sizes)) : out, input.dtype());
  }
  return to(normalized(kGroupNorm, wide(input), wide(weight), wide(bias), p), input.dtype());
}

namespace {

// Wu, He, Group normalization (2018).
Tensor group_norm(const Tensor& input, int64_t num_groups, const Tensor& weight, const Tensor& bias,
                  double eps) {
  constexpr auto op = "group_norm";
  if (input.dim() < 2) {
    fail(op, ": expected at least 2 dimensions for input tensor but received ", input.dim());
  }
  if (num_groups <= 0) fail(op, ": expected num_groups > 0, got ", num_groups);
  const int64_t channels = input.size(1);
  if (channels % num_groups != 0) {
    fail(op, ": expected number of channels in input to be divisible by num_groups, but got input ",
         "of shape ", input.sizes(), " and num_groups=", num_groups);
  }
  check_channels(op, "weight", weight, channels, input);
  check_channels(op, "bias", bias, channels, input);
  check_floating_input(op, input);
  check_parameters_dtype(op, input, weight, bias);
  return normalize_groups(input, num_groups, weight, bias, eps);
}

}  // namespace
}  // namespace ops

void add_normalization(OpTable& t) {
  using namespace ops;
  t.push_back(row<&layer_norm>(
      "layer_norm(Tensor input, int[] normalized_shape, Tensor? weight=None, Tensor? bias=None, "
      "float eps=1e-05)",
      kFunctional,
      "(x - mean) / sqrt(var + eps) weight + bias, mean and variance over the last dimensions, "
      "whose sizes are normalized_shape (Ba, Kiros, Hinton, Layer normalization, 2016). "
      "Derivative: with h the normalized x and u = g weight, (u - mean(u) - h mean(u h)) / "
      "sqrt(var + eps)."));
  t.push_back(row<&rms_norm>(
      "rms_norm(Tensor input, int[] normalized_shape, Tensor? weight=None, float? eps=None)",
      kFunctional,
      "x / sqrt(mean(x^2) + eps) weight, the mean over the last dimensions, whose sizes are "
      "normalized_shape (Zhang, Sennrich, Root mean square layer normalization, 2019). eps is by "
      "default that of the dtype. Derivative: with h the normalized x and u = g weight, (u - h "
      "mean(u h)) / sqrt(mean(x^2) + eps)."));
  t.push_back(row<&group_norm>(
      "group_norm(Tensor input, int num_groups, Tensor? weight=None, Tensor? bias=None, "
      "float eps=1e-05)",
      kFunctional,
      "layer_norm of each of num_groups groups of channels of an input (N, C, ...), with a weight "
      "and a bias a channel (Wu, He, Group normalization, 2018)."));
}

}  // namespace wengert
