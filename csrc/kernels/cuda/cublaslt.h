// Matrix products by NVIDIA's cuBLASLt, where it is found when first wanted: in the loader's path,
// or in site-packages as pip lays it there. Nothing is linked with it, and where it is not the own
// kernels multiply. WENGERT_CUBLAS: 0 for never, a file or its directory, or 1 for what is usual.
#pragma once

#include "kernels/cuda/gemm.h"

namespace wengert::cuda {

// C = (C if it accumulates) + A B + bias. Strides as in GemmParams; the batch's operands: C, A, B.
struct LibraryProduct {
  DType dtype, result;  // of A and B, of C and the bias
  int64_t m, n, k;
  const void *a, *b;
  int64_t a_rs, a_cs, b_rs, b_cs;
  void* c;
  int64_t c_rs;
  const void* bias;  // or null; the same for all of the batch
  bool accumulate, tf32;
  GemmBatch batch;
};

// Whether the library multiplies; false where there is none, or where it cannot: then nothing has
// been launched.
bool multiply_by_library(const Launch& l, const LibraryProduct& p);

}  // namespace wengert::cuda
