#include "blocks.h"

#include <cxxabi.h>
#include <dlfcn.h>
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <bit>
#include <cstdarg>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <deque>
#include <memory>
#include <new>
#include <string>
#include <vector>

#include "fibers.h"
#include "order.h"

uint3 threadIdx;
uint3 blockIdx;
dim3 blockDim;
dim3 gridDim;

namespace cuda_emulator {

namespace {

enum class State : unsigned char { kRunning, kAtBarrier, kInMeeting, kPausing, kExited };

struct Thread {
  Fiber* fiber = nullptr;
  State state = State::kRunning;
};

struct Warp {
  uint32_t alive = 0;
  std::vector<Meeting*> open;  // some lanes have come, others have not
};

struct Copy {
  void* to;
  const void* from;
  size_t size, zeros;
};

struct Pipeline {
  std::vector<Copy> copies;
  std::vector<size_t> ends;  // of the committed batches
};

struct Barrier {
  int came = 0;
  int agreed = 0;
  const char* what = nullptr;
  Site site{};
  Votes result{};
};

std::atomic<uint64_t> kernels_run{0};

// The one block that runs. All of it is guarded by the emulator's lock.
class Block {
 public:
  bool run(const Launch& launch);

  Meeting& meet(uint32_t mask, const char* what, uint64_t value, Site site, Meeting::Finish finish);
  void leave(Meeting& meeting);
  Votes barrier(const char* what, bool predicate, Site site);
  void pause();
  [[noreturn]] void trap();
  [[noreturn]] void mistake(const char* format, va_list arguments);

  unsigned current() const { return current_; }
  void* shared() const { return shared_; }
  Pipeline& pipeline();
  bool inside() const { return launch_ != nullptr; }

 private:
  void prepare(const Launch& launch);
  bool run_block();
  [[noreturn]] void run_threads();
  static void fiber_main();
  void become(unsigned thread);
  void switch_away(Fiber& to);
  void wait(State state);
  void finish_thread();
  void complete(Warp& warp, Meeting& meeting);
  void release_block();
  Fiber& spare_fiber();
  [[noreturn]] void report_deadlock();
  std::string name() const;

  const Launch* launch_ = nullptr;
  const std::function<void()>* body_ = nullptr;
  unsigned count_ = 0, alive_ = 0, begun_ = 0, current_ = 0;
  bool trapped_ = false, pipelines_used_ = false;
  std::array<uint3, kMaxThreads> coordinates_{};
  std::array<unsigned, kMaxThreads> order_{};
  std::array<Thread, kMaxThreads> threads_{};
  std::array<Warp, kMaxThreads / 32> warps_{};
  std::array<Pipeline, kMaxThreads> pipelines_{};
  std::vector<unsigned> ready_;  // threads that may go on; the last goes first
  std::deque<unsigned> paused_;  // threads that let all others go first
  Barrier barrier_;

  Fiber main_;
  Fiber* running_ = nullptr;
  std::vector<std::unique_ptr<Fiber>> fibers_;
  std::vector<Fiber*> spare_;
  std::vector<std::unique_ptr<Meeting>> meetings_;
  std::vector<Meeting*> spare_meetings_;

