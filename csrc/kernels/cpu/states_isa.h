// How an optimizer's states are kept: as the numbers that they are computed in, as bfloat16, or as
// bytes. Bytes follow Dettmers, Lewis, Shleifer, Zettlemoyer, 8-bit Optimizers via Block-wise
// Quantization (2022): blocks of elements with a scale of their own, and steps between codes that
// grow with the value. Their map is a table that is searched; the one here is arithmetic on the
// bits of floats.
#pragma once

#include "kernels/cpu/cpu.h"
#include "kernels/cpu/vec.h"

namespace wengert::WENGERT_ISA {

using Word = Raw<int32_t>;

template <class U>
struct LanesOf {  // as many as a Vec<float> has
  typedef U type __attribute__((vector_size(Vec<float>::N * sizeof(U))));
};
// Compilers turn the generic conversion of bytes into words lane by lane, hence the step between
// and the instructions by name; the masked forms are the plain ones without a GCC 12 warning.
template <class U>
WENGERT_INLINE Word widened(typename LanesOf<U>::type v) {
#if defined(__AVX512F__)
  constexpr auto all = static_cast<__mmask16>(-1);
  if constexpr (sizeof(U) == 1) {
    return reinterpret_cast<Word>(_mm512_maskz_cvtepu8_epi32(all, reinterpret_cast<__m128i>(v)));
  } else {
    return reinterpret_cast<Word>(_mm512_maskz_cvtepu16_epi32(all, reinterpret_cast<__m256i>(v)));
  }
#else
  using Half = typename LanesOf<uint16_t>::type;
  return __builtin_convertvector(__builtin_convertvector(v, Half), Word);
#endif
}
template <class U>
WENGERT_INLINE typename LanesOf<U>::type narrowed(Word w) {
  using To = typename LanesOf<U>::type;
#if defined(__AVX512F__)
  constexpr auto all = static_cast<__mmask16>(-1);
  if constexpr (sizeof(U) == 1) {
    return reinterpret_cast<To>(_mm512_maskz_cvtepi32_epi8(all, reinterpret_cast<__m512i>(w)));
  } else {
    return reinterpret_cast<To>(_mm512_maskz_cvtepi32_epi16(all, reinterpret_cast<__m512i>(w)));
  }
#else
  using Half = typename LanesOf<uint16_t>::type;
  return __builtin_convertvector(__builtin_convertvector(w, Half), To);
#endif
}
template <class U>
WENGERT_INLINE Word load_words(const U* p, int m) {
  typename LanesOf<U>::type v{};
  if (m >= Vec<float>::N) {
    __builtin_memcpy(&v, p, sizeof v);
  } else {
    __builtin_memcpy(&v, p, static_cast<size_t>(m) * sizeof(U));
  }
  return widened<U>(v);
}
template <class U>
WENGERT_INLINE void store_words(Word w, U* p, int m) {
  const auto v = narrowed<U>(w);
  if (m >= Vec<float>::N) {
    __builtin_memcpy(p, &v, sizeof v);
  } else {
    __builtin_memcpy(p, &v, static_cast<size_t>(m) * sizeof(U));
  }
}

// --- rounding ----------------------------------------------------------------------------------

// A running mean with a small rate moves by less than half a step of a narrow format and would
// stand still; rounded up with the probability of the part that is lost, it is right on average.
// The probability's number belongs to the step and the element alone: not to threads, not to how
// parameters are grouped, and no number is taken from a generator of the user's.
struct Dice {
  uint32_t key;
  // of the block that begins at an element (Steele, Lea, Flood, Fast splittable pseudorandom number
  // generators, 2014)
  static WENGERT_INLINE Dice of(int64_t step, int64_t begin) {
    uint64_t x = (static_cast<uint64_t>(step) << 40) + static_cast<uint64_t>(begin);
    x += 0x9e3779b97f4a7c15;
    x = (x ^ x >> 30) * 0xbf58476d1ce4e5b9;
    x = (x ^ x >> 27) * 0x94d049bb133111eb;
    return {static_cast<uint32_t>(x ^ x >> 31)};
  }
  // 32 bits for each of the elements from the block's i-th on: a count in steps of the golden
  // ratio, mixed.
  WENGERT_INLINE Word words(int64_t i) const {
    typedef uint32_t U __attribute__((vector_size(WENGERT_VEC_BYTES)));
    constexpr uint32_t golden = 0x9e3779b9;
    U x = reinterpret_cast<U>(lane_numbers<float>()) * golden;
    x += key + static_cast<uint32_t>(i) * golden;
    x = (x ^ x >> 16) * 0x21f0aaadu;
    return reinterpret_cast<Word>(x ^ x >> 15);
  }
};
// The upper bits of lanes, as numbers that are not negative.
template <int Bits>
WENGERT_INLINE Word upper(Word w) {
  typedef uint32_t U __attribute__((vector_size(WENGERT_VEC_BYTES)));
  return reinterpret_cast<Word>(reinterpret_cast<U>(w) >> (32 - Bits));
}

// --- bfloat16 ----------------------------------------------------------------------------------

WENGERT_INLINE Vec<float> load_bfloat16(const void* p, int64_t i, int m) {
  return from_bits<float>(load_words(static_cast<const uint16_t*>(p) + i, m) << 16);
}
// The upper halves of x's bits after `up` (0 to 2^16 - 1) was added.
WENGERT_INLINE void store_bfloat16(Vec<float> x, Word up, void* p, int64_t i, int m) {
  const Word nan = (x != x).v, w = bits(x);
  store_words((nan ? w | 0x400000 : w + up) >> 16, static_cast<uint16_t*>(p) + i, m);
}
WENGERT_INLINE Word to_nearest(Vec<float> x) {  // ties to even
  return (bits(x) >> 16 & 1) + 0x7fff;
}

// --- bytes -------------------------------------------------------------------------------------

// A magnitude y of at most kTop is kept as the low byte, or 7 bits, of the upper bits of y +
// kShift: steps grow with y (16 to an octave), and are even below kShift, whose own bits end in
// zeros there. Signed: 7 bits over 8 octaves, above them a 0 for negative numbers; 0 is exact.
// Else, as of a square: 8 bits over 16 octaves, of which the first code is not used, as what is
// divided by must not become 0.
template <bool Signed>
struct ByteMap {
  static constexpr int kDropped = 19;  // bits of a float's fraction
  static constexpr int32_t kStep = 1 << kDropped;
  static constexpr float kShift = Signed ? 0x1p-7f : 0x1p-15f;
  static constexpr int32_t kFirst = (127 - (Signed ? 7 : 15)) << 4;  // the upper bits of kShift
  // The last code's, but for what may be rounded up when a block's greatest becomes it.
  static constexpr float kTop = (1.9375f - kShift) * (1 - 0x1p-20f);

