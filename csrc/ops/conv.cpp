// Convolutions and transposed convolutions in one to three dimensions.
#include "ops/conv.h"

#include "kernels/launch.h"
#include "ops/autocast.h"
#include "ops/elementwise.h"
#include "ops/flat_launch.h"
#include "ops/op_table.h"
#include "ops/reduce.h"
#include "tape/backward.h"

namespace wengert {
namespace ops {

// --- the recorded three ------------------------------------------------------------------------

namespace {

Tensor run(Kernel kernel, const Dims& sizes, const Tensor& a, const Tensor& b, const Tensor& bias,
           ConvParams& p) {
  p.has_bias = bias.defined();
  const Tensor out = Tensor::empty(sizes, a.dtype(), a.device());
  const Tensor dense[] = {contiguous(a), contiguous(b), p.has_bias ? contiguous(bias) : bias};
  Launch l = flat_launch(kernel, a.dtype(), a.device(), out.numel(), p.has_bias ? 4 : 3);
  l.pointer = &p;
  set_buffer(l, 0, out);
  for (int k = 1; k < l.nbuffers; ++k) set_buffer(l, k, dense[k - 1]);
  launch(l);
  return out;
}

Dims with_axes(int64_t first, int64_t second, const int64_t* sizes, int axes) {
  Dims d{first, second};
  for (int i = 3 - axes; i < 3; ++i) d.push_back(sizes[i]);
  return d;
}

Tensor bias_gradient(const Tensor& g) {
  Dims dims{0};
  for (int d = 2; d < g.dim(); ++d) dims.push_back(d);
  return sum(g, &dims, false);
}

void convolve_pull(Node& node, Tensor* g, Tensor* out) {
  const auto p = node.payload<ConvParams>();
  if (node.wants(0)) out[0] = convolve_input(*g, node.unpack(1), {}, p);
  if (node.wants(1)) out[1] = convolve_weight(*g, node.unpack(0), p);
  if (node.num_inputs > 2 && node.wants(2)) out[2] = bias_gradient(*g);
}
// Its own input is the g of T.
void convolve_input_pull(Node& node, Tensor* g, Tensor* out) {
  const auto p = node.payload<ConvParams>();
  if (node.wants(0)) out[0] = convolve(*g, node.unpack(1), {}, p);
  if (node.wants(1)) out[1] = convolve_weight(node.unpack(0), *g, p);
  if (node.num_inputs > 2 && node.wants(2)) out[2] = bias_gradient(*g);
}
void convolve_weight_pull(Node& node, Tensor* g, Tensor* out) {
  const auto p = node.payload<ConvParams>();
  if (node.wants(0)) out[0] = convolve(node.unpack(1), *g, {}, p);
  if (node.wants(1)) out[1] = convolve_input(node.unpack(0), *g, {}, p);
}
constexpr Rule kConvolve{"convolution", &convolve_pull};
constexpr Rule kConvolveInput{"convolution_transposed", &convolve_input_pull};
constexpr Rule kConvolveWeight{"convolution_weight", &convolve_weight_pull};

Tensor recorded(const Rule& rule, const Tensor& out, const Tensor& a, const Tensor& b,
                const Tensor& bias, const ConvParams& p) {
  if (!recording(a, b, bias)) return out;
  const Tensor* in[] = {&a, &b, &bias};
  Node* n = record(rule, in, bias.defined() ? 3 : 2, out, 2, p);
  if (n->edges()[0].node) n->save(1, b);
  if (n->edges()[1].node) n->save(0, a);
  return out;
}

}  // namespace

Tensor convolve(const Tensor& x, const Tensor& w, const Tensor& bias, ConvParams p) {
  const Dims sizes = with_axes(p.batch, p.groups * p.out_channels, p.output, x.dim() - 2);
  return recorded(kConvolve, run(Kernel::Conv, sizes, x, w, bias, p), x, w, bias, p);
}

Tensor convolve_input(const Tensor& g, const Tensor& w, const Tensor& bias, ConvParams p) {
  const Dims sizes = with_axes(p.batch, p.groups * p.in_channels, p.input, g.dim() - 2);
  return recorded(kConvolveInput, run(Kernel::ConvGradInput, sizes, g, w, bias, p), g, w, bias, p);
}

Tensor convolve_weight(const Tensor& g, const Tensor& x, ConvParams p) {
  const Dims sizes = with_axes(p.groups * p.out_channels, p.in_channels, p.kernel, g.dim() - 2);
  return recorded(kConvolveWeight, run(Kernel::ConvGradWeight, sizes, g, x, {}, p), g, x, {}, p);
}

// --- arguments ---------------------------------------------------------------------------------

Dims per_axis(const char* op, const char* what, const Dims& given, int axes) {
  if (given.size() == 1) return Dims::filled(axes, given[0]);
  if (given.size() != axes) {
    fail(op, ": expected ", what, " to be a single integer or ", axes, " of them, but got ", given);
  }
  return given;
}

bool is_unbatched(const char* op, const Tensor& x, int axes) {
  if (x.dim() != axes + 1 && x.dim() != axes + 2) {
    fail(op, ": expected ", axes + 1, "D (unbatched) or ", axes + 2,
         "D (batched) input, but got shape ", x.sizes());
  }
  return x.dim() == axes + 1;
}

namespace {

constexpr int64_t kLargest = int64_t{1} << 40;  // of what is multiplied and added below

// A value for each of three axes; those in front are `other`.
void set_axes(const char* op, const char* what, const Dims& given, int axes, int64_t least,
              int64_t other, int64_t* to) {
  const Dims d = per_axis(op, what, given, axes);
  for (int i = 0; i < 3; ++i) to[i] = i < 3 - axes ? other : d[i - (3 - axes)];
  for (int i = 0; i < 3; ++i) {
    if (to[i] < least || to[i] > kLargest) {
      fail(op, ": ", what, " should be at least ", least, least ? " (positive)" : "", ", but got ",
           given);
    }
  }
}

struct Arguments {
  const char* op;
  int axes;
  const Tensor &input, &weight, &bias;
};

// Channels, groups, dtypes; `transposed` weights are (in, out / groups, ...).
void check(const Arguments& a, int64_t groups, bool transposed) {
  const Tensor &x = a.input, &w = a.weight;
  if (groups <= 0 || groups > kLargest) {
    fail(a.op, ": non-positive groups is not supported, got ", groups);
  }
  if (w.dim() != a.axes + 2) {
    fail(a.op, ": expected a weight of ", a.axes + 2, " dimensions, but got shape ", w.sizes());
  }
  for (const Tensor* t : {&a.weight, &a.bias}) {
    if (!t->defined()) continue;
    if (t->dtype() != x.dtype()) {
      fail(a.op, ": expected input, weight and bias of the same dtype, but got ",
           name_of(x.dtype()), " and ", name_of(t->dtype()));
    }
    if (t->device() != x.device()) {
      fail(a.op, ": expected all tensors to be on the same device, but found ", name_of(x.device()),
           " and ", name_of(t->device()));
    }
  }
  if (!is_floating(x.dtype())) {
    fail(ErrorKind::NotImplemented, a.op, ": not implemented for ", name_of(x.dtype()),
         "; expected a floating point dtype");
  }
  if (w.size(0) < groups || w.size(0) % groups != 0) {
    fail(a.op, ": given groups=", groups, ", expected weight to be divisible by ", groups,
         " at dimension 0, but got shape ", w.sizes());
  }
  const int64_t channels = x.size(x.dim() - a.axes - 1);
  const int64_t wanted = transposed ? w.size(0) : w.size(1) * groups;
  if (channels != wanted) {
    fail(a.op, ": given groups=", groups, " and weight of shape ", w.sizes(),
         ", expected input of ", wanted, " channels, but got shape ", x.sizes());
  }
  const int64_t results = transposed ? w.size(1) * groups : w.size(0);
  if (a.bias.defined() && (a.bias.dim() != 1 || a.bias.size(0) != results)) {
    fail(a.op, ": given weight of shape ", w.sizes(), ", expected bias of shape (", results,
         ",), but got ", a.bias.sizes());
  }
  int64_t spatial = 1;
  for (int d = 0; d < a.axes; ++d) {
    spatial *= x.size(x.dim() - 1 - d) == 0 ? 0 : 1;
    if (w.size(2 + d) == 0) {
      fail(a.op, ": kernel size should be greater than zero, but got weight of shape ", w.sizes());
    }
  }
  const int64_t batch = x.dim() == a.axes + 2 ? x.size(0) : 1;
  if (spatial == 0 && batch != 0 && channels != 0) {
    fail(a.op, ": only zero batch or zero channel inputs are supported, but got shape ", x.sizes());
  }
}

// Sizes of input and kernel for each axis.
ConvParams params_of(const Arguments& a, int64_t groups) {
  ConvParams p{};
  p.batch = a.input.dim() == a.axes + 2 ? a.input.size(0) : 1;
  p.groups = groups;
  for (int d = 0; d < 3; ++d) {
    const int at = d - (3 - a.axes);
    p.input[d] = at < 0 ? 1 : a.input.size(a.input.dim() - a.axes + at);
    p.kernel[d] = at < 0 ? 1 : a.weight.size(2 + at);
  }
  return p;
}

using Function = Tensor (*)(const Tensor&, const Tensor&, const Tensor&, ConvParams);
Tensor apply_to(const Arguments& a, Function function, const ConvParams& p) {
  const bool single = a.input.dim() == a.axes + 1;
  const Tensor x = single ? unsqueeze(a.input, 0) : a.input;
  const DType asked = x.dtype(), wide = compute_dtype(asked);
  Tensor y;
  if (wide == asked || x.device() != Device::CPU) {  // where 16-bit floats have kernels
    y = function(x, a.weight, a.bias, p);
  } else {
    y = to(
        function(to(x, wide), to(a.weight, wide), a.bias.defined() ? to(a.bias, wide) : a.bias, p),
        asked);
  }
  return single ? squeeze(y, 0) : y;
}

// `after` is what padding adds behind each axis; else it is the padding in front.
Tensor convolution(const Arguments& a, const Dims& stride, const Dims& padding,
                   const Dims& dilation, int64_t groups, bool same) {
  is_unbatched(a.op, a.input, a.axes);
  check(a, groups, false);
  ConvParams p = params_of(a, groups);
  p.in_channels = a.weight.size(1);
  p.out_channels = a.weight.size(0) / groups;
  set_axes(a.op, "stride", stride, a.axes, 1, 1, p.stride);
  set_axes(a.op, "padding", padding, a.axes, 0, 0, p.padding);
  set_axes(a.op, "dilation", dilation, a.axes, 1, 1, p.dilation);
  for (int d = 0; d < 3; ++d) {
    int64_t reach;
    if (__builtin_mul_overflow(p.dilation[d], p.kernel[d] - 1, &reach) || reach > 2 * kLargest) {
      fail(a.op, ": dilation ", dilation, " is too large for weight of shape ", a.weight.sizes());
    }
    if (same) {
      p.padding[d] = reach / 2;
      p.output[d] = p.input[d];
      continue;
    }
    const int64_t room = p.input[d] + 2 * p.padding[d] - reach - 1;
    if (room < 0) {
      fail(a.op, ": input of shape ", a.input.sizes(), " with padding ", padding,
           " is smaller than the kernel of weight of shape ", a.weight.sizes(), " with dilation ",
           dilation);
    }
    p.output[d] = room / p.stride[d] + 1;
  }
  return apply_to(a, &convolve, p);
}

Tensor transposed_convolution(const Arguments& a, const Dims& stride, const Dims& padding,
                              const Dims& output_padding, int64_t groups, const Dims& dilation) {
  is_unbatched(a.op, a.input, a.axes);
  check(a, groups, true);
  ConvParams p = params_of(a, groups);
  p.in_channels = a.weight.size(1);
  p.out_channels = a.weight.size(0) / groups;
  int64_t more[3];
  set_axes(a.op, "stride", stride, a.axes, 1, 1, p.stride);
  set_axes(a.op, "padding", padding, a.axes, 0, 0, p.padding);
  set_axes(a.op, "dilation", dilation, a.axes, 1, 1, p.dilation);
  set_axes(a.op, "output_padding", output_padding, a.axes, 0, 0, more);
  for (int d = 0; d < 3; ++d) {
    if (more[d] >= p.stride[d] && more[d] >= p.dilation[d]) {
      fail(a.op, ": output padding must be smaller than either stride or dilation, but got ",
           output_padding, ", ", stride, " and ", dilation);
    }
    p.output[d] = p.input[d];
    int64_t steps, reach;
    const bool fits = !__builtin_mul_overflow(p.input[d] - 1, p.stride[d], &steps) &&
                      !__builtin_mul_overflow(p.dilation[d], p.kernel[d] - 1, &reach) &&
                      std::abs(steps) <= 4 * kLargest && reach <= 4 * kLargest;
    const int64_t size = fits ? steps - 2 * p.padding[d] + reach + more[d] + 1 : 0;
    if (size < 1 && p.output[d] > 0) {
      fail(a.op, ": input of shape ", a.input.sizes(), " with weight of shape ", a.weight.sizes(),
           " gives an output of size ", size, "; expected at least 1");
    }
    p.input[d] = std::max<int64_t>(size, 0);
  }
  return apply_to(a, &convolve_input, p);
}

// --- rows --------------------------------------------------------------------------------------

constexpr const char* kConvNames[] = {"conv1d", "conv2d", "conv3d"};
constexpr const char* kTransposedNames[] = {"conv_transpose1d", "conv_transpose2d",
                                            "conv_transpose3d"};

template <int Axes>
Tensor conv(const Tensor& input, const Tensor& weight, const Tensor& bias, const Dims& stride,
            const Dims& padding, const Dims& dilation, int64_t groups) {
  return convolution({kConvNames[Axes - 1], Axes, input, weight, bias}, stride, padding, dilation,
                     groups, false);
}

template <int Axes>
Tensor conv_named(const Tensor& input, const Tensor& weight, const Tensor& bias, const Dims& stride,
                  std::string_view padding, const Dims& dilation, int64_t groups) {
  const char* op = kConvNames[Axes - 1];
  if (padding != "same" && padding != "valid") {
    fail(op, ": invalid padding string '", padding, "'; expected 'same' or 'valid'");
  }
  const bool same = padding == "same";
  for (const int64_t s : stride) {
    if (same && s != 1) fail(op, ": padding='same' is not supported for strided convolutions");
  }
  return convolution({op, Axes, input, weight, bias}, stride, {0}, dilation, groups, same);
}

template <int Axes>
Tensor conv_transpose(const Tensor& input, const Tensor& weight, const Tensor& bias,
                      const Dims& stride, const Dims& padding, const Dims& output_padding,
                      int64_t groups, const Dims& dilation) {
  return transposed_convolution({kTransposedNames[Axes - 1], Axes, input, weight, bias}, stride,
                                padding, output_padding, groups, dilation);
}

template <int Axes>
void add_rows_for(OpTable& t, const char* shape) {
  const std::string n = std::to_string(Axes);
  const auto head = [&](const char* name) {
    return name + n + "d(Tensor input, Tensor weight, Tensor? bias=None, int[] stride=1, ";
  };
  t.push_back(row<lowered<&conv<Axes>>>(
      head("conv") + "int[] padding=0, int[] dilation=1, int groups=1)", kFunction | kFunctional,
      text("The convolution (without turning the kernel round) of input, (N, C, ", shape,
           ") or one sample of it, with weight, (out, C / groups, kernel), plus bias. padding may "
           "be 'same' or 'valid'. Derivatives: of input the transposed convolution of g, of weight "
           "that of input with g.")));
  t.push_back(row<lowered<&conv_named<Axes>>>(
      head("conv") + "str padding='valid', int[] dilation=1, int groups=1)",
      kFunction | kFunctional, ""));
  t.push_back(row<lowered<&conv_transpose<Axes>>>(
      head("conv_transpose") +
          "int[] padding=0, int[] output_padding=0, int groups=1, int[] dilation=1)",
      kFunction | kFunctional,
      text("The transposed convolution, the derivative of conv", n,
           "d by its input: each element of input, (N, C, ", shape,
           ") or one sample of it, adds weight, (C, out / groups, kernel), times itself, plus "
           "bias.")));
}

}  // namespace
}  // namespace ops

void add_convolution(OpTable& t) {
  ops::add_rows_for<1>(t, "L");
  ops::add_rows_for<2>(t, "H, W");
  ops::add_rows_for<3>(t, "D, H, W");
}

}  // namespace wengert
