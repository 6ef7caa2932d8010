// The loops behind find_vmath and find_vpow for one ISA. Included once by each ISA's translation
// unit, after vec.h; the tables over ISAs are elsewhere.
#pragma once

#include "kernels/cpu/vmath_all.h"

namespace wengert::WENGERT_ISA {

// Whole vectors, then the rest as one vector of which a part counts.
template <class T, class F>
void unary_vmath_loop(const void* x, void* y, int64_t n) {
  constexpr F f{};
  constexpr int N = Vec<T>::N;
  const T* in = static_cast<const T*>(x);
  T* out = static_cast<T*>(y);
  int64_t i = 0;
  for (; i + N <= n; i += N) f(Vec<T>::load(in + i)).store(out + i);
  if (const int rest = static_cast<int>(n - i); rest > 0) {
    f(Vec<T>::load(in + i, rest)).store(out + i, rest);
  }
}
template <class T, class F>
void binary_vmath_loop(const void* x, const void* y, void* z, int64_t n) {
  constexpr F f{};
  constexpr int N = Vec<T>::N;
  const T* a = static_cast<const T*>(x);
  const T* b = static_cast<const T*>(y);
  T* out = static_cast<T*>(z);
  int64_t i = 0;
  for (; i + N <= n; i += N) f(Vec<T>::load(a + i), Vec<T>::load(b + i)).store(out + i);
  if (const int rest = static_cast<int>(n - i); rest > 0) {
    f(Vec<T>::load(a + i, rest), Vec<T>::load(b + i, rest)).store(out + i, rest);
  }
}

struct VmathRow {
  const char* name;
  void* loop;
};
template <class T, class F>
VmathRow vmath_row(const char* name, F) {
  if constexpr (requires(F f, Vec<T> x) { f(x); }) {
    return {name, reinterpret_cast<void*>(&unary_vmath_loop<T, F>)};
  } else {
    return {name, reinterpret_cast<void*>(&binary_vmath_loop<T, F>)};
  }
}

template <class T>
void* find_vmath_loop(const char* function) {
  using V = Vec<T>;
  const VmathRow rows[] = {
      vmath_row<T>("exp", [](V x) __attribute__((always_inline)) { return exp(x); }),
      vmath_row<T>("exp2", [](V x) __attribute__((always_inline)) { return exp2(x); }),
      vmath_row<T>("expm1", [](V x) __attribute__((always_inline)) { return expm1(x); }),
      vmath_row<T>("log", [](V x) __attribute__((always_inline)) { return log(x); }),
      vmath_row<T>("log1p", [](V x) __attribute__((always_inline)) { return log1p(x); }),
      vmath_row<T>("log2", [](V x) __attribute__((always_inline)) { return log2(x); }),
      vmath_row<T>("log10", [](V x) __attribute__((always_inline)) { return log10(x); }),
      vmath_row<T>("rsqrt", [](V x) __attribute__((always_inline)) { return rsqrt(x); }),
      vmath_row<T>("sin", [](V x) __attribute__((always_inline)) { return sin(x); }),
      vmath_row<T>("cos", [](V x) __attribute__((always_inline)) { return cos(x); }),
      vmath_row<T>("tan", [](V x) __attribute__((always_inline)) { return tan(x); }),
      vmath_row<T>("asin", [](V x) __attribute__((always_inline)) { return asin(x); }),
      vmath_row<T>("acos", [](V x) __attribute__((always_inline)) { return acos(x); }),
      vmath_row<T>("atan", [](V x) __attribute__((always_inline)) { return atan(x); }),
      vmath_row<T>("sinh", [](V x) __attribute__((always_inline)) { return sinh(x); }),
      vmath_row<T>("cosh", [](V x) __attribute__((always_inline)) { return cosh(x); }),
      vmath_row<T>("tanh", [](V x) __attribute__((always_inline)) { return tanh(x); }),
      vmath_row<T>("asinh", [](V x) __attribute__((always_inline)) { return asinh(x); }),
      vmath_row<T>("acosh", [](V x) __attribute__((always_inline)) { return acosh(x); }),
      vmath_row<T>("atanh", [](V x) __attribute__((always_inline)) { return atanh(x); }),
      vmath_row<T>("sigmoid", [](V x) __attribute__((always_inline)) { return sigmoid(x); }),
      vmath_row<T>("silu", [](V x) __attribute__((always_inline)) { return silu(x); }),
      vmath_row<T>("softplus", [](V x) __attribute__((always_inline)) { return softplus(x); }),
      vmath_row<T>("logsigmoid", [](V x) __attribute__((always_inline)) { return logsigmoid(x); }),
      vmath_row<T>("mish", [](V x) __attribute__((always_inline)) { return mish(x); }),
      vmath_row<T>("gelu", [](V x) __attribute__((always_inline)) { return gelu(x); }),
      vmath_row<T>("erf", [](V x) __attribute__((always_inline)) { return erf(x); }),
      vmath_row<T>("erfc", [](V x) __attribute__((always_inline)) { return erfc(x); }),
      vmath_row<T>("erfinv", [](V x) __attribute__((always_inline)) { return erfinv(x); }),
      vmath_row<T>("lgamma", [](V x) __attribute__((always_inline)) { return lgamma(x); }),
      vmath_row<T>("digamma", [](V x) __attribute__((always_inline)) { return digamma(x); }),
      vmath_row<T>("floor", [](V x) __attribute__((always_inline)) { return floor(x); }),
      vmath_row<T>("ceil", [](V x) __attribute__((always_inline)) { return ceil(x); }),
      vmath_row<T>("trunc", [](V x) __attribute__((always_inline)) { return trunc(x); }),
      vmath_row<T>("round", [](V x) __attribute__((always_inline)) { return round(x); }),
      vmath_row<T>("isfinite", [](V x) __attribute__((
                                   always_inline)) { return select(isfinite(x), V(1.0), V(0.0)); }),
      vmath_row<T>("isinf", [](V x) __attribute__((
                                always_inline)) { return select(isinf(x), V(1.0), V(0.0)); }),
      vmath_row<T>("pow", [](V x, V y) __attribute__((always_inline)) { return pow(x, y); }),
      vmath_row<T>("atan2", [](V x, V y) __attribute__((always_inline)) { return atan2(x, y); }),
      vmath_row<T>("fmod", [](V x, V y) __attribute__((always_inline)) { return fmod(x, y); }),
      vmath_row<T>("hypot", [](V x, V y) __attribute__((always_inline)) { return hypot(x, y); }),
      vmath_row<T>("copysign",
                   [](V x, V y) __attribute__((always_inline)) { return copysign(x, y); }),
      vmath_row<T>("nextafter",
                   [](V x, V y) __attribute__((always_inline)) { return nextafter(x, y); }),
  };
  for (const VmathRow& row : rows) {
    if (__builtin_strcmp(row.name, function) == 0) return row.loop;
  }
  return nullptr;
}

// The UnaryLoop or BinaryLoop of a function; nullptr for other names and types.
void* vmath_loop(const char* function, DType dtype) {
  if (dtype == DType::Float32) return find_vmath_loop<float>(function);
  return dtype == DType::Float64 ? find_vmath_loop<double>(function) : nullptr;
}

}  // namespace wengert::WENGERT_ISA
