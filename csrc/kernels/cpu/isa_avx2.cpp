// Every inner loop for this instruction set; its compiler flags stand in CMakeLists.txt.
#define WENGERT_ISA avx2
#define WENGERT_VEC_BYTES 32
#include "kernels/cpu/isa_body.h"
