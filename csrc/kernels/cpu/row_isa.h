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

// Rows of few columns are taken side by side, a lane each, so that nothing is joined across lanes.
// Which rows are does not depend on how many there are.
constexpr int64_t kFewColumns = 16;

// Some rows as columns, a vector each; lanes that have no row are 0.
template <class T>
class Columns {
 public:
  static constexpr int64_t kRows = Vec<T>::N;
  Columns(int64_t rows, int64_t cols) : rows_(rows), cols_(cols) {}
  Columns(const T* from, int64_t rows, int64_t cols) : Columns(rows, cols) {
    for (int64_t j = 0; j < cols; ++j) {
      if (rows < kRows) set(j, Vec<T>(0.0));
      each_row([&](int64_t i) { tile_[j][i] = from[i * cols + j]; });
    }
  }
  void store(T* to) const {
    for (int64_t j = 0; j < cols_; ++j) {
      each_row([&](int64_t i) { to[i * cols_ + j] = tile_[j][i]; });
    }
  }
  Vec<T> get(int64_t j) const { return Vec<T>::load(tile_[j]); }
  void set(int64_t j, Vec<T> v) { v.store(tile_[j]); }
  // Each column becomes what `make` says; returns the sums over the rows.
  template <class Make>
  WENGERT_INLINE Vec<T> each(Make&& make) {
    Vec<T> sum(0.0);
    for (int64_t j = 0; j < cols_; ++j) {
      const Vec<T> v = make(j);
      set(j, v);
      sum = sum + v;
    }
    return sum;
  }
  Vec<T> max() const {
    Vec<T> m(-__builtin_inf());
    for (int64_t j = 0; j < cols_; ++j) m = maximum(m, get(j));
    return m;
  }
  // As the function below.
  Vec<T> log_sum_exp() const {
    const Vec<T> m = max(), zero(0.0);
    const Vec<T> shift = select((m - m == zero) | (m != m), m, zero);
    Vec<T> sum(0.0);
    for (int64_t j = 0; j < cols_; ++j) sum = sum + exp(get(j) - shift);
    return shift + log(sum);
  }

 private:
  template <class Step>
  WENGERT_INLINE void each_row(Step&& step) const {
    if (rows_ == kRows) {
      for (int64_t i = 0; i < kRows; ++i) step(i);
    } else {
      for (int64_t i = 0; i < rows_; ++i) step(i);
    }
  }

  int64_t rows_, cols_;
  alignas(64) T tile_[kFewColumns][kRows];
};

// Calls step(first, count) for as many rows at a time as go side by side.
template <class T, class Step>
WENGERT_INLINE void side_by_side(int64_t begin, int64_t end, Step&& step) {
  for (int64_t i = begin; i < end; i += Vec<T>::N) {
    step(i, end - i < Vec<T>::N ? end - i : int64_t{Vec<T>::N});
  }
}

template <class T>
void softmax_forward_few(const T* x, T* y, int64_t rows, int64_t cols, bool log_form) {
  side_by_side<T>(0, rows, [&](int64_t i, int64_t n) __attribute__((always_inline)) {
    Columns<T> all(x + i * cols, n, cols);
    if (log_form) {
      const Vec<T> lse = all.log_sum_exp();
      all.each([&](int64_t j) __attribute__((always_inline)) { return all.get(j) - lse; });
    } else {
      const Vec<T> max = all.max();
      const Vec<T> sum =
          all.each([&](int64_t j) __attribute__((always_inline)) { return exp(all.get(j) - max); });
      const Vec<T> scale = Vec<T>(1.0) / sum;
      all.each([&](int64_t j) __attribute__((always_inline)) { return all.get(j) * scale; });
    }
    all.store(y + i * cols);
  });
}

