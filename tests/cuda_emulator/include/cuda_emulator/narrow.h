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
struct alignas(4) narrow2 {
  narrow<Format> x, y;

  friend narrow2 operator+(narrow2 a, narrow2 b) { return {a.x + b.x, a.y + b.y}; }
  friend narrow2 operator-(narrow2 a, narrow2 b) { return {a.x - b.x, a.y - b.y}; }
  friend narrow2 operator*(narrow2 a, narrow2 b) { return {a.x * b.x, a.y * b.y}; }
  friend narrow2 operator/(narrow2 a, narrow2 b) { return {a.x / b.x, a.y / b.y}; }
  friend narrow2 operator-(narrow2 a) { return {-a.x, -a.y}; }
};

template <class Format>
narrow<Format> narrow_of_bits(uint16_t bits) {
  narrow<Format> value;
  value.bits = bits;
  return value;
}

}  // namespace cuda_emulator

// One and two numbers, for both types.
template <class F>
cuda_emulator::narrow<F> __hadd(cuda_emulator::narrow<F> a, cuda_emulator::narrow<F> b) {
  return a + b;
}
template <class F>
cuda_emulator::narrow<F> __hsub(cuda_emulator::narrow<F> a, cuda_emulator::narrow<F> b) {
  return a - b;
}
template <class F>
cuda_emulator::narrow<F> __hmul(cuda_emulator::narrow<F> a, cuda_emulator::narrow<F> b) {
  return a * b;
}
template <class F>
cuda_emulator::narrow<F> __hdiv(cuda_emulator::narrow<F> a, cuda_emulator::narrow<F> b) {
  return a / b;
}
template <class F>
cuda_emulator::narrow<F> __hneg(cuda_emulator::narrow<F> a) {
  return -a;
}
template <class F>
cuda_emulator::narrow<F> __habs(cuda_emulator::narrow<F> a) {
  a.bits &= 0x7fff;
  return a;
}
template <class F>
cuda_emulator::narrow<F> __hfma(cuda_emulator::narrow<F> a, cuda_emulator::narrow<F> b,
                                cuda_emulator::narrow<F> c) {
  return std::fma(double{float{a}}, double{float{b}}, double{float{c}});
}
template <class F>
bool __hisnan(cuda_emulator::narrow<F> a) {
  return float{a} != float{a};
}
template <class F>
int __hisinf(cuda_emulator::narrow<F> a) {
  return std::isinf(float{a}) ? (float{a} < 0 ? -1 : 1) : 0;
}
template <class F>
cuda_emulator::narrow<F> __hmax(cuda_emulator::narrow<F> a, cuda_emulator::narrow<F> b) {
  return std::fmax(float{a}, float{b});
}
template <class F>
cuda_emulator::narrow<F> __hmin(cuda_emulator::narrow<F> a, cuda_emulator::narrow<F> b) {
  return std::fmin(float{a}, float{b});
}
template <class F>
bool __heq(cuda_emulator::narrow<F> a, cuda_emulator::narrow<F> b) {
  return a == b;
}
template <class F>
bool __hlt(cuda_emulator::narrow<F> a, cuda_emulator::narrow<F> b) {
  return a < b;
}
template <class F>
bool __hgt(cuda_emulator::narrow<F> a, cuda_emulator::narrow<F> b) {
  return a > b;
}
template <class F>
cuda_emulator::narrow<F> hsqrt(cuda_emulator::narrow<F> a) {
  return std::sqrt(float{a});
}
template <class F>
cuda_emulator::narrow<F> hexp(cuda_emulator::narrow<F> a) {
  return std::exp(float{a});
}
template <class F>
cuda_emulator::narrow<F> hlog(cuda_emulator::narrow<F> a) {
  return std::log(float{a});
}

template <class F>
cuda_emulator::narrow2<F> __hadd2(cuda_emulator::narrow2<F> a, cuda_emulator::narrow2<F> b) {
  return a + b;
}
template <class F>
cuda_emulator::narrow2<F> __hsub2(cuda_emulator::narrow2<F> a, cuda_emulator::narrow2<F> b) {
  return a - b;
}
template <class F>
cuda_emulator::narrow2<F> __hmul2(cuda_emulator::narrow2<F> a, cuda_emulator::narrow2<F> b) {
  return a * b;
}
template <class F>
cuda_emulator::narrow2<F> __hfma2(cuda_emulator::narrow2<F> a, cuda_emulator::narrow2<F> b,
                                  cuda_emulator::narrow2<F> c) {
  return {__hfma(a.x, b.x, c.x), __hfma(a.y, b.y, c.y)};
}
template <class F>
cuda_emulator::narrow2<F> __hmax2(cuda_emulator::narrow2<F> a, cuda_emulator::narrow2<F> b) {
  return {__hmax(a.x, b.x), __hmax(a.y, b.y)};
}
template <class F>
cuda_emulator::narrow2<F> __hmin2(cuda_emulator::narrow2<F> a, cuda_emulator::narrow2<F> b) {
  return {__hmin(a.x, b.x), __hmin(a.y, b.y)};
}
template <class F>
float __low2float(cuda_emulator::narrow2<F> a) {
  return a.x;
}
template <class F>
float __high2float(cuda_emulator::narrow2<F> a) {
  return a.y;
}

template <class F>
cuda_emulator::narrow<F> atomicAdd(cuda_emulator::narrow<F>* p,
                                   std::type_identity_t<cuda_emulator::narrow<F>> v) {
  const auto old = *p;
  *p = old + v;
  return old;
}
template <class F>
cuda_emulator::narrow2<F> atomicAdd(cuda_emulator::narrow2<F>* p,
                                    std::type_identity_t<cuda_emulator::narrow2<F>> v) {
  const auto old = *p;
  *p = old + v;
  return old;
}
