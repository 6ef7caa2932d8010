// Error, gamma and related functions.
#pragma once

#include "kernels/cpu/vmath_basic.h"

namespace wengert::WENGERT_ISA {

template <class T>
WENGERT_INLINE Vec<T> erfc(Vec<T> x) {
  return lanes(cpu::Libm::Erfc, x);
}

template <class T>
WENGERT_INLINE Vec<T> lgamma(Vec<T> x) {
  return lanes(cpu::Libm::Lgamma, x);
}

template <class T>
WENGERT_INLINE Vec<T> digamma(Vec<T> x) {
  return lanes(cpu::Libm::Digamma, x);
}

template <class T>
WENGERT_INLINE Vec<T> polygamma(Vec<T> n, Vec<T> x) {
  return lanes(cpu::Libm2::Polygamma, n, x);
}

template <class T>
WENGERT_INLINE Vec<T> erfinv(Vec<T> x) {
  return lanes(cpu::Libm::Erfinv, x);
}

}  // namespace wengert::WENGERT_ISA
