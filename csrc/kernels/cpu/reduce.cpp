// The driver of reductions. A launch names the kept dimensions first and the reduced ones after
// them; the output is dense. Long reductions are cut into chunks of a fixed size, whose results are
// then joined, so neither the number of threads nor the number of results changes a bit.
#include <algorithm>
#include <cstring>

#include "kernels/cpu/cpu.h"
#include "kernels/cpu/parallel.h"
#include "kernels/cpu/scratch.h"

namespace wengert::cpu {
namespace {

constexpr int64_t kChunk = 32768;       // elements of a row reduced in one go
constexpr int64_t kChunkRows = 1024;    // rows of a column reduction in one go
constexpr int64_t kBlockColumns = 256;  // columns to a unit of parallel work: a few cache lines
constexpr int64_t kGrain = 32768;       // elements a thread must get
constexpr int64_t kLongRun = 32;        // dense elements that are worth a call where they are
constexpr int64_t kTile = 1024;         // elements gathered at a time
constexpr int64_t kFold = 8;            // column results joined at a time
constexpr int64_t kShortRun = 16;       // elements to a row up to which a call for each is a waste
constexpr int64_t kMaxItem = 8;
constexpr int64_t kBoolColumns = 1024;  // bytes

// A walk in order through dimensions [first, end) of a buffer, starting at element `i` of them.
class Walk {
 public:
  Walk(const Launch& l, int buffer, int first, int end, int64_t i)
      : size_(l.size), stride_(l.buffer[buffer].stride), first_(first), end_(end) {
    for (int d = end - 1; d >= first; --d) {
      index_[d] = i % size_[d];
      i /= size_[d];
      at_ += index_[d] * stride_[d];
    }
  }
  int64_t at() const { return at_; }  // in elements
  void next() {
    for (int d = end_ - 1; d >= first_; --d) {
      at_ += stride_[d];
      if (++index_[d] < size_[d]) return;
      at_ -= index_[d] * stride_[d];
      index_[d] = 0;
    }
  }

 private:
  const int64_t *size_, *stride_;
  int first_, end_;
  int64_t at_ = 0;
  int64_t index_[kMaxDims];
};

template <class T>
void gather_as(const char* from, int64_t stride, int64_t n, char* to) {
  for (int64_t i = 0; i < n; ++i) {
    reinterpret_cast<T*>(to)[i] = reinterpret_cast<const T*>(from)[i * stride];
  }
}

struct Reduction {
  const Launch& l;
  const ReduceLoops& loops;
  int kept_dims, last;
  int64_t kept = 1, reduced = 1;
  int64_t run, step;  // of the last reduced dimension
  int64_t in_item, out_item;
  const char *in, *centres;
  char* out;

  explicit Reduction(const Launch& launch)
      : l(launch),
        loops(isa().reduce[reduction_index(l.kernel)][static_cast<int>(l.dtype)]),
        kept_dims(l.ndim - static_cast<int>(l.integer[0])),
        last(l.ndim - 1),
        in_item(static_cast<int64_t>(item_size(l.dtype))),
        out_item(static_cast<int64_t>(item_size(l.buffer[0].dtype))),
        in(static_cast<const char*>(l.buffer[1].data)),
        centres(l.nbuffers > 2 ? static_cast<const char*>(l.buffer[2].data) : nullptr),
        out(static_cast<char*>(l.buffer[0].data)) {
    for (int d = 0; d < kept_dims; ++d) kept *= l.size[d];
    for (int d = kept_dims; d < l.ndim; ++d) reduced *= l.size[d];
    run = l.ndim > kept_dims ? l.size[last] : 1;
    step = l.ndim > kept_dims ? stride(last) : 1;
  }
  int64_t stride(int d) const { return l.buffer[1].stride[d]; }
  const char* source(int64_t i) const { return in + Walk(l, 1, 0, kept_dims, i).at() * in_item; }
  char* result(int64_t i) const { return out + i * out_item; }
  const char* centre(int64_t i) const { return centres ? centres + i * in_item : nullptr; }

