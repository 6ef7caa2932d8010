// The driver of reductions. A launch names the kept dimensions first and the reduced ones after
// them. Long reductions are cut into chunks of a fixed size, whose results are then reduced alike,
// so neither the number of threads nor the number of results changes a bit.
#include <algorithm>

#include "core/allocator.h"
#include "kernels/cpu/cpu.h"
#include "kernels/cpu/parallel.h"

namespace wengert::cpu {
namespace {

constexpr int64_t kChunk = 32768;       // elements of a row reduced in one go
constexpr int64_t kChunkRows = 1024;    // rows of a column reduction in one go
constexpr int64_t kBlockColumns = 256;  // columns to a unit of parallel work: a few cache lines
constexpr int64_t kGrain = 32768;       // elements a thread must get

class Scratch {
 public:
  explicit Scratch(int64_t bytes)
      : bytes_(static_cast<size_t>(bytes)), data_(static_cast<char*>(allocate(bytes_))) {}
  Scratch(const Scratch&) = delete;
  Scratch& operator=(const Scratch&) = delete;
  ~Scratch() { deallocate(data_, bytes_); }
  char* data() const { return data_; }

 private:
  size_t bytes_;
  char* data_;
};

// Where element `i` of the first `dims` dimensions stands, in elements.
int64_t offset_of(const Launch& l, int buffer, int first, int dims, int64_t i) {
  int64_t at = 0;
  for (int d = first + dims - 1; d >= first; --d) {
    at += i % l.size[d] * l.buffer[buffer].stride[d];
    i /= l.size[d];
  }
  return at;
}

struct Reduction {
  const Launch& l;
  ReduceRow row;
  ReduceColumns columns;
  int kept_dims, reduced_dims;
  int64_t kept = 1, reduced = 1;
  int64_t in_item, out_item;
  const char* in;
  char* out;

  explicit Reduction(const Launch& launch)
      : l(launch),
        kept_dims(l.ndim - static_cast<int>(l.integer[0])),
        reduced_dims(static_cast<int>(l.integer[0])),
        in_item(static_cast<int64_t>(item_size(l.dtype))),
        out_item(static_cast<int64_t>(item_size(l.buffer[0].dtype))),
        in(static_cast<const char*>(l.buffer[1].data)),
        out(static_cast<char*>(l.buffer[0].data)) {
    const auto& loops = isa().reduce[reduction_index(l.kernel)][static_cast<int>(l.dtype)];
    row = loops.row;
    columns = loops.columns;
    for (int d = 0; d < kept_dims; ++d) kept *= l.size[d];
    for (int d = kept_dims; d < l.ndim; ++d) reduced *= l.size[d];
  }
  int64_t stride(int d) const { return l.buffer[1].stride[d]; }
  const char* source(int64_t i) const { return in + offset_of(l, 1, 0, kept_dims, i) * in_item; }
  char* result(int64_t i) const { return out + offset_of(l, 0, 0, kept_dims, i) * out_item; }

  void rows() const {
    if (reduced <= kChunk || !columns) {
      parallel_for(kept, std::max<int64_t>(1, kGrain / std::max<int64_t>(1, reduced)),
                   [&](int64_t b, int64_t e) {
                     for (int64_t i = b; i < e; ++i) row(source(i), reduced, result(i));
                   });
      return;
    }
    const int64_t chunks = (reduced + kChunk - 1) / kChunk;
    const Scratch part(kept * chunks * in_item);
    parallel_for(kept * chunks, 1, [&](int64_t b, int64_t e) {
      for (int64_t u = b; u < e; ++u) {
        const int64_t first = u % chunks * kChunk;
        row(source(u / chunks) + first * in_item, std::min(kChunk, reduced - first),
            part.data() + u * in_item);
      }
    });
    for (int64_t i = 0; i < kept; ++i) {
      row(part.data() + i * chunks * in_item, chunks, result(i));
    }
  }

  // One reduced dimension above a dense row of n kept elements.
  void down_columns() const {
    const int64_t n = l.size[kept_dims - 1], step = stride(kept_dims), outer = kept / n;
    const int64_t blocks = (n + kBlockColumns - 1) / kBlockColumns;
    const int64_t chunks = (reduced + kChunkRows - 1) / kChunkRows;
    const bool split = chunks > 1;
    const Scratch part(split ? outer * chunks * n * in_item : 0);
    const int64_t work = std::min(reduced, kChunkRows) * std::min(n, kBlockColumns);
    parallel_for(outer * chunks * blocks, std::max<int64_t>(1, kGrain / std::max<int64_t>(1, work)),
                 [&](int64_t b, int64_t e) {
                   for (int64_t u = b; u < e; ++u) {
                     const int64_t j = u % blocks * kBlockColumns, c = u / blocks % chunks;
                     const int64_t o = u / blocks / chunks, first = c * kChunkRows;
                     char* to = split ? part.data() + ((o * chunks + c) * n + j) * in_item
                                      : result(o * n) + j * in_item;
                     columns(source(o * n) + (first * step + j) * in_item,
                             std::min(kChunkRows, reduced - first), step,
                             std::min(kBlockColumns, n - j), to);
                   }
                 });
    for (int64_t o = 0; split && o < outer; ++o) {
      columns(part.data() + o * chunks * n * in_item, chunks, n, n, result(o * n));
    }
  }

  // Any layout: elements are gathered chunk by chunk.
  void gathered() const {
    const int64_t chunks = (reduced + kChunkRows - 1) / kChunkRows;
    parallel_for(kept, std::max<int64_t>(1, kGrain / reduced), [&](int64_t b, int64_t e) {
      const Scratch part(chunks * in_item);
      alignas(kAlignment) char tile[kChunkRows * 8];
      for (int64_t i = b; i < e; ++i) {
        const char* from = source(i);
        for (int64_t c = 0; c < chunks; ++c) {
          const int64_t first = c * kChunkRows, m = std::min(kChunkRows, reduced - first);
          for (int64_t k = 0; k < m; ++k) {
            const int64_t at = offset_of(l, 1, kept_dims, reduced_dims, first + k);
            std::copy_n(from + at * in_item, in_item, tile + k * in_item);
          }
          row(tile, m, part.data() + c * in_item);
        }
        row(part.data(), chunks, result(i));
      }
    });
  }

  void scale(double by) const {
    visit_compute(l.dtype, [&]<class T>() {
      if constexpr (std::is_floating_point_v<T>) {
        for (int64_t i = 0; i < kept; ++i) {
          T* at = reinterpret_cast<T*>(result(i));
          *at = static_cast<T>(*at * by);
        }
      }
    });
  }
};

}  // namespace

void run_reduce(const Launch& l) {
  const Reduction r(l);
  if (r.kept == 0) return;
  const bool dense_row = r.reduced <= 1 || (r.reduced_dims == 1 && r.stride(r.kept_dims) == 1);
  const bool dense_column = r.columns && r.reduced_dims == 1 && r.kept_dims > 0 &&
                            r.stride(r.kept_dims - 1) == 1 &&
                            l.buffer[0].stride[r.kept_dims - 1] == 1;
  if (dense_row) {
    r.rows();
  } else if (dense_column) {
    r.down_columns();
  } else {
    r.gathered();
  }
  if (l.kernel == id(Kernel::Sum) && l.more_numbers[0] != 1) r.scale(l.more_numbers[0]);
}

}  // namespace wengert::cpu
