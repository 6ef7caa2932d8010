// Products of bfloat16 by instructions that multiply pairs of them and sum in float32, written
// once: the unit, how bfloat16 and float32 become units while they are packed, and the kernels of
// AVX-512's vdpbf16ps. Included, with AVX512_BF16 enabled, by the files of the instruction sets
// that have such instructions; read gemm_isa.h first.
//
// vdpbf16ps adds the second product of a pair to the sum and then the first, each rounded to
// nearest; numbers below the smallest normal one count as zero, and sums below it become zero.
#pragma once

#include "kernels/cpu/gemm.h"
#include "kernels/cpu/gemm_isa.h"
#include "kernels/cpu/vec.h"

namespace wengert::WENGERT_ISA {

// ---- the unit ----------------------------------------------------------------------------------

// Two bfloat16 that are neighbours in k.
struct Pair {
  BFloat16 first, second;
};
template <>
struct GemmUnit<Pair> {
  using Sum = float;
  static constexpr bool parts = true;
};

template <>
struct Vec<Pair> {
  using value_type = Pair;
  static constexpr int N = 16;
  __m512i v;

  static WENGERT_INLINE Vec load(const Pair* p) { return {_mm512_loadu_si512(p)}; }
  static WENGERT_INLINE Vec broadcast(Pair s) {
    int bits;
    __builtin_memcpy(&bits, &s, sizeof bits);
    return {_mm512_set1_epi32(bits)};
  }
};

WENGERT_INLINE Vec<float> fma(Vec<Pair> a, Vec<Pair> b, Vec<float> c) {
  return _mm512_dpbf16_ps(c.v, reinterpret_cast<__m512bh>(a.v), reinterpret_cast<__m512bh>(b.v));
}

WENGERT_INLINE __mmask16 first_16(int n) {
  return static_cast<__mmask16>((1u << n) - 1);
}

// 32-bit lanes of bits. Intrinsics are written in the forms that zero by a mask where GCC 12 warns
// of the others.
using Words = Raw<uint32_t>;
inline constexpr __mmask16 kAll = 0xffff;

// bfloat16 in the lower halves of lanes.
WENGERT_INLINE Words halves(__m256i x) {
  return reinterpret_cast<Words>(_mm512_maskz_cvtepu16_epi32(kAll, x));
}
WENGERT_INLINE Words load_halves(const BFloat16* p, int n) {
  return halves(_mm256_maskz_loadu_epi16(first_16(n), p));
}

template <>
WENGERT_INLINE Vec<float> load_sums<BFloat16, float>(const BFloat16* p, int n) {
  return reinterpret_cast<Raw<float>>(load_halves(p, n) << 16);
}
WENGERT_INLINE void store_sums(Vec<float> sums, BFloat16* p, int n) {
  const auto narrow = reinterpret_cast<__m256i>(_mm512_cvtneps_pbh(sums.v));
  if (n >= 16)
    _mm256_storeu_si256(reinterpret_cast<__m256i_u*>(p), narrow);
  else
    _mm256_mask_storeu_epi16(p, first_16(n), narrow);
}

// ---- packing -----------------------------------------------------------------------------------

// bfloat16 as it is.
struct PairedBFloat16 {
  using Source = BFloat16;
  static constexpr int kParts = 1;
  static constexpr bool kUnrolled = true;  // a part of a small product's time

  explicit PairedBFloat16(cpu::GemmRange*) {}
  WENGERT_INLINE void finish() {}
  // The units of n <= 32 elements of a lane.
  WENGERT_INLINE void along(const BFloat16* p, int n, Words* to) {
    const auto mask = static_cast<__mmask32>((uint64_t{1} << n) - 1);
    to[0] = reinterpret_cast<Words>(_mm512_maskz_loadu_epi16(mask, p));
  }
  // The units of n <= 16 lanes that are neighbours; m of the second element, n or 0.
  WENGERT_INLINE void across(const BFloat16* first, int n, const BFloat16* second, int m,
                             Words* to) {
    to[0] = load_halves(first, n) | load_halves(second, m) << 16;
  }
};

// float32 as the sum of Parts bfloat16, each the nearest to what those before leave. Three hold
// every bit of a number whose last bit is normal and that does not round to infinity.
template <int Parts>
class SplitFloat32 {
 public:
  using Source = float;
  static constexpr int kParts = Parts;
  static constexpr bool kUnrolled = false;

