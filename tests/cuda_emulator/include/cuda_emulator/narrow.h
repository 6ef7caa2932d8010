// Half and bfloat16 alike: sixteen bits that hold a number, computed with through float.
#pragma once

#include <bit>
#include <cmath>
#include <concepts>
#include <cstdint>
#include <type_traits>

#include "cuda_emulator/intrinsics.h"
#include "cuda_emulator/vector_types.h"

namespace cuda_emulator {

struct half_format {
  static uint16_t from_double(double value);
  static uint16_t from_float(float value);
  static float to_float(uint16_t bits);
};

struct bfloat16_format {
  static uint16_t from_double(double value);
  static uint16_t from_float(float value) {
    const uint32_t bits = std::bit_cast<uint32_t>(value);
    if (value != value) return 0x7fff;  // the device's NaN
    return static_cast<uint16_t>((bits + 0x7fff + (bits >> 16 & 1)) >> 16);
  }
  static float to_float(uint16_t bits) {
    return std::bit_cast<float>(static_cast<uint32_t>(bits) << 16);
  }
};

template <class Format>
struct narrow {
  uint16_t bits;

  narrow() = default;
  // NOLINTBEGIN(google-explicit-constructor): CUDA's types convert from and to numbers by
  // themselves.
  narrow(float value) : bits(Format::from_float(value)) {}
  narrow(double value) : bits(Format::from_double(value)) {}
  template <std::integral T>
  narrow(T value) : bits(Format::from_double(static_cast<double>(value))) {}
  operator float() const { return Format::to_float(bits); }
  // NOLINTEND(google-explicit-constructor)

  friend narrow operator+(narrow a, narrow b) { return float{a} + float{b}; }
  friend narrow operator-(narrow a, narrow b) { return float{a} - float{b}; }
  friend narrow operator*(narrow a, narrow b) { return float{a} * float{b}; }
  friend narrow operator/(narrow a, narrow b) { return float{a} / float{b}; }
  friend narrow operator+(narrow a) { return a; }
  friend narrow operator-(narrow a) {
    a.bits ^= 0x8000;
    return a;
  }
  friend narrow& operator+=(narrow& a, narrow b) { return a = a + b; }
  friend narrow& operator-=(narrow& a, narrow b) { return a = a - b; }
  friend narrow& operator*=(narrow& a, narrow b) { return a = a * b; }
  friend narrow& operator/=(narrow& a, narrow b) { return a = a / b; }
  friend bool operator==(narrow a, narrow b) { return float{a} == float{b}; }
  friend bool operator!=(narrow a, narrow b) { return float{a} != float{b}; }
  friend bool operator<(narrow a, narrow b) { return float{a} < float{b}; }
  friend bool operator>(narrow a, narrow b) { return float{a} > float{b}; }
  friend bool operator<=(narrow a, narrow b) { return float{a} <= float{b}; }
  friend bool operator>=(narrow a, narrow b) { return float{a} >= float{b}; }
};

template <class Format>
narrow<Format> narrow_of_bits(uint16_t bits) {
  narrow<Format> value;
  value.bits = bits;
  return value;
}

}  // namespace cuda_emulator
