// Every inner loop for this instruction set; its compiler flags stand in CMakeLists.txt.
#define WENGERT_ISA avx512
#define WENGERT_VEC_BYTES 64
#include "kernels/cpu/isa_body.h"
