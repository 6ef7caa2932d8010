// Barriers, warps, bits and loads.
#pragma once

#include <bit>
#include <chrono>
#include <cstdint>
#include <cstring>
#include <type_traits>

#include "cuda_emulator.h"

namespace cuda_emulator {

// Shuffled values may be 2, 4 or 8 bytes long.
template <class T>
concept Shuffled =
    std::is_trivially_copyable_v<T> && (sizeof(T) == 2 || sizeof(T) == 4 || sizeof(T) == 8);

template <class T>
uint64_t to_bits(T value) {
  uint64_t bits = 0;
  std::memcpy(&bits, &value, sizeof value);
  return bits;
}

template <class T>
T from_bits(uint64_t bits) {
  T value;
  std::memcpy(&value, &bits, sizeof value);
  return value;
}

inline constexpr uint64_t kNoValue = 0xABABABABABABABAB;  // what a lane that is not there gives

inline uint64_t shuffle(uint32_t mask, const char* what, uint64_t value, unsigned source,
                        Site site) {
  Meeting& meeting = meet(mask, what, value, site);
  const bool there = source < 32 && (meeting.arrived >> source & 1);
  const uint64_t got = there ? meeting.value[source] : kNoValue;
  leave(meeting);
  return got;
}

inline unsigned segment(int width) {
  if (width < 1 || width > 32 || (width & (width - 1)) != 0) {
    mistake("a shuffle's width must be a power of two up to 32, got %d", width);
  }
  return static_cast<unsigned>(width) - 1;
}

inline uint32_t ballot(uint32_t mask, const char* what, bool predicate, Site site) {
  Meeting& meeting = meet(mask, what, predicate, site);
  uint32_t votes = 0;
  for (unsigned i = 0; i < 32; ++i) {
    if ((meeting.arrived >> i & 1) && meeting.value[i]) votes |= 1u << i;
  }
  leave(meeting);
  return votes;
}

template <class T, class Combine>
T reduce(uint32_t mask, const char* what, T value, Site site, Combine combine) {
  Meeting& meeting = meet(mask, what, to_bits(value), site);
  bool first = true;
  T total{};
  for (unsigned i = 0; i < 32; ++i) {
    if (!(meeting.arrived >> i & 1)) continue;
    const T one = from_bits<T>(meeting.value[i]);
    total = first ? one : combine(total, one);
    first = false;
  }
  leave(meeting);
  return total;
}

}  // namespace cuda_emulator

// A default argument is evaluated where the call stands, so each call tells its place.
#define WENGERT_EMULATED_SITE const char *file = __builtin_FILE(), int line = __builtin_LINE()

inline void __syncthreads(WENGERT_EMULATED_SITE) {
  cuda_emulator::block_barrier("__syncthreads", false, {file, line});
}
inline int __syncthreads_count(int predicate, WENGERT_EMULATED_SITE) {
  return cuda_emulator::block_barrier("__syncthreads_count", predicate != 0, {file, line}).agreed;
}
inline int __syncthreads_or(int predicate, WENGERT_EMULATED_SITE) {
  return cuda_emulator::block_barrier("__syncthreads_or", predicate != 0, {file, line}).agreed != 0;
}
inline int __syncthreads_and(int predicate, WENGERT_EMULATED_SITE) {
  const auto votes =
      cuda_emulator::block_barrier("__syncthreads_and", predicate != 0, {file, line});
  return votes.agreed == votes.came;
}
inline void __syncwarp(unsigned mask = 0xffffffffu, WENGERT_EMULATED_SITE) {
  cuda_emulator::leave(cuda_emulator::meet(mask, "__syncwarp", 0, {file, line}));
}

