#include "kernels/tiles.h"

#include <algorithm>
#include <deque>
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
  if (l.device != Device::CPU || !is_map(l) || is_narrow(l.dtype) || l.count == 0) return nullptr;
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

// A part at work: of some rows from the first on, with tiles of what never comes to memory.
class Worker {
 public:
  Worker(const TilePart& p, int64_t rows, char* tiles) : row_(p.row), buffers_(p.launch->nbuffers) {
    const Launch& l = *p.launch;
    int64_t bytes = 0;
    bool dense = true;
    for (int k = 0; k < buffers_; ++k) {
      const int64_t row = p.row * item_of(l, k);
      const bool in_memory = p.scratch[k] == TilePart::kInMemory;
      base_[k] = in_memory ? static_cast<char*>(l.buffer[k].data) : tiles + p.scratch[k];
      step_[k] = in_memory ? p.step[k] : 0;
      bytes += p.step[k] == 0 ? rows * row : 0;
      dense &= p.step[k] == 0 || p.step[k] == row;
    }
    loop_ = dense ? loop_of(l) : nullptr;
    if (!loop_) {
      kernel_ = kernel_of(l);
      launch_ = l;
      return;
    }
    params_ = l.number;
    if (bytes == 0) return;
    rows_.emplace(bytes);
    char* at = rows_->data();
    for (int k = 0; k < buffers_; ++k) {
      if (p.step[k] != 0) continue;
      repeat(l, k, rows * p.row, rows, at);
      base_[k] = at;
      at += rows * p.row * item_of(l, k);
    }
  }

  void run(int64_t first, int64_t rows) {
    char* ptr[kMaxBuffers];
    for (int k = 0; k < buffers_; ++k) ptr[k] = base_[k] + first * step_[k];
    if (loop_) return loop_(ptr, rows * row_, params_);
    for (int k = 0; k < buffers_; ++k) launch_->buffer[k].data = ptr[k];
    launch_->count = rows * row_;
    launch_->size[0] = launch_->ndim <= 1 ? launch_->count : rows;
    kernel_(*launch_);
  }

 private:
  int64_t row_;
  int buffers_;
  DenseLoop loop_;
  const double* params_ = nullptr;
  char* base_[kMaxBuffers];
  int64_t step_[kMaxBuffers];
  std::optional<cpu::Scratch> rows_;
  KernelFn kernel_ = nullptr;  // where there is no loop
  std::optional<Launch> launch_;
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
                 std::deque<Worker> workers;
                 for (const TilePart& p : run.parts) {
                   workers.emplace_back(p, run.tile, scratch.data());
                 }
                 for (int64_t t = begin; t < end; ++t) {
                   const int64_t first = t * run.tile;
                   const int64_t rows = std::min(run.tile, run.rows - first);
                   for (Worker& w : workers) w.run(first, rows);
                 }
               });
}

}  // namespace wengert
