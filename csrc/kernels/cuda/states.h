// How optimizer states are kept in narrow formats: the same numbers, to the bit, as
// kernels/cpu/states_isa.h makes, where the formats are explained. A block of kStateBlock elements
// is a warp's.
#pragma once

#include <bit>

#include "kernels/cuda/keys.h"
#include "kernels/cuda/operand.h"
#include "kernels/cuda/warp.h"
#include "kernels/kernels.h"

namespace wengert::cuda {

// N elements to each lane of a warp, from an array's element `begin` on. Where all are there and
// aligned four stand side by side, for one instruction, then four a warp's width further. Else the
// lanes' stand side by side.
struct Place {
  int64_t begin;
  int lane, n;  // how many there are for the warp
  bool whole;   // all, and aligned

  WENGERT_DEVICE int element(int k) const {
    return whole ? k / 4 * (4 * kWarp) + lane * 4 + k % 4 : k * kWarp + lane;
  }
};

// As they are in memory. They are converted later, or no array would be asked for before the one
// before it has come. Those that are not there are 0.
template <class S, int N>
struct Fetched {
  Pack<S, 4> v[N / 4];

  WENGERT_DEVICE S operator[](int k) const { return v[k / 4].of[k % 4]; }
  WENGERT_DEVICE S& operator[](int k) { return v[k / 4].of[k % 4]; }
};
template <class S, int N>
WENGERT_DEVICE void fetch(const void* from, const Place& at, Fetched<S, N>& x) {
#pragma unroll
  for (int k = 0; k < N; ++k) x[k] = S(0);
  if (!from) return;
  const S* p = static_cast<const S*>(from) + at.begin;
  if (at.whole) {
#pragma unroll
    for (int j = 0; j < N / 4; ++j) {
      x.v[j] = *reinterpret_cast<const Pack<S, 4>*>(p + at.element(4 * j));
    }
  } else {
#pragma unroll
    for (int k = 0; k < N; ++k) {
      if (at.element(k) < at.n) x[k] = p[at.element(k)];
    }
  }
}
// In one instruction, which the compiler does not always make of an assignment.
template <class S>
WENGERT_DEVICE void store_four(S* to, const Pack<S, 4>& v) {
  if constexpr (sizeof v == 4) {
    __stwb(reinterpret_cast<unsigned*>(to), std::bit_cast<unsigned>(v));
  } else if constexpr (sizeof v == 8) {
    __stwb(reinterpret_cast<uint2*>(to), std::bit_cast<uint2>(v));
  } else if constexpr (sizeof v == 16) {
    __stwb(reinterpret_cast<uint4*>(to), std::bit_cast<uint4>(v));
  } else {
    struct Halves {
      uint4 of[2];
    };
    const auto h = std::bit_cast<Halves>(v);
    __stwb(reinterpret_cast<uint4*>(to), h.of[0]);
    __stwb(reinterpret_cast<uint4*>(to) + 1, h.of[1]);
  }
}
template <class S, class T, int N>
WENGERT_DEVICE void write_part(void* to, const Place& at, const T (&x)[N]) {
  S* p = static_cast<S*>(to) + at.begin;
  if (at.whole) {
#pragma unroll
    for (int j = 0; j < N / 4; ++j) {
      Pack<S, 4> v;
#pragma unroll
      for (int r = 0; r < 4; ++r) v.of[r] = convert<S>(x[4 * j + r]);
      store_four(p + at.element(4 * j), v);
    }
  } else {
#pragma unroll
    for (int k = 0; k < N; ++k) {
      if (at.element(k) < at.n) p[at.element(k)] = convert<S>(x[k]);
    }
  }
}

// --- rounding ------------------------------------------------------------------------------------

struct Dice {
  uint32_t key;
  static WENGERT_DEVICE Dice of(int64_t step, int64_t begin) {
    uint64_t x = (static_cast<uint64_t>(step) << 40) + static_cast<uint64_t>(begin);
    x += 0x9e3779b97f4a7c15u;
    x = (x ^ x >> 30) * 0xbf58476d1ce4e5b9u;
    x = (x ^ x >> 27) * 0x94d049bb133111ebu;
    return {static_cast<uint32_t>(x ^ x >> 31)};
  }
  WENGERT_DEVICE uint32_t word(int element) const {
    uint32_t x = static_cast<uint32_t>(element) * 0x9e3779b9u + key;
    x = (x ^ x >> 16) * 0x21f0aaadu;
    return x ^ x >> 15;
  }
};

WENGERT_DEVICE uint32_t to_nearest(float x) {
  return (bits_of(x) >> 16 & 1) + 0x7fff;
}
WENGERT_DEVICE uint16_t bfloat16_bits(float x, uint32_t up) {
  const uint32_t w = bits_of(x);
  return static_cast<uint16_t>((x != x ? w | 0x400000u : w + up) >> 16);
}

// --- bytes ---------------------------------------------------------------------------------------

// Which map is the same for all threads, so that its numbers are chosen as they run.
struct ByteMap {
  static constexpr int kDropped = 19;
  static constexpr uint32_t kStep = 1u << kDropped;
  bool with_signs;

  WENGERT_DEVICE float shift() const { return with_signs ? 0x1p-7f : 0x1p-15f; }
  WENGERT_DEVICE uint32_t first() const { return with_signs ? 120u << 4 : 112u << 4; }
  WENGERT_DEVICE float top() const {
    return with_signs ? (1.9375f - 0x1p-7f) * (1 - 0x1p-20f)
                      : (1.9375f - 0x1p-15f) * (1 - 0x1p-20f);
  }
  WENGERT_DEVICE float scale(float peak) const { return peak / top(); }
  WENGERT_DEVICE float inverse(float peak) const { return peak == 0 ? 0.0f : top() / peak; }

  WENGERT_DEVICE float decode(uint32_t code, float scale) const {
    const float y = number_of_bits((code | first()) << kDropped);
    const float x = fmaf(y, scale, -shift() * scale);
    return with_signs ? number_of_bits(bits_of(x) ^ (~(code << 24) & 0x80000000u)) : x;
  }
  WENGERT_DEVICE uint8_t encode(float x, float inverse, uint32_t up) const {
    const float y = fmaf(with_signs ? fabsf(x) : x, inverse, shift());
    const int32_t code = static_cast<int32_t>(bits_of(y) + up) >> kDropped;
    if (with_signs)
      return static_cast<uint8_t>(code ^ static_cast<int32_t>(bits_of(x) >> 24 & 128));
    const auto least = static_cast<int32_t>(first() + 1);
    return static_cast<uint8_t>(code > least ? code : least);
  }
};

// The greatest magnitude of a block by its bits, among which those of NaN are above all others;
// next to nothing counts as 0. Of elements that are not there it must be given 0. All lanes come.
template <int N>
WENGERT_DEVICE float peak_of(const float (&x)[N]) {
  uint32_t most = 0;
#pragma unroll
  for (int k = 0; k < N; ++k) {
    const uint32_t b = bits_of(x[k]) & 0x7fffffffu;
    if (most < b) most = b;
  }
  const float peak = number_of_bits(__reduce_max_sync(kAllLanes, most));
  return peak < 0x1p-100f ? 0.0f : peak;
}

}  // namespace wengert::cuda
