// Linear algebra through the factors of LU: determinants, inverses, systems of equations.
#include "ops/linalg.h"

#include "ops/op_table.h"
#include "ops/products.h"

namespace wengert::ops {

void check_square(const char* op, const Tensor& x) {
  if (x.dim() < 2) {
    fail(op, ": the input tensor must have at least 2 dimensions, got shape ", x.sizes());
  }
  if (x.size(x.dim() - 1) != x.size(x.dim() - 2)) {
    fail(op, ": must be batches of square matrices, but they are ", x.size(x.dim() - 2), " by ",
         x.size(x.dim() - 1), " matrices");
  }
}

Tensor identity(int64_t n, DType dtype) {
  const Tensor at = arange(n);
  return to(eq(unsqueeze(at, 1), at), dtype);
}

Tensor inverse(const Tensor&) {
  fail("TODO");
}

}  // namespace wengert::ops
