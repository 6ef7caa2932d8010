// Drivers of the random kernels, and the distributions that need a loop of their own for each
// element: Poisson's and draws from categories.
#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>

#include "kernels/cpu/cpu.h"
#include "kernels/cpu/parallel.h"
#include "kernels/cpu/philox.h"
#include "kernels/cpu/scratch.h"
#include "kernels/cpu/stream.h"

namespace wengert::cpu {
namespace {

constexpr int64_t kRandomGrain = 8192;

RandomStream stream_of(const Launch& l) {
  const bool at_line = reinterpret_cast<uintptr_t>(l.buffer[0].data) % kLine == 0;
  return {static_cast<uint64_t>(l.more[0]), static_cast<uint64_t>(l.more[1]),
          static_cast<int>(l.more[2]), at_line && streams(l)};
}

// Calls fill(begin, end) for whole blocks of random words.
template <class Fill>
void over_blocks(const Launch& l, Fill&& fill) {
  const int64_t blocks = (l.count + kRandomBlock - 1) / kRandomBlock;
  parallel_for(blocks, kRandomGrain / kRandomBlock, [&](int64_t b, int64_t e) {
    fill(b * kRandomBlock, std::min(e * kRandomBlock, l.count));
  });
}

}  // namespace

void run_random(const Launch& l) {
  const RandomLoop fn = isa().random[distribution_index(l.kernel)][static_cast<int>(l.dtype)];
  const RandomStream s = stream_of(l);
  over_blocks(l, [&](int64_t b, int64_t e) {
    const StreamEnd ends(s.past);
    fn(s, b, e, l.number[0], l.number[1], l.buffer[0].data);
  });
}

// Fisher and Yates' shuffle, as Durstenfeld gave it (1964).
void run_shuffle(const Launch& l) {
  auto* place = static_cast<int64_t*>(l.buffer[0].data);
  const auto* draw = static_cast<const int64_t*>(l.buffer[1].data);
  for (int64_t i = 0; i < l.count; ++i) place[i] = i;
  for (int64_t i = l.count - 1; i > 0; --i) {
    std::swap(place[i], place[static_cast<uint64_t>(draw[i]) % static_cast<uint64_t>(i + 1)]);
  }
}

void run_randint(const Launch& l) {
  const auto range = static_cast<uint64_t>(l.integer[1]) - static_cast<uint64_t>(l.integer[0]);
  over_blocks(l, [&](int64_t b, int64_t e) {
    isa().integers(stream_of(l), b, e, l.integer[0], range,
                   static_cast<int64_t*>(l.buffer[0].data));
  });
}

void run_dropout(const Launch& l) {
  const DropoutLoop fn = isa().dropout[static_cast<int>(l.dtype)];
  const RandomStream s = stream_of(l);
  over_blocks(l, [&](int64_t b, int64_t e) {
    const StreamEnd ends(s.past);
    fn(s, b, e, l.number[0], l.number[1], l.buffer[1].data, l.buffer[0].data);
  });
}

// --- Poisson -----------------------------------------------------------------------------------

namespace {

// The draws of one element: two numbers in (0, 1) at a time, as many as rejection asks for.
class ElementDraws {
 public:
  ElementDraws(RandomStream s, int64_t element)
      : seed_(s.seed), counter_(s.counter + static_cast<uint64_t>(element)) {}
  void next(double& u, double& v) {
    uint32_t c[4][1];
    philox(seed_, counter_, part_++, c);
    const auto join = [](uint32_t high, uint32_t low) {
      const uint64_t both = uint64_t{high} << 32 | low;
      return static_cast<double>(static_cast<int64_t>(both >> 12)) * 0x1p-52 + 0x1p-53;
    };
    u = join(c[0][0], c[1][0]);
    v = join(c[2][0], c[3][0]);
  }

