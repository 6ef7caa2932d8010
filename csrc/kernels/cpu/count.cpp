// The driver of counts of what is not zero, along any dimensions: sums of whole numbers, which may
// be cut and joined anywhere.
#include <algorithm>
#include <cstring>

#include "kernels/cpu/cpu.h"
#include "kernels/cpu/parallel.h"
#include "kernels/cpu/reduce_space.h"
#include "kernels/cpu/scratch.h"

namespace wengert::cpu {
namespace {

constexpr int64_t kChunk = 1 << 17;  // elements of a row counted in one go
constexpr int64_t kBlockColumns = 1024;
constexpr int64_t kGrain = 1 << 17;  // elements a thread must get
constexpr int64_t kTile = 1024;      // elements gathered at a time

int64_t* results(const ReduceSpace& s, int64_t i) {
  return reinterpret_cast<int64_t*>(s.result(i));
}

int64_t count_piece(const ReduceSpace& s, const CountLoops& loops, const char* from, int64_t first,
                    int64_t m) {
  int64_t total = 0;
  if (m == 0) return 0;
  s.stretches(from, first, m, [&](const char* x, int64_t n) {
    if (s.step == 1) {
      total += loops.row(x, n);
      return;
    }
    alignas(8) char tile[kTile * 8];
    for (int64_t i = 0; i < n; i += kTile) {
      const int64_t length = std::min(kTile, n - i);
      gather(x + i * s.step * s.in_item, s.step, length, s.in_item, tile);
      total += loops.row(tile, length);
    }
  });
  return total;
}

void count_rows(const ReduceSpace& s, const CountLoops& loops) {
  const int64_t chunks = std::max<int64_t>(1, (s.reduced + kChunk - 1) / kChunk);
  const Scratch part(chunks > 1 ? s.kept * chunks * 8 : 0);
  auto* counts = chunks > 1 ? reinterpret_cast<int64_t*>(part.data()) : results(s, 0);
  const int64_t work = std::max<int64_t>(1, std::min(s.reduced, kChunk));
  parallel_for(s.kept * chunks, std::max<int64_t>(1, kGrain / work), [&](int64_t b, int64_t e) {
    for (int64_t u = b; u < e; ++u) {
      const int64_t first = u % chunks * kChunk;
      counts[u] =
          count_piece(s, loops, s.source(u / chunks), first, std::min(kChunk, s.reduced - first));
    }
  });
  for (int64_t i = 0; chunks > 1 && i < s.kept; ++i) {
    int64_t total = 0;
    for (int64_t c = 0; c < chunks; ++c) total += counts[i * chunks + c];
    *results(s, i) = total;
  }
}

void count_columns(const ReduceSpace& s, const CountLoops& loops) {
  const int64_t n = s.l.size[s.kept_dims - 1], blocks = (n + kBlockColumns - 1) / kBlockColumns;
  const int64_t work = s.reduced * std::min(n, kBlockColumns);
  parallel_for(s.kept / n * blocks, std::max<int64_t>(1, kGrain / work), [&](int64_t b, int64_t e) {
    for (int64_t u = b; u < e; ++u) {
      const int64_t j = u % blocks * kBlockColumns, first = u / blocks * n + j;
      const int64_t width = std::min(kBlockColumns, n - j);
      std::fill_n(results(s, first), width, 0);
      s.stretches(s.source(first), 0, s.reduced, [&](const char* x, int64_t m) {
        loops.columns(x, m, s.step, width, results(s, first));
      });
    }
  });
}

}  // namespace

void run_count_nonzero(const Launch& l) {
  const ReduceSpace s(l);
  const CountLoops& loops = isa().count[static_cast<int>(l.dtype)];
  if (s.kept == 0) return;
  if (s.has_dense_columns()) {
    count_columns(s, loops);
  } else {
    count_rows(s, loops);
  }
}

// --- counts of places --------------------------------------------------------------------------

void run_bounds(const Launch& l) {
  constexpr int64_t block = 4096;  // in L1 for the second look
  const auto* x = static_cast<const int64_t*>(l.buffer[1].data);
  const auto least = isa().reduce[index_of<AMin, Reductions>][static_cast<int>(DType::Int64)].row;
  const auto most = isa().reduce[index_of<AMax, Reductions>][static_cast<int>(DType::Int64)].row;
  const int64_t blocks = (l.count + block - 1) / block;
  const Scratch part(2 * blocks * 8);
  auto *low = reinterpret_cast<int64_t*>(part.data()), *high = low + blocks;
  parallel_for(blocks, kGrain / block, [&](int64_t b, int64_t e) {
    for (int64_t i = b; i < e; ++i) {
      const int64_t n = std::min(block, l.count - i * block);
      least(x + i * block, n, nullptr, low + i);
      most(x + i * block, n, nullptr, high + i);
    }
  });
  auto* out = static_cast<int64_t*>(l.buffer[0].data);
  least(low, blocks, nullptr, out);
  most(high, blocks, nullptr, out + 1);
}

// Neighbours are often equal, and a count can be raised again only once it has been written: so
// they are counted in several tables, where these stay in L1.
void run_bincount(const Launch& l) {
  constexpr int64_t tables = 4, most_bins = 1024;
  const auto* x = static_cast<const int64_t*>(l.buffer[1].data);
  auto* out = static_cast<int64_t*>(l.buffer[0].data);
  const int64_t n = l.count, bins = l.size[1];
  if (bins > most_bins || n < 4 * bins) {
    for (int64_t i = 0; i < n; ++i) ++out[x[i]];
    return;
  }
  const int64_t pieces = std::max<int64_t>(1, std::min<int64_t>(64, n / kGrain));
  const Scratch all(pieces * tables * bins * 8);
  auto* counts = reinterpret_cast<int64_t*>(all.data());
  parallel_for(pieces, 1, [&](int64_t b, int64_t e) {
    for (int64_t p = b; p < e; ++p) {
      int64_t* c = counts + p * tables * bins;
      std::fill_n(c, tables * bins, 0);
      int64_t i = n * p / pieces;
      const int64_t end = n * (p + 1) / pieces;
      for (; i + tables <= end; i += tables) {
        for (int64_t t = 0; t < tables; ++t) ++c[t * bins + x[i + t]];
      }
      for (; i < end; ++i) ++c[x[i]];
    }
  });
  for (int64_t t = 0; t < pieces * tables; ++t) {
    for (int64_t k = 0; k < bins; ++k) out[k] += counts[t * bins + k];
  }
}

}  // namespace wengert::cpu
