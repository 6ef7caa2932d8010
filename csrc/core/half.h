// The 16-bit floating point types. They are stored and converted; arithmetic is done in float.
#pragma once

#include <bit>
#include <cstdint>
#include <type_traits>

namespace wengert {

// The upper half of a float.
struct BFloat16 {
  uint16_t bits = 0;
  constexpr BFloat16() = default;
  template <class T>
    requires std::is_arithmetic_v<T>
  constexpr explicit BFloat16(T v) : bits(round(static_cast<float>(v))) {}
  template <class T>
    requires std::is_arithmetic_v<T>
  constexpr explicit operator T() const {
    return static_cast<T>(std::bit_cast<float>(uint32_t{bits} << 16));
  }

 private:
  // to nearest, ties to even; NaN stays NaN
  static constexpr uint16_t round(float v) {
    const auto u = std::bit_cast<uint32_t>(v);
    const uint32_t rounded = (u + 0x7fffu + (u >> 16 & 1u)) >> 16;
    return static_cast<uint16_t>(v != v ? 0x7fc0u | (u >> 16 & 0x8000u) : rounded);
  }
};

// IEEE 754 binary16.
struct Float16 {
  uint16_t bits = 0;
  constexpr Float16() = default;
  template <class T>
    requires std::is_arithmetic_v<T>
  constexpr explicit Float16(T v) : bits(round(static_cast<float>(v))) {}
  template <class T>
    requires std::is_arithmetic_v<T>
  constexpr explicit operator T() const {
    return static_cast<T>(widen(bits));
  }

 private:
  // Without branches, so that loops over it become vector code. Multiplying by a power of two moves
  // between the exponents' biases and normalises subnormal numbers on the way.
  static constexpr float widen(uint16_t h) {
    const uint32_t sign = (h & 0x8000u) << 16, rest = (h & 0x7fffu) << 13;
    const float scaled = std::bit_cast<float>(rest) * 0x1p112f;
    const uint32_t special = rest >= 0x0f800000u ? 0x7f800000u : 0u;  // infinity and NaN
    return std::bit_cast<float>(std::bit_cast<uint32_t>(scaled) | special | sign);
  }
  static constexpr uint16_t round(float v) {
    const auto u = std::bit_cast<uint32_t>(v);
    const uint32_t sign = u >> 16 & 0x8000u, rest = u & 0x7fffffffu;
    // normal numbers: move the bias, round to nearest even by adding just under half
    const uint32_t normal = (rest - 0x38000000u + 0xfffu + (rest >> 13 & 1u)) >> 13;
    // subnormal numbers: adding 0.5 leaves the rounded bits at the bottom of the fraction
    const uint32_t small = std::bit_cast<uint32_t>(std::bit_cast<float>(rest) + 0.5f) - 0x3f000000u;
    const uint32_t finite = rest < 0x38800000u ? small : normal;
    const uint32_t large = rest > 0x7f800000u ? 0x7e00u : 0x7c00u;
    return static_cast<uint16_t>(sign | (rest >= 0x477ff000u ? large : finite));
  }
};

}  // namespace wengert
