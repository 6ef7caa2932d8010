// Matrix products: their driver. What is multiplied, and by which kernel.
#include "kernels/cuda/gemm.h"

#include <optional>

#include "kernels/cpu/gemm_choice.h"
#include "kernels/cuda/cublaslt.h"
#include "kernels/cuda/gemm_kernels.h"
#include "kernels/cuda/slots.h"
#include "kernels/cuda/state.h"

namespace wengert::cuda {
namespace {

constexpr int64_t kMostBlocksInZ = 65535;

bool aligned(const void* p, int64_t stride, const int64_t* batch_strides, int ndim, int64_t item) {
  if (reinterpret_cast<uintptr_t>(p) % 16 != 0 || stride * item % 16 != 0) return false;
  return std::all_of(batch_strides, batch_strides + ndim,
                     [&](int64_t s) { return s * item % 16 == 0; });
}

// The strides of a dimension of one element are of no account.
GemmFactor factor(const void* data, int64_t outer, int64_t outer_stride, int64_t k,
                  int64_t k_stride, const GemmBatch& batch, int operand, int64_t item, bool units) {
  GemmFactor f{static_cast<const char*>(data), outer == 1 ? 0 : outer_stride, k == 1 ? 0 : k_stride,
               Reads::Steps};
  const auto whole = [&](int64_t stride) {
    return aligned(data, stride, batch.stride[operand], batch.ndim, item);
  };
  if (f.k_stride == 1) {
    if (units && whole(f.outer_stride)) f.reads = Reads::StepVectors;
  } else if (f.outer_stride == 1) {
    f.reads = whole(f.k_stride) ? Reads::Vectors : Reads::Lines;
  }
  return f;
}

GemmLaunch described(const Launch& l, const GemmParams& p, bool units) {
  GemmLaunch g{};
  g.dtype = l.dtype;
  g.m = p.m, g.n = p.n, g.k = p.k;
  g.batch.ndim = l.ndim;
  for (int k = 0; k < 4; ++k) {
    if (k == 3 && !p.has_bias) continue;
    std::copy_n(l.buffer[k].stride, l.ndim, g.batch.stride[k]);
  }
  std::copy_n(l.size, l.ndim, g.batch.size);
  g.batch_count = l.count;
  const auto item = static_cast<int64_t>(item_size(l.dtype));
  g.a = factor(l.buffer[1].data, p.m, p.a_rs, p.k, p.a_cs, g.batch, 1, item, units);
  g.b = factor(l.buffer[2].data, p.n, p.b_cs, p.k, p.b_rs, g.batch, 2, item, units);
  g.c = static_cast<char*>(l.buffer[0].data);
  g.c_row = p.c_rs, g.c_column = 1;
  // Integer products have no epilogue but the sum.
  if (p.has_bias && l.dtype != DType::Int64) g.bias = static_cast<const char*>(l.buffer[3].data);
  g.accumulate = p.accumulate;
  g.activation = p.has_activation && l.dtype != DType::Int64 ? p.activation / kIdsPerFunctor : -1;
  return g;
}

void turn(GemmLaunch& g) {
  std::swap(g.m, g.n);
  std::swap(g.a, g.b);
  std::swap(g.batch.stride[1], g.batch.stride[2]);
  std::swap(g.c_row, g.c_column);
  std::swap(g.sums.row_stride, g.sums.column_stride);
  g.bias_by_row = !g.bias_by_row;
}

void multiply(const Launch& l, const GemmLaunch& g, GemmArithmetic arithmetic, GemmTile tile) {
  if (l.dtype == DType::Float64) return multiply_double(l, g, tile);
  if (l.dtype == DType::Int64) return multiply_int64(l, g, tile);
  if (l.dtype != DType::Float32) return multiply_half(l, g, tile);
  if (arithmetic == GemmArithmetic::Units) return multiply_tf32(l, g, tile);
  multiply_float(l, g, tile);
}

void multiply_here(const Launch& l, GemmLaunch g, GemmArithmetic arithmetic,
                   const GemmChoice& choice) {
  const bool narrow = is_narrow(l.dtype);
  g.chunk = gemm_chunk(g.k, arithmetic);
  g.chunks = static_cast<int>(std::max<int64_t>(ceil_div(g.k, g.chunk), 1));
  g.split = choice.split && g.chunks > 1;
  // What no kernel that multiplies can do at its end is done by another: to sums, or, where
  // nothing was rounded, to C.
  const bool foreign = g.activation >= 0 && !g.split &&
                       !has_activation(l.dtype, arithmetic, choice.tile, g.activation);
  g.unfinished = foreign && narrow;
  const bool apart = g.split || g.unfinished || (narrow && g.chunks > 1);
  const size_t item = l.dtype == DType::Float64 || l.dtype == DType::Int64 ? 8 : 4;
  std::optional<Scratch> sums;
  if (apart) {
    g.sums.row_stride = g.n;
    g.sums.column_stride = 1;
    g.sums.batch_stride = g.m * g.n;
    g.sums.chunk_stride = g.batch_count * g.m * g.n;
    sums.emplace(static_cast<size_t>(g.sums.chunk_stride) *
                 static_cast<size_t>(g.split ? g.chunks : 1) * item);
    g.sums.data = sums->data();
  }
  GemmLaunch first = g;
  if (foreign && !narrow) first.activation = -1;
  if (choice.turned) turn(first);
  const int64_t most = kMostBlocksInZ / (g.split ? g.chunks : 1);
  for (int64_t at = 0; at < g.batch_count; at += most) {
    first.first = at;
    first.batch_count = std::min(most, g.batch_count - at);
    multiply(l, first, arithmetic, choice.tile);
  }
  if (g.split) {
    finish_gemm(l, g, g.chunks);
  } else if (g.unfinished) {
    g.accumulate = false;
    finish_gemm(l, g, 1);
  } else if (foreign) {
    g.bias = nullptr;
    g.accumulate = true;
    finish_gemm(l, g, 0);
  }
}

// By cuBLASLt, which adds a bias; activations are another kernel's, as are biases of float64. What
// is rounded is rounded once, so where an activation follows sums stay float32.
bool multiply_elsewhere(const Launch& l, const GemmParams& p, GemmLaunch g, bool tf32) {
  const bool after = g.activation >= 0 || (g.bias && l.dtype == DType::Float64);
  const bool apart = after && is_narrow(l.dtype);
  if (std::any_of(g.batch.stride[3], g.batch.stride[3] + l.ndim,
                  [](int64_t s) { return s != 0; })) {
    return false;
  }
  LibraryProduct product{.dtype = l.dtype,
                         .result = apart ? DType::Float32 : l.dtype,
                         .m = p.m,
                         .n = p.n,
                         .k = p.k,
                         .a = l.buffer[1].data,
                         .b = l.buffer[2].data,
                         .a_rs = p.a_rs,
                         .a_cs = p.a_cs,
                         .b_rs = p.b_rs,
                         .b_cs = p.b_cs,
                         .c = l.buffer[0].data,
                         .c_rs = p.c_rs,
                         .bias = after ? nullptr : g.bias,
                         .accumulate = p.accumulate && !apart,
                         .tf32 = tf32,
                         .batch = g.batch};
  std::optional<Scratch> sums;
  if (apart) {
    sums.emplace(static_cast<size_t>(g.batch_count * g.m * g.n) * sizeof(float));
    g.sums = {sums->data(), g.n, 1, g.m * g.n, 0};
    product.c = sums->data();
    product.c_rs = g.n;
    int64_t step = g.m * g.n;
    for (int d = l.ndim - 1; d >= 0; --d) {
      product.batch.stride[0][d] = step;
      step *= l.size[d];
    }
  }
  if (!multiply_by_library(l, product)) return false;
  if (!after) return true;
  if (!apart) g.accumulate = true;
  finish_gemm(l, g, apart ? 1 : 0);
  return true;
}

void run_gemm(const Launch& l) {
  const auto& p = *static_cast<const GemmParams*>(l.pointer);
  if (p.m == 0 || p.n == 0 || l.count == 0) return;
  const bool tf32 =
      l.dtype == DType::Float32 && cpu::matmul_precision() != cpu::MatmulPrecision::Highest;
  const auto arithmetic = is_narrow(l.dtype) || tf32 ? GemmArithmetic::Units : GemmArithmetic::Own;
  const GemmChoice choice = choose_gemm({p.m, p.n, p.k, l.count}, l.dtype, arithmetic);
  const GemmLaunch g = described(l, p, arithmetic == GemmArithmetic::Units);
  if (choice.library && multiply_elsewhere(l, p, g, tf32)) return;
  multiply_here(l, g, arithmetic, choice);
}

}  // namespace

void fill_gemm(KernelTable& t) {
  for (const DType d :
       {DType::Float32, DType::Float64, DType::Int64, DType::Float16, DType::BFloat16}) {
    t.at(id(Kernel::Gemm), d) = &run_gemm;
  }
}

}  // namespace wengert::cuda
