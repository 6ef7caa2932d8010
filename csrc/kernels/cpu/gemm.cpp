// The matrix product's driver: how a batch is cut into pieces for threads, a piece into cache-sized
// blocks, a block into tiles; what is packed and what is read in place. Independent of the
// instruction set. Read gemm.h first; the entry is gemm() at the end, the heart is `product`.
//
// Threads share nothing: each takes rectangles of C and packs for itself, so a call is one parallel
// region without a barrier. What two threads pack twice costs 1 to 2% at n = 1024.

#include "kernels/cpu/gemm.h"

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstring>
#include <memory>
#include <new>

#include "kernels/cpu/parallel.h"

namespace wengert::cpu {
namespace {

constexpr size_t kAlign = 64;

// Steps that all panels advance together when packing contiguous lanes: 16 rows of cache lines fit
// L1 whatever their distance. Alone, a panel of 14 floats of A^T read its lines twice and cost 6%
// at n = 1024.
constexpr int64_t kPackSteps = 16;

// Up to this span a matrix is read in place. On Zen 5 (1 MiB of L2), GFLOPS at 32 KiB, 128 KiB,
// 1 MiB: 128^3 233, 270, 266; 256^3 246, 249, 264; 512^3 251, 255, 260; 32x784x128 213, 207, 258.
constexpr int64_t kInPlaceBytes = 1 << 20;

// A copy that would serve no more tiles than this is not made either. At 5, products of 32 and 64
// rows by 1024 x 1024 reach 256 GFLOPS; at 2, where they are packed, 200 and 219.
constexpr int kFewTiles = 5;

// A thread is worth waking for about 8 us of work: 2^20 multiply-adds in float32 with AVX-512.
constexpr double kMinFmasPerThreadAndLane = 65536;

// Memory that only grows, one per thread and use; a packed block is at most a few megabytes.
class Buffer {
 public:
  void* room_for(size_t bytes) {
    if (bytes > size_) {
      const size_t size = (bytes + bytes / 4 + 4095) / 4096 * 4096;
      memory_.reset();
      size_ = 0;
      memory_.reset(::operator new(size, std::align_val_t(kAlign)));
      size_ = size;
    }
    return memory_.get();
  }