  explicit SplitFloat32(cpu::GemmRange* range) : range_(range) {}
  WENGERT_INLINE void finish() {
    for (int i = 0; i < 16; ++i) {
      if (least_[i] < range_->least) range_->least = least_[i];
      if (most_[i] > range_->most) range_->most = most_[i];
    }
  }
  WENGERT_INLINE void along(const float* p, int n, Words* to) {
    const auto mask = static_cast<uint32_t>((uint64_t{1} << n) - 1);
    split(_mm512_maskz_loadu_ps(static_cast<__mmask16>(mask), p),
          _mm512_maskz_loadu_ps(static_cast<__mmask16>(mask >> 16), p + 16), to);
  }
  WENGERT_INLINE void across(const float* first, int n, const float* second, int m, Words* to) {
    split(_mm512_maskz_loadu_ps(first_16(n), first), _mm512_maskz_loadu_ps(first_16(m), second),
          to);
#pragma GCC unroll 4
    for (int q = 0; q < Parts; ++q) {
      to[q] = reinterpret_cast<Words>(
          _mm512_maskz_permutexvar_epi16(0xffffffffu, in_turn(), reinterpret_cast<__m512i>(to[q])));
    }
  }

 private:
  // 0, 16, 1, 17, ... in halves of lanes
  static WENGERT_INLINE __m512i in_turn() {
    const auto lanes = reinterpret_cast<Words>(lane_numbers<float>());
    return reinterpret_cast<__m512i>(lanes | (lanes + 16) << 16);
  }
  WENGERT_INLINE void look_at(Raw<float> x) {
    const Words size = reinterpret_cast<Words>(x) & 0x7fffffffu, less = size - 1;
    most_ = size > most_ ? size : most_;
    least_ = less < least_ ? less : least_;
  }
  // 16 bfloat16 of x, then 16 of y.
  WENGERT_INLINE void split(Raw<float> x, Raw<float> y, Words* to) {
    look_at(x);
    look_at(y);
#pragma GCC unroll 4
    for (int q = 0; q < Parts; ++q) {
      const auto both = reinterpret_cast<__m512i>(_mm512_cvtne2ps_pbh(y, x));
      to[q] = reinterpret_cast<Words>(both);
      if (q + 1 == Parts) break;
      x -= widened<0>(both);
      y -= widened<4>(both);
    }
  }
  // One half; it begins at that 64-bit lane.
  template <int First>
  static WENGERT_INLINE Raw<float> widened(__m512i both) {
    const __m256i half =
        __builtin_shufflevector(both, both, First, First + 1, First + 2, First + 3);
    return reinterpret_cast<Raw<float>>(halves(half) << 16);
  }