template <class T>
void softmax_backward_few(const T* g, const T* y, T* gx, int64_t rows, int64_t cols,
                          bool log_form) {
  side_by_side<T>(0, rows, [&](int64_t i, int64_t n) __attribute__((always_inline)) {
    const Columns<T> gs(g + i * cols, n, cols), ys(y + i * cols, n, cols);
    Columns<T> out(n, cols);
    const Vec<T> sum = out.each([&](int64_t j) __attribute__((always_inline)) {
      return log_form ? gs.get(j) : gs.get(j) * ys.get(j);
    });
    out.each([&](int64_t j) __attribute__((always_inline)) {
      const Vec<T> gv = gs.get(j), yv = ys.get(j);
      return log_form ? gv - exp(yv) * sum : yv * (gv - sum);
    });
    out.store(gx + i * cols);
  });
}

template <class T>
void softmax_forward(const void* x_, void* y_, int64_t rows, int64_t cols, bool log_form) {
  if (cols <= kFewColumns) {
    return softmax_forward_few(static_cast<const T*>(x_), static_cast<T*>(y_), rows, cols,
                               log_form);
  }
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
  if (cols <= kFewColumns) {
    return softmax_backward_few(static_cast<const T*>(g_), static_cast<const T*>(y_),
                                static_cast<T*>(gx_), rows, cols, log_form);
  }
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
  const auto finish = [&](int64_t i, T value) __attribute__((always_inline)) {
    static_cast<T*>(lse)[i] = value;
    const int64_t t = r.target[i];
    const T* x = static_cast<const T*>(r.x) + i * r.cols;
    static_cast<T*>(loss)[i] = t == r.ignore_index ? T(0) : value - x[t];
  };
  if (r.cols <= kFewColumns) {
    return side_by_side<T>(begin, end, [&](int64_t i, int64_t n) __attribute__((always_inline)) {
      const Columns<T> x(static_cast<const T*>(r.x) + i * r.cols, n, r.cols);
      alignas(64) T value[Vec<T>::N];
      x.log_sum_exp().store(value);
      for (int64_t k = 0; k < n; ++k) finish(i + k, value[k]);
    });
  }
  for (int64_t i = begin; i < end; ++i) {
    const T* x = static_cast<const T*>(r.x) + i * r.cols;
    T sum, max;
    finish(i, log_sum_exp(x, r.cols, sum, max));
  }
}

template <class T>
void cross_entropy_backward(const cpu::CrossEntropyRows& r, int64_t begin, int64_t end,
                            const void* lse, const void* scale, int64_t scale_stride, double factor,
                            void* gx_) {
  const auto scale_of = [&](int64_t i) __attribute__((always_inline)) {
    if (r.target[i] == r.ignore_index) return T(0);
    return static_cast<T>(static_cast<const T*>(scale)[i * scale_stride] * static_cast<T>(factor));
  };
  if (r.cols <= kFewColumns) {
    return side_by_side<T>(begin, end, [&](int64_t i, int64_t n) __attribute__((always_inline)) {
      Columns<T> x(static_cast<const T*>(r.x) + i * r.cols, n, r.cols);
      alignas(64) T s[Vec<T>::N] = {};
      for (int64_t k = 0; k < n; ++k) s[k] = scale_of(i + k);
      const Vec<T> sv = Vec<T>::load(s);
      const Vec<T> shift = Vec<T>::load(static_cast<const T*>(lse) + i, static_cast<int>(n));
      x.each([&](int64_t j) __attribute__((always_inline)) { return exp(x.get(j) - shift) * sv; });
      T* const gx = static_cast<T*>(gx_) + i * r.cols;
      x.store(gx);
      for (int64_t k = 0; k < n; ++k) {
        const int64_t t = r.target[i + k];
        if (t != r.ignore_index) gx[k * r.cols + t] -= s[k];
      }
    });
  }
  for (int64_t i = begin; i < end; ++i) {
    const T* x = static_cast<const T*>(r.x) + i * r.cols;
    T* gx = static_cast<T*>(gx_) + i * r.cols;
    const int64_t t = r.target[i];
    const T s = scale_of(i);
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
