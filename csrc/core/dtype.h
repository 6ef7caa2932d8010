// The element types, their C++ storage types, and the one visitor over them.
#pragma once

#include <cstddef>
#include <cstdint>

namespace wengert {

enum class DType : uint8_t { Bool, Int64, Float32, Float64 };
inline constexpr int kNumDTypes = 4;

// A bool is stored as one byte that holds 0 or 1. It has a type of its own so that kernels for it
// can be told apart from kernels for 8-bit integers.
struct Bool8 {
  uint8_t value = 0;
  constexpr Bool8() = default;
  constexpr explicit Bool8(bool b) : value(b ? 1 : 0) {}
  constexpr explicit operator bool() const { return value != 0; }
};

template <class T>
struct DTypeOf;
template <>
struct DTypeOf<Bool8> {
  static constexpr DType value = DType::Bool;
};
template <>
struct DTypeOf<int64_t> {
  static constexpr DType value = DType::Int64;
};
template <>
struct DTypeOf<float> {
  static constexpr DType value = DType::Float32;
};
template <>
struct DTypeOf<double> {
  static constexpr DType value = DType::Float64;
};
template <class T>
inline constexpr DType kDTypeOf = DTypeOf<T>::value;

constexpr size_t item_size(DType d) {
  constexpr size_t sizes[kNumDTypes] = {1, 8, 4, 8};
  return sizes[static_cast<int>(d)];
}
constexpr bool is_floating(DType d) {
  return d == DType::Float32 || d == DType::Float64;
}
// PyTorch's names, as in the text "wengert.float32".
constexpr const char* name_of(DType d) {
  constexpr const char* names[kNumDTypes] = {"bool", "int64", "float32", "float64"};
  return names[static_cast<int>(d)];
}

// Calls f.template operator()<T>() with the storage type of d.
template <class F>
decltype(auto) visit(DType d, F&& f) {
  switch (d) {
    case DType::Bool:
      return f.template operator()<Bool8>();
    case DType::Int64:
      return f.template operator()<int64_t>();
    case DType::Float32:
      return f.template operator()<float>();
    default:
      return f.template operator()<double>();
  }
}

}  // namespace wengert
