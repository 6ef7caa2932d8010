// Host memory that the device copies from and to by itself. Blocks are kept for use again, as to
// pin one takes long; one from which copies may be under way waits until they are done.
#include <algorithm>
#include <bit>
#include <map>
#include <mutex>
#include <vector>

#include "kernels/cuda/device.h"
#include "kernels/cuda/state.h"

namespace wengert::cuda {
namespace {

constexpr size_t kSmallest = 512;

struct Use {
  cudaStream_t on;
  cudaEvent_t until;
};
struct Block {
  size_t bytes = 0;
  std::vector<Use> uses;
};

class Pinned {
 public:
  void* allocate(size_t asked) {
    const std::scoped_lock locked(lock_);
    const size_t bytes = std::bit_ceil(std::max(asked, kSmallest));
    take_back();
    const auto found = free_.find(bytes);
    char* data = nullptr;
    if (found != free_.end()) {
      data = found->second;
      free_.erase(found);
    } else {
      data = make(bytes);
    }
    used_[data] = {bytes, {}};
    return data;
  }

  void free(void* p) noexcept {
    const std::scoped_lock locked(lock_);
    auto block = used_.extract(static_cast<char*>(p));
    if (block.mapped().uses.empty()) {
      free_.emplace(block.mapped().bytes, block.key());
    } else {
      waiting_.push_back(std::move(block));
    }
  }

  // A copy from or to p has been started on a stream.
  void use(const void* p, cudaStream_t stream) {
    const std::scoped_lock locked(lock_);
    auto after = used_.upper_bound(static_cast<char*>(const_cast<void*>(p)));
    if (after == used_.begin()) return;  // another library's
    auto& [start, block] = *std::prev(after);
    if (static_cast<const char*>(p) >= start + block.bytes) return;
    auto use =
        std::find_if(block.uses.begin(), block.uses.end(), [&](Use& u) { return u.on == stream; });
    if (use == block.uses.end()) {
      use = block.uses.insert(use, {stream, event_of(make_event(false))});
    }
    check(cudaEventRecord(use->until, stream), "event");
  }

  void give_back() noexcept {
    const std::scoped_lock locked(lock_);
    take_back();
    for (const auto& [bytes, data] : free_) cudaFreeHost(data);
    free_.clear();
  }

 private:
  using Blocks = std::map<char*, Block>;

  char* make(size_t bytes) {
    void* p = nullptr;
    cudaError_t result = cudaHostAlloc(&p, bytes, cudaHostAllocDefault);
    if (result == cudaErrorMemoryAllocation && !free_.empty()) {
      cudaGetLastError();
      for (const auto& [size, data] : free_) cudaFreeHost(data);
      free_.clear();
      result = cudaHostAlloc(&p, bytes, cudaHostAllocDefault);
    }
    check(result, "pinned memory");
    return static_cast<char*>(p);
  }

  // Those whose copies are done.
  void take_back() noexcept {
    std::erase_if(waiting_, [&](Blocks::node_type& b) {
      for (const Use& u : b.mapped().uses) {
        if (cudaEventQuery(u.until) == cudaSuccess) continue;
        cudaGetLastError();
        return false;
      }
      for (const Use& u : b.mapped().uses) cudaEventDestroy(u.until);
      free_.emplace(b.mapped().bytes, b.key());
      return true;
    });
  }

  std::mutex lock_;
  Blocks used_;
  std::vector<Blocks::node_type> waiting_;
  std::multimap<size_t, char*> free_;
};

Pinned& pinned() {
  static auto* p = new Pinned;  // tensors may end while the process does
  return *p;
}

}  // namespace

void* allocate_pinned(size_t bytes) {
  require();
  return pinned().allocate(bytes);
}
void free_pinned(void* block, size_t) noexcept {
  pinned().free(block);
}
Tensor empty_pinned(const Tensor& like, const Dims& strides) {
  const auto items = static_cast<size_t>(extent(like.sizes(), strides));
  const size_t bytes = items * item_size(like.dtype());
  void* const data = allocate_pinned(bytes);
  Tensor t = Tensor::empty({0}, like.dtype(), Device::CPU);
  t->storage = Storage::borrow(data, bytes, [](void* p) { free_pinned(p, 0); }, data);
  t->data = static_cast<char*>(data);
  t->sizes = like.sizes();
  t->strides = strides;
  t->numel = like.numel();
  t->contiguous = is_contiguous(t->sizes, strides);
  return t;
}
void pinned_is_used(const void* p) {
  pinned().use(p, stream());
}
void empty_pinned_cache() noexcept {
  pinned().give_back();
}
bool is_pinned(const void* p) {
  if (!is_initialized()) return false;
  cudaPointerAttributes a{};
  if (cudaPointerGetAttributes(&a, p) != cudaSuccess) {
    cudaGetLastError();
    return false;
  }
  return a.type == cudaMemoryTypeHost;
}

}  // namespace wengert::cuda