 private:
  uint64_t seed_, counter_;
  uint32_t part_ = 0;
};

// log(k!), to double precision: a table, then Stirling's series. (std::lgamma writes a global.)
double log_factorial(double k) {
  static constexpr double small[] = {0,
                                     0,
                                     0.69314718055994531,
                                     1.79175946922805500,
                                     3.17805383034794562,
                                     4.78749174278204599,
                                     6.57925121201010100,
                                     8.52516136106541430,
                                     10.60460290274525023,
                                     12.80182748008146961};
  if (k < 10) return small[static_cast<int>(k)];
  const double x = k + 1, r = 1 / x, r2 = r * r;
  return (x - 0.5) * std::log(x) - x + 0.91893853320467274 +
         r * (1.0 / 12 - r2 * (1.0 / 360 - r2 * (1.0 / 1260 - r2 / 1680)));
}

// Small rates: one number, searched through the cumulative distribution from 0 up.
double poisson_by_search(double rate, ElementDraws& draws) {
  double u, unused;
  draws.next(u, unused);
  double p = std::exp(-rate), k = 0;
  while (u > p && k < 200) {  // beyond, p has run out of digits
    u -= p;
    k += 1;
    p *= rate / k;
  }
  return k;
}

// Hoermann, The transformed rejection method for generating Poisson random variables (1993),
// algorithm PTRS.
double poisson_by_rejection(double rate, ElementDraws& draws) {
  const double b = 0.931 + 2.53 * std::sqrt(rate), a = -0.059 + 0.02483 * b;
  const double inv_alpha = 1.1239 + 1.1328 / (b - 3.4), v_r = 0.9277 - 3.6224 / (b - 2);
  const double log_rate = std::log(rate);
  for (;;) {
    double u, v;
    draws.next(u, v);
    u -= 0.5;
    const double us = 0.5 - std::abs(u);
    const double k = std::floor((2 * a / us + b) * u + rate + 0.43);
    if (us >= 0.07 && v <= v_r) return k;
    if (k < 0 || (us < 0.013 && v > us)) continue;
    if (std::log(v * inv_alpha / (a / (us * us) + b)) <= k * log_rate - rate - log_factorial(k)) {
      return k;
    }
  }
}

// Above this rate the rejection's logarithms cancel to noise; the normal limit is then exact to
// more digits than a double holds of the difference.
constexpr double kLargeRate = 1e12;

double poisson(double rate, ElementDraws& draws) {
  if (rate < 10) return poisson_by_search(rate, draws);
  if (rate < kLargeRate) return poisson_by_rejection(rate, draws);
  if (!std::isfinite(rate)) return rate;
  double u, v;
  draws.next(u, v);
  return std::floor(
      rate + std::sqrt(rate) * std::sqrt(-2 * std::log(u)) * std::cos(6.283185307179586 * v) + 0.5);
}

}  // namespace

void run_poisson(const Launch& l) {
  visit_compute(l.dtype, [&]<class T>() {
    if constexpr (std::is_floating_point_v<T>) {
      const auto* rates = static_cast<const T*>(l.buffer[1].data);
      auto* out = static_cast<T*>(l.buffer[0].data);
      const RandomStream s = stream_of(l);
      parallel_for(l.count, kRandomGrain / 16, [&](int64_t begin, int64_t end) {
        for (int64_t i = begin; i < end; ++i) {
          ElementDraws draws(s, i);
          out[i] = static_cast<T>(poisson(static_cast<double>(rates[i]), draws));
        }
      });
    }
  });
}

// --- categories --------------------------------------------------------------------------------

namespace {

// By inversion: the first category whose cumulative weight is above u times the total.
void with_replacement(const double* weights, int64_t categories, const double* u, int64_t samples,
                      double* cumulative, int64_t* out) {
  double total = 0;
  int64_t last = 0;
  for (int64_t c = 0; c < categories; ++c) {
    if (weights[c] > 0) last = c;
    cumulative[c] = total += weights[c];
  }
  for (int64_t s = 0; s < samples; ++s) {
    const double* at = std::upper_bound(cumulative, cumulative + categories, u[s] * total);
    out[s] = std::min<int64_t>(at - cumulative, last);
  }
}

// Exponential races (Efraimidis, Spirakis, Weighted random sampling with a reservoir, 2006): the
// categories whose times, exponential with their weight as rate, come first, in order of arrival.
// Those of weight 0 arrive last.
void without_replacement(const double* weights, int64_t categories, const double* times,
                         int64_t samples, double* arrival, int64_t* order, int64_t* out) {
  for (int64_t c = 0; c < categories; ++c) {
    arrival[c] = weights[c] > 0 ? times[c] / weights[c] : std::numeric_limits<double>::infinity();
  }
  std::iota(order, order + categories, int64_t{0});
  std::partial_sort(order, order + samples, order + categories, [&](int64_t a, int64_t b) {
    return arrival[a] != arrival[b] ? arrival[a] < arrival[b] : a < b;
  });
  std::copy_n(order, samples, out);
}

}  // namespace

void run_multinomial(const Launch& l) {
  const int64_t rows = l.size[0], samples = l.size[1], categories = l.integer[0];
  const bool replacement = l.integer[1] != 0;
  const auto* weights = static_cast<const double*>(l.buffer[1].data);
  const auto* draws = static_cast<const double*>(l.buffer[2].data);
  auto* out = static_cast<int64_t*>(l.buffer[0].data);
  const int64_t per_row = replacement ? samples : categories;
  // Scratch of all rows, made here: the body of a parallel region must not throw.
  const Scratch keys(rows * categories * 8), order(replacement ? 0 : rows * categories * 8);
  parallel_for(rows, std::max<int64_t>(1, kRandomGrain / (categories + samples)),
               [&](int64_t begin, int64_t end) {
                 for (int64_t r = begin; r < end; ++r) {
                   const double* w = weights + r * categories;
                   const double* d = draws + r * per_row;
                   double* k = reinterpret_cast<double*>(keys.data()) + r * categories;
                   if (replacement) {
                     with_replacement(w, categories, d, samples, k, out + r * samples);
                   } else {
                     without_replacement(w, categories, d, samples, k,
                                         reinterpret_cast<int64_t*>(order.data()) + r * categories,
                                         out + r * samples);
                   }
                 }
               });
}

}  // namespace wengert::cpu
