// The elementwise part of losses: a is the input, b the target.
#pragma once

#include "kernels/functors/functor.h"

namespace wengert {

struct SquaredError : Elementwise<Kind::Floating, 2> {
  static constexpr auto name = "squared_error";
  static constexpr Uses uses[] = {kX0 | kX1, kX0 | kX1};
  template <class V>
  static WENGERT_FN V f(V a, V b) {
    const V d = a - b;
    return d * d;
  }
  template <int I, class V>
  static WENGERT_FN V df(V a, V b, V) {
    if constexpr (I == 0) {
      return V(2.0) * (a - b);
    } else {
      return V(2.0) * (b - a);
    }
  }
};

struct AbsoluteError : Elementwise<Kind::Floating, 2> {
  static constexpr auto name = "absolute_error";
  static constexpr Uses uses[] = {kX0 | kX1, kX0 | kX1};
  template <class V>
  static WENGERT_FN V f(V a, V b) {
    return abs(a - b);
  }
  template <int I, class V>
  static WENGERT_FN V df(V a, V b, V) {
    if constexpr (I == 0) {
      return sign(a - b);
    } else {
      return sign(b - a);
    }
  }
};

// Girshick, Fast R-CNN (2015).
struct SmoothL1 : Elementwise<Kind::Floating, 2> {
  static constexpr auto name = "smooth_l1";
  static constexpr Uses uses[] = {kX0 | kX1, kX0 | kX1};
  double beta;
  WENGERT_FN explicit SmoothL1(const double* p) : beta(p[0]) {}
  template <class V>
  WENGERT_FN V f(V a, V b) const {
    const V d = abs(a - b);
    return select(d < V(beta), V(0.5) * d * d / V(beta), d - V(0.5 * beta));
  }
  template <class V>
  WENGERT_FN V slope_at(V d) const {
    return select(abs(d) < V(beta), d / V(beta), sign(d));
  }
  template <int I, class V>
  WENGERT_FN V df(V a, V b, V) const {
    if constexpr (I == 0) {
      return slope_at(a - b);
    } else {
      return -slope_at(a - b);
    }
  }
};

// Huber, Robust estimation of a location parameter (1964).
struct Huber : Elementwise<Kind::Floating, 2> {
  static constexpr auto name = "huber";
  static constexpr Uses uses[] = {kX0 | kX1, kX0 | kX1};
  double delta;
  WENGERT_FN explicit Huber(const double* p) : delta(p[0]) {}
  template <class V>
  WENGERT_FN V f(V a, V b) const {
    const V d = abs(a - b);
    return select(d <= V(delta), V(0.5) * d * d, V(delta) * (d - V(0.5 * delta)));
  }
  template <class V>
  WENGERT_FN V slope_at(V d) const {
    return select(abs(d) <= V(delta), d, V(delta) * sign(d));
  }
  template <int I, class V>
  WENGERT_FN V df(V a, V b, V) const {
    if constexpr (I == 0) {
      return slope_at(a - b);
    } else {
      return -slope_at(a - b);
    }
  }
};

// Logarithms are bounded from below by -100, as PyTorch does, so that no loss is infinite.
struct BinaryCrossEntropy : Elementwise<Kind::Floating, 2> {
  static constexpr auto name = "binary_cross_entropy";
  static constexpr Uses uses[] = {kX0 | kX1, kX0 | kX1};
  template <class V>
  static WENGERT_FN V f(V a, V b) {
    return (b - V(1.0)) * maximum(log1p(-a), V(-100.0)) - b * maximum(log(a), V(-100.0));
  }
  template <int I, class V>
  static WENGERT_FN V df(V a, V b, V) {
    if constexpr (I == 0) {
      return (a - b) / maximum(a * (V(1.0) - a), V(1e-12));
    } else {
      return maximum(log1p(-a), V(-100.0)) - maximum(log(a), V(-100.0));
    }
  }
};

struct BceWithLogits : Elementwise<Kind::Floating, 2> {
  static constexpr auto name = "binary_cross_entropy_with_logits";
  static constexpr Uses uses[] = {kX0 | kX1, kX0};
  template <class V>
  static WENGERT_FN V f(V a, V b) {
    return maximum(a, V(0.0)) - a * b + log1p(exp(-abs(a)));
  }
  template <int I, class V>
  static WENGERT_FN V df(V a, V b, V) {
    if constexpr (I == 0) {
      return sigmoid(a) - b;
    } else {
      return -a;
    }
  }
};

// b (log(b) - a): a are log-probabilities, b probabilities.
struct KlDiv : Elementwise<Kind::Floating, 2> {
  static constexpr auto name = "kl_div";
  static constexpr Uses uses[] = {kX1, kX0 | kX1};
  template <class V>
  static WENGERT_FN V f(V a, V b) {
    return select(b == V(0.0), V(0.0), b * log(b)) - b * a;
  }
  template <int I, class V>
  static WENGERT_FN V df(V a, V b, V) {
    if constexpr (I == 0) {
      return -b;
    } else {
      return select(b == V(0.0), V(0.0), log(b) + V(1.0) - a);
    }
  }
};

// The same for log-probabilities b.
struct KlDivLog : Elementwise<Kind::Floating, 2> {
  static constexpr auto name = "kl_div_log";
  static constexpr Uses uses[] = {kX1, kX0 | kX1};
  template <class V>
  static WENGERT_FN V f(V a, V b) {
    return exp(b) * (b - a);
  }
  template <int I, class V>
  static WENGERT_FN V df(V a, V b, V) {
    if constexpr (I == 0) {
      return -exp(b);
    } else {
      return exp(b) * (b - a + V(1.0));
    }
  }
};

using LossFunctors = TypeList<SquaredError, AbsoluteError, SmoothL1, Huber, BinaryCrossEntropy,
                              BceWithLogits, KlDiv, KlDivLog>;

}  // namespace wengert
