// The body of every isa_*.cpp: all inner loops, instantiated in the namespace WENGERT_ISA with that
// file's compiler flags, and the function that fills the ISA's table with them.
#pragma once

#include "kernels/cpu/attention_isa.h"
#include "kernels/cpu/conv_isa.h"
#include "kernels/cpu/copy_isa.h"
#include "kernels/cpu/count_isa.h"
#include "kernels/cpu/cpu.h"
#include "kernels/cpu/finite_isa.h"
#include "kernels/cpu/gemm_isa.h"
#include "kernels/cpu/list_isa.h"
#include "kernels/cpu/map_isa.h"
#include "kernels/cpu/narrow_isa.h"
#include "kernels/cpu/norm_isa.h"
#include "kernels/cpu/optim_isa.h"
#include "kernels/cpu/peak_isa.h"
#include "kernels/cpu/pick_isa.h"
#include "kernels/cpu/places_isa.h"
#include "kernels/cpu/pool_isa.h"
#include "kernels/cpu/random_isa.h"
#include "kernels/cpu/reduce_isa.h"
#include "kernels/cpu/row_isa.h"
#include "kernels/cpu/sort_isa.h"
#include "kernels/cpu/vec.h"
#include "kernels/cpu/vmath_table_isa.h"

namespace wengert::WENGERT_ISA {

void fill(cpu::CpuIsa& isa) {
  fill_map(isa.map, isa.map_past, MapFunctors{});
  fill_cast(isa.cast, DTypes{});
  fill_narrow(isa);
  fill_reduce<int64_t>(isa, Reductions{});
  fill_reduce<float>(isa, Reductions{});
  fill_reduce<double>(isa, Reductions{});
  fill_places<int64_t>(isa);
  fill_places<float>(isa);
  fill_places<double>(isa);
  fill_rows<float>(isa);
  fill_rows<double>(isa);
  fill_norms<float>(isa);
  fill_norms<double>(isa);
  fill_attention<float>(isa);
  fill_attention<double>(isa);
  fill_random<float>(isa);
  fill_random<double>(isa);
  isa.sort_columns = &sort_columns;
  isa.integers = &integer_fill;
  fill_optim(isa);
  fill_lists(isa);
  isa.gemm[static_cast<int>(DType::Float32)] = gemm_isa<float>();
  isa.gemm[static_cast<int>(DType::Float64)] = gemm_isa<double>();
  const cpu::GemmIsa& wide = isa.gemm[static_cast<int>(DType::Float32)];
  isa.gemm[static_cast<int>(DType::Float16)] = widening_gemm_isa<Float16>(wide);
  isa.gemm[static_cast<int>(DType::BFloat16)] = widening_gemm_isa<BFloat16>(wide);
  fill_copy(isa);
  isa.conv[static_cast<int>(DType::Float32)] = conv_isa<float>();
  isa.conv[static_cast<int>(DType::Float64)] = conv_isa<double>();
  fill_pick(isa);
  fill_pool(isa);
  fill_count(isa);
  fill_finite(isa);
  fill_peak(isa);
  isa.vmath = &vmath_loop;
}

}  // namespace wengert::WENGERT_ISA
