// Scans for the rules of other operations.
#pragma once

#include "ops/ops.h"

namespace wengert {

// Sums and products along dim of all elements up to each, or with `reverse` from each on. Floating
// dtypes and int64.
Tensor running_sum(const Tensor& x, int dim, bool reverse);
Tensor running_product(const Tensor& x, int dim, bool reverse);
// The product of all other elements along dim, whatever zeros there are.
Tensor product_of_others(const Tensor& x, int dim);

}  // namespace wengert
