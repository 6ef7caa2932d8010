// The matrix product's driver: how a batch is cut into pieces for threads, a piece into cache-sized
// blocks, a block into tiles; what is packed and what is read in place. Independent of the
// instruction set. Read gemm.h first; the entry is gemm() at the end, the heart is `product`.
//
// It counts bytes: what an element is, only kernels, packing and `finish` know. Threads share
// nothing: each takes rectangles of C and packs for itself, so a call is one parallel region
// without a barrier. What two threads pack twice costs 1 to 2% at n = 1024.

#include "kernels/cpu/gemm.h"

#include <algorithm>
#include <atomic>
#include <cmath>
#include <cstddef>
#include <cstring>
#include <memory>
#include <new>
#include <type_traits>

#include "kernels/cpu/parallel.h"

namespace wengert::cpu {
namespace {

constexpr size_t kAlign = 64;

// Steps that all panels advance together when packing contiguous lanes: 16 rows of cache lines fit
// L1 whatever their distance. Alone, a panel of 14 floats of A^T read its lines twice and cost 6%
// at n = 1024. Pairs take as many steps of two rows.
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
  Buffer a, b, sums, row;
  GemmRange a_range, b_range;
};
thread_local Workspace workspace;

int64_t ceil_div(int64_t a, int64_t b) {
  return (a + b - 1) / b;
}

int64_t round_up(int64_t a, int64_t b) {
  return ceil_div(a, b) * b;
}

const char* at(const void* base, int64_t bytes) {
  return static_cast<const char*>(base) + bytes;
}
char* at(void* base, int64_t bytes) {
  return static_cast<char*>(base) + bytes;
}

// Sizes in bytes of an element of A and B, of a sum, of an element of C.
int64_t item_of(const GemmIsa& isa) {
  return static_cast<int64_t>(item_size(isa.dtype));
}
int64_t sum_item_of(const GemmIsa& isa) {
  return static_cast<int64_t>(item_size(isa.sum));
}
int64_t c_item_of(const GemmIsa& isa, const GemmArgs& g) {
  return g.wide ? sum_item_of(isa) : item_of(isa);
}

// The rectangle of C that one thread makes at a time: a GemmArgs narrowed to rows and columns.
GemmArgs narrow(const GemmIsa& isa, const GemmArgs& g, int64_t i0, int64_t m, int64_t j0,
                int64_t n) {
  const int64_t item = item_of(isa), c_item = c_item_of(isa, g);
  GemmArgs s = g;
  s.m = m;
  s.n = n;
  s.a = at(g.a, i0 * g.a_rs * item);
  s.b = at(g.b, j0 * g.b_cs * item);
  s.c = at(g.c, (i0 * g.c_rs + j0) * c_item);
  if (g.bias != nullptr) s.bias = at(g.bias, j0 * c_item);
  return s;
}

void activate(const GemmArgs& g, int64_t item) {
  if (g.activation == nullptr) return;
  const bool whole = g.c_rs == g.n;  // rows without gaps are one array
  const int64_t rows = whole ? 1 : g.m, length = whole ? g.m * g.n : g.n;
  for (int64_t i = 0; i < rows; ++i) {
    char* row = at(g.c, i * g.c_rs * item);
    char* const ptr[2] = {row, row};
    g.activation(ptr, length, g.activation_params);
  }
}

// ---- one thread --------------------------------------------------------------------------------

// Panels of A, or of B, as the micro-kernels read them: packed, or the matrix itself. Strides count
// units, the step from one panel to the next bytes.
struct Panels {
  const char* first;
  int64_t step;
  int64_t rs, cs;              // inside a panel (cs of B's is 1)
  int64_t part = 0;            // from one part to the next
  const char* tail = nullptr;  // B's last panel if it is partial: always packed, so that whole
  int64_t tail_rs = 0;         // vectors can be read
  int64_t tail_part = 0;
};

// Units to k elements of a lane, packed.
int64_t steps_of(const GemmIsa& isa, int64_t k) {
  return ceil_div(k, int64_t{isa.group} * isa.multiple) * isa.multiple;
}

// Whether the units are what stands in the matrix, so that kernels may read it.
bool stand_as_units(const GemmIsa& isa) {
  return isa.unit == item_of(isa) * isa.group;
}
bool units_stand_in_b(const GemmIsa& isa, const GemmArgs& g) {
  return stand_as_units(isa) && isa.group == 1 && g.b_cs == 1;
}
bool units_stand_in_a(const GemmIsa& isa, const GemmArgs& g) {
  if (!stand_as_units(isa) || isa.whole_tiles) return false;
  return isa.group == 1 || (g.a_cs == 1 && g.a_rs % isa.group == 0 && g.k % isa.group == 0);
}

// Such a matrix is read in place, not packed, if it spans little enough to stay in L2 with few
// pages, or if the copy would serve few tiles.
bool spans_little(int64_t rows, int64_t rs, int64_t cols, int64_t cs, int64_t item) {
  return (rows * rs + cols * cs) * item <= kInPlaceBytes;
}
bool b_in_place(const GemmIsa& isa, const GemmArgs& g) {
  return units_stand_in_b(isa, g) &&
         (g.m <= kFewTiles * isa.mr || spans_little(g.k, g.b_rs, g.n, g.b_cs, item_of(isa)));
}
bool a_in_place(const GemmIsa& isa, const GemmArgs& g) {
  return units_stand_in_a(isa, g) && (g.n <= kFewTiles * isa.nv * isa.lanes ||
                                      spans_little(g.m, g.a_rs, g.k, g.a_cs, item_of(isa)));
}

// Packs `lanes` lanes in panels of `width`, or row by row. Where lanes are contiguous, all panels
// advance together: a row's cache lines are read once.
void pack_panels(const GemmIsa& isa, GemmPackFn pack, GemmPack p, char* dst) {
  const int64_t item = item_of(isa), k = p.k, lanes = p.lanes, steps = p.steps;
  const int64_t chunk =
      p.lane_stride == 1 ? std::max<int64_t>(kPackSteps, isa.multiple) * isa.group : k;
  const void* src = p.src;
  for (int64_t q = 0; q < k; q += chunk) {
    p.k = std::min(chunk, k - q);
    p.steps = steps_of(isa, p.k);
    const int64_t done = q / isa.group;
    for (int64_t l = 0; l < lanes; l += p.width) {
      p.src = at(src, (l * p.lane_stride + q * p.step_stride) * item);
      p.lanes = std::min(p.width, lanes - l);
      const int64_t units = isa.parts * steps * l + done * (p.row_step != 0 ? 1 : p.width);
      if (dst != nullptr) p.dst = at(dst, units * isa.unit);
      pack(p);
    }
  }
}

Panels panels_of_b(const GemmIsa& isa, const GemmArgs& g, bool in_place, Workspace& work) {
  const int64_t width = int64_t{isa.nv} * isa.lanes, steps = steps_of(isa, g.k);
  const int64_t whole = g.n / width, rest = g.n - whole * width;
  const int64_t tail_width = round_up(rest, isa.lanes);
  Panels panels{at(g.b, 0), width * isa.unit, g.b_rs, 1};
  if (in_place && rest == 0) return panels;
  const int64_t packed = in_place ? 0 : whole * width;
  const int64_t units = (packed + tail_width) * steps * isa.parts + isa.lanes;
  char* room = static_cast<char*>(work.b.room_for(static_cast<size_t>(units * isa.unit)));
  GemmPack p{g.b, g.b_cs, g.b_rs, whole * width, width, g.k, nullptr, steps};
  p.range = &work.b_range;
  if (!in_place) {
    p.part_step = width * steps;
    pack_panels(isa, isa.pack_b, p, room);
    panels = {room, width * steps * isa.parts * isa.unit, width, 1, p.part_step};
  }
  if (rest != 0) {
    p.src = at(g.b, whole * width * g.b_cs * item_of(isa));
    p.lanes = rest;
    p.width = tail_width;
    p.dst = room + packed * steps * isa.parts * isa.unit;
    p.part_step = tail_width * steps;
    isa.pack_b(p);
    panels.tail = static_cast<const char*>(p.dst);
    panels.tail_rs = tail_width;
    panels.tail_part = p.part_step;
  }
  return panels;
}

Panels panels_of_a(const GemmIsa& isa, const GemmArgs& g, int64_t height, bool in_place,
                   Workspace& work) {
  if (in_place) {
    const int64_t rs = g.a_rs / isa.group;  // of pairs a_cs is 1
    return {at(g.a, 0), height * g.a_rs * item_of(isa), rs, g.a_cs};
  }
  const int64_t count = ceil_div(g.m, height), steps = steps_of(isa, g.k);
  const int64_t units = count * height * steps * isa.parts + isa.lanes;
  char* room = static_cast<char*>(work.a.room_for(static_cast<size_t>(units * isa.unit)));
  GemmPack p{g.a, g.a_rs, g.a_cs, g.m, height, g.k, nullptr, steps};
  p.range = &work.a_range;
  p.part_step = height * steps;
  p.row_step = isa.a_by_rows ? steps : 0;
  pack_panels(isa, isa.pack_a, p, room);
  const int64_t step = height * steps * isa.parts * isa.unit;
  if (isa.a_by_rows) return {room, step, steps, 1, p.part_step};
  return {room, step, 1, height, p.part_step};
}

// A panel of B stays in L1 while the panels of A, in L2, pass under it.
void tiles(const GemmIsa& isa, const GemmArgs& g, int64_t height, const Panels& a,
           const Panels& b) {
  const int64_t width = int64_t{isa.nv} * isa.lanes, c_item = c_item_of(isa, g);
  const auto& kernels = a.rs == 1 ? isa.unit_rows : isa.any_rows;
  GemmTile t{};
  t.k = steps_of(isa, g.k);
  t.a_rs = a.rs;
  t.a_cs = a.cs;
  t.a_part = a.part;
  t.c_rs = g.c_rs;
  t.add = g.accumulate;
  t.narrow = c_item < sum_item_of(isa);
  t.products = isa.products;
  for (int64_t j = 0, jp = 0; j < g.n; j += width, ++jp) {
    t.cols = std::min(width, g.n - j);
    const bool partial = t.cols < width;
    const int64_t vecs = partial ? b.tail_rs / isa.lanes : isa.nv;
    t.b = partial ? b.tail : b.first + jp * b.step;
    t.b_rs = partial ? b.tail_rs : b.rs;
    t.b_part = partial ? b.tail_part : b.part;
    t.bias = g.bias != nullptr ? at(g.bias, j * c_item) : nullptr;
    for (int64_t i = 0, ip = 0; i < g.m; i += height, ++ip) {
      t.a = a.first + ip * a.step;
      t.c = at(g.c, (i * g.c_rs + j) * c_item);
      t.rows = std::min(height, g.m - i);
      kernels[t.rows - 1][vecs - 1](t);
    }
  }
}

// C = (add ? C : 0) + bias, or + S where there is one (its rows are contiguous), then the
// activation.
template <class S, class C>
void finish_as(const GemmArgs& g, S* s, Workspace& work) {
  const C* bias = static_cast<const C*>(g.bias);
  constexpr bool same = std::is_same_v<S, C>;
  S* const own =
      same ? nullptr : static_cast<S*>(work.row.room_for(static_cast<size_t>(g.n) * sizeof(S)));
  for (int64_t i = 0; i < g.m; ++i) {
    C* c = static_cast<C*>(g.c) + i * g.c_rs;
    S* row = own;
    if constexpr (same) row = c;
    for (int64_t j = 0; j < g.n; ++j) {
      S sum = g.accumulate ? static_cast<S>(c[j]) : S(0);
      if (s != nullptr) sum = sum + s[i * g.n + j];
      row[j] = bias != nullptr ? sum + static_cast<S>(bias[j]) : sum;
    }
    if constexpr (!same) {
      char* const ptr[2] = {reinterpret_cast<char*>(row), reinterpret_cast<char*>(row)};
      if (g.activation != nullptr) g.activation(ptr, g.n, g.activation_params);
      for (int64_t j = 0; j < g.n; ++j) c[j] = C(row[j]);
    }
  }
  if constexpr (same) activate(g, sizeof(C));
}
void finish(const GemmIsa& isa, const GemmArgs& g, void* s, Workspace& work) {
  if (isa.sum == DType::Float64) return finish_as<double, double>(g, static_cast<double*>(s), work);
  float* sums = static_cast<float*>(s);
  if (g.wide || isa.dtype == DType::Float32) return finish_as<float, float>(g, sums, work);
  if (isa.dtype == DType::BFloat16) return finish_as<float, BFloat16>(g, sums, work);
  finish_as<float, Float16>(g, sums, work);
}

void product(const GemmIsa& isa, const GemmArgs& g, Workspace& work) {
  if (g.k == 0) return finish(isa, g, nullptr, work);
  const int64_t k_block = gemm_k_block(isa, g.k), item = item_of(isa);
  const bool pack_no_b = b_in_place(isa, g), pack_no_a = a_in_place(isa, g);
  const int64_t m_block = pack_no_a ? g.m : round_up(ceil_div(g.m, ceil_div(g.m, isa.mc)), isa.mr);
  const int64_t n_block = pack_no_a ? isa.nc_in_place : isa.nc;
  for (int64_t j = 0; j < g.n; j += n_block) {
    const int64_t n = std::min(n_block, g.n - j);
    for (int64_t p = 0; p < g.k; p += k_block) {
      const bool last = p + k_block >= g.k;
      GemmArgs column = narrow(isa, g, 0, g.m, j, n);
      column.a = at(column.a, p * g.a_cs * item);
      column.b = at(column.b, p * g.b_rs * item);
      column.k = std::min(k_block, g.k - p);
      column.accumulate = g.accumulate || p > 0;
      if (!last) column.bias = nullptr;
      const Panels b = panels_of_b(isa, column, pack_no_b, work);
      for (int64_t i = 0; i < g.m; i += m_block) {
        const GemmArgs block = narrow(isa, column, i, std::min(m_block, g.m - i), 0, n);
        const int64_t even = ceil_div(block.m, ceil_div(block.m, isa.mr));  // even panels
        const int64_t height = isa.whole_tiles ? isa.mr : even;
        const Panels a = panels_of_a(isa, block, height, pack_no_a, work);
        tiles(isa, block, height, a, b);
        if (last) activate(block, c_item_of(isa, g));
      }
    }
  }
}

// One row or one column of C: nothing is used twice, so nothing is packed. False if the strides are
// not for it.
bool vector_product(const GemmIsa& isa, const GemmArgs& g, Workspace& work) {
  const bool row = g.m == 1 && (g.b_rs == 1 || g.b_cs == 1);
  const bool column = !row && g.n == 1 && (g.a_rs == 1 || g.a_cs == 1);
  if (isa.vector == nullptr || g.k == 0 || !(row || column)) return false;
  void* sums = work.sums.room_for(static_cast<size_t>(g.m * g.n * sum_item_of(isa)));
  const int64_t k_block = gemm_k_block(isa, g.k);
  if (row)
    isa.vector(g.b, g.b_cs, g.b_rs, g.n, g.a, g.a_cs, g.k, k_block, sums);
  else
    isa.vector(g.a, g.a_rs, g.a_cs, g.m, g.b, g.b_rs, g.k, k_block, sums);
  finish(isa, g, sums, work);
  return true;
}

// Whether the sums of a product cannot grow in C: it holds something to be added after all blocks,
// or less than a sum that is not finished.
bool sums_apart(const GemmIsa& isa, const GemmArgs& g) {
  const bool several = g.k > isa.kc;
  if (c_item_of(isa, g) == sum_item_of(isa)) return g.accumulate && several;
  return several || g.activation != nullptr || !isa.writes_narrow;
}
void product_apart(const GemmIsa& isa, const GemmArgs& g, Workspace& work) {
  constexpr int64_t kChunk = 1024;  // bounds the buffer; packing again costs 1 / 1024 of the work
  for (int64_t i = 0; i < g.m; i += kChunk) {
    for (int64_t j = 0; j < g.n; j += kChunk) {
      const GemmArgs part =
          narrow(isa, g, i, std::min(kChunk, g.m - i), j, std::min(kChunk, g.n - j));
      GemmArgs sum = part;
      sum.accumulate = false;
      sum.wide = true;
      sum.bias = nullptr;
      sum.activation = nullptr;
      sum.c = work.sums.room_for(static_cast<size_t>(part.m * part.n * sum_item_of(isa)));
      sum.c_rs = part.n;
      product(isa, sum, work);
      finish(isa, part, sum.c, work);
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

// A thread's use of kernels that want something done around it.
class Use {
 public:
  explicit Use(const GemmIsa& isa) : isa_(isa) {
    if (isa.begin != nullptr) isa.begin();
  }
  ~Use() {
    if (isa_.end != nullptr) isa_.end();
  }
  Use(const Use&) = delete;
  Use& operator=(const Use&) = delete;

 private:
  const GemmIsa& isa_;
};

// The magnitudes that all threads have split.
struct Ranges {
  std::atomic<uint32_t> least_a{0xffffffffu}, most_a{0}, least_b{0xffffffffu}, most_b{0};

  static void lower(std::atomic<uint32_t>& to, uint32_t v) {
    uint32_t seen = to.load(std::memory_order_relaxed);
    while (v < seen && !to.compare_exchange_weak(seen, v, std::memory_order_relaxed)) {
    }
  }
  static void raise(std::atomic<uint32_t>& to, uint32_t v) {
    uint32_t seen = to.load(std::memory_order_relaxed);
    while (v > seen && !to.compare_exchange_weak(seen, v, std::memory_order_relaxed)) {
    }
  }
  void add(const GemmRange& a, const GemmRange& b) {
    lower(least_a, a.least), raise(most_a, a.most);
    lower(least_b, b.least), raise(most_b, b.most);
  }
  // Whether every part of every number is normal or zero, and so is every product that matters.
  bool fit(int parts) const {
    const uint32_t most = std::max(most_a.load(), most_b.load());
    if (most >= 0x7f7f8000u) return false;  // rounds to infinity, or is none, or no number
    if (parts == 1) return true;            // as bfloat16 has it: what is tiny counts for nothing
    // The last bit of 2^-103 is 2^-126; of products above 2^-100 nothing above 2^-26 is lost.
    const uint32_t a = least_a.load() >> 23, b = least_b.load() >> 23;
    return a >= 127 - 103 && b >= 127 - 103 && a + b >= 2 * 127 - 100;
  }
};

int64_t threads_for(const GemmIsa& isa, const GemmArgs& g, const GemmBatch& batch) {
  const auto fmas = static_cast<double>(g.m) * static_cast<double>(g.n) *
                    static_cast<double>(g.k + 1) * static_cast<double>(batch.count);
  const bool vector = g.m == 1 || g.n == 1;  // bound by memory
  const double least = vector ? kMinFmasPerThreadAndLane / 8 : kMinFmasPerThreadAndLane;
  const double worth = fmas / (least * isa.lanes);
  return worth < 2 ? 1 : static_cast<int64_t>(std::min<double>(worth, num_threads()));
}

void run(const GemmIsa& isa, const GemmArgs& g, const GemmBatch& batch, Ranges* ranges) {
  const int64_t threads = threads_for(isa, g, batch);
  const bool vector = g.m == 1 || g.n == 1;
  // Enough products keep all threads evenly busy; otherwise each product is cut.
  const bool whole = batch.count % threads == 0 || batch.count >= 4 * threads;
  const Grid grid = whole ? Grid{1, 1} : cut(isa, g, threads);
  const int64_t pieces = grid.rows * grid.cols, jobs = batch.count * pieces;
  const int64_t width = int64_t{isa.nv} * isa.lanes;
  const int64_t item = item_of(isa), c_item = c_item_of(isa, g);
  const auto column = [&](int64_t c) {
    return std::min(g.n, round_up(g.n * c / grid.cols, width));
  };
  parallel_for(jobs, ceil_div(jobs, threads), [&](int64_t begin, int64_t end) {
    const Use use(isa);
    Workspace& work = workspace;
    work.a_range = work.b_range = {};
    for (int64_t job = begin; job < end; ++job) {
      const int64_t index = job / pieces, piece = job % pieces;
      const int64_t r = piece / grid.cols, c = piece % grid.cols;
      GemmArgs one = g;
      one.a = at(g.a, (batch.a_offsets ? batch.a_offsets[index] : index * batch.a_step) * item);
      one.b = at(g.b, (batch.b_offsets ? batch.b_offsets[index] : index * batch.b_step) * item);
      one.c = at(g.c, (batch.c_offsets ? batch.c_offsets[index] : index * batch.c_step) * c_item);
      if (g.bias != nullptr) one.bias = at(g.bias, index * batch.bias_step * c_item);
      const int64_t i0 = g.m * r / grid.rows, i1 = g.m * (r + 1) / grid.rows;
      const int64_t j0 = column(c), j1 = column(c + 1);
      if (i0 == i1 || j0 == j1) continue;
      const GemmArgs part = narrow(isa, one, i0, i1 - i0, j0, j1 - j0);
      // Of pairs the bits would tell a cut to one row from one row.
      if ((isa.group == 1 || vector) && vector_product(isa, part, work)) continue;
      if (sums_apart(isa, g))
        product_apart(isa, part, work);
      else
        product(isa, part, work);
    }
    if (ranges != nullptr) ranges->add(work.a_range, work.b_range);
  });
}

// One after another without plans, if they are small.
bool small_products(const GemmIsa& isa, const GemmArgs& g, const GemmBatch& batch) {
  if (isa.row == nullptr || batch.a_offsets) return false;
  if (batch.count == 1) return gemm_small(isa, g);
  if (threads_for(isa, g, batch) > 1) return false;
  const int64_t item = item_of(isa);
  GemmArgs one = g;
  for (int64_t i = 0; i < batch.count; ++i) {
    one.a = at(g.a, i * batch.a_step * item);
    one.b = at(g.b, i * batch.b_step * item);
    one.c = at(g.c, i * batch.c_step * item);
    if (g.bias != nullptr) one.bias = at(g.bias, i * batch.bias_step * item);
    if (!gemm_small(isa, one)) return false;  // the first, as they are of one size
  }
  return true;
}

// Reads all of A and B, for products that change C and so cannot be made twice.
void look_at(const GemmIsa& isa, const GemmArgs& g, const GemmBatch& batch, Ranges& ranges) {
  GemmRange ra, rb;
  const int64_t item = item_of(isa);
  for (int64_t i = 0; i < batch.count; ++i) {
    GemmPack a{at(g.a, (batch.a_offsets ? batch.a_offsets[i] : i * batch.a_step) * item),
               g.a_rs,
               g.a_cs,
               g.m,
               g.m,
               g.k,
               nullptr,
               0};
    GemmPack b{at(g.b, (batch.b_offsets ? batch.b_offsets[i] : i * batch.b_step) * item),
               g.b_cs,
               g.b_rs,
               g.n,
               g.n,
               g.k,
               nullptr,
               0};
    a.steps = b.steps = steps_of(isa, g.k);
    a.range = &ra;
    b.range = &rb;
    isa.pack_a(a);
    isa.pack_b(b);
  }
  ranges.add(ra, rb);
}

}  // namespace

int64_t gemm_k_block(const GemmIsa& isa, int64_t k) {
  return round_up(gemm_k_block(k, isa.kc), int64_t{isa.group} * isa.multiple);
}

void gemm(const GemmIsa& isa, const GemmArgs& args, const GemmBatch& batch) {
  if (args.m == 0 || args.n == 0 || batch.count == 0) return;
  if (small_products(isa, args, batch)) return;
  if (isa.otherwise == nullptr) return run(isa, args, batch, nullptr);
  // All of a call is computed in one way, whatever thread sees what cannot be split.
  Ranges ranges;
  if (args.accumulate) {
    look_at(isa, args, batch, ranges);
    return run(ranges.fit(isa.parts) ? isa : *isa.otherwise, args, batch, nullptr);
  }
  run(isa, args, batch, &ranges);
  if (!ranges.fit(isa.parts)) run(*isa.otherwise, args, batch, nullptr);
}

template <class T>
void gemm_reference(const GemmIsa& isa, const GemmArgs& g) {
  const auto item = [](const void* base, int64_t index) {
    return static_cast<const T*>(base)[index];
  };
  const int64_t k_block = std::max<int64_t>(gemm_k_block(g.k, isa.kc), 1);
  for (int64_t i = 0; i < g.m; ++i) {
    T* row = static_cast<T*>(g.c) + i * g.c_rs;
    for (int64_t j = 0; j < g.n; ++j) {
      T sum = T(0);
      for (int64_t p = 0; p < g.k; p += k_block) {
        T part = T(0);
        for (int64_t q = p; q < std::min(p + k_block, g.k); ++q) {
          const T x = item(g.a, i * g.a_rs + q * g.a_cs), y = item(g.b, j * g.b_cs + q * g.b_rs);
          part = isa.fused ? std::fma(x, y, part) : x * y + part;
        }
        sum = p == 0 ? part : sum + part;
      }
      if (g.accumulate) sum = row[j] + sum;
      row[j] = g.bias != nullptr ? sum + item(g.bias, j) : sum;
    }
    char* const ptr[2] = {reinterpret_cast<char*>(row), reinterpret_cast<char*>(row)};
    if (g.activation != nullptr && g.n > 0) g.activation(ptr, g.n, g.activation_params);
  }
}
template void gemm_reference<float>(const GemmIsa&, const GemmArgs&);
template void gemm_reference<double>(const GemmIsa&, const GemmArgs&);

}  // namespace wengert::cpu
