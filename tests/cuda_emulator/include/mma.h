// Matrix products of a warp. Each lane holds one thirty-second of a matrix, spread in an order of
// the emulator's own (CUDA promises none); the product itself is made by the lane that comes last.
#pragma once

#include <array>
#include <cstdint>
#include <cstring>
#include <type_traits>

#include "cuda_bf16.h"
#include "cuda_emulator.h"
#include "cuda_fp16.h"

namespace nvcuda::wmma {

struct matrix_a {};
struct matrix_b {};
struct accumulator {};
struct row_major {};
struct col_major {};
enum layout_t { mem_row_major, mem_col_major };

namespace precision {
struct tf32 {};
}  // namespace precision

namespace emulated {

template <class T>
using Stored = std::conditional_t<std::is_same_v<T, precision::tf32>, float, T>;

template <int M, int N, int K>
constexpr bool is_shape(int m, int n, int k) {
  return M == m && N == n && K == k;
}

template <class Use, int M, int N, int K, class T>
constexpr bool exists() {
  constexpr bool wide =
      is_shape<M, N, K>(16, 16, 16) || is_shape<M, N, K>(32, 8, 16) || is_shape<M, N, K>(8, 32, 16);
  constexpr bool sums = std::is_same_v<Use, accumulator>;
  if (std::is_same_v<T, __half>) return wide;
  if (std::is_same_v<T, __nv_bfloat16>) return wide && !sums;
  if (std::is_same_v<T, precision::tf32>) return is_shape<M, N, K>(16, 16, 8) && !sums;
  if (std::is_same_v<T, float>) return sums && (wide || is_shape<M, N, K>(16, 16, 8));
  if (std::is_same_v<T, double>) return is_shape<M, N, K>(8, 8, 4);
  return false;
}

template <class Use, int M, int N, int K>
inline constexpr int kRows = std::is_same_v<Use, matrix_b> ? K : M;
template <class Use, int M, int N, int K>
inline constexpr int kColumns = std::is_same_v<Use, matrix_a> ? K : N;

inline void check_address(const char* what, const void* p, unsigned stride, size_t size) {
  if (reinterpret_cast<uintptr_t>(p) % 32 != 0) {
    cuda_emulator::mistake("%s: the address must be a multiple of 32 bytes, got %p", what, p);
  }
  if (stride * size % 16 != 0) {
    cuda_emulator::mistake("%s: the stride must be a multiple of 16 bytes, got %u elements of %zu",
                           what, stride, size);
  }
}

}  // namespace emulated

template <class Use, int M, int N, int K, class T, class Layout = void>
class fragment {
  static_assert(emulated::exists<Use, M, N, K, T>(), "the hardware has no such fragment");
  static_assert(std::is_same_v<Use, accumulator> == std::is_void_v<Layout>,
                "factors have a layout, an accumulator has none");

 public:
  using element_type = emulated::Stored<T>;
  using storage_element_type = element_type;
  static constexpr int rows = emulated::kRows<Use, M, N, K>;
  static constexpr int columns = emulated::kColumns<Use, M, N, K>;
  static constexpr int num_elements = rows * columns / 32;
  static constexpr int num_storage_elements = num_elements;
  element_type x[num_elements];

  /// Where element i of a lane stands.
  static constexpr int row(int i, unsigned lane) { return place(i, lane) / columns; }
  static constexpr int column(int i, unsigned lane) { return place(i, lane) % columns; }

