// Pooling: the best, or the mean, of windows.
#include <cmath>

#include "kernels/launch.h"
#include "ops/conv.h"
#include "ops/elementwise.h"
#include "ops/flat_launch.h"
#include "ops/op_table.h"
#include "ops/reduce.h"
#include "tape/backward.h"

namespace wengert {
namespace ops {
namespace {

constexpr int64_t kLargest = int64_t{1} << 40;

// --- windows -----------------------------------------------------------------------------------

struct Windows {
  const char* op;
  int axes;
  const Tensor& x;
  const Dims& kernel;
  const Dims* stride;  // null: the kernel
  const Dims& padding;
  Dims dilation;
  bool ceil_mode;
};

void check_input(const char* op, const Tensor& x, int axes) {
  is_unbatched(op, x, axes);
  for (int d = x.dim() - axes - 1; d < x.dim(); ++d) {
    if (x.size(d) == 0) {
      fail(op,
           ": expected input whose dimensions, but for the batch, are not empty, but got shape ",
           x.sizes());
    }
  }
}

void set_axes(const Windows& w, const char* what, const Dims& given, int64_t least, int64_t other,
              int64_t* to) {
  const Dims d = per_axis(w.op, what, given, w.axes);
  for (int i = 0; i < 3; ++i) to[i] = i < 3 - w.axes ? other : d[i - (3 - w.axes)];
  for (int i = 0; i < 3; ++i) {
    if (to[i] < least || to[i] > kLargest) {
      fail(w.op, ": ", what, " should be at least ", least, ", but got ", given);
    }
  }
}

PoolParams params_of(const Windows& w) {
  check_input(w.op, w.x, w.axes);
  PoolParams p{};
  set_axes(w, "kernel_size", w.kernel, 1, 1, p.kernel);
  set_axes(w, "stride", w.stride && !w.stride->empty() ? *w.stride : w.kernel, 1, 1, p.stride);
  set_axes(w, "padding", w.padding, 0, 0, p.padding);
  set_axes(w, "dilation", w.dilation, 1, 1, p.dilation);
  for (int d = 0; d < 3; ++d) {
    const int at = w.x.dim() - 3 + d;
    p.input[d] = d < 3 - w.axes ? 1 : w.x.size(at);
    int64_t reach;
    if (__builtin_mul_overflow(p.kernel[d] - 1, p.dilation[d], &reach) || reach > 2 * kLargest) {
      fail(w.op, ": kernel ", w.kernel, " with dilation ", w.dilation, " is too large");
    }
    if (p.padding[d] > (reach + 1) / 2) {
      fail(w.op, ": pad should be at most half of effective kernel size, but got pad=", w.padding,
           ", kernel_size=", w.kernel, " and dilation=", w.dilation);
    }
    const int64_t room = p.input[d] + 2 * p.padding[d] - reach - 1;
    const int64_t up = w.ceil_mode ? p.stride[d] - 1 : 0;
    p.output[d] = room + up < 0 ? 0 : (room + up) / p.stride[d] + 1;
    // No window begins behind the input.
    if (w.ceil_mode && (p.output[d] - 1) * p.stride[d] >= p.input[d] + p.padding[d]) {
      --p.output[d];
    }
    if (p.output[d] < 1) {
      fail(w.op, ": input of shape ", w.x.sizes(), " is too small for kernel_size=", w.kernel,
           " with padding=", w.padding);
    }
  }
  p.planes = 1;
  for (int d = 0; d < w.x.dim() - w.axes; ++d) p.planes *= w.x.size(d);
  return p;
}

Dims pooled_sizes(const Tensor& x, const int64_t* output, int axes) {
  Dims sizes = x.sizes();
  for (int d = 0; d < axes; ++d) sizes[x.dim() - axes + d] = output[3 - axes + d];
  return sizes;
}

// --- the best of each --------------------------------------------------------------------------

struct Planes {
  int64_t count, inputs, outputs;
};

// x's gradient: each element of g where the best was found.
Tensor put_back(const Tensor& g, const Tensor& places, const Planes& p, const Dims& sizes) {
  if (grad_enabled()) {
    const Dims flat{p.count, p.outputs};
    const Tensor zero = zeros({p.count, p.inputs}, g.dtype(), g.device());
    return reshape(scatter_add(zero, 1, reshape(places, flat), reshape(g, flat)), sizes);
  }
  const Tensor out = Tensor::empty(sizes, g.dtype(), g.device()), dense = contiguous(g);
  const Tensor* operands[] = {&out, &dense, &places};
  Launch l;
  l.kernel = id(Kernel::MaxPoolGrad);
  l.dtype = g.dtype();
  l.device = g.device();
  l.dense = true;
  l.ndim = 2;
  l.size[0] = p.count;
  l.size[1] = p.outputs;
  l.count = p.count * p.inputs;
  l.integer[0] = p.inputs;
  l.nbuffers = 3;
  for (int k = 0; k < 3; ++k) set_buffer(l, k, *operands[k]);
  launch(l);
  return out;
}

constexpr Rule kMaxPool{"max_pool_with_indices", [](Node& node, Tensor* g, Tensor* out) {
                          const auto& p = node.payload<Planes>();
                          out[0] = put_back(*g, node.unpack(0), p, node.input_sizes(0));
                        }};

// Values and places.
std::vector<Tensor> best_of(const char* op, const Tensor& x, PoolParams p, int axes) {
  const DType asked = x.dtype();
  if (asked == DType::Bool) {
    fail(ErrorKind::NotImplemented, op, ": not implemented for bool; expected numbers");
  }
  const DType wide = is_floating(asked) ? compute_dtype(asked) : DType::Int64;
  if (wide != asked) {
    std::vector<Tensor> out = best_of(op, to(x, wide), p, axes);
    out[0] = to(out[0], asked);
    return out;
  }
  const Dims sizes = pooled_sizes(x, p.output, axes);
  const Tensor dense = contiguous(x);
  const Tensor best = Tensor::empty(sizes, x.dtype(), x.device());
  const Tensor places = Tensor::empty(sizes, DType::Int64, x.device());
  const Tensor* operands[] = {&best, &places, &dense};
  Launch l = flat_launch(Kernel::MaxPool, x.dtype(), x.device(), best.numel(), 3);
  l.pointer = &p;
  for (int k = 0; k < 3; ++k) set_buffer(l, k, *operands[k]);
  launch(l);
  if (recording(x)) {
    const Tensor* in[] = {&x};
    record(kMaxPool, in, 1, best, 1, Planes{p.planes, p.input_size(), p.output_size()})
        ->save(0, places);
  }
  return {best, places};
}

constexpr const char* kMaxNames[] = {"max_pool1d", "max_pool2d", "max_pool3d"};

template <int Axes>
std::vector<Tensor> max_pool(const Tensor& x, const Dims& kernel, const Dims* stride,
                             const Dims& padding, const Dims& dilation, bool ceil_mode,
                             bool return_indices) {
  (void)return_indices;  // the row's `bare`
  const char* op = kMaxNames[Axes - 1];
  return best_of(op, x, params_of({op, Axes, x, kernel, stride, padding, dilation, ceil_mode}),
                 Axes);
}

// --- means -------------------------------------------------------------------------------------

void check_floating(const char* op, const Tensor& x) {
  if (!is_floating(x.dtype())) {
    fail(ErrorKind::NotImplemented, op, ": not implemented for ", name_of(x.dtype()),
         "; expected a floating point dtype");
  }
}

// Each window's sum by a convolution of every plane with one kernel.
Tensor window_sums(const Tensor& x, const PoolParams& p, int axes, double weight) {
  ConvParams c{};
  c.batch = p.planes;
  c.groups = c.in_channels = c.out_channels = 1;
  Dims planes{p.planes, 1}, kernel{1, 1};
  for (int d = 0; d < 3; ++d) {
    c.input[d] = p.input[d];
    c.output[d] = p.output[d];
    c.kernel[d] = p.kernel[d];
    c.stride[d] = p.stride[d];
    c.padding[d] = p.padding[d];
    c.dilation[d] = 1;
    if (d < 3 - axes) continue;
    planes.push_back(p.input[d]);
    kernel.push_back(p.kernel[d]);
  }
  const Tensor w = full(kernel, {false, 0, weight}, x.dtype(), x.device());
  return reshape(convolve(reshape(x, planes), w, {}, c), pooled_sizes(x, p.output, axes));
}

// How many places of an axis each window counts.
Tensor window_counts(const PoolParams& p, int d, bool padding_counts, DType dtype) {
  const Tensor counts = Tensor::empty({p.output[d]}, DType::Float64, Device::CPU);
  for (int64_t i = 0; i < p.output[d]; ++i) {
    int64_t begin = i * p.stride[d] - p.padding[d];
    int64_t end = std::min(begin + p.kernel[d], p.input[d] + p.padding[d]);
    if (!padding_counts) {
      begin = std::max<int64_t>(begin, 0);
      end = std::min(end, p.input[d]);
    }
    counts.data<double>()[i] = static_cast<double>(end - begin);
  }
  return to_device(to(counts, dtype), default_device());
}

Tensor mean_of(const Windows& w, bool count_include_pad, OptInt divisor) {
  const Tensor& x = w.x;
  const PoolParams p = params_of(w);
  if (divisor && *divisor == 0) fail(w.op, ": divisor must be not zero");
  check_floating(w.op, x);
  const DType wide = compute_dtype(x.dtype());
  if (wide != x.dtype()) {
    const Tensor converted = to(x, wide);
    return to(
        mean_of({w.op, w.axes, converted, w.kernel, w.stride, w.padding, w.dilation, w.ceil_mode},
                count_include_pad, divisor),
        x.dtype());
  }
  bool even = true;  // whether every window counts all its places
  for (int d = 0; d < 3; ++d) {
    const int64_t last = (p.output[d] - 1) * p.stride[d] + p.kernel[d];
    even = even && last <= p.input[d] + (count_include_pad ? 2 : 1) * p.padding[d] &&
           (count_include_pad || p.padding[d] == 0);
  }
  const auto size = static_cast<double>(p.kernel[0] * p.kernel[1] * p.kernel[2]);
  if (divisor || even) {
    const double by = divisor ? static_cast<double>(*divisor) : size;
    int exponent;
    if (std::frexp(by, &exponent) == 0.5) return window_sums(x, p, w.axes, 1 / by);  // exact
    return div(window_sums(x, p, w.axes, 1), constant(by, x));
  }
  Tensor counts = window_counts(p, 3 - w.axes, count_include_pad, x.dtype());
  for (int d = 4 - w.axes; d < 3; ++d) {
    counts = mul(unsqueeze(counts, -1), window_counts(p, d, count_include_pad, x.dtype()));
  }
  return div(window_sums(x, p, w.axes, 1), counts);
}

constexpr const char* kMeanNames[] = {"avg_pool1d", "avg_pool2d", "avg_pool3d"};

template <int Axes>
Tensor avg_pool(const Tensor& x, const Dims& kernel, const Dims* stride, const Dims& padding,
                bool ceil_mode, bool count_include_pad, OptInt divisor) {
  return mean_of({kMeanNames[Axes - 1], Axes, x, kernel, stride, padding, {1}, ceil_mode},
                 count_include_pad, divisor);
}
Tensor avg_pool1d(const Tensor& x, const Dims& kernel, const Dims* stride, const Dims& padding,
                  bool ceil_mode, bool count_include_pad) {
  return avg_pool<1>(x, kernel, stride, padding, ceil_mode, count_include_pad, {});
}

// --- windows that share an axis out ------------------------------------------------------------

void check_adaptive(const char* op, const Tensor& x, const Dims& sizes) {
  const int axes = sizes.size();
  if (axes < 1 || axes > 3) fail(op, ": output_size must be 1 to 3 ints, got ", sizes);
  check_input(op, x, axes);
  for (const int64_t n : sizes) {
    if (n < 0) fail(op, ": elements of output_size must be at least 0, but got ", sizes);
  }
}

// (in, out): the share of each place in each mean
Tensor shares(int64_t in, int64_t out, DType dtype) {
  const Tensor m = Tensor::empty({in, out}, DType::Float64, Device::CPU);
  std::fill_n(m.data<double>(), m.numel(), 0.0);
  for (int64_t i = 0; i < out; ++i) {
    const int64_t begin = i * in / out, end = ((i + 1) * in + out - 1) / out;
    for (int64_t k = begin; k < end; ++k) {
      m.data<double>()[k * out + i] = 1 / static_cast<double>(end - begin);
    }
  }
  return to_device(to(m, dtype), default_device());
}

Tensor adaptive_avg_pool(const Tensor& x, const Dims& sizes) {
  constexpr const char* op = "adaptive_avg_pool";
  check_adaptive(op, x, sizes);
  check_floating(op, x);
  const DType wide = compute_dtype(x.dtype());
  if (wide != x.dtype()) return to(adaptive_avg_pool(to(x, wide), sizes), x.dtype());
  const int axes = sizes.size(), first = x.dim() - axes;
  bool one = true, even = true;
  Dims kernel, all;
  for (int d = 0; d < axes; ++d) {
    const int64_t in = x.size(first + d);
    one = one && sizes[d] == 1;
    even = even && sizes[d] > 0 && in % sizes[d] == 0;
    if (even) kernel.push_back(in / sizes[d]);
    all.push_back(first + d);
  }
  if (one) return mean(x, &all, true);
  if (even) return mean_of({op, axes, x, kernel, nullptr, {0}, {1}, false}, true, {});
  Tensor y = x;  // a mean of means: the windows are products of those along each axis
  for (int d = 0; d < axes; ++d) {
    const int64_t in = x.size(first + d);
    if (in == sizes[d]) continue;
    y = matmul(transpose(y, first + d, -1), shares(in, sizes[d], x.dtype()));
    y = transpose(y, first + d, -1);
  }
  return contiguous(y);
}

std::vector<Tensor> adaptive_max_pool(const Tensor& x, const Dims& sizes) {
  constexpr const char* op = "adaptive_max_pool";
  check_adaptive(op, x, sizes);
  check_floating(op, x);
  const int axes = sizes.size();
  PoolParams p{};
  p.planes = 1;
  for (int d = 0; d < x.dim() - axes; ++d) p.planes *= x.size(d);
  for (int d = 0; d < 3; ++d) {
    const int at = d - (3 - axes);
    p.input[d] = at < 0 ? 1 : x.size(x.dim() - axes + at);
    p.output[d] = at < 0 ? 1 : sizes[at];
    p.kernel[d] = p.stride[d] = p.dilation[d] = 1;
  }
  p.adaptive = true;
  return best_of(op, x, p, axes);
}

template <int Axes>
void add_rows_for(OpTable& t) {
  const std::string n = std::to_string(Axes);
  const std::string head =
      "d(Tensor input, int[] kernel_size, int[]? stride=None, int[] padding=0, ";
  Op best = row<&max_pool<Axes>>(
      "max_pool" + n + head +
          "int[] dilation=1, bool ceil_mode=False, bool return_indices=False) -> values, indices",
      kFunction | kFunctional,
      "The largest element of each window of the last " + n +
          (Axes == 1 ? " dimension" : " dimensions") +
          ", and with return_indices its place among those. stride is kernel_size unless given. "
          "The gradient goes to the first of equal ones.");
  best.bare = [](const Arg* a) { return !a[6].b; };
  t.push_back(best);
  const std::string doc = "The mean of each window of the last " + n +
                          (Axes == 1 ? " dimension" : " dimensions") +
                          ". With count_include_pad zeros of the padding count.";
  if constexpr (Axes == 1) {
    t.push_back(
        row<&avg_pool1d>("avg_pool1" + head + "bool ceil_mode=False, bool count_include_pad=True)",
                         kFunction | kFunctional, doc));
  } else {
    t.push_back(row<&avg_pool<Axes>>("avg_pool" + n + head +
                                         "bool ceil_mode=False, bool count_include_pad=True, int? "
                                         "divisor_override=None)",
                                     kFunction | kFunctional,
                                     doc + " divisor_override takes the place of their number."));
  }
}

}  // namespace
}  // namespace ops

void add_pool(OpTable& t) {
  using namespace ops;
  add_rows_for<1>(t);
  add_rows_for<2>(t);
  add_rows_for<3>(t);
  t.push_back(row<&adaptive_avg_pool>("_adaptive_avg_pool(Tensor input, int[] output_size)",
                                      kInternal,
                                      "Means of windows that share the last dimensions out."));
  t.push_back(row<&adaptive_max_pool>(
      "_adaptive_max_pool(Tensor input, int[] output_size) -> values, indices", kInternal,
      "The largest elements of windows that share the last dimensions out, and their places."));
}

}  // namespace wengert
