#include "kernels/cuda/gemm_choice.h"

#include <algorithm>
#include <atomic>
#include <cmath>
#include <cstdlib>
#include <limits>
#include <string>
#include <string_view>

#include "core/error.h"
#include "kernels/cuda/cuda.h"

namespace wengert::cuda {
namespace {

double ceil_div(double a, double b) {
  return std::ceil(a / b);
}

// What the choice reckons with. None of it has been measured yet: rates are those of an SM of an
// A100 or H100 on paper, shares what such kernels are known to reach. The choice costs or saves
// time and changes no result.
struct Tile {
  GemmTile tile;
  int rows, columns;
  double share;  // of the peak, where tiles are many
};
constexpr Tile kFloatTiles[] = {{GemmTile::Large, 128, 128, 0.85},
                                {GemmTile::Medium, 64, 64, 0.6},
                                {GemmTile::Small, 32, 32, 0.35},
                                {GemmTile::Thin, 8, 128, 0.25}};
constexpr Tile kDoubleTiles[] = {{GemmTile::Large, 128, 64, 0.85},
                                 {GemmTile::Medium, 64, 64, 0.7},
                                 {GemmTile::Small, 32, 32, 0.5},
                                 {GemmTile::Thin, 8, 128, 0.4}};
constexpr Tile kIntegerTiles[] = {{GemmTile::Large, 64, 64, 0.8},
                                  {GemmTile::Medium, 64, 64, 0.8},
                                  {GemmTile::Small, 32, 32, 0.7},
                                  {GemmTile::Thin, 32, 32, 0.7}};
constexpr Tile kUnitTiles[] = {{GemmTile::Large, 128, 128, 0.5},
                               {GemmTile::Medium, 64, 64, 0.3},
                               {GemmTile::Small, 64, 64, 0.3},
                               {GemmTile::Thin, 16, 128, 0.1}};
constexpr double kBytesPerCycle = 15;     // of memory, an SM's share
constexpr double kLaunchCycles = 5000;    // of a second kernel
constexpr double kStepCycles = 25;        // that no step of k is shorter than
constexpr double kMostSums = 1 << 28;     // bytes
constexpr double kLibraryFmas = 1 << 24;  // from here cuBLASLt is asked, if there is one

const Tile* tiles_of(DType dtype, GemmArithmetic arithmetic) {
  if (arithmetic == GemmArithmetic::Units) return kUnitTiles;
  if (dtype == DType::Int64) return kIntegerTiles;
  return dtype == DType::Float64 ? kDoubleTiles : kFloatTiles;
}
// Multiply-adds of an SM in a cycle.
double rate_of(DType dtype, GemmArithmetic arithmetic) {
  if (arithmetic == GemmArithmetic::Units) return dtype == DType::Float32 ? 512 : 1024;
  if (dtype == DType::Int64) return 16;
  return dtype == DType::Float64 ? 64 : 128;
}

// What tests ask for, as bits of one number: a tile from 1, then turned, split (2: or not).
struct Forced {
  unsigned tile : 8, turned : 1, split : 2, library : 1;
};
std::atomic<Forced> forced{};

Forced parse(std::string_view names) {
  Forced f{};
  while (!names.empty()) {
    const std::string_view name = names.substr(0, names.find(','));
    names.remove_prefix(std::min(names.size(), name.size() + 1));
    const auto* const end = std::end(kGemmTileNames);
    const auto* const tile = std::find(std::begin(kGemmTileNames), end, name);
    if (tile != end) {
      f.tile = static_cast<unsigned>(tile - kGemmTileNames + 1) & 0xff;
    } else if (name == "turned") {
      f.turned = 1;
    } else if (name == "split") {
      f.split = 1;
    } else if (name == "whole") {
      f.split = 2;
    } else if (name == "library") {
      f.library = 1;
    } else {
      fail(ErrorKind::Value, "WENGERT_CUDA_GEMM: '", std::string(name),
           "' is none of large, medium, small, thin, turned, split, whole, library");
    }
  }
  return f;
}
Forced current() {
  static const bool read = [] {
    const char* names = std::getenv("WENGERT_CUDA_GEMM");
    if (names && *names) forced = parse(names);
    return true;
  }();
  (void)read;
  return forced.load(std::memory_order_relaxed);
}

}  // namespace

void force_gemm(const std::string& names) {
  current();
  forced = parse(names);
}

int64_t gemm_chunk(int64_t k, GemmArithmetic arithmetic) {
  // Sums that are kept in memory cost up to 3% at these lengths; more than 64 are many to add.
  const int64_t least = arithmetic == GemmArithmetic::Own ? 512 : 2048, most = 64;
  const int64_t even = (k + most - 1) / most;
  return std::max(least, (even + kGemmChunkSteps - 1) / kGemmChunkSteps * kGemmChunkSteps);
}

GemmChoice choose_gemm(const GemmSize& size, DType dtype, GemmArithmetic arithmetic) {
  const auto m = static_cast<double>(size.m), n = static_cast<double>(size.n);
  const auto k = static_cast<double>(size.k), batch = static_cast<double>(size.batch);
  const Tile* const tiles = tiles_of(dtype, arithmetic);
  const double processors = properties().multi_processor_count;
  const double rate = rate_of(dtype, arithmetic);
  const auto chunk = static_cast<double>(gemm_chunk(size.k, arithmetic));
  const double chunks = ceil_div(k, chunk);
  const double item = dtype == DType::Float64 || dtype == DType::Int64 ? 8 : 4;
  const double sums = m * n * batch * chunks * item;
  const Forced asked = current();

  GemmChoice best{GemmTile::Small, false, false, false};
  double least = std::numeric_limits<double>::infinity();
  const bool thin = std::min(m, n) <= tiles[static_cast<int>(GemmTile::Thin)].rows;
  for (int t = 0; t < kNumGemmTiles; ++t) {
    const Tile& tile = tiles[t];
    if (asked.tile != 0 ? asked.tile != static_cast<unsigned>(t + 1)
                        : (tile.tile == GemmTile::Thin) != thin) {
      continue;
    }
    const bool turned = asked.tile != 0 ? asked.turned != 0 : thin && n < m;
    const double blocks = batch * (turned ? ceil_div(n, tile.rows) * ceil_div(m, tile.columns)
                                          : ceil_div(m, tile.rows) * ceil_div(n, tile.columns));
    const double step = tile.rows * tile.columns / (rate * tile.share);
    for (const bool split : {false, true}) {
      if (split && (chunks < 2 || sums > kMostSums)) continue;
      if (asked.split == 1 && !split && chunks >= 2) continue;
      if (asked.split == 2 && split) continue;
      const double waves = ceil_div(blocks * (split ? chunks : 1), processors);
      double cycles = (split ? chunk : k) * std::max(waves * step, kStepCycles);
      if (split) cycles += kLaunchCycles + 2 * sums / (kBytesPerCycle * processors);
      if (cycles < least) {
        least = cycles;
        best = {tile.tile, turned, split, false};
      }
    }
  }
  best.library = dtype != DType::Int64 &&
                 (asked.library || (asked.tile == 0 && m * n * k * batch >= kLibraryFmas));
  return best;
}

}  // namespace wengert::cuda
