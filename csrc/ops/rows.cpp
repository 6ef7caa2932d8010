// Operations on rows: softmax and log-softmax.
#include "ops/rows.h"
#include "kernels/launch.h"
#include "ops/elementwise.h"
#include "ops/op_table.h"
#include "tape/backward.h"

namespace wengert {
namespace ops {

void describe_rows(Launch& l, KernelId kernel, const Tensor* const* operands, int n, int64_t rows,
                   int64_t cols) {
  l.kernel = kernel;
  l.dtype = operands[0]->dtype();
  l.device = operands[0]->device();
  l.dense = true;
  l.ndim = 2;
  l.size[0] = rows;
  l.size[1] = cols;
  l.count = rows * cols;
  l.nbuffers = static_cast<uint8_t>(n);
  for (int k = 0; k < n; ++k) set_buffer(l, k, *operands[k]);
}

namespace {

Tensor run_rows(Kernel kernel, const Tensor& x, const Tensor* y = nullptr) {
  const Tensor out = Tensor::empty(x.sizes(), x.dtype(), x.device());
  const int64_t cols = x.dim() == 0 ? 1 : x.sizes().back();
  const Tensor* operands[] = {&out, &x, y};
  Launch l;
  describe_rows(l, id(kernel), operands, y ? 3 : 2, cols == 0 ? 0 : x.numel() / cols, cols);
  launch(l);
  return out;
}

Tensor row_sum(const Tensor& x) {
  const Dims last{-1};
  return sum(x, &last, true);
}

// By the kernel; y is repeated for each gradient of a batch.
Tensor pull_rows(Kernel kernel, const Tensor& g, const Tensor& y) {
  const Tensor each = contiguous(expand(y, g.sizes()));
  return run_rows(kernel, contiguous(g), &each);
}
void softmax_pull(Node& node, Tensor* g, Tensor* out) {
  const Tensor y = node.unpack(0);
  if (y.dim() == 0) {
    out[0] = zeros_like(*g);
    return;
  }
  out[0] =
      grad_enabled() ? mul(y, sub(*g, row_sum(mul(*g, y)))) : pull_rows(Kernel::SoftmaxGrad, *g, y);
}
void log_softmax_pull(Node& node, Tensor* g, Tensor* out) {
  const Tensor y = node.unpack(0);
  if (y.dim() == 0) {
    out[0] = zeros_like(*g);
    return;
  }
  out[0] =
      grad_enabled() ? sub(*g, mul(exp(y), row_sum(*g))) : pull_rows(Kernel::LogSoftmaxGrad, *g, y);
}
constexpr Rule kSoftmax{"softmax", &softmax_pull, true};
constexpr Rule kLogSoftmax{"log_softmax", &log_softmax_pull, true};

// The dimension that is taken where none is given, which PyTorch has long warned of.
int64_t implicit_dim(const char* op, const Tensor& x) {
  warn("Implicit dimension choice for ", op,
       " has been deprecated. Change the call to include dim=X as an argument.");
  return x.dim() == 0 || x.dim() == 1 || x.dim() == 3 ? 0 : 1;
}

Tensor softmax_like(Kernel kernel, const Rule& rule, const Tensor& input, int64_t dim,
                    OptDType dtype) {
  const int d = wrap_dim(rule.name, dim, input.dim());
  const DType asked = dtype.value_or(input.dtype());
  if (is_floating(asked) && is_narrow(asked)) {
    return to(softmax_like(kernel, rule, to(input, compute_dtype(asked)), dim, {}), asked);
  }
  const Tensor x = to(input, asked);
  if (input.dim() > 0 && d != input.dim() - 1) {
    return transpose(softmax_like(kernel, rule, transpose(x, d, -1), -1, {}), d, -1);
  }
  const Tensor dense = contiguous(x);
  const Tensor out = run_rows(kernel, dense);
  if (recording(dense)) {
    const Tensor* in[] = {&dense};
    record(rule, in, 1, out, 1)->save_output(0, out);
  }
  return out;
}

Tensor softmax_any(const Tensor& x, OptInt dim, OptDType dtype) {
  return softmax(x, dim ? *dim : implicit_dim("softmax", x), dtype);
}
Tensor log_softmax_any(const Tensor& x, OptInt dim, OptDType dtype) {
  return log_softmax(x, dim ? *dim : implicit_dim("log_softmax", x), dtype);
}

}  // namespace

Tensor softmax(const Tensor& x, int64_t dim, OptDType dtype) {
  return softmax_like(Kernel::Softmax, kSoftmax, x, dim, dtype);
}
Tensor log_softmax(const Tensor& x, int64_t dim, OptDType dtype) {
  return softmax_like(Kernel::LogSoftmax, kLogSoftmax, x, dim, dtype);
}

}  // namespace ops

void add_rows(OpTable& t) {
  using namespace ops;
  constexpr uint8_t everywhere = kMethod | kFunction | kFunctional;
  t.push_back(row<&softmax_any>("softmax(Tensor input, int? dim=None, *, dtype? dtype=None)",
                                everywhere,
                                "exp(x) / sum(exp(x)) along dim, without overflow. Derivative: "
                                "y (g - sum(g y))."));
  t.push_back(row<&log_softmax_any>(
      "log_softmax(Tensor input, int? dim=None, *, dtype? dtype=None)", everywhere,
      "x - log(sum(exp(x))) along dim, without overflow. Derivative: "
      "g - exp(y) sum(g)."));
}

}  // namespace wengert
