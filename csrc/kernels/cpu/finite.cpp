// The driver of AllFinite: pieces may be looked at in any order.
#include <atomic>

#include "kernels/cpu/cpu.h"
#include "kernels/cpu/parallel.h"

namespace wengert::cpu {

void run_all_finite(const Launch& l) {
  const AllFiniteLoop loop = isa().all_finite[static_cast<int>(l.dtype)];
  const auto* x = static_cast<const char*>(l.buffer[1].data);
  const auto item = static_cast<int64_t>(item_size(l.dtype));
  std::atomic<bool> finite{true};
  parallel_for(l.count, 1 << 17, [&](int64_t begin, int64_t end) {
    if (!loop(x + begin * item, end - begin)) finite.store(false, std::memory_order_relaxed);
  });
  *static_cast<bool*>(l.buffer[0].data) = finite.load(std::memory_order_relaxed);
}

}  // namespace wengert::cpu
