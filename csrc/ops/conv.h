// Convolutions as recorded operations. With T(x, w, g) = sum of g (x * w), linear in each of the
// three, they are T's derivatives by g, by x and by w; so the derivatives of each are the other
// two.
#pragma once

#include "kernels/kernels.h"
#include "ops/ops.h"

namespace wengert::ops {

// Tensors are of the shapes that the parameters say, with as many axes as the first one has.
Tensor convolve(const Tensor& x, const Tensor& w, const Tensor& bias, ConvParams p);
Tensor convolve_input(const Tensor& g, const Tensor& w, const Tensor& bias, ConvParams p);
Tensor convolve_weight(const Tensor& g, const Tensor& x, ConvParams p);

// For operations over windows: throws unless there is one value, or one for each axis.
Dims per_axis(const char* op, const char* what, const Dims& given, int axes);
// Whether x is one sample, without the dimension of the batch.
bool is_unbatched(const char* op, const Tensor& x, int axes);

}  // namespace wengert::ops
