// The driver of reductions. A launch names the kept dimensions first and the reduced ones after
// them; the output is dense. Long reductions are cut into chunks of a fixed size, whose results are
// then joined, so neither the number of threads nor the number of results changes a bit.
#include <algorithm>
#include <bit>
#include <cstring>

#include "kernels/cpu/cpu.h"
#include "kernels/cpu/parallel.h"
#include "kernels/cpu/reduce_space.h"
#include "kernels/cpu/scratch.h"

namespace wengert::cpu {
namespace {

constexpr int64_t kChunk = 32768;        // elements of a row reduced in one go
constexpr int64_t kChunkRows = 1024;     // rows of a column reduction in one go
constexpr int64_t kBlockColumns = 1024;  // columns to a unit of parallel work: some pages
constexpr int64_t kGrain = 32768;        // elements a thread must get
constexpr int64_t kLongRun = 32;         // dense elements that are worth a call where they are
constexpr int64_t kTurned = 256;         // short rows turned at a time
constexpr int64_t kTile = 1024;          // elements gathered at a time
constexpr int64_t kFold = 8;             // column results joined at a time
constexpr int64_t kMaxItem = 8;
constexpr int64_t kBoolColumns = 1024;  // bytes

struct Reduction : ReduceSpace {
  const ReduceLoops& loops;
  const char* centres;
  const int64_t item;  // of what is computed
  const MapFn widen;   // from the source's dtype to that; null where they are the same

  explicit Reduction(const Launch& launch)
      : ReduceSpace(launch),
        loops(isa().reduce[reduction_index(l.kernel)][static_cast<int>(l.dtype)]),
        centres(l.nbuffers > 2 ? static_cast<const char*>(l.buffer[2].data) : nullptr),
        item(static_cast<int64_t>(item_size(l.dtype))),
        widen(l.buffer[1].dtype == l.dtype
                  ? nullptr
                  : isa().cast[static_cast<int>(l.buffer[1].dtype)][static_cast<int>(l.dtype)]) {}
  const char* centre(int64_t i) const { return centres ? centres + i * item : nullptr; }
  bool dense_columns() const { return loops.columns && !widen && has_dense_columns(); }

  // A tile's worth of dense elements of the source.
  void tile_row(const char* x, int64_t n, const char* c, char* to) const {
    if (!widen) return loops.row(x, n, c, to);
    alignas(kAlignment) char wide[kTile * kMaxItem];
    char* const ptr[] = {wide, const_cast<char*>(x)};
    widen(ptr, n, nullptr);
    loops.row(wide, n, c, to);
  }

  // Reduced elements [first, first + m) of one result.
  void piece(const char* base, int64_t first, int64_t m, const char* c, char* to) const {
    if (dense_rows() && one_run() && !widen) {
      return loops.row(base + first * in_item, m, c, to);
    }
    alignas(kAlignment) char part[(kChunk / kLongRun + 2) * kMaxItem];
    int64_t parts = 0;
    const auto add = [&](const char* x, int64_t n) { tile_row(x, n, c, part + parts++ * item); };
    if (step == 1 && run >= kLongRun) {
      stretches(base, first, m, [&](const char* x, int64_t n) {
        const int64_t most = widen ? kTile : n;
        for (int64_t i = 0; i < n; i += most) add(x + i * in_item, std::min(most, n - i));
      });
    } else if (m > 0) {
      alignas(kAlignment) char tile[kTile * kMaxItem];
      int64_t filled = 0;
      stretches(base, first, m, [&](const char* x, int64_t n) {
        while (n > 0) {
          const int64_t count = std::min(n, kTile - filled);
          gather(x, step, count, in_item, tile + filled * in_item);
          x += count * step * in_item;
          n -= count;
          filled += count;
          if (filled == kTile) add(tile, std::exchange(filled, 0));
        }
      });
      if (filled) add(tile, filled);
    }
    loops.join_row(part, parts, nullptr, to);
  }

