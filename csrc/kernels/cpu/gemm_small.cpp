// Products so small that to plan them takes longer than to do them: one block of k, everything read
// where it stands, the tiles alone.
#include <algorithm>

#include "kernels/cpu/gemm.h"

namespace wengert::cpu {
namespace {

// 64 by 64 by 64 takes 4 us with AVX-512: beyond, the plan's 60 ns are nothing.
constexpr int64_t kMaxFmas = 64 * 64 * 64;

// The whole of C as one tile.
GemmTile tile_of(const GemmArgs& g) {
  GemmTile t{};
  t.k = g.k;
  t.a = g.a;
  t.a_rs = g.a_rs;
  t.a_cs = g.a_cs;
  t.b = g.b;
  t.b_rs = g.b_rs;
  t.c = g.c;
  t.c_rs = g.c_rs;
  t.cols = g.n;
  t.add = g.accumulate;
  t.bias = g.bias;
  return t;
}

// B as whole vectors, where kernels cannot read it as it is.
constexpr int64_t kPackedBytes = 16384;

template <class T>
void tiles(const GemmIsa& isa, const GemmArgs& g) {
  const auto m = static_cast<uint32_t>(g.m), mr = static_cast<uint32_t>(isa.mr);
  const uint32_t panels = (m + mr - 1) / mr, height = (m + panels - 1) / panels;
  const int64_t width = int64_t{isa.nv} * isa.lanes;
  const auto& kernels = g.a_rs == 1 ? isa.unit_rows : isa.any_rows;
  GemmTile t = tile_of(g);
  for (int64_t j = 0; j < g.n; j += width) {
    t.cols = std::min(width, g.n - j);
    int vecs = isa.nv;
    while ((vecs - 1) * isa.lanes >= t.cols) --vecs;
    t.b = static_cast<const T*>(g.b) + j;
    if (g.bias != nullptr) t.bias = static_cast<const T*>(g.bias) + j;
    for (uint32_t i = 0; i < m; i += height) {
      t.a = static_cast<const T*>(g.a) + i * g.a_rs;
      t.c = static_cast<T*>(g.c) + i * g.c_rs + j;
      kernels[std::min(height, m - i) - 1][vecs - 1](t);
    }
  }
}

void tiles_of(const GemmIsa& isa, const GemmArgs& g) {
  isa.dtype == DType::Float32 ? tiles<float>(isa, g) : tiles<double>(isa, g);
}

bool packed_tiles(const GemmIsa& isa, const GemmArgs& g) {
  const int64_t width = (g.n + isa.lanes - 1) / isa.lanes * isa.lanes;
  if (g.n == 1 || g.k * width * isa.unit > kPackedBytes) return false;
  alignas(64) char packed[kPackedBytes + 64];  // packing writes up to a vector too far
  GemmPack p{g.b, g.b_cs, g.b_rs, g.n, width, g.k, packed, g.k};
  isa.pack_b(p);
  GemmArgs s = g;
  s.b = packed;
  s.b_rs = width;
  s.b_cs = 1;
  tiles_of(isa, s);
  return true;
}

// C by way of its transpose, where C has so few columns that most of a vector would be idle, and A
// stands in columns: the gradient of a weight by few inputs. Each element is the same sum.
constexpr int64_t kFewColumns = 8;

bool turns(const GemmIsa& isa, const GemmArgs& g) {
  return g.n > 1 && g.n <= kFewColumns && g.n < g.m && g.m >= isa.lanes && g.a_rs == 1 &&
         g.m * g.n * isa.unit <= kPackedBytes && g.activation == nullptr;
}

template <class T>
void turned(const GemmIsa& isa, const GemmArgs& g) {
  alignas(64) T transpose[kPackedBytes / sizeof(T)];
  GemmArgs s = g;
  s.m = g.n;
  s.n = g.m;
  s.a = g.b;
  s.a_rs = g.b_cs;
  s.a_cs = g.b_rs;
  s.b = g.a;
  s.b_rs = g.a_cs;
  s.b_cs = 1;
  s.c = transpose;
  s.c_rs = g.m;
  s.accumulate = false;
  s.bias = nullptr;
  gemm(isa, s);
  const T* bias = static_cast<const T*>(g.bias);
  for (int64_t i = 0; i < g.m; ++i) {
    T* row = static_cast<T*>(g.c) + i * g.c_rs;
    for (int64_t j = 0; j < g.n; ++j) {
      T sum = transpose[j * g.m + i];
      if (g.accumulate) sum = row[j] + sum;
      row[j] = bias != nullptr ? sum + bias[j] : sum;
    }
  }
}

template <class T>
void add_row(const void* row, int64_t n, void* to) {
  const T* from = static_cast<const T*>(row);
  T* c = static_cast<T*>(to);
  for (int64_t j = 0; j < n; ++j) c[j] += from[j];
}

}  // namespace

bool gemm_small(const GemmIsa& isa, const GemmArgs& g) {
  if (turns(isa, g)) {
    (isa.dtype == DType::Float32 ? turned<float> : turned<double>)(isa, g);
    return true;
  }
  // Each alone first: their product must not overflow.
  const bool column_major = g.m == 1 && g.b_rs == 1 && !g.accumulate;
  if ((g.m == 1 && g.b_cs != 1 && !column_major) || g.k == 0 || g.k > isa.kc ||
      std::max(g.m, g.n) > kMaxFmas)
    return false;
  if (g.m * g.n > kMaxFmas || g.m * g.n * g.k > kMaxFmas) return false;
  if (g.activation != nullptr && g.c_rs != g.n && g.m > 1) return false;
  if (column_major && g.b_cs != 1) {
    isa.vector(g.b, g.b_cs, g.b_rs, g.n, g.a, g.a_cs, g.k, g.k, g.c);
    if (g.bias != nullptr) {
      (isa.dtype == DType::Float32 ? add_row<float> : add_row<double>)(g.bias, g.n, g.c);
    }
  } else if (g.m == 1) {
    isa.row(tile_of(g));
  } else if (g.b_cs == 1 && (isa.reads_parts || g.n % isa.lanes == 0)) {
    tiles_of(isa, g);
  } else if (!packed_tiles(isa, g)) {
    return false;
  }
  if (g.activation != nullptr) {
    char* const ptr[2] = {static_cast<char*>(g.c), static_cast<char*>(g.c)};
    g.activation(ptr, g.m * g.n, g.activation_params);
  }
  return true;
}

}  // namespace wengert::cpu