 private:
  static constexpr int place(int i, unsigned lane) { return i * 32 + static_cast<int>(lane); }
};

template <class Use, int M, int N, int K, class T, class Layout, class Value>
void fill_fragment(fragment<Use, M, N, K, T, Layout>& f, const Value& value) {
  for (auto& x : f.x) x = static_cast<emulated::Stored<T>>(value);
}

namespace emulated {

template <class Fragment>
size_t offset(int i, unsigned stride, bool by_rows) {
  const auto row = static_cast<size_t>(Fragment::row(i, cuda_emulator::lane()));
  const auto column = static_cast<size_t>(Fragment::column(i, cuda_emulator::lane()));
  return by_rows ? row * stride + column : column * stride + row;
}

template <class Fragment, class T>
void load(Fragment& f, const T* p, unsigned stride, bool by_rows) {
  check_address("load_matrix_sync", p, stride, sizeof(T));
  for (int i = 0; i < Fragment::num_elements; ++i) f.x[i] = p[offset<Fragment>(i, stride, by_rows)];
}

}  // namespace emulated

template <class Use, int M, int N, int K, class T, class Layout>
  requires(!std::is_void_v<Layout>)
void load_matrix_sync(fragment<Use, M, N, K, T, Layout>& f, const emulated::Stored<T>* p,
                      unsigned stride) {
  emulated::load(f, p, stride, std::is_same_v<Layout, row_major>);
}
template <int M, int N, int K, class T>
void load_matrix_sync(fragment<accumulator, M, N, K, T>& f, const T* p, unsigned stride,
                      layout_t layout) {
  emulated::load(f, p, stride, layout == mem_row_major);
}

template <int M, int N, int K, class T>
void store_matrix_sync(T* p, const fragment<accumulator, M, N, K, T>& f, unsigned stride,
                       layout_t layout) {
  using Fragment = fragment<accumulator, M, N, K, T>;
  emulated::check_address("store_matrix_sync", p, stride, sizeof(T));
  for (int i = 0; i < Fragment::num_elements; ++i) {
    p[emulated::offset<Fragment>(i, stride, layout == mem_row_major)] = f.x[i];
  }
}

/// To the nearest number of ten mantissa bits, halves away from zero.
inline float __float_to_tf32(float x) {
  const uint32_t bits = std::bit_cast<uint32_t>(x);
  if (x != x || (bits & 0x7fffffff) == 0x7f800000) return x;
  return std::bit_cast<float>((bits + 0x1000) & 0xffffe000);
}

namespace emulated {

// What the multiplier sees of a factor: of a float only the ten upper bits of the mantissa.
inline float factor(float x) {
  return std::bit_cast<float>(std::bit_cast<uint32_t>(x) & 0xffffe000);
}
inline double factor(double x) {
  return x;
}
template <class Format>
float factor(cuda_emulator::narrow<Format> x) {
  return x;
}

template <class D, class A, class B, class C>
struct Product {
  D* d;
  const A* a;
  const B* b;
  const C* c;
};

template <class D, class A, class B, class C>
void multiply(cuda_emulator::Meeting& lanes) {
  constexpr int m = A::rows, n = B::columns, k = A::columns;
  using T = std::conditional_t<std::is_same_v<typename A::element_type, double>, double, float>;
  if (lanes.arrived != 0xffffffffu) {
    cuda_emulator::mistake("mma_sync needs all 32 lanes, has %08x", lanes.arrived);
  }
  std::array<std::array<T, k>, m> a;
  std::array<std::array<T, n>, k> b;
  std::array<std::array<T, n>, m> sum;
  const auto of = [&](unsigned lane) {
    Product<D, A, B, C>* product;
    std::memcpy(&product, &lanes.value[lane], sizeof product);
    return *product;
  };
  for (unsigned lane = 0; lane < 32; ++lane) {
    const auto p = of(lane);
    for (int i = 0; i < A::num_elements; ++i) {
      a[A::row(i, lane)][A::column(i, lane)] = factor(p.a->x[i]);
    }
    for (int i = 0; i < B::num_elements; ++i) {
      b[B::row(i, lane)][B::column(i, lane)] = factor(p.b->x[i]);
    }
    for (int i = 0; i < C::num_elements; ++i) {
      sum[C::row(i, lane)][C::column(i, lane)] = static_cast<T>(p.c->x[i]);
    }
  }
  for (int i = 0; i < m; ++i) {
    for (int l = 0; l < k; ++l) {
      for (int j = 0; j < n; ++j) sum[i][j] += a[i][l] * b[l][j];
    }
  }
  for (unsigned lane = 0; lane < 32; ++lane) {
    const auto p = of(lane);
    for (int i = 0; i < D::num_elements; ++i) {
      p.d->x[i] = static_cast<typename D::element_type>(sum[D::row(i, lane)][D::column(i, lane)]);
    }
  }
}

}  // namespace emulated

template <int M, int N, int K, class T, class LayoutA, class LayoutB, class TD, class TC>
void mma_sync(fragment<accumulator, M, N, K, TD>& d,
              const fragment<matrix_a, M, N, K, T, LayoutA>& a,
              const fragment<matrix_b, M, N, K, T, LayoutB>& b,
              const fragment<accumulator, M, N, K, TC>& c, const char* file = __builtin_FILE(),
              int line = __builtin_LINE()) {
  static_assert(std::is_same_v<T, __half> || std::is_same_v<TD, TC>);
  using D = std::remove_reference_t<decltype(d)>;
  using A = std::remove_cvref_t<decltype(a)>;
  using B = std::remove_cvref_t<decltype(b)>;
  using C = std::remove_cvref_t<decltype(c)>;
  emulated::Product<D, A, B, C> product{&d, &a, &b, &c};
  const emulated::Product<D, A, B, C>* address = &product;
  cuda_emulator::leave(cuda_emulator::meet(0xffffffffu, "mma_sync", cuda_emulator::to_bits(address),
                                           {file, line}, &emulated::multiply<D, A, B, C>));
}

}  // namespace nvcuda::wmma
