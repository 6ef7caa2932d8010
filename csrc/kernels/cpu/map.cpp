// The driver of everything elementwise: cuts a strided, broadcast iteration into dense pieces for
// the ISA's inner loops, which know only unit stride. Operands of other strides are staged through
// tiles that stay in L1, so one loop a functor serves every layout.
#include <algorithm>
#include <bit>
#include <cstring>

#include "kernels/cpu/cpu.h"
#include "kernels/cpu/odometer.h"
#include "kernels/cpu/parallel.h"
#include "kernels/cpu/stream.h"

namespace wengert::cpu {
namespace {

// Elements to a tile: 512 doubles of each of five operands fill 20 of the 32 KiB of a small L1.
constexpr int64_t kTile = 512;
// Elements a thread must get for waking it to pay.
constexpr int64_t kGrain = 16384;
// Rows shorter than this are joined into tiles across rows.
constexpr int64_t kShortRow = 32;
// Bytes of a result that are made in L1 before they are streamed: as much as the store buffer takes
// while the next are read (float32 on Zen 4: 1 to 2 KiB; of 8 KiB the reads wait, a third slower).
constexpr int64_t kStreamed = 2048;
// Bytes of a row that streaming it pays for.
constexpr int64_t kStreamedRow = 1024;
// A block of an operand whose lines are columns: rows, and bytes in all, which stay in L2. Its
// rows are pieces of work, too short ones of which cost more than what is in them.
constexpr int64_t kTurnedRows = 64, kTurnedBytes = 1 << 16;
// Operands that are turned; more are read element by element.
constexpr int kMaxTurned = 2;

template <class U>
void gather_as(const char* src, int64_t stride, int64_t n, char* dst) {
  const U* s = reinterpret_cast<const U*>(src);
  U* d = reinterpret_cast<U*>(dst);
  for (int64_t i = 0; i < n; ++i) d[i] = s[i * stride];
}
// Elements [first, first + n) of rows of so many columns.
template <class U>
void gather_rows_as(const char* src, int64_t down, int64_t along, int64_t columns, int64_t first,
                    int64_t n, char* dst) {
  const U* s = reinterpret_cast<const U*>(src);
  U* d = reinterpret_cast<U*>(dst);
  int64_t row = first / columns, column = first % columns;
  for (U* const end = d + n; d < end; ++row, column = 0) {
    const int64_t stop = std::min(columns, column + (end - d));
    for (; column < stop; ++column) *d++ = s[row * down + column * along];
  }
}
template <class U>
void scatter_as(const char* src, int64_t stride, int64_t n, char* dst) {
  const U* s = reinterpret_cast<const U*>(src);
  U* d = reinterpret_cast<U*>(dst);
  for (int64_t i = 0; i < n; ++i) d[i * stride] = s[i];
}
void gather(size_t item, const char* src, int64_t stride, int64_t n, char* dst) {
  if (stride == 0) return isa().repeat[std::countr_zero(item)](src, n, dst);
  if (item == 4) return gather_as<uint32_t>(src, stride, n, dst);
  if (item == 8) return gather_as<uint64_t>(src, stride, n, dst);
  if (item == 2) return gather_as<uint16_t>(src, stride, n, dst);
  gather_as<uint8_t>(src, stride, n, dst);
}
void gather_rows(size_t item, const char* src, int64_t down, int64_t along, int64_t columns,
                 int64_t first, int64_t n, char* dst) {
  const auto as = item == 4   ? &gather_rows_as<uint32_t>
                  : item == 8 ? &gather_rows_as<uint64_t>
                  : item == 2 ? &gather_rows_as<uint16_t>
                              : &gather_rows_as<uint8_t>;
  as(src, down, along, columns, first, n, dst);
}
void scatter(size_t item, const char* src, int64_t stride, int64_t n, char* dst) {
  if (item == 4) return scatter_as<uint32_t>(src, stride, n, dst);
  if (item == 8) return scatter_as<uint64_t>(src, stride, n, dst);
  if (item == 2) return scatter_as<uint16_t>(src, stride, n, dst);
  scatter_as<uint8_t>(src, stride, n, dst);
}

// How an operand comes to the inner loop and back: elements of narrow types are converted to the
// type that they are computed in.
struct Staging {
  DType from, as;
  MapFn in = nullptr, out = nullptr;  // casts, of narrow types only
  StreamLoop past = nullptr;          // for a dense result to be written past the caches

