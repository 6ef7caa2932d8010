// What one instruction set offers (CpuIsa, filled by its isa_*.cpp), which one is in use, and the
// CPU's table of slots. The slots are drivers, compiled once, that cut work into pieces; the inner
// loops they call are the ISA's.
#pragma once

#include <string_view>

#include "kernels/cpu/conv.h"
#include "kernels/cpu/gemm.h"
#include "kernels/cpu/peak.h"
#include "kernels/kernels.h"
#include "kernels/launch.h"

namespace wengert::cpu {

constexpr int reduction_index(KernelId k) {
  return k - kFirstReduction;
}

// `centre` is null, or holds what lift() takes besides: one for a row, n for n columns.
using ReduceRow = void (*)(const void* x, int64_t n, const void* centre, void* out);
using ReduceColumns = void (*)(const void* x, int64_t rows, int64_t row_stride, int64_t n,
                               const void* centre, void* out);
struct ReduceLoops {
  ReduceRow row;
  ReduceColumns columns;  // null where only whole rows will do
  ReduceRow join_row;     // of partial results
  ReduceColumns join_columns;
  // of 2, 4, 8, 16 dense elements each, one behind the other; null where elements are lifted
  void (*short_rows[4])(const void* x, int64_t rows, void* out);
};

// Extremes with their places, of rows and columns of at least one element; values may not be null.
struct PlacesLoops {
  void (*row)(const void* x, int64_t n, void* value, int64_t* place);
  void (*columns)(const void* x, int64_t rows, int64_t row_stride, int64_t n, void* values,
                  int64_t* places);
  // the first element that comes before `than` although it stands behind it, or n
  int64_t (*next)(const void* x, int64_t n, const void* than);
  // of 2, 4, 8, 16 dense elements each
  void (*short_rows[4])(const void* x, int64_t rows, void* values, int64_t* places);
};

struct CountLoops {
  int64_t (*row)(const void* x, int64_t n);
  void (*columns)(const void* x, int64_t rows, int64_t row_stride, int64_t n, int64_t* counts);
};

struct SoftmaxLoops {
  void (*forward)(const void* x, void* y, int64_t rows, int64_t cols, bool log);
  void (*backward)(const void* g, const void* y, void* gx, int64_t rows, int64_t cols, bool log);
};

struct CrossEntropyRows {
  const void* x;
  const int64_t* target;
  int64_t cols, ignore_index;
};
struct CrossEntropyLoops {
  // losses and log-sum-exps of rows [begin, end); a target of ignore_index gives 0
  void (*forward)(const CrossEntropyRows& r, int64_t begin, int64_t end, void* loss, void* lse);
  // gx = scale[row * scale_stride] * factor * (softmax(x) - onehot)
  void (*backward)(const CrossEntropyRows& r, int64_t begin, int64_t end, const void* lse,
                   const void* scale, int64_t scale_stride, double factor, void* gx);
};

// Rows to normalize: of `columns` elements, a weight to each `inner` of them; row r has the weights
// of row r % groups. A null pointer: none.
struct NormRows {
  const void *x, *weight, *bias;
  void* statistics;
  int64_t columns, inner, groups;
  double eps;
};
struct NormLoops {
  void (*forward)(const NormRows& n, int64_t begin, int64_t end, void* y);
  // gw and gb (null: not wanted) are added to.
  void (*backward)(const NormRows& n, int64_t begin, int64_t end, const void* g, void* gx, void* gw,
                   void* gb);
};
// Channels to normalize, over `outer` runs of `inner` elements.
struct NormChannels {
  const void *x, *weight, *bias;
  void* statistics;
  int64_t outer, channels, inner;
  double eps;
};
struct BatchNormLoops {
  void (*forward)(const NormChannels& n, int64_t begin, int64_t end, void* y);
  void (*backward)(const NormChannels& n, int64_t begin, int64_t end, const void* g, void* gx,
                   void* gw, void* gb);
};

// A tile of attention: the scores of some keys (rows) by kAttentionQueries queries (columns).
inline constexpr int64_t kAttentionQueries = 64, kAttentionKeys = 64;
struct AttentionTile {
  void* scores;         // become what multiplies the values
  const void* mask;     // added to them; or null
  int64_t keys;         // rows of the tile
  int64_t first_query;  // from the tile's first key
  bool causal;          // keys after the query count for nothing
  double dropout;       // its probability; each key's words begin `word_step` after those of the
  uint64_t seed, counter, word, word_step;  // key before
};
struct AttentionLoops {
  void (*scale)(void* x, int64_t n, double factor);
  // Scores to exp(score - max); the running max and sum of each query are brought up to date, and
  // `rescale` becomes what former sums are to be multiplied by. Whether any is not 1.
  bool (*forward)(const AttentionTile& t, void* max, void* sum, void* rescale);
  // x[i] *= factor[i], rows of n
  void (*scale_rows)(void* x, int64_t rows, int64_t n, const void* factor);
  // y[i] = x[i] / sum[i]; sum becomes the log-sum-exp
  void (*finish)(const void* x, int64_t rows, int64_t n, int64_t x_step, const void* max, void* sum,
                 void* y, int64_t y_step);
  // out[i] = a[i] . b[i]
  void (*dot_rows)(const void* a, int64_t a_step, const void* b, int64_t b_step, int64_t rows,
                   int64_t n, void* out);
  // Scores to probabilities p (after dropout), products g . v to scale p (product - delta).
  void (*backward)(const AttentionTile& t, void* products, const void* log_sums, const void* delta,
                   double scale);
};

inline constexpr int kNumDistributions = 7;  // Uniform ... Bernoulli
constexpr int distribution_index(KernelId k) {
  return k - id(Kernel::Uniform);
}
struct RandomStream {
  uint64_t seed, counter;
  int bits = 24;      // of a uniform float32
  bool past = false;  // write past the caches; the array begins at a line
};
// Fill elements [begin, end) of an array; begin is a multiple of kRandomBlock.
inline constexpr int64_t kRandomBlock = 64;
using RandomLoop = void (*)(RandomStream s, int64_t begin, int64_t end, double a, double b,
                            void* out);
using DropoutLoop = void (*)(RandomStream s, int64_t begin, int64_t end, double p, double scale,
                             const void* x, void* out);

using OptimizerLoop = void (*)(const OptimizerLaunch& l, const OptimizerItem& item, int64_t begin,
                               int64_t end);
// The sum of |x|, the sum of x^2, or the greatest |x| of elements (order 1, 2 or inf).
using NormLoop = double (*)(const void* x, int64_t n);
enum class NormOrder { One, Two, Infinity };
struct ListLoops {
  NormLoop norm[3];
  void (*scale)(void* x, int64_t n, double factor);
  void (*limit)(void* x, int64_t n, double low, double high);
  bool (*unscale)(void* x, int64_t n, double factor);  // whether all were finite before
};

// dst[i * dst_row + j] = src[j * src_row + i] of items of some size; strides in items
using TurnLoop = void (*)(const void* src, int64_t src_row, void* dst, int64_t dst_row,
                          int64_t rows, int64_t columns, bool past_caches);
// Copies n bytes past the caches.
using StreamLoop = void (*)(const void* from, int64_t n, void* to);
// Sorts n words of each of kSortLanes columns, which lie side by side.
inline constexpr int64_t kSortLanes = 8;
using SortColumns = void (*)(uint64_t* words, int64_t n);

// out[i] = x[i, at[i]], steps in elements
struct PickRun {
  void* out;
  const void* x;
  const int64_t* at;
  int64_t n, out_step, x_step, at_step;
};
// out[i] = (adds ? out[i] : 0) + stride * index[i], from the size where that is below 0
struct OffsetsRun {
  int64_t* out;
  const void* index;
  int64_t n, out_step, index_step;
  int64_t size, stride;
  bool adds;
};
// The least and the greatest index are brought up to date.
using OffsetsLoop = void (*)(const OffsetsRun& r, int64_t& least, int64_t& greatest);

using AllFiniteLoop = bool (*)(const void* x, int64_t n);

struct CpuIsa {
  const char* name;
  bool (*usable)();
  MapFn map[kNumMapKernels][kNumDTypes];
  // The same for results at whole lines, which are written past the caches; null for most.
  MapFn map_past[kNumMapKernels][kNumDTypes];
  MapFn cast[kNumDTypes][kNumDTypes];  // source, destination
  ReduceLoops reduce[Reductions::size][kNumDTypes];
  void (*dot[kNumDTypes])(const void* x, const void* y, int64_t n, void* out);
  PlacesLoops places[2][kNumDTypes];  // of the least, of the greatest
  CountLoops count[kNumDTypes];
  GemmIsa gemm[kNumDTypes];
  SoftmaxLoops softmax[kNumDTypes];
  CrossEntropyLoops cross_entropy[kNumDTypes];
  NormLoops norm[2][kNumDTypes];  // about the mean, about 0
  BatchNormLoops batch_norm[kNumDTypes];
  AttentionLoops attention[kNumDTypes];
  RandomLoop random[kNumDistributions][kNumDTypes];
  DropoutLoop dropout[kNumDTypes];
  void (*integers)(RandomStream s, int64_t begin, int64_t end, int64_t low, uint64_t range,
                   int64_t* out);
  OptimizerLoop optimizer[4][kNumDTypes][kNumStateFormats];
  void (*quantize[2])(const float* x, int64_t n, uint8_t* codes, float* peaks);  // [1]: signed
  void (*dequantize[2])(const uint8_t* codes, const float* peaks, int64_t n, float* x);
  ListLoops list[kNumDTypes];
  StreamLoop stream;  // null where stores cannot go past the caches
  // n times the same item of 1, 2, 4 and 8 bytes
  void (*repeat[4])(const void* item, int64_t n, void* to);
  TurnLoop turn[4];                   // of items of 1, 2, 4 and 8 bytes
  void (*pick[4])(const PickRun& r);  // of items of 1, 2, 4 and 8 bytes
  OffsetsLoop offsets[2];             // from indices of int32 and int64
  SortColumns sort_columns;
  AllFiniteLoop all_finite[kNumDTypes];
  ConvIsa conv[kNumDTypes];
  MaxPoolRow max_pool[kNumDTypes];
  void* (*vmath)(const char* function, DType);
  PeakLoops peak;
};

// The best ISA of this machine, or the one that WENGERT_ISA names.
const CpuIsa& isa();
// By name, whether in use or not; null when the machine or the build lacks it.
const CpuIsa* find_isa(const char* name);

// Whether this machine runs code for an ISA, in this build or not.
bool machine_runs(std::string_view isa_name);

const KernelTable& table();

// Drivers that more than one slot or file uses. With `widen`, operands of narrow types are
// converted to the type that they are computed in, which is what the inner loop sees.
void drive(const Launch& l, MapFn inner, const double* params, bool widen);
void run_map(const Launch& l);
void run_copy(const Launch& l);
void run_fill(const Launch& l);
void run_arange(const Launch& l);
void run_gather(const Launch& l);
void run_scatter(const Launch& l);
void run_scatter_reduce(const Launch& l);
void run_index_offsets(const Launch& l);
void run_nonzero_count(const Launch& l);
void run_nonzero(const Launch& l);
void run_all_finite(const Launch& l);
void run_isin(const Launch& l);
void run_linspace(const Launch& l);
void run_reduce(const Launch& l);
void run_count_nonzero(const Launch& l);
void run_bincount(const Launch& l);
void run_bounds(const Launch& l);
void run_dot(const Launch& l);
void run_places(const Launch& l);
void run_cumsum(const Launch& l);
void run_cumprod(const Launch& l);
void run_logcumsumexp(const Launch& l);
void run_cummax(const Launch& l);
void run_cummin(const Launch& l);
void run_recurrence(const Launch& l);
void run_sort(const Launch& l);
void run_topk(const Launch& l);
void run_select(const Launch& l);
void run_searchsorted(const Launch& l);
void run_gemm(const Launch& l);
void run_softmax(const Launch& l);
void run_softmax_grad(const Launch& l);
void run_cross_entropy(const Launch& l);
void run_cross_entropy_grad(const Launch& l);
void run_norm(const Launch& l);
void run_norm_grad(const Launch& l);
void run_batch_norm(const Launch& l);
void run_batch_norm_grad(const Launch& l);
void run_embedding(const Launch& l);
void run_embedding_grad(const Launch& l);
void run_attention(const Launch& l);
void run_attention_grad(const Launch& l);
void run_random(const Launch& l);
void run_randint(const Launch& l);
void run_shuffle(const Launch& l);
void run_dropout(const Launch& l);
void run_poisson(const Launch& l);
void run_multinomial(const Launch& l);
void run_optimizer(const Launch& l);
void run_many_norm(const Launch& l);
void run_many_clip(const Launch& l);
void run_many_limit(const Launch& l);
void run_many_unscale(const Launch& l);
void run_update_scale(const Launch& l);
void run_quantize(const Launch& l);
void run_dequantize(const Launch& l);
void run_lu(const Launch& l);
void run_cholesky(const Launch& l);
void run_solve_triangular(const Launch& l);
void run_qr(const Launch& l);
void run_eigh(const Launch& l);
void run_svd(const Launch& l);
void run_conv(const Launch& l);
void run_conv_grad_input(const Launch& l);
void run_conv_grad_weight(const Launch& l);
void run_max_pool(const Launch& l);
void run_max_pool_grad(const Launch& l);

}  // namespace wengert::cpu