  void rows() const {
    const int64_t chunk = kChunk;
    const int64_t chunks = std::max<int64_t>(1, (reduced + chunk - 1) / chunk);
    const bool split = chunks > 1;
    const Scratch part(split ? kept * chunks * item : 0);
    const int64_t work = std::max<int64_t>(1, std::min(reduced, chunk));
    parallel_for(kept * chunks, std::max<int64_t>(1, kGrain / work), [&](int64_t b, int64_t e) {
      Walk row(l, from, 0, kept_dims, b / chunks);
      int64_t i = b / chunks, first = b % chunks * chunk;
      for (int64_t u = b; u < e; ++u) {
        piece(in + row.at() * in_item, first, std::min(chunk, reduced - first), centre(i),
              split ? part.data() + u * item : result(i));
        first += chunk;
        if (first < reduced) continue;
        first = 0;
        ++i;
        row.next();
      }
    });
    for (int64_t i = 0; split && i < kept; ++i) {
      loops.join_row(part.data() + i * chunks * item, chunks, nullptr, result(i));
    }
  }

  // Many rows of a few dense elements: those of 2, 4, 8 or 16 have loops of their own.
  bool short_rows() const {
    const auto power = std::countr_zero(static_cast<uint64_t>(reduced));
    if (!loops.short_rows[0] || widen || !has_short_rows(kShortRun) || reduced != 1 << power ||
        kept_dims != 1 || stride(0) != reduced) {
      return false;
    }
    const auto loop = loops.short_rows[power - 1];
    constexpr int64_t block = 64;  // rows: no vector holds more
    parallel_for((kept + block - 1) / block, std::max<int64_t>(1, kGrain / (reduced * block)),
                 [&](int64_t b, int64_t e) {
                   const int64_t first = b * block, end = std::min(kept, e * block);
                   loop(in + first * reduced * item, end - first, result(first));
                 });
    return true;
  }
  // Others are columns, once tiles of them are turned.
  void turned() const {
    const int64_t blocks = (kept + kTurned - 1) / kTurned;
    parallel_for(blocks, kGrain / (reduced * kTurned), [&](int64_t b, int64_t e) {
      alignas(kAlignment) char tile[kShortRun * kTurned * kMaxItem];
      Walk rows(l, 1, 0, kept_dims, b * kTurned);
      for (int64_t first = b * kTurned; first < std::min(kept, e * kTurned); first += kTurned) {
        const int64_t width = std::min(kTurned, kept - first);
        for (int64_t i = 0; i < width; ++i, rows.next()) {
          (in_item == 4 ? turn<uint32_t> : turn<uint64_t>)(in + rows.at() * in_item, reduced,
                                                           tile + i * in_item);
        }
        loops.columns(tile, reduced, kTurned, width, centre(first), result(first));
      }
    });
  }
  template <class T>
  static void turn(const char* row, int64_t n, char* column) {
    for (int64_t k = 0; k < n; ++k) {
      reinterpret_cast<T*>(column)[k * kTurned] = reinterpret_cast<const T*>(row)[k];
    }
  }

  // As `piece` for `width` dense columns at once.
  void column_piece(const char* from, int64_t first, int64_t m, int64_t width, const char* c,
                    char* to) const {
    if (one_run()) return loops.columns(from + first * step * in_item, m, step, width, c, to);
    alignas(kAlignment) char part[kFold * kBlockColumns * kMaxItem];
    int64_t parts = 0;
    stretches(from, first, m, [&](const char* x, int64_t n) {
      if (parts == kFold) {
        loops.join_columns(part, parts, width, width, nullptr, part);
        parts = 1;
      }
      loops.columns(x, n, step, width, c, part + parts++ * width * item);
    });
    loops.join_columns(part, parts, width, width, nullptr, to);
  }

  void columns() const {
    const int64_t n = l.size[kept_dims - 1], outer = kept / n;
    const int64_t blocks = (n + kBlockColumns - 1) / kBlockColumns;
    const int64_t chunks = (reduced + kChunkRows - 1) / kChunkRows;
    const bool split = chunks > 1;
    const Scratch part(split ? outer * chunks * n * item : 0);
    const int64_t work = std::min(reduced, kChunkRows) * std::min(n, kBlockColumns);
    parallel_for(
        outer * chunks * blocks, std::max<int64_t>(1, kGrain / work), [&](int64_t b, int64_t e) {
          for (int64_t u = b; u < e; ++u) {
            const int64_t j = u % blocks * kBlockColumns, c = u / blocks % chunks;
            const int64_t o = u / blocks / chunks, first = c * kChunkRows;
            char* to = split ? part.data() + ((o * chunks + c) * n + j) * item : result(o * n + j);
            column_piece(source(o * n + j), first, std::min(kChunkRows, reduced - first),
                         std::min(kBlockColumns, n - j), centre(o * n + j), to);
          }
        });
    if (!split) return;
    parallel_for(outer * blocks, std::max<int64_t>(1, kGrain / (chunks * kBlockColumns)),
                 [&](int64_t b, int64_t e) {
                   for (int64_t u = b; u < e; ++u) {
                     const int64_t j = u % blocks * kBlockColumns, o = u / blocks;
                     loops.join_columns(part.data() + (o * chunks * n + j) * item, chunks, n,
                                        std::min(kBlockColumns, n - j), nullptr, result(o * n + j));
                   }
                 });
  }

