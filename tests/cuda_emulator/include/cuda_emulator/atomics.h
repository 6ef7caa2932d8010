// Atomic operations, for the types CUDA has them for. Threads take turns on one processor here,
// so plain arithmetic is atomic.
#pragma once

#include <type_traits>

namespace cuda_emulator {

template <class T, class... Types>
concept OneOf = (std::is_same_v<T, Types> || ...);

template <class T, class Change>
T fetch_and(T* p, Change change) {
  const T old = *p;
  *p = static_cast<T>(change(old));
  return old;
}

}  // namespace cuda_emulator

template <cuda_emulator::OneOf<int, unsigned, unsigned long long, float, double> T>
T atomicAdd(T* p, std::type_identity_t<T> v) {
  if constexpr (std::is_same_v<T, int>) {  // wraps on the device
    return cuda_emulator::fetch_and(
        p, [=](T old) { return static_cast<unsigned>(old) + static_cast<unsigned>(v); });
  } else {
    return cuda_emulator::fetch_and(p, [=](T old) { return old + v; });
  }
}
template <cuda_emulator::OneOf<int, unsigned> T>
T atomicSub(T* p, std::type_identity_t<T> v) {
  return cuda_emulator::fetch_and(
      p, [=](T old) { return static_cast<unsigned>(old) - static_cast<unsigned>(v); });
}
template <cuda_emulator::OneOf<int, unsigned, long long, unsigned long long> T>
T atomicMax(T* p, std::type_identity_t<T> v) {
  return cuda_emulator::fetch_and(p, [=](T old) { return old < v ? v : old; });
}
template <cuda_emulator::OneOf<int, unsigned, long long, unsigned long long> T>
T atomicMin(T* p, std::type_identity_t<T> v) {
  return cuda_emulator::fetch_and(p, [=](T old) { return v < old ? v : old; });
}
template <cuda_emulator::OneOf<int, unsigned, unsigned long long, float> T>
T atomicExch(T* p, std::type_identity_t<T> v) {
  return cuda_emulator::fetch_and(p, [=](T) { return v; });
}
template <cuda_emulator::OneOf<unsigned short, int, unsigned, unsigned long long> T>
T atomicCAS(T* p, std::type_identity_t<T> expected, std::type_identity_t<T> v) {
  return cuda_emulator::fetch_and(p, [=](T old) { return old == expected ? v : old; });
}
template <cuda_emulator::OneOf<int, unsigned, unsigned long long> T>
T atomicOr(T* p, std::type_identity_t<T> v) {
  return cuda_emulator::fetch_and(p, [=](T old) { return old | v; });
}
template <cuda_emulator::OneOf<int, unsigned, unsigned long long> T>
T atomicAnd(T* p, std::type_identity_t<T> v) {
  return cuda_emulator::fetch_and(p, [=](T old) { return old & v; });
}
template <cuda_emulator::OneOf<int, unsigned, unsigned long long> T>
T atomicXor(T* p, std::type_identity_t<T> v) {
  return cuda_emulator::fetch_and(p, [=](T old) { return old ^ v; });
}
inline unsigned atomicInc(unsigned* p, unsigned last) {
  return cuda_emulator::fetch_and(p, [=](unsigned old) { return old >= last ? 0 : old + 1; });
}
inline unsigned atomicDec(unsigned* p, unsigned last) {
  return cuda_emulator::fetch_and(
      p, [=](unsigned old) { return old == 0 || old > last ? last : old - 1; });
}