  cpu::GemmRange* range_;
  Words least_ = Words{} - 1, most_{};
};

// Packs 16 lanes by 16 units at a time, which are read along the lanes or across them, whichever is
// contiguous, and turned if they are to lie the other way.
template <class Reader, bool Rows>
void gemm_pack_units(const cpu::GemmPack& p) {
  using Source = typename Reader::Source;
  constexpr int N = 16, P = Reader::kParts;
  const Source* src = static_cast<const Source*>(p.src);
  int32_t* dst = static_cast<int32_t*>(p.dst);
  const bool across = p.lane_stride == 1 && p.step_stride != 1;
  const auto least = [](int64_t a, int64_t b) { return static_cast<int>(a < b ? a : b); };
  Reader reader(p.range);
  for (int64_t q = 0; q < p.steps; q += N) {
    const int steps = least(p.steps - q, N);
    const int64_t e = 2 * q, left = p.k - e > 0 ? p.k - e : 0;
    for (int64_t l = 0; l < p.width; l += N) {
      const int have = least(p.lanes - l > 0 ? p.lanes - l : 0, N), want = least(p.width - l, N);
      Vec<int32_t> block[P][N];
      Words parts[P];
      const Source* at = src + l * p.lane_stride + e * p.step_stride;
      const auto read = [&](int i) __attribute__((always_inline)) {
        if (across) {
          const Source* row = at + 2 * i * p.step_stride;
          reader.across(row, 2 * i < left ? have : 0, row + p.step_stride,
                        2 * i + 1 < left ? have : 0, parts);
        } else if (p.step_stride == 1) {
          reader.along(at + i * p.lane_stride, i < have ? least(left, 2 * N) : 0, parts);
        } else {
          Source lane[2 * N] = {};
          for (int k = 0; i < have && k < least(left, 2 * N); ++k) {
            lane[k] = at[i * p.lane_stride + k * p.step_stride];
          }
          reader.along(lane, 2 * N, parts);
        }
        for (int part = 0; part < P; ++part) {
          block[part][i] = reinterpret_cast<Raw<int32_t>>(parts[part]);
        }
      };
      if constexpr (Reader::kUnrolled) {
#pragma GCC unroll 16
        for (int i = 0; i < N; ++i) read(i);
      } else {
#pragma GCC unroll 1
        for (int i = 0; i < N; ++i) read(i);
      }
      if (dst == nullptr) continue;
      for (int part = 0; part < P; ++part) {
        if (across == Rows) transpose_stages<int32_t, N / 2>(block[part]);
        int32_t* to = dst + part * p.part_step;
        to += Rows ? l * p.row_step + q : q * p.width + l;
        const int64_t step = Rows ? p.row_step : p.width;
        const int count = Rows ? want : steps, lanes = Rows ? steps : want;
        const auto write = [&](int i) __attribute__((always_inline)) {
          if (i < count) block[part][i].store(to + i * step, lanes);
        };
        if constexpr (Reader::kUnrolled) {
#pragma GCC unroll 16
          for (int i = 0; i < N; ++i) write(i);
        } else {
#pragma GCC unroll 1
          for (int i = 0; i < N; ++i) write(i);
        }
      }
    }
  }
  reader.finish();
}

// ---- the table ---------------------------------------------------------------------------------

// bfloat16, and float32 by 1, 3 and 6 products of its parts, with the kernels and sizes of `units`.
template <bool Rows>
void fill_gemm_units(cpu::GemmUnits& to, const cpu::GemmIsa& units, int64_t split_kc) {
  to.bfloat16 = units;
  to.bfloat16.dtype = DType::BFloat16;
  to.bfloat16.pack_a = gemm_pack_units<PairedBFloat16, Rows>;
  to.bfloat16.pack_b = gemm_pack_units<PairedBFloat16, false>;
  to.bfloat16.vector = gemm_vector<float, BFloat16>;
  for (cpu::GemmIsa& isa : to.float32) {
    isa = units;
    isa.dtype = DType::Float32;
    isa.vector = gemm_vector<float>;
  }
  auto& [one, three, six] = to.float32;
  one.pack_a = gemm_pack_units<SplitFloat32<1>, Rows>;
  one.pack_b = gemm_pack_units<SplitFloat32<1>, false>;
  three.pack_a = gemm_pack_units<SplitFloat32<2>, Rows>;
  three.pack_b = gemm_pack_units<SplitFloat32<2>, false>;
  three.parts = 2;
  three.products = 3;
  six.pack_a = gemm_pack_units<SplitFloat32<3>, Rows>;
  six.pack_b = gemm_pack_units<SplitFloat32<3>, false>;
  six.parts = 3;
  six.products = 6;
  three.kc = six.kc = split_kc;
}

// What kernels of pairs have in common.
constexpr cpu::GemmIsa pairs_gemm_isa() {
  cpu::GemmIsa isa{};
  isa.sum = DType::Float32;
  isa.fused = true;
  isa.unit = sizeof(Pair);
  isa.group = 2;
  isa.writes_narrow = true;
  isa.lanes = 16;
  isa.nv = 2;
  return isa;
}

}  // namespace wengert::WENGERT_ISA
