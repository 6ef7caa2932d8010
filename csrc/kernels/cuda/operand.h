// How a CUDA thread reads and writes elements of a strided, broadcast launch: some side by side at
// a time, of whatever dtype they are stored in. What differs from operand to operand (its layout,
// its dtype) is the same for all threads, so these branches cost next to nothing.
#pragma once

#include <algorithm>

#include "core/dtype.h"
#include "kernels/cuda/device.h"
#include "kernels/launch.h"

namespace wengert::cuda {

// Division by a number that is known at launch, as a multiplication (Granlund and Montgomery,
// Division by invariant integers using multiplication, 1994). For n below 2^31.
struct Divider {
  uint32_t by = 1, magic = 0, shift = 0;

  Divider() = default;
  explicit Divider(uint32_t d) : by(d) {
    while ((uint64_t{1} << shift) < d) ++shift;
    magic = static_cast<uint32_t>(((uint64_t{1} << 32) * ((uint64_t{1} << shift) - d)) / d + 1);
  }
  WENGERT_DEVICE uint32_t quotient(uint32_t n) const { return (__umulhi(n, magic) + n) >> shift; }
};

// The iteration space of a launch.
struct Space {
  int64_t count;
  int ndim;
  bool wide;  // more elements than Divider takes
  int64_t size[kMaxDims];
  Divider divider[kMaxDims];

