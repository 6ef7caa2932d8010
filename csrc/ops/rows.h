// How the kernels that work by row are launched.
#pragma once

#include "kernels/kernels.h"
#include "kernels/launch.h"

namespace wengert::ops {

// All operands dense, seen as rows of the first one's last dimension.
void describe_rows(Launch& l, KernelId kernel, const Tensor* const* operands, int n, int64_t rows,
                   int64_t cols);

}  // namespace wengert::ops
