// Scans along the middle of (outer, n, inner), all operands dense. Long dense rows are cut into
// chunks of a fixed size, so the number of threads changes no bit.
#include <algorithm>
#include <cmath>
#include <limits>
#include <type_traits>
#include <utility>

#include "kernels/cpu/cpu.h"
#include "kernels/cpu/parallel.h"
#include "kernels/cpu/scratch.h"

namespace wengert::cpu {
namespace {

constexpr int64_t kGrain = 16384;  // elements a thread must get
constexpr int64_t kChunk = 65536;  // elements of a row scanned in one go
constexpr int64_t kBlock = 128;    // columns that are scanned side by side

// Rows of `n` elements, `step` apart in the direction of the scan, in blocks of neighbouring
// columns. body(first, width) gets the offset of a block's first element; that of its k-th is
// first + k * step.
struct Lanes {
  int64_t outer, n, inner, step;
  bool reverse;

  explicit Lanes(const Launch& l)
      : outer(l.size[0]),
        n(l.size[1]),
        inner(l.size[2]),
        step(l.integer[0] ? -l.size[2] : l.size[2]),
        reverse(l.integer[0]) {}
  template <class Body>
  void each(Body&& body) const {
    if (n == 0 || inner == 0) return;
    const int64_t blocks = (inner + kBlock - 1) / kBlock;
    const int64_t grain = std::max<int64_t>(1, kGrain / (n * std::min(inner, kBlock)));
    parallel_for(outer * blocks, grain, [&](int64_t b, int64_t e) {
      for (int64_t u = b; u < e; ++u) {
        const int64_t row = blocks == 1 ? u : u / blocks, column = (u - row * blocks) * kBlock;
        const int64_t first = row * n * inner + column + (reverse ? (n - 1) * inner : 0);
        body(first, std::min(kBlock, inner - column));
      }
    });
  }
};

template <class T>
T* data(const Launch& l, int k) {
  return static_cast<T*>(l.buffer[k].data);
}

// Running values are kept in double, and in wrapping unsigned integers.
template <class T>
using Running = std::conditional_t<std::is_floating_point_v<T>, double, uint64_t>;

// Within kAhead elements partial results are joined apart from what came before, so that rows need
// not wait for each element's join.
struct RunningSum {
  static constexpr int64_t kAhead = 8;
  template <class A>
  static A identity() {
    return 0;
  }
  template <class A>
  static A join(A a, A b) {
    return a + b;
  }
};
struct RunningProduct {
  static constexpr int64_t kAhead = 4;  // of float32, always within double's range
  template <class A>
  static A identity() {
    return 1;
  }
  template <class A>
  static A join(A a, A b) {
    return a * b;
  }
};
struct RunningLogSumExp {
  static constexpr int64_t kAhead = 1;
  template <class A>
  static A identity() {
    return -std::numeric_limits<A>::infinity();
  }
  template <class A>
  static A join(A a, A b) {
    const A low = std::min(a, b), high = std::max(a, b);
    if (std::isnan(a) || std::isnan(b)) return a + b;
    return std::isinf(high) ? high : high + std::log1p(std::exp(low - high));
  }
};

// A row of unit width, or a part of one; returns what comes before the next.
template <class S, bool Write, class T, class A>
A scan_row(const T* x, T* y, int64_t n, int64_t step, A run) {
  // Partial results of doubles might leave the range that the running value stays in.
  constexpr int64_t ahead = std::is_same_v<T, double> ? 1 : S::kAhead;
  const int64_t whole = ahead > 1 ? n - n % ahead : 0;
  for (int64_t k = 0; k < whole; k += ahead) {
    A own = static_cast<A>(x[k * step]);
    if (Write) y[k * step] = static_cast<T>(S::join(run, own));
    for (int64_t i = 1; i < ahead; ++i) {
      own = S::join(own, static_cast<A>(x[(k + i) * step]));
      if (Write) y[(k + i) * step] = static_cast<T>(S::join(run, own));
    }
    run = S::join(run, own);
  }
  for (int64_t k = whole; k < n; ++k) {
    run = S::join(run, static_cast<A>(x[k * step]));
    if (Write) y[k * step] = static_cast<T>(run);
  }
  return run;
}

// A row of unit width that is long enough to share: the chunks' totals come first.
template <class S, class T>
void scan_long_row(const T* x, T* y, int64_t n, int64_t step) {
  using A = Running<T>;
  const int64_t chunks = (n + kChunk - 1) / kChunk;
  const Scratch totals(chunks * static_cast<int64_t>(sizeof(A)));
  A* total = reinterpret_cast<A*>(totals.data());
  parallel_for(chunks - 1, 1, [&](int64_t b, int64_t e) {
    for (int64_t c = b; c < e; ++c) {
      total[c] =
          scan_row<S, false>(x + c * kChunk * step, y, kChunk, step, S::template identity<A>());
    }
  });
  A before = S::template identity<A>();
  for (int64_t c = 0; c < chunks; ++c) {
    const A own = c + 1 < chunks ? total[c] : before;
    total[c] = std::exchange(before, S::join(before, own));
  }
  parallel_for(chunks, 1, [&](int64_t b, int64_t e) {
    for (int64_t c = b; c < e; ++c) {
      const int64_t first = c * kChunk;
      scan_row<S, true>(x + first * step, y + first * step, std::min(kChunk, n - first), step,
                        total[c]);
    }
  });
}

template <class S, class T>
void scan(const Launch& l) {
  using A = Running<T>;
  const T* x = data<const T>(l, 1);
  T* y = data<T>(l, 0);
  const Lanes lanes(l);
  if (lanes.inner == 1 && lanes.n > kChunk) {
    for (int64_t o = 0; o < lanes.outer; ++o) {
      const int64_t first = o * lanes.n + (lanes.reverse ? lanes.n - 1 : 0);
      scan_long_row<S>(x + first, y + first, lanes.n, lanes.step);
    }
    return;
  }
  lanes.each([&](int64_t first, int64_t width) {
    if (width == 1) {
      scan_row<S, true>(x + first, y + first, lanes.n, lanes.step, S::template identity<A>());
      return;
    }
    A run[kBlock];
    std::fill(run, run + width, S::template identity<A>());
    for (int64_t k = 0, at = first; k < lanes.n; ++k, at += lanes.step) {
      for (int64_t j = 0; j < width; ++j) {
        run[j] = S::join(run[j], static_cast<A>(x[at + j]));
        y[at + j] = static_cast<T>(run[j]);
      }
    }
  });
}

template <class S>
void run_scan(const Launch& l) {
  visit_compute(l.dtype, [&]<class T>() {
    constexpr bool floats_only = std::is_same_v<S, RunningLogSumExp>;
    if constexpr (!std::is_same_v<T, Bool8> && (!floats_only || std::is_floating_point_v<T>)) {
      scan<S, T>(l);
    }
  });
}

template <bool Max, class T>
bool replaces(T v, T best) {
  return v != v || (best == best && (Max ? v >= best : v <= best));
}

// The extreme so far and the last place of it; a NaN stays.
template <bool Max>
void run_extremes(const Launch& l) {
  visit_compute(l.dtype, [&]<class T>() {
    if constexpr (!std::is_same_v<T, Bool8>) {
      const T* x = data<const T>(l, 2);
      T* y = data<T>(l, 0);
      auto* places = data<int64_t>(l, 1);
      const Lanes lanes(l);
      lanes.each([&](int64_t first, int64_t width) {
        if (width == 1) {
          T top = x[first];
          for (int64_t k = 0, at = first, place = 0; k < lanes.n; ++k, at += lanes.step) {
            if (replaces<Max>(x[at], top)) top = x[at], place = k;
            y[at] = top;
            places[at] = place;
          }
          return;
        }
        T best[kBlock];
        int64_t place[kBlock];
        std::copy_n(x + first, width, best);
        std::fill(place, place + width, 0);
        for (int64_t k = 0, at = first; k < lanes.n; ++k, at += lanes.step) {
          for (int64_t j = 0; j < width; ++j) {
            const T v = x[at + j];
            if (replaces<Max>(v, best[j])) {
              best[j] = v;
              place[j] = k;
            }
            y[at + j] = best[j];
            places[at + j] = place[j];
          }
        }
      });
    }
  });
}

}  // namespace

void run_cumsum(const Launch& l) {
  run_scan<RunningSum>(l);
}
void run_cumprod(const Launch& l) {
  run_scan<RunningProduct>(l);
}
void run_logcumsumexp(const Launch& l) {
  run_scan<RunningLogSumExp>(l);
}
void run_cummax(const Launch& l) {
  run_extremes<true>(l);
}
void run_cummin(const Launch& l) {
  run_extremes<false>(l);
}

// h[k] = a[k] h[k - 1] + b[k]
void run_recurrence(const Launch& l) {
  visit_compute(l.dtype, [&]<class T>() {
    if constexpr (std::is_floating_point_v<T>) {
      const T *a = data<const T>(l, 1), *b = data<const T>(l, 2);
      T* h = data<T>(l, 0);
      const Lanes lanes(l);
      lanes.each([&](int64_t first, int64_t width) {
        double run[kBlock] = {};
        for (int64_t k = 0, at = first; k < lanes.n; ++k, at += lanes.step) {
          for (int64_t j = 0; j < width; ++j) {
            // the first has nothing before it, whatever a[0] is
            run[j] = (k ? static_cast<double>(a[at + j]) * run[j] : 0.0) + b[at + j];
            h[at + j] = static_cast<T>(run[j]);
          }
        }
      });
    }
  });
}

}  // namespace wengert::cpu
