// The driver of the extremes along one dimension and their places. Long rows and columns are cut
// into chunks, whose results are compared in order.
#include <algorithm>
#include <bit>
#include <cstring>

#include "kernels/cpu/cpu.h"
#include "kernels/cpu/parallel.h"
#include "kernels/cpu/reduce_space.h"
#include "kernels/cpu/scratch.h"

namespace wengert::cpu {
namespace {

constexpr int64_t kChunk = 32768;     // elements of a row in one go
constexpr int64_t kChunkRows = 1024;  // rows of columns in one go
constexpr int64_t kBlockColumns = 512;
constexpr int64_t kGrain = 32768;  // elements a thread must get
constexpr int64_t kTile = 1024;    // elements gathered at a time

template <class T>
class Extremes : ReduceSpace {
 public:
  explicit Extremes(const Launch& launch)
      : ReduceSpace(launch, launch.nbuffers - 1),
        max_(l.kernel == reduce_kernel<ArgMax>),
        loops_(isa().places[max_][static_cast<int>(l.dtype)]),
        places_(static_cast<int64_t*>(l.buffer[0].data)),
        own_(l.nbuffers > 2 ? 0 : kept * in_item),
        values_(l.nbuffers > 2 ? static_cast<T*>(l.buffer[1].data)
                               : reinterpret_cast<T*>(own_.data())) {}

  void run() const {
    if (kept == 0) return;
    if (short_rows()) return;
    has_dense_columns() ? columns() : rows();
  }

 private:
  // Takes what a later chunk found, if that beats what is there.
  void join(T value, int64_t place, T& best, int64_t& at) const {
    if (best == best && !(max_ ? value <= best : value >= best)) best = value, at = place;
  }

  // Elements [first, first + m) of a row.
  void piece(const T* x, int64_t first, int64_t m, T& best, int64_t& at) const {
    if (step == 1 || m == 1) {
      loops_.row(x + first * step, m, &best, &at);
      at += first;
      return;
    }
    T tile[kTile];
    for (int64_t i = 0; i < m; i += kTile) {
      const int64_t n = std::min(kTile, m - i);
      gather(reinterpret_cast<const char*>(x + (first + i) * step), step, n, in_item,
             reinterpret_cast<char*>(tile));
      T value;
      int64_t place;
      loops_.row(tile, n, &value, &place);
      place += first + i;
      if (i == 0) {
        best = value, at = place;
      } else {
        join(value, place, best, at);
      }
    }
  }

  void rows() const {
    const int64_t chunks = (reduced + kChunk - 1) / kChunk;
    const bool split = chunks > 1;
    const Scratch value_parts(split ? kept * chunks * in_item : 0),
        place_parts(split ? kept * chunks * 8 : 0);
    T* values = split ? reinterpret_cast<T*>(value_parts.data()) : values_;
    auto* places = split ? reinterpret_cast<int64_t*>(place_parts.data()) : places_;
    parallel_for(kept * chunks, std::max<int64_t>(1, kGrain / std::min(reduced, kChunk)),
                 [&](int64_t b, int64_t e) {
                   Walk at(l, from, 0, kept_dims, b / chunks);
                   for (int64_t u = b; u < e; ++u) {
                     const int64_t first = u % chunks * kChunk;
                     piece(reinterpret_cast<const T*>(in) + at.at(), first,
                           std::min(kChunk, reduced - first), values[u], places[u]);
                     if (first + kChunk >= reduced) at.next();
                   }
                 });
    for (int64_t i = 0; split && i < kept; ++i) {
      const int64_t u = i * chunks;
      T best = values[u];
      int64_t at = places[u];
      for (int64_t c = 1; c < chunks; ++c) join(values[u + c], places[u + c], best, at);
      values_[i] = best;
      places_[i] = at;
    }
  }

  void columns() const {
    const int64_t n = l.size[kept_dims - 1];
    const int64_t blocks = (n + kBlockColumns - 1) / kBlockColumns;
    const int64_t work = reduced * std::min(n, kBlockColumns);
    parallel_for(kept / n * blocks, std::max<int64_t>(1, kGrain / work), [&](int64_t b, int64_t e) {
      for (int64_t u = b; u < e; ++u) {
        const int64_t j = u % blocks * kBlockColumns;
        column_block(u / blocks * n + j, std::min(kBlockColumns, n - j));
      }
    });
  }
  void column_block(int64_t i, int64_t width) const {
    const T* x = reinterpret_cast<const T*>(source(i));
    loops_.columns(x, std::min(kChunkRows, reduced), step, width, values_ + i, places_ + i);
    T value[kBlockColumns];
    int64_t place[kBlockColumns];
    for (int64_t r = kChunkRows; r < reduced; r += kChunkRows) {
      loops_.columns(x + r * step, std::min(kChunkRows, reduced - r), step, width, value, place);
      for (int64_t j = 0; j < width; ++j) {
        join(value[j], place[j] + r, values_[i + j], places_[i + j]);
      }
    }
  }

  // Rows of 2, 4, 8 or 16, one behind the other.
  bool short_rows() const {
    constexpr int64_t longest = int64_t{1} << std::size(PlacesLoops{}.short_rows);
    if (!has_short_rows(longest) || !std::has_single_bit(static_cast<uint64_t>(reduced)) ||
        kept_dims != 1 || stride(0) != reduced) {
      return false;
    }
    const auto loop = loops_.short_rows[std::countr_zero(static_cast<uint64_t>(reduced)) - 1];
    constexpr int64_t block = 64;  // rows: no vector holds more
    parallel_for((kept + block - 1) / block, std::max<int64_t>(1, kGrain / (reduced * block)),
                 [&](int64_t b, int64_t e) {
                   const int64_t first = b * block, end = std::min(kept, e * block);
                   loop(reinterpret_cast<const T*>(in) + first * reduced, end - first,
                        values_ + first, places_ + first);
                 });
    return true;
  }

  const bool max_;
  const PlacesLoops& loops_;
  int64_t* places_;
  const Scratch own_;  // values that nobody asked for
  T* values_;
};

}  // namespace

void run_places(const Launch& l) {
  visit_compute(l.dtype, [&]<class T>() {
    if constexpr (!std::is_same_v<T, Bool8>) Extremes<T>(l).run();
  });
}

}  // namespace wengert::cpu
