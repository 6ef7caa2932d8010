// Products of bfloat16 by vdpbf16ps, twice the multiply-adds of float32; its compiler flags stand
// in CMakeLists.txt.
#define WENGERT_ISA avx512bf16
#define WENGERT_VEC_BYTES 64
#include "kernels/cpu/gemm_pairs_isa.h"

namespace wengert::WENGERT_ISA {

// Measured on one Zen 4 core beside oneDNN, n = 1024 and 256 x 1024 x 1024: a long kc keeps sums of
// bfloat16 results in registers; with nc_in_place the packed block (512 KiB) stays in L2, 4% at the
// second size. The rest is as for float32.
void fill(cpu::GemmUnits& units) {
  cpu::GemmIsa isa = pairs_gemm_isa();
  isa.mr = 14;
  isa.mc = 168;
  isa.kc = 2048;
  isa.nc = 2048;
  isa.nc_in_place = 512;
  fill_gemm_kernels<Pair, 14, 2, 2>(isa);
  fill_gemm_units<false>(units, isa, 256);
}

}  // namespace wengert::WENGERT_ISA
