// Max pooling: a thread to a window. And its gradient.
#include <algorithm>
#include <limits>

#include "kernels/cuda/cuda.h"
#include "kernels/cuda/operand.h"
#include "kernels/cuda/slots.h"
#include "kernels/kernels.h"

namespace wengert::cuda {
namespace {

constexpr int kThreads = 256;

template <class T>
struct PoolArgs {
  PoolParams p;
  const T* x;
  T* best;
  int64_t* places;
  int64_t count;
};

// Where a window begins and ends along an axis.
template <class Index>
struct Window {
  Index begin, end;

  WENGERT_DEVICE Window(const PoolParams& p, int d, Index i) {
    const auto in = static_cast<Index>(p.input[d]);
    if (p.adaptive) {
      const auto wide = static_cast<int64_t>(i);
      begin = static_cast<Index>(wide * p.input[d] / p.output[d]);
      end = static_cast<Index>(((wide + 1) * p.input[d] + p.output[d] - 1) / p.output[d]);
      return;
    }
    const auto dilation = static_cast<Index>(p.dilation[d]);
    const Index reach = static_cast<Index>(p.kernel[d] - 1) * dilation + 1;
    begin = i * static_cast<Index>(p.stride[d]) - static_cast<Index>(p.padding[d]);
    end = begin + reach < in ? begin + reach : in;
    if (begin < 0) begin += (-begin + dilation - 1) / dilation * dilation;
  }
};

// The first of equal ones, the last NaN. Index: of elements of a plane.
template <class T, class Index>
__global__ void __launch_bounds__(kThreads) max_pool(const __grid_constant__ PoolArgs<T> a) {
  const PoolParams& p = a.p;
  const auto h = static_cast<Index>(p.input[1]), w = static_cast<Index>(p.input[2]);
  const Index inputs = static_cast<Index>(p.input[0]) * h * w;
  const Index steps[] = {static_cast<Index>(p.dilation[0]), static_cast<Index>(p.dilation[1]),
                         static_cast<Index>(p.dilation[2])};
  const Index out_h = static_cast<Index>(p.output[1]), out_w = static_cast<Index>(p.output[2]);
  const Index outputs = static_cast<Index>(p.output[0]) * out_h * out_w;
  const int64_t step = static_cast<int64_t>(gridDim.x) * kThreads;
  for (int64_t o = static_cast<int64_t>(blockIdx.x) * kThreads + threadIdx.x; o < a.count;
       o += step) {
    const int64_t plane = o / outputs;
    const auto at = static_cast<Index>(o - plane * outputs);
    const Index line = at / out_w;
    const Window<Index> i(p, 0, line / out_h), j(p, 1, line % out_h), k(p, 2, at % out_w);
    const T* x = a.x + plane * inputs;
    T found = std::numeric_limits<T>::has_infinity ? -std::numeric_limits<T>::infinity()
                                                   : std::numeric_limits<T>::lowest();
    Index place = (i.begin * h + j.begin) * w + k.begin;
    for (Index u = i.begin; u < i.end; u += steps[0]) {
      for (Index v = j.begin; v < j.end; v += steps[1]) {
        const Index row = (u * h + v) * w;
        for (Index c = k.begin; c < k.end; c += steps[2]) {
          const T here = x[row + c];
          if (here > found || here != here) {
            found = here;
            place = row + c;
          }
        }
      }
    }
    a.best[o] = found;
    a.places[o] = place < inputs ? place : inputs - 1;  // taps may all lie in the padding
  }
}

template <class T>
void run_max_pool(const Launch& l) {
  const auto& p = *static_cast<const PoolParams*>(l.pointer);
  const PoolArgs<T> a{p, static_cast<const T*>(l.buffer[2].data), static_cast<T*>(l.buffer[0].data),
                      static_cast<int64_t*>(l.buffer[1].data), p.planes * p.output_size()};
  // Windows may begin and end beyond the input, by less than it and its padding.
  int64_t most = std::max(p.input_size(), p.output_size());
  for (int d = 0; d < 3; ++d) {
    most = std::max(most, p.output[d] * p.stride[d] + p.kernel[d] * p.dilation[d] + p.padding[d]);
  }
  const bool small = 4 * most < std::numeric_limits<int32_t>::max();
  start(l, small ? &max_pool<T, int32_t> : &max_pool<T, int64_t>, grid_for(a.count, kThreads),
        kThreads, 0, a);
}

// --- the gradient ------------------------------------------------------------------------------

// Windows that found the same place make a list, in whatever order; who adds them up sorts the few
// there are, so that the sum is always the same.
constexpr int kSorted = 8;

template <class T>
struct PoolGradArgs {
  const T* g;
  const int64_t* places;
  T* gx;
  int64_t planes, outputs, inputs;
  int* head;  // of each input's list; below 0: none
  int* next;
};

template <class T>
__global__ void __launch_bounds__(kThreads)
    list_windows(const __grid_constant__ PoolGradArgs<T> a) {
  const int64_t count = a.planes * a.outputs, step = static_cast<int64_t>(gridDim.x) * kThreads;
  for (int64_t o = static_cast<int64_t>(blockIdx.x) * kThreads + threadIdx.x; o < count;
       o += step) {
    const int64_t plane = o / a.outputs;
    a.next[o] = atomicExch(a.head + plane * a.inputs + a.places[o],
                           static_cast<int>(o - plane * a.outputs));
  }
}

template <class T>
__global__ void __launch_bounds__(kThreads) add_windows(const __grid_constant__ PoolGradArgs<T> a) {
  constexpr int none = std::numeric_limits<int>::max();
  const int64_t count = a.planes * a.inputs, step = static_cast<int64_t>(gridDim.x) * kThreads;
  for (int64_t i = static_cast<int64_t>(blockIdx.x) * kThreads + threadIdx.x; i < count;
       i += step) {
    const int first = a.head[i];
    T sum = 0;
    if (first >= 0) {
      const int64_t at = i / a.inputs * a.outputs;
      const int* next = a.next + at;
      const T* g = a.g + at;
      int least[kSorted], more = none;
#pragma unroll
      for (int j = 0; j < kSorted; ++j) least[j] = none;
      for (int o = first; o >= 0; o = next[o]) {
        int rest = o;
#pragma unroll
        for (int j = 0; j < kSorted; ++j) {
          const int low = rest < least[j] ? rest : least[j];
          rest = rest < least[j] ? least[j] : rest;
          least[j] = low;
        }
        more = rest < more ? rest : more;
      }
#pragma unroll
      for (int j = 0; j < kSorted; ++j) {
        if (least[j] != none) sum += g[least[j]];
      }
      // Of a longer list, one after the other.
      while (more != none) {
        sum += g[more];
        int following = none;
        for (int o = first; o >= 0; o = next[o]) {
          if (o > more && o < following) following = o;
        }
        more = following;
      }
    }
    a.gx[i] = sum;
  }
}

template <class T>
void run_max_pool_grad(const Launch& l) {
  const int64_t planes = l.size[0], outputs = l.size[1], inputs = l.integer[0];
  if (outputs >= std::numeric_limits<int>::max()) return run_on_host(l);
  const Scratch lists(static_cast<size_t>(planes * (inputs + outputs)) * sizeof(int));
  PoolGradArgs<T> a{static_cast<const T*>(l.buffer[1].data),
                    static_cast<const int64_t*>(l.buffer[2].data),
                    static_cast<T*>(l.buffer[0].data),
                    planes,
                    outputs,
                    inputs,
                    lists.data<int>(),
                    nullptr};
  if (planes * inputs == 0) return;
  a.next = a.head + planes * inputs;
  check(cudaMemsetAsync(a.head, 0xff, static_cast<size_t>(planes * inputs) * sizeof(int), stream()),
        "max_pool");
  start(l, &list_windows<T>, grid_for(planes * outputs, kThreads), kThreads, 0, a);
  start(l, &add_windows<T>, grid_for(planes * inputs, kThreads), kThreads, 0, a);
}

}  // namespace

void fill_pool(KernelTable& t) {
  t.at(id(Kernel::MaxPool), DType::Int64) = &run_max_pool<int64_t>;
  t.at(id(Kernel::MaxPool), DType::Float32) = &run_max_pool<float>;
  t.at(id(Kernel::MaxPool), DType::Float64) = &run_max_pool<double>;
  t.at(id(Kernel::MaxPoolGrad), DType::Float32) = &run_max_pool_grad<float>;
  t.at(id(Kernel::MaxPoolGrad), DType::Float64) = &run_max_pool_grad<double>;
}

}  // namespace wengert::cuda
