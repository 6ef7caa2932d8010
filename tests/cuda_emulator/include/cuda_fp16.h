#pragma once

#include "cuda_emulator/narrow.h"

using __half = cuda_emulator::narrow<cuda_emulator::half_format>;
using half = __half;

inline __half __float2half(float x) {
  return x;
}
inline __half __float2half_rn(float x) {
  return x;
}
inline __half __double2half(double x) {
  return x;
}
inline float __half2float(__half x) {
  return x;
}
inline unsigned short __half_as_ushort(__half x) {
  return x.bits;
}
inline __half __ushort_as_half(unsigned short bits) {
  return cuda_emulator::narrow_of_bits<cuda_emulator::half_format>(bits);
}