template <cuda_emulator::Shuffled T>
T __shfl_sync(unsigned mask, T value, int source, int width = warpSize, WENGERT_EMULATED_SITE) {
  using namespace cuda_emulator;
  const unsigned last = segment(width);
  const unsigned from = (lane() & ~last) | (static_cast<unsigned>(source) & last);
  return from_bits<T>(shuffle(mask, "__shfl_sync", to_bits(value), from, {file, line}));
}
template <cuda_emulator::Shuffled T>
T __shfl_up_sync(unsigned mask, T value, unsigned delta, int width = warpSize,
                 WENGERT_EMULATED_SITE) {
  using namespace cuda_emulator;
  const unsigned place = lane() & segment(width);
  const unsigned from = delta <= place ? lane() - delta : lane();
  return from_bits<T>(shuffle(mask, "__shfl_up_sync", to_bits(value), from, {file, line}));
}
template <cuda_emulator::Shuffled T>
T __shfl_down_sync(unsigned mask, T value, unsigned delta, int width = warpSize,
                   WENGERT_EMULATED_SITE) {
  using namespace cuda_emulator;
  const unsigned last = segment(width), place = lane() & last;
  const unsigned from = delta <= last - place ? lane() + delta : lane();
  return from_bits<T>(shuffle(mask, "__shfl_down_sync", to_bits(value), from, {file, line}));
}
template <cuda_emulator::Shuffled T>
T __shfl_xor_sync(unsigned mask, T value, int lanes, int width = warpSize, WENGERT_EMULATED_SITE) {
  using namespace cuda_emulator;
  const unsigned last = segment(width), other = lane() ^ static_cast<unsigned>(lanes);
  const unsigned from = other <= (lane() | last) ? other : lane();
  return from_bits<T>(shuffle(mask, "__shfl_xor_sync", to_bits(value), from, {file, line}));
}

inline unsigned __ballot_sync(unsigned mask, int predicate, WENGERT_EMULATED_SITE) {
  return cuda_emulator::ballot(mask, "__ballot_sync", predicate != 0, {file, line});
}
inline int __any_sync(unsigned mask, int predicate, WENGERT_EMULATED_SITE) {
  return cuda_emulator::ballot(mask, "__any_sync", predicate != 0, {file, line}) != 0;
}
inline int __all_sync(unsigned mask, int predicate, WENGERT_EMULATED_SITE) {
  return cuda_emulator::ballot(mask, "__all_sync", predicate == 0, {file, line}) == 0;
}
template <cuda_emulator::Shuffled T>
unsigned __match_any_sync(unsigned mask, T value, WENGERT_EMULATED_SITE) {
  using namespace cuda_emulator;
  Meeting& meeting = meet(mask, "__match_any_sync", to_bits(value), {file, line});
  uint32_t same = 0;
  for (unsigned i = 0; i < 32; ++i) {
    if ((meeting.arrived >> i & 1) && meeting.value[i] == to_bits(value)) same |= 1u << i;
  }
  leave(meeting);
  return same;
}
template <class T>
  requires std::is_same_v<T, int> || std::is_same_v<T, unsigned>
T __reduce_add_sync(unsigned mask, T value, WENGERT_EMULATED_SITE) {
  return static_cast<T>(cuda_emulator::reduce(mask, "__reduce_add_sync",
                                              static_cast<unsigned>(value), {file, line},
                                              [](unsigned a, unsigned b) { return a + b; }));
}
template <class T>
  requires std::is_same_v<T, int> || std::is_same_v<T, unsigned>
T __reduce_max_sync(unsigned mask, T value, WENGERT_EMULATED_SITE) {
  return cuda_emulator::reduce(mask, "__reduce_max_sync", value, {file, line},
                               [](T a, T b) { return a > b ? a : b; });
}
template <class T>
  requires std::is_same_v<T, int> || std::is_same_v<T, unsigned>
T __reduce_min_sync(unsigned mask, T value, WENGERT_EMULATED_SITE) {
  return cuda_emulator::reduce(mask, "__reduce_min_sync", value, {file, line},
                               [](T a, T b) { return a < b ? a : b; });
}

#undef WENGERT_EMULATED_SITE

// Nothing promises that lanes run together, so a lane sees itself alone.
inline unsigned __activemask() {
  return 1u << cuda_emulator::lane();
}

inline void __threadfence() {}
inline void __threadfence_block() {}
inline void __threadfence_system() {}
inline void __nanosleep(unsigned) {
  cuda_emulator::pause();
}
[[noreturn]] inline void __trap() {
  cuda_emulator::trap();
}
inline void __brkpt() {}
inline long long clock64() {
  return std::chrono::steady_clock::now().time_since_epoch().count();
}
inline unsigned long long globaltimer() {
  return static_cast<unsigned long long>(clock64());
}