  Staging() = default;
  Staging(DType d, DType computed) : from(d), as(computed) {
    if (from == as) return;
    in = isa().cast[static_cast<int>(from)][static_cast<int>(as)];
    out = isa().cast[static_cast<int>(as)][static_cast<int>(from)];
  }
  void load(const char* src, int64_t stride, int64_t n, char* tile) const {
    if (!in) return gather(item_size(from), src, stride, n, tile);
    alignas(kAlignment) char dense[kTile * 4];
    char* ptr[] = {tile, const_cast<char*>(src)};
    if (stride != 1) {
      gather(item_size(from), src, stride, n, dense);
      ptr[1] = dense;
    }
    in(ptr, n, nullptr);
  }
  // Of a launch of two dimensions, elements of operand k that run across rows.
  void load_rows(const Launch& l, int k, int64_t first, int64_t n, char* tile) const {
    const Buffer& b = l.buffer[k];
    alignas(kAlignment) char dense[kTile * 4];
    gather_rows(item_size(from), static_cast<const char*>(b.data), b.stride[0], b.stride[1],
                l.size[1], first, n, in ? dense : tile);
    if (!in) return;
    char* ptr[] = {tile, dense};
    in(ptr, n, nullptr);
  }
  void store(const char* tile, int64_t stride, int64_t n, char* dst) const {
    if (!out) return put(tile, stride, n, dst);
    alignas(kAlignment) char dense[kTile * 4];
    char* ptr[] = {stride == 1 && !past ? dst : dense, const_cast<char*>(tile)};
    out(ptr, n, nullptr);
    if (ptr[0] != dst) put(dense, stride, n, dst);
  }

