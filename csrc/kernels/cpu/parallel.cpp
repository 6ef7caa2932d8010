// The thread pool behind parallel_for: worker threads that spin briefly and then sleep, one mailbox
// each, and the rules for forking and for leaving the process. Read parallel.h first; below, `Pool`
// is the state, `work` the worker's life, `run_region` the caller's, and the rest is start and
// stop.
//
// One mutex is the whole protocol: who holds it owns the workers. A caller that cannot have it at
// once (nested, another thread's region, a fork under way) runs its work itself.

#include "kernels/cpu/parallel.h"

#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <mutex>
#include <new>
#include <string>
#include <system_error>
#include <thread>

namespace wengert {
namespace {

constexpr int kMaxThreads = 1024;

// How long a worker looks at its mailbox before it sleeps, and a caller at the count of unfinished
// ranges. Measured on Zen 5 in a virtual machine: handing over to a spinning worker and back takes
// 0.1 to 0.4 us, to a sleeping one 30 us; successive kernels of a training step are 1 to 10 us
// apart.
constexpr auto kSpinTime = std::chrono::microseconds(10);
// After this long it offers its CPU to others between looks: when the system has put both threads
// on one CPU, waiting without yielding takes 24 us a region.
constexpr auto kSelfishTime = std::chrono::microseconds(2);
constexpr int kPausesPerClockRead = 16;  // a clock read costs about as much as one pause

void pause() {
#if defined(__x86_64__)
  __builtin_ia32_pause();
#elif defined(__aarch64__)
  asm volatile("yield");
#endif
}

// Returns once `word` is no longer `old`: a short spin, then sleep.
template <class Int>
void wait_while(const std::atomic<Int>& word, Int old) {
  using Clock = std::chrono::steady_clock;
  const auto start = Clock::now();
  for (auto waited = Clock::duration::zero(); waited < kSpinTime; waited = Clock::now() - start) {
    for (int i = 0; i < kPausesPerClockRead; ++i) {
      if (word.load(std::memory_order_acquire) != old) return;
      pause();
    }
    if (waited > kSelfishTime) std::this_thread::yield();
  }
  word.wait(old, std::memory_order_acquire);
}

struct alignas(64) Mailbox {
  std::atomic<int> letters{0};    // each increment is one order
  std::atomic<int> begun{0};      // the last order that somebody has taken on
  const RangeFn* body = nullptr;  // null: leave
  int64_t begin = 0;
  int64_t end = 0;
};

// Whether the caller of this is the one who carries out an order. The one who gave it takes it back
// so if the worker has not begun: a worker that the system has put on its caller's CPU would hold
// up the region for a time slice (seen here: 140 us instead of 67 for a 256 x 256 product).
bool take_on(Mailbox& mail, int order) {
  int before = order - 1;
  return mail.begun.compare_exchange_strong(before, order);
}

struct Worker {
  Mailbox mail;
  std::thread thread;
};

// The workers of one process. A forked child keeps its parent's crew unused (its threads do not
// exist there, so they can be neither joined nor detached) and hires its own.
struct Crew {
  std::unique_ptr<Worker> workers[kMaxThreads];
  int size = 0;
  Crew* abandoned = nullptr;
};

struct Pool {
  std::mutex owner;  // held for the length of a region, of a fork, and of shutting down
  Crew* crew = nullptr;
  std::atomic<int> started{0};
  // Threads that wait to fork. Regions leave them the mutex, which is not fair: a thread that runs
  // one region after the other would keep them waiting for seconds.
  std::atomic<int> forking{0};
  bool fork_hooks = false;
  bool closed = false;
  alignas(64) std::atomic<int> unfinished{0};

  pid_t process = getpid();

