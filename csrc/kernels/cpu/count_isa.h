// How many elements are not zero, by their bits: the same loops for all dtypes of a size.
#pragma once

#include "kernels/cpu/vec.h"

namespace wengert::WENGERT_ISA {

// I: unsigned, of the element's size. The sign of a floating zero does not count.
template <class I, bool kFloat>
struct Counting {
  typedef I V __attribute__((vector_size(WENGERT_VEC_BYTES)));
  static constexpr int N = kVecBytes / static_cast<int>(sizeof(I));
  static constexpr int64_t kSteps = 127;  // that a lane of a byte holds
  static constexpr int64_t kColumns = 1024;

  static WENGERT_INLINE V load(const I* p) {
    V v;
    __builtin_memcpy(&v, p, sizeof v);
    return v;
  }
  static WENGERT_INLINE V hits(V v) {  // 1 or 0
    if constexpr (kFloat) v += v;
    return -reinterpret_cast<V>(v != 0);
  }
  static WENGERT_INLINE bool hit(I v) { return (kFloat ? static_cast<I>(v + v) : v) != 0; }

  static int64_t row(const void* from, int64_t n) {
    const I* x = static_cast<const I*>(from);
    int64_t total = 0, i = 0;
    while (i + 4 * N <= n) {
      V acc[4] = {};
      const int64_t steps = (n - i) / (4 * N) < kSteps ? (n - i) / (4 * N) : kSteps;
      for (int64_t k = 0; k < steps; ++k, i += 4 * N) {
        for (int u = 0; u < 4; ++u) acc[u] += hits(load(x + i + u * N));
      }
      I lanes[4 * N];
      __builtin_memcpy(lanes, acc, sizeof lanes);
      for (int k = 0; k < 4 * N; ++k) total += static_cast<int64_t>(lanes[k]);
    }
    for (; i < n; ++i) total += hit(x[i]);
    return total;
  }

  // Adds to out[j] what is not zero in column j, four rows at a time.
  static void columns(const void* from, int64_t rows, int64_t row_stride, int64_t n, int64_t* out) {
    for (int64_t j = 0; j < n; j += kColumns) {
      const int64_t width = n - j < kColumns ? n - j : kColumns;
      const I* x = static_cast<const I*>(from) + j;
      for (int64_t r = 0; r < rows;) {
        I count[kColumns] = {};
        const int64_t end = rows - r < kSteps ? rows : r + kSteps;
        for (; r + 4 <= end; r += 4) {
          const I* p = x + r * row_stride;
          int64_t k = 0;
          for (; k + N <= width; k += N) {
            V c = load(count + k);
            for (int u = 0; u < 4; ++u) c += hits(load(p + u * row_stride + k));
            __builtin_memcpy(count + k, &c, sizeof c);
          }
          for (; k < width; ++k) {
            for (int u = 0; u < 4; ++u)
              count[k] = static_cast<I>(count[k] + hit(p[u * row_stride + k]));
          }
        }
        for (; r < end; ++r) {
          for (int64_t k = 0; k < width; ++k) {
            count[k] = static_cast<I>(count[k] + hit(x[r * row_stride + k]));
          }
        }
        for (int64_t k = 0; k < width; ++k) out[j + k] += static_cast<int64_t>(count[k]);
      }
    }
  }
};

template <class Isa>
void fill_count(Isa& isa) {
  const auto set = [&]<class I, bool kFloat>(DType d, Counting<I, kFloat>) {
    isa.count[static_cast<int>(d)] = {&Counting<I, kFloat>::row, &Counting<I, kFloat>::columns};
  };
  for (DType d : {DType::Bool, DType::UInt8, DType::Int8}) set(d, Counting<uint8_t, false>{});
  set(DType::Int16, Counting<uint16_t, false>{});
  set(DType::Int32, Counting<uint32_t, false>{});
  set(DType::Int64, Counting<uint64_t, false>{});
  for (DType d : {DType::Float16, DType::BFloat16}) set(d, Counting<uint16_t, true>{});
  set(DType::Float32, Counting<uint32_t, true>{});
  set(DType::Float64, Counting<uint64_t, true>{});
}

}  // namespace wengert::WENGERT_ISA