  static WENGERT_INLINE Vec<float> decode(Word code, Vec<float> scale) {
    const Vec<float> y = from_bits<float>((code | kFirst) << kDropped);
    const Vec<float> x = fma(y, scale, Vec<float>(-kShift) * scale);
    return Signed ? from_bits<float>(bits(x) ^ (~(code << 24) & INT32_MIN)) : x;
  }
  // `up` (0 to kStep - 1) is added before rounding down. The code is the low byte.
  static WENGERT_INLINE Word encode(Vec<float> x, Vec<float> inverse, Word up) {
    const Vec<float> y = fma(Signed ? abs(x) : x, inverse, Vec<float>(kShift));
    const Word code = (bits(y) + up) >> kDropped;
    if constexpr (Signed) return code ^ (bits(x) >> 24 & 128);
    return code > kFirst + 1 ? code : Word{} + (kFirst + 1);
  }
  // What decodes the codes of a block of this greatest magnitude, and encodes. Blocks of next to
  // nothing are of zeros.
  static WENGERT_INLINE Vec<float> scale(float peak) { return Vec<float>::broadcast(peak / kTop); }
  static WENGERT_INLINE float kept_peak(float peak) { return peak < 0x1p-100f ? 0.0f : peak; }
  static WENGERT_INLINE Vec<float> inverse(float peak) {
    return Vec<float>::broadcast(peak == 0 ? 0.0f : kTop / peak);
  }
};
inline constexpr int32_t kStep = ByteMap<true>::kStep;

// The greatest magnitude by its bits, among which those of NaN are above all others.
WENGERT_INLINE Word greater_bits(Word most, Vec<float> x) {
  const Word b = bits(x) & 0x7fffffff;
  return most > b ? most : b;
}
WENGERT_INLINE float greatest(Word most) {
  int32_t r = most[0];
  for (int i = 1; i < Vec<float>::N; ++i) r = r < most[i] ? most[i] : r;
  return __builtin_bit_cast(float, r);
}

// Of blocks of kStateBlock elements, the last may be shorter.
template <bool Signed>
void quantize(const float* x, int64_t n, uint8_t* codes, float* peaks) {
  using Map = ByteMap<Signed>;
  for (int64_t b = 0; b < n; b += kStateBlock) {
    const int64_t left = n - b < kStateBlock ? n - b : kStateBlock;
    Word most{};
    over<float>(left, [&](int64_t i, int m) __attribute__((always_inline)) {
      most = greater_bits(most, Vec<float>::load(x + b + i, m));
    });
    const float kept = Map::kept_peak(greatest(most));
    const Vec<float> inverse = Map::inverse(kept);
    peaks[b / kStateBlock] = kept;
    over<float>(left, [&](int64_t i, int m) __attribute__((always_inline)) {
      store_words(Map::encode(Vec<float>::load(x + b + i, m), inverse, Word{} + kStep / 2),
                  codes + b + i, m);
    });
  }
}
template <bool Signed>
void dequantize(const uint8_t* codes, const float* peaks, int64_t n, float* x) {
  using Map = ByteMap<Signed>;
  for (int64_t b = 0; b < n; b += kStateBlock) {
    const int64_t left = n - b < kStateBlock ? n - b : kStateBlock;
    const Vec<float> scale = Map::scale(peaks[b / kStateBlock]);
    over<float>(left, [&](int64_t i, int m) __attribute__((always_inline)) {
      Map::decode(load_words(codes + b + i, m), scale).store(x + b + i, m);
    });
  }
}

// --- the arrays of one parameter ---------------------------------------------------------------

// What a state is: a mean of either sign, a mean of squares, the greatest so far of such.
enum class Is { Mean, Square, Greatest };

template <class P>
WENGERT_INLINE auto load_as(const P* p, int64_t i, int m) {
  if constexpr (__is_same(P, BFloat16)) {
    return load_bfloat16(p, i, m);
  } else {
    return Vec<P>::load(p + i, m);
  }
}
template <class P, class V>
WENGERT_INLINE void store_as(V v, P* p, int64_t i, int m) {
  if constexpr (__is_same(P, BFloat16)) {
    store_bfloat16(v, to_nearest(v), p, i, m);
  } else {
    v.store(p + i, m);
  }
}

template <Is... Each>
struct States {
  static constexpr Is of[] = {Each...};
  static constexpr int size = sizeof...(Each);
};

// One parameter's arrays. T: computed in; P: of the parameter and its gradient; Kept: the States of
// the rule, of which those that are not in use have no memory.
template <class T, class P>
struct PlainArrays {
  P* p;
  const P* g;
  void* s[kMaxOptimizerStates];
  explicit WENGERT_INLINE PlainArrays(const OptimizerItem& it)
      : p(static_cast<P*>(it.param)), g(static_cast<const P*>(it.grad)) {
    for (int k = 0; k < kMaxOptimizerStates; ++k) s[k] = it.state[k];
  }
  WENGERT_INLINE Vec<T> param(int64_t i, int m) const { return load_as(p, i, m); }
  WENGERT_INLINE Vec<T> grad(int64_t i, int m) const { return load_as(g, i, m); }
  WENGERT_INLINE void put_param(Vec<T> v, int64_t i, int m) const { store_as(v, p, i, m); }
};

template <class T, class P, StateFormat F, class Kept>
struct Arrays;

struct NoMemory {};

template <class T, class P, class Kept>
struct Arrays<T, P, StateFormat::Computed, Kept> : PlainArrays<T, P> {
  static constexpr bool kBlocks = false;
  using Memory = NoMemory;
  explicit WENGERT_INLINE Arrays(const OptimizerItem& it, Memory&) : PlainArrays<T, P>(it) {}
  template <int K>
  WENGERT_INLINE Vec<T> state(int64_t i, int m) const {
    return Vec<T>::load(static_cast<const T*>(this->s[K]) + i, m);
  }
  template <int K>
  WENGERT_INLINE void put_state(Vec<T> v, int64_t i, int m) const {
    v.store(static_cast<T*>(this->s[K]) + i, m);
  }
};

// Those with kBlocks are told where a block begins, and when its `n` elements are done.
template <class P, class Kept>
struct Arrays<float, P, StateFormat::BFloat16, Kept> : PlainArrays<float, P> {
  static constexpr bool kBlocks = true;
  using Memory = NoMemory;
  const int64_t step;
  int64_t begin = 0;
  Dice dice{};
  explicit WENGERT_INLINE Arrays(const OptimizerItem& it, Memory&)
      : PlainArrays<float, P>(it), step(it.step) {}
  WENGERT_INLINE void open(int64_t at) {
    begin = at;
    dice = Dice::of(step, at);
  }
  WENGERT_INLINE void close(int64_t) {}
  template <int K>
  WENGERT_INLINE Vec<float> state(int64_t i, int m) const {
    return load_bfloat16(this->s[K], i, m);
  }
  template <int K>
  WENGERT_INLINE void put_state(Vec<float> v, int64_t i, int m) const {
    const Word up = Kept::of[K] == Is::Square ? upper<16>(dice.words(i - begin)) : to_nearest(v);
    store_bfloat16(v, up, this->s[K], i, m);
  }
};

// Work on a block comes in two passes, the second of which reads no memory: what will be read is
// asked for meanwhile (8-bit Adam of 10 M elements: 0.70 instead of 0.90 ns an element). There may
// be nothing that far ahead, which does no harm.
WENGERT_INLINE void fetch(const void* array, int64_t from, int64_t bytes) {
  const uintptr_t at = reinterpret_cast<uintptr_t>(array) + static_cast<uintptr_t>(from);
  for (uintptr_t i = 0; i < static_cast<uintptr_t>(bytes); i += 64) {
    __builtin_prefetch(reinterpret_cast<const void*>(at + i));
  }
}

// New values wait in the cache until their block's greatest magnitude is known. They are no member,
// or no member would stay in a register.
template <class Kept>
struct Waiting {
  alignas(64) float value[Kept::size][kStateBlock];
};
template <class P, class Kept>
struct Arrays<float, P, StateFormat::Bytes, Kept> : PlainArrays<float, P> {
  static constexpr bool kBlocks = true;
  using Memory = Waiting<Kept>;
  template <int K>
  using Map = ByteMap<Kept::of[K] == Is::Mean>;

