// What the vector math headers share with code outside the ISA units: the scalar functions they
// fall back to (vmath.cpp) and the loops over their functions that tests call by name.
#pragma once

#include <cstdint>

#include "core/dtype.h"

namespace wengert::cpu {

// The C library, and the special functions it lacks (special.h), lane by lane, for what is too rare
// or too hard for vector code. Ordinary functions of a unit with base flags, so that the ISA units
// hold calls and no shared inline code.
enum class Libm : uint8_t { Sin, Cos, Tan, Erf, Lgamma, Digamma, Erfinv };
enum class Libm2 : uint8_t { Pow, Fmod, Polygamma };
void libm(Libm f, const float* x, float* y, int n);
void libm(Libm f, const double* x, double* y, int n);
void libm(Libm2 f, const float* x, const float* y, float* z, int n);
void libm(Libm2 f, const double* x, const double* y, double* z, int n);

// y[i] = f(x[i]), and z[i] = f(x[i], y[i]), for contiguous elements of one type.
using UnaryLoop = void (*)(const void* x, void* y, int64_t n);
using BinaryLoop = void (*)(const void* x, const void* y, void* z, int64_t n);

// isa_name is "v2", "avx2", "avx512" or "neon"; the answer is nullptr where the machine or the
// build lacks it, or where there is no such function.
UnaryLoop find_vmath(const char* isa_name, const char* function, DType dtype);
BinaryLoop find_vmath2(const char* isa_name, const char* function, DType dtype);

}  // namespace wengert::cpu
