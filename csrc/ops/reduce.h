// What the reductions share: the dimensions sorted into kept and reduced, and the one launch.
#pragma once

#include "kernels/launch.h"
#include "ops/ops.h"
#include "tape/node.h"

namespace wengert {

using DimMask = unsigned;  // a bit for each reduced dimension

// A null or empty list means all dimensions.
DimMask mask_of(const char* op, const Dims* dims, int n);
Dims reduced_sizes(const Dims& sizes, DimMask mask, bool keepdim);
int64_t reduced_count(const Dims& sizes, DimMask mask);
Dims dims_of(DimMask mask);
// A result of a reduction seen with the reduced dimensions as size 1 again.
Tensor with_dims(const Tensor& reduced, const Dims& sizes, DimMask mask);
void check_not_empty(const char* op, const Tensor& x, DimMask mask);

// A number that takes on the dtype of a floating point peer.
Tensor constant(double v, const Tensor& peer);

// As a dtype that reductions have kernels for: int64, float32 or float64.
Tensor numbers(const Tensor& x);

// The launch, unrecorded; x is of such a dtype. `centres` are dense, one for each result;
// so are `values`, which a kernel of places fills as well.
Tensor reduce(KernelId kernel, const Tensor& x, DimMask mask, bool keepdim, DType out_dtype,
              double scale = 1, const Tensor* centres = nullptr, const Tensor* values = nullptr);

struct ReductionPayload {
  double number;  // a rule's own
  DimMask mask;
};
Node* record_reduction(const Rule& rule, const Tensor& x, const Tensor& out, int saved,
                       DimMask mask, double number);

}  // namespace wengert
