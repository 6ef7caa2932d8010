// Losses of classes: cross-entropy of logits, and the negative log-likelihood.
#include <algorithm>

#include "kernels/launch.h"
#include "ops/autocast.h"
#include "ops/checks.h"
#include "ops/elementwise.h"
#include "ops/loss.h"
#include "ops/op_table.h"
#include "ops/rows.h"
#include "tape/backward.h"

namespace wengert {
namespace ops {
namespace {

using Switch = std::optional<bool>;

// --- the plain form, by kernels of its own -------------------------------------------------------

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
    describe_rows(l, id(Kernel::CrossEntropyGrad), operands, 6, x.size(0), cols);
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

// x is (rows, classes), target (rows,), both dense.
Tensor cross_entropy_rows(const Tensor& x, const Tensor& target, int64_t ignore_index,
                          LossReduction reduction) {
  const int64_t rows = x.size(0);
  const Tensor loss =
      Tensor::empty(reduction == kReduceNone ? Dims{rows} : Dims{}, x.dtype(), x.device());
  const Tensor scratch = Tensor::empty({2 * rows}, x.dtype(), x.device());  // log-sum-exps, losses
  const Tensor counted = Tensor::empty({1}, x.dtype(), x.device());
  const Tensor* operands[] = {&loss, &scratch, &counted, &x, &target};
  Launch l;
  l.integer[0] = ignore_index;
  l.integer[1] = reduction;
  describe_rows(l, id(Kernel::CrossEntropy), operands, 5, rows, x.size(1));
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

// --- what all forms check ------------------------------------------------------------------------

int class_dim(const Tensor& input) {
  return input.dim() == 1 ? 0 : 1;
}

void check_input(const char* op, const Tensor& input) {
  if (input.dim() < 1) {
    fail(ErrorKind::Value, op, ": expected input of shape (C,), (N, C) or (N, C, ...), got ()");
  }
  if (!is_floating(input.dtype())) {
    fail(op, ": expected a floating point input, got ", name_of(input.dtype()));
  }
}

void check_weight(const char* op, const Tensor& input, const Tensor& weight) {
  if (!weight.defined()) return;
  const int64_t classes = input.size(class_dim(input));
  if (weight.dim() != 1 || weight.numel() != classes) {
    fail(op, ": weight tensor should be defined either for all ", classes,
         " classes or no classes but got weight tensor of shape: ", weight.sizes());
  }
  if (weight.dtype() != input.dtype()) {
    fail(op, ": expected weight of dtype ", name_of(input.dtype()), " as the input, got ",
         name_of(weight.dtype()));
  }
}

// Class indices as dense int64 of the input's shape without classes.
struct Classes {
  Tensor index;
  // Recorded as a program, it may next time.
  bool may_ignore(int64_t ignored) const {
    if (host_watcher() || index.device() != Device::CPU) return true;
    const auto* t = index.data<int64_t>();
    return std::find(t, t + index.numel(), ignored) != t + index.numel();
  }
};

Classes classes_of(const char* op, const Tensor& input, const Tensor& target,
                   int64_t ignore_index) {
  if (target.dtype() != DType::Int64 && target.dtype() != DType::UInt8) {
    fail(op, ": expected int64 or uint8 class indices as target, got ", name_of(target.dtype()));
  }
  const int d = class_dim(input);
  Dims expected = input.sizes();
  expected.erase(d);
  const bool lone = input.dim() == 1 && target.dim() == 1 && target.numel() == 1;
  if (!lone && !(target.sizes() == expected)) {
    const bool batch = input.dim() > 1 && target.dim() > 0 && target.size(0) != input.size(0);
    fail(batch ? ErrorKind::Value : ErrorKind::Runtime, op, ": target of shape ", target.sizes(),
         " for input of shape ", input.sizes(), "; expected ", expected);
  }
  Classes found{contiguous(to(lone ? reshape(target, {}) : target, DType::Int64))};
  const int64_t classes = input.size(d);
  host_check(checks::kClasses, {found.index}, {.text = {op}, .integer = {classes, ignore_index}});
  return found;
}

// --- compositions --------------------------------------------------------------------------------

// What each item counts: its class's weight, or 1; nothing where it is ignored.
struct Shares {
  Tensor keep, weight;  // undefined: all, ones
  Tensor total;

  Tensor masked(const Tensor& x) const {
    return keep.defined() ? where(keep, x, zeros({}, x.dtype())) : x;
  }
  Tensor of(const Tensor& loss, LossReduction reduction) const {
    if (reduction != kReduceMean) return reduced(loss, reduction);
    return div(sum(loss, nullptr, false), total);
  }
};

// The classes, 0 in place of those ignored.
Tensor safe_index(const Classes& c, const Tensor& keep) {
  return keep.defined() ? where(keep, c.index, zeros({}, DType::Int64)) : c.index;
}

Shares shares_of(const Classes& c, const Tensor& weight, DType dtype, int64_t ignore_index) {
  Shares s;
  if (c.may_ignore(ignore_index)) {
    s.keep = apply<Ne>(c.index, number_like({true, ignore_index, 0}, &c.index));
  }
  if (weight.defined()) {
    const Tensor rows = reshape(safe_index(c, s.keep), {c.index.numel()});
    s.weight = s.masked(reshape(index_select(weight, 0, rows), c.index.sizes()));
    s.total = sum(s.weight, nullptr, false);
  } else {
    const int64_t all = c.index.numel();
    s.total = s.keep.defined() ? sum(to(s.keep, dtype), nullptr, false)
                               : full({}, {true, all, static_cast<double>(all)}, dtype);
  }
  return s;
}

// -log_p at the classes, weighted.
Tensor likelihood_loss(const Tensor& log_p, const Classes& c, const Shares& s,
                       LossReduction reduction) {
  const int d = class_dim(log_p);
  const Tensor at = unsqueeze(safe_index(c, s.keep), d);
  Tensor loss = apply<Neg>(squeeze(gather(log_p, d, at), d));
  if (s.weight.defined()) loss = mul(loss, s.weight);
  return s.of(s.masked(loss), reduction);
}

// A vector over classes, to multiply something of the input's shape.
Tensor over_classes(const Tensor& weight, const Tensor& input) {
  Dims sizes = Dims::filled(input.dim(), 1);
  sizes[class_dim(input)] = weight.numel();
  return reshape(weight, sizes);
}

Tensor sum_over_classes(const Tensor& x) {
  const Dims d{class_dim(x)};
  return sum(x, &d, false);
}

Tensor times(const Tensor& x, double factor) {
  return mul(x, number_like({false, 0, factor}, &x));
}

// Szegedy, Vanhoucke, Ioffe, Shlens, Wojna, Rethinking the Inception architecture (2016), 7: the
// target is mixed with the uniform distribution.
Tensor smoothed(const Tensor& input, const Classes& c, const Tensor& weight, int64_t ignore_index,
                LossReduction reduction, double label_smoothing) {
  const Tensor log_p = log_softmax(input, class_dim(input));
  const Shares s = shares_of(c, weight, input.dtype(), ignore_index);
  const Tensor hit = likelihood_loss(log_p, c, s, reduction);
  if (label_smoothing == 0) return hit;
  const Tensor all =
      sum_over_classes(weight.defined() ? mul(log_p, over_classes(weight, log_p)) : log_p);
  const Tensor spread = s.of(s.masked(all), reduction);
  const auto classes = static_cast<double>(input.size(class_dim(input)));
  return sub(times(hit, 1 - label_smoothing), times(spread, label_smoothing / classes));
}

Tensor of_probabilities(const Tensor& input, const Tensor& target, const Tensor& weight,
                        LossReduction reduction, double label_smoothing) {
  const int d = class_dim(input);
  const auto classes = static_cast<double>(input.size(d));
  Tensor p = target;
  if (label_smoothing > 0) {
    p = times(p, 1 - label_smoothing);
    p = add(p, number_like({false, 0, label_smoothing / classes}, &p));
  }
  if (weight.defined()) p = mul(p, over_classes(weight, input));
  const Tensor loss = apply<Neg>(sum_over_classes(mul(log_softmax(input, d), p)));
  return reduced(loss, reduction);
}

Tensor entropy_of(const Tensor& input, const Tensor& target, const Tensor& weight,
                  int64_t ignore_index, LossReduction reduction, double label_smoothing) {
  constexpr auto op = "cross_entropy";
  if (is_narrow(input.dtype())) {
    const auto wide = [](const Tensor& t) {
      return t.defined() && is_floating(t.dtype()) ? to(t, compute_dtype(t.dtype())) : t;
    };
    return to(entropy_of(wide(input), wide(target), wide(weight), ignore_index, reduction,
                         label_smoothing),
              input.dtype());
  }
  if (target.sizes() == input.sizes() &&
      !(input.dim() == 1 && input.numel() == 1 && !is_floating(target.dtype()))) {
    if (!is_floating(target.dtype())) {
      fail(op, ": expected a floating point target of class probabilities, got ",
           name_of(target.dtype()));
    }
    if (ignore_index >= 0) fail(op, ": ignore_index is not supported for floating point target");
    return of_probabilities(input, target, weight, reduction, label_smoothing);
  }
  const Classes c = classes_of(op, input, target, ignore_index);
  if (weight.defined() || label_smoothing > 0) {
    return smoothed(input, c, weight, ignore_index, reduction, label_smoothing);
  }
  // (N, C, d...) becomes rows of C
  Tensor x = input.dim() == 1 ? unsqueeze(input, 0) : input;
  for (int d = 1; d + 1 < x.dim(); ++d) x = transpose(x, d, d + 1);
  const int64_t items = c.index.numel();
  if (x.dim() != 2) x = reshape(x, {items, x.sizes().back()});
  const Tensor loss =
      cross_entropy_rows(contiguous(x), reshape(c.index, {items}), ignore_index, reduction);
  if (reduction != kReduceNone || loss.sizes() == c.index.sizes()) return loss;
  return reshape(loss, c.index.sizes());
}

Tensor cross_entropy(const Tensor& input, const Tensor& target, const Tensor& weight,
                     Switch size_average, int64_t ignore_index, Switch reduce,
                     std::string_view reduction_name, double label_smoothing) {
  constexpr auto op = "cross_entropy";
  const LossReduction reduction = reduction_of(op, size_average, reduce, reduction_name);
  check_input(op, input);
  check_weight(op, input, weight);
  if (!(label_smoothing >= 0 && label_smoothing <= 1)) {
    fail(op, ": label_smoothing must be between 0.0 and 1.0, got ", label_smoothing);
  }
  return entropy_of(input, target, weight, ignore_index, reduction, label_smoothing);
}

Tensor nll_loss(const Tensor& input, const Tensor& target, const Tensor& weight,
                Switch size_average, int64_t ignore_index, Switch reduce,
                std::string_view reduction_name) {
  constexpr auto op = "nll_loss";
  const LossReduction reduction = reduction_of(op, size_average, reduce, reduction_name);
  check_input(op, input);
  check_weight(op, input, weight);
  const Classes c = classes_of(op, input, target, ignore_index);
  return likelihood_loss(input, c, shares_of(c, weight, input.dtype(), ignore_index), reduction);
}

}  // namespace
}  // namespace ops

void add_cross_entropy(OpTable& t) {
  using namespace ops;
  t.push_back(row<widened<&cross_entropy>>(
      "cross_entropy(Tensor input, Tensor target, Tensor? weight=None, bool? size_average=None, "
      "int ignore_index=-100, bool? reduce=None, str reduction='mean', float label_smoothing=0.0)",
      kFunctional,
      "The cross-entropy of logits of shape (C,), (N, C) or (N, C, ...) against class indices (the "
      "same shape without C), or against probabilities (the input's shape). 'mean' divides by the "
      "weights of the items that are not ignored. A class out of range is an IndexError. "
      "Derivative: softmax(input) - target."));
  t.push_back(row<widened<&nll_loss>>(
      "nll_loss(Tensor input, Tensor target, Tensor? weight=None, bool? size_average=None, int "
      "ignore_index=-100, bool? reduce=None, str reduction='mean')",
      kFunctional,
      "-input at the target's class, for log-probabilities of shape (C,), (N, C) or (N, C, ...) "
      "and "
      "class indices. 'mean' divides by the weights of the items that are not ignored. A class out "
      "of range is an IndexError."));
}

}  // namespace wengert
