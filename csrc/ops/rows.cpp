// Operations on rows: softmax, log-softmax and the losses.
#include "kernels/launch.h"
#include "ops/elementwise.h"
#include "ops/op_table.h"
#include "tape/backward.h"

namespace wengert {
namespace ops {
namespace {

// All operands dense, seen as rows of the first one's last dimension.
void describe_rows(Launch& l, Kernel kernel, const Tensor* const* operands, int n, int64_t rows,
                   int64_t cols) {
  l.kernel = id(kernel);
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

Tensor run_rows(Kernel kernel, const Tensor& x, const Tensor* y = nullptr) {
  const Tensor out = Tensor::empty(x.sizes(), x.dtype(), x.device());
  const int64_t cols = x.dim() == 0 ? 1 : x.sizes().back();
  const Tensor* operands[] = {&out, &x, y};
  Launch l;
  describe_rows(l, kernel, operands, y ? 3 : 2, cols == 0 ? 0 : x.numel() / cols, cols);
  launch(l);
  return out;
}

Tensor row_sum(const Tensor& x) {
  const Dims last{-1};
  return sum(x, &last, true);
}

constexpr Rule kSoftmax{"softmax", [](Node& node, Tensor* g, Tensor* out) {
                          const Tensor y = node.unpack(0);
                          if (!grad_enabled()) {
                            out[0] = run_rows(Kernel::SoftmaxGrad, contiguous(*g), &y);
                          } else {
                            out[0] = mul(y, sub(*g, row_sum(mul(*g, y))));
                          }
                        }};
constexpr Rule kLogSoftmax{"log_softmax", [](Node& node, Tensor* g, Tensor* out) {
                             const Tensor y = node.unpack(0);
                             if (!grad_enabled()) {
                               out[0] = run_rows(Kernel::LogSoftmaxGrad, contiguous(*g), &y);
                             } else {
                               out[0] = sub(*g, mul(exp(y), row_sum(*g)));
                             }
                           }};

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
  if (x->base) check_view(rule.name, x);
  const Tensor dense = contiguous(x);
  const Tensor out = run_rows(kernel, dense);
  if (recording(dense)) {
    const Tensor* in[] = {&dense};
    record(rule, in, 1, out, 1)->save_output(0, out);
  }
  return out;
}

// --- losses ------------------------------------------------------------------------------------

enum Reduction : int64_t { kReduceNone, kReduceMean, kReduceSum };

Reduction reduction_of(const char* op, std::string_view name) {
  if (name == "mean") return kReduceMean;
  if (name == "sum") return kReduceSum;
  if (name == "none") return kReduceNone;
  fail(ErrorKind::Value, op, ": ", name,
       " is not a valid value for reduction; expected 'none', "
       "'mean' or 'sum'");
}

struct CrossEntropyPayload {
  int64_t ignore_index;
  int64_t reduction;
};

// With p = softmax(x): d loss / d x = p - onehot(target), by row, over the rows counted.
void cross_entropy_pull(Node& node, Tensor* g, Tensor* out) {
  const auto& p = node.payload<CrossEntropyPayload>();
  const Tensor x = node.unpack(0), target = node.unpack(1), lse = node.unpack(2);
  const Tensor counted = node.unpack(3);
  const int64_t cols = x.size(1);
  if (!grad_enabled()) {
    const Tensor scale = contiguous(*g);
    out[0] = Tensor::empty(x.sizes(), x.dtype(), x.device());
    const Tensor* operands[] = {&out[0], &scale, &x, &target, &lse, &counted};
    Launch l;
    l.integer[0] = p.ignore_index;
    l.integer[1] = p.reduction;
    describe_rows(l, Kernel::CrossEntropyGrad, operands, 6, x.size(0), cols);
    launch(l);
    return;
  }
  const Tensor column = reshape(target, {x.size(0), 1});
  const Tensor hit = to(eq(arange(cols), column), x.dtype());
  const Tensor keep = apply<Ne>(column, number_like({true, p.ignore_index, 0}, &column));
  Tensor scale = p.reduction == kReduceNone ? reshape(*g, {x.size(0), 1}) : *g;
  if (p.reduction == kReduceMean) scale = div(scale, reshape(counted, {}));
  out[0] = mul(mul(sub(softmax(x, 1), hit), to(keep, x.dtype())), scale);
}
constexpr Rule kCrossEntropy{"cross_entropy", &cross_entropy_pull};

void check_targets(const Tensor& target, int64_t classes, int64_t ignore_index) {
  const auto* t = target.data<int64_t>();
  for (int64_t i = 0; i < target.numel(); ++i) {
    if (t[i] != ignore_index && (t[i] < 0 || t[i] >= classes)) {
      fail(ErrorKind::Index, "cross_entropy: target ", t[i], " at position ", i,
           " is out of bounds; expected 0 <= target < ", classes);
    }
  }
}

// x is (rows, classes), target (rows,), both dense.
Tensor cross_entropy_rows(const Tensor& x, const Tensor& target, int64_t ignore_index,
                          Reduction reduction) {
  const int64_t rows = x.size(0);
  check_targets(target, x.size(1), ignore_index);
  const Tensor loss =
      Tensor::empty(reduction == kReduceNone ? Dims{rows} : Dims{}, x.dtype(), x.device());
  const Tensor scratch = Tensor::empty({2 * rows}, x.dtype(), x.device());  // log-sum-exps, losses
  const Tensor counted = Tensor::empty({1}, x.dtype(), x.device());
  const Tensor* operands[] = {&loss, &scratch, &counted, &x, &target};
  Launch l;
  l.integer[0] = ignore_index;
  l.integer[1] = reduction;
  describe_rows(l, Kernel::CrossEntropy, operands, 5, rows, x.size(1));
  launch(l);
  if (recording(x)) {
    const Tensor* in[] = {&x};
    Node* n = record(kCrossEntropy, in, 1, loss, 4, CrossEntropyPayload{ignore_index, reduction});
    n->save(0, x);
    n->save(1, target);
    n->save(2, scratch);
    n->save(3, counted);
  }
  return loss;
}

Tensor cross_entropy(const Tensor& input, const Tensor& target, int64_t ignore_index,
                     std::string_view reduction_name) {
  const Reduction reduction = reduction_of("cross_entropy", reduction_name);
  const bool single = input.dim() == 1;
  if (input.dim() < 1) fail("cross_entropy: expected input of shape (C,), (N, C) or (N, C, ...)");
  if (!is_floating(input.dtype())) {
    fail("cross_entropy: expected a floating point input, got ", name_of(input.dtype()));
  }
  if (is_narrow(input.dtype())) {
    return to(cross_entropy(to(input, compute_dtype(input.dtype())), target, ignore_index,
                            reduction_name),
              input.dtype());
  }
  if (target.dtype() != DType::Int64) {
    fail("cross_entropy: expected int64 class indices as target, got ", name_of(target.dtype()));
  }
  Dims expected = input.sizes();
  expected.erase(single ? 0 : 1);
  if (!(target.sizes() == expected)) {
    fail(target.dim() + 1 == input.dim() ? ErrorKind::Value : ErrorKind::Runtime,
         "cross_entropy: target of shape ", target.sizes(), " for input of shape ", input.sizes(),
         "; expected ", expected);
  }
  if (input->base) check_view("cross_entropy", input);
  // (N, C, d...) becomes rows of C
  Tensor x = single ? unsqueeze(input, 0) : input;
  for (int d = 1; d + 1 < x.dim(); ++d) x = transpose(x, d, d + 1);
  const int64_t classes = x.sizes().back();
  if (x.dim() != 2) x = reshape(x, {target.numel(), classes});
  const Tensor loss = cross_entropy_rows(
      contiguous(x), reshape(contiguous(target), {target.numel()}), ignore_index, reduction);
  return reduction == kReduceNone && !(loss.sizes() == expected) ? reshape(loss, expected) : loss;
}

Tensor mse_loss(const Tensor& input, const Tensor& target, std::string_view reduction_name) {
  const Reduction reduction = reduction_of("mse_loss", reduction_name);
  const Tensor error = square(sub(input, target));
  if (reduction == kReduceNone) return error;
  return reduction == kReduceSum ? sum(error, nullptr, false) : mean(error, nullptr, false);
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
  t.push_back(row<&softmax>("softmax(Tensor input, int dim, *, dtype? dtype=None)", everywhere,
                            "exp(x) / sum(exp(x)) along dim, without overflow. Derivative: "
                            "y (g - sum(g y))."));
  t.push_back(row<&log_softmax>("log_softmax(Tensor input, int dim, *, dtype? dtype=None)",
                                everywhere,
                                "x - log(sum(exp(x))) along dim, without overflow. Derivative: "
                                "g - exp(y) sum(g)."));
  t.push_back(row<&cross_entropy>(
      "cross_entropy(Tensor input, Tensor target, *, int ignore_index=-100, str reduction='mean')",
      kFunctional,
      "The cross-entropy of logits of shape (C,), (N, C) or (N, C, ...) against int64 classes. "
      "Derivative: softmax(input) - onehot(target), divided by the rows counted for 'mean'."));
  t.push_back(row<&mse_loss>("mse_loss(Tensor input, Tensor target, *, str reduction='mean')",
                             kFunctional, "The squared error, or its mean or sum."));
}

}  // namespace wengert
