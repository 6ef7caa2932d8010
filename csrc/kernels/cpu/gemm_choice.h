// Which kernels multiply matrices of a type, and what users may ask of it.
#pragma once

#include <string_view>

#include "kernels/cpu/gemm.h"

namespace wengert::cpu {

// Instruction sets that multiply pairs of bfloat16, best first.
enum class PairUnit { Tiles, Vectors, None };
inline constexpr const char* kPairUnitNames[] = {"avx512amx", "avx512bf16", "none"};

// Whether the machine and this build have it and WENGERT_ISA lets it be used; of tiles also whether
// they have passed a test against the portable kernels, once in a process.
bool has_pair_unit(PairUnit unit);
// Of those, the best. None: bfloat16 is widened to float32 while it is packed.
PairUnit pair_unit();
const GemmUnits* find_units(PairUnit unit);
// Whether a name is one that WENGERT_ISA may have besides those of instruction sets.
bool names_pair_unit(std::string_view name);

// What may stand in for products of float32, as set_float32_matmul_precision has it: nothing of
// lower precision, three products of bfloat16 parts, one.
enum class MatmulPrecision { Highest, High, Medium };
MatmulPrecision matmul_precision();
void set_matmul_precision(MatmulPrecision precision);

// Whether the highest precision may be six products of parts, where tiles make that fast. Off until
// asked for, here or by WENGERT_SPLIT_FLOAT32=1.
bool split_float32();
void set_split_float32(bool allowed);

// So many products of parts (1, 3 or 6) for float32 wherever pairs are multiplied at all, however
// slow; 0 chooses again. For tests; also WENGERT_FLOAT32_PRODUCTS.
void force_float32_products(int products);

// The kernels in use for a floating type.
const GemmIsa& gemm_kernels(DType dtype);

}  // namespace wengert::cpu
