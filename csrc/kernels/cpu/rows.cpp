// Drivers of the row kernels: softmax and cross-entropy.
#include <algorithm>

#include "kernels/cpu/cpu.h"
#include "kernels/cpu/parallel.h"

namespace wengert::cpu {
namespace {

constexpr int64_t kGrain = 8192;  // elements a thread must get; exp is some ten times an addition

template <class Body>
void over_rows(const Launch& l, Body&& body) {
  const int64_t rows = l.size[0], cols = l.size[1];
  if (rows == 0 || cols == 0) return;
  parallel_for(rows, std::max<int64_t>(1, kGrain / cols), [&](int64_t b, int64_t e) {
    body(b * cols * static_cast<int64_t>(item_size(l.dtype)), e - b, cols);
  });
}

template <class T = char>
T* data(const Launch& l, int k, int64_t bytes = 0) {
  return reinterpret_cast<T*>(static_cast<char*>(l.buffer[k].data) + bytes);
}

enum class Reduction { None, Mean, Sum };

CrossEntropyRows rows_of(const Launch& l, int x, int target) {
  return {l.buffer[x].data, data<int64_t>(l, target), l.size[1], l.integer[0]};
}

}  // namespace

void run_softmax(const Launch& l) {
  const auto fn = isa().softmax[static_cast<int>(l.dtype)].forward;
  over_rows(l, [&](int64_t at, int64_t rows, int64_t cols) {
    fn(data(l, 1, at), data(l, 0, at), rows, cols, l.kernel == id(Kernel::LogSoftmax));
  });
}

void run_softmax_grad(const Launch& l) {
  const auto fn = isa().softmax[static_cast<int>(l.dtype)].backward;
  over_rows(l, [&](int64_t at, int64_t rows, int64_t cols) {
    fn(data(l, 1, at), data(l, 2, at), data(l, 0, at), rows, cols,
       l.kernel == id(Kernel::LogSoftmaxGrad));
  });
}

void run_cross_entropy(const Launch& l) {
  const auto fn = isa().cross_entropy[static_cast<int>(l.dtype)].forward;
  const CrossEntropyRows r = rows_of(l, 3, 4);
  const int64_t rows = l.size[0];
  const auto reduction = static_cast<Reduction>(l.integer[1]);
  const auto item = static_cast<int64_t>(item_size(l.dtype));
  // Without a reduction the losses go where they belong; else to the scratch behind the
  // log-sum-exps, which the operation allocates twice as long as the rows.
  void* losses = reduction == Reduction::None ? l.buffer[0].data : data(l, 1, rows * item);
  parallel_for(rows, std::max<int64_t>(1, kGrain / std::max<int64_t>(1, r.cols)),
               [&](int64_t b, int64_t e) { fn(r, b, e, losses, l.buffer[1].data); });
  int64_t counted = 0;
  for (int64_t i = 0; i < rows; ++i) counted += r.target[i] != r.ignore_index;
  visit_compute(l.dtype, [&]<class T>() {
    if constexpr (std::is_floating_point_v<T>) {
      *data<T>(l, 2) = static_cast<T>(counted);
      if (reduction == Reduction::None) return;
      T total = 0;
      isa().reduce[index_of<Sum, Reductions>][static_cast<int>(l.dtype)].row(losses, rows, nullptr,
                                                                             &total);
      *data<T>(l, 0) = reduction == Reduction::Mean ? total / static_cast<T>(counted) : total;
    }
  });
}

void run_cross_entropy_grad(const Launch& l) {
  const auto fn = isa().cross_entropy[static_cast<int>(l.dtype)].backward;
  const CrossEntropyRows r = rows_of(l, 2, 3);
  const auto reduction = static_cast<Reduction>(l.integer[1]);
  double factor = 1;
  visit_compute(l.dtype, [&]<class T>() {
    if constexpr (std::is_floating_point_v<T>) {
      if (reduction == Reduction::Mean) factor = 1.0 / static_cast<double>(*data<T>(l, 5));
    }
  });
  parallel_for(l.size[0], std::max<int64_t>(1, kGrain / std::max<int64_t>(1, r.cols)),
               [&](int64_t b, int64_t e) {
                 fn(r, b, e, l.buffer[4].data, l.buffer[1].data,
                    reduction == Reduction::None ? 1 : 0, factor, l.buffer[0].data);
               });
}

}  // namespace wengert::cpu