  void scale(double by) const {
    visit_compute(l.dtype, [&]<class T>() {
      if constexpr (std::is_floating_point_v<T>) {
        T* at = reinterpret_cast<T*>(out);
        for (int64_t i = 0; i < kept; ++i) at[i] = static_cast<T>(at[i] * by);
      }
    });
  }
};

// Whether any of some bytes, each 0 or 1, is `wanted`. memchr stops at the first.
bool has_byte(const char* p, int64_t n, int64_t step, char wanted) {
  if (step == 1) return std::memchr(p, wanted, static_cast<size_t>(n)) != nullptr;
  for (int64_t i = 0; i < n; ++i) {
    if (p[i * step] == wanted) return true;
  }
  return false;
}

// Eight bools at a time, of eight rows at a time.
template <int kRows>
void join_bools(char* to, const char* x, int64_t stride, int64_t n, bool any) {
  const auto join = [&]<class Word>(int64_t j, Word) {
    Word w, y;
    std::memcpy(&w, to + j, sizeof w);
    for (int u = 0; u < kRows; ++u) {
      std::memcpy(&y, x + u * stride + j, sizeof y);
      w = static_cast<Word>(any ? w | y : w & y);
    }
    std::memcpy(to + j, &w, sizeof w);
  };
  int64_t j = 0;
  for (; j + 16 <= n; j += 16) {
    join(j, uint64_t{});
    join(j + 8, uint64_t{});
  }
  for (; j < n; ++j) join(j, uint8_t{});
}

// The greatest or the least of bools: whether there is a true one, or no false one.
void reduce_bools(const Reduction& r, bool any) {
  const char wanted = any ? 1 : 0;
  const auto rows = [&](int64_t b, int64_t e) {
    for (int64_t i = b; i < e; ++i) {
      bool found = false;
      if (r.reduced > 0)
        r.stretches(r.source(i), 0, r.reduced, [&](const char* x, int64_t n) {
          found = found || has_byte(x, n, r.step, wanted);
        });
      *r.result(i) = static_cast<char>(found == any);
    }
  };
  const auto columns = [&](int64_t b, int64_t e) {
    const int64_t n = r.l.size[r.kept_dims - 1], blocks = (n + kBoolColumns - 1) / kBoolColumns;
    for (int64_t u = b; u < e; ++u) {
      const int64_t first = u / blocks * n + u % blocks * kBoolColumns;
      const int64_t width = std::min(kBoolColumns, n - u % blocks * kBoolColumns);
      char* to = r.result(first);
      std::memset(to, 1 - wanted, static_cast<size_t>(width));
      if (r.reduced == 0) continue;
      r.stretches(r.source(first), 0, r.reduced, [&](const char* x, int64_t m) {
        for (; m >= 8; m -= 8, x += 8 * r.step) join_bools<8>(to, x, r.step, width, any);
        for (; m > 0; --m, x += r.step) join_bools<1>(to, x, r.step, width, any);
      });
    }
  };
  const int64_t work = std::max<int64_t>(1, r.reduced);
  if (r.has_dense_columns()) {
    const int64_t n = r.l.size[r.kept_dims - 1];
    const int64_t blocks = (n + kBoolColumns - 1) / kBoolColumns;
    parallel_for(r.kept / n * blocks, std::max<int64_t>(1, kGrain / (work * kBoolColumns)),
                 columns);
  } else {
    parallel_for(r.kept, std::max<int64_t>(1, kGrain / work), rows);
  }
}

}  // namespace

void run_reduce(const Launch& l) {
  const Reduction r(l);
  if (r.kept == 0) return;
  if (l.dtype == DType::Bool) return reduce_bools(r, l.kernel == reduce_kernel<AMax>);
  if (r.short_rows()) {
  } else if (!r.widen && r.has_short_rows(kShortRun)) {
    r.turned();
  } else if (r.dense_columns()) {
    r.columns();
  } else {
    r.rows();
  }
  if (l.more_numbers[0] != 1) r.scale(l.more_numbers[0]);
}

}  // namespace wengert::cpu
