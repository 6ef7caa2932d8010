// The driver of the sum of products of two vectors: chunks of a fixed size, whose sums are then
// added up, so the number of threads changes nothing.
#include <algorithm>

#include "kernels/cpu/cpu.h"
#include "kernels/cpu/parallel.h"
#include "kernels/cpu/reduce_space.h"
#include "kernels/cpu/scratch.h"

namespace wengert::cpu {
namespace {

constexpr int64_t kChunk = 32768;
constexpr int64_t kTile = 512;  // elements gathered at a time

}  // namespace

void run_dot(const Launch& l) {
  const auto loop = isa().dot[static_cast<int>(l.dtype)];
  const auto add = isa().reduce[index_of<Sum, Reductions>][static_cast<int>(l.dtype)].row;
  const auto item = static_cast<int64_t>(item_size(l.dtype));
  const int64_t n = l.count, xs = l.buffer[1].stride[0], ys = l.buffer[2].stride[0];
  const auto* x = static_cast<const char*>(l.buffer[1].data);
  const auto* y = static_cast<const char*>(l.buffer[2].data);
  const auto chunk = [&](int64_t first, int64_t m, char* to) {
    if (xs == 1 && ys == 1) return loop(x + first * item, y + first * item, m, to);
    alignas(64) char a[kTile * 8], b[kTile * 8], part[kChunk / kTile * 8];
    int64_t parts = 0;
    for (int64_t i = 0; i < m; i += kTile) {
      const int64_t length = std::min(kTile, m - i);
      gather(x + (first + i) * xs * item, xs, length, item, a);
      gather(y + (first + i) * ys * item, ys, length, item, b);
      loop(a, b, length, part + parts++ * item);
    }
    add(part, parts, nullptr, to);
  };
  auto* out = static_cast<char*>(l.buffer[0].data);
  const int64_t chunks = (n + kChunk - 1) / kChunk;
  if (chunks <= 1) return chunk(0, n, out);
  const Scratch part(chunks * item);
  parallel_for(chunks, 1, [&](int64_t b, int64_t e) {
    for (int64_t c = b; c < e; ++c) {
      chunk(c * kChunk, std::min(kChunk, n - c * kChunk), part.data() + c * item);
    }
  });
  add(part.data(), chunks, nullptr, out);
}

}  // namespace wengert::cpu
