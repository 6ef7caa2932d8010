// Two levels. Blocks up to kSmallLimit are cut from slabs and cached by each thread without a lock;
// larger ones are cached in one central store under a lock, whose cost is nothing beside the work
// done on them. Freed memory keeps its pages: a fresh page costs some 250 ns a 4 KiB to fault in,
// more than most kernels spend on it.
#include "core/allocator.h"

#include <pthread.h>
#include <sys/mman.h>

#include <array>
#include <atomic>
#include <bit>
#include <cstdlib>
#include <mutex>
#include <vector>

#include "core/error.h"

#if defined(__SANITIZE_ADDRESS__)
#define WENGERT_CACHE_BLOCKS 0  // let the sanitizer see every allocation
#else
#define WENGERT_CACHE_BLOCKS 1
#endif

namespace wengert {
namespace {

constexpr size_t kSmallLimit = 32 * 1024;
constexpr size_t kSlabBytes = 256 * 1024;
constexpr size_t kHugePage = 2 * 1024 * 1024;
constexpr size_t kFirstSlabs = 8;  // later ones are a huge page each: programs of many blocks
constexpr int64_t kFlushBytes = 64 * 1024;
constexpr size_t kLinearLimit = 1024;  // classes in steps of 64 bytes up to here
constexpr int kLinearClasses = kLinearLimit / kAlignment;
constexpr int kClasses = kLinearClasses + 4 * (48 - 10);
constexpr int kSmallClasses = kLinearClasses + 4 * 5;

// Above kLinearLimit: four classes to each power of two, so that at most a fifth is wasted.
int size_class(size_t bytes) {
  if (bytes <= kLinearLimit) return bytes == 0 ? 0 : static_cast<int>((bytes - 1) / kAlignment);
  const int log = std::bit_width(bytes - 1) - 1;
  const int quarter = static_cast<int>(((bytes - 1) >> (log - 2)) & 3);
  return kLinearClasses + 4 * (log - 10) + quarter;
}
size_t class_bytes(int c) {
  if (c < kLinearClasses) return (static_cast<size_t>(c) + 1) * kAlignment;
  const int log = (c - kLinearClasses) / 4 + 10, quarter = (c - kLinearClasses) % 4;
  return (size_t{1} << log) + (static_cast<size_t>(quarter) + 1) * (size_t{1} << (log - 2));
}

struct FreeBlock {
  FreeBlock* next;
};

size_t rounded_up(size_t bytes, size_t to) {
  return (bytes + to - 1) / to * to;
}

// Blocks of huge pages would all begin at the same place of a page, and an optimizer's step goes
// through four of them abreast: its loads look like what is still being stored to the others (4 KiB
// aliasing). They begin at eight places instead: Adam over 10 M parameters takes a sixteenth less,
// a copy a tenth.
constexpr size_t kColours = 8, kColourStep = 1024 + kAlignment;

void* system_allocate(size_t bytes) {
  if (bytes < kHugePage) return std::aligned_alloc(kAlignment, rounded_up(bytes, kAlignment));
  static std::atomic<size_t> count{0};
  size_t offset = 0;
  if (bytes > kHugePage) {
    offset = count.fetch_add(1, std::memory_order_relaxed) % kColours * kColourStep;
  }
  void* p = std::aligned_alloc(kHugePage, rounded_up(bytes + offset, kHugePage));
  if (!p) return nullptr;
  madvise(p, bytes, MADV_HUGEPAGE);
  return static_cast<char*>(p) + offset;
}
void system_free(void* p, size_t bytes) {
  const size_t offset = bytes <= kHugePage ? 0 : reinterpret_cast<uintptr_t>(p) % kHugePage;
  std::free(static_cast<char*>(p) - offset);
}

struct ThreadCache;

struct Central {
  std::mutex lock;
  std::array<FreeBlock*, kSmallClasses> small{};
  std::array<std::vector<void*>, kClasses> large;
  char* slab = nullptr;
  size_t slab_left = 0;
  size_t slabs = 0;
  int64_t cached = 0;
  ThreadCache* threads = nullptr;  // all live caches, for the statistics
  int64_t gone_bytes = 0, gone_blocks = 0;
  std::atomic<int64_t> approximate{0};  // sum of what threads have flushed
  std::atomic<int64_t> peak{0};
};

// Never destroyed: threads and static objects may free after main has returned.
Central& central() {
  static Central* c = [] {
    auto* made = new Central;
    pthread_atfork([] { central().lock.lock(); }, [] { central().lock.unlock(); },
                   [] { central().lock.unlock(); });
    return made;
  }();
  return *c;
}

void raise_peak(int64_t value) {
  auto& peak = central().peak;
  int64_t seen = peak.load(std::memory_order_relaxed);
  while (value > seen && !peak.compare_exchange_weak(seen, value, std::memory_order_relaxed)) {
  }
}

struct ThreadCache {
  std::array<FreeBlock*, kSmallClasses> free{};
  std::array<uint32_t, kSmallClasses> count{};
  // Written by the owner alone, read by memory_stats.
  std::atomic<int64_t> bytes{0}, blocks{0};
  int64_t unflushed = 0;
  ThreadCache* next = nullptr;

