// Elements as unsigned keys in the order of a sort: -0 equals 0, NaN is above everything.
#pragma once

#include <type_traits>

#include "kernels/cuda/device.h"

namespace wengert::cuda {

template <class T>
using KeyOf = std::conditional_t<sizeof(T) == 4, uint32_t, uint64_t>;

WENGERT_DEVICE uint32_t bits_of(float x) {
  return __float_as_uint(x);
}
WENGERT_DEVICE uint64_t bits_of(double x) {
  return static_cast<uint64_t>(__double_as_longlong(x));
}

template <class T>
WENGERT_DEVICE KeyOf<T> key_of(T x, bool descending) {
  using K = KeyOf<T>;
  constexpr K sign = K(1) << (sizeof(K) * 8 - 1);
  K key;
  if constexpr (std::is_floating_point_v<T>) {
    const K bits = bits_of(x == 0 ? T(0) : x);
    key = x != x ? ~K(0) : bits & sign ? ~bits : bits | sign;
  } else {
    key = static_cast<K>(x) ^ sign;
  }
  return descending ? ~key : key;
}

WENGERT_DEVICE float number_of_bits(uint32_t bits) {
  return __uint_as_float(bits);
}
WENGERT_DEVICE double number_of_bits(uint64_t bits) {
  return __longlong_as_double(static_cast<long long>(bits));
}

// Whose key it is. Zeros and NaNs come in kinds that share one: `there` is the element itself.
template <class T>
WENGERT_DEVICE T value_of(KeyOf<T> key, bool descending, const T* there) {
  using K = KeyOf<T>;
  constexpr K sign = K(1) << (sizeof(K) * 8 - 1);
  if (descending) key = ~key;
  if constexpr (std::is_floating_point_v<T>) {
    if (key == sign || key == ~K(0)) return *there;
    return number_of_bits(key & sign ? static_cast<K>(key ^ sign) : static_cast<K>(~key));
  } else {
    return static_cast<T>(key ^ sign);
  }
}

}  // namespace wengert::cuda
