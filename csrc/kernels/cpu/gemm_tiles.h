// The micro-kernel over tile registers of 16 rows by 64 bytes, four of sums and two of each
// operand, written over a class of tiles: AMX's, or an emulation for tests.
//
// A tile's product sums the first elements of 16 pairs apart from the second ones, each upwards
// from zero with one rounding a step, adds both sums and then the total; numbers and sums below the
// smallest normal one are zero. vdpbf16ps rounds the same products to the same precision in another
// order.
#pragma once

#include "kernels/cpu/gemm.h"
#include "kernels/cpu/gemm_pairs_isa.h"

namespace wengert::WENGERT_ISA {

inline constexpr int kTileRows = 16, kTileUnits = 16;

// RT by CT tiles of C. A's rows are complete, zero where C has none, as packing leaves them.
template <class Tiles, int RT, int CT>
void gemm_tiles_micro(const cpu::GemmTile& t) {
  Tiles::template zero<0>();
  if constexpr (CT == 2) Tiles::template zero<1>();
  if constexpr (RT == 2) Tiles::template zero<2>();
  if constexpr (RT == 2 && CT == 2) Tiles::template zero<3>();
  const int64_t a_bytes = t.a_rs * int64_t{sizeof(Pair)}, b_bytes = t.b_rs * int64_t{sizeof(Pair)};
  constexpr int all = sizeof kPartProducts / sizeof *kPartProducts;
  for (int q = all - t.products; q < all; ++q) {
    const Pair* a = static_cast<const Pair*>(t.a) + kPartProducts[q].a * t.a_part;
    const Pair* b = static_cast<const Pair*>(t.b) + kPartProducts[q].b * t.b_part;
    for (int64_t p = 0; p < t.k; p += kTileUnits, a += kTileUnits, b += kTileUnits * t.b_rs) {
      Tiles::template load<4>(a, a_bytes);
      Tiles::template load<6>(b, b_bytes);
      Tiles::template multiply<0, 4, 6>();
      if constexpr (CT == 2) {
        Tiles::template load<7>(b + kTileUnits, b_bytes);
        Tiles::template multiply<1, 4, 7>();
      }
      if constexpr (RT == 2) {
        Tiles::template load<5>(a + kTileRows * t.a_rs, a_bytes);
        Tiles::template multiply<2, 5, 6>();
      }
      if constexpr (RT == 2 && CT == 2) Tiles::template multiply<3, 5, 7>();
    }
  }
  constexpr int rows = RT * kTileRows, cols = CT * kTileUnits;
  const bool plain = !t.add && !t.narrow && t.bias == nullptr;
  const bool direct = plain && t.rows == rows && t.cols == cols;
  alignas(64) float sums[rows * cols];
  float* c = direct ? static_cast<float*>(t.c) : sums;
  const int64_t step = direct ? t.c_rs : cols, bytes = step * int64_t{sizeof(float)};
  Tiles::template store<0>(c, bytes);
  if constexpr (CT == 2) Tiles::template store<1>(c + kTileUnits, bytes);
  if constexpr (RT == 2) Tiles::template store<2>(c + kTileRows * step, bytes);
  if constexpr (RT == 2 && CT == 2) {
    Tiles::template store<3>(c + kTileRows * step + kTileUnits, bytes);
  }
  if (direct) return;
  if (t.narrow)
    gemm_finish_tile<BFloat16, float>(t, t.rows, sums, cols);
  else
    gemm_finish_tile<float, float>(t, t.rows, sums, cols);
}

template <class Tiles>
void fill_gemm_tiles(cpu::GemmUnits& units) {
  cpu::GemmIsa isa = pairs_gemm_isa();
  isa.multiple = kTileUnits;
  isa.a_by_rows = isa.whole_tiles = true;
  isa.mr = 2 * kTileRows;
  isa.mc = 256;
  isa.kc = 512;
  isa.nc = isa.nc_in_place = 1024;
  isa.begin = Tiles::begin;
  isa.end = Tiles::end;
  for (int r = 0; r < isa.mr; ++r) {
    const bool tall = r >= kTileRows;
    isa.any_rows[r][0] = tall ? gemm_tiles_micro<Tiles, 2, 1> : gemm_tiles_micro<Tiles, 1, 1>;
    isa.any_rows[r][1] = tall ? gemm_tiles_micro<Tiles, 2, 2> : gemm_tiles_micro<Tiles, 1, 2>;
    for (int v = 0; v < 2; ++v) isa.unit_rows[r][v] = isa.any_rows[r][v];
  }
  fill_gemm_units<true>(units, isa, 512);
}

}  // namespace wengert::WENGERT_ISA
