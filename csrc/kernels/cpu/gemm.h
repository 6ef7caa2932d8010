// Matrix products: what is asked for (GemmArgs, GemmBatch), what multiplies (GemmIsa: kernels and
// block sizes, as data), the one driver (gemm) and a naive reference. Plain data only; the kernels
// are in gemm_isa.h, gemm_pairs_isa.h and gemm_tiles.h, the driver in gemm.cpp, the choice between
// them in gemm_choice.cpp.
//
// A kernel multiplies units: elements of the matrices, or pairs of bfloat16 that lie behind one
// another in k. What is not made of units is turned into them while it is packed: bfloat16 is
// paired, or widened to float32; float32 is rounded to bfloat16, or split into several.
//
// The order of each element's sum is fixed by k and GemmIsa::kc alone: k is cut into
// ceil(k / kc) blocks of equal size (gemm_k_block); within a block fma goes upwards in k from zero;
// the blocks' sums are added in order. Every path, tile shape, batch and number of threads keeps to
// it, so a row of a product has the same bits whatever other rows are computed with it. Of pairs
// the order is the instruction's, and one row or column alone is summed as float32 is.
#pragma once

#include <cstdint>

#include "core/dtype.h"

namespace wengert::cpu {

// An elementwise loop over contiguous arrays: ptr[0] is the output, ptr[1..] the operands.
using MapFn = void (*)(char* const* ptr, int64_t n, const double* params);

// C[m, n] = activation((accumulate ? C : 0) + A[m, k] B[k, n] + bias). Strides count elements;
// those of A and B may be anything that is not negative, 0 included; C is row-major. C overlaps
// nothing.
struct GemmArgs {
  int64_t m = 0, n = 0, k = 0;
  const void* a = nullptr;
  int64_t a_rs = 0, a_cs = 1;
  const void* b = nullptr;
  int64_t b_rs = 0, b_cs = 1;
  void* c = nullptr;
  int64_t c_rs = 0;
  bool accumulate = false;
  bool wide = false;           // C and bias have the type of the sums where A's is narrower
  const void* bias = nullptr;  // n values, added to each row after the sum; or null
  MapFn activation = nullptr;  // applied to finished rows, of the type of the sums; or null
  const double* activation_params = nullptr;
};

// Where each product of a batch starts, in elements from GemmArgs' pointers. A null table means
// equal steps: product i starts at i * step (0: the same matrix for all).
struct GemmBatch {
  int64_t count = 1;
  int64_t a_step = 0, b_step = 0, c_step = 0, bias_step = 0;
  const int64_t* a_offsets = nullptr;
  const int64_t* b_offsets = nullptr;
  const int64_t* c_offsets = nullptr;
};

// One tile of C for a micro-kernel: C[rows, cols] (+)= A[rows, k] B[k, cols]. k and the strides of
// A and B count units. B's rows are contiguous and, but where GemmIsa::reads_parts, readable up to
// whole vectors. The number of rows is in the choice of the kernel, too.
struct GemmTile {
  int64_t k;
  const void* a;
  int64_t a_rs, a_cs;
  const void* b;
  int64_t b_rs;
  void* c;
  int64_t c_rs;
  int64_t rows, cols;
  bool add;          // to what C holds
  bool narrow;       // C and bias are bfloat16, not float32
  const void* bias;  // cols values, or null
  // Of operands in several parts: how many products, and from one part to the next.
  int products;
  int64_t a_part, b_part;
};
using GemmMicroFn = void (*)(const GemmTile& tile);

// The magnitudes that were split, as bits: what decides whether the parts hold all of them.
struct GemmRange {
  uint32_t least = 0xffffffffu;  // of those not zero, less one
  uint32_t most = 0;             // infinities and NaN are greater than all numbers
};

// Copies `lanes` (<= width) strided lanes of k elements each, as `steps` units, to
// dst[step * width + lane], or to dst[lane * steps + step] for kernels that want A so; lanes
// beyond, and steps, are zero up to width and `steps`. With contiguous elements it may write up to
// a vector beyond the end of dst. Further parts follow at distances of part_step units.
struct GemmPack {
  const void* src;
  int64_t lane_stride, step_stride;
  int64_t lanes, width, k;
  void* dst;
  int64_t steps = 0;
  int64_t row_step = 0;
  int64_t part_step = 0;
  GemmRange* range = nullptr;
};
using GemmPackFn = void (*)(const GemmPack& pack);

// sums[lane] = the product of each of `lanes` lanes with the vector x, in blocks of k_block steps.
// One of the matrix's strides is 1.
using GemmVectorFn = void (*)(const void* src, int64_t lane_stride, int64_t step_stride,
                              int64_t lanes, const void* x, int64_t x_stride, int64_t k,
                              int64_t k_block, void* sums);

inline constexpr int kGemmMaxRows = 32;
inline constexpr int kGemmMaxVecs = 3;

struct GemmIsa {
  DType dtype;       // of A and B
  DType sum;         // float32 or float64
  bool fused;        // whether fma rounds once
  bool reads_parts;  // whether tiles read no more of B's rows than their columns
  int unit;          // bytes of a unit
  int group = 1;     // elements of k in a unit
  int multiple = 1;  // of which packed k is one, in units
  int parts = 1, products = 1;
  bool a_by_rows = false;      // packed A: a row's units are next to each other
  bool whole_tiles = false;    // panels of A are always mr rows, zero beyond the last
  bool writes_narrow = false;  // kernels can write bfloat16
  int lanes;                   // sums in a vector
  int mr, nv;                  // largest tile: mr rows by nv vectors
  int64_t mc, kc, nc;
  int64_t nc_in_place;  // nc where A is read in place: smaller blocks of B cost no packing of A
  GemmPackFn pack_a, pack_b;
  GemmVectorFn vector;
  GemmMicroFn row;  // one row by any number of columns, of which it reads no more; or null
  // Around a thread's use of the kernels; or null.
  void (*begin)() = nullptr;
  void (*end)() = nullptr;
  // Of numbers that parts cannot hold (infinities, NaN, very large and very small ones).
  const GemmIsa* otherwise = nullptr;
  // [rows - 1][vectors - 1]: for tiles of A whose rows are next to each other (packed, or A^T) ...
  GemmMicroFn unit_rows[kGemmMaxRows][kGemmMaxVecs];
  // ... and for any other strides.
  GemmMicroFn any_rows[kGemmMaxRows][kGemmMaxVecs];
};

// What an instruction set that multiplies pairs of bfloat16 offers.
struct GemmUnits {
  GemmIsa bfloat16;
  GemmIsa float32[3];  // by 1, 3 and 6 products of its parts
};

// The kernels of an instruction set, "v2", "avx2", "avx512" or "neon"; null if this machine or this
// build lacks it, or for a dtype that is not floating. Defined beside the table of kernels.
const GemmIsa* find_gemm(const char* isa_name, DType dtype);

// Every product of the batch. Allocates nothing once its thread's buffers have grown; never throws.
void gemm(const GemmIsa& isa, const GemmArgs& args, const GemmBatch& batch = {});

// The same for one product of few multiply-adds, without the driver's plans, or of few columns,
// turned; false if it is neither.
bool gemm_small(const GemmIsa& isa, const GemmArgs& args);

// The length of the blocks that k is cut into.
constexpr int64_t gemm_k_block(int64_t k, int64_t kc) {
  const int64_t blocks = (k + kc - 1) / kc;
  return blocks < 2 ? k : (k + blocks - 1) / blocks;
}

// The same of a whole number of packed units.
int64_t gemm_k_block(const GemmIsa& isa, int64_t k);

// The definition, one element at a time, bit for bit what gemm(isa, args) computes.
template <class T>
void gemm_reference(const GemmIsa& isa, const GemmArgs& args);
extern template void gemm_reference<float>(const GemmIsa&, const GemmArgs&);
extern template void gemm_reference<double>(const GemmIsa&, const GemmArgs&);

}  // namespace wengert::cpu
