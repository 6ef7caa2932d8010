// Drivers of normalization.
#include <algorithm>
#include <cstring>

#include "kernels/cpu/cpu.h"
#include "kernels/cpu/parallel.h"
#include "kernels/cpu/scratch.h"

namespace wengert::cpu {
namespace {

constexpr int64_t kGrain = 16384;  // elements a thread must get
// Gradients of weights are summed over blocks of rows, and the blocks' sums in order: as many
// blocks, whatever the number of threads.
constexpr int64_t kBlockRows = 16, kMaxBlocks = 64;

// What a launch holds, its operands in the buffers given; the weight where there is one.
NormRows rows_of(const Launch& l, int x, int statistics, int weight) {
  NormRows n{};
  n.x = l.buffer[x].data;
  n.statistics = l.buffer[statistics].data;
  if (l.integer[1]) n.weight = l.buffer[weight].data;
  n.columns = l.size[1];
  n.inner = l.more[1];
  n.groups = l.more[0];
  n.eps = l.number[0];
  return n;
}

const NormLoops& loops_of(const Launch& l) {
  const bool about_zero = l.kernel == id(Kernel::RmsNorm) || l.kernel == id(Kernel::RmsNormGrad);
  return isa().norm[about_zero][static_cast<int>(l.dtype)];
}

int64_t rows_at_once(int64_t columns) {
  return std::max<int64_t>(1, kGrain / std::max<int64_t>(columns, 1));
}

template <class T>
void add_in_order(const char* parts, int64_t count, int64_t step, int64_t n, void* sum) {
  T* out = static_cast<T*>(sum);
  for (int64_t k = 0; k < count; ++k) {
    const T* part = reinterpret_cast<const T*>(parts + k * step);
    for (int64_t i = 0; i < n; ++i) out[i] += part[i];
  }
}

}  // namespace

void run_norm(const Launch& l) {
  NormRows n = rows_of(l, 2, 1, 3);
  if (l.integer[2]) n.bias = l.buffer[l.integer[1] ? 4 : 3].data;
  if (n.columns == 0) return;
  const auto fn = loops_of(l).forward;
  parallel_for(l.size[0], rows_at_once(n.columns),
               [&](int64_t b, int64_t e) { fn(n, b, e, l.buffer[0].data); });
}

void run_norm_grad(const Launch& l) {
  const NormRows n = rows_of(l, 4, 5, 6);
  const auto fn = loops_of(l).backward;
  const void* g = l.buffer[3].data;
  void* const gx = l.buffer[0].data;
  const bool wanted = l.integer[2] != 0;
  const int64_t rows = l.size[0];
  if (!wanted) {
    if (n.columns == 0) return;
    parallel_for(rows, rows_at_once(n.columns),
                 [&](int64_t b, int64_t e) { fn(n, b, e, g, gx, nullptr, nullptr); });
    return;
  }
  const int64_t weights = n.columns / n.inner * n.groups;
  const int64_t bytes = weights * static_cast<int64_t>(item_size(l.dtype));
  void *const gw = l.buffer[1].data, *const gb = l.buffer[2].data;
  std::memset(gw, 0, static_cast<size_t>(bytes));
  std::memset(gb, 0, static_cast<size_t>(bytes));
  if (n.columns == 0 || rows == 0) return;
  const int64_t blocks = std::clamp<int64_t>(rows / kBlockRows, 1, kMaxBlocks);
  if (blocks == 1) return fn(n, 0, rows, g, gx, gw, gb);
  const Scratch parts(2 * blocks * bytes);
  const int64_t per_block = (rows + blocks - 1) / blocks;
  parallel_for(blocks, std::max<int64_t>(1, kGrain / (per_block * n.columns)),
               [&](int64_t b, int64_t e) {
                 for (int64_t k = b; k < e; ++k) {
                   char* part = parts.data() + 2 * k * bytes;
                   std::memset(part, 0, static_cast<size_t>(2 * bytes));
                   fn(n, rows * k / blocks, rows * (k + 1) / blocks, g, gx, part, part + bytes);
                 }
               });
  visit_compute(l.dtype, [&]<class T>() {
    if constexpr (std::is_floating_point_v<T>) {
      add_in_order<T>(parts.data(), blocks, 2 * bytes, weights, gw);
      add_in_order<T>(parts.data() + bytes, blocks, 2 * bytes, weights, gb);
    }
  });
}

namespace {

NormChannels channels_of(const Launch& l, int x, int statistics, int weight) {
  NormChannels n{};
  n.x = l.buffer[x].data;
  n.statistics = l.buffer[statistics].data;
  if (l.integer[1]) n.weight = l.buffer[weight].data;
  n.outer = l.size[0];
  n.channels = l.size[1];
  n.inner = l.size[2];
  n.eps = l.number[0];
  return n;
}

// Whole cache lines of channels that are next to each other go to one thread.
template <class Body>
void over_channels(const NormChannels& n, Body&& body) {
  const int64_t each = n.inner == 1 ? 64 : 1;
  const int64_t work = std::max<int64_t>(1, n.outer * n.inner * each);
  parallel_for((n.channels + each - 1) / each, std::max<int64_t>(1, kGrain / work),
               [&](int64_t b, int64_t e) { body(b * each, std::min(e * each, n.channels)); });
}

}  // namespace

void run_batch_norm(const Launch& l) {
  NormChannels n = channels_of(l, 2, 1, 3);
  if (l.integer[2]) n.bias = l.buffer[l.integer[1] ? 4 : 3].data;
  const auto fn = isa().batch_norm[static_cast<int>(l.dtype)].forward;
  over_channels(n, [&](int64_t b, int64_t e) { fn(n, b, e, l.buffer[0].data); });
}

void run_batch_norm_grad(const Launch& l) {
  const NormChannels n = channels_of(l, 4, 5, 6);
  const auto fn = isa().batch_norm[static_cast<int>(l.dtype)].backward;
  const bool wanted = l.integer[2] != 0;
  over_channels(n, [&](int64_t b, int64_t e) {
    fn(n, b, e, l.buffer[3].data, l.buffer[0].data, wanted ? l.buffer[1].data : nullptr,
       wanted ? l.buffer[2].data : nullptr);
  });
}

}  // namespace wengert::cpu
