// Device memory: large segments are asked of CUDA, blocks are cut from them and joined again. A
// freed block is handed out again to the stream it was allocated on, where everything that used it
// comes first; no synchronisation is needed. Used on other streams too (record_stream), it waits
// for those.
#include <algorithm>
#include <atomic>
#include <cstring>
#include <mutex>
#include <set>
#include <unordered_map>
#include <vector>

#include "core/error.h"
#include "kernels/cuda/state.h"

namespace wengert::cuda {
namespace {

constexpr size_t kStep = 512;               // sizes are multiples of it
constexpr size_t kSmall = size_t{1} << 20;  // up to here blocks are cut from small segments
constexpr size_t kSmallSegment = size_t{2} << 20;
constexpr size_t kLargeSegment = size_t{20} << 20;
constexpr size_t kOwnSegment = size_t{10} << 20;  // from here a block has one to itself
constexpr size_t kRound = size_t{2} << 20;        // whose size is a multiple of this

size_t rounded(size_t bytes, size_t to) {
  return (bytes + to - 1) / to * to;
}

struct Block {
  char* data;
  size_t bytes;
  uintptr_t owner;  // the stream or pool that it is handed out to
  bool small;
  bool used = false;
  Block *before = nullptr, *after = nullptr;  // in its segment
  std::vector<StreamId> streams{};            // that use it beside its own
};

struct Order {
  bool operator()(const Block* a, const Block* b) const {
    if (a->owner != b->owner) return a->owner < b->owner;
    if (a->small != b->small) return a->small < b->small;
    if (a->bytes != b->bytes) return a->bytes < b->bytes;
    return a->data < b->data;
  }
};

thread_local uintptr_t the_pool = 0;  // 0: what the stream has

class Allocator {
 public:
  void* allocate(size_t bytes) {
    const size_t wanted = rounded(std::max<size_t>(bytes, 1), kStep);
    if (wanted < bytes) fail(ErrorKind::OutOfMemory, "cuda: ", bytes, " bytes are too many");
    const uintptr_t owner = the_pool ? the_pool : current_stream();
    const std::scoped_lock locked(lock_);
    free_waiting(false);
    Block* b = take(wanted, owner);
    if (!b) b = grow(wanted, owner);
    b->used = true;
    used_.emplace(b->data, b);
    stats_.allocated += static_cast<int64_t>(b->bytes);
    stats_.peak_allocated = std::max(stats_.peak_allocated, stats_.allocated);
    ++stats_.blocks;
    ++stats_.allocations;
    return b->data;
  }

  void deallocate(void* data) noexcept {
    const std::scoped_lock locked(lock_);
    const auto it = used_.find(data);
    if (it == used_.end()) return;
    Block* b = it->second;
    used_.erase(it);
    stats_.allocated -= static_cast<int64_t>(b->bytes);
    --stats_.blocks;
    if (b->streams.empty()) return put_back(b);
    Waiting w{b, {}};
    for (const StreamId s : b->streams) {
      cudaEvent_t e = nullptr;
      if (cudaEventCreateWithFlags(&e, cudaEventDisableTiming) != cudaSuccess) continue;
      cudaEventRecord(e, stream_of(s));
      w.events.push_back(e);
    }
    b->streams.clear();
    waiting_.push_back(std::move(w));
  }

  void use_on(void* data, StreamId s) {
    const std::scoped_lock locked(lock_);
    const auto it = used_.find(data);
    if (it == used_.end() || it->second->owner == s) return;
    auto& streams = it->second->streams;
    if (std::find(streams.begin(), streams.end(), s) == streams.end()) streams.push_back(s);
  }

  // Segments of which no block is used go back to CUDA.
  void empty() {
    const std::scoped_lock locked(lock_);
    release_free();
  }

  // What a pool had is another's.
  void hand_over(uintptr_t from, uintptr_t to) {
    const std::scoped_lock locked(lock_);
    std::vector<Block*> moved;
    for (Block* b : free_) {
      if (b->owner == from) moved.push_back(b);
    }
    for (Block* b : moved) free_.erase(b);
    for (Block* b : moved) {
      b->owner = to;
      put_back(b);
    }
    for (const auto& [data, b] : used_) {
      if (b->owner == from) b->owner = to;
    }
    for (const Waiting& w : waiting_) {
      if (w.block->owner == from) w.block->owner = to;
    }
  }

