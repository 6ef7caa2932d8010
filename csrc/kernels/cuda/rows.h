// Kernels over dense rows that need all of a row at once. So many lanes share a row: some of a
// warp, or, of long rows, a block. What a lane reads first it holds in registers, so that a row
// that is not too long is read once.
#pragma once

#include "kernels/cuda/lane.h"
#include "kernels/cuda/operand.h"

namespace wengert::cuda {

inline constexpr int kRowThreads = 256, kMostRowThreads = 512;

// Buffer k, below 0 none.
template <class T>
T* data(const Launch& l, int k) {
  return k < 0 ? nullptr : static_cast<T*>(l.buffer[k].data);
}

struct RowShape {
  int64_t rows, columns;
  int lanes, threads;  // to a row, to a block
  bool packed;         // rows are read by whole vectors

  // For threads that take n elements at once, and hold `held` times as many.
  RowShape(int64_t rows_, int64_t columns_, int n, int held, std::initializer_list<const void*> all)
      : rows(rows_), columns(columns_), packed(columns_ % n == 0) {
    for (const void* p : all) packed = packed && reinterpret_cast<uintptr_t>(p) % 16 == 0;
    constexpr int64_t few = 256;  // rows, of which a warp each would leave the device idle
    const int64_t steps = ceil_div(columns, n), once = ceil_div(steps, held);
    lanes = 1;
    const int most = once > kWarp || (rows < few && steps > 2 * kWarp) ? kMostRowThreads : kWarp;
    const int64_t wanted = most == kWarp ? steps : once;
    while (lanes < most && (lanes < wanted || (most > kWarp && lanes < kRowThreads))) lanes *= 2;
    threads = std::max(lanes, kRowThreads);
  }
  dim3 grid() const { return {static_cast<unsigned>(ceil_div(rows, threads / lanes)), 1, 1}; }
};

// What a thread has to do with its row. Beyond the last row the last one is read again, and nothing
// is written.
template <class T>
struct Row {
  static constexpr int N = kPerThread<T>;
  int64_t at, columns;
  int lane, lanes, steps;
  bool packed, there;

  WENGERT_DEVICE explicit Row(const RowShape& s)
      : columns(s.columns), lanes(s.lanes), packed(s.packed) {
    const int t = static_cast<int>(threadIdx.x), side = s.threads / s.lanes;
    lane = t & (lanes - 1);
    at = static_cast<int64_t>(blockIdx.x) * side + t / lanes;
    there = at < s.rows;
    if (!there) at = s.rows - 1;
    const int64_t once = static_cast<int64_t>(lanes) * N;
    steps = static_cast<int>((columns + once - 1) / once);
  }
  // Of element j of the k-th step.
  WENGERT_DEVICE int64_t column(int k, int j) const {
    const int64_t first = static_cast<int64_t>(k) * lanes;
    return packed ? (first + lane) * N + j : first * N + static_cast<int64_t>(j) * lanes + lane;
  }
  WENGERT_DEVICE bool has(int k, int j) const { return column(k, j) < columns; }
  template <class S>
  WENGERT_DEVICE const S* of(const S* matrix) const {
    return matrix + at * columns;
  }
  template <class S>
  WENGERT_DEVICE S* of(S* matrix) const {
    return matrix + at * columns;
  }
  // Elements that there are not are `fill`.
  WENGERT_DEVICE void read(const T* row, int k, T (&x)[N], T fill) const {
    if (packed) {
      const int64_t c = column(k, 0);
      if (c < columns) return read_pack<T, T>(reinterpret_cast<const char*>(row), c, x);
#pragma unroll
      for (int j = 0; j < N; ++j) x[j] = fill;
      return;
    }
#pragma unroll
    for (int j = 0; j < N; ++j) x[j] = has(k, j) ? row[column(k, j)] : fill;
  }
  WENGERT_DEVICE void write(T* row, int k, const T (&x)[N]) const {
    if (!there) return;
    if (packed) {
      const int64_t c = column(k, 0);
      if (c < columns) write_pack<T, T>(reinterpret_cast<char*>(row), c, x);
      return;
    }
#pragma unroll
    for (int j = 0; j < N; ++j) {
      if (has(k, j)) row[column(k, j)] = x[j];
    }
  }
  // Calls step(k, x) for each step, where x is what is held, or memory for what is read anew.
  template <int kHeld, class Step>
  WENGERT_DEVICE void each(T (&held)[kHeld][N], Step step) const {
#pragma unroll
    for (int k = 0; k < kHeld; ++k) {
      if (k < steps) step(k, held[k], true);
    }
    for (int k = kHeld; k < steps; ++k) {
      T x[N];
      step(k, x, false);
    }
  }
  // The same of two rows: step(k, x, y).
  template <int kHeld, class Step>
  WENGERT_DEVICE void each(T (&held)[kHeld][N], T (&other)[kHeld][N], Step step) const {
#pragma unroll
    for (int k = 0; k < kHeld; ++k) {
      if (k < steps) step(k, held[k], other[k], true);
    }
    for (int k = kHeld; k < steps; ++k) {
      T x[N], y[N];
      step(k, x, y, false);
    }
  }
};

// What all lanes of a row hold, joined; every lane has it then.
template <class V, class Join>
WENGERT_DEVICE V join_row(int lanes, V v, Join join) {
  for (int h = lanes > kWarp ? kWarp / 2 : lanes / 2; h > 0; h /= 2) v = join(v, v.other(h));
  if (lanes <= kWarp) return v;
  __shared__ __align__(16) V shared[kMostRowThreads / kWarp];
  const int t = static_cast<int>(threadIdx.x);
  __syncthreads();  // what was joined before has been read
  if (t % kWarp == 0) shared[t / kWarp] = v;
  __syncthreads();
  v = shared[0];
  for (int w = 1; w < lanes / kWarp; ++w) v = join(v, shared[w]);
  return v;
}

template <class T>
struct OneSum {
  T a;
  WENGERT_DEVICE OneSum other(int h) const { return {__shfl_xor_sync(0xffffffffu, a, h)}; }
};
template <class T>
struct TwoSums {
  T a, b;
  WENGERT_DEVICE TwoSums other(int h) const {
    return {__shfl_xor_sync(0xffffffffu, a, h), __shfl_xor_sync(0xffffffffu, b, h)};
  }
};
template <class T>
WENGERT_DEVICE T sum_row(int lanes, T v) {
  return join_row(lanes, OneSum<T>{v},
                  [](OneSum<T> l, OneSum<T> r) { return OneSum<T>{l.a + r.a}; })
      .a;
}
template <class T>
WENGERT_DEVICE TwoSums<T> sum_row(int lanes, T a, T b) {
  return join_row(lanes, TwoSums<T>{a, b},
                  [](TwoSums<T> l, TwoSums<T> r) { return TwoSums<T>{l.a + r.a, l.b + r.b}; });
}

}  // namespace wengert::cuda
