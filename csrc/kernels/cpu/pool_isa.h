// Max pooling, written once over Vec<T>. Included by each ISA's translation unit.
#pragma once

#include <cstdint>

#include "kernels/cpu/conv.h"
#include "kernels/cpu/conv_isa.h"
#include "kernels/cpu/vec.h"

namespace wengert::WENGERT_ISA {

// n lanes `step` apart, of which nothing beyond `readable` is read.
template <class T>
WENGERT_INLINE Vec<T> load_apart(const T* p, int64_t step, int n, int64_t readable) {
  if (step == 1) return Vec<T>::load(p, n);
  if (step == 2) return load_even(p, readable < 2 * n - 1 ? readable : 2 * n - 1);
  Vec<T> x{Raw<T>{}};
  for (int i = 0; i < n; ++i) x.v[i] = p[i * step];
  return x;
}

// The first of equal ones wins, the last NaN wins over all, as in PyTorch.
template <class T>
void max_pool_row(const cpu::PoolRow& r) {
  using V = Vec<T>;
  using I = int_of<T>;
  const T* x = static_cast<const T*>(r.x);
  T* best_out = static_cast<T*>(r.best);
  const auto steps = static_cast<I>(r.step);
  over<T>(r.n, [&](int64_t i, int n) {
    const int64_t at = i * r.step;
    V best = load_apart(x + at, r.step, n, r.readable - at);
    Raw<I> place{};  // which tap, from the first
    for (int64_t t = 1; t < r.taps; ++t) {
      const int64_t from = at + r.offsets[t];
      const V v = load_apart(x + from, r.step, n, r.readable - from);
      const Mask<T> wins = (v > best) | (v != v);
      best = select(wins, v, best);
      place = wins.v ? Raw<I>{} + static_cast<I>(r.offsets[t]) : place;
    }
    best.store(best_out + i, n);
    place += lane_numbers<T>() * steps;
    I places[V::N];
    __builtin_memcpy(places, &place, sizeof places);
    for (int k = 0; k < n; ++k) r.places[i + k] = r.place + at + places[k];
  });
}

inline void fill_pool(cpu::CpuIsa& isa) {
  isa.max_pool[static_cast<int>(DType::Int64)] = max_pool_row<int64_t>;
  isa.max_pool[static_cast<int>(DType::Float32)] = max_pool_row<float>;
  isa.max_pool[static_cast<int>(DType::Float64)] = max_pool_row<double>;
}

}  // namespace wengert::WENGERT_ISA