  explicit Space(const Launch& l) : count(l.count), ndim(l.ndim), wide(l.count >= 1LL << 31) {
    for (int d = 0; d < ndim; ++d) {
      size[d] = l.size[d];
      // Of no elements, other dimensions can be longer than Divider takes.
      if (!wide && count > 0) divider[d] = Divider(static_cast<uint32_t>(size[d]));
    }
  }
};

enum class Layout : uint8_t {
  Packed,   // dense and aligned: whole vectors
  Linear,   // element i at i * stride
  Number,   // the same for all: in the launch itself
  Strided,  // by the coordinates of the launch's space
};

struct Operand {
  char* data;
  Layout layout;
  DType dtype;
  int64_t stride;  // of Linear
  alignas(8) char number[8];
  int64_t strides[kMaxDims];
};

// Where element i is, in elements.
__device__ __noinline__ inline int64_t place_of(const Space& s, const int64_t* strides, int64_t i) {
  int64_t at = 0;
  if (s.wide) {
    for (int d = s.ndim - 1; d > 0; --d) {
      const int64_t q = i / s.size[d];
      at += (i - q * s.size[d]) * strides[d];
      i = q;
    }
    return at + i * strides[0];
  }
  auto n = static_cast<uint32_t>(i);
  for (int d = s.ndim - 1; d > 0; --d) {
    const uint32_t q = s.divider[d].quotient(n);
    at += static_cast<int64_t>(n - q * s.divider[d].by) * strides[d];
    n = q;
  }
  return at + static_cast<int64_t>(n) * strides[0];
}

WENGERT_DEVICE int64_t place_in(const Operand& o, const Space& s, int64_t i) {
  return o.layout == Layout::Strided ? place_of(s, o.strides, i) : i * o.stride;
}

// Whether n elements from i on are in one row of the last dimension.
WENGERT_DEVICE bool in_one_row(const Space& s, int64_t i, int n) {
  if (s.wide) return i % s.size[s.ndim - 1] + n <= s.size[s.ndim - 1];
  const Divider& d = s.divider[s.ndim - 1];
  const auto k = static_cast<uint32_t>(i);
  return k - d.quotient(k) * d.by + static_cast<uint32_t>(n) <= d.by;
}

// An element as the type that it is computed in.
template <class T, class S>
WENGERT_DEVICE T read_as(const char* p, int64_t i) {
  return convert<T>(reinterpret_cast<const S*>(p)[i]);
}
template <class T>
WENGERT_DEVICE T read_element(const char* p, DType dtype, int64_t i) {
  if constexpr (std::is_same_v<T, float>) {
    if (dtype == DType::BFloat16) return read_as<T, BFloat16>(p, i);
    if (dtype == DType::Float16) return read_as<T, Float16>(p, i);
  } else if constexpr (std::is_same_v<T, int32_t>) {
    if (dtype == DType::UInt8) return read_as<T, uint8_t>(p, i);
    if (dtype == DType::Int8) return read_as<T, int8_t>(p, i);
    if (dtype == DType::Int16) return read_as<T, int16_t>(p, i);
  }
  if (dtype == DType::Bool) return read_as<T, Bool8>(p, i);
  return reinterpret_cast<const T*>(p)[i];
}
template <class T>
WENGERT_DEVICE void write_element(char* p, DType dtype, int64_t i, T v) {
  if constexpr (std::is_same_v<T, float>) {
    if (dtype == DType::BFloat16) {
      reinterpret_cast<BFloat16*>(p)[i] = BFloat16(v);
      return;
    }
    if (dtype == DType::Float16) {
      reinterpret_cast<Float16*>(p)[i] = Float16(v);
      return;
    }
  } else if constexpr (std::is_same_v<T, int32_t>) {
    if (dtype == DType::UInt8 || dtype == DType::Int8) {
      reinterpret_cast<int8_t*>(p)[i] = static_cast<int8_t>(v);
      return;
    }
    if (dtype == DType::Int16) {
      reinterpret_cast<int16_t*>(p)[i] = static_cast<int16_t>(v);
      return;
    }
  }
  if (dtype == DType::Bool) {
    reinterpret_cast<Bool8*>(p)[i] = convert<Bool8>(v);
  } else {
    reinterpret_cast<T*>(p)[i] = v;
  }
}

// So many elements that one instruction moves them.
template <class S, int N>
struct alignas(sizeof(S) * N > 16 ? 16 : sizeof(S) * N) Pack {
  S of[N];
};

template <class T, class S, int N>
WENGERT_DEVICE void read_pack(const char* p, int64_t i, T (&x)[N]) {
  const auto v = *reinterpret_cast<const Pack<S, N>*>(p + i * static_cast<int64_t>(sizeof(S)));
#pragma unroll
  for (int j = 0; j < N; ++j) x[j] = convert<T>(v.of[j]);
}
template <class T, class S, int N>
WENGERT_DEVICE void write_pack(char* p, int64_t i, const T (&x)[N]) {
  Pack<S, N> v;
#pragma unroll
  for (int j = 0; j < N; ++j) v.of[j] = convert<S>(x[j]);
  *reinterpret_cast<Pack<S, N>*>(p + i * static_cast<int64_t>(sizeof(S))) = v;
}

// Elements [i, i + n), n <= N; those beyond are as the first.
template <class T, int N>
WENGERT_DEVICE void read(const Operand& o, const Space& s, int64_t i, int n, T (&x)[N]) {
  if (o.layout == Layout::Packed && n == N) {
    if (o.dtype == kDTypeOf<T>) return read_pack<T, T>(o.data, i, x);
    if constexpr (std::is_same_v<T, float>) {
      if (o.dtype == DType::BFloat16) return read_pack<T, BFloat16>(o.data, i, x);
      if (o.dtype == DType::Float16) return read_pack<T, Float16>(o.data, i, x);
    }
  }
  if (o.layout == Layout::Number) {
    const T v = *reinterpret_cast<const T*>(o.number);
#pragma unroll
    for (int j = 0; j < N; ++j) x[j] = v;
    return;
  }
  // Places are found once where the elements are side by side in a row.
  int64_t at = i * o.stride, step = o.stride;
  bool apart = false;
  if (o.layout == Layout::Strided) {
    at = place_of(s, o.strides, i);
    step = o.strides[s.ndim - 1];
    apart = !in_one_row(s, i, n);
  }
#pragma unroll
  for (int j = 0; j < N; ++j) {
    if (apart && j < n) at = place_of(s, o.strides, i + j) - j * step;
    x[j] = read_element<T>(o.data, o.dtype, j < n ? at + j * step : at);
  }
}
template <class T, int N>
WENGERT_DEVICE void write(const Operand& o, const Space& s, int64_t i, int n, const T (&x)[N]) {
  if (o.layout == Layout::Packed && n == N) {
    if (o.dtype == kDTypeOf<T>) return write_pack<T, T>(o.data, i, x);
    if constexpr (std::is_same_v<T, float>) {
      if (o.dtype == DType::BFloat16) return write_pack<T, BFloat16>(o.data, i, x);
      if (o.dtype == DType::Float16) return write_pack<T, Float16>(o.data, i, x);
    }
  }
#pragma unroll
  for (int j = 0; j < N; ++j) {
    if (j >= n) return;
    write_element<T>(o.data, o.dtype, place_in(o, s, i + j), x[j]);
  }
}

// Elements of T that a thread takes at a time.
template <class T>
inline constexpr int kPerThread = sizeof(T) == 8 ? 2 : 4;

// Calls f with an unsigned integer of that size: moving knows no other dtype.
template <class F>
void visit_item(size_t item, F&& f) {
  switch (item) {
    case 1:
      return f(uint8_t{});
    case 2:
      return f(uint16_t{});
    case 4:
      return f(uint32_t{});
    default:
      return f(uint64_t{});
  }
}

// Buffer k of a launch, `vector` elements of which a thread reads at once. A number in the
// processor's memory is taken along, as `as`, the dtype that it is computed in.
Operand operand_of(const Launch& l, int k, int vector, DType as);

}  // namespace wengert::cuda
