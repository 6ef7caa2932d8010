// Sums of products of two vectors: chunks, then the sum of their sums.
#include "kernels/cuda/reduce.h"
#include "kernels/cuda/rows.h"
#include "kernels/cuda/slots.h"

namespace wengert::cuda {
namespace {

constexpr int64_t kBlocks = 1024;
constexpr int kEach = 8;  // elements that a thread takes at once

struct DotArgs {
  const char *x, *y;
  int64_t x_step, y_step, count, chunk;
  bool packed;
  char* out;  // one a block
};

template <class T>
WENGERT_DEVICE T product(T x, T y, T sum) {
  if constexpr (is_real<T>) {
    return std::fma(x, y, sum);
  } else {
    return (Lane<T>::of(x) * Lane<T>::of(y) + Lane<T>::of(sum)).v;
  }
}

template <class T>
__global__ void __launch_bounds__(kReduceThreads) dot(const __grid_constant__ DotArgs a) {
  constexpr int N = kPerThread<T>, kFold = 16;
  const T *x = reinterpret_cast<const T*>(a.x), *y = reinterpret_cast<const T*>(a.y);
  const int t = static_cast<int>(threadIdx.x);
  int64_t first = blockIdx.x * a.chunk;
  const int64_t end = first + a.chunk < a.count ? first + a.chunk : a.count;
  Lane<T> total(0.0);
  while (first < end) {
    T sum[kEach] = {};
    for (int fold = 0; fold < kFold && first < end; ++fold, first += kEach * kReduceThreads) {
      T p[kEach] = {}, q[kEach] = {};
      if (a.packed && first + kEach * kReduceThreads <= end) {
#pragma unroll
        for (int u = 0; u < kEach / N; ++u) {
          T v[N], w[N];
          read_pack<T, T>(a.x, first + (u * kReduceThreads + t) * N, v);
          read_pack<T, T>(a.y, first + (u * kReduceThreads + t) * N, w);
#pragma unroll
          for (int j = 0; j < N; ++j) p[u * N + j] = v[j], q[u * N + j] = w[j];
        }
      } else {
#pragma unroll
        for (int j = 0; j < kEach; ++j) {
          const int64_t i = first + j * kReduceThreads + t;
          if (i < end) p[j] = x[i * a.x_step], q[j] = y[i * a.y_step];
        }
      }
#pragma unroll
      for (int j = 0; j < kEach; ++j) sum[j] = product(p[j], q[j], sum[j]);
    }
#pragma unroll
    for (int h = kEach / 2; h > 0; h /= 2) {
#pragma unroll
      for (int j = 0; j < h; ++j) sum[j] = (Lane<T>::of(sum[j]) + Lane<T>::of(sum[j + h])).v;
    }
    total = total + Lane<T>::of(sum[0]);
  }
  total = join_row(kReduceThreads, Joined<T>{total}, [](Joined<T> l, Joined<T> r) {
            return Joined<T>{l.x + r.x};
          }).x;
  if (t == 0) reinterpret_cast<T*>(a.out)[blockIdx.x] = total.v;
}

template <class T>
void run_dot(const Launch& l) {
  const Buffer &x = l.buffer[1], &y = l.buffer[2];
  constexpr int64_t at_once = int64_t{kEach} * kReduceThreads;
  const auto aligned = [](const Buffer& b) {
    return reinterpret_cast<uintptr_t>(b.data) % 16 == 0;
  };
  DotArgs a{static_cast<const char*>(x.data),
            static_cast<const char*>(y.data),
            x.stride[0],
            y.stride[0],
            l.count,
            ceil_div(std::max<int64_t>(1, ceil_div(l.count, kBlocks)), 2 * at_once) * 2 * at_once,
            x.stride[0] == 1 && y.stride[0] == 1 && aligned(x) && aligned(y),
            static_cast<char*>(l.buffer[0].data)};
  const int64_t blocks = std::max<int64_t>(1, ceil_div(l.count, a.chunk));
  const Scratch parts(blocks > 1 ? static_cast<size_t>(blocks) * sizeof(T) : 0);
  if (blocks > 1) a.out = parts.data();
  start(l, &dot<T>, static_cast<unsigned>(blocks), kReduceThreads, 0, a);
  if (blocks == 1) return;
  join_parts(l, index_of<Sum, Reductions>, kDTypeOf<T>, {parts.data(), 1, blocks},
             l.buffer[0].data);
}

}  // namespace

void fill_dot(KernelTable& t) {
  t.at(id(Kernel::Dot), DType::Int64) = &run_dot<int64_t>;
  t.at(id(Kernel::Dot), DType::Float32) = &run_dot<float>;
  t.at(id(Kernel::Dot), DType::Float64) = &run_dot<double>;
}

}  // namespace wengert::cuda
