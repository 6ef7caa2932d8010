// Stacks that take turns on one thread of the operating system.
#pragma once

#include <cstddef>

#if !(defined(__linux__) && (defined(__x86_64__) || defined(__aarch64__)))
#define WENGERT_EMULATOR_UCONTEXT 1
#endif
#ifdef WENGERT_EMULATOR_UCONTEXT
#include <ucontext.h>
#endif

namespace cuda_emulator {

class Fiber {
 public:
  using Entry = void (*)();

  /// The stack of the caller itself, to which others switch back.
  Fiber() = default;
  /// A stack of its own with a page below it that faults; `entry` runs at the first switch and
  /// never returns.
  explicit Fiber(Entry entry);
  ~Fiber();
  Fiber(const Fiber&) = delete;
  Fiber& operator=(const Fiber&) = delete;

  /// Leaves `this`, which must be running, for `to`.
  void switch_to(Fiber& to);

  /// Forgets what the fiber was doing: it starts anew at its entry.
  void restart();

 private:
  void begin_switch(const Fiber& to);
  void end_switch();
  void forget();
  static void start();

  Entry entry_ = nullptr;
  char* memory_ = nullptr;
  size_t colour_ = 0;
#ifdef WENGERT_EMULATOR_UCONTEXT
  ucontext_t context_{};
#else
  void* top_ = nullptr;  // the saved stack pointer
#endif
  // For the address sanitizer, which wants to know where the stacks are.
  void* shadow_ = nullptr;
  const void* bottom_ = nullptr;
  size_t size_ = 0;
};

}  // namespace cuda_emulator
