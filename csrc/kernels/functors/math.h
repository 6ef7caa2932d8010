// Exponentials, logarithms, trigonometric and special functions.
#pragma once

#include "kernels/functors/functor.h"

namespace wengert {

struct Exp {
  static constexpr auto name = "exp";
  static constexpr int arity = 1;
  static constexpr Kind kind = Kind::Floating;
  static constexpr Uses uses[] = {kY};
  template <class V>
  static WENGERT_FN V f(V x) {
    return exp(x);
  }
  template <int I, class V>
  static WENGERT_FN V df(V, V y) {
    return y;
  }
};

struct Log {
  static constexpr auto name = "log";
  static constexpr int arity = 1;
  static constexpr Kind kind = Kind::Floating;
  static constexpr Uses uses[] = {kX};
  template <class V>
  static WENGERT_FN V f(V x) {
    return log(x);
  }
  template <int I, class V>
  static WENGERT_FN V df(V x, V) {
    return V(1.0) / x;
  }
};

struct Sin {
  static constexpr auto name = "sin";
  static constexpr int arity = 1;
  static constexpr Kind kind = Kind::Floating;
  static constexpr Uses uses[] = {kX};
  template <class V>
  static WENGERT_FN V f(V x) {
    return sin(x);
  }
  template <int I, class V>
  static WENGERT_FN V df(V x, V) {
    return cos(x);
  }
};

struct Cos {
  static constexpr auto name = "cos";
  static constexpr int arity = 1;
  static constexpr Kind kind = Kind::Floating;
  static constexpr Uses uses[] = {kX};
  template <class V>
  static WENGERT_FN V f(V x) {
    return cos(x);
  }
  template <int I, class V>
  static WENGERT_FN V df(V x, V) {
    return -sin(x);
  }
};

struct Tanh {
  static constexpr auto name = "tanh";
  static constexpr int arity = 1;
  static constexpr Kind kind = Kind::Floating;
  static constexpr Uses uses[] = {kY};
  template <class V>
  static WENGERT_FN V f(V x) {
    return tanh(x);
  }
  template <int I, class V>
  static WENGERT_FN V df(V, V y) {
    return V(1.0) - y * y;
  }
};

struct Sigmoid {
  static constexpr auto name = "sigmoid";
  static constexpr int arity = 1;
  static constexpr Kind kind = Kind::Floating;
  static constexpr Uses uses[] = {kY};
  template <class V>
  static WENGERT_FN V f(V x) {
    return sigmoid(x);
  }
  template <int I, class V>
  static WENGERT_FN V df(V, V y) {
    return y * (V(1.0) - y);
  }
};

struct Erf {
  static constexpr auto name = "erf";
  static constexpr int arity = 1;
  static constexpr Kind kind = Kind::Floating;
  static constexpr Uses uses[] = {kX};
  template <class V>
  static WENGERT_FN V f(V x) {
    return erf(x);
  }
  template <int I, class V>
  static WENGERT_FN V df(V x, V) {
    return V(1.1283791670955126) * exp(-(x * x));  // 2 / sqrt(pi)
  }
};

struct Exp2 : Elementwise<Kind::Floating> {
  static constexpr auto name = "exp2";
  static constexpr Uses uses[] = {kY};
  template <class V>
  static WENGERT_FN V f(V x) {
    return exp2(x);
  }
  template <int I, class V>
  static WENGERT_FN V df(V, V y) {
    return V(0.6931471805599453) * y;
  }
};

struct Expm1 : Elementwise<Kind::Floating> {
  static constexpr auto name = "expm1";
  static constexpr Uses uses[] = {kY};
  template <class V>
  static WENGERT_FN V f(V x) {
    return expm1(x);
  }
  template <int I, class V>
  static WENGERT_FN V df(V, V y) {
    return y + V(1.0);
  }
};

struct Log1p : Elementwise<Kind::Floating> {
  static constexpr auto name = "log1p";
  static constexpr Uses uses[] = {kX};
  template <class V>
  static WENGERT_FN V f(V x) {
    return log1p(x);
  }
  template <int I, class V>
  static WENGERT_FN V df(V x, V) {
    return V(1.0) / (V(1.0) + x);
  }
};

struct Log2 : Elementwise<Kind::Floating> {
  static constexpr auto name = "log2";
  static constexpr Uses uses[] = {kX};
  template <class V>
  static WENGERT_FN V f(V x) {
    return log2(x);
  }
  template <int I, class V>
  static WENGERT_FN V df(V x, V) {
    return V(1.4426950408889634) / x;
  }
};

struct Log10 : Elementwise<Kind::Floating> {
  static constexpr auto name = "log10";
  static constexpr Uses uses[] = {kX};
  template <class V>
  static WENGERT_FN V f(V x) {
    return log10(x);
  }
  template <int I, class V>
  static WENGERT_FN V df(V x, V) {
    return V(0.4342944819032518) / x;
  }
};

struct Tan : Elementwise<Kind::Floating> {
  static constexpr auto name = "tan";
  static constexpr Uses uses[] = {kY};
  template <class V>
  static WENGERT_FN V f(V x) {
    return tan(x);
  }
  template <int I, class V>
  static WENGERT_FN V df(V, V y) {
    return V(1.0) + y * y;
  }
};

struct Asin : Elementwise<Kind::Floating> {
  static constexpr auto name = "asin";
  static constexpr Uses uses[] = {kX};
  template <class V>
  static WENGERT_FN V f(V x) {
    return asin(x);
  }
  template <int I, class V>
  static WENGERT_FN V df(V x, V) {
    return V(1.0) / sqrt(V(1.0) - x * x);
  }
};

struct Acos : Elementwise<Kind::Floating> {
  static constexpr auto name = "acos";
  static constexpr Uses uses[] = {kX};
  template <class V>
  static WENGERT_FN V f(V x) {
    return acos(x);
  }
  template <int I, class V>
  static WENGERT_FN V df(V x, V) {
    return V(-1.0) / sqrt(V(1.0) - x * x);
  }
};

struct Atan : Elementwise<Kind::Floating> {
  static constexpr auto name = "atan";
  static constexpr Uses uses[] = {kX};
  template <class V>
  static WENGERT_FN V f(V x) {
    return atan(x);
  }
  template <int I, class V>
  static WENGERT_FN V df(V x, V) {
    return V(1.0) / (V(1.0) + x * x);
  }
};

struct Sinh : Elementwise<Kind::Floating> {
  static constexpr auto name = "sinh";
  static constexpr Uses uses[] = {kX};
  template <class V>
  static WENGERT_FN V f(V x) {
    return sinh(x);
  }
  template <int I, class V>
  static WENGERT_FN V df(V x, V) {
    return cosh(x);
  }
};

struct Cosh : Elementwise<Kind::Floating> {
  static constexpr auto name = "cosh";
  static constexpr Uses uses[] = {kX};
  template <class V>
  static WENGERT_FN V f(V x) {
    return cosh(x);
  }
  template <int I, class V>
  static WENGERT_FN V df(V x, V) {
    return sinh(x);
  }
};

struct Asinh : Elementwise<Kind::Floating> {
  static constexpr auto name = "asinh";
  static constexpr Uses uses[] = {kX};
  template <class V>
  static WENGERT_FN V f(V x) {
    return asinh(x);
  }
  template <int I, class V>
  static WENGERT_FN V df(V x, V) {
    return V(1.0) / sqrt(x * x + V(1.0));
  }
};

struct Acosh : Elementwise<Kind::Floating> {
  static constexpr auto name = "acosh";
  static constexpr Uses uses[] = {kX};
  template <class V>
  static WENGERT_FN V f(V x) {
    return acosh(x);
  }
  template <int I, class V>
  static WENGERT_FN V df(V x, V) {
    return V(1.0) / sqrt(x * x - V(1.0));
  }
};

struct Atanh : Elementwise<Kind::Floating> {
  static constexpr auto name = "atanh";
  static constexpr Uses uses[] = {kX};
  template <class V>
  static WENGERT_FN V f(V x) {
    return atanh(x);
  }
  template <int I, class V>
  static WENGERT_FN V df(V x, V) {
    return V(1.0) / (V(1.0) - x * x);
  }
};

struct Erfc : Elementwise<Kind::Floating> {
  static constexpr auto name = "erfc";
  static constexpr Uses uses[] = {kX};
  template <class V>
  static WENGERT_FN V f(V x) {
    return erfc(x);
  }
  template <int I, class V>
  static WENGERT_FN V df(V x, V) {
    return V(-1.1283791670955126) * exp(-(x * x));
  }
};

struct Erfinv : Elementwise<Kind::Floating> {
  static constexpr auto name = "erfinv";
  static constexpr Uses uses[] = {kY};
  template <class V>
  static WENGERT_FN V f(V x) {
    return erfinv(x);
  }
  template <int I, class V>
  static WENGERT_FN V df(V, V y) {
    return V(0.8862269254527580) * exp(y * y);
  }
};

// The derivative of digamma of some order.
struct Polygamma : Elementwise<Kind::Floating> {
  static constexpr auto name = "polygamma";
  static constexpr Uses uses[] = {kX};
  double order;
  WENGERT_FN explicit Polygamma(const double* p) : order(p[0]) {}
  template <class V>
  WENGERT_FN V f(V x) const {
    return polygamma(V(order), x);
  }
  template <int I, class V>
  WENGERT_FN V df(V x, V) const {
    return polygamma(V(order + 1), x);
  }
};

struct Digamma : Elementwise<Kind::Floating> {
  static constexpr auto name = "digamma";
  static constexpr Uses uses[] = {kX};
  template <class V>
  static WENGERT_FN V f(V x) {
    return digamma(x);
  }
  template <int I, class V>
  static WENGERT_FN V df(V x, V) {
    return polygamma(V(1.0), x);
  }
};

struct Lgamma : Elementwise<Kind::Floating> {
  static constexpr auto name = "lgamma";
  static constexpr Uses uses[] = {kX};
  template <class V>
  static WENGERT_FN V f(V x) {
    return lgamma(x);
  }
  template <int I, class V>
  static WENGERT_FN V df(V x, V) {
    return digamma(x);
  }
};

struct Logit : Elementwise<Kind::Floating> {
  static constexpr auto name = "logit";
  static constexpr Uses uses[] = {kX};
  template <class V>
  static WENGERT_FN V f(V x) {
    return log(x / (V(1.0) - x));
  }
  template <int I, class V>
  static WENGERT_FN V df(V x, V) {
    return V(1.0) / (x * (V(1.0) - x));
  }
};

// sin(pi x) / (pi x)
struct Sinc : Elementwise<Kind::Floating> {
  static constexpr auto name = "sinc";
  static constexpr Uses uses[] = {kX};
  template <class V>
  static WENGERT_FN V f(V x) {
    const V t = V(3.141592653589793) * x;
    return select(t == V(0.0), V(1.0), sin(t) / t);
  }
  template <int I, class V>
  static WENGERT_FN V df(V x, V) {
    const V t = V(3.141592653589793) * x;
    return select(t == V(0.0), V(0.0), (cos(t) - sin(t) / t) / x);
  }
};

struct Atan2 : Elementwise<Kind::Floating, 2> {
  static constexpr auto name = "atan2";
  static constexpr Uses uses[] = {kX0 | kX1, kX0 | kX1};
  template <class V>
  static WENGERT_FN V f(V a, V b) {
    return atan2(a, b);
  }
  template <int I, class V>
  static WENGERT_FN V df(V a, V b, V) {
    if constexpr (I == 0) {
      return b / (a * a + b * b);
    } else {
      return -a / (a * a + b * b);
    }
  }
};

struct Hypot : Elementwise<Kind::Floating, 2> {
  static constexpr auto name = "hypot";
  static constexpr Uses uses[] = {kX0 | kY, kX1 | kY};
  template <class V>
  static WENGERT_FN V f(V a, V b) {
    return hypot(a, b);
  }
  template <int I, class V>
  static WENGERT_FN V df(V a, V b, V y) {
    if constexpr (I == 0) {
      return a / y;
    } else {
      return b / y;
    }
  }
};

// log(exp(a) + exp(b)) without overflow; equal operands may be infinite.
struct Logaddexp : Elementwise<Kind::Floating, 2> {
  static constexpr auto name = "logaddexp";
  static constexpr Uses uses[] = {kX0 | kX1, kX0 | kX1};
  template <class V>
  static WENGERT_FN V f(V a, V b) {
    const V high = maximum(a, b);
    return select(a == b, a + V(0.6931471805599453), high + log1p(exp(-abs(a - b))));
  }
  template <int I, class V>
  static WENGERT_FN V df(V a, V b, V) {
    if constexpr (I == 0) {
      return V(1.0) / (V(1.0) + exp(b - a));
    } else {
      return V(1.0) / (V(1.0) + exp(a - b));
    }
  }
};

struct Logaddexp2 : Elementwise<Kind::Floating, 2> {
  static constexpr auto name = "logaddexp2";
  static constexpr Uses uses[] = {kX0 | kX1, kX0 | kX1};
  template <class V>
  static WENGERT_FN V f(V a, V b) {
    const V high = maximum(a, b);
    return select(a == b, a + V(1.0), high + log1p(exp2(-abs(a - b))) * V(1.4426950408889634));
  }
  template <int I, class V>
  static WENGERT_FN V df(V a, V b, V) {
    if constexpr (I == 0) {
      return V(1.0) / (V(1.0) + exp2(b - a));
    } else {
      return V(1.0) / (V(1.0) + exp2(a - b));
    }
  }
};

// a log(b), 0 where a is 0.
struct Xlogy : Elementwise<Kind::Floating, 2> {
  static constexpr auto name = "xlogy";
  static constexpr Uses uses[] = {kX0 | kX1, kX0 | kX1};
  template <class V>
  static WENGERT_FN V f(V a, V b) {
    return select((a == V(0.0)) & (b == b), V(0.0), a * log(b));
  }
  template <int I, class V>
  static WENGERT_FN V df(V a, V b, V) {
    if constexpr (I == 0) {
      return select((a == V(0.0)) & (b <= V(0.0)), V(0.0), log(b));
    } else {
      return a / b;
    }
  }
};

// a exp(b - c), what the gradient of logsumexp is made of.
struct MulExpDifference : Elementwise<Kind::Floating, 3> {
  static constexpr auto name = "mul_exp_difference";
  static constexpr Uses uses[] = {kX1 | kX2, kY, kY};
  template <class V>
  static WENGERT_FN V f(V a, V b, V c) {
    return a * exp(b - c);
  }
  template <int I, class V>
  static WENGERT_FN V df(V, V b, V c, V y) {
    if constexpr (I == 0) {
      return exp(b - c);
    } else if constexpr (I == 1) {
      return y;
    } else {
      return -y;
    }
  }
};

struct Nextafter : Elementwise<Kind::Floating, 2> {
  static constexpr auto name = "nextafter";
  template <class V>
  static WENGERT_FN V f(V a, V b) {
    return nextafter(a, b);
  }
};

using MathFunctors =
    TypeList<Exp, Log, Sin, Cos, Tanh, Sigmoid, Erf, Exp2, Expm1, Log1p, Log2, Log10, Tan, Asin,
             Acos, Atan, Sinh, Cosh, Asinh, Acosh, Atanh, Erfc, Erfinv, Polygamma, Digamma, Lgamma,
             Logit, Sinc, Atan2, Hypot, Logaddexp, Logaddexp2, Xlogy, MulExpDifference, Nextafter>;

}  // namespace wengert
