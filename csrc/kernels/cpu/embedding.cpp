// Rows of a table by their numbers, and the gradient of the table.
#include <algorithm>
#include <cstring>

#include "kernels/cpu/cpu.h"
#include "kernels/cpu/parallel.h"

namespace wengert::cpu {
namespace {

constexpr int64_t kGrainBytes = 65536;  // to copy, for a thread to be worth waking

template <class T>
void add_row(const T* from, T* to, int64_t n) {
  for (int64_t j = 0; j < n; ++j) to[j] += from[j];
}
template <class T>
void add_scaled_row(const T* from, T factor, T* to, int64_t n) {
  for (int64_t j = 0; j < n; ++j) to[j] += from[j] * factor;
}

}  // namespace

void run_embedding(const Launch& l) {
  const auto row = static_cast<size_t>(l.size[1]) * item_size(l.dtype);
  if (row == 0) return;
  const auto* index = static_cast<const int64_t*>(l.buffer[2].data);
  const char* table = static_cast<const char*>(l.buffer[1].data);
  char* out = static_cast<char*>(l.buffer[0].data);
  const int64_t grain = std::max<int64_t>(1, kGrainBytes / static_cast<int64_t>(row));
  parallel_for(l.size[0], grain, [&](int64_t b, int64_t e) {
    for (int64_t i = b; i < e; ++i) {
      std::memcpy(out + static_cast<size_t>(i) * row, table + static_cast<size_t>(index[i]) * row,
                  row);
    }
  });
}

// Each thread adds, in the order of the index, to table rows of its own: what meets in one row is
// added in the same order with any number of threads.
void run_embedding_grad(const Launch& l) {
  const int64_t count = l.size[0], columns = l.size[1], rows = l.integer[0], skip = l.integer[1];
  const auto* index = static_cast<const int64_t*>(l.buffer[2].data);
  visit_compute(l.dtype, [&]<class T>() {
    if constexpr (std::is_floating_point_v<T>) {
      const T* g = static_cast<const T*>(l.buffer[1].data);
      const T* factor = l.integer[2] ? static_cast<const T*>(l.buffer[3].data) : nullptr;
      T* out = static_cast<T*>(l.buffer[0].data);
      const int64_t each =
          std::max<int64_t>(1, (rows + count) * columns / std::max<int64_t>(rows, 1));
      parallel_for(rows, std::max<int64_t>(1, kGrainBytes / static_cast<int64_t>(sizeof(T)) / each),
                   [&](int64_t b, int64_t e) {
                     std::fill(out + b * columns, out + e * columns, T(0));
                     for (int64_t i = 0; i < count; ++i) {
                       const int64_t r = index[i];
                       if (r < b || r >= e || r == skip) continue;
                       if (factor) {
                         add_scaled_row(g + i * columns, factor[r], out + r * columns, columns);
                       } else {
                         add_row(g + i * columns, out + r * columns, columns);
                       }
                     }
                   });
    }
  });
}

}  // namespace wengert::cpu
