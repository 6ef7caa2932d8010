// Elementwise kernels. Moving elements in and out takes far more code than most functors, so a
// kernel holds all functors of a number of operands, and each launch says which is meant: a few
// branches that all threads take alike, before and after which memory is what is waited for.
#pragma once

#include "kernels/cuda/lane.h"
#include "kernels/cuda/operand.h"
#include "kernels/kernels.h"

namespace wengert::cuda {

inline constexpr int kMapThreads = 256;

// Operands: out, then as many as the functor has, or, of a derivative, g and what it uses.
template <int Buffers>
struct MapArgs {
  int functor, part;  // part: 0, or which derivative from 1
  double params[4];
  Space space;
  Operand operand[Buffers];
};

template <class F>
constexpr int mask_operand() {
  if constexpr (HasMaskOperand<F>) {
    return F::mask_operand;
  } else {
    return -1;
  }
}
constexpr int bits_in(unsigned v) {
  return v == 0 ? 0 : static_cast<int>(v & 1) + bits_in(v >> 1);
}

template <class F, class T>
constexpr bool has_forward() {
  if constexpr (F::kind == Kind::Floating) return is_real<T>;
  if constexpr (F::kind == Kind::Numeric) return !std::is_same_v<T, Bool8>;
  if constexpr (F::kind == Kind::Integral) return !is_real<T>;
  return true;
}
// Buffers of the derivative by operand I; 0 if there is none.
template <class F, int I, class T>
constexpr int grad_buffers() {
  if constexpr (is_real<T> && I < F::arity && requires { F::uses; }) {
    return 2 + bits_in(F::uses[I]);
  } else {
    return 0;
  }
}

// What a functor takes for operand I: a value, or a condition.
template <class F, int I, class T>
WENGERT_DEVICE auto as_operand(T v) {
  if constexpr (I == mask_operand<F>()) {
    return Flag{convert<Bool8>(v).value != 0};
  } else if constexpr (std::is_same_v<T, Bool8>) {
    return Lane<T>::of(v.value != 0);
  } else {
    return Lane<T>::of(v);
  }
}
template <class T, class X>
WENGERT_DEVICE T as_element(X x) {
  if constexpr (std::is_same_v<T, Bool8>) {
    return Bool8(x.v);
  } else {
    return static_cast<T>(x.v);
  }
}

// What an operand that was not saved looks like: nothing reads it.
template <class F, int I, int K, class T, int Inputs, int N>
WENGERT_DEVICE auto used(const T (&x)[Inputs][N], int j) {
  constexpr unsigned bit = K == F::arity ? unsigned{kY} : 1u << K;
  constexpr int own = K == F::arity ? -2 : K;
  if constexpr ((F::uses[I] & bit) != 0) {
    return as_operand<F, own>(x[1 + bits_in(F::uses[I] & (bit - 1))][j]);
  } else {
    return as_operand<F, own>(T{});
  }
}

// Element j: of the functor, or of its derivative by operand I.
template <class F, class T, int Inputs, int N>
WENGERT_DEVICE T forward_of(const F& fn, const T (&x)[Inputs][N], int j) {
  return [&]<size_t... K>(std::index_sequence<K...>) {
    return as_element<T>(fn.f(as_operand<F, static_cast<int>(K)>(x[K][j])...));
  }(std::make_index_sequence<F::arity>{});
}
template <class F, int I, class T, int Inputs, int N>
WENGERT_DEVICE T gradient_of(const F& fn, const T (&x)[Inputs][N], int j) {
  return [&]<size_t... K>(std::index_sequence<K...>) {
    return as_element<T>(
        pull_back<I>(fn, Lane<T>::of(x[0][j]), used<F, I, static_cast<int>(K)>(x, j)...));
  }(std::make_index_sequence<F::arity + 1>{});
}

// All elements of a thread. Of the functors that are hot every element has its code; the others
// share it, as on the processor: each turn takes the first and moves the rest up, since an index
// that is not known to the compiler would put every functor's elements into memory.
template <class F, class T, int Inputs, int N, class Each>
WENGERT_DEVICE void for_elements(const T (&x)[Inputs][N], T (&out)[N], Each each) {
  if constexpr (Compact<F>) {
    T left[Inputs][N];
#pragma unroll
    for (int k = 0; k < Inputs; ++k) {
#pragma unroll
      for (int j = 0; j < N; ++j) left[k][j] = x[k][j];
    }
#pragma unroll 1
    for (int turn = 0; turn < N; ++turn) {
      const T y = each(left, 0);
#pragma unroll
      for (int k = 0; k < Inputs; ++k) {
#pragma unroll
        for (int j = 1; j < N; ++j) left[k][j - 1] = left[k][j];
      }
#pragma unroll
      for (int j = 1; j < N; ++j) out[j - 1] = out[j];
      out[N - 1] = y;
    }
  } else {
#pragma unroll
    for (int j = 0; j < N; ++j) out[j] = each(x, j);
  }
}

template <class F, bool kGradient, class T, int Inputs, int N>
WENGERT_DEVICE void compute(int part, const double* params, const T (&x)[Inputs][N], T (&out)[N]) {
  if constexpr (!kGradient) {
    if constexpr (F::arity == Inputs && has_forward<F, T>()) {
      const F fn = make_functor<F>(params);
      for_elements<F>(x, out, [&](const auto& in, int j) { return forward_of(fn, in, j); });
    }
  } else {
    const auto by = [&]<int I>() {
      if constexpr (grad_buffers<F, I, T>() == Inputs + 1) {
        const F fn = make_functor<F>(params);
        for_elements<F>(x, out,
                        [&](const auto& in, int j) { return gradient_of<F, I>(fn, in, j); });
      }
    };
    if (part == 1) by.template operator()<0>();
    if (part == 2) by.template operator()<1>();
    if (part == 3) by.template operator()<2>();
  }
}

template <int I, class F, class... Fs>
struct At : At<I - 1, Fs...> {};
template <class F, class... Fs>
struct At<0, F, Fs...> {
  using type = F;
};
template <int I, class List>
struct FunctorAt;
template <int I, class... Fs>
struct FunctorAt<I, TypeList<Fs...>> : At<I, Fs...> {};

// The functor meant, by halving.
template <int kFirst, int kEnd, bool kGradient, class T, int Inputs, int N>
WENGERT_DEVICE void dispatch(int functor, int part, const double* params, const T (&x)[Inputs][N],
                             T (&out)[N]) {
  if constexpr (kEnd - kFirst == 1) {
    compute<typename FunctorAt<kFirst, MapFunctors>::type, kGradient>(part, params, x, out);
  } else {
    constexpr int kHalf = (kFirst + kEnd) / 2;
    if (functor < kHalf) {
      dispatch<kFirst, kHalf, kGradient>(functor, part, params, x, out);
    } else {
      dispatch<kHalf, kEnd, kGradient>(functor, part, params, x, out);
    }
  }
}

template <bool kGradient, int Buffers, class T>
__global__ void __launch_bounds__(kMapThreads, sizeof(T) == 8 ? 2 : 4)
    map_elements(const __grid_constant__ MapArgs<Buffers> a) {
  constexpr int N = kPerThread<T>;
  const int64_t step = static_cast<int64_t>(gridDim.x) * kMapThreads * N;
  for (int64_t i = (static_cast<int64_t>(blockIdx.x) * kMapThreads + threadIdx.x) * N;
       i < a.space.count; i += step) {
    const int n = a.space.count - i < N ? static_cast<int>(a.space.count - i) : N;
    T x[Buffers - 1][N], out[N];
#pragma unroll
    for (int k = 1; k < Buffers; ++k) read(a.operand[k], a.space, i, n, x[k - 1]);
    dispatch<0, MapFunctors::size, kGradient>(a.functor, a.part, a.params, x, out);
    write(a.operand[0], a.space, i, n, out);
  }
}

template <bool kGradient, int Buffers, class T>
void run_map(const Launch& l) {
  MapArgs<Buffers> a{l.kernel / kIdsPerFunctor, l.kernel % kIdsPerFunctor, {}, Space(l), {}};
  std::copy_n(l.number, 4, a.params);
  for (int k = 0; k < Buffers; ++k) a.operand[k] = operand_of(l, k, kPerThread<T>, kDTypeOf<T>);
  start(l, &map_elements<kGradient, Buffers, T>, grid_for(l.count, kMapThreads * kPerThread<T>),
        kMapThreads, 0, a);
}

// The slots of a functor for one type that it is computed in, by that type's dtype.
template <class F, class T>
void fill_functor(KernelTable& t) {
  if constexpr (has_forward<F, T>()) {
    t.at(wengert::map_kernel<F>, kDTypeOf<T>) = &run_map<false, F::arity + 1, T>;
  }
  const auto gradient = [&]<int I>() {
    constexpr int buffers = grad_buffers<F, I, T>();
    if constexpr (buffers > 0) t.at(grad_kernel<F, I>, kDTypeOf<T>) = &run_map<true, buffers, T>;
  };
  gradient.template operator()<0>();
  gradient.template operator()<1>();
  gradient.template operator()<2>();
}
template <class T, class... Fs>
void fill_map(KernelTable& t, TypeList<Fs...>) {
  (fill_functor<Fs, T>(t), ...);
}

}  // namespace wengert::cuda
