// The loops behind find_vmath and find_vpow for one ISA. Included once by each ISA's translation
// unit, after vec.h; the tables over ISAs are elsewhere.
#pragma once

#include "kernels/cpu/vmath.h"

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
template <class T>
void pow_vmath_loop(const void* x, const void* y, void* z, int64_t n) {
  constexpr int N = Vec<T>::N;
  const T* a = static_cast<const T*>(x);
  const T* b = static_cast<const T*>(y);
  T* out = static_cast<T*>(z);
  int64_t i = 0;
  for (; i + N <= n; i += N) pow(Vec<T>::load(a + i), Vec<T>::load(b + i)).store(out + i);
  if (const int rest = static_cast<int>(n - i); rest > 0) {
    pow(Vec<T>::load(a + i, rest), Vec<T>::load(b + i, rest)).store(out + i, rest);
  }
}

template <class T>
void* find_vmath_loop(const char* function) {
  constexpr auto exp_f = [](auto x) __attribute__((always_inline)) { return exp(x); };
  constexpr auto expm1_f = [](auto x) __attribute__((always_inline)) { return expm1(x); };
  constexpr auto log_f = [](auto x) __attribute__((always_inline)) { return log(x); };
  constexpr auto log1p_f = [](auto x) __attribute__((always_inline)) { return log1p(x); };
  constexpr auto tanh_f = [](auto x) __attribute__((always_inline)) { return tanh(x); };
  constexpr auto sigmoid_f = [](auto x) __attribute__((always_inline)) { return sigmoid(x); };
  constexpr auto sin_f = [](auto x) __attribute__((always_inline)) { return sin(x); };
  constexpr auto cos_f = [](auto x) __attribute__((always_inline)) { return cos(x); };
  constexpr auto erf_f = [](auto x) __attribute__((always_inline)) { return erf(x); };
  constexpr auto floor_f = [](auto x) __attribute__((always_inline)) { return floor(x); };
  constexpr auto trunc_f = [](auto x) __attribute__((always_inline)) { return trunc(x); };
  constexpr auto round_f = [](auto x) __attribute__((always_inline)) { return round_even(x); };
  struct Row {
    const char* name;
    cpu::UnaryLoop loop;
  };
  const Row rows[] = {
      {"exp", unary_vmath_loop<T, decltype(exp_f)>},
      {"expm1", unary_vmath_loop<T, decltype(expm1_f)>},
      {"log", unary_vmath_loop<T, decltype(log_f)>},
      {"log1p", unary_vmath_loop<T, decltype(log1p_f)>},
      {"tanh", unary_vmath_loop<T, decltype(tanh_f)>},
      {"sigmoid", unary_vmath_loop<T, decltype(sigmoid_f)>},
      {"sin", unary_vmath_loop<T, decltype(sin_f)>},
      {"cos", unary_vmath_loop<T, decltype(cos_f)>},
      {"erf", unary_vmath_loop<T, decltype(erf_f)>},
      {"floor", unary_vmath_loop<T, decltype(floor_f)>},
      {"trunc", unary_vmath_loop<T, decltype(trunc_f)>},
      {"round_even", unary_vmath_loop<T, decltype(round_f)>},
  };
  for (const Row& row : rows) {
    if (__builtin_strcmp(row.name, function) == 0) return reinterpret_cast<void*>(row.loop);
  }
  return nullptr;
}

// The UnaryLoop of a function, or for "pow" the BinaryLoop; nullptr for other names and types.
void* vmath_loop(const char* function, DType dtype) {
  if (!is_floating(dtype)) return nullptr;
  const bool single = dtype == DType::Float32;
  if (__builtin_strcmp(function, "pow") == 0) {
    return single ? reinterpret_cast<void*>(pow_vmath_loop<float>)
                  : reinterpret_cast<void*>(pow_vmath_loop<double>);
  }
  return single ? find_vmath_loop<float>(function) : find_vmath_loop<double>(function);
}

}  // namespace wengert::WENGERT_ISA
