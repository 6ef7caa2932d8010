// Softmax and cross-entropy over dense rows.
#pragma once

#include "kernels/cpu/cpu.h"
#include "kernels/cpu/reduce_isa.h"
#include "kernels/cpu/vmath_all.h"

namespace wengert::WENGERT_ISA {

// The sum over the row of what `term` makes of each vector; lanes beyond the row add nothing.
template <class T, class Term>
WENGERT_INLINE T sum_row(int64_t cols, Term&& term) {
  constexpr int N = Vec<T>::N;
  Vec<T> acc(0.0);
  over<T>(cols, [&](int64_t j, int m) __attribute__((always_inline)) {
    Vec<T> t = term(j, m);
    if (m < N) t = select(first_lanes<T>(m), t, Vec<T>(0.0));
    acc = acc + t;
  });
  return join_lanes<wengert::Sum>(acc);
}

// max + log(sum(exp(x - max))), the stable form; `exps`, if given, receives exp(x - max).
template <class T>
WENGERT_INLINE T log_sum_exp(const T* x, int64_t cols, T& sum, T& max) {
  max = reduce_dense<AMax>(x, cols);
  // A row of -inf alone must give -inf, not NaN; a NaN must stay one.
  const T shift = max - max == 0 || max != max ? max : T(0);
  const Vec<T> s = Vec<T>::broadcast(shift);
  sum = sum_row<T>(cols, [&](int64_t j, int m) __attribute__((always_inline)) {
    return exp(Vec<T>::load(x + j, m) - s);
  });
  return shift + log(Vec<T>::broadcast(sum)).v[0];
}

template <class T>
void softmax_forward(const void* x_, void* y_, int64_t rows, int64_t cols, bool log_form) {
  for (int64_t r = 0; r < rows; ++r) {
    const T* x = static_cast<const T*>(x_) + r * cols;
    T* y = static_cast<T*>(y_) + r * cols;
    if (log_form) {
      T sum, max;
      const Vec<T> lse = Vec<T>::broadcast(log_sum_exp(x, cols, sum, max));
      over<T>(cols, [&](int64_t j, int m) __attribute__((always_inline)) {
        (Vec<T>::load(x + j, m) - lse).store(y + j, m);
      });
      continue;
    }
    const Vec<T> max = Vec<T>::broadcast(reduce_dense<AMax>(x, cols));
    const T sum = sum_row<T>(cols, [&](int64_t j, int m) __attribute__((always_inline)) {
      const Vec<T> e = exp(Vec<T>::load(x + j, m) - max);
      e.store(y + j, m);
      return e;
    });
    const Vec<T> scale = Vec<T>::broadcast(T(1) / sum);
    over<T>(cols, [&](int64_t j, int m) __attribute__((always_inline)) {
      (Vec<T>::load(y + j, m) * scale).store(y + j, m);
    });
  }
}

// softmax: y * (g - sum(g * y)); log_softmax: g - exp(y) * sum(g)
template <class T>
void softmax_backward(const void* g_, const void* y_, void* gx_, int64_t rows, int64_t cols,
                      bool log_form) {
  for (int64_t r = 0; r < rows; ++r) {
    const T* g = static_cast<const T*>(g_) + r * cols;
    const T* y = static_cast<const T*>(y_) + r * cols;
    T* gx = static_cast<T*>(gx_) + r * cols;
    const T total = sum_row<T>(cols, [&](int64_t j, int m) __attribute__((always_inline)) {
      const Vec<T> gv = Vec<T>::load(g + j, m);
      return log_form ? gv : gv * Vec<T>::load(y + j, m);
    });
    const Vec<T> sum = Vec<T>::broadcast(total);
    over<T>(cols, [&](int64_t j, int m) __attribute__((always_inline)) {
      const Vec<T> gv = Vec<T>::load(g + j, m), yv = Vec<T>::load(y + j, m);
      Vec<T>(log_form ? gv - exp(yv) * sum : yv * (gv - sum)).store(gx + j, m);
    });
  }
}

template <class T>
void cross_entropy_forward(const cpu::CrossEntropyRows& r, int64_t begin, int64_t end, void* loss,
                           void* lse) {
  for (int64_t i = begin; i < end; ++i) {
    const T* x = static_cast<const T*>(r.x) + i * r.cols;
    T sum, max;
    const T value = log_sum_exp(x, r.cols, sum, max);
    static_cast<T*>(lse)[i] = value;
    const int64_t t = r.target[i];
    static_cast<T*>(loss)[i] = t == r.ignore_index ? T(0) : value - x[t];
  }
}

template <class T>
void cross_entropy_backward(const cpu::CrossEntropyRows& r, int64_t begin, int64_t end,
                            const void* lse, const void* scale, int64_t scale_stride, double factor,
                            void* gx_) {
  for (int64_t i = begin; i < end; ++i) {
    const T* x = static_cast<const T*>(r.x) + i * r.cols;
    T* gx = static_cast<T*>(gx_) + i * r.cols;
    const int64_t t = r.target[i];
    const T s = t == r.ignore_index
                    ? T(0)
                    : static_cast<T>(static_cast<const T*>(scale)[i * scale_stride] *
                                     static_cast<T>(factor));
    const Vec<T> sv = Vec<T>::broadcast(s);
    const Vec<T> shift = Vec<T>::broadcast(static_cast<const T*>(lse)[i]);
    over<T>(r.cols, [&](int64_t j, int m) __attribute__((always_inline)) {
      (exp(Vec<T>::load(x + j, m) - shift) * sv).store(gx + j, m);
    });
    if (t != r.ignore_index) gx[t] -= s;
  }
}

template <class T, class Isa>
void fill_rows(Isa& isa) {
  constexpr int t = static_cast<int>(kDTypeOf<T>);
  isa.softmax[t] = {&softmax_forward<T>, &softmax_backward<T>};
  isa.cross_entropy[t] = {&cross_entropy_forward<T>, &cross_entropy_backward<T>};
}

}  // namespace wengert::WENGERT_ISA
