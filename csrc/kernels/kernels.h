// The table of slots: kernel x dtype, one table per back end. An absent kernel is an empty slot.
#pragma once

#include <array>
#include <cstdint>

#include "core/dtype.h"
#include "kernels/reductions.h"

namespace wengert {

struct Launch;
using KernelFn = void (*)(const Launch&);
using KernelId = uint16_t;

// Elementwise kernels: four ids a functor, the forward and the gradient by each operand.
inline constexpr int kIdsPerFunctor = 4;
inline constexpr KernelId kNumMapKernels = kIdsPerFunctor * MapFunctors::size;
template <class F>
inline constexpr KernelId map_kernel = kIdsPerFunctor * index_of<F, MapFunctors>;
template <class F, int I>
inline constexpr KernelId grad_kernel = map_kernel<F> + 1 + I;

// Reductions: an id each. Buffers: dense output, source, and dense centres if
// the reduction has them; of places (int64), the values there may come second. Sizes: kept
// dimensions, then integer[0] reduced ones; more_numbers[0] scales the result.
inline constexpr KernelId kFirstReduction = kNumMapKernels;
template <class R>
inline constexpr KernelId reduce_kernel = kFirstReduction + index_of<R, Reductions>;

// All others; traces call them by these names. The comment says what a launch of it holds beyond
// buffer 0, the output.
enum class Kernel : KernelId {
  Copy = kFirstReduction + Reductions::size,  // source of any dtype
  Transfer,                                   // source of the same dtype on another device, dense
  Fill,                                       // number[0] (integer[0] for int64)
  Gemm,              // A, B, optional bias; sizes: batch dimensions; GemmParams behind `pointer`
  Dot,               // x, y: vectors of any strides
  Softmax,           // x; size: rows, columns; all dense
  LogSoftmax,        // x
  SoftmaxGrad,       // g, y
  LogSoftmaxGrad,    // g, y
  CrossEntropy,      // loss[rows], lse[rows]; x, target (int64); integer[0] is ignore_index
  CrossEntropyGrad,  // gx; g[rows] (stride 0 or 1), x, target, lse; number[1] scales
  // Normalization of dense rows. Sizes: rows, columns; number[0]: eps; integer[1], integer[2]: with
  // weight, with bias; more[0]: rows that follow each other with weights of their own; more[1]:
  // columns to a weight. Statistics: a row's mean and 1 / deviation.
  LayerNorm,      // y, statistics; x, weight, bias
  RmsNorm,        // the same about 0
  LayerNormGrad,  // gx, gw, gb; g, x, statistics, weight; integer[2]: gw and gb are wanted
  RmsNormGrad,
  // The same of dense columns. Sizes: outer, channels, inner. Statistics: the channels' means, then
  // 1 / deviations, then variances.
  BatchNorm,
  BatchNormGrad,
  Embedding,      // rows of weight; weight, index (int64); sizes: indices, columns; all dense
  EmbeddingGrad,  // gw; g, index, factors of its rows; sizes as before; integer[0]: rows of gw,
                  // integer[1]: the row that gets nothing, integer[2]: with factors
  // softmax(scale q k^T + mask) v. Sizes: batch, heads, queries, keys. Strides: of batch, head and
  // row (mask: and column); rows of q, k, v and g are dense. number[0]: scale, number[1]: of
  // dropout; more[0], [1]: seed and counter; more[2], [3]: columns of q and v; more[4]: query heads
  // to a key's; more[5]: causal; more[6]: with mask.
  Attention,      // y, log-sum-exps; q, k, v, mask
  AttentionGrad,  // gq, gk, gv; g, q, k, v, y, log-sum-exps, mask
  Gather,         // source, offsets (int64, in elements): each element of the space is
                  // source[offset]; all strided
  Scatter,        // source, offsets: the element of buffer 0 at the offset becomes source's, in
                  // order; buffer 0 has stride 0 in the dimensions that the offsets stand for;
                  // integer[1] is above every offset
  ScatterReduce,  // the same, combined by the Reduction integer[0]
  IndexOffsets,   // bounds[2]; index: adds index * integer[1] to offsets, or sets them if
                  // integer[2] is 0; indices below 0 count from the size integer[0];
                  // bounds become the least and the greatest index
  NonzeroCount,   // source, dense: how many elements before each block are not zero, and in all
  Nonzero,        // source, those counts: the coordinates of elements that are not zero, in the
                  // launch's sizes
  AllFinite,      // one bool; source of any floating dtype, dense
  Isin,           // x, set, all dense; integer[0]: elements of the set; integer[1]: inverts
  Bounds,         // two int64: the least and the greatest; source (int64, dense)
  Bincount,       // int64 counts, zero before; places (int64, dense)
  CountNonzero,   // int64 counts; source of any dtype. Dimensions as of reductions
  // Scans. Sizes: outer, n, inner, all dense; integer[0]: from the end. Buffers: output, source.
  Cumsum,
  Cumprod,
  Logcumsumexp,
  Cummax,  // values, int64 places; source
  Cummin,
  Recurrence,     // h[k] = a[k] h[k - 1] + b[k]: h; a, b
  Sort,           // values, int64 places; source. Sizes: rows, n; integer[0]: descending
  Topk,           // as Sort, dense rows of integer[1] results; integer[2]: sorted
  Select,         // values, places, one a row; source; integer[0]: which of sorted, or as below
  Searchsorted,   // int64 places; sequence, values, int64 sorter if any. Sizes: rows, n, values a
                  // row; integer[0]: right; integer[1]: one sequence for all rows
  Arange,         // number[0] + i * number[1] (integers for int64)
  Linspace,       // number[0], number[1]: the first and the last (of integers: rounded to zero)
  Uniform,        // Philox: more[0] seed, more[1] counter, more[2] bits of float32 (at most 24);
                  // number[0], number[1]: low, high
  Normal,         // number[0], number[1]: mean, standard deviation
  LogNormal,      // as Normal, of the logarithm
  Exponential,    // number[0]: rate
  Geometric,      // number[0]: log(1 - p)
  Cauchy,         // number[0], number[1]: median, scale
  Bernoulli,      // number[0]: p < 1
  Randint,        // integer[0], integer[1]: low, high (equal: all of int64)
  Shuffle,        // int64 places 0 to n - 1; draws of all of int64 from 0 (int64, dense)
  Dropout,        // x; number[0], number[1]: p < 1, scale of what is kept
  Poisson,        // rates
  Multinomial,    // weights, draws (both float64, dense); sizes: rows, samples; integer[0]:
                  // categories, integer[1]: with replacement
  OptimizerStep,  // OptimizerLaunch behind `pointer`
  // Of many tensors at once: TensorList behind `pointer`.
  ManyNorm,   // float64 or float32: the norm of all elements, of order more_numbers[0] (1, 2, inf)
  ManyClip,   // in place: buffer 0 is read, a norm (float32, float64) that more_numbers[0] limits
  ManyLimit,  // in place: to between more_numbers[0] and [1]
  ManyUnscale,  // in place: divided by a scale (float32, buffer 1); buffer 0 (float32) becomes 1 if
                // an element is not finite, and else stays
  UpdateScale,  // a loss scale (float32), steps since it grew (int32); what ManyUnscale found.
                // more_numbers: factors of growth and of backing off, steps until it grows
  // Optimizer states in bytes: codes (uint8), greatest magnitude of each kStateBlock elements
  // (float32); x. Dequantize: x; codes, magnitudes. integer[0]: with signs.
  Quantize,
  Dequantize,
  // Linear algebra; sizes: batch, rows, columns; all dense. Buffer 0 is changed in place.
  Lu,  // A; row order, the first zero pivot from 1 (both int64); det, its sign, log of its absolute
  Cholesky,         // A; the first minor that is not positive definite from 1 (int64)
  SolveTriangular,  // X, sizes of X; A; integer[0]: upper, integer[1]: unit diagonal
  Qr,               // A, becomes R; Q of integer[0] columns
  Eigh,             // A, becomes the eigenvectors; eigenvalues
  Svd,              // A transposed, is lost; U^T of integer[0] rows, values, V^T
  // Convolutions: ConvParams behind `pointer`, all dense.
  Conv,            // x, w, optional bias
  ConvGradInput,   // g, w, optional bias: also a transposed convolution
  ConvGradWeight,  // g, x
  MaxPool,         // values, int64 places in the plane; x; PoolParams behind `pointer`
  MaxPoolGrad,     // g, places; sizes: planes, places in g's plane; integer[0]: elements of gx's
  Count
};
// Ranks of Select that depend on the row.
inline constexpr int64_t kSelectMedian = -1, kSelectNanMedian = -2, kSelectMode = -3;

inline constexpr int kNumKernels = static_cast<int>(Kernel::Count);
constexpr KernelId id(Kernel k) {
  return static_cast<KernelId>(k);
}

// How ScatterReduce combines what meets.
enum class Reduction : int64_t { Sum, Product, AMax, AMin };
inline constexpr int64_t kNonzeroBlock = 8192;  // elements to a block of NonzeroCount

struct KernelTable {
  std::array<std::array<KernelFn, kNumDTypes>, kNumKernels> slot{};
  KernelFn& at(KernelId k, DType d) { return slot[k][static_cast<int>(d)]; }
  KernelFn at(KernelId k, DType d) const { return slot[k][static_cast<int>(d)]; }
};

// What a matrix product needs beyond its buffers. Strides are in elements; the batch's are in the
// launch. The result is row-major.
struct GemmParams {
  int64_t m, n, k;
  int64_t a_rs, a_cs, b_rs, b_cs, c_rs;
  bool accumulate;      // C += A B
  bool has_bias;        // buffer 3: n values added to every row
  bool has_activation;  // applied last
  KernelId activation;  // a one-operand elementwise kernel
};

// y = x * w over three dimensions; fewer are preceded by ones of size 1. Where the output asks for
// more than input and padding give, zeros follow.
struct ConvParams {
  int64_t batch, groups;
  int64_t in_channels, out_channels;  // of one group
  int64_t input[3], output[3];
  int64_t kernel[3], stride[3], padding[3], dilation[3];
  bool has_bias;

