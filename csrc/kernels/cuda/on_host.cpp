// Kernels that the back end lacks run on the processor, over copies of the memory.

#include <algorithm>
#include <atomic>
#include <vector>

#include "core/error.h"
#include "kernels/added.h"
#include "kernels/cpu/cpu.h"
#include "kernels/cuda/state.h"
#include "kernels/reach.h"

namespace wengert::cuda {
namespace {
std::atomic<int64_t> launches{0};

struct Copy {
  const Storage* of;
  Ref<Storage> here;
};
}  // namespace

int64_t host_launches() {
  return launches.load(std::memory_order_relaxed);
}

// What a kernel writes is only part of its buffers' memory, so all of it goes both ways.
void run_on_host(const Launch& l) {
  const ParamsKind params = params_of(l.kernel);
  if (params == ParamsKind::Optimizer || params == ParamsKind::List) {
    fail(ErrorKind::NotImplemented, kernel_name(l.kernel), ": no cuda kernel for dtype ",
         name_of(l.dtype));
  }
  look_at_checks(true);  // the processor's kernels go where indices lead
  const Unwatched unseen;
  Launch host = l;
  host.device = Device::CPU;
  std::vector<Copy> copies;
  for (int k = 0; k < l.nbuffers; ++k) {
    Buffer& b = host.buffer[k];
    const Storage* s = l.buffer[k].storage;
    if (!s || s->device == Device::CPU) continue;
    auto copy =
        std::find_if(copies.begin(), copies.end(), [&](const Copy& c) { return c.of == s; });
    if (copy == copies.end()) {
      copies.push_back({s, Storage::make(s->bytes, Device::CPU)});
      copy = copies.end() - 1;
      if (s->bytes) read_device(copy->here->data, s->data, s->bytes);
    }
    b.storage = copy->here.get();
    b.data = static_cast<char*>(copy->here->data) +
             (static_cast<const char*>(l.buffer[k].data) - static_cast<const char*>(s->data));
  }
  const KernelFn fn = kernel_of(host);
  fn(host);
  launches.fetch_add(1, std::memory_order_relaxed);
  for (const Copy& c : copies) {
    if (c.of->bytes) write_device(c.of->data, c.here->data, c.of->bytes);
  }
}

}  // namespace wengert::cuda