  DeviceMemoryStats stats() {
    const std::scoped_lock locked(lock_);
    return stats_;
  }
  void reset_peak() {
    const std::scoped_lock locked(lock_);
    stats_.peak_allocated = stats_.allocated;
    stats_.peak_reserved = stats_.reserved;
  }
  void limit(double fraction) {
    size_t free = 0, total = 0;
    memory_info(free, total);
    const std::scoped_lock locked(lock_);
    limit_ = static_cast<int64_t>(fraction * static_cast<double>(total));
  }

 private:
  struct Waiting {
    Block* block;
    std::vector<cudaEvent_t> events;
  };

  Block* take(size_t bytes, uintptr_t owner) {
    const bool small = bytes <= kSmall;
    Block key{nullptr, bytes, owner, small};
    const auto it = free_.lower_bound(&key);
    if (it == free_.end() || (*it)->owner != owner || (*it)->small != small) return nullptr;
    Block* b = *it;
    // What is asked for seldom, and has a segment to itself, is not cut up for less than half.
    if (!small && b->bytes >= kLargeSegment * 10 && bytes < b->bytes / 2) return nullptr;
    free_.erase(it);
    cut(b, bytes);
    return b;
  }

  void cut(Block* b, size_t bytes) {
    const size_t rest = b->bytes - bytes;
    if (rest < (b->small ? kStep : kSmall)) return;
    auto* r = new Block{b->data + bytes, rest, b->owner, b->small};
    r->before = b;
    r->after = b->after;
    if (r->after) r->after->before = r;
    b->after = r;
    b->bytes = bytes;
    free_.insert(r);
  }

  Block* grow(size_t bytes, uintptr_t owner) {
    const bool small = bytes <= kSmall;
    const size_t segment = small                 ? kSmallSegment
                           : bytes < kOwnSegment ? kLargeSegment
                                                 : rounded(bytes, kRound);
    void* data = ask(segment);
    // To give memory back the device is waited for, which ends a recording: see Graph.
    if (!data && !the_pool) {
      ++stats_.retries;
      free_waiting(true);
      if (Block* b = take(bytes, owner)) return b;
      release_free();
      data = ask(segment);
    }
    if (!data) refuse(bytes);
    stats_.reserved += static_cast<int64_t>(segment);
    stats_.peak_reserved = std::max(stats_.peak_reserved, stats_.reserved);
    ++stats_.segments;
    auto* b = new Block{static_cast<char*>(data), segment, owner, small};
    cut(b, bytes);
    return b;
  }

  void* ask(size_t segment) {
    if (limit_ >= 0 && stats_.reserved + static_cast<int64_t>(segment) > limit_) return nullptr;
    void* data = nullptr;
    const cudaError_t result = cudaMalloc(&data, segment);
    if (result == cudaSuccess) return data;
    cudaGetLastError();
    if (result != cudaErrorMemoryAllocation) check(result, "allocation");
    return nullptr;
  }

  [[noreturn]] void refuse(size_t bytes) {
    ++stats_.out_of_memory;
    size_t free = 0, total = 0;
    cudaMemGetInfo(&free, &total);
    const auto mib = [](auto n) { return static_cast<double>(n) / (1 << 20); };
    fail(ErrorKind::OutOfMemory, "CUDA out of memory. Tried to allocate ", mib(bytes),
         " MiB. The device has ", mib(total), " MiB, of which ", mib(free),
         " MiB are free; this process has ", mib(stats_.allocated), " MiB in tensors and ",
         mib(stats_.reserved - stats_.allocated), " MiB reserved beside them",
         limit_ >= 0 ? text(", and may take ", mib(limit_), " MiB") : "", ".");
  }

  void put_back(Block* b) noexcept {
    b->used = false;
    for (Block* n : {b->before, b->after}) {
      if (!n || n->used || n->owner != b->owner || !free_.erase(n)) continue;
      Block *first = std::min(b, n, by_place), *second = std::max(b, n, by_place);
      first->bytes += second->bytes;
      first->after = second->after;
      if (first->after) first->after->before = first;
      delete second;
      b = first;
    }
    free_.insert(b);
  }
  static bool by_place(const Block* a, const Block* b) { return a->data < b->data; }

  void free_waiting(bool wait) noexcept {
    if (waiting_.empty()) return;
    std::erase_if(waiting_, [&](Waiting& w) {
      for (cudaEvent_t e : w.events) {
        if (wait) {
          cudaEventSynchronize(e);
        } else if (cudaEventQuery(e) != cudaSuccess) {
          cudaGetLastError();
          return false;
        }
      }
      for (cudaEvent_t e : w.events) cudaEventDestroy(e);
      put_back(w.block);
      return true;
    });
  }

