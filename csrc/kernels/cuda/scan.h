// Scans along the middle of (outer, n, inner). A long line is cut into chunks: first the chunks'
// totals are made, then what comes before each, and then the results. How it is cut depends on the
// sizes alone, so the same input gives the same bits.
//
// An operation has a State with an identity(), which is no element's; join(a, b) of what comes
// before and what comes after; lift(args, at, k), element k of the scan at its place in memory;
// and put(args, at, state).
#pragma once

#include <algorithm>
#include <bit>

#include "kernels/cuda/operand.h"
#include "kernels/cuda/warp.h"
#include "kernels/kernels.h"

namespace wengert::cuda {

inline constexpr int kScanThreads = 256, kScanWarps = kScanThreads / kWarp;
inline constexpr int kScanItems = 4;  // that a lane takes at a time
inline constexpr int kScanTile = kWarp * kScanItems;

template <class T>
struct ScanArgs {
  int64_t outer, n, inner;
  int64_t chunks, chunk;  // of a line; elements
  bool reverse;
  bool most;     // of extremes
  bool totals;   // are what is made
  bool aligned;  // rows are, for whole vectors
  void* states;  // of [outer][chunk][inner]; null: there is one chunk
  const T *x, *b;
  T* y;
  int64_t* places;
};

// A state of another lane, by words.
template <class S, class Shuffle>
WENGERT_DEVICE S shuffled(const S& s, Shuffle shuffle) {
  struct Words {
    unsigned long long of[sizeof(S) / 8];
  };
  auto words = std::bit_cast<Words>(s);
#pragma unroll
  for (auto& word : words.of) word = shuffle(word);
  return std::bit_cast<S>(words);
}
template <class S>
WENGERT_DEVICE S shuffled_up(const S& s, int lanes) {
  return shuffled(s, [=](unsigned long long word) {
    return __shfl_up_sync(kAllLanes, word, static_cast<unsigned>(lanes));
  });
}
template <class S>
WENGERT_DEVICE S of_last_lane(const S& s) {
  return shuffled(s,
                  [](unsigned long long word) { return __shfl_sync(kAllLanes, word, kWarp - 1); });
}

// All states of a warp up to this lane, joined in order.
template <class Op, class S, class Args>
WENGERT_DEVICE S warp_join_to_here(const Args& a, S s) {
#pragma unroll
  for (int step = 1; step < kWarp; step *= 2) {
    const S before = shuffled_up(s, step);
    if (lane_id() >= step) s = Op::join(a, before, s);
  }
  return s;
}

// Lines without gaps: a warp to a chunk, whose lanes take neighbouring elements.
template <class Op, class T>
__global__ void __launch_bounds__(kScanThreads) scan_rows(const __grid_constant__ ScanArgs<T> a) {
  using State = typename Op::State;
  const int64_t units = a.outer * a.chunks, step = static_cast<int64_t>(gridDim.x) * kScanWarps;
  for (int64_t u = static_cast<int64_t>(blockIdx.x) * kScanWarps + warp_id(); u < units;
       u += step) {
    const int64_t row = u / a.chunks, from = (u - row * a.chunks) * a.chunk;
    const int64_t end = from + a.chunk < a.n ? from + a.chunk : a.n;
    State* states = static_cast<State*>(a.states);
    State before = states && !a.totals ? states[u] : Op::identity();
    for (int64_t first = from; first < end; first += kScanTile) {
      const int64_t k = first + lane_id() * kScanItems;
      const int have = end - k >= kScanItems ? kScanItems : end > k ? static_cast<int>(end - k) : 0;
      // Of the lane's elements, that which is first in memory.
      const int64_t low = row * a.n + (a.reverse ? a.n - k - have : k);
      T x[kScanItems], b[kScanItems];
      Op::load(a, low, have, x, b);
      State s[kScanItems];
#pragma unroll
      for (int j = 0; j < kScanItems; ++j) {
        if (j >= have) {
          s[j] = j > 0 ? s[j - 1] : Op::identity();
          continue;
        }
        // Indices that are known when this is compiled keep x and s in registers.
        const bool whole = have == kScanItems;
        const int64_t at = low + have - 1 - j;
        const T xi = !a.reverse ? x[j] : whole ? x[kScanItems - 1 - j] : Op::element(a.x, at);
        const T bi = !a.reverse ? b[j] : whole ? b[kScanItems - 1 - j] : Op::element(a.b, at);
        s[j] = Op::lift(xi, bi, k + j);
        if (j > 0) s[j] = Op::join(a, s[j - 1], s[j]);
      }
      const State mine = s[kScanItems - 1];
      const State here = warp_join_to_here<Op>(a, mine);
      if (!a.totals) {
        State left = shuffled_up(here, 1);
        left = lane_id() == 0 ? before : Op::join(a, before, left);
#pragma unroll
        for (int j = 0; j < kScanItems; ++j) {
          if (j >= have) break;
          Op::put(a, low + (a.reverse ? have - 1 - j : j), Op::join(a, left, s[j]));
        }
      }
      before = Op::join(a, before, of_last_lane(here));
    }
    if (a.totals && lane_id() == 0) states[u] = before;
  }
}

// Lines side by side: a thread to a chunk, next to those of the neighbouring lines.
template <class Op, class T>
__global__ void __launch_bounds__(kScanThreads)
    scan_columns(const __grid_constant__ ScanArgs<T> a) {
  using State = typename Op::State;
  constexpr int kAhead = 4;  // reads that are on their way at once
  const int64_t units = a.outer * a.chunks * a.inner;
  const int64_t grid = static_cast<int64_t>(gridDim.x) * kScanThreads;
  for (int64_t u = static_cast<int64_t>(blockIdx.x) * kScanThreads + threadIdx.x; u < units;
       u += grid) {
    const int64_t line = u / a.inner, column = u - line * a.inner;
    const int64_t o = line / a.chunks, from = (line - o * a.chunks) * a.chunk;
    const int64_t end = from + a.chunk < a.n ? from + a.chunk : a.n;
    State* states = static_cast<State*>(a.states);
    State run = states && !a.totals ? states[u] : Op::identity();
    const int64_t step = a.reverse ? -a.inner : a.inner;
    int64_t at = (o * a.n + (a.reverse ? a.n - 1 - from : from)) * a.inner + column;
    for (int64_t k = from; k < end; k += kAhead) {
      T x[kAhead], b[kAhead];
#pragma unroll
      for (int j = 0; j < kAhead; ++j) {
        if (k + j >= end) break;
        x[j] = a.x[at + j * step];
        b[j] = Op::element(a.b, at + j * step);
      }
#pragma unroll
      for (int j = 0; j < kAhead; ++j, at += step) {
        if (k + j >= end) break;
        run = Op::join(a, run, Op::lift(x[j], b[j], k + j));
        if (!a.totals) Op::put(a, at, run);
      }
    }
    if (a.totals) states[u] = run;
  }
}

// From the chunks' totals what comes before each: a warp to a line.
template <class Op, class T>
__global__ void __launch_bounds__(kScanThreads) scan_totals(const __grid_constant__ ScanArgs<T> a) {
  using State = typename Op::State;
  const int64_t lines = a.outer * a.inner, step = static_cast<int64_t>(gridDim.x) * kScanWarps;
  for (int64_t u = static_cast<int64_t>(blockIdx.x) * kScanWarps + warp_id(); u < lines;
       u += step) {
    const int64_t o = u / a.inner, column = u - o * a.inner;
    State* states = static_cast<State*>(a.states) + o * a.chunks * a.inner + column;
    State before = Op::identity();
    for (int64_t first = 0; first < a.chunks; first += kWarp) {
      const int64_t c = first + lane_id();
      const State mine = c < a.chunks ? states[c * a.inner] : Op::identity();
      const State here = warp_join_to_here<Op>(a, mine);
      State left = shuffled_up(here, 1);
      left = lane_id() == 0 ? before : Op::join(a, before, left);
      if (c < a.chunks) states[c * a.inner] = left;
      before = Op::join(a, before, of_last_lane(here));
    }
  }
}

// What operations have in common.
template <class T>
struct OneOperand {
  static WENGERT_DEVICE T element(const T* p, int64_t at) { return p ? p[at] : T(0); }
  static WENGERT_DEVICE void load(const ScanArgs<T>& a, int64_t low, int have, T (&x)[kScanItems],
                                  T (&b)[kScanItems]) {
    load_one(a, a.x, low, have, x);
    load_one(a, a.b, low, have, b);
  }
  static WENGERT_DEVICE void load_one(const ScanArgs<T>& a, const T* from, int64_t low, int have,
                                      T (&x)[kScanItems]) {
    if (!from) return;
    if (a.aligned && have == kScanItems) {
      return read_pack<T, T>(reinterpret_cast<const char*>(from), low, x);
    }
#pragma unroll
    for (int j = 0; j < kScanItems; ++j) {
      if (j < have) x[j] = from[low + j];
    }
  }
};

template <class Op, class T>
void run_scan(const Launch& l, ScanArgs<T> a) {
  using State = typename Op::State;
  a.outer = l.size[0];
  a.n = l.size[1];
  a.inner = l.size[2];
  a.reverse = l.integer[0] != 0;
  a.chunks = 1;
  a.chunk = a.n;
  const int64_t lines = a.outer * a.inner;
  if (lines == 0 || a.n == 0) return;
  const bool rows = a.inner == 1;
  // Enough work for a large device, but no chunk so short that its state is what is read.
  constexpr int64_t kRowUnits = 8192, kColumnUnits = 1 << 16, kMostChunks = 2048;
  const int64_t units = rows ? kRowUnits : kColumnUnits, shortest = rows ? 8 * kScanTile : 64;
  if (lines * 4 <= units && a.n > shortest) {
    const int64_t wanted = std::min({ceil_div(units, lines), a.n / shortest, kMostChunks});
    a.chunk = ceil_div(ceil_div(a.n, wanted), kScanTile) * kScanTile;
    a.chunks = ceil_div(a.n, a.chunk);
  }
  const auto address = reinterpret_cast<uintptr_t>(a.x) | reinterpret_cast<uintptr_t>(a.b);
  a.aligned = address % 16 == 0 && (a.n % kScanItems == 0 || (lines == 1 && !a.reverse));
  const Scratch states(a.chunks > 1 ? static_cast<size_t>(lines * a.chunks) * sizeof(State) : 0);
  a.states = a.chunks > 1 ? states.data<char>() : nullptr;
  const auto all_chunks = [&] {
    if (rows) {
      start(l, &scan_rows<Op, T>, grid_for(lines * a.chunks, kScanWarps), kScanThreads, 0, a);
    } else {
      start(l, &scan_columns<Op, T>, grid_for(lines * a.chunks, kScanThreads), kScanThreads, 0, a);
    }
  };
  if (a.chunks > 1) {
    a.totals = true;
    all_chunks();
    start(l, &scan_totals<Op, T>, grid_for(lines, kScanWarps), kScanThreads, 0, a);
    a.totals = false;
  }
  all_chunks();
}

}  // namespace wengert::cuda
