// The driver of everything elementwise: cuts a strided, broadcast iteration into dense pieces for
// the ISA's inner loops, which know only unit stride. Operands of other strides are staged through
// tiles that stay in L1, so one loop a functor serves every layout.
#include <algorithm>
#include <cstring>

#include "kernels/cpu/cpu.h"
#include "kernels/cpu/odometer.h"
#include "kernels/cpu/parallel.h"

namespace wengert::cpu {
namespace {

// Elements to a tile: 512 doubles of each of five operands fill 20 of the 32 KiB of a small L1.
constexpr int64_t kTile = 512;
// Elements a thread must get for waking it to pay.
constexpr int64_t kGrain = 16384;
// Rows shorter than this are joined into tiles across rows.
constexpr int64_t kShortRow = 32;

template <class U>
void gather_as(const char* src, int64_t stride, int64_t n, char* dst) {
  const U* s = reinterpret_cast<const U*>(src);
  U* d = reinterpret_cast<U*>(dst);
  if (stride == 0) {
    std::fill(d, d + n, *s);
  } else {
    for (int64_t i = 0; i < n; ++i) d[i] = s[i * stride];
  }
}
template <class U>
void scatter_as(const char* src, int64_t stride, int64_t n, char* dst) {
  const U* s = reinterpret_cast<const U*>(src);
  U* d = reinterpret_cast<U*>(dst);
  for (int64_t i = 0; i < n; ++i) d[i * stride] = s[i];
}
void gather(size_t item, const char* src, int64_t stride, int64_t n, char* dst) {
  if (item == 4) return gather_as<uint32_t>(src, stride, n, dst);
  if (item == 8) return gather_as<uint64_t>(src, stride, n, dst);
  if (item == 2) return gather_as<uint16_t>(src, stride, n, dst);
  gather_as<uint8_t>(src, stride, n, dst);
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
  void store(const char* tile, int64_t stride, int64_t n, char* dst) const {
    if (!out) return scatter(item_size(from), tile, stride, n, dst);
    alignas(kAlignment) char dense[kTile * 4];
    char* ptr[] = {stride == 1 ? dst : dense, const_cast<char*>(tile)};
    out(ptr, n, nullptr);
    if (stride != 1) scatter(item_size(from), dense, stride, n, dst);
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

struct Tiles {
  alignas(kAlignment) char bytes[kMaxBuffers][kTile * 8];
};

// Long rows: each is a run of tiles; operands of unit stride are used where they are.
void drive_rows(const Launch& l, MapFn inner, const double* params, Computed computed,
                int64_t begin, int64_t end) {
  const int last = l.ndim - 1;
  const int64_t n = l.size[last];
  bool staged[kMaxBuffers], any_staged = false;
  Staging staging[kMaxBuffers];
  for (int k = 0; k < l.nbuffers; ++k) {
    staging[k] = Staging(l.buffer[k].dtype, computed(l.buffer[k].dtype));
    staged[k] = staging[k].in || (l.buffer[k].stride[last] != 1 && n > 1);
    any_staged |= staged[k];
  }
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
    for (int k = 0; k < l.nbuffers; ++k) {
      char* p = row.at(k) + i * row.step(k, last);
      ptr[k] = p;
      if (staged[k]) {
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
    inner(ptr, m, params);
    if (staged[0]) {
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
void drive_elements(const Launch& l, MapFn inner, const double* params, Computed computed,
                    int64_t begin, int64_t end) {
  Tiles tiles;
  bool staged[kMaxBuffers];
  Staging staging[kMaxBuffers];
  for (int k = 0; k < l.nbuffers; ++k) {
    staging[k] = Staging(l.buffer[k].dtype, computed(l.buffer[k].dtype));
    staged[k] = staging[k].in || !is_dense(l, k);
  }
  const int last = l.ndim - 1;
  for (int64_t i = begin; i < end; i += kTile) {
    const int64_t m = std::min(kTile, end - i);
    char* ptr[kMaxBuffers];
    for (int k = 0; k < l.nbuffers; ++k) {
      ptr[k] =
          staged[k] ? tiles.bytes[k] : static_cast<char*>(l.buffer[k].data) + i * item_of(l, k);
    }
    each_run(l, i, i + m, [&](const Odometer& row, int64_t column, int64_t done, int64_t count) {
      for (int k = 1; k < l.nbuffers; ++k) {
        if (!staged[k]) continue;
        staging[k].load(row.at(k) + column * row.step(k, last), l.buffer[k].stride[last], count,
                        ptr[k] + done * static_cast<int64_t>(item_size(staging[k].as)));
      }
    });
    inner(ptr, m, params);
    if (!staged[0]) continue;
    each_run(l, i, i + m, [&](const Odometer& row, int64_t column, int64_t done, int64_t count) {
      staging[0].store(ptr[0] + done * static_cast<int64_t>(item_size(staging[0].as)),
                       l.buffer[0].stride[last], count, row.at(0) + column * row.step(0, last));
    });
  }
}

void drive_dense(const Launch& l, MapFn inner, const double* params) {
  parallel_for(l.count, kGrain, [&](int64_t b, int64_t e) {
    char* ptr[kMaxBuffers];
    for (int k = 0; k < l.nbuffers; ++k) {
      ptr[k] = static_cast<char*>(l.buffer[k].data) + b * item_of(l, k);
    }
    inner(ptr, e - b, params);
  });
}

void drive_as(const Launch& l, MapFn inner, const double* params, Computed computed) {
  if (l.count == 0) return;
  bool converts = false;
  for (int k = 0; k < l.nbuffers; ++k) {
    converts |= computed(l.buffer[k].dtype) != l.buffer[k].dtype;
  }
  if (l.dense && !converts) {
    if (l.count > kGrain) return drive_dense(l, inner, params);
    char* ptr[kMaxBuffers];
    for (int k = 0; k < l.nbuffers; ++k) ptr[k] = static_cast<char*>(l.buffer[k].data);
    return inner(ptr, l.count, params);
  }
  const int64_t n = l.size[l.ndim - 1], rows = l.count / n;
  if (n < kShortRow && rows > 1) {
    return parallel_for(l.count, kGrain, [&](int64_t b, int64_t e) {
      drive_elements(l, inner, params, computed, b, e);
    });
  }
  bool any_staged = converts;
  for (int k = 0; k < l.nbuffers; ++k) any_staged |= l.buffer[k].stride[l.ndim - 1] != 1 && n > 1;
  const int64_t step = any_staged ? kTile : n, per_row = (n + step - 1) / step;
  parallel_for(rows * per_row, std::max<int64_t>(1, kGrain / std::min(step, n)),
               [&](int64_t b, int64_t e) { drive_rows(l, inner, params, computed, b, e); });
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
  drive_as(l, inner, params, {widen ? Computed::Widened : Computed::Own});
}

void run_map(const Launch& l) {
  const auto& loops = isa().map[l.kernel];
  if (is_narrow(l.dtype)) {
    const MapFn own = loops[static_cast<int>(l.dtype)];
    if (own && l.count > 0 && suits(l))
      return drive_as(l, own, l.number, {Computed::Narrow, l.dtype});
  }
  drive_as(l, loops[static_cast<int>(compute_dtype(l.dtype))], l.number, {Computed::Widened});
}

void run_fill(const Launch& l) {
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