  const int64_t step;
  float* const fresh;  // rows of kStateBlock
  int64_t begin = 0;
  float* peaks[kMaxOptimizerStates];
  Vec<float> scale[kMaxOptimizerStates], inverse[kMaxOptimizerStates];
  Word most[kMaxOptimizerStates];

  explicit WENGERT_INLINE Arrays(const OptimizerItem& it, Memory& memory)
      : PlainArrays<float, P>(it), step(it.step), fresh(memory.value[0]) {
    for (int k = 0; k < kMaxOptimizerStates; ++k) peaks[k] = it.peaks[k];
  }
  template <int K = 0>
  WENGERT_INLINE void open(int64_t at) {
    begin = at;
    if constexpr (K < Kept::size) {
      scale[K] = Map<K>::scale(peaks[K] ? peaks[K][at / kStateBlock] : 0.0f);
      most[K] = Word{};
      open<K + 1>(at);
    }
  }
  template <int K>
  WENGERT_INLINE Vec<float> state(int64_t i, int m) const {
    return Map<K>::decode(load_words(static_cast<const uint8_t*>(this->s[K]) + i, m), scale[K]);
  }
  template <int K>
  WENGERT_INLINE void put_state(Vec<float> v, int64_t i, int) {
    v.store(fresh + K * kStateBlock + (i - begin));
    most[K] = greater_bits(most[K], v);
  }
  WENGERT_INLINE void close(int64_t n) {
    constexpr auto size = static_cast<int64_t>(sizeof(P)), block = kStateBlock * size;
    fetch(this->g, begin * size + 2 * block, block);
    fetch(this->p, begin * size + 2 * block, block);
    keep_peaks<0>();
    const Dice dice = Dice::of(step, begin);
    over<float>(
        n, [&](int64_t i, int m) __attribute__((always_inline)) { write<0>(i, m, dice.words(i)); });
  }

 private:
  template <int K>
  WENGERT_INLINE void keep_peaks() {
    if constexpr (K < Kept::size) {
      const float kept = Map<K>::kept_peak(greatest(most[K]));
      inverse[K] = Map<K>::inverse(kept);
      if (peaks[K]) peaks[K][begin / kStateBlock] = kept;
      keep_peaks<K + 1>();
    }
  }
  template <int K>
  WENGERT_INLINE void write(int64_t i, int m, Word dice) {
    if constexpr (K < Kept::size) {
      if (this->s[K]) {
        Word up = Word{} + kStep / 2;
        // The bits that both see decide next to nothing of the second.
        if constexpr (Kept::of[K] == Is::Mean) up = dice & (kStep - 1);
        if constexpr (Kept::of[K] == Is::Square) up = upper<19>(dice);
        const Vec<float> v = Vec<float>::load(fresh + K * kStateBlock + i);
        store_words(Map<K>::encode(v, inverse[K], up),
                    static_cast<uint8_t*>(this->s[K]) + begin + i, m);
      }
      write<K + 1>(i, m, dice);
    }
  }
};

}  // namespace wengert::WENGERT_ISA
