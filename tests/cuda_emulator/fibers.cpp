#include "fibers.h"

#include <sys/mman.h>
#include <unistd.h>

#include <cstdint>
#include <cstdlib>
#include <new>

#ifdef __SANITIZE_ADDRESS__
#include <sanitizer/asan_interface.h>
#include <sanitizer/common_interface_defs.h>
#endif

#ifndef WENGERT_EMULATOR_UCONTEXT
// Saves what a called function must keep, changes stacks, and returns there.
extern "C" void wengert_emulator_switch(void** save, void* to);

#if defined(__x86_64__)
asm(R"(
.text
.globl wengert_emulator_switch
.hidden wengert_emulator_switch
.type wengert_emulator_switch, @function
wengert_emulator_switch:
  pushq %rbp
  pushq %rbx
  pushq %r12
  pushq %r13
  pushq %r14
  pushq %r15
  movq %rsp, (%rdi)
  movq %rsi, %rsp
  popq %r15
  popq %r14
  popq %r13
  popq %r12
  popq %rbx
  popq %rbp
  ret
.size wengert_emulator_switch, .-wengert_emulator_switch
)");
#else
asm(R"(
.text
.globl wengert_emulator_switch
.hidden wengert_emulator_switch
.type wengert_emulator_switch, %function
wengert_emulator_switch:
  sub sp, sp, #160
  stp x19, x20, [sp, #0]
  stp x21, x22, [sp, #16]
  stp x23, x24, [sp, #32]
  stp x25, x26, [sp, #48]
  stp x27, x28, [sp, #64]
  stp x29, x30, [sp, #80]
  stp d8, d9, [sp, #96]
  stp d10, d11, [sp, #112]
  stp d12, d13, [sp, #128]
  stp d14, d15, [sp, #144]
  mov x9, sp
  str x9, [x0]
  mov sp, x1
  ldp x19, x20, [sp, #0]
  ldp x21, x22, [sp, #16]
  ldp x23, x24, [sp, #32]
  ldp x25, x26, [sp, #48]
  ldp x27, x28, [sp, #64]
  ldp x29, x30, [sp, #80]
  ldp d8, d9, [sp, #96]
  ldp d10, d11, [sp, #112]
  ldp d12, d13, [sp, #128]
  ldp d14, d15, [sp, #144]
  add sp, sp, #160
  ret
.size wengert_emulator_switch, .-wengert_emulator_switch
)");
#endif
#endif

namespace cuda_emulator {

namespace {

#ifdef __SANITIZE_ADDRESS__
constexpr size_t kStack = 512 * 1024;  // the sanitizer's frames are larger
#else
constexpr size_t kStack = 256 * 1024;
#endif

// Kernels run under the emulator's lock, so one variable says who is starting.
Fiber* starting = nullptr;
Fiber* left = nullptr;

size_t page() {
  static const auto size = static_cast<size_t>(sysconf(_SC_PAGESIZE));
  return size;
}

}  // namespace

Fiber::Fiber(Entry entry) : entry_(entry) {
  // Stacks that all begin at the same place of a page would fight for the same lines of the cache.
  static size_t made = 0;
  colour_ = made++ % 64 * 64;
  void* memory = mmap(nullptr, page() + kStack, PROT_READ | PROT_WRITE,
                      MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (memory == MAP_FAILED) throw std::bad_alloc();
  memory_ = static_cast<char*>(memory);
  mprotect(memory_, page(), PROT_NONE);
  bottom_ = memory_ + page();
  size_ = kStack;
  restart();
}

Fiber::~Fiber() {
  if (memory_ != nullptr) munmap(memory_, page() + kStack);
}

void Fiber::forget() {
  shadow_ = nullptr;
#ifdef __SANITIZE_ADDRESS__
  __asan_unpoison_memory_region(memory_ + page(), kStack);
#endif
}

void Fiber::start() {
  Fiber* self = starting;
  self->end_switch();
  self->entry_();
  std::abort();  // an entry does not return
}

void Fiber::begin_switch([[maybe_unused]] const Fiber& to) {
  left = this;
#ifdef __SANITIZE_ADDRESS__
  __sanitizer_start_switch_fiber(&shadow_, to.bottom_, to.size_);
#endif
}

void Fiber::end_switch() {
#ifdef __SANITIZE_ADDRESS__
  __sanitizer_finish_switch_fiber(shadow_, &left->bottom_, &left->size_);
#endif
}

#ifdef WENGERT_EMULATOR_UCONTEXT

void Fiber::restart() {
  forget();
  getcontext(&context_);
  context_.uc_stack.ss_sp = memory_ + page();
  context_.uc_stack.ss_size = kStack - colour_;
  context_.uc_link = nullptr;
  makecontext(&context_, &Fiber::start, 0);
}

void Fiber::switch_to(Fiber& to) {
  starting = &to;
  begin_switch(to);
  swapcontext(&context_, &to.context_);
  end_switch();
}

#else

void Fiber::restart() {
  forget();
  auto* slots = reinterpret_cast<uintptr_t*>(memory_ + page() + kStack - colour_);
  const auto address = reinterpret_cast<uintptr_t>(&Fiber::start);
#if defined(__x86_64__)
  *--slots = 0;  // where start would return: the stack is then as after a call
  *--slots = address;
  for (int i = 0; i < 6; ++i) *--slots = 0;
#else
  slots -= 20;
  for (int i = 0; i < 20; ++i) slots[i] = 0;
  slots[11] = address;  // x30, the register that ret goes to
#endif
  top_ = slots;
}

void Fiber::switch_to(Fiber& to) {
  starting = &to;
  begin_switch(to);
  wengert_emulator_switch(&top_, to.top_);
  end_switch();
}

#endif

}  // namespace cuda_emulator
