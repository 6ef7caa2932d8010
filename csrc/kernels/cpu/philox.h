// Philox4x32-10 (Salmon, Moraes, Dror, Shaw, Parallel random numbers: as easy as 1, 2, 3, 2011):
// random words from a seed and a counter alone. Always inlined, so that every ISA has its own copy.
#pragma once

#include <cstdint>

namespace wengert::cpu {

// c[w][j] becomes word w of counter first + j. `part` tells apart the draws of one counter.
template <int kLanes>
__attribute__((always_inline)) inline void philox(uint64_t seed, uint64_t first, uint32_t part,
                                                  uint32_t (&c)[4][kLanes]) {
  for (int j = 0; j < kLanes; ++j) {
    const uint64_t at = first + static_cast<uint64_t>(j);
    c[0][j] = static_cast<uint32_t>(at);
    c[1][j] = static_cast<uint32_t>(at >> 32);
    c[2][j] = part;
    c[3][j] = 0;
  }
  uint32_t k0 = static_cast<uint32_t>(seed), k1 = static_cast<uint32_t>(seed >> 32);
  for (int round = 0; round < 10; ++round) {
    for (int j = 0; j < kLanes; ++j) {
      const uint64_t p0 = uint64_t{0xD2511F53} * c[0][j], p1 = uint64_t{0xCD9E8D57} * c[2][j];
      const uint32_t n0 = static_cast<uint32_t>(p1 >> 32) ^ c[1][j] ^ k0;
      const uint32_t n2 = static_cast<uint32_t>(p0 >> 32) ^ c[3][j] ^ k1;
      c[0][j] = n0;
      c[1][j] = static_cast<uint32_t>(p1);
      c[2][j] = n2;
      c[3][j] = static_cast<uint32_t>(p0);
    }
    k0 += 0x9E3779B9;
    k1 += 0xBB67AE85;
  }
}

}  // namespace wengert::cpu
