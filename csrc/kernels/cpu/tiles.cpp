#include "kernels/tiles.h"

#include <algorithm>

#include "kernels/cpu/cpu.h"
#include "kernels/cpu/parallel.h"
#include "kernels/cpu/scratch.h"

namespace wengert {
namespace {

// Elements times launches that a thread must get for waking it to pay.
constexpr int64_t kGrain = 32768;

// A part at work: of some rows from the first on.
struct Worker {
  const TilePart& part;
  DenseLoop loop;
  KernelFn kernel;
  Launch launch;

  explicit Worker(const TilePart& p)
      : part(p), loop(dense_loop(*p.launch)), kernel(kernel_of(*p.launch)), launch(*p.launch) {}

  void run(int64_t first, int64_t rows, char* scratch) {
    char* ptr[kMaxBuffers];
    for (int k = 0; k < launch.nbuffers; ++k) {
      const bool in_memory = part.scratch[k] == TilePart::kInMemory;
      ptr[k] = in_memory ? static_cast<char*>(part.launch->buffer[k].data) + first * part.step[k]
                         : scratch + part.scratch[k];
    }
    if (loop) return loop(ptr, rows * part.row, part.launch->number);
    for (int k = 0; k < launch.nbuffers; ++k) launch.buffer[k].data = ptr[k];
    launch.count = rows * part.row;
    launch.size[0] = launch.ndim <= 1 ? launch.count : rows;
    kernel(launch);
  }
};

}  // namespace

DenseLoop dense_loop(const Launch& l) {
  if (l.kernel >= kNumMapKernels || !l.dense || is_narrow(l.dtype) || l.count == 0) return nullptr;
  for (int k = 0; k < l.nbuffers; ++k) {
    if (compute_dtype(l.buffer[k].dtype) != l.buffer[k].dtype) return nullptr;
  }
  return cpu::isa().map[l.kernel][static_cast<int>(l.dtype)];
}

void run_tiles(const TileRun& run) {
  int64_t elements = 0;  // of a tile, by all parts
  for (const TilePart& p : run.parts) elements += p.row * run.tile;
  const int64_t tiles = (run.rows + run.tile - 1) / run.tile;
  parallel_for(tiles, std::max<int64_t>(1, kGrain / std::max<int64_t>(1, elements)),
               [&](int64_t begin, int64_t end) {
                 const cpu::Scratch scratch(run.scratch);
                 std::vector<Worker> workers(run.parts.begin(), run.parts.end());
                 for (int64_t t = begin; t < end; ++t) {
                   const int64_t first = t * run.tile;
                   const int64_t rows = std::min(run.tile, run.rows - first);
                   for (Worker& w : workers) w.run(first, rows, scratch.data());
                 }
               });
}

}  // namespace wengert
