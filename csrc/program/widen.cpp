#include "program/widen.h"

#include <algorithm>

#include "kernels/added.h"
#include "kernels/cpu/gemm_choice.h"
#include "kernels/cpu/reduce_space.h"

namespace wengert {
namespace {

bool is_elementwise(const Launch& l) {
  return l.kernel < kNumMapKernels || is_added_map(l.kernel) || l.kernel == id(Kernel::Copy) ||
         l.kernel == id(Kernel::Fill);
}

bool is_reduction(KernelId k) {
  return kFirstReduction <= k && k < kFirstReduction + Reductions::size &&
         k != reduce_kernel<ArgMax> && k != reduce_kernel<ArgMin>;
}

bool is_of_rows(KernelId k) {
  return id(Kernel::Softmax) <= k && k <= id(Kernel::LogSoftmaxGrad);
}

// Where numbers that some instructions cannot hold decide how all products of a call are made,
// models would depend on each other.
bool is_plain_product(const Launch& l) {
  if (l.kernel != id(Kernel::Gemm) || l.ndim == kMaxDims) return false;
  if (l.dtype == DType::Float64) return true;
  return l.dtype == DType::Float32 && cpu::gemm_kernels(l.dtype).otherwise == nullptr;
}

bool all_are(std::span<const int64_t> apart, int64_t n) {
  return std::all_of(apart.begin(), apart.end(), [n](int64_t a) { return a == n; });
}

// A new first dimension, of one model.
void prepend(Launch& l, std::span<const int64_t> apart) {
  const auto shift = [&l](int64_t* from, int64_t first) {
    std::copy_backward(from, from + l.ndim, from + l.ndim + 1);
    from[0] = first;
  };
  shift(l.size, 1);
  for (int k = 0; k < l.nbuffers; ++k) {
    shift(l.buffer[k].stride, apart[static_cast<size_t>(k)]);
  }
  ++l.ndim;
  l.dense = false;
}

bool widen_elementwise(Launch& l, std::span<const int64_t> apart) {
  // Whether such an integer is one number decides what narrow kernels compute in.
  for (int k = 0; k < l.nbuffers; ++k) {
    if (l.buffer[k].dtype == DType::Int32 && l.dtype != DType::Int32) return false;
  }
  if (l.dense && all_are(apart, l.count)) return true;
  if (l.ndim == kMaxDims) return false;
  prepend(l, apart);
  return true;
}

// Results are dense, and so are centres. Dimensions that are kept come first.
bool widen_reduction(Launch& l, std::span<const int64_t> apart) {
  const int kept_dims = l.ndim - static_cast<int>(l.integer[0]);
  int64_t kept = 1, reduced = 1;
  for (int d = 0; d < l.ndim; ++d) (d < kept_dims ? kept : reduced) *= l.size[d];
  if (kept == 1 && reduced <= cpu::kShortRun) return false;
  if (apart[0] != kept || (l.nbuffers > 2 && apart[2] != kept)) return false;
  // As one with the first where it can be: drivers look for a single dimension of short rows.
  if (kept_dims > 0 && apart[1] == l.buffer[1].stride[0] * l.size[0]) return true;
  if (l.ndim == kMaxDims) return false;
  prepend(l, apart);
  return true;
}

}  // namespace

bool widen(Launch& l, std::span<const int64_t> apart) {
  if (l.count == 0) return false;
  if (is_plain_product(l)) {
    prepend(l, apart);
    return true;
  }
  if (l.ndim == 0) return false;
  if (is_elementwise(l)) return widen_elementwise(l, apart);
  if (is_reduction(l.kernel)) return widen_reduction(l, apart);
  if (is_of_rows(l.kernel)) return all_are(apart, l.count);
  return false;
}

}  // namespace wengert
