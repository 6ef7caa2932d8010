// Arithmetic, rounding, bounds.
#pragma once

#include "kernels/functors/functor.h"

namespace wengert {

struct Neg {
  static constexpr auto name = "neg";
  static constexpr int arity = 1;
  static constexpr Kind kind = Kind::Numeric;
  static constexpr double slope[] = {-1};
  template <class V>
  static WENGERT_FN V f(V x) {
    return -x;
  }
};

struct Abs {
  static constexpr auto name = "abs";
  static constexpr int arity = 1;
  static constexpr Kind kind = Kind::Numeric;
  static constexpr Uses uses[] = {kX};
  template <class V>
  static WENGERT_FN V f(V x) {
    return abs(x);
  }
  template <int I, class V>
  static WENGERT_FN V df(V x, V) {
    return select(x > V(0.0), V(1.0), select(x < V(0.0), V(-1.0), V(0.0)));
  }
};

struct Square {
  static constexpr auto name = "square";
  static constexpr int arity = 1;
  static constexpr Kind kind = Kind::Numeric;
  static constexpr Uses uses[] = {kX};
  template <class V>
  static WENGERT_FN V f(V x) {
    return x * x;
  }
  template <int I, class V>
  static WENGERT_FN V df(V x, V) {
    return V(2.0) * x;
  }
};

struct Reciprocal {
  static constexpr auto name = "reciprocal";
  static constexpr int arity = 1;
  static constexpr Kind kind = Kind::Floating;
  static constexpr Uses uses[] = {kY};
  template <class V>
  static WENGERT_FN V f(V x) {
    return V(1.0) / x;
  }
  template <int I, class V>
  static WENGERT_FN V df(V, V y) {
    return -(y * y);
  }
};

struct Sqrt {
  static constexpr auto name = "sqrt";
  static constexpr int arity = 1;
  static constexpr Kind kind = Kind::Floating;
  static constexpr Uses uses[] = {kY};
  template <class V>
  static WENGERT_FN V f(V x) {
    return sqrt(x);
  }
  template <int I, class V>
  static WENGERT_FN V df(V, V y) {
    return V(0.5) / y;
  }
};

// x ** exponent for a number that is no tensor.
struct PowScalar {
  static constexpr auto name = "pow";
  static constexpr int arity = 1;
  static constexpr Kind kind = Kind::Floating;
  static constexpr Uses uses[] = {kX};
  double exponent;
  WENGERT_FN explicit PowScalar(const double* p) : exponent(p[0]) {}
  template <class V>
  static WENGERT_FN V power(V x, double e) {
    if constexpr (requires { V::N; }) {  // a vector; recorded, it stays a power
      if (e == 2) return x * x;
      if (e == 3) return x * x * x;
    }
    return pow(x, V(e));
  }
  template <class V>
  WENGERT_FN V f(V x) const {
    return power(x, exponent);
  }
  template <int I, class V>
  WENGERT_FN V df(V x, V) const {
    return exponent == 0 ? V(0.0) * x : V(exponent) * power(x, exponent - 1);
  }
};

struct Add {
  static constexpr auto name = "add";
  static constexpr int arity = 2;
  static constexpr Kind kind = Kind::Any;
  static constexpr double slope[] = {1, 1};
  template <class V>
  static WENGERT_FN V f(V a, V b) {
    return a + b;
  }
};

struct Sub {
  static constexpr auto name = "sub";
  static constexpr int arity = 2;
  static constexpr Kind kind = Kind::Numeric;
  static constexpr double slope[] = {1, -1};
  template <class V>
  static WENGERT_FN V f(V a, V b) {
    return a - b;
  }
};

struct Mul {
  static constexpr auto name = "mul";
  static constexpr int arity = 2;
  static constexpr Kind kind = Kind::Any;
  static constexpr Uses uses[] = {kX1, kX0};
  template <class V>
  static WENGERT_FN V f(V a, V b) {
    return a * b;
  }
  template <int I, class V>
  static WENGERT_FN V df(V a, V b, V) {
    if constexpr (I == 0) {
      return b;
    } else {
      return a;
    }
  }
};

struct Div {
  static constexpr auto name = "div";
  static constexpr int arity = 2;
  static constexpr Kind kind = Kind::Floating;
  static constexpr Uses uses[] = {kX1, kX0 | kX1};  // not y: quotients are often changed in place
  template <class V>
  static WENGERT_FN V f(V a, V b) {
    return a / b;
  }
  template <int I, class V>
  static WENGERT_FN V df(V a, V b, V) {
    if constexpr (I == 0) {
      return V(1.0) / b;
    } else {
      return -(a / b) / b;
    }
  }
  template <int I, class V>
  static WENGERT_FN V pull(V g, V a, V b, V) {
    if constexpr (I == 0) {
      return g / b;
    } else {
      return -g * ((a / b) / b);
    }
  }
};

struct Pow {
  static constexpr auto name = "pow";
  static constexpr int arity = 2;
  static constexpr Kind kind = Kind::Numeric;
  static constexpr Uses uses[] = {kX0 | kX1, kX0 | kX1 | kY};
  template <class V>
  static WENGERT_FN V f(V a, V b) {
    return pow(a, b);
  }
  template <int I, class V>
  static WENGERT_FN V df(V a, V b, V y) {
    if constexpr (I == 0) {
      return select(b == V(0.0), V(0.0), b * pow(a, b - V(1.0)));
    } else {
      return select((a == V(0.0)) & (b >= V(0.0)), V(0.0), y * log(a));
    }
  }
};

// At a tie each operand gets half of the gradient; NaN passes it to both.
struct Maximum {
  static constexpr auto name = "maximum";
  static constexpr int arity = 2;
  static constexpr Kind kind = Kind::Any;
  static constexpr Uses uses[] = {kX0 | kX1, kX0 | kX1};
  template <class V>
  static WENGERT_FN V f(V a, V b) {
    return maximum(a, b);
  }
  template <int I, class V>
  static WENGERT_FN V df(V a, V b, V) {
    return pull<I>(V(1.0), a, b, a);
  }
  template <int I, class V>
  static WENGERT_FN V pull(V g, V a, V b, V) {
    const auto lost = I == 0 ? a < b : b < a;
    return select(a == b, g * V(0.5), select(lost, V(0.0), g));
  }
};

struct Minimum {
  static constexpr auto name = "minimum";
  static constexpr int arity = 2;
  static constexpr Kind kind = Kind::Any;
  static constexpr Uses uses[] = {kX0 | kX1, kX0 | kX1};
  template <class V>
  static WENGERT_FN V f(V a, V b) {
    return minimum(a, b);
  }
  template <int I, class V>
  static WENGERT_FN V df(V a, V b, V) {
    return pull<I>(V(1.0), a, b, a);
  }
  template <int I, class V>
  static WENGERT_FN V pull(V g, V a, V b, V) {
    return Maximum::pull<1 - I>(g, a, b, a);
  }
};

struct Where {
  static constexpr auto name = "where";
  static constexpr int arity = 3;
  static constexpr Kind kind = Kind::Any;
  static constexpr int mask_operand = 0;
  static constexpr Uses uses[] = {kNone, kX0, kX0};
  template <class M, class V>
  static WENGERT_FN V f(M c, V a, V b) {
    return select(c, a, b);
  }
  template <int I, class M, class V>
  static WENGERT_FN V df(M c, V, V, V y) {
    return pull<I>(V(1.0), c, y, y, y);
  }
  template <int I, class M, class V>
  static WENGERT_FN V pull(V g, M c, V, V, V) {
    return I == 1 ? select(c, g, V(0.0)) : select(c, V(0.0), g);
  }
};

// --- rounding and remainders: steps have derivative 0

struct Sign : Elementwise<Kind::Any> {
  static constexpr auto name = "sign";
  static constexpr double slope[] = {0};
  template <class V>
  static WENGERT_FN V f(V x) {
    return sign(x);
  }
};

struct Floor : Elementwise<Kind::Numeric> {
  static constexpr auto name = "floor";
  static constexpr double slope[] = {0};
  template <class V>
  static WENGERT_FN V f(V x) {
    return floor(x);
  }
};

struct Ceil : Elementwise<Kind::Numeric> {
  static constexpr auto name = "ceil";
  static constexpr double slope[] = {0};
  template <class V>
  static WENGERT_FN V f(V x) {
    return ceil(x);
  }
};

// Half to even.
struct Round : Elementwise<Kind::Numeric> {
  static constexpr auto name = "round";
  static constexpr double slope[] = {0};
  template <class V>
  static WENGERT_FN V f(V x) {
    return round(x);
  }
};

struct Trunc : Elementwise<Kind::Numeric> {
  static constexpr auto name = "trunc";
  static constexpr double slope[] = {0};
  template <class V>
  static WENGERT_FN V f(V x) {
    return trunc(x);
  }
};

struct Frac : Elementwise<Kind::Floating> {
  static constexpr auto name = "frac";
  static constexpr double slope[] = {1};
  template <class V>
  static WENGERT_FN V f(V x) {
    return x - trunc(x);
  }
};

struct Rsqrt : Elementwise<Kind::Floating> {
  static constexpr auto name = "rsqrt";
  static constexpr Uses uses[] = {kY};
  template <class V>
  static WENGERT_FN V f(V x) {
    return V(1.0) / sqrt(x);
  }
  template <int I, class V>
  static WENGERT_FN V df(V, V y) {
    return V(-0.5) * (y * y * y);
  }
};

struct FloorDivide : Elementwise<Kind::Numeric, 2> {
  static constexpr auto name = "floor_divide";
  static constexpr double slope[] = {0, 0};
  template <class V>
  static WENGERT_FN V f(V a, V b) {
    return floor_divide(a, b);
  }
};

struct TruncDivide : Elementwise<Kind::Numeric, 2> {
  static constexpr auto name = "trunc_divide";
  static constexpr double slope[] = {0, 0};
  template <class V>
  static WENGERT_FN V f(V a, V b) {
    return trunc_divide(a, b);
  }
};

// With the sign of the divisor, as Python's %.
struct Remainder : Elementwise<Kind::Numeric, 2> {
  static constexpr auto name = "remainder";
  static constexpr Uses uses[] = {kNone, kX0 | kX1};
  template <class V>
  static WENGERT_FN V f(V a, V b) {
    return remainder(a, b);
  }
  template <int I, class V>
  static WENGERT_FN V df(V a, V b, V) {
    if constexpr (I == 0) {
      return V(1.0);
    } else {
      return -floor(a / b);
    }
  }
};

// With the sign of the dividend, as C's fmod.
struct Fmod : Elementwise<Kind::Numeric, 2> {
  static constexpr auto name = "fmod";
  static constexpr Uses uses[] = {kNone, kX0 | kX1};
  template <class V>
  static WENGERT_FN V f(V a, V b) {
    return fmod(a, b);
  }
  template <int I, class V>
  static WENGERT_FN V df(V a, V b, V) {
    if constexpr (I == 0) {
      return V(1.0);
    } else {
      return -trunc(a / b);
    }
  }
};

// --- bounds and blends

// NaN loses; at a tie the first operand takes the gradient.
struct Fmax : Elementwise<Kind::Any, 2> {
  static constexpr auto name = "fmax";
  static constexpr Uses uses[] = {kX0 | kX1, kX0 | kX1};
  template <class V>
  static WENGERT_FN V f(V a, V b) {
    return select((a >= b) | (b != b), a, b);
  }
  template <int I, class V>
  static WENGERT_FN V df(V a, V b, V) {
    if constexpr (I == 0) {
      return select((a >= b) | (b != b), V(1.0), V(0.0));
    } else {
      return select((a >= b) | (b != b), V(0.0), V(1.0));
    }
  }
};

struct Fmin : Elementwise<Kind::Any, 2> {
  static constexpr auto name = "fmin";
  static constexpr Uses uses[] = {kX0 | kX1, kX0 | kX1};
  template <class V>
  static WENGERT_FN V f(V a, V b) {
    return select((a <= b) | (b != b), a, b);
  }
  template <int I, class V>
  static WENGERT_FN V df(V a, V b, V) {
    if constexpr (I == 0) {
      return select((a <= b) | (b != b), V(1.0), V(0.0));
    } else {
      return select((a <= b) | (b != b), V(0.0), V(1.0));
    }
  }
};

// Between two numbers; NaN stays.
struct Clamp : Elementwise<Kind::Numeric> {
  static constexpr auto name = "clamp";
  static constexpr Uses uses[] = {kX};
  double low, high;
  WENGERT_FN explicit Clamp(const double* p) : low(p[0]), high(p[1]) {}
  template <class V>
  WENGERT_FN V f(V x) const {
    return select(x < V(low), V(low), select(x > V(high), V(high), x));
  }
  template <int I, class V>
  WENGERT_FN V df(V x, V) const {
    return select((x >= V(low)) & (x <= V(high)), V(1.0), V(0.0));
  }
  template <int I, class V>
  WENGERT_FN V pull(V g, V x, V) const {
    return select((x >= V(low)) & (x <= V(high)), g, V(0.0));
  }
};

// Between tensors: at the bound the gradient goes to x.
struct ClampMin : Elementwise<Kind::Any, 2> {
  static constexpr auto name = "clamp_min";
  static constexpr Uses uses[] = {kX0 | kX1, kX0 | kX1};
  template <class V>
  static WENGERT_FN V f(V a, V b) {
    return maximum(a, b);
  }
  template <int I, class V>
  static WENGERT_FN V df(V a, V b, V) {
    if constexpr (I == 0) {
      return select(a >= b, V(1.0), V(0.0));
    } else {
      return select(a < b, V(1.0), V(0.0));
    }
  }
};

struct ClampMax : Elementwise<Kind::Any, 2> {
  static constexpr auto name = "clamp_max";
  static constexpr Uses uses[] = {kX0 | kX1, kX0 | kX1};
  template <class V>
  static WENGERT_FN V f(V a, V b) {
    return minimum(a, b);
  }
  template <int I, class V>
  static WENGERT_FN V df(V a, V b, V) {
    if constexpr (I == 0) {
      return select(a <= b, V(1.0), V(0.0));
    } else {
      return select(a > b, V(1.0), V(0.0));
    }
  }
};

// a + c (b - a), exact at c = 0 and at c = 1.
struct Lerp : Elementwise<Kind::Floating, 3> {
  static constexpr auto name = "lerp";
  static constexpr Uses uses[] = {kX2, kX2, kX0 | kX1};
  template <class V>
  static WENGERT_FN V f(V a, V b, V c) {
    return select(abs(c) < V(0.5), a + c * (b - a), b - (b - a) * (V(1.0) - c));
  }
  template <int I, class V>
  static WENGERT_FN V df(V a, V b, V c, V) {
    if constexpr (I == 0) {
      return V(1.0) - c;
    } else if constexpr (I == 1) {
      return c;
    } else {
      return b - a;
    }
  }
};

struct Addcmul : Elementwise<Kind::Numeric, 3> {
  static constexpr auto name = "addcmul";
  static constexpr Uses uses[] = {kNone, kX2, kX1};
  double value;
  WENGERT_FN explicit Addcmul(const double* p) : value(p[0]) {}
  template <class V>
  WENGERT_FN V f(V a, V b, V c) const {
    return a + V(value) * b * c;
  }
  template <int I, class V>
  WENGERT_FN V df(V, V b, V c, V) const {
    if constexpr (I == 0) {
      return V(1.0);
    } else if constexpr (I == 1) {
      return V(value) * c;
    } else {
      return V(value) * b;
    }
  }
};

struct Addcdiv : Elementwise<Kind::Floating, 3> {
  static constexpr auto name = "addcdiv";
  static constexpr Uses uses[] = {kNone, kX2, kX1 | kX2};
  double value;
  WENGERT_FN explicit Addcdiv(const double* p) : value(p[0]) {}
  template <class V>
  WENGERT_FN V f(V a, V b, V c) const {
    return a + V(value) * (b / c);
  }
  template <int I, class V>
  WENGERT_FN V df(V, V b, V c, V) const {
    if constexpr (I == 0) {
      return V(1.0);
    } else if constexpr (I == 1) {
      return V(value) / c;
    } else {
      return V(-value) * (b / (c * c));
    }
  }
};

struct Copysign : Elementwise<Kind::Floating, 2> {
  static constexpr auto name = "copysign";
  static constexpr Uses uses[] = {kX0 | kY, kNone};
  template <class V>
  static WENGERT_FN V f(V a, V b) {
    return copysign(a, b);
  }
  template <int I, class V>
  static WENGERT_FN V df(V a, V, V y) {
    if constexpr (I == 0) {
      return select(a == V(0.0), V(0.0), y / a);
    } else {
      return V(0.0);
    }
  }
};

struct Heaviside : Elementwise<Kind::Any, 2> {
  static constexpr auto name = "heaviside";
  template <class V>
  static WENGERT_FN V f(V a, V b) {
    return select(a == V(0.0), b, select(a > V(0.0), V(1.0), V(0.0)));
  }
};

struct NanToNum : Elementwise<Kind::Floating> {
  static constexpr auto name = "nan_to_num";
  static constexpr Uses uses[] = {kX};
  double nan, high, low;
  WENGERT_FN explicit NanToNum(const double* p) : nan(p[0]), high(p[1]), low(p[2]) {}
  template <class V>
  WENGERT_FN V f(V x) const {
    return select(
        x != x, V(nan),
        select(x == V(__builtin_inf()), V(high), select(x == V(-__builtin_inf()), V(low), x)));
  }
  template <int I, class V>
  WENGERT_FN V df(V x, V) const {
    return select(abs(x) < V(__builtin_inf()), V(1.0), V(0.0));
  }
  template <int I, class V>
  WENGERT_FN V pull(V g, V x, V) const {
    return select(abs(x) < V(__builtin_inf()), g, V(0.0));
  }
};

struct Gcd : Elementwise<Kind::Integral, 2> {
  static constexpr auto name = "gcd";
  template <class V>
  static WENGERT_FN V f(V a, V b) {
    return gcd(a, b);
  }
};

using ArithmeticFunctors =
    TypeList<Neg, Abs, Square, Reciprocal, Sqrt, PowScalar, Add, Sub, Mul, Div, Pow, Maximum,
             Minimum, Where, Sign, Floor, Ceil, Round, Trunc, Frac, Rsqrt, FloorDivide, TruncDivide,
             Remainder, Fmod, Fmax, Fmin, Clamp, ClampMin, ClampMax, Lerp, Addcmul, Addcdiv,
             Copysign, Heaviside, NanToNum, Gcd>;

}  // namespace wengert
