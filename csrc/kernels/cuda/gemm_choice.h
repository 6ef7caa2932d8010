// Which kernel multiplies: all that is chosen by size stands here and in gemm_choice.cpp.
#pragma once

#include <cstdint>

#include "core/dtype.h"

namespace wengert::cuda {

// Tiles of C, by what they are called in tests (WENGERT_CUDA_GEMM). Thin ones are for products of
// few rows, or, turned, of few columns: there all time goes into reading the other matrix.
enum class GemmTile : uint8_t { Large, Medium, Small, Thin };
inline constexpr const char* kGemmTileNames[] = {"large", "medium", "small", "thin"};
inline constexpr int kNumGemmTiles = 4;

// What multiplies: the arithmetic of the dtype; or the matrix units, of bfloat16, float16, and of
// float32 rounded to TF32.
enum class GemmArithmetic : uint8_t { Own, Units };

// Chunks of k are multiples of this, and every kernel's step divides it.
inline constexpr int64_t kGemmChunkSteps = 64;
// The chunks of a product: of k and what multiplies alone, see gemm.h.
int64_t gemm_chunk(int64_t k, GemmArithmetic arithmetic);

struct GemmSize {
  int64_t m, n, k, batch;
};
struct GemmChoice {
  GemmTile tile;
  bool turned;   // C^T = B^T A^T
  bool split;    // chunks are shared out
  bool library;  // cuBLASLt is asked first
};
GemmChoice choose_gemm(const GemmSize& size, DType dtype, GemmArithmetic arithmetic);

}  // namespace wengert::cuda
