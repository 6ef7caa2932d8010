#include "emulated_tiles.h"

#if defined(__AVX512BF16__)

#include <cmath>
#include <cstdlib>
#include <cstring>

#define WENGERT_ISA emulated
#define WENGERT_VEC_BYTES 64
#include "kernels/cpu/gemm_tiles.h"

namespace wengert {
namespace {

struct Tile {
  alignas(64) unsigned char bytes[16][64];
};
thread_local Tile tiles[8];
thread_local int configured = 0;

// Compiled for more than the machine may have: nothing here may be shared with other files.
//
// tdpbf16ps of Intel's manual; see kernels/cpu/gemm_tiles.h.
struct EmulatedTiles {
  static void begin() { ++configured; }
  static void end() { --configured; }

  template <int T>
  static void zero() {
    if (configured != 1) std::abort();
    std::memset(&tiles[T], 0, sizeof(Tile));
  }
  template <int T>
  static void load(const void* from, int64_t bytes) {
    for (int r = 0; r < 16; ++r) {
      std::memcpy(tiles[T].bytes[r], static_cast<const char*>(from) + r * bytes, 64);
    }
  }
  template <int T>
  static void store(void* to, int64_t bytes) {
    for (int r = 0; r < 16; ++r) {
      std::memcpy(static_cast<char*>(to) + r * bytes, tiles[T].bytes[r], 64);
    }
  }
  static float flushed(float x) { return std::fpclassify(x) == FP_SUBNORMAL ? 0.0f : x; }
  template <int C, int A, int B>
  static void multiply() {
    BFloat16 a[16][32], b[16][32];
    float c[16][16];
    std::memcpy(static_cast<void*>(a), &tiles[A], sizeof a);
    std::memcpy(static_cast<void*>(b), &tiles[B], sizeof b);
    std::memcpy(c, &tiles[C], sizeof c);
    for (int m = 0; m < 16; ++m) {
      float sums[32] = {};
      for (int k = 0; k < 16; ++k) {
        for (int n = 0; n < 32; ++n) {
          const float x = flushed(static_cast<float>(a[m][2 * k + n % 2]));
          const float y = flushed(static_cast<float>(b[k][n]));
          sums[n] = flushed(std::fma(x, y, sums[n]));
        }
      }
      for (int n = 0; n < 16; ++n) {
        c[m][n] = flushed(c[m][n] + flushed(sums[2 * n] + sums[2 * n + 1]));
      }
    }
    std::memcpy(&tiles[C], c, sizeof c);
  }
};

}  // namespace

const cpu::GemmUnits* emulated_tiles() {
  if (!__builtin_cpu_supports("avx512bf16") || !__builtin_cpu_supports("avx512bw")) return nullptr;
  static const cpu::GemmUnits units = [] {
    cpu::GemmUnits made{};
    emulated::fill_gemm_tiles<EmulatedTiles>(made);
    return made;
  }();
  return &units;
}

}  // namespace wengert

#else

namespace wengert {
const cpu::GemmUnits* emulated_tiles() {
  return nullptr;
}
}  // namespace wengert

#endif