  ThreadCache() {
    std::lock_guard hold(central().lock);
    next = central().threads;
    central().threads = this;
  }
  ~ThreadCache() {
    Central& c = central();
    std::lock_guard hold(c.lock);
    for (int k = 0; k < kSmallClasses; ++k) give_back(c, k, count[k]);
    ThreadCache** at = &c.threads;
    while (*at != this) at = &(*at)->next;
    *at = next;
    c.gone_bytes += bytes.load();
    c.gone_blocks += blocks.load();
    c.approximate += unflushed;
  }
  void give_back(Central& c, int k, uint32_t n) {
    for (; n > 0 && free[k]; --n) {
      FreeBlock* b = free[k];
      free[k] = b->next;
      --count[k];
      b->next = c.small[k];
      c.small[k] = b;
    }
  }
  void note(int64_t delta, int64_t one) {
    bytes.store(bytes.load(std::memory_order_relaxed) + delta, std::memory_order_relaxed);
    blocks.store(blocks.load(std::memory_order_relaxed) + one, std::memory_order_relaxed);
    unflushed += delta;
    if (unflushed > kFlushBytes || unflushed < -kFlushBytes) [[unlikely]]
      flush();
  }
  __attribute__((noinline, cold)) void flush() {
    raise_peak(central().approximate.fetch_add(unflushed, std::memory_order_relaxed) + unflushed);
    unflushed = 0;
  }
};

thread_local ThreadCache* cache = nullptr;
thread_local bool cache_gone = false;

struct CacheOwner {
  ~CacheOwner() {
    delete cache;
    cache = nullptr;
    cache_gone = true;
  }
};

__attribute__((noinline, cold)) ThreadCache* make_cache() {
  if (cache_gone) return nullptr;
  static thread_local CacheOwner owner;
  (void)owner;
  cache = new ThreadCache;
  return cache;
}

void* carve(Central& c, size_t bytes) {
  if (c.slab_left < bytes) {
    const size_t slab = c.slabs++ < kFirstSlabs ? kSlabBytes : kHugePage;
    c.slab = static_cast<char*>(system_allocate(slab));
    c.slab_left = c.slab ? slab : 0;
    if (!c.slab) return nullptr;
  }
  void* p = c.slab;
  c.slab += bytes;
  c.slab_left -= bytes;
  return p;
}

__attribute__((noinline)) void* refill(ThreadCache* t, int k) {
  Central& c = central();
  std::lock_guard hold(c.lock);
  const size_t bytes = class_bytes(k);
  FreeBlock* first = c.small[k];
  if (first) {
    c.small[k] = first->next;
    for (int i = 0; t && i < 31 && c.small[k]; ++i) {
      FreeBlock* b = c.small[k];
      c.small[k] = b->next;
      b->next = t->free[k];
      t->free[k] = b;
      ++t->count[k];
    }
    return first;
  }
  return carve(c, bytes);
}

void* take_large(int k) {
  Central& c = central();
  {
    std::lock_guard hold(c.lock);
    auto& list = c.large[k];
    if (!list.empty()) {
      void* p = list.back();
      list.pop_back();
      c.cached -= static_cast<int64_t>(class_bytes(k));
      return p;
    }
  }
  void* p = system_allocate(class_bytes(k));
  if (!p) {
    empty_cache();
    p = system_allocate(class_bytes(k));
  }
  return p;
}

void note(int64_t bytes, int64_t one) {
  ThreadCache* t = cache ? cache : make_cache();
  if (t) {
    t->note(bytes, one);
  } else {
    std::lock_guard hold(central().lock);
    central().gone_bytes += bytes;
    central().gone_blocks += one;
  }
}

[[noreturn]] __attribute__((noinline, cold)) void out_of_memory(size_t bytes) {
  fail("out of memory: cannot allocate ", bytes, " bytes; ", memory_stats().current_bytes,
       " bytes are in use by tensors");
}

// What is not the common case lies apart, so that the common case saves no registers for it.
__attribute__((noinline)) void* allocate_slowly(size_t bytes) {
  if (bytes > (size_t{1} << 46)) out_of_memory(bytes);
  const int k = size_class(bytes);
  void* p = !WENGERT_CACHE_BLOCKS ? system_allocate(class_bytes(k))
            : k < kSmallClasses   ? refill(cache ? cache : make_cache(), k)
                                  : take_large(k);
  if (!p) out_of_memory(bytes);
  note(static_cast<int64_t>(class_bytes(k)), 1);
  return p;
}

__attribute__((noinline)) void deallocate_slowly(void* block, size_t bytes) noexcept {
  const int k = size_class(bytes);
  const auto size = static_cast<int64_t>(class_bytes(k));
  note(-size, -1);
  if (!WENGERT_CACHE_BLOCKS) {
    system_free(block, static_cast<size_t>(size));
    return;
  }
  std::lock_guard hold(central().lock);
  if (k < kSmallClasses) {  // no cache yet, or no more
    auto* b = static_cast<FreeBlock*>(block);
    b->next = central().small[k];
    central().small[k] = b;
    return;
  }
  try {
    central().large[k].push_back(block);
    central().cached += size;
  } catch (...) {
    system_free(block, static_cast<size_t>(size));
  }
}

__attribute__((noinline, cold)) void share(ThreadCache* t, int k) {
  std::lock_guard hold(central().lock);
  t->give_back(central(), k, t->count[k] / 2);
}

}  // namespace

void* allocate(size_t bytes) {
  if (WENGERT_CACHE_BLOCKS && bytes <= kSmallLimit) [[likely]] {
    const int k = size_class(bytes);
    ThreadCache* t = cache;
    if (t && t->free[k]) [[likely]] {
      FreeBlock* b = t->free[k];
      t->free[k] = b->next;
      --t->count[k];
      t->note(static_cast<int64_t>(class_bytes(k)), 1);
      return b;
    }
  }
  return allocate_slowly(bytes);
}

void deallocate(void* block, size_t bytes) noexcept {
  if (!block) return;
  ThreadCache* t = cache;
  if (!WENGERT_CACHE_BLOCKS || bytes > kSmallLimit || !t) [[unlikely]] {
    deallocate_slowly(block, bytes);
    return;
  }
  const int k = size_class(bytes);
  const size_t size = class_bytes(k);
  t->note(-static_cast<int64_t>(size), -1);
  auto* b = static_cast<FreeBlock*>(block);
  b->next = t->free[k];
  t->free[k] = b;
  // A thread that frees what others allocate must not hoard: half goes to the others.
  if (++t->count[k] * size > 4 * kSlabBytes) [[unlikely]]
    share(t, k);
}

MemoryStats memory_stats() {
  Central& c = central();
  std::lock_guard hold(c.lock);
  MemoryStats s{c.gone_bytes, 0, c.gone_blocks, c.cached};
  for (ThreadCache* t = c.threads; t; t = t->next) {
    s.current_bytes += t->bytes.load(std::memory_order_relaxed);
    s.current_blocks += t->blocks.load(std::memory_order_relaxed);
  }
  raise_peak(s.current_bytes);
  s.peak_bytes = c.peak.load(std::memory_order_relaxed);
  return s;
}

void reset_peak_memory_stats() {
  const int64_t now = memory_stats().current_bytes;
  central().peak.store(now, std::memory_order_relaxed);
}

void empty_cache() {
  Central& c = central();
  std::lock_guard hold(c.lock);
  for (int k = 0; k < kClasses; ++k) {
    for (void* p : c.large[static_cast<size_t>(k)]) system_free(p, class_bytes(k));
    c.large[static_cast<size_t>(k)].clear();
  }
  c.cached = 0;
}

}  // namespace wengert
