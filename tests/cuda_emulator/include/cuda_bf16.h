#pragma once

#include "cuda_emulator/narrow.h"

using __nv_bfloat16 = cuda_emulator::narrow<cuda_emulator::bfloat16_format>;
using __nv_bfloat162 = cuda_emulator::narrow2<cuda_emulator::bfloat16_format>;
using nv_bfloat16 = __nv_bfloat16;
using nv_bfloat162 = __nv_bfloat162;

inline __nv_bfloat16 __float2bfloat16(float x) {
  return x;
}
inline __nv_bfloat16 __float2bfloat16_rn(float x) {
  return x;
}
inline __nv_bfloat16 __double2bfloat16(double x) {
  return x;
}
inline __nv_bfloat16 __int2bfloat16_rn(int x) {
  return x;
}
inline float __bfloat162float(__nv_bfloat16 x) {
  return x;
}
inline int __bfloat162int_rn(__nv_bfloat16 x) {
  return static_cast<int>(std::nearbyint(float{x}));
}
inline int __bfloat162int_rz(__nv_bfloat16 x) {
  return static_cast<int>(float{x});
}
inline unsigned short __bfloat16_as_ushort(__nv_bfloat16 x) {
  return x.bits;
}
inline short __bfloat16_as_short(__nv_bfloat16 x) {
  return static_cast<short>(x.bits);
}
inline __nv_bfloat16 __ushort_as_bfloat16(unsigned short bits) {
  return cuda_emulator::narrow_of_bits<cuda_emulator::bfloat16_format>(bits);
}
inline __nv_bfloat16 __short_as_bfloat16(short bits) {
  return __ushort_as_bfloat16(static_cast<unsigned short>(bits));
}

inline __nv_bfloat162 __halves2bfloat162(__nv_bfloat16 x, __nv_bfloat16 y) {
  return {x, y};
}
inline __nv_bfloat162 make_bfloat162(__nv_bfloat16 x, __nv_bfloat16 y) {
  return {x, y};
}
inline __nv_bfloat162 __bfloat162bfloat162(__nv_bfloat16 x) {
  return {x, x};
}
inline __nv_bfloat162 __float2bfloat162_rn(float x) {
  return {x, x};
}
inline __nv_bfloat162 __floats2bfloat162_rn(float x, float y) {
  return {x, y};
}
inline __nv_bfloat162 __float22bfloat162_rn(float2 v) {
  return {v.x, v.y};
}
inline float2 __bfloat1622float2(__nv_bfloat162 v) {
  return {v.x, v.y};
}
inline __nv_bfloat16 __low2bfloat16(__nv_bfloat162 v) {
  return v.x;
}
inline __nv_bfloat16 __high2bfloat16(__nv_bfloat162 v) {
  return v.y;
}
