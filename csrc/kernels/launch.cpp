#include "kernels/launch.h"

#include <array>
#include <string>
#include <string_view>
#include <utility>

#include "core/device_memory.h"
#include "kernels/added.h"
#include "kernels/cpu/cpu.h"
#include "kernels/cuda/cuda.h"

namespace wengert {
namespace {

thread_local LaunchObserver* observer = nullptr;
LongKernelHooks hooks{nullptr, nullptr};

// Also ends when a driver finds no memory for its scratch and throws.
struct LongKernel {
  void* state = hooks.begin();
  LongKernel() = default;
  LongKernel(const LongKernel&) = delete;
  LongKernel& operator=(const LongKernel&) = delete;
  ~LongKernel() { hooks.end(state); }
};

// Elements times passes from which a kernel counts as long: some 20 us of work.
constexpr int64_t kLongCount = 1 << 16;

bool is_long(const Launch& l) {
  if (l.kernel == id(Kernel::Gemm)) {
    const auto& p = *static_cast<const GemmParams*>(l.pointer);
    return l.count * p.m * p.n * p.k > (int64_t{1} << 20);
  }
  if (is_conv(l)) {
    return static_cast<const ConvParams*>(l.pointer)->macs() > 1 << 20;
  }
  return l.count > kLongCount;
}

const KernelTable* table(Device device) {
  return device == Device::CPU ? &cpu::table() : &cuda::table();
}

__attribute__((noinline, cold)) void no_kernel(const Launch& l) {
  fail(ErrorKind::NotImplemented, kernel_name(l.kernel), ": no ", name_of(l.device),
       " kernel for dtype ", name_of(l.dtype));
}

// A kernel reads the memory of its own device. That of the processor may hold a number for another
// device's kernel: an operand of one element.
__attribute__((noinline)) void check_devices(const Launch& l) {
  for (int k = 0; k < l.nbuffers; ++k) {
    const Storage* s = l.buffer[k].storage;
    if (!s || s->device == l.device || l.kernel == id(Kernel::Transfer)) continue;
    if (s->device == Device::CPU && k > 0 && cuda::takes_number(l, k)) continue;
    devices_differ(l.device, s->device, kernel_name(l.kernel));
  }
}

inline void run(const Launch& l, KernelFn fn) {
  if (is_long(l) && hooks.begin) {
    const LongKernel during;
    fn(l);
  } else {
    fn(l);
  }
}

__attribute__((noinline, cold)) void run_observed(const Launch& l, KernelFn fn) {
  observer->on_launch(l);
  run(l, fn);
  if (observer) observer->on_done(l);
}

template <class... Fs>
constexpr auto functor_names(TypeList<Fs...>) {
  return std::array<const char*, sizeof...(Fs)>{Fs::name...};
}

// What kernels.h calls a kernel, as the compiler spells it in the name of an instance of this
// function: "... K = wengert::Kernel::SoftmaxGrad" and then ';' or ']'.
template <Kernel K>
constexpr auto enumerator() {
  std::string_view name = __PRETTY_FUNCTION__;
  constexpr std::string_view before = "Kernel::";
  name.remove_prefix(name.rfind(before) + before.size());
  return name.substr(0, name.find_first_of(";]"));
}
static_assert(enumerator<Kernel::SoftmaxGrad>() == "SoftmaxGrad");

template <size_t... I>
constexpr auto enumerators(std::index_sequence<I...>) {
  return std::array{enumerator<static_cast<Kernel>(id(Kernel::Copy) + I)>()...};
}

// "LogSoftmaxGrad" as "log_softmax.grad"
std::string as_words(std::string_view enumerator) {
  std::string out;
  for (const char c : enumerator) {
    const bool capital = 'A' <= c && c <= 'Z';
    if (capital && !out.empty()) out += '_';
    out += capital ? static_cast<char>(c - 'A' + 'a') : c;
  }
  if (out.ends_with("_grad")) out[out.size() - std::size("grad")] = '.';
  return out;
}

}  // namespace

LaunchObserver* launch_observer() {
  return observer;
}
LaunchObserver* set_launch_observer(LaunchObserver* o) {
  return std::exchange(observer, o);
}
void set_long_kernel_hooks(LongKernelHooks h) {
  hooks = h;
}

KernelFn kernel_of(const Launch& l) {
  const KernelFn fn = l.kernel < kNumKernels ? table(l.device)->at(l.kernel, l.dtype) : added_fn(l);
  if (!fn) [[unlikely]] {
    if (l.device != Device::CPU && l.kernel >= kNumKernels) return &cuda::run_on_host;
    no_kernel(l);
  }
  return fn;
}

void launch(const Launch& l) {
  const KernelFn fn = kernel_of(l);
  if (device_memory_in_use()) [[unlikely]]
    check_devices(l);
  if (observer) [[unlikely]] {
    run_observed(l, fn);
  } else {
    run(l, fn);
  }
}

std::string kernel_name(KernelId k) {
  static constexpr auto functors = functor_names(MapFunctors{});
  static constexpr auto reductions = functor_names(Reductions{});
  static constexpr auto others =
      enumerators(std::make_index_sequence<kNumKernels - id(Kernel::Copy)>{});
  if (k >= kNumKernels) return added_name(k);
  if (k >= id(Kernel::Copy)) return as_words(others[k - id(Kernel::Copy)]);
  if (k >= kFirstReduction) return reductions[k - kFirstReduction];
  std::string name = functors[k / kIdsPerFunctor];
  if (const int part = k % kIdsPerFunctor) name += ".grad" + std::to_string(part - 1);
  return name;
}

}  // namespace wengert
