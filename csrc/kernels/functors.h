// Every elementwise function f and its derivative df, written once over the value type V.
//
// V is a SIMD vector in the CPU kernels, a scalar in a CUDA thread, and a tensor expression (Var,
// ops/var.h) in derivatives of derivatives. Branches are written select(condition, a, b): a blend,
// a ternary or `where`. What f and df may call is what all of these offer: + - * /, comparisons, &,
// select, exp, log, ... Add a function here and to the list at the end; its row in
// ops/elementwise.cpp and its test row in tests/op_table.py make it an operation.
//
//   arity             number of operands
//   kind              what dtypes go in and come out (below)
//   uses[I]           what the derivative by operand I reads; only that is saved
//   f(x...)           the value
//   df<I>(x..., y)    the local derivative by operand I; operands not in uses[I] hold nothing
//   pull<I>(g, x..., y)   instead of g * df where that product would be wrong (inf * 0)
//   slope[I]          instead of df for linear functions: the constant derivative
//   mask_operand      the operand that is a bool condition, if any
//   F(const double*)  constructor, for functions with parameters
#pragma once

#include <cstddef>
#include <type_traits>

#if defined(__CUDACC__)
#define WENGERT_FN __host__ __device__ inline
#else
#define WENGERT_FN inline __attribute__((always_inline))
#endif

namespace wengert {

enum Uses : unsigned char { kNone = 0, kX0 = 1, kX1 = 2, kX2 = 4, kY = 8, kX = kX0 };
constexpr Uses operator|(Uses a, Uses b) {
  return static_cast<Uses>(int(a) | int(b));
}

enum class Kind : unsigned char {
  Floating,  // integers are promoted to the default float type; the result is floating
  Numeric,   // the common type of the operands, bool excepted
  Any,       // the common type of the operands, bool included
  Compare,   // any common type in, bool out
};

// --- one operand -------------------------------------------------------------------------------

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
    return V(0.5) * x * (V(1.0) + erf(x * V(0.7071067811865476)));
  }
  template <int I, class V>
  static WENGERT_FN V df(V x, V) {
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
    return V(0.7978845608028654) * (x + V(0.044715) * (x * x * x));  // sqrt(2 / pi)
  }
  template <class V>
  static WENGERT_FN V f(V x) {
    return V(0.5) * x * (V(1.0) + tanh(inner(x)));
  }
  template <int I, class V>
  static WENGERT_FN V df(V x, V) {
    const V t = tanh(inner(x));
    const V slope = V(0.7978845608028654) * (V(1.0) + V(3 * 0.044715) * (x * x));
    return V(0.5) * (V(1.0) + t) + V(0.5) * x * (V(1.0) - t * t) * slope;
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
  WENGERT_FN V f(V x) const {
    return pow(x, V(exponent));
  }
  template <int I, class V>
  WENGERT_FN V df(V x, V) const {
    return exponent == 0 ? V(0.0) * x : V(exponent) * pow(x, V(exponent - 1));
  }
};

// --- two operands ------------------------------------------------------------------------------

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
  static constexpr Uses uses[] = {kX1, kX1 | kY};
  template <class V>
  static WENGERT_FN V f(V a, V b) {
    return a / b;
  }
  template <int I, class V>
  static WENGERT_FN V df(V, V b, V y) {
    if constexpr (I == 0) {
      return V(1.0) / b;
    } else {
      return -y / b;
    }
  }
  template <int I, class V>
  static WENGERT_FN V pull(V g, V, V b, V y) {
    if constexpr (I == 0) {
      return g / b;
    } else {
      return -g * (y / b);
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

template <class Relation>
struct Comparison {
  static constexpr int arity = 2;
  static constexpr Kind kind = Kind::Compare;
};
struct Eq : Comparison<Eq> {
  static constexpr auto name = "eq";
  template <class V>
  static WENGERT_FN auto f(V a, V b) {
    return a == b;
  }
};
struct Ne : Comparison<Ne> {
  static constexpr auto name = "ne";
  template <class V>
  static WENGERT_FN auto f(V a, V b) {
    return a != b;
  }
};
struct Lt : Comparison<Lt> {
  static constexpr auto name = "lt";
  template <class V>
  static WENGERT_FN auto f(V a, V b) {
    return a < b;
  }
};
struct Le : Comparison<Le> {
  static constexpr auto name = "le";
  template <class V>
  static WENGERT_FN auto f(V a, V b) {
    return a <= b;
  }
};
struct Gt : Comparison<Gt> {
  static constexpr auto name = "gt";
  template <class V>
  static WENGERT_FN auto f(V a, V b) {
    return a > b;
  }
};
struct Ge : Comparison<Ge> {
  static constexpr auto name = "ge";
  template <class V>
  static WENGERT_FN auto f(V a, V b) {
    return a >= b;
  }
};

// --- three operands ----------------------------------------------------------------------------

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

// --- the lists ---------------------------------------------------------------------------------

template <class... Fs>
struct TypeList {
  static constexpr int size = sizeof...(Fs);
};
template <class F, class List>
inline constexpr int index_of = -1;
template <class F, class... Fs>
inline constexpr int index_of<F, TypeList<Fs...>> = [] {
  int found = -1, i = 0;
  ((std::is_same_v<F, Fs> ? found = i : 0, ++i), ...);
  return found;
}();

using MapFunctors = TypeList<Neg, Abs, Square, Reciprocal, Exp, Log, Sqrt, Sin, Cos, Tanh, Sigmoid,
                             Erf, Relu, Gelu, GeluTanh, PowScalar, Add, Sub, Mul, Div, Pow, Maximum,
                             Minimum, Eq, Ne, Lt, Le, Gt, Ge, Where>;

// --- traits ------------------------------------------------------------------------------------

template <class F>
concept Linear = requires { F::slope; };
template <class F>
concept Differentiable = Linear<F> || requires { F::uses; };
template <class F>
concept HasMaskOperand = requires { F::mask_operand; };

template <class F>
WENGERT_FN F make_functor(const double* params) {
  if constexpr (std::is_constructible_v<F, const double*>) {
    return F(params);
  } else {
    return F{};
  }
}

// g * df, or what the functor puts in its place.
template <int I, class F, class V, class... Xs>
WENGERT_FN V pull_back(const F& fn, V g, Xs... xs_and_y) {
  if constexpr (Linear<F>) {
    return F::slope[I] == 1 ? g : g * V(F::slope[I]);
  } else if constexpr (requires { fn.template pull<I>(g, xs_and_y...); }) {
    return fn.template pull<I>(g, xs_and_y...);
  } else {
    return g * fn.template df<I>(xs_and_y...);
  }
}

}  // namespace wengert
