#include "kernels/added.h"

#include <mutex>

namespace wengert {
namespace {

// Read without a lock: a slot is written once, before anybody can know its id.
constexpr int kMaxAdded = 4096;
const AddedKernel* added[kMaxAdded];

const AddedKernel* find(KernelId k) {
  return k >= kNumKernels && k < kNumKernels + kMaxAdded ? added[k - kNumKernels] : nullptr;
}

}  // namespace

KernelId add_kernels(std::span<const AddedKernel> kernels) {
  static std::mutex mutex;
  static int count = 0;
  const std::scoped_lock locked(mutex);
  if (kernels.size() > static_cast<size_t>(kMaxAdded - count)) {
    fail("libraries have added more than ", kMaxAdded, " kernels");
  }
  const int first = count;
  for (const AddedKernel& k : kernels) added[count++] = new AddedKernel(k);
  return static_cast<KernelId>(kNumKernels + first);
}

KernelFn added_fn(const Launch& l) {
  const AddedKernel* k = find(l.kernel);
  return k && l.device == Device::CPU ? k->fn[static_cast<int>(l.dtype)] : nullptr;
}
std::string added_name(KernelId id) {
  const AddedKernel* k = find(id);
  return k ? k->name : "unknown kernel";
}
bool is_added_map(KernelId id) {
  const AddedKernel* k = find(id);
  return k && k->elementwise;
}
int added_part(KernelId id) {
  const AddedKernel* k = find(id);
  return k ? k->part : 0;
}

}  // namespace wengert
