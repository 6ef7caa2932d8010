#include "kernels/cuda/gemm_kernels.h"
#include "kernels/cuda/gemm_units.h"

namespace wengert::cuda {
void multiply_half(const Launch& l, const GemmLaunch& g, GemmTile tile) {
  if (l.dtype == DType::BFloat16) return multiply_by_units<BFloat16>(l, g, tile);
  multiply_by_units<Float16>(l, g, tile);
}
}  // namespace wengert::cuda
