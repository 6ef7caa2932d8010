// Copies. Between dtypes they are driven as elementwise work; within one, the last two dimensions
// are copied by the loop that fits their strides, as elements of so many bytes.
#include <algorithm>
#include <bit>
#include <cstring>

#include "kernels/cpu/cpu.h"
#include "kernels/cpu/odometer.h"
#include "kernels/cpu/parallel.h"
#include "kernels/cpu/stream.h"

namespace wengert::cpu {
namespace {

// Bytes a thread must get for waking it to pay.
constexpr int64_t kGrain = 1 << 16;
// Rows of a transposed copy in one go: what is read of a row of the source, some pages of which the
// memory has open (4,096 x 4,096 floats: 15.5 ms by 16, 6.5 by 128, 5.5 by 256).
constexpr int64_t kTurnedRows = 256;
constexpr int64_t kStreamedRow = 1024;  // bytes of a row that it pays for

// Two dimensions: sizes and, in elements, the strides of destination and source; whether to write
// past the caches.
struct Plane {
  int64_t size[2], to[2], from[2];
  bool past = false;

  // Whether lines of the source are columns of the destination, or the other way round.
  bool turned() const {
    return (to[1] == 1 && from[0] == 1 && from[1] != 1) ||
           (to[0] == 1 && from[1] == 1 && to[1] != 1);
  }
};

template <class I>
void copy_row(I* to, int64_t to_stride, const I* from, int64_t from_stride, int64_t n) {
  if (to_stride == 1 && from_stride == 1) {
    if (n >= 16) {
      std::memcpy(to, from, static_cast<size_t>(n) * sizeof(I));
    } else {
      for (int64_t i = 0; i < n; ++i) to[i] = from[i];
    }
  } else if (to_stride == 1 && from_stride == 0) {
    std::fill_n(to, n, *from);
  } else if (to_stride == 1 && from_stride == -1) {
    for (int64_t i = 0; i < n; ++i) to[i] = from[-i];
  } else if (to_stride == 1) {
    for (int64_t i = 0; i < n; ++i) to[i] = from[i * from_stride];
  } else {
    for (int64_t i = 0; i < n; ++i) to[i * to_stride] = from[i * from_stride];
  }
}

// Rows [begin, end) of a plane.
template <class I>
void copy_plane(const Plane& p, I* to, const I* from, int64_t begin, int64_t end) {
  const int64_t rows = end - begin, columns = p.size[1];
  to += begin * p.to[0];
  from += begin * p.from[0];
  constexpr auto width = std::countr_zero(sizeof(I));
  if (p.turned() && rows > 1 && columns > 1) {
    return p.to[1] == 1 ? isa().turn[width](from, p.from[1], to, p.to[0], rows, columns, p.past)
                        : isa().turn[width](from, p.from[0], to, p.to[1], columns, rows, p.past);
  }
  // The longer dimension inside, if it costs nothing.
  if (columns < 8 && rows > columns && p.to[1] != 1) {
    for (int64_t j = 0; j < columns; ++j) {
      copy_row(to + j * p.to[1], p.to[0], from + j * p.from[1], p.from[0], rows);
    }
    return;
  }
  const int64_t row_bytes = columns * static_cast<int64_t>(sizeof(I));
  if (p.past && p.to[1] == 1 && p.from[1] == 1 && row_bytes >= kStreamedRow) {
    for (int64_t i = 0; i < rows; ++i) {
      isa().stream(from + i * p.from[0], row_bytes, to + i * p.to[0]);
    }
    return;
  }
  for (int64_t i = 0; i < rows; ++i) {
    copy_row(to + i * p.to[0], p.to[1], from + i * p.from[0], p.from[1], columns);
  }
}

// The dimension to copy together with the last: one in which the source, or the destination, is
// dense, if the last is not dense in both; else the one before.
int partner_of(const Launch& l) {
  const int last = l.ndim - 1;
  const auto stride = [&](int k, int d) { return l.buffer[k].stride[d]; };
  for (const int k : {1, 0}) {
    if (stride(k, last) == 1) continue;
    for (int d = last - 1; d >= 0; --d) {
      if (stride(k, d) == 1) return d;
    }
  }
  return last - 1;
}

template <class I>
void copy_items(Launch l) {
  if (l.ndim == 1) {  // a plane of one row, which is cut along it
    const Plane p{{l.size[0], 1}, {l.buffer[0].stride[0], 1}, {l.buffer[1].stride[0], 1}};
    return parallel_for(
        p.size[0], kGrain / static_cast<int64_t>(sizeof(I)), [&](int64_t b, int64_t e) {
          copy_row(static_cast<I*>(l.buffer[0].data) + b * p.to[0], p.to[0],
                   static_cast<const I*>(l.buffer[1].data) + b * p.from[0], p.from[0], e - b);
        });
  }
  const int last = l.ndim - 1, other = partner_of(l);
  const Plane p{{l.size[other], l.size[last]},
                {l.buffer[0].stride[other], l.buffer[0].stride[last]},
                {l.buffer[1].stride[other], l.buffer[1].stride[last]},
                streams(l)};
  // What is left of the dimensions counts the planes.
  for (int d = other; d + 1 < last; ++d) {
    l.size[d] = l.size[d + 1];
    for (int k = 0; k < 2; ++k) l.buffer[k].stride[d] = l.buffer[k].stride[d + 1];
  }
  const int outer = last - 1;
  int64_t planes = 1;
  for (int d = 0; d < outer; ++d) planes *= l.size[d];
  const int64_t row_bytes = std::max<int64_t>(1, p.size[1] * static_cast<int64_t>(sizeof(I)));
  // Turned squares want whole rows of them, and threads all the same some chunks each.
  const int64_t least = p.turned() ? std::min(p.size[0] / 16, kTurnedRows) : 1;
  const int64_t chunk =
      std::clamp<int64_t>((std::max(kGrain / row_bytes, least) + 15) / 16 * 16, 16, 1 << 20);
  const int64_t chunks = (p.size[0] + chunk - 1) / chunk;
  const int64_t grain = std::max<int64_t>(1, kGrain / (row_bytes * std::min(chunk, p.size[0])));
  parallel_for(planes * chunks, grain, [&](int64_t b, int64_t e) {
    const StreamEnd ends(p.past);
    Odometer plane(l, outer, b / chunks);
    int64_t part = b % chunks;
    for (int64_t u = b; u < e; ++u) {
      copy_plane(p, reinterpret_cast<I*>(plane.at(0)), reinterpret_cast<const I*>(plane.at(1)),
                 part * chunk, std::min(p.size[0], (part + 1) * chunk));
      if (++part == chunks) {
        part = 0;
        plane.next();
      }
    }
  });
}

void copy_past_caches(const Launch& l) {
  const int64_t item = item_of(l, 0);
  parallel_for(l.count, kGrain / item, [&](int64_t b, int64_t e) {
    const StreamEnd ends(true);
    isa().stream(static_cast<const char*>(l.buffer[1].data) + b * item, (e - b) * item,
                 static_cast<char*>(l.buffer[0].data) + b * item);
  });
}

}  // namespace

void run_copy(const Launch& l) {
  if (l.count == 0) return;
  const DType from = l.buffer[1].dtype;
  if (l.dense && from == l.dtype && streams(l)) return copy_past_caches(l);
  if (l.dense || from != l.dtype) {
    return drive(l, isa().cast[static_cast<int>(from)][static_cast<int>(l.dtype)], nullptr, false);
  }
  switch (item_size(from)) {
    case 1:
      return copy_items<uint8_t>(l);
    case 2:
      return copy_items<uint16_t>(l);
    case 4:
      return copy_items<uint32_t>(l);
    default:
      return copy_items<uint64_t>(l);
  }
}

}  // namespace wengert::cpu
