// Convolutions: what an instruction set offers for them (ConvIsa), as data. The kernels are in
// conv_isa.h, the drivers in conv.cpp and conv_weight.cpp, what these share in conv_plan.h.
//
// There is no matrix of patches. The input is staged: copied, with the zeros of its padding, so
// that where the outputs of a tap lie one after the other, what they read does, too. Then every
// output q is a sum over taps k of weight[k] * staged[q + offset[k]], and the loops below are those
// of a matrix product whose second operand is read at an offset for each k.
#pragma once

#include <cstdint>

#include "core/dtype.h"

namespace wengert::cpu {

// C[rows, vectors] (+)= A[k, rows]^T B, where row p of B begins at b + offsets[p]. Whole vectors
// are read and written. Rows and vectors are in the choice of the kernel.
struct ConvTile {
  int64_t k;
  const void* a;
  const void* b;
  const int64_t* offsets;
  void* c;
  int64_t c_rs;
  bool add;  // to what C holds
};
using ConvTileFn = void (*)(const ConvTile& tile);

// sums[i * sums_rs + j] += the sum over q of g[i * g_rs + q] * x[offsets[j] + q], where q goes over
// `runs` runs of n elements, whole vectors, that begin `step` apart.
struct ConvSums {
  int64_t n, runs, step;
  const void* g;
  int64_t g_rs;
  const void* x;
  const int64_t* offsets;
  void* sums;
  int64_t sums_rs;
};
using ConvSumsFn = void (*)(const ConvSums& s);

// Rows of n elements to rows of n elements. Steps are between elements of a row.
struct RowCopy {
  const void* from;
  int64_t from_row, from_step;
  void* to;
  int64_t to_row, to_step;
  int64_t rows, n;
};

inline constexpr int kConvMaxRows = 13, kConvMaxVecs = 6;
inline constexpr int kConvMaxSumRows = 6, kConvMaxSumTaps = 4;

struct ConvIsa {
  int lanes;
  int rows;                                     // of the largest tile
  int vectors[kConvMaxRows];                    // of the largest tile of so many rows (less one)
  ConvTileFn tile[kConvMaxRows][kConvMaxVecs];  // [rows - 1][vectors - 1]
  int sum_rows, sum_taps;
  ConvSumsFn sums[kConvMaxSumRows][kConvMaxSumTaps];
  void (*stage)(const RowCopy& c);                // to_step is 1
  void (*finish)(const RowCopy& c, double bias);  // from_step is 1; adds the bias
};

// The best of windows for a run of outputs, and where it is. Windows begin `step` apart.
struct PoolRow {
  const void* x;           // the first tap of the first window
  const int64_t* offsets;  // of the taps, in elements from the first
  int64_t taps;
  int64_t step, n;
  int64_t place;     // of the first tap of the first window, in its plane
  int64_t readable;  // elements from x on to the end of the tensor
  void* best;
  int64_t* places;
};
using MaxPoolRow = void (*)(const PoolRow& r);

}  // namespace wengert::cpu