inline int __popc(unsigned x) {
  return std::popcount(x);
}
inline int __popcll(unsigned long long x) {
  return std::popcount(x);
}
inline int __clz(int x) {
  return std::countl_zero(static_cast<unsigned>(x));
}
inline int __clzll(long long x) {
  return std::countl_zero(static_cast<unsigned long long>(x));
}
inline int __ffs(int x) {
  return __builtin_ffs(x);
}
inline int __ffsll(long long x) {
  return __builtin_ffsll(x);
}
inline unsigned __brev(unsigned x) {
  x = (x >> 1 & 0x55555555u) | (x & 0x55555555u) << 1;
  x = (x >> 2 & 0x33333333u) | (x & 0x33333333u) << 2;
  x = (x >> 4 & 0x0f0f0f0fu) | (x & 0x0f0f0f0fu) << 4;
  return __builtin_bswap32(x);
}
inline unsigned long long __brevll(unsigned long long x) {
  return static_cast<unsigned long long>(__brev(static_cast<unsigned>(x))) << 32 |
         __brev(static_cast<unsigned>(x >> 32));
}
inline unsigned __byte_perm(unsigned x, unsigned y, unsigned select) {
  const uint64_t bytes = static_cast<uint64_t>(y) << 32 | x;
  unsigned out = 0;
  for (unsigned i = 0; i < 4; ++i) {
    out |= static_cast<unsigned>(bytes >> 8 * (select >> 4 * i & 7) & 0xff) << 8 * i;
  }
  return out;
}
inline unsigned __funnelshift_l(unsigned low, unsigned high, unsigned shift) {
  return static_cast<unsigned>((static_cast<uint64_t>(high) << 32 | low) << (shift & 31) >> 32);
}
inline unsigned __funnelshift_r(unsigned low, unsigned high, unsigned shift) {
  return static_cast<unsigned>((static_cast<uint64_t>(high) << 32 | low) >> (shift & 31));
}
inline int __mulhi(int a, int b) {
  return static_cast<int>(static_cast<long long>(a) * b >> 32);
}
inline unsigned __umulhi(unsigned a, unsigned b) {
  return static_cast<unsigned>(static_cast<uint64_t>(a) * b >> 32);
}
inline long long __mul64hi(long long a, long long b) {
  return static_cast<long long>(static_cast<__int128>(a) * b >> 64);
}
inline unsigned long long __umul64hi(unsigned long long a, unsigned long long b) {
  return static_cast<unsigned long long>(static_cast<unsigned __int128>(a) * b >> 64);
}
inline int __mul24(int a, int b) {
  return (a << 8 >> 8) * (b << 8 >> 8);
}
inline int __dp4a(int a, int b, int c) {
  for (int i = 0; i < 32; i += 8) {
    c += static_cast<signed char>(a >> i) * static_cast<signed char>(b >> i);
  }
  return c;
}

inline int __float_as_int(float x) {
  return std::bit_cast<int>(x);
}
inline unsigned __float_as_uint(float x) {
  return std::bit_cast<unsigned>(x);
}
inline float __int_as_float(int x) {
  return std::bit_cast<float>(x);
}
inline float __uint_as_float(unsigned x) {
  return std::bit_cast<float>(x);
}
inline long long __double_as_longlong(double x) {
  return std::bit_cast<long long>(x);
}
inline double __longlong_as_double(long long x) {
  return std::bit_cast<double>(x);
}
inline int __double2hiint(double x) {
  return static_cast<int>(std::bit_cast<int64_t>(x) >> 32);
}
inline int __double2loint(double x) {
  return static_cast<int>(std::bit_cast<int64_t>(x));
}
inline double __hiloint2double(int high, int low) {
  return std::bit_cast<double>(static_cast<uint64_t>(static_cast<unsigned>(high)) << 32 |
                               static_cast<unsigned>(low));
}

template <class T>
T __ldg(const T* p) {
  return *p;
}
template <class T>
T __ldcs(const T* p) {
  return *p;
}
template <class T>
T __ldcg(const T* p) {
  return *p;
}
template <class T>
T __ldca(const T* p) {
  return *p;
}
template <class T>
T __ldlu(const T* p) {
  return *p;
}
template <class T>
T __ldcv(const T* p) {
  return *p;
}
template <class T>
void __stcs(T* p, std::type_identity_t<T> value) {
  *p = value;
}
template <class T>
void __stcg(T* p, std::type_identity_t<T> value) {
  *p = value;
}
template <class T>
void __stwb(T* p, std::type_identity_t<T> value) {
  *p = value;
}
template <class T>
void __stwt(T* p, std::type_identity_t<T> value) {
  *p = value;
}
inline unsigned __cvta_generic_to_shared(const void* p) {
  return static_cast<unsigned>(reinterpret_cast<uintptr_t>(p));
}
