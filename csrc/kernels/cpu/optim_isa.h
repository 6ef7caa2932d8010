// One step of each optimizer over elements [begin, end) of one parameter. The formulas are
// PyTorch's; their sources stand in the docstrings of python/wengert/optim.
#pragma once

#include "kernels/cpu/states_isa.h"

namespace wengert::WENGERT_ISA {

// Calls step(i, m, g) over [begin, end) with the gradient after clipping, maximize and L2 weight
// decay. `begin` is a multiple of kStateBlock.
template <class T, class Kept, class Step>
WENGERT_INLINE void each(const OptimizerLaunch& l, Kept& a, int64_t begin, int64_t end,
                         Step&& step) {
  const Vec<T> decay(l.decoupled ? 0.0 : l.weight_decay);
  const Vec<T> factor(l.maximize ? -l.grad_scale : l.grad_scale);
  const bool decays = !l.decoupled && l.weight_decay != 0;
  const auto run = [&](int64_t from, int64_t to) __attribute__((always_inline)) {
    over<T>(to - from, [&](int64_t k, int m) __attribute__((always_inline)) {
      const int64_t i = from + k;
      Vec<T> g = a.grad(i, m) * factor;
      if (decays) g = fma(decay, a.param(i, m), g);
      step(i, m, g);
    });
  };
  if constexpr (Kept::kBlocks) {
    for (int64_t b = begin; b < end; b += kStateBlock) {
      const int64_t e = end - b < kStateBlock ? end : b + kStateBlock;
      a.open(b);
      run(b, e);
      a.close(e - b);
    }
  } else {
    run(begin, end);
  }
}

// b = momentum b + (1 - dampening) g; p -= lr b, or with Nesterov lr (g + momentum b)
template <class T, class P, StateFormat F>
void sgd(const OptimizerLaunch& l, const OptimizerItem& it, int64_t begin, int64_t end) {
  using Mine = Arrays<T, P, F, States<Is::Mean>>;
  typename Mine::Memory memory;
  Mine a(it, memory);
  const Vec<T> lr(-l.lr), momentum(l.momentum), keep(1 - l.dampening);
  each<T>(l, a, begin, end, [&](int64_t i, int m, Vec<T> g) __attribute__((always_inline)) {
    if (l.momentum != 0) {
      const Vec<T> b = it.step == 1 ? g : fma(momentum, a.template state<0>(i, m), keep * g);
      a.template put_state<0>(b, i, m);
      g = l.nesterov ? fma(momentum, b, g) : b;
    }
    a.put_param(fma(lr, g, a.param(i, m)), i, m);
  });
}

// v = alpha v + (1 - alpha) g^2; p -= lr g / (sqrt(v) + eps); states: v, momentum buffer, mean of g
template <class T, class P, StateFormat F>
void rmsprop(const OptimizerLaunch& l, const OptimizerItem& it, int64_t begin, int64_t end) {
  using Mine = Arrays<T, P, F, States<Is::Square, Is::Mean, Is::Mean>>;
  typename Mine::Memory memory;
  Mine a(it, memory);
  const Vec<T> lr(-l.lr), alpha(l.alpha), rest(1 - l.alpha), eps(l.eps), momentum(l.momentum);
  each<T>(l, a, begin, end, [&](int64_t i, int m, Vec<T> g) __attribute__((always_inline)) {
    const Vec<T> v = fma(alpha, a.template state<0>(i, m), rest * g * g);
    a.template put_state<0>(v, i, m);
    Vec<T> spread = v;
    if (l.centered) {
      const Vec<T> old = a.template state<2>(i, m), mean = fma(rest, g - old, old);
      a.template put_state<2>(mean, i, m);
      spread = v - mean * mean;
    }
    Vec<T> d = g / (sqrt(spread) + eps);
    if (l.momentum != 0) {
      d = fma(momentum, a.template state<1>(i, m), d);
      a.template put_state<1>(d, i, m);
    }
    a.put_param(fma(lr, d, a.param(i, m)), i, m);
  });
}

// s += g^2; p -= lr / (1 + (step - 1) lr_decay) g / (sqrt(s) + eps)
template <class T, class P, StateFormat F>
void adagrad(const OptimizerLaunch& l, const OptimizerItem& it, int64_t begin, int64_t end) {
  using Mine = Arrays<T, P, F, States<Is::Square>>;
  typename Mine::Memory memory;
  Mine a(it, memory);
  const Vec<T> lr(-l.lr / (1 + static_cast<double>(it.step - 1) * l.lr_decay)), eps(l.eps);
  each<T>(l, a, begin, end, [&](int64_t i, int m, Vec<T> g) __attribute__((always_inline)) {
    const Vec<T> s = fma(g, g, a.template state<0>(i, m));
    a.template put_state<0>(s, i, m);
    a.put_param(fma(lr, g / (sqrt(s) + eps), a.param(i, m)), i, m);
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
template <class T, class P, StateFormat F>
void adam(const OptimizerLaunch& l, const OptimizerItem& it, int64_t begin, int64_t end) {
  using Mine = Arrays<T, P, F, States<Is::Mean, Is::Square, Is::Greatest>>;
  typename Mine::Memory memory;
  Mine a(it, memory);
  // Small parameters take less time than the powers that all of a step share.
  struct Corrections {
    double beta1, beta2, first, second;
    int64_t step;
  };
  static thread_local Corrections c{};
  if (c.step != it.step || c.beta1 != l.beta1 || c.beta2 != l.beta2) {
    c = {l.beta1, l.beta2, 1 - power(l.beta1, it.step), 1 - power(l.beta2, it.step), it.step};
  }
  const Vec<T> rate(-l.lr / c.first), root(1 / __builtin_sqrt(c.second)), eps(l.eps);
  const Vec<T> rest1(1 - l.beta1), beta2(l.beta2), rest2(1 - l.beta2);
  const Vec<T> shrink(l.decoupled ? 1 - l.lr * l.weight_decay : 1.0);
  each<T>(l, a, begin, end, [&](int64_t i, int n, Vec<T> g) __attribute__((always_inline)) {
    const Vec<T> old = a.template state<0>(i, n), m = fma(rest1, g - old, old);
    const Vec<T> v = fma(beta2, a.template state<1>(i, n), rest2 * g * g);
    a.template put_state<0>(m, i, n);
    a.template put_state<1>(v, i, n);
    Vec<T> spread = v;
    if (l.amsgrad) {
      spread = maximum(a.template state<2>(i, n), v);
      a.template put_state<2>(spread, i, n);
    }
    const Vec<T> step = m / fma(sqrt(spread), root, eps);
    a.put_param(fma(rate, step, a.param(i, n) * shrink), i, n);
  });
}

template <class T, class P, StateFormat F, class Isa>
void fill_rules(Isa& isa) {
  const auto set = [&](OptimizerRule rule, cpu::OptimizerLoop loop) {
    isa.optimizer[static_cast<int>(rule)][static_cast<int>(kDTypeOf<P>)][static_cast<int>(F)] =
        loop;
  };
  set(OptimizerRule::SGD, &sgd<T, P, F>);
  set(OptimizerRule::RMSprop, &rmsprop<T, P, F>);
  set(OptimizerRule::Adagrad, &adagrad<T, P, F>);
  set(OptimizerRule::Adam, &adam<T, P, F>);
}

template <class Isa>
void fill_optim(Isa& isa) {
  fill_rules<double, double, StateFormat::Computed>(isa);
  fill_rules<float, float, StateFormat::Computed>(isa);
  fill_rules<float, float, StateFormat::BFloat16>(isa);
  fill_rules<float, float, StateFormat::Bytes>(isa);
  fill_rules<float, BFloat16, StateFormat::Computed>(isa);
  fill_rules<float, BFloat16, StateFormat::BFloat16>(isa);
  fill_rules<float, BFloat16, StateFormat::Bytes>(isa);
  isa.quantize[0] = &quantize<false>;
  isa.quantize[1] = &quantize<true>;
  isa.dequantize[0] = &dequantize<false>;
  isa.dequantize[1] = &dequantize<true>;
}

}  // namespace wengert::WENGERT_ISA
