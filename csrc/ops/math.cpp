// Exponentials, logarithms, trigonometric and special functions.
#include "ops/elementwise_rows.h"

namespace wengert {
namespace ops {

Tensor exp(const Tensor& x) {
  return apply<Exp>(x);
}

namespace {

Tensor logit(const Tensor& x, std::optional<double> eps) {
  if (!eps) return apply<Logit>(x);
  const Tensor wide = is_floating(x.dtype()) ? x : to(x, default_dtype());
  return apply<Logit>(WithParams<Clamp, double, double>::out_of_place(wide, *eps, 1 - *eps));
}

Tensor polygamma(int64_t n, const Tensor& x) {
  if (n < 0) fail("polygamma: n must be non-negative, got ", n);
  if (n == 0) return apply<Digamma>(x);
  return WithParams<Polygamma, double>::out_of_place(x, static_cast<double>(n));
}

}  // namespace
}  // namespace ops

void add_math(OpTable& t) {
  t.push_back(unary<Exp>("e to the power of each element. Derivative: exp(x)."));
  t.push_back(unary<Exp2>("2 to the power of each element. Derivative: log(2) 2^x."));
  t.push_back(unary<Expm1>("exp(x) - 1, accurate near 0. Derivative: exp(x)."));
  t.push_back(unary<Log>("The natural logarithm of each element. Derivative: 1 / x."));
  t.push_back(unary<Log1p>("log(1 + x), accurate near 0. Derivative: 1 / (1 + x)."));
  t.push_back(unary<Log2>("The logarithm to base 2. Derivative: 1 / (x log(2))."));
  t.push_back(unary<Log10>("The logarithm to base 10. Derivative: 1 / (x log(10))."));
  t.push_back(unary<Sin>("The sine of each element, in radians. Derivative: cos(x)."));
  t.push_back(unary<Cos>("The cosine of each element, in radians. Derivative: -sin(x)."));
  t.push_back(unary<Tan>("The tangent of each element, in radians. Derivative: 1 + tan(x)^2."));
  t.push_back(unary<Asin>("The arc sine, in radians. Derivative: 1 / sqrt(1 - x^2)."));
  t.push_back(unary<Acos>("The arc cosine, in radians. Derivative: -1 / sqrt(1 - x^2)."));
  t.push_back(unary<Atan>("The arc tangent, in radians. Derivative: 1 / (1 + x^2)."));
  t.push_back(unary<Sinh>("The hyperbolic sine. Derivative: cosh(x)."));
  t.push_back(unary<Cosh>("The hyperbolic cosine. Derivative: sinh(x)."));
  t.push_back(unary<Tanh>("The hyperbolic tangent of each element. Derivative: 1 - tanh(x)^2.",
                          kBoth | kFunctional));
  t.push_back(unary<Asinh>("The inverse hyperbolic sine. Derivative: 1 / sqrt(x^2 + 1)."));
  t.push_back(unary<Acosh>("The inverse hyperbolic cosine. Derivative: 1 / sqrt(x^2 - 1)."));
  t.push_back(unary<Atanh>("The inverse hyperbolic tangent. Derivative: 1 / (1 - x^2)."));
  for (const auto& [name, other] : {std::pair{"asin", "arcsin"},
                                    {"acos", "arccos"},
                                    {"atan", "arctan"},
                                    {"asinh", "arcsinh"},
                                    {"acosh", "arccosh"},
                                    {"atanh", "arctanh"}}) {
    alias(t, name, other);
  }
  t.push_back(unary<Sigmoid>("1 / (1 + exp(-x)) of each element. Derivative: y (1 - y).",
                             kBoth | kFunctional));
  t.push_back(with_inplace(row<&ops::logit>("logit(Tensor input, float? eps=None)", kBoth,
                                            "log(x / (1 - x)), of x brought between eps and 1 - "
                                            "eps. Derivative: 1 / (x (1 - x)).")));
  t.push_back(
      unary<Erf>("The error function of each element. Derivative: 2 / sqrt(pi) exp(-x^2)."));
  t.push_back(
      unary<Erfc>("1 - erf(x), accurate in the tail. Derivative: -2 / sqrt(pi) exp(-x^2)."));
  t.push_back(unary<Erfinv>("The inverse of erf. Derivative: sqrt(pi) / 2 exp(y^2)."));
  t.push_back(unary<Lgamma>("log |Gamma(x)|. Derivative: digamma(x)."));
  t.push_back(unary<Digamma>("The derivative of log Gamma(x). Derivative: polygamma(1, x)."));
  t.push_back(row<&ops::polygamma>("polygamma(int n, Tensor input)", kFunction,
                                   "The derivative of order n of digamma."));
  t.push_back(unary<Sinc>("sin(pi x) / (pi x), 1 at 0. Derivative: (cos(pi x) - sinc(x)) / x."));
  t.push_back(binary<Atan2>(
      "The angle of the point (other, input), in radians from -pi to pi. Derivatives: "
      "b / (a^2 + b^2), -a / (a^2 + b^2)."));
  alias(t, "atan2", "arctan2");
  t.push_back(binary<Hypot>("sqrt(a^2 + b^2) without overflow. Derivatives: a / y, b / y."));
  t.push_back(binary<Logaddexp>(
      "log(exp(a) + exp(b)) without overflow. Derivatives: exp(a - y), exp(b - y)."));
  t.push_back(
      binary<Logaddexp2>("log2(2^a + 2^b) without overflow. Derivatives: 2^(a - y), 2^(b - y)."));
  t.push_back(binary<Xlogy>("a log(b), 0 where a is 0. Derivatives: log(b), a / b."));
  t.push_back(binary<Nextafter>("The next representable number after input towards other."));
}

}  // namespace wengert
