// What vmath.h shares with code outside the ISA units: the C library functions it falls back to
// (vmath.cpp) and the loops over its functions that tests call by name.
#pragma once

#include <cstdint>

#include "core/dtype.h"

namespace wengert::cpu {

// The C library lane by lane, for what is too rare or too hard for vector code. Ordinary functions
// of a unit with base flags, so that the ISA units hold calls and no shared inline code.
void libm_sin(const float* x, float* y, int n);
void libm_sin(const double* x, double* y, int n);
void libm_cos(const float* x, float* y, int n);
void libm_cos(const double* x, double* y, int n);
void libm_erf(const double* x, double* y, int n);
void libm_pow(const double* x, const double* y, double* z, int n);

// y[i] = f(x[i]), and z[i] = pow(x[i], y[i]), for contiguous elements of one type.
using UnaryLoop = void (*)(const void* x, void* y, int64_t n);
using BinaryLoop = void (*)(const void* x, const void* y, void* z, int64_t n);

// isa_name is "v2", "avx2", "avx512" or "neon"; the answer is nullptr where the machine or the
// build lacks it, or where there is no such function.
UnaryLoop find_vmath(const char* isa_name, const char* function, DType dtype);
BinaryLoop find_vpow(const char* isa_name, DType dtype);

}  // namespace wengert::cpu
