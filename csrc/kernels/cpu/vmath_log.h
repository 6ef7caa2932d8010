// Logarithms to other bases and inverse hyperbolic functions.
#pragma once

#include "kernels/cpu/vmath_basic.h"

namespace wengert::WENGERT_ISA {

template <class T>
WENGERT_INLINE Vec<T> log2(Vec<T> x) {
  return lanes(cpu::Libm::Log2, x);
}

template <class T>
WENGERT_INLINE Vec<T> log10(Vec<T> x) {
  return lanes(cpu::Libm::Log10, x);
}

template <class T>
WENGERT_INLINE Vec<T> asinh(Vec<T> x) {
  return lanes(cpu::Libm::Asinh, x);
}

template <class T>
WENGERT_INLINE Vec<T> acosh(Vec<T> x) {
  return lanes(cpu::Libm::Acosh, x);
}

template <class T>
WENGERT_INLINE Vec<T> atanh(Vec<T> x) {
  return lanes(cpu::Libm::Atanh, x);
}

}  // namespace wengert::WENGERT_ISA
