// One step of each optimizer over elements [begin, end) of one parameter. The formulas are
// PyTorch's; their sources stand in the docstrings of python/wengert/optim.
#pragma once

#include "kernels/cpu/cpu.h"
#include "kernels/cpu/vec.h"

namespace wengert::WENGERT_ISA {

template <class T>
struct Arrays {
  T* p;
  const T* g;
  T* s[kMaxOptimizerStates];
  explicit Arrays(const OptimizerItem& it)
      : p(static_cast<T*>(it.param)), g(static_cast<const T*>(it.grad)) {
    for (int k = 0; k < kMaxOptimizerStates; ++k) s[k] = static_cast<T*>(it.state[k]);
  }
};

template <class T>
WENGERT_INLINE Vec<T> get(const T* p, int64_t i, int m) {
  return Vec<T>::load(p + i, m);
}
template <class T>
WENGERT_INLINE void put(Vec<T> v, T* p, int64_t i, int m) {
  v.store(p + i, m);
}

// Calls step(i, m, g) over [begin, end) with the gradient after maximize and L2 weight decay.
template <class T, class Step>
WENGERT_INLINE void each(const OptimizerLaunch& l, const Arrays<T>& a, int64_t begin, int64_t end,
                         Step&& step) {
  const Vec<T> decay(l.decoupled ? 0.0 : l.weight_decay), sign(l.maximize ? -1.0 : 1.0);
  const bool decays = !l.decoupled && l.weight_decay != 0;
  over<T>(end - begin, [&](int64_t k, int m) __attribute__((always_inline)) {
    const int64_t i = begin + k;
    Vec<T> g = get(a.g, i, m) * sign;
    if (decays) g = fma(decay, get(static_cast<const T*>(a.p), i, m), g);
    step(i, m, g);
  });
}

// b = momentum b + (1 - dampening) g; p -= lr b, or with Nesterov lr (g + momentum b)
template <class T>
void sgd(const OptimizerLaunch& l, const OptimizerItem& it, int64_t begin, int64_t end) {
  const Arrays<T> a(it);
  const Vec<T> lr(-l.lr), momentum(l.momentum), keep(1 - l.dampening);
  each<T>(l, a, begin, end, [&](int64_t i, int m, Vec<T> g) __attribute__((always_inline)) {
    if (l.momentum != 0) {
      const Vec<T> b = it.step == 1 ? g : fma(momentum, get(a.s[0], i, m), keep * g);
      put(b, a.s[0], i, m);
      g = l.nesterov ? fma(momentum, b, g) : b;
    }
    put(fma(lr, g, get(a.p, i, m)), a.p, i, m);
  });
}

// v = alpha v + (1 - alpha) g^2; p -= lr g / (sqrt(v) + eps); states: v, momentum buffer, mean of g
template <class T>
void rmsprop(const OptimizerLaunch& l, const OptimizerItem& it, int64_t begin, int64_t end) {
  const Arrays<T> a(it);
  const Vec<T> lr(-l.lr), alpha(l.alpha), rest(1 - l.alpha), eps(l.eps), momentum(l.momentum);
  each<T>(l, a, begin, end, [&](int64_t i, int m, Vec<T> g) __attribute__((always_inline)) {
    const Vec<T> v = fma(alpha, get(a.s[0], i, m), rest * g * g);
    put(v, a.s[0], i, m);
    Vec<T> spread = v;
    if (l.centered) {
      const Vec<T> old = get(a.s[2], i, m), mean = fma(rest, g - old, old);
      put(mean, a.s[2], i, m);
      spread = v - mean * mean;
    }
    Vec<T> d = g / (sqrt(spread) + eps);
    if (l.momentum != 0) {
      d = fma(momentum, get(a.s[1], i, m), d);
      put(d, a.s[1], i, m);
    }
    put(fma(lr, d, get(a.p, i, m)), a.p, i, m);
  });
}

// s += g^2; p -= lr / (1 + (step - 1) lr_decay) g / (sqrt(s) + eps)
template <class T>
void adagrad(const OptimizerLaunch& l, const OptimizerItem& it, int64_t begin, int64_t end) {
  const Arrays<T> a(it);
  const Vec<T> lr(-l.lr / (1 + static_cast<double>(it.step - 1) * l.lr_decay)), eps(l.eps);
  each<T>(l, a, begin, end, [&](int64_t i, int m, Vec<T> g) __attribute__((always_inline)) {
    const Vec<T> s = fma(g, g, get(a.s[0], i, m));
    put(s, a.s[0], i, m);
    put(fma(lr, g / (sqrt(s) + eps), get(a.p, i, m)), a.p, i, m);
  });
}

WENGERT_INLINE double power(double base, int64_t n) {
  double r = 1;
  for (; n > 0; n >>= 1, base *= base) {
    if (n & 1) r *= base;
  }
  return r;
}

// m = beta1 m + (1 - beta1) g; v = beta2 v + (1 - beta2) g^2;
// p -= lr / (1 - beta1^t) m / (sqrt(v) / sqrt(1 - beta2^t) + eps); states: m, v, max of v
template <class T>
void adam(const OptimizerLaunch& l, const OptimizerItem& it, int64_t begin, int64_t end) {
  const Arrays<T> a(it);
  const double correct1 = 1 - power(l.beta1, it.step), correct2 = 1 - power(l.beta2, it.step);
  const Vec<T> rate(-l.lr / correct1), root(1 / __builtin_sqrt(correct2)), eps(l.eps);
  const Vec<T> rest1(1 - l.beta1), beta2(l.beta2), rest2(1 - l.beta2);
  const Vec<T> shrink(l.decoupled ? 1 - l.lr * l.weight_decay : 1.0);
  each<T>(l, a, begin, end, [&](int64_t i, int n, Vec<T> g) __attribute__((always_inline)) {
    const Vec<T> old = get(a.s[0], i, n), m = fma(rest1, g - old, old);
    const Vec<T> v = fma(beta2, get(a.s[1], i, n), rest2 * g * g);
    put(m, a.s[0], i, n);
    put(v, a.s[1], i, n);
    Vec<T> spread = v;
    if (l.amsgrad) {
      spread = maximum(get(a.s[2], i, n), v);
      put(spread, a.s[2], i, n);
    }
    const Vec<T> step = m / fma(sqrt(spread), root, eps);
    put(fma(rate, step, get(a.p, i, n) * shrink), a.p, i, n);
  });
}

template <class T, class Isa>
void fill_optim(Isa& isa) {
  constexpr int t = static_cast<int>(kDTypeOf<T>);
  isa.optimizer[static_cast<int>(OptimizerRule::SGD)][t] = &sgd<T>;
  isa.optimizer[static_cast<int>(OptimizerRule::RMSprop)][t] = &rmsprop<T>;
  isa.optimizer[static_cast<int>(OptimizerRule::Adagrad)][t] = &adagrad<T>;
  isa.optimizer[static_cast<int>(OptimizerRule::Adam)][t] = &adam<T>;
}

}  // namespace wengert::WENGERT_ISA
