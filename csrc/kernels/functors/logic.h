// Comparisons, logical and bitwise functions.
#pragma once

#include "kernels/functors/functor.h"

namespace wengert {

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

struct LogicalNot : Elementwise<Kind::Compare> {
  static constexpr auto name = "logical_not";
  template <class V>
  static WENGERT_FN auto f(V x) {
    return x == V(0.0);
  }
};

struct LogicalAnd : Elementwise<Kind::Compare, 2> {
  static constexpr auto name = "logical_and";
  template <class V>
  static WENGERT_FN auto f(V a, V b) {
    return (a != V(0.0)) & (b != V(0.0));
  }
};

struct LogicalOr : Elementwise<Kind::Compare, 2> {
  static constexpr auto name = "logical_or";
  template <class V>
  static WENGERT_FN auto f(V a, V b) {
    return (a != V(0.0)) | (b != V(0.0));
  }
};

struct LogicalXor : Elementwise<Kind::Compare, 2> {
  static constexpr auto name = "logical_xor";
  template <class V>
  static WENGERT_FN auto f(V a, V b) {
    return (a != V(0.0)) ^ (b != V(0.0));
  }
};

struct Isnan : Elementwise<Kind::Compare> {
  static constexpr auto name = "isnan";
  template <class V>
  static WENGERT_FN auto f(V x) {
    return x != x;
  }
};

struct Isinf : Elementwise<Kind::Compare> {
  static constexpr auto name = "isinf";
  template <class V>
  static WENGERT_FN auto f(V x) {
    return isinf(x);
  }
};

struct Isfinite : Elementwise<Kind::Compare> {
  static constexpr auto name = "isfinite";
  template <class V>
  static WENGERT_FN auto f(V x) {
    return isfinite(x);
  }
};

struct Isposinf : Elementwise<Kind::Compare> {
  static constexpr auto name = "isposinf";
  template <class V>
  static WENGERT_FN auto f(V x) {
    return isinf(x) & (x > V(0.0));
  }
};

struct Isneginf : Elementwise<Kind::Compare> {
  static constexpr auto name = "isneginf";
  template <class V>
  static WENGERT_FN auto f(V x) {
    return isinf(x) & (x < V(0.0));
  }
};

struct Signbit : Elementwise<Kind::Compare> {
  static constexpr auto name = "signbit";
  template <class V>
  static WENGERT_FN auto f(V x) {
    return signbit(x);
  }
};

struct BitwiseNot : Elementwise<Kind::Integral> {
  static constexpr auto name = "bitwise_not";
  template <class V>
  static WENGERT_FN V f(V x) {
    return ~x;
  }
};

struct BitwiseAnd : Elementwise<Kind::Integral, 2> {
  static constexpr auto name = "bitwise_and";
  template <class V>
  static WENGERT_FN V f(V a, V b) {
    return a & b;
  }
};

struct BitwiseOr : Elementwise<Kind::Integral, 2> {
  static constexpr auto name = "bitwise_or";
  template <class V>
  static WENGERT_FN V f(V a, V b) {
    return a | b;
  }
};

struct BitwiseXor : Elementwise<Kind::Integral, 2> {
  static constexpr auto name = "bitwise_xor";
  template <class V>
  static WENGERT_FN V f(V a, V b) {
    return a ^ b;
  }
};

struct LeftShift : Elementwise<Kind::Integral, 2> {
  static constexpr auto name = "bitwise_left_shift";
  template <class V>
  static WENGERT_FN V f(V a, V b) {
    return shift_left(a, b);
  }
};

struct RightShift : Elementwise<Kind::Integral, 2> {
  static constexpr auto name = "bitwise_right_shift";
  template <class V>
  static WENGERT_FN V f(V a, V b) {
    return shift_right(a, b);
  }
};

using LogicFunctors =
    TypeList<Eq, Ne, Lt, Le, Gt, Ge, LogicalNot, LogicalAnd, LogicalOr, LogicalXor, Isnan, Isinf,
             Isfinite, Isposinf, Isneginf, Signbit, BitwiseNot, BitwiseAnd, BitwiseOr, BitwiseXor,
             LeftShift, RightShift>;

}  // namespace wengert
