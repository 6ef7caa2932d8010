// Every reduction, written once over the value type V: a struct here and its name in the list at
// the end give kernels for every instruction set and dtype, and the name in traces.
//
//   identity<V>()   what joins with any x to x
//   join(a, b)      two partial results into one; associative and commutative up to rounding
//   lift(x, c)      what an element counts for, where that is not x itself; c is the element of the
//                   launch's third buffer that belongs to the result, if the launch has one
//   floating        that it is of floating dtypes alone
//   Joins           the reduction that joins partial results, where lift must not run again
//   Extreme         instead of all these: the first place of that reduction's result, along one
//                   dimension
#pragma once

#include <limits>

#include "kernels/functors.h"

namespace wengert {

template <class T>
inline constexpr T kLowest =
    std::numeric_limits<T>::has_infinity ? -std::numeric_limits<T>::infinity()
                                         : std::numeric_limits<T>::lowest();
template <class T>
inline constexpr T kHighest =
    std::numeric_limits<T>::has_infinity ? std::numeric_limits<T>::infinity()
                                         : std::numeric_limits<T>::max();

struct Sum {
  static constexpr auto name = "sum";
  template <class V>
  static WENGERT_FN V identity() {
    return V(0.0);
  }
  template <class V>
  static WENGERT_FN V join(V a, V b) {
    return a + b;
  }
};

struct Prod {
  static constexpr auto name = "prod";
  template <class V>
  static WENGERT_FN V identity() {
    return V(1.0);
  }
  template <class V>
  static WENGERT_FN V join(V a, V b) {
    return a * b;
  }
};

// NaN in any element gives NaN.
struct AMax {
  static constexpr auto name = "amax";
  template <class V>
  static WENGERT_FN V identity() {
    return V::broadcast(kLowest<typename V::value_type>);
  }
  template <class V>
  static WENGERT_FN V join(V a, V b) {
    return maximum(a, b);
  }
};

struct AMin {
  static constexpr auto name = "amin";
  template <class V>
  static WENGERT_FN V identity() {
    return V::broadcast(kHighest<typename V::value_type>);
  }
  template <class V>
  static WENGERT_FN V join(V a, V b) {
    return minimum(a, b);
  }
};

struct ArgMax {
  static constexpr auto name = "argmax";
  using Extreme = AMax;
};

struct ArgMin {
  static constexpr auto name = "argmin";
  using Extreme = AMin;
};

struct AbsSum : Sum {
  static constexpr auto name = "abs_sum";
  using Joins = Sum;
  template <class V>
  static WENGERT_FN V lift(V x, V) {
    return abs(x);
  }
};

struct SquareSum : Sum {
  static constexpr auto name = "square_sum";
  using Joins = Sum;
  template <class V>
  static WENGERT_FN V lift(V x, V) {
    return x * x;
  }
};

// The squared distances from a centre: with the mean as centre, the second pass of a variance.
struct SquareDistance : Sum {
  static constexpr auto name = "square_distance";
  using Joins = Sum;
  template <class V>
  static WENGERT_FN V lift(V x, V c) {
    return (x - c) * (x - c);
  }
};

// The exponentials of differences to a centre: with the maximum as centre, what a log-sum-exp is
// the logarithm of.
struct ExpSum : Sum {
  static constexpr auto name = "exp_sum";
  static constexpr bool floating = true;
  using Joins = Sum;
  template <class V>
  static WENGERT_FN V lift(V x, V c) {
    return exp(x - c);
  }
};

using Reductions =
    TypeList<Sum, Prod, AMax, AMin, ArgMax, ArgMin, AbsSum, SquareSum, SquareDistance, ExpSum>;

template <class R>
struct JoinsOf {
  using type = R;
};
template <class R>
  requires requires { typename R::Joins; }
struct JoinsOf<R> {
  using type = typename R::Joins;
};

}  // namespace wengert
