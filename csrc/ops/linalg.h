// What the files of linear algebra share. Matrices are the last two dimensions of their tensors.
#pragma once

#include "ops/ops.h"

namespace wengert::ops {

// Throws unless x is a square matrix or a batch of them.
void check_square(const char* op, const Tensor& x);
// The identity matrix.
Tensor identity(int64_t n, DType dtype);
Tensor inverse(const Tensor& x);

}  // namespace wengert::ops
