// Normalization of dense rows: layer, group and root mean square.
#include "kernels/cuda/norm.h"

#include "kernels/cuda/rows.h"
#include "kernels/cuda/slots.h"

namespace wengert::cuda {
namespace {

constexpr int kHeld = 8;       // vectors of a row that a thread keeps
constexpr int kHeldOfTwo = 4;  // of two rows

template <class T>
struct NormArgs {
  RowShape shape;
  bool about_zero;
  const T *x, *g, *weight, *bias;  // g: of gradients
  T *statistics, *out;
  int64_t weights, groups;  // of a row; rows with weights of their own
  int64_t inner;            // columns to a weight; see kernels.h
  Divider by_inner;
  double eps;
  WENGERT_DEVICE bool columns_fit() const { return shape.columns < int64_t{1} << 31; }
};

// Weights for the elements of a step.
template <class T>
WENGERT_DEVICE void read_weights(const NormArgs<T>& a, const Row<T>& row, const T* weights, int k,
                                 T (&w)[Row<T>::N], T none) {
  if (!weights) {
#pragma unroll
    for (int j = 0; j < Row<T>::N; ++j) w[j] = none;
    return;
  }
  const T* own = weights + row.at % a.groups * a.weights;
  if (a.inner == 1) return row.read(own, k, w, none);
#pragma unroll
  for (int j = 0; j < Row<T>::N; ++j) {
    const int64_t c = row.column(k, j);
    const int64_t at =
        a.columns_fit() ? a.by_inner.quotient(static_cast<uint32_t>(c)) : c / a.inner;
    w[j] = c < row.columns ? own[at] : none;
  }
}

// Two passes for mean and variance, a third for the result: of what registers hold, if they do.
template <class T>
__global__ void __launch_bounds__(kMostRowThreads)
    norm_rows(const __grid_constant__ NormArgs<T> a) {
  constexpr int N = Row<T>::N;
  const Row<T> row(a.shape);
  const T* const from = row.of(a.x);
  const T n = static_cast<T>(row.columns);
  T x_held[kHeld][N];
  T sum = T(0);
  row.each(x_held, [&](int k, T(&x)[N], bool) {
    row.read(from, k, x, T(0));
#pragma unroll
    for (int j = 0; j < N; ++j) sum += x[j];
  });
  const T mean = a.about_zero ? T(0) : sum_row(row.lanes, sum) / n;
  T squares = T(0);
  row.each(x_held, [&](int k, T(&x)[N], bool held) {
    if (!held) row.read(from, k, x, T(0));
#pragma unroll
    for (int j = 0; j < N; ++j) {
      const T d = x[j] - mean;
      if (row.has(k, j)) squares += d * d;
    }
  });
  const T inverse = inverse_deviation(sum_row(row.lanes, squares), n, a.eps);
  if (row.lane == 0 && row.there) {
    a.statistics[2 * row.at] = mean;
    a.statistics[2 * row.at + 1] = inverse;
  }
  row.each(x_held, [&](int k, T(&x)[N], bool held) {
    if (!held) row.read(from, k, x, T(0));
    T w[N], b[N];
    read_weights(a, row, a.weight, k, w, T(1));
    read_weights(a, row, a.bias, k, b, T(0));
#pragma unroll
    for (int j = 0; j < N; ++j) x[j] = (x[j] - mean) * inverse * w[j] + b[j];
    row.write(row.of(a.out), k, x);
  });
}

// gx = inverse (g w - mean(g w) - normalized mean(g w normalized)); about 0 the first mean is left
// out.
template <class T>
__global__ void __launch_bounds__(kMostRowThreads)
    norm_grad_rows(const __grid_constant__ NormArgs<T> a) {
  constexpr int N = Row<T>::N;
  const Row<T> row(a.shape);
  const T mean = a.statistics[2 * row.at], inverse = a.statistics[2 * row.at + 1];
  const auto read = [&](int k, T(&g)[N], T(&hat)[N]) {
    T w[N];
    row.read(row.of(a.g), k, g, T(0));
    row.read(row.of(a.x), k, hat, mean);
    read_weights(a, row, a.weight, k, w, T(1));
#pragma unroll
    for (int j = 0; j < N; ++j) g[j] *= w[j], hat[j] = (hat[j] - mean) * inverse;
  };
  T gs[kHeldOfTwo][N], hats[kHeldOfTwo][N];
  TwoSums<T> sum{T(0), T(0)};
  row.each(gs, hats, [&](int k, T(&g)[N], T(&hat)[N], bool) {
    read(k, g, hat);
#pragma unroll
    for (int j = 0; j < N; ++j) sum.a += g[j], sum.b += g[j] * hat[j];
  });
  sum = sum_row(row.lanes, sum.a, sum.b);
  const T share = T(1) / static_cast<T>(row.columns);
  const T about = a.about_zero ? T(0) : sum.a * share, along = sum.b * share;
  row.each(gs, hats, [&](int k, T(&g)[N], T(&hat)[N], bool held) {
    if (!held) read(k, g, hat);
#pragma unroll
    for (int j = 0; j < N; ++j) hat[j] = (g[j] - about - hat[j] * along) * inverse;
    row.write(row.of(a.out), k, hat);
  });
}

template <class T>
NormArgs<T> args_of(const Launch& l, int held, int x, int statistics, int g, int weight, int bias) {
  const int64_t columns = l.size[1], inner = l.more[1];
  const void *w = data<T>(l, weight), *b = data<T>(l, bias);
  // Only weights of single columns are read by vectors.
  if (inner > 1) w = b = nullptr;
  return {.shape = RowShape(l.size[0], columns, kPerThread<T>, held,
                            {l.buffer[0].data, l.buffer[x].data, l.buffer[g].data, w, b}),
          .about_zero = l.kernel == id(Kernel::RmsNorm) || l.kernel == id(Kernel::RmsNormGrad),
          .x = data<T>(l, x),
          .g = data<T>(l, g),
          .weight = data<T>(l, weight),
          .bias = data<T>(l, bias),
          .statistics = data<T>(l, statistics),
          .out = data<T>(l, 0),
          .weights = columns / inner,
          .groups = l.more[0],
          .inner = inner,
          .by_inner = Divider(inner < 1LL << 31 ? static_cast<uint32_t>(inner) : 1),
          .eps = l.number[0]};
}

template <class T>
void run_norm(const Launch& l) {
  if (l.size[0] == 0 || l.size[1] == 0) return;
  const int weight = l.integer[1] ? 3 : -1;
  const int bias = l.integer[2] ? (l.integer[1] ? 4 : 3) : -1;
  const auto a = args_of<T>(l, kHeld, 2, 1, 2, weight, bias);
  start(l, &norm_rows<T>, a.shape.grid(), static_cast<unsigned>(a.shape.threads), 0, a);
}

template <class T>
void run_norm_grad(const Launch& l) {
  const int64_t rows = l.size[0], columns = l.size[1], inner = l.more[1], groups = l.more[0];
  if (rows > 0 && columns > 0) {
    const auto a = args_of<T>(l, kHeldOfTwo, 4, 5, 3, l.integer[1] ? 6 : -1, -1);
    start(l, &norm_grad_rows<T>, a.shape.grid(), static_cast<unsigned>(a.shape.threads), 0, a);
  }
  if (l.integer[2] == 0) return;
  // Rows of the same group, and columns of the same weight, make a channel.
  sum_channels<T>(l, {.outer = rows / groups,
                      .channels = columns / inner * groups,
                      .inner = inner,
                      .g = l.buffer[3].data,
                      .x = l.buffer[4].data,
                      .statistics = l.buffer[5].data,
                      .columns = columns,
                      .sum_g = l.buffer[2].data,
                      .sum_gx = l.buffer[1].data});
}

template <class T>
void fill_type(KernelTable& t) {
  constexpr DType d = kDTypeOf<T>;
  t.at(id(Kernel::LayerNorm), d) = t.at(id(Kernel::RmsNorm), d) = &run_norm<T>;
  t.at(id(Kernel::LayerNormGrad), d) = t.at(id(Kernel::RmsNormGrad), d) = &run_norm_grad<T>;
}

}  // namespace

void fill_norm(KernelTable& t) {
  fill_type<float>(t);
  fill_type<double>(t);
}

}  // namespace wengert::cuda
