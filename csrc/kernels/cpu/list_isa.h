// Loops over one of many tensors: its part of a common norm, and changes of every element.
#pragma once

#include "kernels/cpu/states_isa.h"

namespace wengert::WENGERT_ISA {

// Sums of float are kept in double: squares do not overflow, and all bits of a square count.
typedef float HalfOfFloats __attribute__((vector_size(WENGERT_VEC_BYTES / 2)));
WENGERT_INLINE void halves(Vec<float> x, Vec<double> (&out)[2]) {
  HalfOfFloats half[2];
  __builtin_memcpy(half, &x.v, sizeof half);
  for (int h = 0; h < 2; ++h) out[h] = __builtin_convertvector(half[h], Raw<double>);
}
WENGERT_INLINE void halves(Vec<double> x, Vec<double> (&out)[2]) {
  out[0] = x, out[1] = Vec<double>(0.0);
}

template <class P, cpu::NormOrder Order>
double norm_part(const void* from, int64_t n) {
  const auto* x = static_cast<const P*>(from);
  using V = decltype(load_as(x, 0, 1));
  using T = typename V::value_type;
  constexpr int N = V::N, kUnroll = 4;
  if constexpr (Order == cpu::NormOrder::Infinity) {
    V most(0.0);
    over<T>(n, [&](int64_t i, int m)
                   __attribute__((always_inline)) { most = maximum(most, abs(load_as(x, i, m))); });
    T r = most.v[0];
    for (int i = 1; i < N; ++i) r = r < most.v[i] || most.v[i] != most.v[i] ? most.v[i] : r;
    return r;
  } else {
    Vec<double> sum[2 * kUnroll];
    for (auto& s : sum) s = Vec<double>(0.0);
    const auto add = [&](int u, int64_t i, int m) __attribute__((always_inline)) {
      Vec<double> half[2];
      halves(load_as(x, i, m), half);
      for (int h = 0; h < 2; ++h) {
        if constexpr (Order == cpu::NormOrder::One) {
          sum[2 * u + h] = sum[2 * u + h] + abs(half[h]);
        } else {
          sum[2 * u + h] = fma(half[h], half[h], sum[2 * u + h]);
        }
      }
    };
    int64_t i = 0;
    for (; i + kUnroll * N <= n; i += kUnroll * N) {
#pragma GCC unroll 4
      for (int u = 0; u < kUnroll; ++u) add(u, i + u * N, N);
    }
    for (; i < n; i += N) add(0, i, n - i < N ? static_cast<int>(n - i) : N);
    Vec<double> all = sum[0];
    for (int u = 1; u < 2 * kUnroll; ++u) all = all + sum[u];
    double r = 0;
    for (int lane = 0; lane < Vec<double>::N; ++lane) r += all.v[lane];
    return r;
  }
}

template <class P>
void scale_listed(void* data, int64_t n, double factor) {
  auto* x = static_cast<P*>(data);
  using V = decltype(load_as(x, 0, 1));
  const V f(factor);
  over<typename V::value_type>(n, [&](int64_t i, int m) __attribute__((always_inline)) {
    store_as(load_as(x, i, m) * f, x, i, m);
  });
}
template <class P>
void limit_listed(void* data, int64_t n, double low, double high) {
  auto* x = static_cast<P*>(data);
  using V = decltype(load_as(x, 0, 1));
  const V l(low), h(high);
  over<typename V::value_type>(n, [&](int64_t i, int m) __attribute__((always_inline)) {
    store_as(minimum(maximum(load_as(x, i, m), l), h), x, i, m);
  });
}

template <class P>
bool unscale_listed(void* data, int64_t n, double factor) {
  auto* x = static_cast<P*>(data);
  using V = decltype(load_as(x, 0, 1));
  const V f(factor), zero(0.0);
  V odd(0.0);  // NaN once something is not finite
  over<typename V::value_type>(n, [&](int64_t i, int m) __attribute__((always_inline)) {
    const V v = load_as(x, i, m);
    odd = fma(v, zero, odd);
    store_as(v * f, x, i, m);
  });
  bool finite = true;
  for (int i = 0; i < V::N; ++i) finite &= odd.v[i] == odd.v[i];
  return finite;
}

template <class P, class Isa>
void fill_list(Isa& isa) {
  cpu::ListLoops& l = isa.list[static_cast<int>(kDTypeOf<P>)];
  l.norm[0] = &norm_part<P, cpu::NormOrder::One>;
  l.norm[1] = &norm_part<P, cpu::NormOrder::Two>;
  l.norm[2] = &norm_part<P, cpu::NormOrder::Infinity>;
  l.scale = &scale_listed<P>;
  l.limit = &limit_listed<P>;
  l.unscale = &unscale_listed<P>;
}
template <class Isa>
void fill_lists(Isa& isa) {
  fill_list<BFloat16>(isa);
  fill_list<float>(isa);
  fill_list<double>(isa);
}

}  // namespace wengert::WENGERT_ISA
