// Tangent and inverse trigonometric functions.
#pragma once

#include "kernels/cpu/vmath_basic.h"

namespace wengert::WENGERT_ISA {

template <class T>
WENGERT_INLINE Vec<T> tan(Vec<T> x) {
  return lanes(cpu::Libm::Tan, x);
}

template <class T>
WENGERT_INLINE Vec<T> asin(Vec<T> x) {
  return lanes(cpu::Libm::Asin, x);
}

template <class T>
WENGERT_INLINE Vec<T> acos(Vec<T> x) {
  return lanes(cpu::Libm::Acos, x);
}

template <class T>
WENGERT_INLINE Vec<T> atan(Vec<T> x) {
  return lanes(cpu::Libm::Atan, x);
}

template <class T>
WENGERT_INLINE Vec<T> atan2(Vec<T> y, Vec<T> x) {
  return lanes(cpu::Libm2::Atan2, y, x);
}

}  // namespace wengert::WENGERT_ISA
