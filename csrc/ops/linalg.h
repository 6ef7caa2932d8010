// What the files of linear algebra share. Matrices are the last two dimensions of their tensors.
#pragma once

#include "kernels/launch.h"
#include "ops/ops.h"

namespace wengert::ops {

// Throw unless x is a matrix of float32 or float64, or a batch of them; or a square one.
void check_matrix(const char* op, const Tensor& x);
void check_square(const char* op, const Tensor& x);

// The sizes before the last two.
Dims batch_of(const Tensor& x);
Dims matrix_sizes(const Dims& batch, int64_t rows, int64_t cols);
// A dense copy without history, for a kernel to change.
Tensor own_copy(const Tensor& x);
// Runs a kernel over `batch` matrices; nothing where they are empty.
void run_linalg(Kernel kernel, std::initializer_list<const Tensor*> operands, const Dims& batch,
                int64_t rows, int64_t cols, int64_t option = 0, int64_t second_option = 0);

Tensor transposed(const Tensor& x);  // of each matrix
Tensor negative(const Tensor& x);
Tensor as_column(const Tensor& x);  // of numbers: (...) to (..., 1, 1)
// The identity matrix; and 1 below the diagonal, `on_diagonal` on it, 0 above.
Tensor identity(int64_t n, DType dtype);
Tensor lower_weights(int64_t n, double on_diagonal, DType dtype);

Tensor inverse(const Tensor& x);
Tensor solve_triangular(const Tensor& a, const Tensor& b, bool upper, bool unit = false);
struct Svd {
  Tensor u, s, vh;
};
Svd svd_parts(const Tensor& x, bool full);

}  // namespace wengert::ops
