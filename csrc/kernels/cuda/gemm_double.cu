#include "kernels/cuda/gemm_kernels.h"
#include "kernels/cuda/gemm_tiles.h"

namespace wengert::cuda {
void multiply_double(const Launch& l, const GemmLaunch& g, GemmTile tile) {
  switch (tile) {
    case GemmTile::Large:
      return start_tiles<TileShape<double, 128, 64, 8, 8, 4, 2>>(l, g);
    case GemmTile::Medium:
      return start_tiles<TileShape<double, 64, 64, 16, 4, 4, 2>>(l, g);
    case GemmTile::Small:
      return start_tiles<TileShape<double, 32, 32, 16, 2, 4, 2>>(l, g);
    case GemmTile::Thin:
      return start_tiles<TileShape<double, 8, 128, 16, 2, 4, 4>>(l, g);
  }
}
}  // namespace wengert::cuda
