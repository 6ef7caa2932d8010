// What is left to do on sums that are in memory: they are added, in the order of their chunks, and
// get a bias and an activation, any that elementwise kernels have.
#include "kernels/cuda/gemm_activation.h"
#include "kernels/cuda/gemm_kernels.h"

namespace wengert::cuda {
namespace {

constexpr int kAcross = 32, kDown = 8;

struct FinishArgs {
  GemmLaunch gemm;
  int chunks;
};

// Any dtype by the one that it is summed in; threads stand along rows.
template <class S>
__global__ void __launch_bounds__(kAcross* kDown) finish(const __grid_constant__ FinishArgs a) {
  const GemmLaunch& g = a.gemm;
  const DType dtype = g.dtype;
  const int64_t rows = g.batch_count * g.m;
  const int64_t across = static_cast<int64_t>(gridDim.x) * kAcross;
  for (int64_t i = static_cast<int64_t>(blockIdx.y) * kDown + threadIdx.y; i < rows;
       i += static_cast<int64_t>(gridDim.y) * kDown) {
    const int64_t matrix = i / g.m, row = i - matrix * g.m;
    int64_t at[4];
    g.batch.offsets(matrix, at);
    const S* sums =
        static_cast<const S*>(g.sums.data) + matrix * g.sums.batch_stride + row * g.sums.row_stride;
    for (int64_t j = static_cast<int64_t>(blockIdx.x) * kAcross + threadIdx.x; j < g.n;
         j += across) {
      const int64_t place = at[0] + row * g.c_row + j * g.c_column;
      S x[1][1] = {{S{}}};
      S& v = x[0][0];
      bool empty = !g.accumulate;
      if (g.accumulate) v = read_element<S>(g.c, dtype, place);
      for (int q = 0; q < a.chunks; ++q) {
        const S next = sums[q * g.sums.chunk_stride + j * g.sums.column_stride];
        v = empty ? next : plus(v, next);
        empty = false;
      }
      if (g.bias) v = plus(v, read_element<S>(g.bias, dtype, at[3] + j));
      S out[1] = {v};
      if constexpr (std::is_floating_point_v<S>) {
        constexpr double none[4] = {};
        if (g.activation >= 0) {
          dispatch<0, MapFunctors::size, false>(g.activation, 0, none, x, out);
        }
      }
      write_element<S>(g.c, dtype, place, out[0]);
    }
  }
}

template <class S>
void start_finish(const Launch& l, const GemmLaunch& g, int chunks) {
  const int64_t rows = g.batch_count * g.m;
  const unsigned x = grid_for(g.n, kAcross);
  const auto y = static_cast<unsigned>(std::min<int64_t>(
      {ceil_div(rows, kDown), int64_t{grid_for(rows * g.n, kAcross * kDown)}, 65535}));
  start(l, &finish<S>, dim3(x, y), dim3(kAcross, kDown), 0, FinishArgs{g, chunks});
}

}  // namespace

bool has_activation(DType dtype, GemmArithmetic arithmetic, GemmTile tile, int functor) {
  if (arithmetic == GemmArithmetic::Own && tile == GemmTile::Large) return ReluOnly::has(functor);
  return is_floating(dtype) && CommonOnly::has(functor);
}

void finish_gemm(const Launch& l, const GemmLaunch& g, int chunks) {
  if (g.dtype == DType::Float64) return start_finish<double>(l, g, chunks);
  if (g.dtype == DType::Int64) return start_finish<int64_t>(l, g, chunks);
  start_finish<float>(l, g, chunks);
}

}  // namespace wengert::cuda
