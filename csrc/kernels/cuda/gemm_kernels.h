// The kernels for matrix products, as their driver (gemm.cpp) calls them.
#pragma once

#include "kernels/cuda/gemm.h"
#include "kernels/cuda/gemm_choice.h"

namespace wengert::cuda {

void multiply_float(const Launch& l, const GemmLaunch& g, GemmTile tile);
void multiply_double(const Launch& l, const GemmLaunch& g, GemmTile tile);
void multiply_int64(const Launch& l, const GemmLaunch& g, GemmTile tile);
void multiply_half(const Launch& l, const GemmLaunch& g, GemmTile tile);  // bfloat16, float16
void multiply_tf32(const Launch& l, const GemmLaunch& g, GemmTile tile);

// Whether the kernels themselves apply an activation, a functor's place in MapFunctors.
bool has_activation(DType dtype, GemmArithmetic arithmetic, GemmTile tile, int functor);

// C = activation((C if it accumulates) + the sums of `chunks` chunks + bias), elementwise: what is
// left to do where chunks were shared out, or the activation is not a common one. Not turned.
void finish_gemm(const Launch& l, const GemmLaunch& g, int chunks);

}  // namespace wengert::cuda
