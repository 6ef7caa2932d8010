// The element types, their C++ storage types, and the visitors over them.
#pragma once

#include <cstddef>
#include <cstdint>

#include "core/half.h"

namespace wengert {

enum class DType : uint8_t {
  Bool,
  UInt8,
  Int8,
  Int16,
  Int32,
  Int64,
  Float16,
  BFloat16,
  Float32,
  Float64
};
inline constexpr int kNumDTypes = 10;

// A bool is stored as one byte that holds 0 or 1. It has a type of its own so that kernels for it
// can be told apart from kernels for 8-bit integers.
struct Bool8 {
  uint8_t value = 0;
  constexpr Bool8() = default;
  template <class T>
    requires std::is_arithmetic_v<T>
  constexpr explicit Bool8(T v) : value(v != T(0)) {}
  template <class T>
    requires std::is_arithmetic_v<T>
  constexpr explicit operator T() const {
    return static_cast<T>(value);
  }
};

// All that is known of an element type.
template <DType D, class T>
struct DTypeInfo {
  static constexpr DType dtype = D;
  using type = T;
};
template <class... Infos>
struct DTypeList {};
using DTypes = DTypeList<DTypeInfo<DType::Bool, Bool8>, DTypeInfo<DType::UInt8, uint8_t>,
                         DTypeInfo<DType::Int8, int8_t>, DTypeInfo<DType::Int16, int16_t>,
                         DTypeInfo<DType::Int32, int32_t>, DTypeInfo<DType::Int64, int64_t>,
                         DTypeInfo<DType::Float16, Float16>, DTypeInfo<DType::BFloat16, BFloat16>,
                         DTypeInfo<DType::Float32, float>, DTypeInfo<DType::Float64, double>>;

template <class T, class List>
inline constexpr DType dtype_in_list = DType::Bool;
template <class T, class... Infos>
inline constexpr DType dtype_in_list<T, DTypeList<Infos...>> = [] {
  DType found = DType::Bool;
  ((std::is_same_v<T, typename Infos::type> ? void(found = Infos::dtype) : void()), ...);
  return found;
}();
template <class T>
inline constexpr DType kDTypeOf = dtype_in_list<T, DTypes>;

constexpr size_t item_size(DType d) {
  constexpr size_t sizes[kNumDTypes] = {1, 1, 1, 2, 4, 8, 2, 2, 4, 8};
  return sizes[static_cast<int>(d)];
}
constexpr bool is_floating(DType d) {
  return d >= DType::Float16;
}
// Integers, bool not among them.
constexpr bool is_integral(DType d) {
  return d > DType::Bool && d <= DType::Int64;
}
// The dtype that arithmetic is done in. Kernels exist for bool, int32, int64, float32 and float64;
// of narrower types elements are converted on the way in and out.
constexpr DType compute_dtype(DType d) {
  if (d == DType::Float16 || d == DType::BFloat16) return DType::Float32;
  return d >= DType::UInt8 && d <= DType::Int16 ? DType::Int32 : d;
}
constexpr bool is_narrow(DType d) {
  return compute_dtype(d) != d;
}
// PyTorch's names, as in the text "wengert.float32".
constexpr const char* name_of(DType d) {
  constexpr const char* names[kNumDTypes] = {"bool",  "uint8",   "int8",     "int16",   "int32",
                                             "int64", "float16", "bfloat16", "float32", "float64"};
  return names[static_cast<int>(d)];
}

template <class T>
inline constexpr bool is_half = std::is_same_v<T, Float16> || std::is_same_v<T, BFloat16>;

// A value as another storage type. What a narrow integer cannot hold wraps around.
template <class To, class From>
constexpr To convert(From v) {
  if constexpr (std::is_same_v<To, From>) {
    return v;
  } else if constexpr (is_half<From>) {
    return convert<To>(static_cast<float>(v));
  } else if constexpr (std::is_same_v<From, Bool8>) {
    return static_cast<To>(v.value);
  } else if constexpr (std::is_floating_point_v<From> && std::is_integral_v<To>) {
    return static_cast<To>(static_cast<int64_t>(v));
  } else {
    return static_cast<To>(v);
  }
}

// Calls f.template operator()<T>() with the storage type of d.
template <class F>
decltype(auto) visit(DType d, F&& f) {
  switch (d) {
    case DType::Bool:
      return f.template operator()<Bool8>();
    case DType::UInt8:
      return f.template operator()<uint8_t>();
    case DType::Int8:
      return f.template operator()<int8_t>();
    case DType::Int16:
      return f.template operator()<int16_t>();
    case DType::Int32:
      return f.template operator()<int32_t>();
    case DType::Int64:
      return f.template operator()<int64_t>();
    case DType::Float16:
      return f.template operator()<Float16>();
    case DType::BFloat16:
      return f.template operator()<BFloat16>();
    case DType::Float32:
      return f.template operator()<float>();
    default:
      return f.template operator()<double>();
  }
}
// The same for the types that kernels compute in.
template <class F>
decltype(auto) visit_compute(DType d, F&& f) {
  switch (d) {
    case DType::Bool:
      return f.template operator()<Bool8>();
    case DType::Int32:
      return f.template operator()<int32_t>();
    case DType::Int64:
      return f.template operator()<int64_t>();
    case DType::Float32:
      return f.template operator()<float>();
    default:
      return f.template operator()<double>();
  }
}

}  // namespace wengert
