// What the files of matrix products share: the checks of operands, the product with an addend, and
// contractions of tensors whose dimensions carry labels.
#pragma once

#include "ops/ops.h"

namespace wengert::ops {

// Throws unless the operands have one dtype and one device.
void check_operands(const char* op, const Tensor& a, const Tensor& b);
// What products are given to kernels in: integers as int64, floating types as they are.
DType gemm_dtype(DType d);

// start + A B in one pass, where start broadcasts to the result and A and B are matrices, or equal
// batches of them, of a dtype that products are computed in. All sizes have been checked.
Tensor matmul_add(const Tensor& start, const Tensor& a, const Tensor& b);

// x with an added factor, times(x, 1) being x itself.
Tensor times(const Tensor& x, const Number& factor);

// --- contractions: labels are small integers, one a dimension, none twice in an operand ----------

struct Labelled {
  Tensor tensor;
  Dims labels;
};
using LabelSet = uint64_t;
inline constexpr int kMaxLabels = 64;
LabelSet label_set(const Dims& labels);

// Without the dimensions of size 1, which neither sums nor matches need.
Labelled without_ones(const Labelled& x);
// Summed over the dimensions that are not in `keep`.
Labelled sum_out(const Labelled& x, LabelSet keep);
// The product of both, summed over the labels that are not in `keep`; one batched matrix product.
// Sizes of equal labels match.
Labelled contract(const char* op, const Labelled& a, const Labelled& b, LabelSet keep);
// The tensor with its dimensions in this order; labels that it lacks become dimensions of size 1.
Tensor arrange(const Labelled& x, const Dims& labels);

}  // namespace wengert::ops