  bool one_run() const { return run == reduced || reduced == 0; }
  bool dense_rows() const { return step == 1 || reduced <= 1; }
  bool dense_columns() const {
    return loops.columns && reduced > 1 && kept_dims > 0 && stride(kept_dims - 1) == 1;
  }

  // Calls body(where, length) for each stretch of the last reduced dimension that holds some of
  // the reduced elements [first, first + m).
  template <class Body>
  void stretches(const char* from, int64_t first, int64_t m, Body&& body) const {
    Walk outer(l, 1, kept_dims, last, first / run);
    for (int64_t start = first % run; m > 0; start = 0, outer.next()) {
      const int64_t length = std::min(run - start, m);
      body(from + (outer.at() + start * step) * in_item, length);
      m -= length;
    }
  }

  // Reduced elements [first, first + m) of one result.
  void piece(const char* from, int64_t first, int64_t m, const char* c, char* to) const {
    if (dense_rows() && one_run()) return loops.row(from + first * in_item, m, c, to);
    alignas(kAlignment) char part[(kChunk / kLongRun + 2) * kMaxItem];
    int64_t parts = 0;
    const auto add = [&](const char* x, int64_t n) {
      loops.row(x, n, c, part + parts++ * in_item);
    };
    if (step == 1 && run >= kLongRun) {
      stretches(from, first, m, add);
    } else {
      alignas(kAlignment) char tile[kTile * kMaxItem];
      int64_t filled = 0;
      stretches(from, first, m, [&](const char* x, int64_t n) {
        while (n > 0) {
          const int64_t count = std::min(n, kTile - filled);
          (in_item == 4 ? gather_as<uint32_t> : gather_as<uint64_t>)(x, step, count,
                                                                     tile + filled * in_item);
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
    const int64_t chunk = loops.join_row ? kChunk : std::max<int64_t>(1, reduced);
    const int64_t chunks = std::max<int64_t>(1, (reduced + chunk - 1) / chunk);
    const bool split = chunks > 1;
    const Scratch part(split ? kept * chunks * in_item : 0);
    const int64_t work = std::max<int64_t>(1, std::min(reduced, chunk));
    parallel_for(kept * chunks, std::max<int64_t>(1, kGrain / work), [&](int64_t b, int64_t e) {
      for (int64_t u = b; u < e; ++u) {
        const int64_t i = u / chunks, first = u % chunks * chunk;
        piece(source(i), first, std::min(chunk, reduced - first), centre(i),
              split ? part.data() + u * in_item : result(i));
      }
    });
    for (int64_t i = 0; split && i < kept; ++i) {
      loops.join_row(part.data() + i * chunks * in_item, chunks, nullptr, result(i));
    }
  }

  // Many rows of a few dense elements: tiles of them, turned, are columns.
  bool short_rows() const {
    return reduced > 1 && reduced <= kShortRun && kept > 1 && dense_rows() && one_run();
  }
  void turned() const {
    const int64_t blocks = (kept + kBlockColumns - 1) / kBlockColumns;
    parallel_for(blocks, kGrain / (reduced * kBlockColumns), [&](int64_t b, int64_t e) {
      alignas(kAlignment) char tile[kShortRun * kBlockColumns * kMaxItem];
      Walk rows(l, 1, 0, kept_dims, b * kBlockColumns);
      for (int64_t first = b * kBlockColumns; first < std::min(kept, e * kBlockColumns);
           first += kBlockColumns) {
        const int64_t width = std::min(kBlockColumns, kept - first);
        for (int64_t i = 0; i < width; ++i, rows.next()) {
          (in_item == 4 ? turn<uint32_t> : turn<uint64_t>)(in + rows.at() * in_item, reduced,
                                                           tile + i * in_item);
        }
        loops.columns(tile, reduced, kBlockColumns, width, centre(first), result(first));
      }
    });
  }
  template <class T>
  static void turn(const char* row, int64_t n, char* column) {
    for (int64_t k = 0; k < n; ++k) {
      reinterpret_cast<T*>(column)[k * kBlockColumns] = reinterpret_cast<const T*>(row)[k];
    }
  }

  // First places of extremes in rows of a few elements, without a jump for each.
  template <bool Max, class T>
  void short_places() const {
    parallel_for(kept, kGrain / reduced, [&](int64_t b, int64_t e) {
      Walk rows(l, 1, 0, kept_dims, b);
      for (int64_t i = b; i < e; ++i, rows.next()) {
        const T* x = reinterpret_cast<const T*>(in) + rows.at();
        T best = x[0];
        int64_t place = 0;
        for (int64_t k = 1; k < reduced; ++k) {
          const bool more = best == best && !(Max ? x[k] <= best : x[k] >= best);
          best = more ? x[k] : best;
          place = more ? k : place;
        }
        reinterpret_cast<int64_t*>(out)[i] = place;
      }
    });
  }
  bool places(bool max) const {
    if (!short_rows()) return false;
    visit_compute(l.dtype, [&]<class T>() {
      if constexpr (!std::is_same_v<T, Bool8>) {
        max ? short_places<true, T>() : short_places<false, T>();
      }
    });
    return true;
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
      loops.columns(x, n, step, width, c, part + parts++ * width * in_item);
    });
    loops.join_columns(part, parts, width, width, nullptr, to);
  }

  void columns() const {
    const int64_t n = l.size[kept_dims - 1], outer = kept / n;
    const int64_t blocks = (n + kBlockColumns - 1) / kBlockColumns;
    const int64_t chunks = (reduced + kChunkRows - 1) / kChunkRows;
    const bool split = chunks > 1;
    const Scratch part(split ? outer * chunks * n * in_item : 0);
    const int64_t work = std::min(reduced, kChunkRows) * std::min(n, kBlockColumns);
    parallel_for(
        outer * chunks * blocks, std::max<int64_t>(1, kGrain / work), [&](int64_t b, int64_t e) {
          for (int64_t u = b; u < e; ++u) {
            const int64_t j = u % blocks * kBlockColumns, c = u / blocks % chunks;
            const int64_t o = u / blocks / chunks, first = c * kChunkRows;
            char* to =
                split ? part.data() + ((o * chunks + c) * n + j) * in_item : result(o * n + j);
            column_piece(source(o * n + j), first, std::min(kChunkRows, reduced - first),
                         std::min(kBlockColumns, n - j), centre(o * n + j), to);
          }
        });
    if (!split) return;
    parallel_for(outer * blocks, std::max<int64_t>(1, kGrain / (chunks * kBlockColumns)),
                 [&](int64_t b, int64_t e) {
                   for (int64_t u = b; u < e; ++u) {
                     const int64_t j = u % blocks * kBlockColumns, o = u / blocks;
                     loops.join_columns(part.data() + (o * chunks * n + j) * in_item, chunks, n,
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

// By value throughout: to the compiler, a byte that is written might be part of anything else.
void join_bytes(char* to, const char* x, int64_t n, bool any) {
  if (any) {
    for (int64_t j = 0; j < n; ++j) to[j] |= x[j];
  } else {
    for (int64_t j = 0; j < n; ++j) to[j] &= x[j];
  }
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
        for (int64_t k = 0; k < m; ++k, x += r.step) join_bytes(to, x, width, any);
      });
    }
  };
  const int64_t work = std::max<int64_t>(1, r.reduced);
  if (r.kept_dims > 0 && r.step != 1 && r.stride(r.kept_dims - 1) == 1) {
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
  const bool max = l.kernel == reduce_kernel<ArgMax>;
  if ((max || l.kernel == reduce_kernel<ArgMin>) && r.places(max)) return;
  if (r.loops.columns && r.short_rows()) {
    r.turned();
  } else if (!r.dense_rows() && r.dense_columns()) {
    r.columns();
  } else {
    r.rows();
  }
  if (l.more_numbers[0] != 1) r.scale(l.more_numbers[0]);
}

}  // namespace wengert::cpu