 private:
  void put(const char* tile, int64_t stride, int64_t n, char* dst) const {
    if (past && stride == 1) return past(tile, n * static_cast<int64_t>(item_size(from)), dst);
    scatter(item_size(from), tile, stride, n, dst);
  }
};

// What operands are computed in: their own dtype, the one that narrow ones are widened to, or, for
// kernels of a narrow dtype, that one, which numbers then come down to. Bools are masks there.
struct Computed {
  enum { Own, Widened, Narrow } how;
  DType narrow = DType::Bool;
  DType operator()(DType d) const {
    if (how == Narrow) return d == DType::Bool ? d : narrow;
    return how == Widened ? compute_dtype(d) : d;
  }
};

// An inner loop; and its form for results at whole lines, which it writes past the caches.
struct Inner {
  MapFn loop, past = nullptr;
};
bool at_line(const void* p) {
  return reinterpret_cast<uintptr_t>(p) % kLine == 0;
}

struct Tiles {
  alignas(kAlignment) char bytes[kMaxBuffers][kTile * 8];
};

// Long rows: each is a run of tiles; operands of unit stride are used where they are.
void drive_rows(const Launch& l, Inner inner, const double* params, Computed computed, bool past,
                int64_t begin, int64_t end) {
  const int last = l.ndim - 1;
  const int64_t n = l.size[last];
  bool staged[kMaxBuffers], any_staged = false;
  Staging staging[kMaxBuffers];
  for (int k = 0; k < l.nbuffers; ++k) {
    staging[k] = Staging(l.buffer[k].dtype, computed(l.buffer[k].dtype));
    staged[k] = staging[k].in || (l.buffer[k].stride[last] != 1 && n > 1) || (past && k == 0);
    any_staged |= staged[k];
  }
  if (past) staging[0].past = isa().stream;
  const bool direct = past && inner.past && !staging[0].out;
  Tiles tiles;
  const int64_t step = any_staged ? kTile : n;
  const int64_t per_row = (n + step - 1) / step;
  Odometer row(l, last, begin / per_row);
  int64_t piece = begin % per_row;
  // Of an operand that is the same along the row, which element its tile repeats.
  const char* repeats[kMaxBuffers] = {};
  for (int64_t u = begin; u < end; ++u) {
    const int64_t i = piece * step, m = std::min(step, n - i);
    char* ptr[kMaxBuffers];
    MapFn loop = inner.loop;
    for (int k = 0; k < l.nbuffers; ++k) {
      char* p = row.at(k) + i * row.step(k, last);
      ptr[k] = p;
      if (k == 0 && direct && at_line(p)) {
        loop = inner.past;
      } else if (staged[k]) {
        ptr[k] = tiles.bytes[k];
        if (k == 0) continue;
        if (l.buffer[k].stride[last] != 0) {
          staging[k].load(p, l.buffer[k].stride[last], m, ptr[k]);
        } else if (repeats[k] != p) {
          staging[k].load(p, 0, std::min(step, n), ptr[k]);
          repeats[k] = p;
        }
      }
    }
    loop(ptr, m, params);
    if (ptr[0] == tiles.bytes[0]) {
      staging[0].store(ptr[0], l.buffer[0].stride[last], m, row.at(0) + i * row.step(0, last));
    }
    if (++piece == per_row) {
      piece = 0;
      row.next();
    }
  }
}

bool is_dense(const Launch& l, int k) {
  int64_t step = 1;
  for (int d = l.ndim - 1; d >= 0; --d) {
    if (l.size[d] != 1 && l.buffer[k].stride[d] != step) return false;
    step *= l.size[d];
  }
  return true;
}

// Short rows: tiles run across rows; operands that are dense as a whole are used where they are.
void drive_elements(const Launch& l, Inner inner, const double* params, Computed computed,
                    bool past, int64_t begin, int64_t end) {
  Tiles tiles;
  bool staged[kMaxBuffers];
  Staging staging[kMaxBuffers];
  for (int k = 0; k < l.nbuffers; ++k) {
    staging[k] = Staging(l.buffer[k].dtype, computed(l.buffer[k].dtype));
    staged[k] = staging[k].in || !is_dense(l, k);
  }
  past &= is_dense(l, 0);
  char* const out = static_cast<char*>(l.buffer[0].data);
  const int last = l.ndim - 1;
  for (int64_t i = begin, m; i < end; i += m) {
    m = std::min(past ? up_to_line(out + i * item_of(l, 0), item_of(l, 0), kTile) : kTile, end - i);
    char* ptr[kMaxBuffers];
    for (int k = 0; k < l.nbuffers; ++k) {
      ptr[k] =
          staged[k] ? tiles.bytes[k] : static_cast<char*>(l.buffer[k].data) + i * item_of(l, k);
    }
    if (l.ndim == 2) {
      for (int k = 1; k < l.nbuffers; ++k) {
        if (staged[k]) staging[k].load_rows(l, k, i, m, ptr[k]);
      }
    } else {
      each_run(l, i, i + m, [&](const Odometer& row, int64_t column, int64_t done, int64_t count) {
        for (int k = 1; k < l.nbuffers; ++k) {
          if (!staged[k]) continue;
          staging[k].load(row.at(k) + column * row.step(k, last), l.buffer[k].stride[last], count,
                          ptr[k] + done * static_cast<int64_t>(item_size(staging[k].as)));
        }
      });
    }
    if (past) ptr[0] = tiles.bytes[0];
    inner.loop(ptr, m, params);
    if (past) {
      staging[0].past = isa().stream;
      staging[0].store(ptr[0], 1, m, out + i * item_of(l, 0));
      continue;
    }
    if (!staged[0]) continue;
    each_run(l, i, i + m, [&](const Odometer& row, int64_t column, int64_t done, int64_t count) {
      staging[0].store(ptr[0] + done * static_cast<int64_t>(item_size(staging[0].as)),
                       l.buffer[0].stride[last], count, row.at(0) + column * row.step(0, last));
    });
  }
}

// The dimension other than the last along which an operand is dense, whose lines are then read once
// for each of their elements, if there is one; or -1.
int turned_dim(const Launch& l) {
  const int last = l.ndim - 1;
  for (int k = 1; k < l.nbuffers; ++k) {
    const int64_t* stride = l.buffer[k].stride;
    if (stride[last] == 0 || stride[last] == 1) continue;
    for (int d = 0; d < last; ++d) {
      if (stride[d] == 1 && l.size[d] >= kShortRow) return d;
    }
  }
  return -1;
}

// The same launch with dimension d next to the last.
Launch moved_next(const Launch& l, int d) {
  Launch r = l;
  std::rotate(r.size + d, r.size + d + 1, r.size + l.ndim - 1);
  for (int k = 0; k < l.nbuffers; ++k) {
    int64_t* stride = r.buffer[k].stride;
    std::rotate(stride + d, stride + d + 1, stride + l.ndim - 1);
  }
  return r;
}

// Asks for a block of an operand whose lines are columns, which the hardware does not foresee.
void fetch_columns(const char* from, int64_t step, int64_t columns, int64_t bytes) {
  for (int64_t j = 0; j < columns; ++j) {
    for (int64_t i = 0; i < bytes; i += kLine) __builtin_prefetch(from + j * step + i, 0, 2);
  }
}

// Rows and columns in blocks. Operands whose lines are columns are turned, so that each line is
// read once. [begin, end) counts blocks of rows; l's last dimension but one is the turned one.
void drive_turned(const Launch& l, Inner inner, const double* params, Computed computed, bool past,
                  int64_t begin, int64_t end) {
  const int last = l.ndim - 1, across = last - 1;
  const int64_t per_plane = (l.size[across] + kTurnedRows - 1) / kTurnedRows;
  alignas(kAlignment) char tile[kMaxTurned][kTurnedBytes];
  Launch block = l;
  block.ndim = 2;
  bool turned[kMaxBuffers] = {};
  int tiles = 0;
  int64_t columns = kTile;
  for (int k = 0; k < l.nbuffers; ++k) {
    Buffer& b = block.buffer[k];
    const int64_t down = l.buffer[k].stride[across], along = l.buffer[k].stride[last];
    turned[k] = k > 0 && down == 1 && along != 0 && along != 1 && tiles < kMaxTurned;
    if (turned[k]) {
      b.data = tile[tiles++];
      columns = std::min(columns, kTurnedBytes / kTurnedRows / item_of(l, k));
    }
    b.stride[0] = down;
    b.stride[1] = turned[k] ? 1 : along;
  }
  for (int k = 0; k < l.nbuffers; ++k) {
    if (turned[k]) block.buffer[k].stride[0] = columns;
  }
  Odometer plane(l, across, begin / per_plane);
  for (int64_t u = begin; u < end; ++u) {
    const int64_t i = u % per_plane * kTurnedRows;
    block.size[0] = std::min(kTurnedRows, l.size[across] - i);
    for (int64_t j = 0; j < l.size[last]; j += columns) {
      block.size[1] = std::min(columns, l.size[last] - j);
      for (int k = 0; k < l.nbuffers; ++k) {
        char* at = plane.at(k) + i * plane.step(k, across) + j * plane.step(k, last);
        if (turned[k]) {
          isa().turn[std::countr_zero(static_cast<size_t>(item_of(l, k)))](
              at, l.buffer[k].stride[last], block.buffer[k].data, columns, block.size[0],
              block.size[1], false);
          fetch_columns(at + columns * plane.step(k, last), plane.step(k, last),
                        std::min(columns, l.size[last] - j - columns),
                        block.size[0] * item_of(l, k));
        } else {
          block.buffer[k].data = at;
        }
      }
      drive_rows(block, inner, params, computed, past, 0, block.size[0]);
    }
    if (u % per_plane == per_plane - 1) plane.next();
  }
}

// Through a tile in L1 where the inner loop does not do it by itself, which takes up to a fifth
// longer: results wait for their tile.
void drive_past_caches(const Launch& l, Inner inner, const double* params) {
  const int64_t item = item_of(l, 0);
  parallel_for(l.count, kGrain, [&](int64_t b, int64_t e) {
    const StreamEnd ends(true);
    alignas(kAlignment) char tile[kStreamed];
    const StreamLoop stream = isa().stream;
    for (int64_t i = b, m; i < e; i += m) {
      char* const to = static_cast<char*>(l.buffer[0].data) + i * item;
      m = std::min(up_to_line(to, item, kStreamed / item), e - i);
      char* ptr[kMaxBuffers] = {tile};
      for (int k = 1; k < l.nbuffers; ++k) {
        ptr[k] = static_cast<char*>(l.buffer[k].data) + i * item_of(l, k);
      }
      if (inner.past && at_line(to)) {
        ptr[0] = to;
        m = e - i;
        inner.past(ptr, m, params);
        continue;
      }
      inner.loop(ptr, m, params);
      stream(tile, m * item, to);
    }
  });
}

// Whether all rows of the result begin at lines.
bool rows_at_lines(const Launch& l) {
  bool all = at_line(l.buffer[0].data);
  for (int d = 0; d + 1 < l.ndim; ++d) {
    all &= l.buffer[0].stride[d] * item_of(l, 0) % kLine == 0;
  }
  return all;
}

void drive_dense(const Launch& l, Inner inner, const double* params) {
  if (streams(l)) return drive_past_caches(l, inner, params);
  parallel_for(l.count, kGrain, [&](int64_t b, int64_t e) {
    char* ptr[kMaxBuffers];
    for (int k = 0; k < l.nbuffers; ++k) {
      ptr[k] = static_cast<char*>(l.buffer[k].data) + b * item_of(l, k);
    }
    inner.loop(ptr, e - b, params);
  });
}

void drive_as(const Launch& l, Inner inner, const double* params, Computed computed) {
  if (l.count == 0) return;
  bool converts = false;
  for (int k = 0; k < l.nbuffers; ++k) {
    converts |= computed(l.buffer[k].dtype) != l.buffer[k].dtype;
  }
  if (l.dense && !converts) {
    if (l.count > kGrain) return drive_dense(l, inner, params);
    char* ptr[kMaxBuffers];
    for (int k = 0; k < l.nbuffers; ++k) ptr[k] = static_cast<char*>(l.buffer[k].data);
    return inner.loop(ptr, l.count, params);
  }
  const int64_t n = l.size[l.ndim - 1], rows = l.count / n;
  const bool large = streams(l);
  if (n < kShortRow && rows > 1) {
    return parallel_for(l.count, kGrain, [&](int64_t b, int64_t e) {
      const StreamEnd ends(large);
      drive_elements(l, inner, params, computed, large, b, e);
    });
  }
  const bool past =
      large && l.buffer[0].stride[l.ndim - 1] == 1 && n * item_of(l, 0) >= kStreamedRow;
  if (const int d = turned_dim(l); d >= 0) {
    const Launch m = moved_next(l, d);
    const int64_t blocks = (l.size[d] + kTurnedRows - 1) / kTurnedRows;
    const int64_t work = std::min(l.size[d], kTurnedRows) * n;
    return parallel_for(rows / l.size[d] * blocks, std::max<int64_t>(1, kGrain / work),
                        [&](int64_t b, int64_t e) {
                          const StreamEnd ends(past);
                          drive_turned(m, inner, params, computed, past, b, e);
                        });
  }
  bool any_staged = converts;
  for (int k = 0; k < l.nbuffers; ++k) any_staged |= l.buffer[k].stride[l.ndim - 1] != 1 && n > 1;
  if (past && inner.past && !any_staged && rows_at_lines(l)) {
    return parallel_for(rows, std::max<int64_t>(1, kGrain / n), [&](int64_t b, int64_t e) {
      const StreamEnd ends(true);
      drive_rows(l, {inner.past}, params, computed, false, b, e);
    });
  }
  any_staged |= past;
  const int64_t step = any_staged ? kTile : n, per_row = (n + step - 1) / step;
  parallel_for(rows * per_row, std::max<int64_t>(1, kGrain / std::min(step, n)),
               [&](int64_t b, int64_t e) {
                 const StreamEnd ends(past);
                 drive_rows(l, inner, params, computed, past, b, e);
               });
}

bool is_one_number(const Buffer& b, int ndim) {
  for (int d = 0; d < ndim; ++d) {
    if (b.stride[d] != 0) return false;
  }
  return true;
}

// Whether a kernel of a narrow dtype can read and write every buffer: those of that dtype, masks,
// and integers that it holds.
bool suits(const Launch& l) {
  for (int k = 0; k < l.nbuffers; ++k) {
    const Buffer& b = l.buffer[k];
    if (b.dtype == l.dtype) continue;
    if (b.dtype == DType::Bool && (k <= 1 || item_size(l.dtype) == 1)) continue;
    if (b.dtype != DType::Int32 || is_floating(l.dtype) || k == 0) return false;
    if (!is_one_number(b, l.ndim)) return false;
    const int32_t v = *static_cast<const int32_t*>(b.data);
    const bool fits = l.dtype == DType::UInt8  ? v == static_cast<uint8_t>(v)
                      : l.dtype == DType::Int8 ? v == static_cast<int8_t>(v)
                                               : v == static_cast<int16_t>(v);
    if (!fits) return false;
  }
  return true;
}

}  // namespace

void drive(const Launch& l, MapFn inner, const double* params, bool widen) {
  drive_as(l, {inner}, params, {widen ? Computed::Widened : Computed::Own});
}

void run_map(const Launch& l) {
  const auto& loops = isa().map[l.kernel];
  if (is_narrow(l.dtype)) {
    const MapFn own = loops[static_cast<int>(l.dtype)];
    if (own && l.count > 0 && suits(l))
      return drive_as(l, {own}, l.number, {Computed::Narrow, l.dtype});
  }
  const auto computed = static_cast<int>(compute_dtype(l.dtype));
  drive_as(l, {loops[computed], isa().map_past[l.kernel][computed]}, l.number, {Computed::Widened});
}

// The byte that all bytes of what a launch fills with are, if they are the same; or -1.
int fill_byte(const Launch& l) {
  return visit(l.dtype, [&]<class T>() {
    T value;
    if constexpr (std::is_integral_v<T>) {
      value = static_cast<T>(l.integer[0]);
    } else {
      value = convert<T>(l.number[0]);
    }
    unsigned char bytes[sizeof(T)];
    std::memcpy(bytes, &value, sizeof(T));
    for (const unsigned char b : bytes) {
      if (b != bytes[0]) return -1;
    }
    return static_cast<int>(bytes[0]);
  });
}

void run_fill(const Launch& l) {
  if (const int byte = l.dense && l.count > kGrain ? fill_byte(l) : -1; byte >= 0) {
    // There are instructions for zeros: on Zen 4 nearly three times as fast as stores.
    const int64_t item = item_of(l, 0);
    return parallel_for(l.count, kGrain, [&](int64_t b, int64_t e) {
      std::memset(static_cast<char*>(l.buffer[0].data) + b * item, byte,
                  static_cast<size_t>((e - b) * item));
    });
  }
  drive(
      l,
      [](char* const* ptr, int64_t n, const double* params) {
        const Launch& l = *reinterpret_cast<const Launch*>(params);
        visit(l.dtype, [&]<class T>() {
          T* out = reinterpret_cast<T*>(ptr[0]);
          if constexpr (std::is_integral_v<T>) {
            std::fill(out, out + n, static_cast<T>(l.integer[0]));
          } else {
            std::fill(out, out + n, convert<T>(l.number[0]));
          }
        });
      },
      reinterpret_cast<const double*>(&l), false);
}

void run_arange(const Launch& l) {
  visit_compute(l.dtype, [&]<class T>() {
    T* out = static_cast<T*>(l.buffer[0].data);
    if constexpr (std::is_same_v<T, int64_t>) {
      for (int64_t i = 0; i < l.count; ++i) out[i] = l.integer[0] + i * l.integer[1];
    } else if constexpr (!std::is_same_v<T, Bool8>) {
      for (int64_t i = 0; i < l.count; ++i) {
        out[i] = static_cast<T>(l.number[0] + static_cast<double>(i) * l.number[1]);
      }
    }
  });
}

void run_linspace(const Launch& l) {
  const double start = l.number[0], end = l.number[1];
  const double step = l.count > 1 ? (end - start) / static_cast<double>(l.count - 1) : 0;
  visit_compute(l.dtype, [&]<class T>() {
    if constexpr (!std::is_same_v<T, Bool8>) {
      T* out = static_cast<T*>(l.buffer[0].data);
      parallel_for(l.count, kGrain, [&](int64_t b, int64_t e) {
        // from the nearer end, so that both are met exactly
        for (int64_t i = b; i < e; ++i) {
          out[i] = convert<T>(i < l.count / 2 || l.count == 1
                                  ? start + step * static_cast<double>(i)
                                  : end - step * static_cast<double>(l.count - 1 - i));
        }
      });
    }
  });
}

}  // namespace wengert::cpu