 private:
  struct Free {
    void operator()(void* p) const { ::operator delete(p, std::align_val_t(kAlign)); }
  };
  std::unique_ptr<void, Free> memory_;
  size_t size_ = 0;
};

struct Workspace {
  Buffer a, b, sums;
};
thread_local Workspace workspace;

int64_t ceil_div(int64_t a, int64_t b) {
  return (a + b - 1) / b;
}

template <class T>
const T* at(const void* base, int64_t elements) {
  return static_cast<const T*>(base) + elements;
}
template <class T>
T* at(void* base, int64_t elements) {
  return static_cast<T*>(base) + elements;
}

// The rectangle of C that one thread makes at a time: a GemmArgs narrowed to rows and columns.
template <class T>
GemmArgs narrow(const GemmArgs& g, int64_t i0, int64_t m, int64_t j0, int64_t n) {
  GemmArgs s = g;
  s.m = m;
  s.n = n;
  s.a = at<T>(g.a, i0 * g.a_rs);
  s.b = at<T>(g.b, j0 * g.b_cs);
  s.c = at<T>(g.c, i0 * g.c_rs + j0);
  if (g.bias != nullptr) s.bias = at<T>(g.bias, j0);
  return s;
}

void activate(const GemmArgs& g, size_t item) {
  if (g.activation == nullptr) return;
  const bool whole = g.c_rs == g.n;  // rows without gaps are one array
  const int64_t rows = whole ? 1 : g.m, length = whole ? g.m * g.n : g.n;
  for (int64_t i = 0; i < rows; ++i) {
    char* row = static_cast<char*>(g.c) + static_cast<size_t>(i * g.c_rs) * item;
    char* const ptr[2] = {row, row};
    g.activation(ptr, length, g.activation_params);
  }
}

// ---- one thread --------------------------------------------------------------------------------

// Panels of A, or of B, as the micro-kernels read them: packed, or the matrix itself.
template <class T>
struct Panels {
  const T* first;
  int64_t step;     // from one panel to the next
  int64_t rs, cs;   // inside a panel (cs of B's is 1)
  const T* tail;    // B's last panel if it is partial: always packed, so that whole vectors
  int64_t tail_rs;  // can be read
};

// A matrix is read in place, not packed, if it spans little enough to stay in L2 with few pages, or
// if the copy would serve few tiles. The other stride of B must be 1.
template <class T>
bool spans_little(int64_t rows, int64_t rs, int64_t cols, int64_t cs) {
  return (rows * rs + cols * cs) * int64_t{sizeof(T)} <= kInPlaceBytes;
}
template <class T>
bool b_in_place(const GemmIsa& isa, const GemmArgs& g) {
  return g.b_cs == 1 && (g.m <= kFewTiles * isa.mr || spans_little<T>(g.k, g.b_rs, g.n, g.b_cs));
}
template <class T>
bool a_in_place(const GemmIsa& isa, const GemmArgs& g) {
  return g.n <= kFewTiles * isa.nv * isa.lanes || spans_little<T>(g.m, g.a_rs, g.k, g.a_cs);
}

// Packs `lanes` lanes in panels of `width`. Where lanes are contiguous, all panels advance
// together: a row's cache lines are read once.
template <class T>
void pack_panels(const GemmIsa& isa, const T* src, int64_t lane_stride, int64_t step_stride,
                 int64_t lanes, int64_t width, int64_t k, T* dst) {
  const int64_t steps = lane_stride == 1 ? kPackSteps : std::max<int64_t>(k, 1);
  for (int64_t p = 0; p < k; p += steps) {
    for (int64_t l = 0; l < lanes; l += width) {
      isa.pack(src + l * lane_stride + p * step_stride, lane_stride, step_stride,
               std::min(width, lanes - l), width, std::min(steps, k - p), dst + l * k + p * width);
    }
  }
}

template <class T>
Panels<T> panels_of_b(const GemmIsa& isa, const GemmArgs& g, bool in_place, Buffer& buffer) {
  const int64_t width = int64_t{isa.nv} * isa.lanes;
  const int64_t whole = g.n / width, rest = g.n - whole * width;
  const int64_t tail_width = ceil_div(rest, isa.lanes) * isa.lanes;
  const T* b = at<T>(g.b, 0);
  Panels<T> panels{b, width, g.b_rs, 1, nullptr, tail_width};
  if (in_place && rest == 0) return panels;
  const int64_t packed = in_place ? 0 : whole * width;
  T* room = static_cast<T*>(
      buffer.room_for(static_cast<size_t>((packed + tail_width) * g.k + isa.lanes) * sizeof(T)));
  if (!in_place) {
    pack_panels(isa, b, g.b_cs, g.b_rs, whole * width, width, g.k, room);
    panels = {room, width * g.k, width, 1, nullptr, tail_width};
  }
  if (rest != 0) {
    T* tail = room + packed * g.k;
    isa.pack(b + whole * width * g.b_cs, g.b_cs, g.b_rs, rest, tail_width, g.k, tail);
    panels.tail = tail;
  }
  return panels;
}

template <class T>
Panels<T> panels_of_a(const GemmIsa& isa, const GemmArgs& g, int64_t height, bool in_place,
                      Buffer& buffer) {
  const T* a = at<T>(g.a, 0);
  if (in_place) return {a, height * g.a_rs, g.a_rs, g.a_cs, nullptr, 0};
  const int64_t count = ceil_div(g.m, height);
  T* room = static_cast<T*>(
      buffer.room_for(static_cast<size_t>(count * height * g.k + isa.lanes) * sizeof(T)));
  pack_panels(isa, a, g.a_rs, g.a_cs, g.m, height, g.k, room);
  return {room, height * g.k, 1, height, nullptr, 0};
}

// A panel of B stays in L1 while the panels of A, in L2, pass under it.
template <class T>
void tiles(const GemmIsa& isa, const GemmArgs& g, int64_t height, const Panels<T>& a,
           const Panels<T>& b) {
  const int64_t width = int64_t{isa.nv} * isa.lanes;
  const auto& kernels = a.rs == 1 ? isa.unit_rows : isa.any_rows;
  GemmTile t{};
  t.k = g.k;
  t.a_rs = a.rs;
  t.a_cs = a.cs;
  t.c_rs = g.c_rs;
  t.add = g.accumulate;
  for (int64_t j = 0, jp = 0; j < g.n; j += width, ++jp) {
    t.cols = std::min(width, g.n - j);
    const bool partial = t.cols < width;
    const int64_t vecs = partial ? b.tail_rs / isa.lanes : isa.nv;
    t.b = partial ? b.tail : b.first + jp * b.step;
    t.b_rs = partial ? b.tail_rs : b.rs;
    t.bias = g.bias != nullptr ? at<T>(g.bias, j) : nullptr;
    for (int64_t i = 0, ip = 0; i < g.m; i += height, ++ip) {
      t.a = a.first + ip * a.step;
      t.c = at<T>(g.c, i * g.c_rs + j);
      kernels[std::min(height, g.m - i) - 1][vecs - 1](t);
    }
  }
}

// C = (add ? C : 0) + bias, or + S where there is one (its rows are contiguous), then the
// activation.
template <class T>
void finish(const GemmArgs& g, const T* s) {
  const T* bias = static_cast<const T*>(g.bias);
  for (int64_t i = 0; i < g.m; ++i) {
    T* c = at<T>(g.c, i * g.c_rs);
    for (int64_t j = 0; j < g.n; ++j) {
      T sum = g.accumulate ? c[j] : T(0);
      if (s != nullptr) sum = sum + s[i * g.n + j];
      c[j] = bias != nullptr ? sum + bias[j] : sum;
    }
  }
  activate(g, sizeof(T));
}

template <class T>
void product(const GemmIsa& isa, const GemmArgs& g, Workspace& work) {
  if (g.k == 0) return finish<T>(g, nullptr);
  const int64_t k_block = gemm_k_block(g.k, isa.kc);
  const bool pack_no_b = b_in_place<T>(isa, g), pack_no_a = a_in_place<T>(isa, g);
  const int64_t m_block =
      pack_no_a ? g.m : ceil_div(ceil_div(g.m, ceil_div(g.m, isa.mc)), isa.mr) * isa.mr;
  for (int64_t j = 0; j < g.n; j += isa.nc) {
    const int64_t n = std::min(isa.nc, g.n - j);
    for (int64_t p = 0; p < g.k; p += k_block) {
      const bool last = p + k_block >= g.k;
      GemmArgs column = narrow<T>(g, 0, g.m, j, n);
      column.a = at<T>(column.a, p * g.a_cs);
      column.b = at<T>(column.b, p * g.b_rs);
      column.k = std::min(k_block, g.k - p);
      column.accumulate = g.accumulate || p > 0;
      if (!last) column.bias = nullptr;
      const Panels<T> b = panels_of_b<T>(isa, column, pack_no_b, work.b);
      for (int64_t i = 0; i < g.m; i += m_block) {
        const GemmArgs block = narrow<T>(column, i, std::min(m_block, g.m - i), 0, n);
        const int64_t height = ceil_div(block.m, ceil_div(block.m, isa.mr));  // even panels
        const Panels<T> a = panels_of_a<T>(isa, block, height, pack_no_a, work.a);
        tiles(isa, block, height, a, b);
        if (last) activate(block, sizeof(T));
      }
    }
  }
}

// One row or one column of C: nothing is used twice, so nothing is packed. False if the strides are
// not for it.
template <class T>
bool vector_product(const GemmIsa& isa, const GemmArgs& g, Workspace& work) {
  const bool row = g.m == 1 && (g.b_rs == 1 || g.b_cs == 1);
  const bool column = !row && g.n == 1 && (g.a_rs == 1 || g.a_cs == 1);
  if (g.k == 0 || !(row || column)) return false;
  T* sums = static_cast<T*>(work.sums.room_for(static_cast<size_t>(g.m * g.n) * sizeof(T)));
  const int64_t k_block = gemm_k_block(g.k, isa.kc);
  if (row)
    isa.vector(g.b, g.b_cs, g.b_rs, g.n, g.a, g.a_cs, g.k, k_block, sums);
  else
    isa.vector(g.a, g.a_rs, g.a_cs, g.m, g.b, g.b_rs, g.k, k_block, sums);
  finish<T>(g, sums);
  return true;
}

// C + (sum of all blocks) needs the blocks' sum apart from C when there are several.
template <class T>
void accumulate_long(const GemmIsa& isa, const GemmArgs& g, Workspace& work) {
  constexpr int64_t kChunk = 1024;  // bounds the buffer; packing again costs 1 / 1024 of the work
  for (int64_t i = 0; i < g.m; i += kChunk) {
    for (int64_t j = 0; j < g.n; j += kChunk) {
      const GemmArgs part =
          narrow<T>(g, i, std::min(kChunk, g.m - i), j, std::min(kChunk, g.n - j));
      GemmArgs sum = part;
      sum.accumulate = false;
      sum.bias = nullptr;
      sum.activation = nullptr;
      sum.c = work.sums.room_for(static_cast<size_t>(part.m * part.n) * sizeof(T));
      sum.c_rs = part.n;
      product<T>(isa, sum, work);
      finish<T>(part, static_cast<const T*>(sum.c));
    }
  }
}

// ---- many threads ------------------------------------------------------------------------------

struct Grid {
  int64_t rows, cols;
};

// How to cut each product in `pieces`: the least packing, and no piece narrower than a vector.
Grid cut(const GemmIsa& isa, const GemmArgs& g, int64_t pieces) {
  Grid best{1, 1};
  for (int64_t rows = 1; rows <= pieces; ++rows) {
    const int64_t cols = pieces / rows;
    if (rows * cols != pieces || rows > g.m || cols > ceil_div(g.n, isa.lanes)) continue;
    const double cost = static_cast<double>(g.m) / static_cast<double>(rows) +
                        static_cast<double>(g.n) / static_cast<double>(cols);
    const double least = static_cast<double>(g.m) / static_cast<double>(best.rows) +
                         static_cast<double>(g.n) / static_cast<double>(best.cols);
    if (cost < least) best = {rows, cols};
  }
  return best;
}

template <class T>
void run(const GemmIsa& isa, const GemmArgs& g, const GemmBatch& batch) {
  const auto fmas = static_cast<double>(g.m) * static_cast<double>(g.n) *
                    static_cast<double>(g.k + 1) * static_cast<double>(batch.count);
  const double least = g.m == 1 || g.n == 1 ? kMinFmasPerThreadAndLane / 8  // bound by memory
                                            : kMinFmasPerThreadAndLane;
  const double worth = fmas / (least * isa.lanes);
  const int64_t threads =
      worth < 2 ? 1 : static_cast<int64_t>(std::min<double>(worth, num_threads()));
  // Enough products keep all threads evenly busy; otherwise each product is cut.
  const bool whole = batch.count % threads == 0 || batch.count >= 4 * threads;
  const Grid grid = whole ? Grid{1, 1} : cut(isa, g, threads);
  const int64_t pieces = grid.rows * grid.cols, jobs = batch.count * pieces;
  const int64_t width = int64_t{isa.nv} * isa.lanes;
  const auto column = [&](int64_t c) {
    return std::min(g.n, ceil_div(g.n * c / grid.cols, width) * width);
  };
  parallel_for(jobs, ceil_div(jobs, threads), [&](int64_t begin, int64_t end) {
    Workspace& work = workspace;
    for (int64_t job = begin; job < end; ++job) {
      const int64_t index = job / pieces, piece = job % pieces;
      const int64_t r = piece / grid.cols, c = piece % grid.cols;
      GemmArgs one = g;
      one.a = at<T>(g.a, batch.a_offsets ? batch.a_offsets[index] : index * batch.a_step);
      one.b = at<T>(g.b, batch.b_offsets ? batch.b_offsets[index] : index * batch.b_step);
      one.c = at<T>(g.c, batch.c_offsets ? batch.c_offsets[index] : index * batch.c_step);
      const int64_t i0 = g.m * r / grid.rows, i1 = g.m * (r + 1) / grid.rows;
      const int64_t j0 = column(c), j1 = column(c + 1);
      if (i0 == i1 || j0 == j1) continue;
      const GemmArgs part = narrow<T>(one, i0, i1 - i0, j0, j1 - j0);
      if (vector_product<T>(isa, part, work)) continue;
      if (g.accumulate && g.k > isa.kc)
        accumulate_long<T>(isa, part, work);
      else
        product<T>(isa, part, work);
    }
  });
}

}  // namespace

void gemm(const GemmIsa& isa, const GemmArgs& args, const GemmBatch& batch) {
  if (args.m <= 0 || args.n <= 0 || batch.count <= 0) return;
  if (batch.count == 1 && !batch.a_offsets && gemm_small(isa, args)) return;
  if (isa.dtype == DType::Float32)
    run<float>(isa, args, batch);
  else
    run<double>(isa, args, batch);
}

template <class T>
void gemm_reference(const GemmIsa& isa, const GemmArgs& g) {
  const int64_t k_block = std::max<int64_t>(gemm_k_block(g.k, isa.kc), 1);
  for (int64_t i = 0; i < g.m; ++i) {
    T* row = at<T>(g.c, i * g.c_rs);
    for (int64_t j = 0; j < g.n; ++j) {
      T sum = T(0);
      for (int64_t p = 0; p < g.k; p += k_block) {
        T part = T(0);
        for (int64_t q = p; q < std::min(p + k_block, g.k); ++q) {
          const T x = at<T>(g.a, i * g.a_rs)[q * g.a_cs], y = at<T>(g.b, j * g.b_cs)[q * g.b_rs];
          part = isa.fused ? std::fma(x, y, part) : x * y + part;
        }
        sum = p == 0 ? part : sum + part;
      }
      if (g.accumulate) sum = row[j] + sum;
      row[j] = g.bias != nullptr ? sum + at<T>(g.bias, 0)[j] : sum;
    }
    char* const ptr[2] = {reinterpret_cast<char*>(row), reinterpret_cast<char*>(row)};
    if (g.activation != nullptr && g.n > 0) g.activation(ptr, g.n, g.activation_params);
  }
}
template void gemm_reference<float>(const GemmIsa&, const GemmArgs&);
template void gemm_reference<double>(const GemmIsa&, const GemmArgs&);

}  // namespace wengert::cpu
