// Loops along a run of picked elements: the elements, and the offsets where they stand.
#pragma once

#include <cstdint>

#include "kernels/cpu/cpu.h"
#include "kernels/cpu/vec.h"

namespace wengert::WENGERT_ISA {

// Steps that are known when this is compiled; of x, kAny stands for the others.
inline constexpr int kAny = -1;

// Several indices are read before the elements, which may be anywhere: they are waited for
// together.
template <class U, bool Dense, int XStep>
WENGERT_INLINE void pick_by(const cpu::PickRun& r) {
  constexpr int kAtATime = 8;
  const int64_t out_step = Dense ? 1 : r.out_step, at_step = Dense ? 1 : r.at_step;
  const int64_t x_step = XStep == kAny ? r.x_step : XStep;
  U* out = static_cast<U*>(r.out);
  const U* x = static_cast<const U*>(r.x);
  int64_t i = 0;
  for (; i + kAtATime <= r.n; i += kAtATime) {
    U some[kAtATime];
#pragma GCC unroll 8
    for (int u = 0; u < kAtATime; ++u) some[u] = x[(i + u) * x_step + r.at[(i + u) * at_step]];
#pragma GCC unroll 8
    for (int u = 0; u < kAtATime; ++u) out[(i + u) * out_step] = some[u];
  }
  for (; i < r.n; ++i) out[i * out_step] = x[i * x_step + r.at[i * at_step]];
}

template <class U>
void pick_run(const cpu::PickRun& r) {
  if (r.out_step != 1 || r.at_step != 1) return pick_by<U, false, kAny>(r);
  if (r.x_step == 0) return pick_by<U, true, 0>(r);
  if (r.x_step == 1) return pick_by<U, true, 1>(r);
  pick_by<U, true, kAny>(r);
}

template <class I, bool Dense>
WENGERT_INLINE void offsets_by(const cpu::OffsetsRun& r, int64_t& least, int64_t& greatest) {
  const I* index = static_cast<const I*>(r.index);
  const int64_t out_step = Dense ? 1 : r.out_step, step = Dense ? 1 : r.index_step;
  const bool adds = !Dense && r.adds;
  int64_t low = least, high = greatest;
  for (int64_t i = 0; i < r.n; ++i) {
    const int64_t v = index[i * step];
    low = v < low ? v : low;
    high = v > high ? v : high;
    // of indices out of range the offset is of no use, but must not overflow
    const auto wrapped = static_cast<uint64_t>(v < 0 ? v + r.size : v);
    const uint64_t have = adds ? static_cast<uint64_t>(r.out[i * out_step]) : 0;
    r.out[i * out_step] = static_cast<int64_t>(have + wrapped * static_cast<uint64_t>(r.stride));
  }
  least = low;
  greatest = high;
}

template <class I>
void offsets_run(const cpu::OffsetsRun& r, int64_t& least, int64_t& greatest) {
  if (r.out_step == 1 && r.index_step == 1 && !r.adds) {
    offsets_by<I, true>(r, least, greatest);
  } else {
    offsets_by<I, false>(r, least, greatest);
  }
}

template <class Isa>
void fill_pick(Isa& isa) {
  isa.pick[0] = &pick_run<uint8_t>;
  isa.pick[1] = &pick_run<uint16_t>;
  isa.pick[2] = &pick_run<uint32_t>;
  isa.pick[3] = &pick_run<uint64_t>;
  isa.offsets[0] = &offsets_run<int32_t>;
  isa.offsets[1] = &offsets_run<int64_t>;
}

}  // namespace wengert::WENGERT_ISA