  void release_free() noexcept {
    free_waiting(true);
    std::vector<Block*> whole;
    for (Block* b : free_) {
      if (!b->before && !b->after) whole.push_back(b);
    }
    if (whole.empty()) return;
    cudaDeviceSynchronize();  // cudaFree would, for each
    for (Block* b : whole) {
      free_.erase(b);
      cudaFree(b->data);
      stats_.reserved -= static_cast<int64_t>(b->bytes);
      --stats_.segments;
      delete b;
    }
  }

  std::mutex lock_;
  std::set<Block*, Order> free_;
  std::unordered_map<void*, Block*> used_;
  std::vector<Waiting> waiting_;
  DeviceMemoryStats stats_{};
  int64_t limit_ = -1;  // bytes reserved; below 0: none
};

Allocator& allocator() {
  static auto* a = new Allocator;  // storage may be freed while the process ends
  return *a;
}

// Host memory that copies go through, in turn: a piece is written to again once the copy from it is
// done.
class Staging {
 public:
  static constexpr size_t kPiece = size_t{1} << 20;
  static constexpr int kPieces = 4;

  struct Piece {
    char* data = nullptr;
    cudaEvent_t done = nullptr;
  };
  // Locked for as long as the caller fills it and starts the copy.
  Piece& next() {
    Piece& p = pieces_[turn_++ % kPieces];
    if (!p.data) {
      check(cudaHostAlloc(reinterpret_cast<void**>(&p.data), kPiece, cudaHostAllocDefault),
            "pinned memory");
      p.done = event_of(make_event(false));
    } else {
      check(cudaEventSynchronize(p.done), "copy");
    }
    return p;
  }
  std::mutex lock;

 private:
  Piece pieces_[kPieces];
  unsigned turn_ = 0;
};
Staging& staging() {
  static auto* s = new Staging;
  return *s;
}

std::atomic<uintptr_t> pools{0};

}  // namespace

void* allocate_device(size_t bytes) {
  return allocator().allocate(bytes);
}
void free_device(void* block, size_t) noexcept {
  allocator().deallocate(block);
}
DeviceMemoryStats memory_stats() {
  return allocator().stats();
}
void reset_peak_memory_stats() {
  allocator().reset_peak();
}
void empty_cache() {
  if (!is_initialized()) return;
  allocator().empty();
  empty_pinned_cache();
}
void memory_info(size_t& free, size_t& total) {
  require();
  check(cudaMemGetInfo(&free, &total), "mem_get_info");
}
void set_memory_fraction(double fraction) {
  if (!(fraction >= 0 && fraction <= 1)) {
    fail(ErrorKind::Value, "set_per_process_memory_fraction: expected 0 <= fraction <= 1, got ",
         fraction);
  }
  allocator().limit(fraction);
}
void record_stream(const Storage& storage, StreamId s) {
  allocator().use_on(storage.data, s);
}

// Even addresses are streams', so a pool's number is odd.
Pool::Pool() : id_(pools.fetch_add(1) * 2 + 1) {}
Pool::~Pool() {
  allocator().hand_over(id_, default_stream());
}
Pool::Use::Use(const Pool& pool) : before_(std::exchange(the_pool, pool.id_)) {}
Pool::Use::~Use() {
  the_pool = before_;
}

void read_device(void* to_host, const void* from, size_t bytes) {
  const cudaStream_t s = stream_of(current_stream());
  check(cudaMemcpyAsync(to_host, from, bytes, cudaMemcpyDeviceToHost, s), "copy to the host");
  check(cudaStreamSynchronize(s), "copy to the host");
  look_at_checks(false);
}
void write_device(void* to, const void* from_host, size_t bytes) {
  const cudaStream_t s = stream_of(current_stream());
  Staging& staged = staging();
  const std::scoped_lock locked(staged.lock);
  for (size_t done = 0; done < bytes; done += Staging::kPiece) {
    const size_t n = std::min(bytes - done, Staging::kPiece);
    Staging::Piece& p = staged.next();
    std::memcpy(p.data, static_cast<const char*>(from_host) + done, n);
    check(cudaMemcpyAsync(static_cast<char*>(to) + done, p.data, n, cudaMemcpyHostToDevice, s),
          "copy to the device");
    check(cudaEventRecord(p.done, s), "copy to the device");
  }
}
void wait_device() noexcept {
  cudaDeviceSynchronize();  // what is wrong is told by who launches next
}

}  // namespace wengert::cuda
