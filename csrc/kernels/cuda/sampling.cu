// Draws that depend on other tensors: Poisson's distribution, and categories by their weights.
#include <cmath>
#include <limits>

#include "kernels/cuda/cuda.h"
#include "kernels/cuda/keys.h"
#include "kernels/cuda/philox.h"
#include "kernels/cuda/radix_sort.h"
#include "kernels/cuda/slots.h"
#include "kernels/kernels.h"

namespace wengert::cuda {
namespace {

constexpr int kThreads = 256;

// --- Poisson -----------------------------------------------------------------------------------

// The draws of one element: two numbers in (0, 1) at a time, as many as rejection asks for.
struct ElementDraws {
  RandomStream stream;
  int64_t element;
  uint32_t part = 0;

  WENGERT_DEVICE void next(double& u, double& v) {
    const RandomWords w = stream.words(element, part++);
    u = join(w.of[0], w.of[1]);
    v = join(w.of[2], w.of[3]);
  }
  static WENGERT_DEVICE double join(uint32_t high, uint32_t low) {
    const uint64_t both = uint64_t{high} << 32 | low;
    return static_cast<double>(both >> 12) * 0x1p-52 + 0x1p-53;
  }
};

// Small rates: one number, searched through the cumulative distribution from 0 up.
WENGERT_DEVICE double poisson_by_search(double rate, ElementDraws& draws) {
  double u, unused;
  draws.next(u, unused);
  double p = std::exp(-rate), k = 0;
  while (u > p && k < 200) {  // beyond, p has run out of digits
    u -= p;
    k += 1;
    p = __dmul_rn(p, rate / k);
  }
  return k;
}

// Hoermann, The transformed rejection method for generating Poisson random variables (1993),
// algorithm PTRS.
WENGERT_DEVICE double poisson_by_rejection(double rate, ElementDraws& draws) {
  const double b = 0.931 + 2.53 * std::sqrt(rate), a = -0.059 + 0.02483 * b;
  const double inv_alpha = 1.1239 + 1.1328 / (b - 3.4), v_r = 0.9277 - 3.6224 / (b - 2);
  const double log_rate = std::log(rate);
  for (;;) {
    double u, v;
    draws.next(u, v);
    u -= 0.5;
    const double us = 0.5 - std::fabs(u);
    const double k = std::floor((2 * a / us + b) * u + rate + 0.43);
    if (us >= 0.07 && v <= v_r) return k;
    if (k < 0 || (us < 0.013 && v > us)) continue;
    if (std::log(v * inv_alpha / (a / (us * us) + b)) <= k * log_rate - rate - std::lgamma(k + 1)) {
      return k;
    }
  }
}

// Above this rate the rejection's logarithms cancel to noise; the normal limit is then exact to
// more digits than a double holds of the difference.
constexpr double kLargeRate = 1e12;

WENGERT_DEVICE double poisson(double rate, ElementDraws& draws) {
  if (rate < 10) return poisson_by_search(rate, draws);
  if (rate < kLargeRate) return poisson_by_rejection(rate, draws);
  if (!(std::fabs(rate) < std::numeric_limits<double>::infinity())) return rate;
  double u, v;
  draws.next(u, v);
  return std::floor(
      rate + std::sqrt(rate) * std::sqrt(-2 * std::log(u)) * std::cos(6.283185307179586 * v) + 0.5);
}

template <class T>
struct PoissonArgs {
  RandomSource source;
  int64_t count;
  const T* rates;
  T* out;
};

template <class T>
__global__ void __launch_bounds__(kThreads) draw_poisson(const __grid_constant__ PoissonArgs<T> a) {
  const RandomStream stream(a.source);
  const int64_t step = static_cast<int64_t>(gridDim.x) * kThreads;
  for (int64_t i = static_cast<int64_t>(blockIdx.x) * kThreads + threadIdx.x; i < a.count;
       i += step) {
    ElementDraws draws{stream, i};
    a.out[i] = static_cast<T>(poisson(static_cast<double>(a.rates[i]), draws));
  }
}

template <class T>
void run_poisson(const Launch& l) {
  const PoissonArgs<T> a{RandomSource(l), l.count, static_cast<const T*>(l.buffer[1].data),
                         static_cast<T*>(l.buffer[0].data)};
  start(l, &draw_poisson<T>, grid_for(l.count, kThreads), kThreads, 0, a);
}

// --- categories --------------------------------------------------------------------------------

struct CategoryArgs {
  const double *weights, *draws;
  const double* cumulative;  // weights
  uint64_t* key;             // of when a category arrives
  const uint32_t* order;     // of arrivals
  int64_t* out;
  int64_t rows, samples, categories;
};

// By inversion: the first category whose cumulative weight is above u times the total.
__global__ void __launch_bounds__(kThreads) invert(const __grid_constant__ CategoryArgs a) {
  const int64_t count = a.rows * a.samples, step = static_cast<int64_t>(gridDim.x) * kThreads;
  for (int64_t i = static_cast<int64_t>(blockIdx.x) * kThreads + threadIdx.x; i < count;
       i += step) {
    const int64_t row = i / a.samples, n = a.categories;
    const double* sum = a.cumulative + row * n;
    const double* weight = a.weights + row * n;
    const double wanted = a.draws[i] * sum[n - 1];
    int64_t low = 0, high = n - 1;
    while (low < high) {
      const int64_t middle = low + (high - low) / 2;
      sum[middle] <= wanted ? low = middle + 1 : high = middle;
    }
    // Sums made side by side may differ in their last digit: never a category of no weight.
    while (low > 0 && !(weight[low] > 0)) --low;
    while (low + 1 < n && !(weight[low] > 0)) ++low;
    a.out[i] = low;
  }
}

// Exponential races (Efraimidis, Spirakis, Weighted random sampling with a reservoir, 2006): the
// categories whose times, exponential with their weight as rate, come first, in order of arrival.
// Those of weight 0 arrive last.
__global__ void __launch_bounds__(kThreads) arrive(const __grid_constant__ CategoryArgs a) {
  const int64_t count = a.rows * a.categories, step = static_cast<int64_t>(gridDim.x) * kThreads;
  for (int64_t i = static_cast<int64_t>(blockIdx.x) * kThreads + threadIdx.x; i < count;
       i += step) {
    const double w = a.weights[i];
    a.key[i] = key_of(w > 0 ? a.draws[i] / w : std::numeric_limits<double>::infinity(), false);
  }
}
__global__ void __launch_bounds__(kThreads) take_first(const __grid_constant__ CategoryArgs a) {
  const int64_t count = a.rows * a.samples, step = static_cast<int64_t>(gridDim.x) * kThreads;
  for (int64_t i = static_cast<int64_t>(blockIdx.x) * kThreads + threadIdx.x; i < count;
       i += step) {
    const int64_t row = i / a.samples;
    a.out[i] = a.order[row * a.categories + (i - row * a.samples)];
  }
}

void run_multinomial(const Launch& l) {
  CategoryArgs a{};
  a.rows = l.size[0];
  a.samples = l.size[1];
  a.categories = l.integer[0];
  a.weights = static_cast<const double*>(l.buffer[1].data);
  a.draws = static_cast<const double*>(l.buffer[2].data);
  a.out = static_cast<int64_t*>(l.buffer[0].data);
  const int64_t cells = a.rows * a.categories;
  if (cells == 0 || l.count == 0) return;
  if (a.categories >= int64_t{1} << 32) return run_on_host(l);
  const unsigned draws_grid = grid_for(l.count, kThreads);
  if (l.integer[1]) {
    const Scratch sums(static_cast<size_t>(cells) * sizeof(double));
    Launch scan = l;
    scan.kernel = id(Kernel::Cumsum);
    scan.dtype = DType::Float64;
    scan.ndim = 3;
    scan.size[0] = a.rows;
    scan.size[1] = a.categories;
    scan.size[2] = 1;
    scan.count = cells;
    scan.integer[0] = 0;
    scan.nbuffers = 2;
    scan.buffer[0].data = sums.data<double>();
    table().at(scan.kernel, scan.dtype)(scan);
    a.cumulative = sums.data<double>();
    return start(l, &invert, draws_grid, kThreads, 0, a);
  }
  const SortScratch<uint64_t, uint32_t> sorting(a.rows, a.categories);
  a.key = sorting.buffers().key[0];
  start(l, &arrive, grid_for(cells, kThreads), kThreads, 0, a);
  a.order = sorting.buffers().place[sort_keys(l, sorting.buffers(), a.rows, a.categories, 64)];
  start(l, &take_first, draws_grid, kThreads, 0, a);
}

}  // namespace

void fill_sampling(KernelTable& t) {
  t.at(id(Kernel::Poisson), DType::Float32) = &run_poisson<float>;
  t.at(id(Kernel::Poisson), DType::Float64) = &run_poisson<double>;
  t.at(id(Kernel::Multinomial), DType::Int64) = &run_multinomial;
}

}  // namespace wengert::cuda
