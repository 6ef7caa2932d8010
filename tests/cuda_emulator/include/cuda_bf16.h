#pragma once

#include "cuda_emulator/narrow.h"

using __nv_bfloat16 = cuda_emulator::narrow<cuda_emulator::bfloat16_format>;

inline __nv_bfloat16 __float2bfloat16(float x) {
  return x;
}
inline __nv_bfloat16 __float2bfloat16_rn(float x) {
  return x;
}
inline __nv_bfloat16 __double2bfloat16(double x) {
  return x;
}
inline unsigned short __bfloat16_as_ushort(__nv_bfloat16 x) {
  return x.bits;
}
inline __nv_bfloat16 __ushort_as_bfloat16(unsigned short bits) {
  return cuda_emulator::narrow_of_bits<cuda_emulator::bfloat16_format>(bits);
}
