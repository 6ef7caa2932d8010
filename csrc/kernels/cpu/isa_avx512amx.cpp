// Products of bfloat16 by AMX's tiles; its compiler flags stand in CMakeLists.txt.
#define WENGERT_ISA avx512amx
#define WENGERT_VEC_BYTES 64
#include "kernels/cpu/gemm_tiles.h"

namespace wengert::WENGERT_ISA {
namespace {

// What ldtilecfg reads: palette 1, eight tiles of 16 rows by 64 bytes.
struct TileConfig {
  uint8_t palette = 1, start_row = 0, reserved[14] = {};
  uint16_t bytes[16] = {64, 64, 64, 64, 64, 64, 64, 64};
  uint8_t rows[16] = {16, 16, 16, 16, 16, 16, 16, 16};
};
static_assert(sizeof(TileConfig) == 64);
alignas(64) constexpr TileConfig kConfig;

// The intrinsics want the number of a register as a literal.
struct AmxTiles {
  static void begin() { _tile_loadconfig(&kConfig); }
  static void end() { _tile_release(); }

  template <int T>
  static WENGERT_INLINE void zero() {
    if constexpr (T == 0) _tile_zero(0);
    if constexpr (T == 1) _tile_zero(1);
    if constexpr (T == 2) _tile_zero(2);
    if constexpr (T == 3) _tile_zero(3);
  }
  template <int T>
  static WENGERT_INLINE void load(const void* from, int64_t bytes) {
    if constexpr (T == 4) _tile_loadd(4, from, bytes);
    if constexpr (T == 5) _tile_loadd(5, from, bytes);
    if constexpr (T == 6) _tile_loadd(6, from, bytes);
    if constexpr (T == 7) _tile_loadd(7, from, bytes);
  }
  template <int T>
  static WENGERT_INLINE void store(void* to, int64_t bytes) {
    if constexpr (T == 0) _tile_stored(0, to, bytes);
    if constexpr (T == 1) _tile_stored(1, to, bytes);
    if constexpr (T == 2) _tile_stored(2, to, bytes);
    if constexpr (T == 3) _tile_stored(3, to, bytes);
  }
  template <int C, int A, int B>
  static WENGERT_INLINE void multiply() {
    if constexpr (C == 0) _tile_dpbf16ps(0, 4, 6);
    if constexpr (C == 1) _tile_dpbf16ps(1, 4, 7);
    if constexpr (C == 2) _tile_dpbf16ps(2, 5, 6);
    if constexpr (C == 3) _tile_dpbf16ps(3, 5, 7);
  }
};

}  // namespace

void fill(cpu::GemmUnits& units) {
  fill_gemm_tiles<AmxTiles>(units);
}

}  // namespace wengert::WENGERT_ISA
