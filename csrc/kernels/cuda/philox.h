// Philox4x32-10 (Salmon, Moraes, Dror, Shaw, Parallel random numbers: as easy as 1, 2, 3, 2011):
// the same words for the same seed and counter as on the processor.
#pragma once

#include "kernels/cuda/cells.h"

namespace wengert::cuda {

struct RandomWords {
  uint32_t of[4];
};
// `part` tells apart the draws of one counter.
WENGERT_DEVICE RandomWords philox(uint64_t seed, uint64_t counter, uint32_t part = 0) {
  uint32_t c0 = static_cast<uint32_t>(counter), c1 = static_cast<uint32_t>(counter >> 32);
  uint32_t c2 = part, c3 = 0;
  uint32_t k0 = static_cast<uint32_t>(seed), k1 = static_cast<uint32_t>(seed >> 32);
#pragma unroll
  for (int round = 0; round < 10; ++round) {
    const uint32_t n0 = __umulhi(0xCD9E8D57u, c2) ^ c1 ^ k0;
    const uint32_t n2 = __umulhi(0xD2511F53u, c0) ^ c3 ^ k1;
    c1 = 0xCD9E8D57u * c2;
    c3 = 0xD2511F53u * c0;
    c0 = n0;
    c2 = n2;
    k0 += 0x9E3779B9u;
    k1 += 0xBB67AE85u;
  }
  return {{c0, c1, c2, c3}};
}

// Where a launch draws from: read when it runs, as a graph's replays go on in the stream.
struct RandomSource {
  Number<int64_t> seed{}, counter{};

  RandomSource() = default;
  explicit RandomSource(const Launch& l) : seed(number(l.more[0])), counter(number(l.more[1])) {}
};
// The same as a thread holds it.
struct RandomStream {
  uint64_t seed, counter;

  WENGERT_DEVICE explicit RandomStream(const RandomSource& s)
      : seed(static_cast<uint64_t>(s.seed.get())),
        counter(static_cast<uint64_t>(s.counter.get())) {}
  WENGERT_DEVICE RandomWords words(int64_t at, uint32_t part = 0) const {
    return philox(seed, counter + static_cast<uint64_t>(at), part);
  }
};

// The words below which a draw is a success of probability p < 1.
inline uint32_t success_bound(double p) {
  return static_cast<uint32_t>(static_cast<int64_t>(p * 0x1p32));
}

}  // namespace wengert::cuda
