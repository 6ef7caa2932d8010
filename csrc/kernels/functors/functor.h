// Every elementwise function f and its derivative df, written once over the value type V.
//
// V is a SIMD vector in the CPU kernels, a scalar in a CUDA thread, and a tensor expression (Var,
// ops/var.h) in derivatives of derivatives. Branches are written select(condition, a, b): a blend,
// a ternary or `where`. What f and df may call is what all of these offer: + - * /, comparisons, &,
// select, exp, log, ... Add a function to its family's file and to the list at that file's end; its
// row in ops and its test row in tests/op_table make it an operation.
//
//   arity             number of operands
//   kind              what dtypes go in and come out (below)
//   uses[I]           what the derivative by operand I reads; only that is saved
//   f(x...)           the value
//   df<I>(x..., y)    the local derivative by operand I; operands not in uses[I] hold nothing
//   pull<I>(g, x..., y)   instead of g * df where that product would be wrong (inf * 0)
//   slope[I]          instead of df for linear functions: the constant derivative
//   compact           whether whole vectors and tails share one loop body
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
  Integral,  // the common type of integers or bools
  Compare,   // any common type in, bool out
};

// What most functors are. Their loops are compact: one body serves whole vectors and tails, which
// halves the code; the hottest functors spell these lines out and get a loop without that branch.
template <Kind K, int Arity = 1>
struct Elementwise {
  static constexpr int arity = Arity;
  static constexpr Kind kind = K;
  static constexpr bool compact = true;
};

// --- lists --------------------------------------------------------------------------------------

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
template <class... Lists>
struct JoinLists;
template <class... As>
struct JoinLists<TypeList<As...>> {
  using type = TypeList<As...>;
};
template <class... As, class... Bs, class... Rest>
struct JoinLists<TypeList<As...>, TypeList<Bs...>, Rest...> {
  using type = typename JoinLists<TypeList<As..., Bs...>, Rest...>::type;
};

// --- traits ------------------------------------------------------------------------------------

template <class F>
concept Linear = requires { F::slope; };
template <class F>
concept Differentiable = Linear<F> || requires { F::uses; };
template <class F>
concept HasMaskOperand = requires { F::mask_operand; };

template <class F>
concept Compact = requires { F::compact; };

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
