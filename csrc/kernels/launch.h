// The one doorway between operations and numbers. An operation fills a Launch on the stack and
// calls launch(); what must see all work (capture, profiler, trace) observes it here and nowhere
// else.
#pragma once

#include "core/watch.h"
#include "kernels/kernels.h"

namespace wengert {

inline constexpr int kMaxBuffers = 10;

// A strided operand. Strides are in elements and belong to the launch's sizes; 0 repeats.
struct Buffer {
  void* data;
  const Storage* storage;
  DType dtype;
  int64_t stride[kMaxDims];
};

// Plain data: no owner, no string, no virtual call. Buffer 0 is the output unless the kernel says
// otherwise. Only the first ndim sizes and strides, and the first nbuffers buffers, are set.
struct Launch {
  KernelId kernel;
  DType dtype;  // which instance of the kernel
  Device device;
  bool dense;  // one dimension over which every buffer has stride 1
  uint8_t ndim;
  uint8_t nbuffers;
  int64_t count;  // product of size
  int64_t size[kMaxDims];
  union {
    double number[4];
    int64_t integer[4];
    const void* pointer;
  };
  union {
    int64_t more[8];
    double more_numbers[8];
  };
  Buffer buffer[kMaxBuffers];
};

// Whether ConvParams are behind the pointer.
inline bool is_conv(const Launch& l) {
  return id(Kernel::Conv) <= l.kernel && l.kernel <= id(Kernel::ConvGradWeight);
}

// Sees every launch of its thread, before it runs and when it has.
class LaunchObserver {
 public:
  virtual ~LaunchObserver() = default;
  virtual void on_launch(const Launch& l) = 0;
  virtual void on_done(const Launch&) {}
  // Whether it knows the first buffer as what is written: work that would write two then takes two
  // launches.
  virtual bool splits_results() const { return true; }
};
LaunchObserver* set_launch_observer(LaunchObserver* observer);  // returns the one before
LaunchObserver* launch_observer();  // of this thread; null where nobody looks

// What is done while one lives is nobody's to see: no part of a program, a profile or a trace.
class Unwatched {
 public:
  Unwatched() : watcher_(set_host_watcher(nullptr)), observer_(set_launch_observer(nullptr)) {}
  Unwatched(const Unwatched&) = delete;
  Unwatched& operator=(const Unwatched&) = delete;
  ~Unwatched() {
    set_launch_observer(observer_);
    set_host_watcher(watcher_);
  }

 private:
  HostWatcher* watcher_;
  LaunchObserver* observer_;
};

// Called around long kernels, so that a binding can let other threads of its language run.
struct LongKernelHooks {
  void* (*begin)();
  void (*end)(void* state);
};
void set_long_kernel_hooks(LongKernelHooks hooks);

// Runs it. Throws Error when the back end has no such kernel; kernels themselves never throw.
void launch(const Launch& l);

// The kernel that it runs; throws as launch does.
KernelFn kernel_of(const Launch& l);

// What a kernel is called in traces, such as "tanh" or "tanh.grad0".
std::string kernel_name(KernelId id);

}  // namespace wengert
