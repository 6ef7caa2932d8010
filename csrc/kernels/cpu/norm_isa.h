// Normalization: of dense rows (layer, group, root mean square) and of channels (batch).
#pragma once

#include "kernels/cpu/cpu.h"
#include "kernels/cpu/reduce_isa.h"

namespace wengert::WENGERT_ISA {

template <class T>
WENGERT_INLINE const T* at(const void* base, int64_t i) {
  return static_cast<const T*>(base) + i;
}
template <class T>
WENGERT_INLINE T* at(void* base, int64_t i) {
  return static_cast<T*>(base) + i;
}

// 1 / sqrt(mean of squares + eps)
template <class T>
WENGERT_INLINE T inverse_deviation(T squares, int64_t n, double eps) {
  const T mean = squares / static_cast<T>(n) + static_cast<T>(eps);
  return T(1) / sqrt(Vec<T>::broadcast(mean)).v[0];
}

// y = x * scale + shift
template <class T>
WENGERT_INLINE void affine(const T* x, T scale, T shift, T* y, int64_t n) {
  const auto s = Vec<T>::broadcast(scale), t = Vec<T>::broadcast(shift);
  over<T>(n, [&](int64_t j, int m) __attribute__((always_inline)) {
    fma(Vec<T>::load(x + j, m), s, t).store(y + j, m);
  });
}

// --- rows --------------------------------------------------------------------------------------

// Two passes for mean and variance, a third for the result: a row stays in cache.
template <class T, bool kCentred>
void norm_forward(const cpu::NormRows& a, int64_t begin, int64_t end, void* out) {
  const int64_t n = a.columns, weights = n / a.inner;
  for (int64_t r = begin; r < end; ++r) {
    const T* x = at<T>(a.x, r * n);
    T* y = at<T>(out, r * n);
    const T mean = kCentred ? reduce_dense<wengert::Sum>(x, n) / static_cast<T>(n) : T(0);
    const T squares = kCentred ? reduce_dense<SquareDistance>(x, n, Vec<T>::broadcast(mean))
                               : reduce_dense<SquareSum>(x, n);
    const T inverse = inverse_deviation(squares, n, a.eps);
    at<T>(a.statistics, 2 * r)[0] = mean;
    at<T>(a.statistics, 2 * r)[1] = inverse;
    const T* w = a.weight ? at<T>(a.weight, r % a.groups * weights) : nullptr;
    const T* b = a.bias ? at<T>(a.bias, r % a.groups * weights) : nullptr;
    if (a.inner > 1) {
      for (int64_t c = 0; c < weights; ++c) {
        const T scale = w ? inverse * w[c] : inverse;
        affine(x + c * a.inner, scale, (b ? b[c] : T(0)) - mean * scale, y + c * a.inner, a.inner);
      }
      continue;
    }
    const auto centre = Vec<T>::broadcast(mean), scale = Vec<T>::broadcast(inverse);
    over<T>(n, [&](int64_t j, int m) __attribute__((always_inline)) {
      Vec<T> v = (Vec<T>::load(x + j, m) - centre) * scale;
      if (w) v = v * Vec<T>::load(w + j, m);
      if (b) v = v + Vec<T>::load(b + j, m);
      v.store(y + j, m);
    });
  }
}

// Sums over a run, in four vectors to hide latency: of g, and of g times the normalized x.
template <class T>
struct RunSums {
  static constexpr int kSide = 4;
  Vec<T> g[kSide], gx[kSide];
  WENGERT_INLINE RunSums() {
    for (int u = 0; u < kSide; ++u) g[u] = gx[u] = Vec<T>(0.0);
  }
  WENGERT_INLINE void add(int u, Vec<T> gv, Vec<T> xv) {
    g[u] = g[u] + gv;
    gx[u] = fma(gv, xv, gx[u]);
  }
  WENGERT_INLINE T sum_g() const { return join_lanes<wengert::Sum>((g[0] + g[1]) + (g[2] + g[3])); }
  WENGERT_INLINE T sum_gx() const {
    return join_lanes<wengert::Sum>((gx[0] + gx[1]) + (gx[2] + gx[3]));
  }
};

// The sums of g and g * (x - mean) * inverse over n elements.
template <class T>
WENGERT_INLINE void sum_run(const T* g, const T* x, int64_t n, T mean, T inverse, T& sum_g,
                            T& sum_gx) {
  constexpr int N = Vec<T>::N;
  const auto centre = Vec<T>::broadcast(mean), scale = Vec<T>::broadcast(inverse);
  RunSums<T> sums;
  const auto add = [&](int u, int64_t j, int m) __attribute__((always_inline)) {
    // lanes beyond the row hold g = 0
    sums.add(u, Vec<T>::load(g + j, m), (Vec<T>::load(x + j, m) - centre) * scale);
  };
  int64_t j = 0;
  for (; j + 4 * N <= n; j += 4 * N) {
    for (int u = 0; u < 4; ++u) add(u, j + u * N, N);
  }
  for (int u = 0; j < n; j += N, ++u) add(u, j, n - j < N ? static_cast<int>(n - j) : N);
  sum_g = sums.sum_g();
  sum_gx = sums.sum_gx();
}

// gx = inverse (g w - mean(g w) - normalized mean(g w normalized)); about 0 the first mean is left
// out.
template <class T, bool kCentred>
void norm_backward(const cpu::NormRows& a, int64_t begin, int64_t end, const void* g_, void* gx_,
                   void* gw_, void* gb_) {
  constexpr int N = Vec<T>::N;
  const int64_t n = a.columns, weights = n / a.inner;
  const T share = T(1) / static_cast<T>(n);
  for (int64_t r = begin; r < end; ++r) {
    const T *x = at<T>(a.x, r * n), *g = at<T>(g_, r * n);
    T* gx = at<T>(gx_, r * n);
    const T mean = at<T>(a.statistics, 2 * r)[0], inverse = at<T>(a.statistics, 2 * r)[1];
    const int64_t first = r % a.groups * weights;
    const T* w = a.weight ? at<T>(a.weight, first) : nullptr;
    T* gw = gw_ ? at<T>(gw_, first) : nullptr;
    T* gb = gb_ ? at<T>(gb_, first) : nullptr;
    T total = T(0), total_x = T(0);
    if (a.inner > 1) {
      for (int64_t c = 0; c < weights; ++c) {
        T sum, sum_x;
        sum_run(g + c * a.inner, x + c * a.inner, a.inner, mean, inverse, sum, sum_x);
        if (gw) gw[c] += sum_x;
        if (gb) gb[c] += sum;
        total += w ? sum * w[c] : sum;
        total_x += w ? sum_x * w[c] : sum_x;
      }
      const T per_x = -inverse * inverse * total_x * share;
      const T shift = (kCentred ? -inverse * total * share : T(0)) - per_x * mean;
      for (int64_t c = 0; c < weights; ++c) {
        const auto scale = Vec<T>::broadcast(w ? inverse * w[c] : inverse);
        const auto p = Vec<T>::broadcast(per_x), s = Vec<T>::broadcast(shift);
        over<T>(a.inner, [&](int64_t i, int m) __attribute__((always_inline)) {
          const int64_t j = c * a.inner + i;
          fma(Vec<T>::load(g + j, m), scale, fma(Vec<T>::load(x + j, m), p, s)).store(gx + j, m);
        });
      }
      continue;
    }
    const auto centre = Vec<T>::broadcast(mean), scale = Vec<T>::broadcast(inverse);
    RunSums<T> sums;
    const auto add = [&](int u, int64_t j, int m) __attribute__((always_inline)) {
      const Vec<T> gv = Vec<T>::load(g + j, m);
      const Vec<T> hat = (Vec<T>::load(x + j, m) - centre) * scale;
      sums.add(u, w ? gv * Vec<T>::load(w + j, m) : gv, hat);
      if (gw) fma(gv, hat, Vec<T>::load(gw + j, m)).store(gw + j, m);
      if (gb) (Vec<T>::load(gb + j, m) + gv).store(gb + j, m);
    };
    int64_t j = 0;
    for (; j + 4 * N <= n; j += 4 * N) {
      for (int u = 0; u < 4; ++u) add(u, j + u * N, N);
    }
    for (int u = 0; j < n; j += N, ++u) add(u, j, n - j < N ? static_cast<int>(n - j) : N);
    const auto about = Vec<T>::broadcast(kCentred ? sums.sum_g() * share : T(0));
    const auto along = Vec<T>::broadcast(sums.sum_gx() * share);
    over<T>(n, [&](int64_t i, int m) __attribute__((always_inline)) {
      Vec<T> gv = Vec<T>::load(g + i, m);
      const Vec<T> hat = (Vec<T>::load(x + i, m) - centre) * scale;
      if (w) gv = gv * Vec<T>::load(w + i, m);
      ((gv - about - hat * along) * scale).store(gx + i, m);
    });
  }
}

// --- channels ----------------------------------------------------------------------------------

template <class T>
WENGERT_INLINE void put_statistics(const cpu::NormChannels& a, int64_t c, T mean, T squares,
                                   int64_t n) {
  T* s = at<T>(a.statistics, 0);
  s[c] = mean;
  s[a.channels + c] = inverse_deviation(squares, n, a.eps);
  s[2 * a.channels + c] = squares / static_cast<T>(n);
}

// Channels that are next to each other: a vector of them at a time, down the rows.
template <class T>
void batch_norm_columns(const cpu::NormChannels& a, int64_t begin, int64_t end, T* y) {
  const int64_t step = a.channels;
  const auto rows = Vec<T>::broadcast(static_cast<T>(a.outer));
  over<T>(end - begin, [&](int64_t i, int m) __attribute__((always_inline)) {
    const int64_t c = begin + i;
    const T* x = at<T>(a.x, c);
    Vec<T> sum(0.0), squares(0.0);
    for (int64_t r = 0; r < a.outer; ++r) sum = sum + Vec<T>::load(x + r * step, m);
    const Vec<T> mean = sum / rows;
    for (int64_t r = 0; r < a.outer; ++r) {
      const Vec<T> d = Vec<T>::load(x + r * step, m) - mean;
      squares = fma(d, d, squares);
    }
    for (int k = 0; k < m; ++k) put_statistics<T>(a, c + k, mean.v[k], squares.v[k], a.outer);
    Vec<T> scale = Vec<T>::load(at<T>(a.statistics, step + c), m);
    if (a.weight) scale = scale * Vec<T>::load(at<T>(a.weight, c), m);
    const Vec<T> bias = a.bias ? Vec<T>::load(at<T>(a.bias, c), m) : Vec<T>(0.0);
    for (int64_t r = 0; r < a.outer; ++r) {
      fma(Vec<T>::load(x + r * step, m) - mean, scale, bias).store(y + r * step + c, m);
    }
  });
}

template <class T>
void batch_norm_forward(const cpu::NormChannels& a, int64_t begin, int64_t end, void* y) {
  if (a.inner == 1) return batch_norm_columns<T>(a, begin, end, at<T>(y, 0));
  const int64_t step = a.channels * a.inner, n = a.outer * a.inner;
  for (int64_t c = begin; c < end; ++c) {
    const T* x = at<T>(a.x, c * a.inner);
    T sum = T(0), squares = T(0);
    for (int64_t r = 0; r < a.outer; ++r) {
      sum += reduce_dense<wengert::Sum>(x + r * step, a.inner);
    }
    const T mean = sum / static_cast<T>(n);
    for (int64_t r = 0; r < a.outer; ++r) {
      squares += reduce_dense<SquareDistance>(x + r * step, a.inner, Vec<T>::broadcast(mean));
    }
    put_statistics<T>(a, c, mean, squares, n);
    const T inverse = *at<T>(a.statistics, a.channels + c);
    const T scale = a.weight ? inverse * *at<T>(a.weight, c) : inverse;
    const T shift = (a.bias ? *at<T>(a.bias, c) : T(0)) - mean * scale;
    for (int64_t r = 0; r < a.outer; ++r) {
      affine(x + r * step, scale, shift, at<T>(y, c * a.inner + r * step), a.inner);
    }
  }
}

template <class T>
void batch_norm_columns_back(const cpu::NormChannels& a, int64_t begin, int64_t end, const T* g,
                             T* gx, T* gw, T* gb) {
  const int64_t step = a.channels;
  const auto share = Vec<T>::broadcast(T(1) / static_cast<T>(a.outer));
  over<T>(end - begin, [&](int64_t i, int m) __attribute__((always_inline)) {
    const int64_t c = begin + i;
    const T* x = at<T>(a.x, c);
    const Vec<T> mean = Vec<T>::load(at<T>(a.statistics, c), m);
    const Vec<T> inverse = Vec<T>::load(at<T>(a.statistics, step + c), m);
    Vec<T> sum(0.0), sum_x(0.0);
    for (int64_t r = 0; r < a.outer; ++r) {
      const Vec<T> gv = Vec<T>::load(g + r * step + c, m);
      sum = sum + gv;
      sum_x = fma(gv, (Vec<T>::load(x + r * step, m) - mean) * inverse, sum_x);
    }
    if (gw) sum_x.store(gw + c, m);
    if (gb) sum.store(gb + c, m);
    const Vec<T> scale = a.weight ? inverse * Vec<T>::load(at<T>(a.weight, c), m) : inverse;
    const Vec<T> about = sum * share, along = sum_x * share;
    for (int64_t r = 0; r < a.outer; ++r) {
      const Vec<T> hat = (Vec<T>::load(x + r * step, m) - mean) * inverse;
      ((Vec<T>::load(g + r * step + c, m) - about - hat * along) * scale)
          .store(gx + r * step + c, m);
    }
  });
}

template <class T>
void batch_norm_backward(const cpu::NormChannels& a, int64_t begin, int64_t end, const void* g_,
                         void* gx_, void* gw_, void* gb_) {
  T *gw = gw_ ? at<T>(gw_, 0) : nullptr, *gb = gb_ ? at<T>(gb_, 0) : nullptr;
  if (a.inner == 1) {
    batch_norm_columns_back<T>(a, begin, end, at<T>(g_, 0), at<T>(gx_, 0), gw, gb);
    return;
  }
  const int64_t step = a.channels * a.inner;
  const T share = T(1) / static_cast<T>(a.outer * a.inner);
  for (int64_t c = begin; c < end; ++c) {
    const T *x = at<T>(a.x, c * a.inner), *g = at<T>(g_, c * a.inner);
    T* gx = at<T>(gx_, c * a.inner);
    const T mean = *at<T>(a.statistics, c), inverse = *at<T>(a.statistics, a.channels + c);
    T total = T(0), total_x = T(0);
    for (int64_t r = 0; r < a.outer; ++r) {
      T sum, sum_x;
      sum_run(g + r * step, x + r * step, a.inner, mean, inverse, sum, sum_x);
      total += sum;
      total_x += sum_x;
    }
    if (gw) gw[c] = total_x;
    if (gb) gb[c] = total;
    const T factor = a.weight ? inverse * *at<T>(a.weight, c) : inverse;
    const T per_x = -factor * inverse * total_x * share;
    const auto scale = Vec<T>::broadcast(factor), p = Vec<T>::broadcast(per_x);
    const auto shift = Vec<T>::broadcast(-factor * total * share - per_x * mean);
    for (int64_t r = 0; r < a.outer; ++r) {
      over<T>(a.inner, [&](int64_t i, int m) __attribute__((always_inline)) {
        const int64_t j = r * step + i;
        fma(Vec<T>::load(g + j, m), scale, fma(Vec<T>::load(x + j, m), p, shift)).store(gx + j, m);
      });
    }
  }
}

template <class T, class Isa>
void fill_norms(Isa& isa) {
  constexpr int t = static_cast<int>(kDTypeOf<T>);
  isa.norm[0][t] = {&norm_forward<T, true>, &norm_backward<T, true>};
  isa.norm[1][t] = {&norm_forward<T, false>, &norm_backward<T, false>};
  isa.batch_norm[t] = {&batch_norm_forward<T>, &batch_norm_backward<T>};
}

}  // namespace wengert::WENGERT_ISA
