#include "kernels/cuda/gemm_kernels.h"
#include "kernels/cuda/gemm_tiles.h"

namespace wengert::cuda {
// Integer products are rare; two sizes serve.
void multiply_int64(const Launch& l, const GemmLaunch& g, GemmTile tile) {
  if (tile == GemmTile::Large || tile == GemmTile::Medium) {
    return start_tiles<TileShape<int64_t, 64, 64, 16, 4, 4, 2>>(l, g);
  }
  start_tiles<TileShape<int64_t, 32, 32, 16, 2, 4, 2>>(l, g);
}
}  // namespace wengert::cuda
