// Softmax and cross-entropy of dense rows.
#include "kernels/cuda/reduce.h"
#include "kernels/cuda/rows.h"
#include "kernels/cuda/slots.h"

namespace wengert::cuda {
namespace {

constexpr int kHeld = 8;       // vectors of a row that a thread keeps
constexpr int kHeldOfTwo = 4;  // of two rows

enum class Of : uint8_t { Softmax, LogSoftmax, Entropy };
enum class Mean : uint8_t { None, Mean, Sum };  // as the launch has it

template <class T>
struct RowArgs {
  RowShape shape;
  Of of;
  const T *x, *g;  // g: of gradients
  T* out;
  // of cross-entropy
  const int64_t* target;
  int64_t ignored;
  T *lse, *loss;
  const T *scale, *counted;  // counted: null where the scale is the whole factor
  int64_t scale_step;
};

// The greatest element and the sum of exp(x - that); a maximum that is not finite is left out of
// the difference, so that the sum has no NaN but of NaN.
template <class T>
struct Peak {
  T max, sum;
  WENGERT_DEVICE Peak other(int h) const {
    return {__shfl_xor_sync(0xffffffffu, max, h), __shfl_xor_sync(0xffffffffu, sum, h)};
  }
};
template <class T>
WENGERT_DEVICE T greater(T a, T b) {
  return a > b || a != a ? a : b;
}
template <class T>
WENGERT_DEVICE T shift_of(T max) {
  return isinf(Lane<T>::of(max)).v ? T(0) : max;
}
template <class T>
WENGERT_DEVICE T rescale(T from, T to) {
  return from == to ? T(1) : std::exp(from - to);
}
template <class T>
WENGERT_DEVICE Peak<T> higher(Peak<T> a, Peak<T> b) {
  const T max = greater(a.max, b.max);
  return {max, a.sum * rescale(a.max, max) + b.sum * rescale(b.max, max)};
}
template <class T>
WENGERT_DEVICE T greatest(int lanes, T v) {
  return join_row(lanes, OneSum<T>{v},
                  [](OneSum<T> l, OneSum<T> r) { return OneSum<T>{greater(l.a, r.a)}; })
      .a;
}

template <class T>
WENGERT_DEVICE void finish_entropy(const RowArgs<T>& a, const Row<T>& row, T lse) {
  if (row.lane != 0 || !row.there) return;
  const int64_t t = a.target[row.at];
  a.lse[row.at] = lse;
  // Classes are checked later: what is out of range is not read.
  const bool wrong = t < 0 || t >= row.columns;
  a.loss[row.at] = t == a.ignored ? T(0)
                   : wrong        ? std::numeric_limits<T>::quiet_NaN()
                                  : lse - row.of(a.x)[t];
}

// Rows that registers hold.
template <class T>
WENGERT_DEVICE void softmax_held(const RowArgs<T>& a, const Row<T>& row) {
  constexpr int N = Row<T>::N;
  constexpr T lowest = -std::numeric_limits<T>::infinity();
  T x[kHeld][N];
  T max = lowest;
#pragma unroll
  for (int k = 0; k < kHeld; ++k) {
    if (k >= row.steps) continue;
    row.read(row.of(a.x), k, x[k], lowest);
#pragma unroll
    for (int j = 0; j < N; ++j) max = greater(max, x[k][j]);
  }
  max = greatest(row.lanes, max);
  const T shift = a.of == Of::Softmax ? max : shift_of(max);
  T sum = T(0);
#pragma unroll
  for (int k = 0; k < kHeld; ++k) {
    if (k >= row.steps) continue;
#pragma unroll
    for (int j = 0; j < N; ++j) {
      const T e = row.has(k, j) ? std::exp(x[k][j] - shift) : T(0);
      sum += e;
      if (a.of == Of::Softmax) x[k][j] = e;
    }
  }
  sum = sum_row(row.lanes, sum);
  const T lse = shift + std::log(sum), factor = T(1) / sum;
  if (a.of == Of::Entropy) return finish_entropy(a, row, lse);
#pragma unroll
  for (int k = 0; k < kHeld; ++k) {
    if (k >= row.steps) continue;
#pragma unroll
    for (int j = 0; j < N; ++j) x[k][j] = a.of == Of::Softmax ? x[k][j] * factor : x[k][j] - lse;
    row.write(row.of(a.out), k, x[k]);
  }
}

// Longer ones: maximum and sum in one pass (Milakov and Gimelshein, Online normalizer calculation
// for softmax, 2018), so that memory is read twice and not three times.
template <class T>
WENGERT_DEVICE void softmax_long(const RowArgs<T>& a, const Row<T>& row) {
  constexpr int N = Row<T>::N;
  constexpr T lowest = -std::numeric_limits<T>::infinity();
  Peak<T> peak{lowest, T(0)};
  for (int k = 0; k < row.steps; ++k) {
    T x[N];
    row.read(row.of(a.x), k, x, lowest);
    T max = peak.max;
#pragma unroll
    for (int j = 0; j < N; ++j) max = greater(max, x[j]);
    const T shift = shift_of(max);
    T sum = peak.sum * rescale(peak.max, max);
#pragma unroll
    for (int j = 0; j < N; ++j) sum += std::exp(x[j] - shift);
    peak = {max, sum};
  }
  peak = join_row(row.lanes, peak, [](Peak<T> l, Peak<T> r) { return higher(l, r); });
  const bool infinite = isinf(Lane<T>::of(peak.max)).v;
  const T lse = infinite ? peak.max : peak.max + std::log(peak.sum);
  if (a.of == Of::Entropy) return finish_entropy(a, row, lse);
  const T factor = infinite ? std::numeric_limits<T>::quiet_NaN() : T(1) / peak.sum;
  for (int k = 0; k < row.steps; ++k) {
    T x[N];
    row.read(row.of(a.x), k, x, lowest);
#pragma unroll
    for (int j = 0; j < N; ++j) {
      x[j] = a.of == Of::Softmax ? std::exp(x[j] - peak.max) * factor : x[j] - lse;
    }
    row.write(row.of(a.out), k, x);
  }
}

template <class T>
__global__ void __launch_bounds__(kMostRowThreads)
    softmax_rows(const __grid_constant__ RowArgs<T> a) {
  const Row<T> row(a.shape);
  if (row.steps <= kHeld) {
    softmax_held(a, row);
  } else {
    softmax_long(a, row);
  }
}

// softmax: y * (g - sum(g * y)); log_softmax: g - exp(y) * sum(g)
template <class T>
__global__ void __launch_bounds__(kMostRowThreads)
    softmax_grad_rows(const __grid_constant__ RowArgs<T> a) {
  constexpr int N = Row<T>::N;
  const Row<T> row(a.shape);
  const bool log_form = a.of == Of::LogSoftmax;
  T gs[kHeldOfTwo][N], ys[kHeldOfTwo][N];
  T sum = T(0);
  const auto read = [&](int k, T(&g)[N], T(&y)[N]) {
    row.read(row.of(a.g), k, g, T(0));
    row.read(row.of(a.x), k, y, T(0));
  };
  row.each(gs, ys, [&](int k, T(&g)[N], T(&y)[N], bool) {
    read(k, g, y);
#pragma unroll
    for (int j = 0; j < N; ++j) sum += log_form ? g[j] : g[j] * y[j];
  });
  sum = sum_row(row.lanes, sum);
  row.each(gs, ys, [&](int k, T(&g)[N], T(&y)[N], bool held) {
    if (!held) read(k, g, y);
#pragma unroll
    for (int j = 0; j < N; ++j) y[j] = log_form ? g[j] - std::exp(y[j]) * sum : y[j] * (g[j] - sum);
    row.write(row.of(a.out), k, y);
  });
}

// (softmax(x) - onehot(target)) * scale, 0 where the target is ignored.
template <class T>
__global__ void __launch_bounds__(kMostRowThreads)
    entropy_grad_rows(const __grid_constant__ RowArgs<T> a) {
  constexpr int N = Row<T>::N;
  const Row<T> row(a.shape);
  const int64_t t = a.target[row.at];
  const bool ignored = t == a.ignored;
  const T lse = a.lse[row.at];
  T scale = T(0);
  if (!ignored) {
    scale = a.scale[row.at * a.scale_step];
    if (a.counted) scale = scale * static_cast<T>(1.0 / static_cast<double>(*a.counted));
  }
  for (int k = 0; k < row.steps; ++k) {
    T x[N];
    row.read(row.of(a.x), k, x, T(0));
#pragma unroll
    for (int j = 0; j < N; ++j) {
      x[j] = std::exp(x[j] - lse) * scale;
      if (!ignored && row.column(k, j) == t) x[j] -= scale;
    }
    row.write(row.of(a.out), k, x);
  }
}

// --- the loss of all rows ------------------------------------------------------------------------

template <class T>
struct TotalArgs {
  const T* loss;
  const int64_t* target;
  int64_t rows, chunk, ignored;
  T* sums;  // of each block, as the counts; or the loss and the number of rows counted
  int64_t* counts;
  bool last;
  Mean mean;
  T *out, *counted;
};

template <class T>
struct Total {
  T sum;
  int64_t count;
  WENGERT_DEVICE Total other(int h) const {
    return {__shfl_xor_sync(0xffffffffu, sum, h), __shfl_xor_sync(0xffffffffu, count, h)};
  }
};

// Without targets the rows are those that another launch has counted.
template <class T>
__global__ void __launch_bounds__(kRowThreads) total_loss(const __grid_constant__ TotalArgs<T> a) {
  const int t = static_cast<int>(threadIdx.x);
  const int64_t first = blockIdx.x * a.chunk;
  const int64_t end = first + a.chunk < a.rows ? first + a.chunk : a.rows;
  Total<T> total{T(0), 0};
  for (int64_t i = first + t; i < end; i += kRowThreads) {
    if (a.loss) total.sum += a.loss[i];
    total.count += a.target ? a.target[i] != a.ignored : a.counts[i];
  }
  total = join_row(kRowThreads, total, [](Total<T> l, Total<T> r) {
    return Total<T>{l.sum + r.sum, l.count + r.count};
  });
  if (t != 0) return;
  if (!a.last) {
    a.sums[blockIdx.x] = total.sum;
    a.counts[blockIdx.x] = total.count;
    return;
  }
  *a.counted = static_cast<T>(total.count);
  if (a.mean != Mean::None) {
    *a.out = a.mean == Mean::Mean ? total.sum / static_cast<T>(total.count) : total.sum;
  }
}

template <class T>
void run_totals(const Launch& l, TotalArgs<T> a) {
  const int64_t blocks = std::clamp<int64_t>(ceil_div(a.rows, a.chunk), 1, 1024);
  a.chunk = std::max<int64_t>(a.chunk, ceil_div(a.rows, blocks));
  a.last = blocks == 1;
  if (a.last) return start(l, &total_loss<T>, 1, kRowThreads, 0, a);
  const auto n = static_cast<size_t>(blocks);
  const Scratch sums(n * sizeof(T)), counts(n * sizeof(int64_t));
  a.sums = sums.data<T>();
  a.counts = counts.data<int64_t>();
  start(l, &total_loss<T>, static_cast<unsigned>(blocks), kRowThreads, 0, a);
  a.loss = a.loss ? a.sums : nullptr;
  a.target = nullptr;
  a.rows = a.chunk = blocks;
  a.last = true;
  start(l, &total_loss<T>, 1, kRowThreads, 0, a);
}

// --- drivers -------------------------------------------------------------------------------------

template <class T>
RowArgs<T> args_of(const Launch& l, Of of, int held, int x, int g) {
  RowArgs<T> a{.shape = RowShape(l.size[0], l.size[1], kPerThread<T>, held,
                                 {l.buffer[0].data, l.buffer[x].data, l.buffer[g].data}),
               .of = of,
               .x = data<const T>(l, x),
               .g = data<const T>(l, g),
               .out = data<T>(l, 0),
               .target = nullptr,
               .ignored = 0,
               .lse = nullptr,
               .loss = nullptr,
               .scale = nullptr,
               .counted = nullptr,
               .scale_step = 0};
  return a;
}

template <class T>
void start_rows(const Launch& l, void (*kernel)(RowArgs<T>), const RowArgs<T>& a) {
  start(l, kernel, a.shape.grid(), static_cast<unsigned>(a.shape.threads), 0, a);
}

template <class T>
void run_softmax(const Launch& l) {
  if (l.size[0] == 0 || l.size[1] == 0) return;
  const Of of = l.kernel == id(Kernel::LogSoftmax) ? Of::LogSoftmax : Of::Softmax;
  start_rows(l, &softmax_rows<T>, args_of<T>(l, of, kHeld, 1, 1));
}

template <class T>
void run_softmax_grad(const Launch& l) {
  if (l.size[0] == 0 || l.size[1] == 0) return;
  const Of of = l.kernel == id(Kernel::LogSoftmaxGrad) ? Of::LogSoftmax : Of::Softmax;
  start_rows(l, &softmax_grad_rows<T>, args_of<T>(l, of, kHeldOfTwo, 2, 1));
}

template <class T>
void run_cross_entropy(const Launch& l) {
  const auto mean = static_cast<Mean>(l.integer[1]);
  const int64_t rows = l.size[0];
  RowArgs<T> a = args_of<T>(l, Of::Entropy, kHeld, 3, 3);
  a.shape = RowShape(rows, l.size[1], kPerThread<T>, kHeld, {a.x});
  a.target = data<const int64_t>(l, 4);
  a.ignored = l.integer[0];
  // With a reduction the losses go to the scratch behind the log-sum-exps.
  a.lse = data<T>(l, 1);
  a.loss = mean == Mean::None ? data<T>(l, 0) : a.lse + rows;
  if (rows > 0) start_rows(l, &softmax_rows<T>, a);
  run_totals(l, TotalArgs<T>{.loss = mean == Mean::None ? nullptr : a.loss,
                             .target = a.target,
                             .rows = rows,
                             .chunk = 16 * kRowThreads,
                             .ignored = a.ignored,
                             .sums = nullptr,
                             .counts = nullptr,
                             .last = true,
                             .mean = mean,
                             .out = data<T>(l, 0),
                             .counted = data<T>(l, 2)});
}

template <class T>
void run_cross_entropy_grad(const Launch& l) {
  if (l.size[0] == 0 || l.size[1] == 0) return;
  const auto mean = static_cast<Mean>(l.integer[1]);
  RowArgs<T> a = args_of<T>(l, Of::Entropy, kHeld, 2, 2);
  a.target = data<const int64_t>(l, 3);
  a.ignored = l.integer[0];
  a.lse = data<T>(l, 4);
  a.scale = data<const T>(l, 1);
  a.scale_step = mean == Mean::None ? 1 : 0;
  a.counted = mean == Mean::Mean ? data<const T>(l, 5) : nullptr;
  start_rows(l, &entropy_grad_rows<T>, a);
}

template <class T>
void fill_type(KernelTable& t) {
  constexpr DType d = kDTypeOf<T>;
  t.at(id(Kernel::Softmax), d) = t.at(id(Kernel::LogSoftmax), d) = &run_softmax<T>;
  t.at(id(Kernel::SoftmaxGrad), d) = t.at(id(Kernel::LogSoftmaxGrad), d) = &run_softmax_grad<T>;
  t.at(id(Kernel::CrossEntropy), d) = &run_cross_entropy<T>;
  t.at(id(Kernel::CrossEntropyGrad), d) = &run_cross_entropy_grad<T>;
}

}  // namespace

void fill_rows(KernelTable& t) {
  fill_type<float>(t);
  fill_type<double>(t);
}

}  // namespace wengert::cuda
