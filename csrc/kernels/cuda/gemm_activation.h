// Activations at the end of a matrix product. Those that networks are made of are part of the
// kernels that multiply; whatever else a program may join to a product, gemm_finish.cu applies.
#pragma once

#include "kernels/cuda/gemm.h"
#include "kernels/cuda/map.h"

namespace wengert::cuda {

template <class... Fs>
constexpr bool is_one_of(int functor, TypeList<Fs...>) {
  return ((functor == index_of<Fs, MapFunctors>) || ...);
}
using CommonActivations = TypeList<Relu, Tanh, Sigmoid, Gelu, GeluTanh, Silu>;

// Called, not inlined: a tile has many elements, and only few launches have an activation.
template <class T, class... Fs>
__device__ __noinline__ T common_activation(int functor, T v, TypeList<Fs...>) {
  T x[1][1] = {{v}}, y[1] = {v};
  constexpr double none[4] = {};
  ((functor == index_of<Fs, MapFunctors> ? compute<Fs, false>(0, none, x, y) : void()), ...);
  return y[0];
}

struct ReluOnly {
  static constexpr bool has(int functor) { return functor == index_of<Relu, MapFunctors>; }
  template <class T, int V>
  WENGERT_DEVICE void operator()(const GemmLaunch& g, T (&v)[V]) const {
    if (g.activation < 0) return;
#pragma unroll
    for (int j = 0; j < V; ++j) v[j] = Relu::f(Lane<T>::of(v[j])).v;
  }
};
struct CommonOnly {
  static constexpr bool has(int functor) { return is_one_of(functor, CommonActivations{}); }
  template <class T, int V>
  WENGERT_DEVICE void operator()(const GemmLaunch& g, T (&v)[V]) const {
    if (g.activation < 0) return;
    if (ReluOnly::has(g.activation)) return ReluOnly{}(g, v);
#pragma unroll
    for (int j = 0; j < V; ++j) v[j] = common_activation(g.activation, v[j], CommonActivations{});
  }
};
struct NoActivation {
  static constexpr bool has(int) { return false; }
  template <class T, int V>
  WENGERT_DEVICE void operator()(const GemmLaunch&, T (&)[V]) const {}
};

}  // namespace wengert::cuda
