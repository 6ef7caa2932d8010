// Every inner loop for this instruction set; its compiler flags stand in CMakeLists.txt.
#define WENGERT_ISA v2
#define WENGERT_VEC_BYTES 16
#include "kernels/cpu/isa_body.h"
