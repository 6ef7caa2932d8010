// Activation functions.
#include <cmath>

#include "ops/elementwise_rows.h"

namespace wengert {
namespace ops {
namespace {

Tensor gelu(const Tensor& x, std::string_view approximate) {
  if (approximate == "tanh") return apply<GeluTanh>(x);
  if (approximate != "none") {
    fail("gelu: approximate must be 'none' or 'tanh', got '", approximate, "'");
  }
  return apply<Gelu>(x);
}

Tensor elu(const Tensor& x, double alpha, bool inplace) {
  return WithParams<Elu, double, double, double>::either(x, alpha, 1, 1, inplace);
}
// Klambauer et al., Self-normalizing neural networks (2017).
Tensor selu(const Tensor& x, bool inplace) {
  return WithParams<Elu, double, double, double>::either(
      x, 1.6732632423543772848170429916717, 1.0507009873554804934193349852946, 1, inplace);
}
Tensor celu(const Tensor& x, double alpha, bool inplace) {
  if (alpha == 0) fail("celu: ZeroDivisionError: alpha cannot be 0");
  return WithParams<Elu, double, double, double>::either(x, alpha, 1, 1 / alpha, inplace);
}
Tensor relu6(const Tensor& x, bool inplace) {
  return WithParams<Hardtanh, double, double>::either(x, 0, 6, inplace);
}
Tensor tanhshrink(const Tensor& x) {
  return sub(x, apply<Tanh>(x));
}

// One weight for all, or one for each channel, the second dimension.
Tensor prelu(const Tensor& x, const Tensor& weight) {
  if (x.dtype() != weight.dtype()) {
    fail("prelu: type promoting not supported, got ", name_of(x.dtype()), " and ",
         name_of(weight.dtype()));
  }
  if (weight.dim() > 1) {
    fail("prelu: expected weight to be a scalar or 1D tensor, but got shape ", weight.sizes());
  }
  if (weight.numel() == 1) return apply<Prelu>(x, reshape(weight, {}));
  const int64_t channels = x.dim() > 1 ? x.size(1) : 1;
  if (weight.numel() != channels) {
    fail("prelu: mismatch of parameter numbers and input channel size; found parameter numbers = ",
         weight.numel(), " and channel size = ", channels);
  }
  Dims sizes = Dims::filled(x.dim(), 1);
  sizes[1] = channels;
  return apply<Prelu>(x, reshape(weight, sizes));
}

template <class F>
Tensor shrink(const Tensor& x, double bound) {
  return WithParams<F, double>::out_of_place(x, bound);
}
Tensor softshrink(const Tensor& x, double bound) {
  if (!(bound >= 0 && std::isfinite(bound))) {
    fail("softshrink: lambda must be finite and greater or equal to 0, but found ", bound);
  }
  return shrink<Softshrink>(x, bound);
}

}  // namespace
}  // namespace ops

void add_activation(OpTable& t) {
  constexpr uint8_t everywhere = kMethod | kFunction | kFunctional;
  Op relu =
      activation<Relu>("relu(Tensor input, bool inplace=False)",
                       "max(x, 0) of each element. Derivative: 1 where x > 0, else 0.", everywhere);
  relu.call_inplace = &Invoke<static_cast<UnaryFn<Relu>>(&apply_<Relu>)>::call;
  t.push_back(relu);
  t.push_back(activation<LeakyRelu, double>(
      "leaky_relu(Tensor input, float negative_slope=0.01, bool inplace=False)",
      "x above 0, negative_slope * x below."));
  t.push_back(row<&ops::relu6>("relu6(Tensor input, bool inplace=False)", kFunctional,
                               "min(max(x, 0), 6)."));
  t.push_back(row<&ops::elu>("elu(Tensor input, float alpha=1.0, bool inplace=False)", kFunctional,
                             "x above 0, alpha (exp(x) - 1) below (Clevert et al., 2016)."));
  t.push_back(row<&ops::selu>("selu(Tensor input, bool inplace=False)", kFunction | kFunctional,
                              "The scaled elu that keeps mean and variance (Klambauer et al., "
                              "2017)."));
  t.push_back(row<&ops::celu>("celu(Tensor input, float alpha=1.0, bool inplace=False)",
                              kFunction | kFunctional,
                              "x above 0, alpha (exp(x / alpha) - 1) below (Barron, 2017)."));
  t.push_back(row<&ops::gelu>("gelu(Tensor input, *, str approximate='none')", kFunctional,
                              "x Phi(x) of each element, Phi the normal distribution function "
                              "(Hendrycks and Gimpel, 2016). "
                              "With approximate='tanh', the paper's approximation through tanh."));
  t.push_back(activation<Silu>("silu(Tensor input, bool inplace=False)",
                               "x sigmoid(x) (Elfwing et al., 2017)."));
  t.push_back(activation<Mish>("mish(Tensor input, bool inplace=False)",
                               "x tanh(softplus(x)) (Misra, 2019)."));
  t.push_back(row<&WithParams<Softplus, double, double>::out_of_place>(
      "softplus(Tensor input, float beta=1, float threshold=20)", kFunctional,
      "log(1 + exp(beta x)) / beta, and x where beta x > threshold. Derivative: sigmoid(beta x)."));
  t.push_back(row<static_cast<UnaryFn<LogSigmoid>>(&apply<LogSigmoid>)>(
      "logsigmoid(Tensor input)", kFunctional,
      "log(sigmoid(x)) without overflow. Derivative: sigmoid(-x)."));
  t.push_back(activation<Hardtanh, double, double>(
      "hardtanh(Tensor input, float min_val=-1.0, float max_val=1.0, bool inplace=False)",
      "x brought between min_val and max_val."));
  t.push_back(activation<Hardsigmoid>("hardsigmoid(Tensor input, bool inplace=False)",
                                      "min(max(x + 3, 0), 6) / 6."));
  t.push_back(activation<Hardswish>("hardswish(Tensor input, bool inplace=False)",
                                    "x min(max(x + 3, 0), 6) / 6 (Howard et al., 2019)."));
  t.push_back(row<static_cast<UnaryFn<Softsign>>(&apply<Softsign>)>(
      "softsign(Tensor input)", kFunctional, "x / (1 + |x|). Derivative: 1 / (1 + |x|)^2."));
  t.push_back(row<&ops::softshrink>("softshrink(Tensor input, float lambd=0.5)", kFunctional,
                                    "x moved towards 0 by lambd, 0 where |x| <= lambd."));
  t.push_back(row<&ops::shrink<Hardshrink>>("hardshrink(Tensor input, float lambd=0.5)", everywhere,
                                            "x, but 0 where |x| <= lambd."));
  t.push_back(row<&ops::tanhshrink>("tanhshrink(Tensor input)", kFunctional, "x - tanh(x)."));
  t.push_back(activation<Threshold, double, double>(
      "threshold(Tensor input, float threshold, float value, bool inplace=False)",
      "x above the threshold, value elsewhere.", kFunction | kFunctional));
  t.push_back(row<&ops::prelu>("prelu(Tensor input, Tensor weight)", everywhere,
                               "x above 0, weight * x below, one weight or one a channel (He et "
                               "al., 2015)."));
}

}  // namespace wengert
