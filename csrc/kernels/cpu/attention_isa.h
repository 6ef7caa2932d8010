// What attention does to tiles between its matrix products. A tile holds the scores of some keys by
// kAttentionQueries queries, a key to a row: what goes on for each query (maximum, sum, rescaling)
// goes on in lanes. The driver is attention.cpp.
#pragma once

#include "kernels/cpu/norm_isa.h"
#include "kernels/cpu/random_isa.h"

namespace wengert::WENGERT_ISA {

inline constexpr int64_t kTile = cpu::kAttentionQueries;
static_assert(kTile == cpu::kRandomBlock && kTile % (kVecBytes / 4) == 0);

template <class T>
void scale_all(void* x, int64_t n, double factor) {
  const Vec<T> f(factor);
  over<T>(n, [&](int64_t i, int m) __attribute__((always_inline)) {
    (Vec<T>::load(at<T>(x, i), m) * f).store(at<T>(x, i), m);
  });
}

// A tile's vector: of key j, the queries from q on; with the mask, and -inf for later keys.
template <class T, bool kMasked, bool kCausal>
WENGERT_INLINE Vec<T> score_at(const cpu::AttentionTile& t, int64_t j, int64_t q) {
  Vec<T> s = Vec<T>::load(at<T>(t.scores, j * kTile + q));
  if constexpr (kMasked) s = s + Vec<T>::load(at<T>(t.mask, j * kTile + q));
  if constexpr (kCausal) {
    const auto later = static_cast<int_of<T>>(j - t.first_query - q);
    s = select(Mask<T>{lane_numbers<T>() < later}, Vec<T>(-__builtin_inf()), s);
  }
  return s;
}

// Calls body(key, factors) for each key of the tile: 0 or 1 / (1 - p) for each query.
template <class T, class Body>
WENGERT_INLINE void over_dropout(const cpu::AttentionTile& t, Body&& body) {
  const uint32_t bound = success_bound(t.dropout);
  const T kept = static_cast<T>(1 / (1 - t.dropout));
  for (int64_t j = 0; j < t.keys; ++j) {
    uint32_t word[kTile];
    alignas(64) T factor[kTile];
    const uint64_t first = t.word + static_cast<uint64_t>(j) * t.word_step;
    philox_block({t.seed, t.counter}, first / 4, word);
    for (int i = 0; i < kTile; ++i) factor[i] = word[i] < bound ? T(0) : kept;
    body(j, factor);
  }
}

// Milakov, Gimelshein, Online normalizer calculation for softmax (2018).
template <class T, bool kMasked, bool kCausal>
WENGERT_INLINE bool weigh_tile(const cpu::AttentionTile& t, T* max, T* sum, T* rescale) {
  constexpr int N = Vec<T>::N;
  const auto lowest = Vec<T>(-__builtin_inf());
  const Vec<T> one(1.0), zero(0.0);
  bool any = false;
  for (int64_t q = 0; q < kTile; q += N) {
    const Vec<T> before = Vec<T>::load(max + q);
    Vec<T> m = before, other = before;
    int64_t j = 0;
    for (; j + 2 <= t.keys; j += 2) {
      const Vec<T> a = score_at<T, kMasked, kCausal>(t, j, q);
      const Vec<T> b = score_at<T, kMasked, kCausal>(t, j + 1, q);
      if constexpr (kMasked || kCausal) {
        a.store(at<T>(t.scores, j * kTile + q));
        b.store(at<T>(t.scores, (j + 1) * kTile + q));
      }
      m = maximum(m, a);
      other = maximum(other, b);
    }
    for (; j < t.keys; ++j) {
      const Vec<T> a = score_at<T, kMasked, kCausal>(t, j, q);
      if constexpr (kMasked || kCausal) a.store(at<T>(t.scores, j * kTile + q));
      m = maximum(m, a);
    }
    m = maximum(m, other);
    // where nothing counts yet, every weight is exp(-inf)
    const Vec<T> shift = select(m == lowest, zero, m);
    const Vec<T> factor = exp(before - shift);
    Vec<T> total = zero, odd = zero;
    for (j = 0; j + 2 <= t.keys; j += 2) {
      T* at_q = at<T>(t.scores, j * kTile + q);
      const Vec<T> a = exp(Vec<T>::load(at_q) - shift), b = exp(Vec<T>::load(at_q + kTile) - shift);
      a.store(at_q);
      b.store(at_q + kTile);
      total = total + a;
      odd = odd + b;
    }
    for (; j < t.keys; ++j) {
      T* at_q = at<T>(t.scores, j * kTile + q);
      const Vec<T> a = exp(Vec<T>::load(at_q) - shift);
      a.store(at_q);
      total = total + a;
    }
    fma(Vec<T>::load(sum + q), factor, total + odd).store(sum + q);
    m.store(max + q);
    factor.store(rescale + q);
    const auto changed = (factor != one).v;
    for (int i = 0; i < N; ++i) any |= changed[i] != 0;
  }
  return any;
}

template <class T>
bool attention_forward(const cpu::AttentionTile& t, void* max, void* sum, void* rescale) {
  T *m = at<T>(max, 0), *s = at<T>(sum, 0), *r = at<T>(rescale, 0);
  bool any;
  if (t.mask) {
    any = t.causal ? weigh_tile<T, true, true>(t, m, s, r) : weigh_tile<T, true, false>(t, m, s, r);
  } else {
    any =
        t.causal ? weigh_tile<T, false, true>(t, m, s, r) : weigh_tile<T, false, false>(t, m, s, r);
  }
  if (t.dropout > 0) {
    over_dropout<T>(t, [&](int64_t j, const T* factor) __attribute__((always_inline)) {
      T* row = at<T>(t.scores, j * kTile);
      for (int64_t q = 0; q < kTile; q += Vec<T>::N) {
        (Vec<T>::load(row + q) * Vec<T>::load(factor + q)).store(row + q);
      }
    });
  }
  return any;
}

template <class T>
void scale_rows(void* x, int64_t rows, int64_t n, const void* factor) {
  for (int64_t i = 0; i < rows; ++i) {
    const T f = *at<T>(factor, i);
    T* row = at<T>(x, i * n);
    over<T>(n, [&](int64_t j, int m) __attribute__((always_inline)) {
      (Vec<T>::load(row + j, m) * Vec<T>::broadcast(f)).store(row + j, m);
    });
  }
}

// A query with nothing to attend to gets zeros, and 0 for its log-sum-exp: its weights, exp(-inf -
// 0), are zeros again.
template <class T>
void attention_finish(const void* x, int64_t rows, int64_t n, int64_t x_step, const void* max,
                      void* sum, void* y, int64_t y_step) {
  const Vec<T> zero(0.0);
  for (int64_t i = 0; i < rows; ++i) {
    const T total = *at<T>(sum, i);
    const auto f = Vec<T>::broadcast(total == T(0) ? T(0) : T(1) / total);
    over<T>(n, [&](int64_t j, int m) __attribute__((always_inline)) {
      (Vec<T>::load(at<T>(x, i * x_step + j), m) * f).store(at<T>(y, i * y_step + j), m);
    });
  }
  for (int64_t q = 0; q < kTile; q += Vec<T>::N) {
    const Vec<T> s = Vec<T>::load(at<T>(sum, q));
    const Vec<T> value = Vec<T>::load(at<T>(max, q)) + log(s);
    select(s == zero, zero, value).store(at<T>(sum, q));
  }
}

template <class T>
void dot_rows(const void* a, int64_t a_step, const void* b, int64_t b_step, int64_t rows, int64_t n,
              void* out) {
  for (int64_t i = 0; i < rows; ++i) {
    const T *x = at<T>(a, i * a_step), *y = at<T>(b, i * b_step);
    Vec<T> acc(0.0);  // lanes beyond the row are zero in both
    over<T>(n, [&](int64_t j, int m) __attribute__((always_inline)) {
      acc = fma(Vec<T>::load(x + j, m), Vec<T>::load(y + j, m), acc);
    });
    *at<T>(out, i) = join_lanes<wengert::Sum>(acc);
  }
}

// p = exp(score - log-sum-exp) and, with factors f of dropout: scores become p f, products g . v
// become p (f product - delta) scale.
template <class T, bool kMasked, bool kCausal, bool kDropout>
WENGERT_INLINE void pull_row(const cpu::AttentionTile& t, int64_t j, const T* factor, T* products,
                             const T* log_sums, const T* delta, Vec<T> scale) {
  for (int64_t q = 0; q < kTile; q += Vec<T>::N) {
    const int64_t i = j * kTile + q;
    const Vec<T> p = exp(score_at<T, kMasked, kCausal>(t, j, q) - Vec<T>::load(log_sums + q));
    Vec<T> g = Vec<T>::load(products + i), used = p;
    if constexpr (kDropout) {
      const Vec<T> f = Vec<T>::load(factor + q);
      g = g * f;
      used = p * f;
    }
    used.store(at<T>(t.scores, i));
    (p * (g - Vec<T>::load(delta + q)) * scale).store(products + i);
  }
}

template <class T, bool kMasked, bool kCausal>
WENGERT_INLINE void pull_tile(const cpu::AttentionTile& t, T* products, const T* log_sums,
                              const T* delta, double scale) {
  const Vec<T> s(scale);
  if (t.dropout > 0) {
    over_dropout<T>(t, [&](int64_t j, const T* factor) __attribute__((always_inline)) {
      pull_row<T, kMasked, kCausal, true>(t, j, factor, products, log_sums, delta, s);
    });
    return;
  }
  for (int64_t j = 0; j < t.keys; ++j) {
    pull_row<T, kMasked, kCausal, false>(t, j, nullptr, products, log_sums, delta, s);
  }
}

template <class T>
void attention_backward(const cpu::AttentionTile& t, void* products, const void* log_sums,
                        const void* delta, double scale) {
  T* p = at<T>(products, 0);
  const T *l = at<T>(log_sums, 0), *d = at<T>(delta, 0);
  if (t.mask) {
    t.causal ? pull_tile<T, true, true>(t, p, l, d, scale)
             : pull_tile<T, true, false>(t, p, l, d, scale);
  } else {
    t.causal ? pull_tile<T, false, true>(t, p, l, d, scale)
             : pull_tile<T, false, false>(t, p, l, d, scale);
  }
}

template <class T, class Isa>
void fill_attention(Isa& isa) {
  isa.attention[static_cast<int>(kDTypeOf<T>)] = {&scale_all<T>,  &attention_forward<T>,
                                                  &scale_rows<T>, &attention_finish<T>,
                                                  &dot_rows<T>,   &attention_backward<T>};
}

}  // namespace wengert::WENGERT_ISA