  int64_t taps() const { return kernel[0] * kernel[1] * kernel[2]; }
  int64_t input_size() const { return input[0] * input[1] * input[2]; }
  int64_t output_size() const { return output[0] * output[1] * output[2]; }
  double macs() const {  // multiplications, those with padding included
    return static_cast<double>(batch * groups * in_channels) *
           static_cast<double>(out_channels * taps()) * static_cast<double>(output_size());
  }
};

// Windows of `planes` planes. Adaptive ones share the input out evenly.
struct PoolParams {
  int64_t planes;
  int64_t input[3], output[3];
  int64_t kernel[3], stride[3], padding[3], dilation[3];
  bool adaptive;

  int64_t input_size() const { return input[0] * input[1] * input[2]; }
  int64_t output_size() const { return output[0] * output[1] * output[2]; }
};

// One optimizer step over a list of parameters. Formulas stand with the kernel.
enum class OptimizerRule : uint8_t { SGD, RMSprop, Adagrad, Adam };
inline constexpr int kMaxOptimizerStates = 3;
// As what they are computed in, or narrower.
enum class StateFormat : uint8_t { Computed, BFloat16, Bytes };
inline constexpr int kNumStateFormats = 3;
inline constexpr int64_t kStateBlock = 256;  // elements that share a scale, in bytes
struct OptimizerItem {
  void* param;
  const void* grad;
  void* state[kMaxOptimizerStates];
  float* peaks[kMaxOptimizerStates];  // of bytes: the greatest magnitude of each block
  int64_t count;
  int64_t step;  // 1 at the first call
  float* steps;  // where that is counted; on a device with a ticket of the kernel's behind it
  StateFormat format;
};
class SettingsSource;  // ops/optim.h
struct OptimizerLaunch {
  OptimizerRule rule;
  const OptimizerItem* items;
  int64_t num_items;
  double lr, weight_decay, eps;
  double momentum, dampening;  // SGD, RMSprop
  double alpha;                // RMSprop
  double lr_decay;             // Adagrad
  double beta1, beta2;         // Adam
  bool nesterov, decoupled, amsgrad, centered, maximize;
  // What gradients are multiplied by as they are read: the kernel's, from their norm (of float32 or
  // float64) if there is one, which max_norm limits.
  double grad_scale = 1;
  const void* norm;
  DType norm_dtype;
  double max_norm;
  const float* found_inf;        // where that is not 0, there is no step; null: there always is one
  const SettingsSource* source;  // where the settings come from, if somebody keeps the launch

  bool skipped() const { return found_inf && *found_inf != 0; }
};

// Dense tensors of float32, float64 or bfloat16, side by side.
struct ListedTensor {
  void* data;
  int64_t count;
  DType dtype;
};
struct TensorList {
  const ListedTensor* items;
  int64_t num_items;
};

}  // namespace wengert
