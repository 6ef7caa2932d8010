// Activation functions.
#pragma once

#include "kernels/functors/functor.h"

namespace wengert {

struct Relu {
  static constexpr auto name = "relu";
  static constexpr int arity = 1;
  static constexpr Kind kind = Kind::Numeric;
  static constexpr Uses uses[] = {kY};
  template <class V>
  static WENGERT_FN V f(V x) {
    return select(x < V(0.0), V(0.0), x);  // NaN and -0 stay
  }
  template <int I, class V>
  static WENGERT_FN V df(V, V y) {
    return select(y <= V(0.0), V(0.0), V(1.0));
  }
  template <int I, class V>
  static WENGERT_FN V pull(V g, V, V y) {
    return select(y <= V(0.0), V(0.0), g);
  }
};

// Hendrycks and Gimpel, Gaussian Error Linear Units (2016): x * Phi(x).
struct Gelu {
  static constexpr auto name = "gelu";
  static constexpr int arity = 1;
  static constexpr Kind kind = Kind::Floating;
  static constexpr Uses uses[] = {kX};
  template <class V>
  static WENGERT_FN V f(V x) {
    return gelu(x);
  }
  template <int I, class V>
  static WENGERT_FN V df(V x, V) {
    if constexpr (requires { gelu_slope(x); }) return gelu_slope(x);  // one exponential for both
    const V density = V(0.3989422804014327) * exp(V(-0.5) * (x * x));
    return V(0.5) * (V(1.0) + erf(x * V(0.7071067811865476))) + x * density;
  }
};

// The same paper's approximation through tanh.
struct GeluTanh {
  static constexpr auto name = "gelu_tanh";
  static constexpr int arity = 1;
  static constexpr Kind kind = Kind::Floating;
  static constexpr Uses uses[] = {kX};
  template <class V>
  static WENGERT_FN V inner(V x) {
    return x * (V(1.5957691216057308) + V(0.07135481627260025) * (x * x));  // 2 sqrt(2 / pi)
  }
  // (1 + tanh(u / 2)) / 2 is sigmoid(u), which keeps its digits below 0.
  template <class V>
  static WENGERT_FN V f(V x) {
    return x * sigmoid(inner(x));
  }
  template <int I, class V>
  static WENGERT_FN V df(V x, V) {
    const V s = sigmoid(inner(x));
    const V slope = V(1.5957691216057308) + V(3 * 0.07135481627260025) * (x * x);
    return s + x * (s * (V(1.0) - s)) * slope;
  }
};

// Elfwing et al., Sigmoid-weighted linear units (2017), and Ramachandran et al. (2017), as swish.
struct Silu : Elementwise<Kind::Floating> {
  static constexpr auto name = "silu";
  static constexpr Uses uses[] = {kX};
  template <class V>
  static WENGERT_FN V f(V x) {
    return silu(x);
  }
  template <int I, class V>
  static WENGERT_FN V df(V x, V) {
    const V s = sigmoid(x);
    return s * (V(1.0) + x * (V(1.0) - s));
  }
};

struct LeakyRelu : Elementwise<Kind::Floating> {
  static constexpr auto name = "leaky_relu";
  static constexpr Uses uses[] = {kX};
  double slope_below;
  WENGERT_FN explicit LeakyRelu(const double* p) : slope_below(p[0]) {}
  template <class V>
  WENGERT_FN V f(V x) const {
    return select(x > V(0.0), x, V(slope_below) * x);
  }
  template <int I, class V>
  WENGERT_FN V df(V x, V) const {
    return select(x > V(0.0), V(1.0), V(slope_below));
  }
};

// Clevert et al., ELU (2016); with a scale, SELU (Klambauer et al., 2017); with input_scale = 1 /
// alpha, CELU (Barron, 2017).
struct Elu : Elementwise<Kind::Floating> {
  static constexpr auto name = "elu";
  static constexpr Uses uses[] = {kX};
  double alpha, scale, input_scale;
  WENGERT_FN explicit Elu(const double* p) : alpha(p[0]), scale(p[1]), input_scale(p[2]) {}
  template <class V>
  WENGERT_FN V f(V x) const {
    return select(x > V(0.0), V(scale) * x, V(alpha * scale) * expm1(V(input_scale) * x));
  }
  template <int I, class V>
  WENGERT_FN V df(V x, V) const {
    return select(x > V(0.0), V(scale), V(alpha * scale * input_scale) * exp(V(input_scale) * x));
  }
};

// log(1 + exp(beta x)) / beta, linear where that makes no difference.
struct Softplus : Elementwise<Kind::Floating> {
  static constexpr auto name = "softplus";
  static constexpr Uses uses[] = {kX};
  double beta, threshold;
  WENGERT_FN explicit Softplus(const double* p) : beta(p[0]), threshold(p[1]) {}
  template <class V>
  WENGERT_FN V f(V x) const {
    const V bx = V(beta) * x;
    return select(bx > V(threshold), x, softplus(bx) * V(1 / beta));
  }
  template <int I, class V>
  WENGERT_FN V df(V x, V) const {
    const V bx = V(beta) * x;
    return select(bx > V(threshold), V(1.0), sigmoid(bx));
  }
};

struct LogSigmoid : Elementwise<Kind::Floating> {
  static constexpr auto name = "logsigmoid";
  static constexpr Uses uses[] = {kX};
  template <class V>
  static WENGERT_FN V f(V x) {
    return logsigmoid(x);
  }
  template <int I, class V>
  static WENGERT_FN V df(V x, V) {
    return sigmoid(-x);
  }
};

// Between two numbers, as clamp, but with no gradient at the bounds.
struct Hardtanh : Elementwise<Kind::Numeric> {
  static constexpr auto name = "hardtanh";
  static constexpr Uses uses[] = {kX};
  double low, high;
  WENGERT_FN explicit Hardtanh(const double* p) : low(p[0]), high(p[1]) {}
  template <class V>
  WENGERT_FN V f(V x) const {
    return select(x < V(low), V(low), select(x > V(high), V(high), x));
  }
  template <int I, class V>
  WENGERT_FN V df(V x, V) const {
    return select((x > V(low)) & (x < V(high)), V(1.0), V(0.0));
  }
  template <int I, class V>
  WENGERT_FN V pull(V g, V x, V) const {
    return select((x > V(low)) & (x < V(high)), g, V(0.0));
  }
};

struct Hardsigmoid : Elementwise<Kind::Floating> {
  static constexpr auto name = "hardsigmoid";
  static constexpr Uses uses[] = {kX};
  template <class V>
  static WENGERT_FN V f(V x) {
    return minimum(maximum(x + V(3.0), V(0.0)), V(6.0)) / V(6.0);
  }
  template <int I, class V>
  static WENGERT_FN V df(V x, V) {
    return select((x > V(-3.0)) & (x < V(3.0)), V(1.0 / 6.0), V(0.0));
  }
};

// Howard et al., MobileNetV3 (2019).
struct Hardswish : Elementwise<Kind::Floating> {
  static constexpr auto name = "hardswish";
  static constexpr Uses uses[] = {kX};
  template <class V>
  static WENGERT_FN V f(V x) {
    return x * minimum(maximum(x + V(3.0), V(0.0)), V(6.0)) / V(6.0);
  }
  template <int I, class V>
  static WENGERT_FN V df(V x, V) {
    return select(x < V(-3.0), V(0.0), select(x <= V(3.0), x / V(3.0) + V(0.5), V(1.0)));
  }
};

// Misra, Mish (2019): x tanh(softplus(x)).
struct Mish : Elementwise<Kind::Floating> {
  static constexpr auto name = "mish";
  static constexpr Uses uses[] = {kX};
  template <class V>
  static WENGERT_FN V f(V x) {
    return mish(x);
  }
  template <int I, class V>
  static WENGERT_FN V df(V x, V) {
    if constexpr (requires { mish_slope(x); })
      return mish_slope(x);  // one exponential, one division
    const V t = tanh(maximum(x, V(0.0)) + log1p(exp(-abs(x))));
    return t + x * sigmoid(x) * (V(1.0) - t * t);
  }
};

struct Softsign : Elementwise<Kind::Floating> {
  static constexpr auto name = "softsign";
  static constexpr Uses uses[] = {kX};
  template <class V>
  static WENGERT_FN V f(V x) {
    return x / (V(1.0) + abs(x));
  }
  template <int I, class V>
  static WENGERT_FN V df(V x, V) {
    const V d = V(1.0) + abs(x);
    return V(1.0) / (d * d);
  }
};

struct Softshrink : Elementwise<Kind::Floating> {
  static constexpr auto name = "softshrink";
  static constexpr Uses uses[] = {kX};
  double bound;
  WENGERT_FN explicit Softshrink(const double* p) : bound(p[0]) {}
  template <class V>
  WENGERT_FN V f(V x) const {
    const V l(bound);
    return select((x >= -l) & (x <= l), V(0.0), select(x > l, x - l, x + l));
  }
  template <int I, class V>
  WENGERT_FN V df(V x, V) const {
    return select((x >= V(-bound)) & (x <= V(bound)), V(0.0), V(1.0));
  }
};

struct Hardshrink : Elementwise<Kind::Floating> {
  static constexpr auto name = "hardshrink";
  static constexpr Uses uses[] = {kX};
  double bound;
  WENGERT_FN explicit Hardshrink(const double* p) : bound(p[0]) {}
  template <class V>
  WENGERT_FN V f(V x) const {
    return select((x >= V(-bound)) & (x <= V(bound)), V(0.0), x);
  }
  template <int I, class V>
  WENGERT_FN V df(V x, V) const {
    return select((x >= V(-bound)) & (x <= V(bound)), V(0.0), V(1.0));
  }
};

struct Threshold : Elementwise<Kind::Numeric> {
  static constexpr auto name = "threshold";
  static constexpr Uses uses[] = {kX};
  double bound, value;
  WENGERT_FN explicit Threshold(const double* p) : bound(p[0]), value(p[1]) {}
  template <class V>
  WENGERT_FN V f(V x) const {
    return select(x <= V(bound), V(value), x);
  }
  template <int I, class V>
  WENGERT_FN V df(V x, V) const {
    return select(x <= V(bound), V(0.0), V(1.0));
  }
  template <int I, class V>
  WENGERT_FN V pull(V g, V x, V) const {
    return select(x <= V(bound), V(0.0), g);
  }
};

// He et al., Delving deep into rectifiers (2015).
struct Prelu : Elementwise<Kind::Floating, 2> {
  static constexpr auto name = "prelu";
  static constexpr Uses uses[] = {kX0 | kX1, kX0};
  template <class V>
  static WENGERT_FN V f(V a, V b) {
    return select(a > V(0.0), a, b * a);
  }
  template <int I, class V>
  static WENGERT_FN V df(V a, V b, V) {
    if constexpr (I == 0) {
      return select(a > V(0.0), V(1.0), b);
    } else {
      return select(a > V(0.0), V(0.0), a);
    }
  }
};

using ActivationFunctors =
    TypeList<Relu, Gelu, GeluTanh, Silu, LeakyRelu, Elu, Softplus, LogSigmoid, Hardtanh,
             Hardsigmoid, Hardswish, Mish, Softsign, Softshrink, Hardshrink, Threshold, Prelu>;

}  // namespace wengert
