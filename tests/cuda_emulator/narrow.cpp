#include "cuda_emulator/narrow.h"

#include <algorithm>
#include <cmath>

namespace cuda_emulator {

namespace {

// To nearest, ties to even, onto a grid of `mantissa` bits; below the normal numbers the grid
// stays as wide as at `least`.
double rounded(double value, int mantissa, int least) {
  const int exponent = std::max(std::ilogb(value), least);
  return std::ldexp(std::nearbyint(std::ldexp(value, mantissa - exponent)), exponent - mantissa);
}

}  // namespace

uint16_t half_format::from_float(float value) {
  const uint32_t bits = std::bit_cast<uint32_t>(value);
  const uint16_t sign = static_cast<uint16_t>(bits >> 16 & 0x8000);
  const uint32_t size = bits & 0x7fffffff;
  if (size > 0x7f800000) return 0x7fff;                                 // the device's NaN
  if (size >= 0x477ff000) return static_cast<uint16_t>(sign | 0x7c00);  // rounds to infinity
  if (size < 0x38800000) {  // subnormal: adding a half makes the processor round it
    const float shifted = std::bit_cast<float>(size) + 0.5f;
    return static_cast<uint16_t>(sign | (std::bit_cast<uint32_t>(shifted) - 0x3f000000));
  }
  const uint32_t odd = size >> 13 & 1;
  return static_cast<uint16_t>(sign | ((size - 0x38000000 + 0xfff + odd) >> 13));
}

float half_format::to_float(uint16_t bits) {
  const uint32_t sign = static_cast<uint32_t>(bits & 0x8000) << 16, size = bits & 0x7fffu;
  if (size >= 0x7c00) return std::bit_cast<float>(sign | 0x7f800000 | (size & 0x3ff) << 13);
  const float magnitude = size < 0x400 ? static_cast<float>(size) * 0x1p-24f
                                       : std::bit_cast<float>((size << 13) + 0x38000000);
  return std::bit_cast<float>(std::bit_cast<uint32_t>(magnitude) | sign);
}

uint16_t half_format::from_double(double value) {
  if (value == 0 || !std::isfinite(value)) return from_float(static_cast<float>(value));
  return from_float(static_cast<float>(rounded(value, 10, -14)));
}

uint16_t bfloat16_format::from_double(double value) {
  if (value == 0 || !std::isfinite(value)) return from_float(static_cast<float>(value));
  return from_float(static_cast<float>(rounded(value, 7, -126)));
}

}  // namespace cuda_emulator
