// AMX's tile registers in plain C++, so that what is written for them runs on machines without.
#pragma once

#include "kernels/cpu/gemm.h"

namespace wengert {

// Null where what packs for tiles does not run. Defined in test_gemm_tiles.cpp.
const cpu::GemmUnits* emulated_tiles();

}  // namespace wengert