  ~Pool();
};

Pool& pool() {
  static Pool instance;
  return instance;
}

// Set on workers for life, and on a caller during its region.
thread_local bool in_region = false;
thread_local bool fork_holds_owner = false;

void work(Worker* self) {
  in_region = true;
  Pool& p = pool();
  Mailbox& mail = self->mail;
  for (int seen = 0;; ++seen) {
    wait_while(mail.letters, seen);
    if (!take_on(mail, seen + 1)) continue;
    if (mail.body == nullptr) return;
    (*mail.body)(mail.begin, mail.end);
    if (p.unfinished.fetch_sub(1) == 1) p.unfinished.notify_one();
  }
}

void post(Worker& w, const RangeFn* body, int64_t begin, int64_t end) {
  w.mail.body = body;
  w.mail.begin = begin;
  w.mail.end = end;
  w.mail.letters.fetch_add(1);  // sequentially consistent: notify_one looks for sleepers after it
  w.mail.letters.notify_one();
}

void before_fork() {
  if (in_region) return;
  pool().forking.fetch_add(1);
  pool().owner.lock();
  pool().forking.fetch_sub(1);
  fork_holds_owner = true;
}
void after_fork_in_parent() {
  if (!fork_holds_owner) return;
  fork_holds_owner = false;
  pool().owner.unlock();
}
void after_fork_in_child() {
  Pool& p = pool();
  if (p.crew != nullptr && p.crew->size > 0) {
    if (Crew* fresh = new (std::nothrow) Crew; fresh != nullptr) {
      fresh->abandoned = p.crew;  // reachable, so that leak checkers stay quiet
      p.crew = fresh;
    } else {
      p.closed = true;
    }
  }
  p.started.store(0);
  p.unfinished.store(0);
  p.process = getpid();
  p.forking.store(0);  // others that waited are not in this process
  after_fork_in_parent();
}

// Called by the owner: makes the crew `wanted` strong, or as strong as the system lets it.
int hire(Pool& p, int wanted) {
  if (p.closed) return 0;
  if (p.crew == nullptr) p.crew = new (std::nothrow) Crew;
  if (p.crew == nullptr) return 0;
  Crew& crew = *p.crew;
  if (crew.size >= wanted) return wanted;
  if (!p.fork_hooks) {
    if (pthread_atfork(before_fork, after_fork_in_parent, after_fork_in_child) != 0) return 0;
    p.fork_hooks = true;
  }
  // Signals are for the program's own threads.
  sigset_t all, before;
  sigfillset(&all);
  pthread_sigmask(SIG_SETMASK, &all, &before);
  try {
    while (crew.size < wanted) {
      auto w = std::make_unique<Worker>();
      w->thread = std::thread(work, w.get());
      crew.workers[crew.size++] = std::move(w);
    }
  } catch (const std::exception&) {  // no thread or no memory to be had: go on with fewer
  }
  pthread_sigmask(SIG_SETMASK, &before, nullptr);
  p.started.store(crew.size);
  return crew.size;
}

Pool::~Pool() {
  // A fork that began before the hooks were there may have copied the mutex locked.
  if (getpid() != process) return;
  if (in_region) return;  // exit() was called by a kernel: nobody can be waited for
  std::lock_guard lock(owner);
  closed = true;
  if (crew == nullptr) return;
  for (int i = 0; i < crew->size; ++i) post(*crew->workers[i], nullptr, 0, 0);
  for (int i = 0; i < crew->size; ++i) {
    crew->workers[i]->thread.join();
    crew->workers[i].reset();
  }
  crew->size = 0;
  started.store(0);
}

void run_region(Pool& p, int parts, int64_t n, const RangeFn& body) {
  parts = 1 + hire(p, parts - 1);
  const int64_t share = n / parts, extra = n % parts;
  const auto cut = [&](int64_t i) { return i * share + std::min(i, extra); };
  p.unfinished.store(parts - 1, std::memory_order_relaxed);
  for (int i = 1; i < parts; ++i) post(*p.crew->workers[i - 1], &body, cut(i), cut(i + 1));
  in_region = true;
  body(0, cut(1));
  for (int i = 1; i < parts; ++i) {
    Mailbox& mail = p.crew->workers[i - 1]->mail;
    if (!take_on(mail, mail.letters.load(std::memory_order_relaxed))) continue;
    body(cut(i), cut(i + 1));
    p.unfinished.fetch_sub(1);
  }
  in_region = false;
  for (int left; (left = p.unfinished.load(std::memory_order_acquire)) != 0;) {
    wait_while(p.unfinished, left);
  }
}

// ---- how many threads --------------------------------------------------------------------------

// Reads up to two numbers from a small file; a word ("max") counts as -1. Returns how many.
int read_numbers(const std::string& path, double out[2]) {
  std::FILE* f = std::fopen(path.c_str(), "r");
  if (f == nullptr) return 0;
  int count = 0;
  for (char word[64]; count < 2 && std::fscanf(f, "%63s", word) == 1;) {
    char* end = nullptr;
    const double v = std::strtod(word, &end);
    out[count++] = end == word ? -1 : v;
  }
  std::fclose(f);
  return count;
}

// The CPUs that control groups grant, rounded up; kMaxThreads if they set no limit.
int cgroup_cpus() {
  double cpus = kMaxThreads;
  const auto grant = [&](double quota, double period) {
    if (quota > 0 && period > 0) cpus = std::min(cpus, quota / period);
  };
  const auto look_in = [&](const std::string& dir) {
    double v[2], period[2];
    if (read_numbers(dir + "/cpu.max", v) == 2) grant(v[0], v[1]);  // version 2
    if (read_numbers(dir + "/cpu.cfs_quota_us", v) >= 1 &&          // version 1
        read_numbers(dir + "/cpu.cfs_period_us", period) >= 1) {
      grant(v[0], period[0]);
    }
  };
  look_in("/sys/fs/cgroup");
  look_in("/sys/fs/cgroup/cpu");
  std::FILE* f = std::fopen("/proc/self/cgroup", "r");
  if (f == nullptr) return static_cast<int>(cpus + 0.999);
  // Lines are "id:controllers:path"; a limit may sit on the group or on any group above it.
  for (char line[4096]; std::fgets(line, sizeof line, f) != nullptr;) {
    line[std::strcspn(line, "\n")] = 0;
    char* controllers = std::strchr(line, ':');
    char* path = controllers != nullptr ? std::strchr(controllers + 1, ':') : nullptr;
    if (path == nullptr) continue;
    const std::string names(controllers + 1, path);
    const bool v2 = names.empty();
    if (!v2 && ("," + names + ",").find(",cpu,") == std::string::npos) continue;
    const std::string root = v2 ? "/sys/fs/cgroup" : "/sys/fs/cgroup/cpu";
    for (std::string group(path + 1); group.size() > 1; group.resize(group.rfind('/'))) {
      look_in(root + group);
      if (group.rfind('/') == std::string::npos) break;
    }
  }
  std::fclose(f);
  return std::max(1, static_cast<int>(cpus + 0.999));
}

int default_threads() {
  if (const char* text = std::getenv("WENGERT_NUM_THREADS"); text != nullptr) {
    const long asked = std::strtol(text, nullptr, 10);
    if (asked >= 1) return static_cast<int>(std::min<long>(asked, kMaxThreads));
  }
  int n = static_cast<int>(std::thread::hardware_concurrency());
  if (n < 1) n = 1;
#if defined(__linux__)
  cpu_set_t set;
  if (sched_getaffinity(0, sizeof set, &set) == 0) n = std::min(n, CPU_COUNT(&set));
#endif
  return std::clamp(std::min(n, cgroup_cpus()), 1, kMaxThreads);
}

std::atomic<int> thread_limit{0};  // 0: not asked yet

}  // namespace

int num_threads() {
  int n = thread_limit.load(std::memory_order_relaxed);
  if (n == 0) {
    int expected = 0;
    n = default_threads();
    if (!thread_limit.compare_exchange_strong(expected, n)) n = expected;
  }
  return n;
}

void set_num_threads(int n) {
  thread_limit.store(std::clamp(n, 1, kMaxThreads));
}

bool pool_started() {
  return pool().started.load() > 0;
}

void parallel_for(int64_t n, int64_t grain, RangeFn body) {
  if (n <= 0) return;
  const int64_t most = n / std::max<int64_t>(grain, 1);  // ranges of at least `grain` items
  if (most > 1 && !in_region) {
    const int parts = static_cast<int>(std::min<int64_t>(most, num_threads()));
    Pool& p = pool();
    if (parts > 1 && p.forking.load(std::memory_order_relaxed) == 0 && p.owner.try_lock()) {
      std::lock_guard lock(p.owner, std::adopt_lock);
      run_region(p, parts, n, body);
      return;
    }
  }
  body(0, n);
}

}  // namespace wengert
