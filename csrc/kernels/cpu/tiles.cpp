#include "kernels/tiles.h"

#include <algorithm>
#include <list>
#include <optional>

#include "kernels/cpu/cpu.h"
#include "kernels/cpu/odometer.h"
#include "kernels/cpu/parallel.h"
#include "kernels/cpu/scratch.h"

namespace wengert {
namespace {

using cpu::item_of;

// Elements times launches that a thread must get for waking it to pay.
constexpr int64_t kGrain = 32768;

bool is_map(const Launch& l) {
  return l.kernel < kNumMapKernels;
}
// As dense_loop, of a launch whose operands will be dense.
DenseLoop loop_of(const Launch& l) {
  if (!is_map(l) || is_narrow(l.dtype) || l.count == 0) return nullptr;
  for (int k = 0; k < l.nbuffers; ++k) {
    if (compute_dtype(l.buffer[k].dtype) != l.buffer[k].dtype) return nullptr;
  }
  return cpu::isa().map[l.kernel][static_cast<int>(l.dtype)];
}

// An operand that is the same in each row, for as many rows as a tile has.
void repeat(const Launch& l, int k, int64_t count, int64_t rows, char* to) {
  Launch copy{};
  copy.kernel = id(Kernel::Copy);
  copy.dtype = l.buffer[k].dtype;
  copy.device = l.device;
  copy.ndim = l.ndim;
  copy.nbuffers = 2;
  copy.count = count;
  std::copy_n(l.size, l.ndim, copy.size);
  copy.size[0] = l.ndim == 1 ? count : rows;
  copy.buffer[0] = copy.buffer[1] = l.buffer[k];
  copy.buffer[0].data = to;
  for (int64_t d = l.ndim - 1, step = 1; d >= 0; step *= copy.size[d--]) {
    copy.buffer[0].stride[d] = step;
  }
  kernel_of(copy)(copy);
}

// A part at work: of some rows from the first on.
class Worker {
 public:
  Worker(const TilePart& p, int64_t rows)
      : part_(p), kernel_(kernel_of(*p.launch)), launch_(*p.launch) {
    const Launch& l = *p.launch;
    int64_t bytes = 0;
    bool dense = true;
    for (int k = 0; k < l.nbuffers; ++k) {
      const int64_t row = p.row * item_of(l, k);
      repeated_[k] = p.step[k] == 0;
      bytes += repeated_[k] ? rows * row : 0;
      dense &= repeated_[k] || p.step[k] == row;
    }
    if (!dense || !(loop_ = loop_of(l)) || bytes == 0) {
      std::fill_n(repeated_, kMaxBuffers, false);
      return;
    }
    rows_.emplace(bytes);
    char* at = rows_->data();
    for (int k = 0; k < l.nbuffers; ++k) {
      if (!repeated_[k]) continue;
      repeat(l, k, rows * p.row, rows, at);
      at_[k] = at;
      at += rows * p.row * item_of(l, k);
    }
  }

  void run(int64_t first, int64_t rows, char* scratch) {
    char* ptr[kMaxBuffers];
    for (int k = 0; k < launch_.nbuffers; ++k) {
      if (repeated_[k]) {
        ptr[k] = at_[k];
      } else if (part_.scratch[k] == TilePart::kInMemory) {
        ptr[k] = static_cast<char*>(part_.launch->buffer[k].data) + first * part_.step[k];
      } else {
        ptr[k] = scratch + part_.scratch[k];
      }
    }
    if (loop_) return loop_(ptr, rows * part_.row, part_.launch->number);
    for (int k = 0; k < launch_.nbuffers; ++k) launch_.buffer[k].data = ptr[k];
    launch_.count = rows * part_.row;
    launch_.size[0] = launch_.ndim <= 1 ? launch_.count : rows;
    kernel_(launch_);
  }

 private:
  const TilePart& part_;
  DenseLoop loop_ = nullptr;
  KernelFn kernel_;
  Launch launch_;
  bool repeated_[kMaxBuffers] = {};
  char* at_[kMaxBuffers] = {};
  std::optional<cpu::Scratch> rows_;
};

}  // namespace

DenseLoop dense_loop(const Launch& l) {
  return l.dense ? loop_of(l) : nullptr;
}

void run_tiles(const TileRun& run) {
  int64_t elements = 0;  // of a tile, by all parts
  for (const TilePart& p : run.parts) elements += p.row * run.tile;
  const int64_t tiles = (run.rows + run.tile - 1) / run.tile;
  parallel_for(tiles, std::max<int64_t>(1, kGrain / std::max<int64_t>(1, elements)),
               [&](int64_t begin, int64_t end) {
                 const cpu::Scratch scratch(run.scratch);
                 std::list<Worker> workers;
                 for (const TilePart& p : run.parts) workers.emplace_back(p, run.tile);
                 for (int64_t t = begin; t < end; ++t) {
                   const int64_t first = t * run.tile;
                   const int64_t rows = std::min(run.tile, run.rows - first);
                   for (Worker& w : workers) w.run(first, rows, scratch.data());
                 }
               });
}

}  // namespace wengert
