#include "kernels/cuda/gemm_kernels.h"
#include "kernels/cuda/gemm_units.h"

namespace wengert::cuda {
void multiply_tf32(const Launch& l, const GemmLaunch& g, GemmTile tile) {
  multiply_by_units<Tf32>(l, g, tile);
}
}  // namespace wengert::cuda
