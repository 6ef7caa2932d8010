// Exponential and hyperbolic functions.
#pragma once

#include "kernels/cpu/vmath_basic.h"

namespace wengert::WENGERT_ISA {

template <class T>
WENGERT_INLINE Vec<T> exp2(Vec<T> x) {
  return lanes(cpu::Libm::Exp2, x);
}

template <class T>
WENGERT_INLINE Vec<T> sinh(Vec<T> x) {
  return lanes(cpu::Libm::Sinh, x);
}

template <class T>
WENGERT_INLINE Vec<T> cosh(Vec<T> x) {
  return lanes(cpu::Libm::Cosh, x);
}

}  // namespace wengert::WENGERT_ISA
