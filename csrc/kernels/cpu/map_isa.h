// Inner loops of the elementwise kernels: one template for every functor's forward, one for every
// derivative, one for casts. Read after functors.h and vec.h.
#pragma once

#include "kernels/cpu/division.h"
#include "kernels/cpu/gemm.h"
#include "kernels/cpu/vec.h"
#include "kernels/cpu/vmath_all.h"
#include "kernels/kernels.h"

namespace wengert::WENGERT_ISA {

// A copy of n bytes, All at most. Only one of a length known to the compiler is an instruction.
template <int All>
WENGERT_INLINE void copy_bytes(void* to, const void* from, int n) {
  if (n >= All) {
    __builtin_memcpy(to, from, All);
  } else {
    __builtin_memcpy(to, from, static_cast<size_t>(n));
  }
}

// Masks are stored as bool bytes. Some compilers widen and narrow bytes one by one; hence the
// instructions by name.
template <class T>
WENGERT_INLINE Mask<T> load_mask(const char* p, int n) {
  if constexpr (sizeof(T) == 1) {
    return {Vec<int8_t>::load(reinterpret_cast<const int8_t*>(p), n).v != 0};
  }
#if defined(__AVX512BW__) && defined(__AVX512VL__)
  if constexpr (sizeof(T) >= 4) {
    const __m128i b = _mm_maskz_loadu_epi8(static_cast<__mmask16>((1u << n) - 1), p);
    constexpr bool four = sizeof(T) == 4;
    const __m512i v = four ? _mm512_maskz_cvtepu8_epi32(static_cast<__mmask16>(-1), b)
                           : _mm512_maskz_cvtepu8_epi64(static_cast<__mmask8>(-1), b);
    return {reinterpret_cast<Raw<int_of<T>>>(v) != 0};
  }
#endif
  typedef uint8_t Bytes __attribute__((vector_size(Vec<T>::N)));
  Bytes b{};
  copy_bytes<Vec<T>::N>(&b, p, n);
#if defined(__SSE4_2__)
  if constexpr (sizeof(T) == 4 || sizeof(T) == 8) {
    __m128i all{};
    __builtin_memcpy(&all, &b, sizeof b);
    Raw<int_of<T>> wide;
    constexpr bool four = sizeof(T) == 4;
#if defined(__AVX2__)
    const __m256i v = four ? _mm256_cvtepu8_epi32(all) : _mm256_cvtepu8_epi64(all);
#else
    const __m128i v = four ? _mm_cvtepu8_epi32(all) : _mm_cvtepu8_epi64(all);
#endif
    __builtin_memcpy(&wide, &v, sizeof wide);
    return {wide != 0};
  }
#endif
  return {__builtin_convertvector(b, Raw<int_of<T>>) != 0};
}
template <class T>
WENGERT_INLINE void store_mask(Mask<T> m, char* p, int n) {
#if defined(__AVX512BW__) && defined(__AVX512DQ__) && defined(__AVX512VL__)
  if constexpr (sizeof(T) == 4 || sizeof(T) == 8) {
    __m512i v;
    __builtin_memcpy(&v, &m.v, sizeof v);
    const auto lanes =
        static_cast<__mmask16>(sizeof(T) == 4 ? _mm512_movepi32_mask(v) : _mm512_movepi64_mask(v));
    _mm_mask_storeu_epi8(p, static_cast<__mmask16>((1u << n) - 1), _mm_maskz_set1_epi8(lanes, 1));
    return;
  }
#elif defined(__AVX2__)
  if constexpr (sizeof(T) == 4) {
    __m128i half[2];
    __builtin_memcpy(half, &m.v, sizeof half);
    const __m128i bytes = _mm_packs_epi16(_mm_packs_epi32(half[0], half[1]), _mm_setzero_si128());
    const __m128i ones = _mm_and_si128(bytes, _mm_set1_epi8(1));
    copy_bytes<Vec<T>::N>(p, &ones, n);
    return;
  }
#endif
  if constexpr (sizeof(T) == 1) {
    Vec<int8_t>(Raw<int8_t>(m.v & 1)).store(reinterpret_cast<int8_t*>(p), n);
  } else {
    typedef int8_t Bytes __attribute__((vector_size(Vec<T>::N)));
    const Bytes b = __builtin_convertvector(m.v, Bytes) & 1;
    copy_bytes<Vec<T>::N>(p, &b, n);
  }
}
template <bool kPast, class T>
WENGERT_INLINE void store_result(Vec<T> v, char* p, int n) {
  if (kPast && n >= Vec<T>::N) return stream_vector(v.v, p);
  v.store(reinterpret_cast<T*>(p), n);
}
template <bool, class T>
WENGERT_INLINE void store_result(Mask<T> m, char* p, int n) {
  store_mask(m, p, n);
}

template <class F>
constexpr int mask_operand() {
  if constexpr (HasMaskOperand<F>) {
    return F::mask_operand;
  } else {
    return -1;
  }
}

// Operand I at element i, as the functor wants it: a vector or a mask.
template <class F, int I, class T>
WENGERT_INLINE auto load_operand(const char* p, int64_t i, int n) {
  if constexpr (I == mask_operand<F>()) {
    return load_mask<T>(p + i, n);
  } else {
    const T* at = reinterpret_cast<const T*>(p) + i;
    return Vec<T>::load(at, n);
  }
}
// What an operand that was not saved looks like.
template <class F, int I, class T>
WENGERT_INLINE auto no_operand() {
  if constexpr (I == mask_operand<F>()) {
    return Mask<T>{};
  } else {
    return Vec<T>(0.0);
  }
}

template <class F, class T, class Step>
WENGERT_INLINE void over_elements(int64_t n, Step&& step) {
  if constexpr (Compact<F>) {
    over_compact<T>(n, static_cast<Step&&>(step));
  } else {
    over<T>(n, static_cast<Step&&>(step));
  }
}

// ptr: out, x0, x1, x2. With kPast the output is aligned, and written past the caches.
template <class F, class T, bool kPast = false>
void map_forward(char* const* ptr, int64_t n, const double* params) {
  const F fn = make_functor<F>(params);
  char* out = ptr[0];
  constexpr int64_t out_item = F::kind == Kind::Compare ? 1 : sizeof(T);
  over_elements<F, T>(n, [&](int64_t i, int m) __attribute__((always_inline)) {
    if constexpr (F::arity == 1) {
      store_result<kPast>(fn.f(load_operand<F, 0, T>(ptr[1], i, m)), out + i * out_item, m);
    } else if constexpr (F::arity == 2) {
      store_result<kPast>(
          fn.f(load_operand<F, 0, T>(ptr[1], i, m), load_operand<F, 1, T>(ptr[2], i, m)),
          out + i * out_item, m);
    } else {
      store_result<kPast>(
          fn.f(load_operand<F, 0, T>(ptr[1], i, m), load_operand<F, 1, T>(ptr[2], i, m),
               load_operand<F, 2, T>(ptr[3], i, m)),
          out + i * out_item, m);
    }
  });
}

// ptr: gradient of operand I, g, then what uses[I] names, in the order x0, x1, x2, y
template <class F, int I, class T, bool kPast>
void map_gradient(char* const* ptr, int64_t n, const double* params) {
  const F fn = make_functor<F>(params);
  constexpr int uses = F::uses[I];
  // the place of a used operand among the pointers
  constexpr auto place = [](int bit) constexpr {
    return 2 + __builtin_popcount(static_cast<unsigned>(uses & (bit - 1)));
  };
  over_elements<F, T>(n, [&](int64_t i, int m) __attribute__((always_inline)) {
    const Vec<T> g = load_operand<Neg, 0, T>(ptr[1], i, m);
    const auto x = [&]<int K>() __attribute__((always_inline)) {
      if constexpr ((uses >> K & 1) != 0) {
        return load_operand<F, K, T>(ptr[place(1 << K)], i, m);
      } else {
        return no_operand<F, K, T>();
      }
    };
    const auto y = [&]() __attribute__((always_inline)) {
      if constexpr ((uses & kY) != 0) {
        return load_operand<Neg, 0, T>(ptr[place(kY)], i, m);
      } else {
        return Vec<T>(0.0);
      }
    }();
    const auto x0 = x.template operator()<0>();
    Vec<T> r(0.0);
    if constexpr (F::arity == 1) {
      r = pull_back<I>(fn, g, x0, y);
    } else if constexpr (F::arity == 2) {
      r = pull_back<I>(fn, g, x0, x.template operator()<1>(), y);
    } else {
      r = pull_back<I>(fn, g, x0, x.template operator()<1>(), x.template operator()<2>(), y);
    }
    store_result<kPast>(r, ptr[0] + i * static_cast<int64_t>(sizeof(T)), m);
  });
}

template <class S, class D>
void cast(char* const* ptr, int64_t n, const double*) {
  D* out = reinterpret_cast<D*>(ptr[0]);
  const S* in = reinterpret_cast<const S*>(ptr[1]);
  if constexpr (__is_same(S, D)) {
    __builtin_memcpy(out, in, static_cast<size_t>(n) * sizeof(S));
  } else {
    for (int64_t i = 0; i < n; ++i) out[i] = convert<D>(in[i]);
  }
}

template <class F, class T>
constexpr bool has_forward() {
  constexpr bool floating = __is_same(T, float) || __is_same(T, double);
  if constexpr (F::kind == Kind::Floating) return floating;
  if constexpr (F::kind == Kind::Numeric) return !__is_same(T, Bool8);
  if constexpr (F::kind == Kind::Integral) return !floating;
  return true;
}

template <class F, class T, bool kPast, class Table>
void fill_functor(Table& map) {
  constexpr int t = static_cast<int>(kDTypeOf<T>);
  if constexpr (has_forward<F, T>()) map[map_kernel<F>][t] = &map_forward<F, T, kPast>;
  if constexpr ((__is_same(T, float) || __is_same(T, double)) && requires { F::uses; }) {
    map[grad_kernel<F, 0>][t] = &map_gradient<F, 0, T, kPast>;
    if constexpr (F::arity > 1) map[grad_kernel<F, 1>][t] = &map_gradient<F, 1, T, kPast>;
    if constexpr (F::arity > 2) map[grad_kernel<F, 2>][t] = &map_gradient<F, 2, T, kPast>;
  }
}
// Past the caches go float32 and the cheap functors: others go there by a tile.
template <class F, class Table>
void fill_past([[maybe_unused]] Table& map) {
#if defined(__SSE4_2__)
  if constexpr (!Compact<F> && F::kind != Kind::Compare) fill_functor<F, float, true>(map);
#endif
}

template <class Table, class... Fs>
void fill_map(Table& map, Table& map_past, TypeList<Fs...>) {
  (fill_functor<Fs, Bool8, false>(map), ...);
  (fill_functor<Fs, int32_t, false>(map), ...);
  (fill_functor<Fs, int64_t, false>(map), ...);
  (fill_functor<Fs, float, false>(map), ...);
  (fill_functor<Fs, double, false>(map), ...);
  (fill_past<Fs>(map_past), ...);
}

template <class S, class Row, class... Infos>
void fill_cast_row(Row& to, DTypeList<Infos...>) {
  ((to[static_cast<int>(Infos::dtype)] = &cast<S, typename Infos::type>), ...);
}
template <class Table, class... Infos>
void fill_cast(Table& table, DTypeList<Infos...> all) {
  (fill_cast_row<typename Infos::type>(table[static_cast<int>(Infos::dtype)], all), ...);
}

}  // namespace wengert::WENGERT_ISA