  char* shared_end_ = nullptr;
  void* shared_ = nullptr;
};

Block& block() {
  static Block* block = new Block;  // outlives every static that may still launch
  return *block;
}

void Block::become(unsigned thread) {
  current_ = thread;
  threadIdx = coordinates_[thread];
}

void Block::switch_away(Fiber& to) {
  Fiber* from = running_;
  running_ = &to;
  from->switch_to(to);
}

Fiber& Block::spare_fiber() {
  if (spare_.empty()) {
    fibers_.push_back(std::make_unique<Fiber>(&Block::fiber_main));
    return *fibers_.back();
  }
  Fiber* fiber = spare_.back();
  spare_.pop_back();
  return *fiber;
}

void Block::fiber_main() {
  block().run_threads();
}

// A fiber takes threads that have not begun, one after another. It is bound to a thread only while
// that one waits; threads that never wait cost no switch at all.
void Block::run_threads() {
  for (;;) {
    if (!ready_.empty()) {
      const unsigned next = ready_.back();
      ready_.pop_back();
      spare_.push_back(running_);
      switch_away(*threads_[next].fiber);
    } else if (begun_ < count_) {
      become(order_[begun_++]);
      (*body_)();
      finish_thread();
    } else if (!paused_.empty()) {
      const unsigned next = paused_.front();
      paused_.pop_front();
      spare_.push_back(running_);
      switch_away(*threads_[next].fiber);
    } else if (alive_ == 0) {
      spare_.push_back(running_);
      switch_away(main_);
    } else {
      report_deadlock();
    }
  }
}

void Block::wait(State state) {
  const unsigned self = current_;
  Thread& thread = threads_[self];
  thread.state = state;
  thread.fiber = running_;
  if (!ready_.empty()) {
    const unsigned next = ready_.back();
    ready_.pop_back();
    if (next != self) switch_away(*threads_[next].fiber);
  } else if (begun_ < count_) {
    switch_away(spare_fiber());
  } else if (!paused_.empty()) {
    const unsigned next = paused_.front();
    paused_.pop_front();
    if (next != self) switch_away(*threads_[next].fiber);
  } else {
    report_deadlock();
  }
  become(self);
  thread.state = State::kRunning;
}

void Block::finish_thread() {
  const unsigned self = current_;
  threads_[self].state = State::kExited;
  --alive_;
  Warp& warp = warps_[self / 32];
  warp.alive &= ~(1u << self % 32);
  // Whoever waits for this thread waits for it no longer.
  for (size_t i = warp.open.size(); i-- > 0;) {
    Meeting& meeting = *warp.open[i];
    if (meeting.arrived == (meeting.mask & warp.alive)) complete(warp, meeting);
  }
  if (barrier_.came > 0 && barrier_.came == static_cast<int>(alive_)) release_block();
}

void Block::complete(Warp& warp, Meeting& meeting) {
  std::erase(warp.open, &meeting);
  meeting.readers = static_cast<uint32_t>(std::popcount(meeting.arrived));
  if (meeting.finish != nullptr) meeting.finish(meeting);
  const auto first = static_cast<unsigned>(&warp - warps_.data()) * 32;
  const size_t before = ready_.size();
  for (unsigned i = 0; i < 32; ++i) {
    if (meeting.arrived >> i & 1) ready_.push_back(first + i);
  }
  // The last of `ready_` goes first.
  const auto begin = ready_.begin() + static_cast<std::ptrdiff_t>(before);
  std::reverse(begin, ready_.end());
  order().arrange(begin, ready_.end());
}

Meeting& Block::meet(uint32_t mask, const char* what, uint64_t value, Site site,
                     Meeting::Finish finish) {
  const unsigned lane = current_ % 32;
  Warp& warp = warps_[current_ / 32];
  if (!(mask >> lane & 1)) {
    cuda_emulator::mistake("%s at %s:%d: the mask %08x does not name the calling lane %u", what,
                           site.file, site.line, mask, lane);
  }
  Meeting* meeting = nullptr;
  for (Meeting* open : warp.open) {
    if (open->mask == mask) meeting = open;
  }
  if (meeting == nullptr) {
    if (spare_meetings_.empty()) {
      meetings_.push_back(std::make_unique<Meeting>());
      spare_meetings_.push_back(meetings_.back().get());
    }
    meeting = spare_meetings_.back();
    spare_meetings_.pop_back();
    meeting->mask = mask;
    meeting->arrived = 0;
    meeting->what = what;
    meeting->site = site;
    meeting->finish = finish;
    warp.open.push_back(meeting);
  } else if (meeting->finish != finish || std::strcmp(meeting->what, what) != 0) {
    cuda_emulator::mistake(
        "lanes of one warp wait in different operations: %s at %s:%d and %s at %s:%d",
        meeting->what, meeting->site.file, meeting->site.line, what, site.file, site.line);
  }
  meeting->arrived |= 1u << lane;
  meeting->value[lane] = value;
  if (meeting->arrived == (mask & warp.alive)) complete(warp, *meeting);
  wait(State::kInMeeting);
  return *meeting;
}

void Block::leave(Meeting& meeting) {
  if (--meeting.readers == 0) spare_meetings_.push_back(&meeting);
}

void Block::release_block() {
  barrier_.result = {barrier_.came, barrier_.agreed};
  barrier_.came = barrier_.agreed = 0;
  // Everyone alive waits here, so nobody else is ready.
  if (order().kind() == Order::Kind::kRandom) {
    order().arrange(order_.begin(), order_.begin() + count_);
  }
  for (unsigned i = count_; i-- > 0;) {
    if (threads_[order_[i]].state == State::kAtBarrier) ready_.push_back(order_[i]);
  }
}

Votes Block::barrier(const char* what, bool predicate, Site site) {
  if (barrier_.came == 0) {
    barrier_.what = what;
    barrier_.site = site;
  } else if (barrier_.site.line != site.line || std::strcmp(barrier_.site.file, site.file) != 0) {
    cuda_emulator::mistake(
        "divergent barrier: threads of one block wait in %s at %s:%d and in %s at %s:%d",
        barrier_.what, barrier_.site.file, barrier_.site.line, what, site.file, site.line);
  }
  ++barrier_.came;
  barrier_.agreed += predicate;
  threads_[current_].state = State::kAtBarrier;
  threads_[current_].fiber = running_;
  if (barrier_.came == static_cast<int>(alive_)) release_block();
  wait(State::kAtBarrier);
  return barrier_.result;
}

void Block::pause() {
  paused_.push_back(current_);
  wait(State::kPausing);
}

Pipeline& Block::pipeline() {
  pipelines_used_ = true;
  return pipelines_[current_];
}

void Block::trap() {
  trapped_ = true;
  switch_away(main_);
  std::abort();  // nobody comes back to a thread that trapped
}

void Block::prepare(const Launch& launch) {
  if (shared_end_ == nullptr) {
    // The memory ends where a page that faults begins, so writing past it is found.
    const auto page = static_cast<size_t>(sysconf(_SC_PAGESIZE));
    const size_t size = (kMaxShared + page - 1) / page * page;
    void* memory = mmap(nullptr, size + page, PROT_READ | PROT_WRITE,
                        MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (memory == MAP_FAILED) throw std::bad_alloc();
    shared_end_ = static_cast<char*>(memory) + size;
    mprotect(shared_end_, page, PROT_NONE);
    ready_.reserve(kMaxThreads);
  }
  launch_ = &launch;
  body_ = &launch.body;
  shared_ = shared_end_ - (launch.shared + 127) / 128 * 128;
  gridDim = launch.grid;
  blockDim = launch.block;
  count_ = launch.block.x * launch.block.y * launch.block.z;
  unsigned thread = 0;
  for (unsigned z = 0; z < launch.block.z; ++z) {
    for (unsigned y = 0; y < launch.block.y; ++y) {
      for (unsigned x = 0; x < launch.block.x; ++x) coordinates_[thread++] = {x, y, z};
    }
  }
  std::iota(order_.begin(), order_.begin() + count_, 0u);
  order().arrange(order_.begin(), order_.begin() + count_);
}

bool Block::run_block() {
  std::memset(shared_, 0xAB, launch_->shared);
  for (unsigned i = 0; i * 32 < count_; ++i) {
    const unsigned lanes = std::min(32u, count_ - i * 32);
    warps_[i].alive = lanes == 32 ? 0xffffffffu : (1u << lanes) - 1;
  }
  if (order().kind() == Order::Kind::kRandom) {
    order().arrange(order_.begin(), order_.begin() + count_);
  }
  if (pipelines_used_) {
    for (Pipeline& pipeline : pipelines_) pipeline = {};
    pipelines_used_ = false;
  }
  alive_ = count_;
  begun_ = 0;
  running_ = &main_;
  switch_away(spare_fiber());
  if (!trapped_) return true;

  trapped_ = false;
  ready_.clear();
  paused_.clear();
  barrier_ = {};
  for (Warp& warp : warps_) warp.open.clear();
  spare_meetings_.clear();
  for (auto& meeting : meetings_) spare_meetings_.push_back(meeting.get());
  spare_.clear();
  for (auto& fiber : fibers_) {
    fiber->restart();
    spare_.push_back(fiber.get());
  }
  return false;
}

bool Block::run(const Launch& launch) {
  prepare(launch);
  const uint64_t x = launch.grid.x, y = launch.grid.y;
  const Order::Walk walk = order().walk(x * y * launch.grid.z);
  bool good = true;
  for (uint64_t i = 0; good && i < walk.count; ++i) {
    const uint64_t number = walk.at(i);
    blockIdx = {static_cast<unsigned>(number % x), static_cast<unsigned>(number / x % y),
                static_cast<unsigned>(number / (x * y))};
    good = run_block();
  }
  launch_ = nullptr;
  ++kernels_run;
  return good;
}

std::string plain_name(const char* mangled) {
  int status = 0;
  char* plain = abi::__cxa_demangle(mangled, nullptr, nullptr, &status);
  std::string name = status == 0 ? plain : mangled;
  std::free(plain);
  return name;
}

std::string Block::name() const {
  Dl_info info{};
  if (launch_->name.kernel == nullptr || dladdr(launch_->name.kernel, &info) == 0) {
    return plain_name(launch_->name.closure);
  }
  if (info.dli_sname != nullptr && info.dli_saddr == launch_->name.kernel) {
    return plain_name(info.dli_sname);
  }
  // A function that is not exported: `addr2line -Cfe file offset` tells its name.
  const auto offset =
      static_cast<const char*>(launch_->name.kernel) - static_cast<const char*>(info.dli_fbase);
  char place[32];
  std::snprintf(place, sizeof place, " (+0x%tx in ", offset);
  return plain_name(launch_->name.closure) + place + info.dli_fname + ")";
}

void Block::report_deadlock() {
  std::string text = "divergent barrier: nobody can go on.";
  char line[512];
  if (barrier_.came > 0) {
    std::snprintf(line, sizeof line, "\n  %d of %u living threads wait in %s at %s:%d",
                  barrier_.came, alive_, barrier_.what, barrier_.site.file, barrier_.site.line);
    text += line;
  }
  for (const Warp& warp : warps_) {
    for (const Meeting* meeting : warp.open) {
      std::snprintf(line, sizeof line,
                    "\n  warp %td: lanes %08x wait in %s at %s:%d for lanes %08x",
                    &warp - warps_.data(), meeting->arrived, meeting->what, meeting->site.file,
                    meeting->site.line, meeting->mask & warp.alive & ~meeting->arrived);
      text += line;
    }
  }
  cuda_emulator::mistake("%s", text.c_str());
}

void Block::mistake(const char* format, va_list arguments) {
  std::fflush(stdout);
  std::fputs("cuda emulator: ", stderr);
  if (launch_ != nullptr) {
    const dim3 grid = launch_->grid, size = launch_->block;
    std::fprintf(stderr,
                 "kernel %s <<<(%u,%u,%u), (%u,%u,%u), %zu>>>, block (%u,%u,%u), thread "
                 "(%u,%u,%u): ",
                 name().c_str(), grid.x, grid.y, grid.z, size.x, size.y, size.z, launch_->shared,
                 blockIdx.x, blockIdx.y, blockIdx.z, threadIdx.x, threadIdx.y, threadIdx.z);
  }
  std::vfprintf(stderr, format, arguments);
  std::fputc('\n', stderr);
  std::fflush(stderr);
  std::abort();
}

Block& inside(const char* what) {
  if (!block().inside()) mistake("%s: only a kernel may call it", what);
  return block();
}

}  // namespace

bool run_grid(const Launch& launch) {
  return block().run(launch);
}

uint64_t launches() {
  return kernels_run;
}

void* dynamic_shared() {
  return inside("dynamic_shared").shared();
}

unsigned lane() {
  return block().current() % 32;
}

Meeting& meet(uint32_t mask, const char* what, uint64_t value, Site site, Meeting::Finish finish) {
  return inside(what).meet(mask, what, value, site, finish);
}

void leave(Meeting& meeting) {
  block().leave(meeting);
}

Votes block_barrier(const char* what, bool predicate, Site site) {
  return inside(what).barrier(what, predicate, site);
}

void pause() {
  inside("__nanosleep").pause();
}

void trap() {
  inside("__trap").trap();
}

void mistake(const char* format, ...) {
  va_list arguments;
  va_start(arguments, format);
  block().mistake(format, arguments);
}

void copy_later(void* to, const void* from, size_t size, size_t zeros) {
  const auto addresses = reinterpret_cast<uintptr_t>(to) | reinterpret_cast<uintptr_t>(from);
  if ((size != 4 && size != 8 && size != 16) || zeros > size || addresses % size != 0) {
    mistake(
        "__pipeline_memcpy_async: %zu bytes (%zu of them zeros) from %p to %p; expected 4, 8 "
        "or 16, and addresses that are multiples of that",
        size, zeros, from, to);
  }
  inside("__pipeline_memcpy_async").pipeline().copies.push_back({to, from, size, zeros});
}

void copy_commit() {
  Pipeline& pipeline = inside("__pipeline_commit").pipeline();
  pipeline.ends.push_back(pipeline.copies.size());
}

void copy_wait(size_t batches_left) {
  Pipeline& pipeline = inside("__pipeline_wait_prior").pipeline();
  if (pipeline.ends.size() <= batches_left) return;
  const size_t batches = pipeline.ends.size() - batches_left;
  const size_t done = pipeline.ends[batches - 1];
  for (size_t i = 0; i < done; ++i) {
    const Copy& copy = pipeline.copies[i];
    std::memcpy(copy.to, copy.from, copy.size - copy.zeros);
    std::memset(static_cast<char*>(copy.to) + copy.size - copy.zeros, 0, copy.zeros);
  }
  pipeline.copies.erase(pipeline.copies.begin(),
                        pipeline.copies.begin() + static_cast<std::ptrdiff_t>(done));
  pipeline.ends.erase(pipeline.ends.begin(),
                      pipeline.ends.begin() + static_cast<std::ptrdiff_t>(batches));
  for (size_t& end : pipeline.ends) end -= done;
}

}  // namespace cuda_emulator
