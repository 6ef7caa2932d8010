// Losses that compare an input with a target of the same shape, element by element.
#include "ops/loss.h"

#include <cmath>

#include "ops/autocast.h"
#include "ops/elementwise.h"
#include "ops/op_table.h"

namespace wengert {
namespace ops {

LossReduction reduction_of(const char* op, std::optional<bool> size_average,
                           std::optional<bool> reduce, std::string_view name) {
  if (size_average || reduce) {
    name = !reduce.value_or(true) ? "none" : size_average.value_or(true) ? "mean" : "sum";
    warn("size_average and reduce args will be deprecated, please use reduction='", name,
         "' instead.");
  }
  if (name == "mean") return kReduceMean;
  if (name == "sum") return kReduceSum;
  if (name == "none") return kReduceNone;
  fail(ErrorKind::Value, op, ": ", name,
       " is not a valid value for reduction; expected 'none', 'mean' or 'sum'");
}

Tensor reduced(const Tensor& loss, LossReduction reduction) {
  if (reduction == kReduceNone) return loss;
  return reduction == kReduceSum ? sum(loss, nullptr, false) : mean(loss, nullptr, false);
}

namespace {

using Switch = std::optional<bool>;

Tensor weigh(const char* op, const Tensor& loss, const Tensor& weight, const Tensor& input) {
  if (weight.sizes() == input.sizes()) return mul(loss, weight);
  fail(ErrorKind::Value, op, ": weight of shape ", weight.sizes(), " for an input of shape ",
       input.sizes(), "; expected the same shape");
}

// A weight for each element: the mean is the weighted one.
Tensor reduced(const char* op, const Tensor& loss, const Tensor& weight, const Tensor& input,
               LossReduction reduction) {
  if (!weight.defined()) return ops::reduced(loss, reduction);
  const Tensor weighted = weigh(op, loss, weight, input);
  if (reduction != kReduceMean) return ops::reduced(weighted, reduction);
  return div(sum(weighted, nullptr, false), sum(weight, nullptr, false));
}

bool neither_floating(const Tensor& a, const Tensor& b) {
  return !is_floating(a.dtype()) && !is_floating(b.dtype());
}

void warn_of_broadcast(const Tensor& input, const Tensor& target) {
  if (input.sizes() == target.sizes()) return;
  warn("Using a target size (", target.sizes(), ") that is different to the input size (",
       input.sizes(),
       "). This will likely lead to incorrect results due to broadcasting. Please ensure they have "
       "the same size.");
}

template <class F>
Tensor pointwise(const char* op, const Tensor& input, const Tensor& target, double parameter = 0) {
  warn_of_broadcast(input, target);
  if (neither_floating(input, target)) {
    fail(ErrorKind::NotImplemented, op, ": not defined for ", name_of(input.dtype()), " and ",
         name_of(target.dtype()), "; expected a floating point input or target");
  }
  const Tensor* in[] = {&input, &target};
  const double params[4] = {parameter};
  return map(map_info<F>, in, params);
}

Tensor mse_loss(const Tensor& input, const Tensor& target, Switch size_average, Switch reduce,
                std::string_view reduction, const Tensor& weight) {
  const LossReduction r = reduction_of("mse_loss", size_average, reduce, reduction);
  const bool whole = weight.defined() && neither_floating(input, target);
  return reduced(
      "mse_loss",
      whole ? square(sub(input, target)) : pointwise<SquaredError>("mse_loss", input, target),
      weight, input, r);
}

Tensor l1_loss(const Tensor& input, const Tensor& target, Switch size_average, Switch reduce,
               std::string_view reduction, const Tensor& weight) {
  const LossReduction r = reduction_of("l1_loss", size_average, reduce, reduction);
  const bool whole = neither_floating(input, target);
  return reduced(
      "l1_loss",
      whole ? apply<Abs>(sub(input, target)) : pointwise<AbsoluteError>("l1_loss", input, target),
      weight, input, r);
}

Tensor smooth_l1_loss(const Tensor& input, const Tensor& target, Switch size_average, Switch reduce,
                      std::string_view reduction, double beta) {
  const LossReduction r = reduction_of("smooth_l1_loss", size_average, reduce, reduction);
  if (!(beta >= 0)) fail("smooth_l1_loss: beta must not be negative, got ", beta);
  return ops::reduced(beta == 0 ? pointwise<AbsoluteError>("smooth_l1_loss", input, target)
                                : pointwise<SmoothL1>("smooth_l1_loss", input, target, beta),
                      r);
}

Tensor huber_loss(const Tensor& input, const Tensor& target, std::string_view reduction,
                  double delta, const Tensor& weight) {
  const LossReduction r = reduction_of("huber_loss", {}, {}, reduction);
  if (!(delta > 0)) fail("huber_loss: delta must be positive, got ", delta);
  const Tensor loss = pointwise<Huber>("huber_loss", input, target, delta);
  // its mean divides by the number of elements, as PyTorch's does
  return ops::reduced(weight.defined() ? weigh("huber_loss", loss, weight, input) : loss, r);
}

void check_same_size(const char* op, const Tensor& input, const Tensor& target) {
  if (input.sizes() == target.sizes()) return;
  fail(ErrorKind::Value, op, ": target of shape ", target.sizes(), " for an input of shape ",
       input.sizes(), "; expected the same shape");
}

Tensor binary_cross_entropy(const Tensor& input, const Tensor& target, const Tensor& weight,
                            Switch size_average, Switch reduce, std::string_view reduction) {
  constexpr auto op = "binary_cross_entropy";
  const LossReduction r = reduction_of(op, size_average, reduce, reduction);
  check_same_size(op, input, target);
  if (!is_floating(input.dtype()) || input.dtype() != target.dtype()) {
    fail(op, ": got an input of dtype ", name_of(input.dtype()), " and a target of dtype ",
         name_of(target.dtype()), "; expected the same floating point dtype");
  }
  check_within(input, 0, 1, op, "all elements of input should be between 0 and 1");
  const Tensor loss = apply<BinaryCrossEntropy>(input, target);
  return ops::reduced(weight.defined() ? mul(loss, expand(weight, loss.sizes())) : loss, r);
}

Tensor binary_cross_entropy_with_logits(const Tensor& input, const Tensor& target,
                                        const Tensor& weight, Switch size_average, Switch reduce,
                                        std::string_view reduction, const Tensor& pos_weight) {
  constexpr auto op = "binary_cross_entropy_with_logits";
  const LossReduction r = reduction_of(op, size_average, reduce, reduction);
  check_same_size(op, input, target);
  if (neither_floating(input, target)) {
    fail(op, ": got ", name_of(input.dtype()), " and ", name_of(target.dtype()),
         "; expected floating point tensors");
  }
  Tensor loss;
  if (pos_weight.defined()) {
    const Var x(input), t(target), one(1.0);
    const Var scale = one + (Var(pos_weight) - one) * t;
    loss = ((one - t) * x - scale * Var(apply<LogSigmoid>(input))).tensor();
  } else {
    loss = apply<BceWithLogits>(input, target);
  }
  return ops::reduced(weight.defined() ? mul(loss, weight) : loss, r);
}

Tensor kl_div(const Tensor& input, const Tensor& target, Switch size_average, Switch reduce,
              std::string_view reduction, bool log_target) {
  constexpr auto op = "kl_div";
  const bool by_batch = reduction == "batchmean", old = size_average || reduce;
  const LossReduction r =
      by_batch && !old ? kReduceSum : reduction_of(op, size_average, reduce, reduction);
  if (r == kReduceMean && !old) {
    warn(
        "reduction: 'mean' divides the total loss by both the batch size and the support size."
        "'batchmean' divides only by the batch size, and aligns with the KL math definition."
        "'mean' will be changed to behave the same as 'batchmean' in the next major release.");
  }
  if (!is_floating(input.dtype()) || !is_floating(target.dtype())) {
    fail(op, ": got ", name_of(input.dtype()), " and ", name_of(target.dtype()),
         "; expected floating point tensors");
  }
  const Tensor loss =
      ops::reduced(log_target ? apply<KlDivLog>(input, target) : apply<KlDiv>(input, target), r);
  if (!by_batch || input.dim() == 0) return loss;
  return div(loss, number_like({true, input.size(0), 0}, &loss));
}

}  // namespace
}  // namespace ops

void add_loss(OpTable& t) {
  using namespace ops;
  t.push_back(row<widened<&mse_loss>>(
      "mse_loss(Tensor input, Tensor target, bool? size_average=None, bool? reduce=None, "
      "str reduction='mean', Tensor? weight=None)",
      kFunctional,
      "The squared error (input - target)^2 of each element ('none'), its mean or its sum; with "
      "weights of the input's shape, the weighted mean or sum. Derivative: 2 (input - target)."));
  t.push_back(row<widened<&l1_loss>>(
      "l1_loss(Tensor input, Tensor target, bool? size_average=None, bool? reduce=None, "
      "str reduction='mean', Tensor? weight=None)",
      kFunctional,
      "The absolute error |input - target| of each element ('none'), its mean or its sum; with "
      "weights of the input's shape, the weighted mean or sum. Derivative: the sign of the error, "
      "0 at 0."));
  t.push_back(row<widened<&smooth_l1_loss>>(
      "smooth_l1_loss(Tensor input, Tensor target, bool? size_average=None, bool? reduce=None, "
      "str reduction='mean', float beta=1.0)",
      kFunctional,
      "error^2 / (2 beta) where |error| is below beta, |error| - beta / 2 elsewhere (Girshick, "
      "Fast "
      "R-CNN, 2015)."));
  t.push_back(row<widened<&huber_loss>>(
      "huber_loss(Tensor input, Tensor target, str reduction='mean', float delta=1.0, "
      "Tensor? weight=None)",
      kFunctional,
      "error^2 / 2 where |error| is at most delta, delta (|error| - delta / 2) elsewhere (Huber, "
      "Robust estimation of a location parameter, 1964)."));
  t.push_back(row<widened<&binary_cross_entropy>>(
      "binary_cross_entropy(Tensor input, Tensor target, Tensor? weight=None, bool? "
      "size_average=None, bool? reduce=None, str reduction='mean')",
      kFunctional,
      "-(target log(input) + (1 - target) log(1 - input)) for probabilities; logarithms are at "
      "least -100. A weight is broadcast. A target of another shape is a ValueError, an input "
      "outside [0, 1] a RuntimeError."));
  t.push_back(row<widened<&binary_cross_entropy_with_logits>>(
      "binary_cross_entropy_with_logits(Tensor input, Tensor target, Tensor? weight=None, bool? "
      "size_average=None, bool? reduce=None, str reduction='mean', Tensor? pos_weight=None)",
      kFunctional,
      "binary_cross_entropy of sigmoid(input), without overflow: max(x, 0) - x target + log(1 + "
      "exp(-|x|)). pos_weight multiplies the loss of positive targets. Derivative: sigmoid(input) "
      "- target."));
  t.push_back(row<widened<&kl_div>>(
      "kl_div(Tensor input, Tensor target, bool? size_average=None, bool? reduce=None, str "
      "reduction='mean', bool log_target=False)",
      kFunctional,
      "target (log(target) - input), the Kullback-Leibler divergence's terms, for an input of "
      "log-probabilities and a target of probabilities, or with log_target of their logarithms. "
      "'batchmean' divides the sum by the first size and is the divergence itself."));
}

}  // namespace wengert
