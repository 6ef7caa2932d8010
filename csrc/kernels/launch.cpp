#include "kernels/launch.h"

#include <array>
#include <string>
#include <utility>

#include "kernels/cpu/cpu.h"

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
  return l.count > kLongCount;
}

const KernelTable* table(Device device) {
  static const KernelTable none;
  return device == Device::CPU ? &cpu::table() : &none;
}

__attribute__((noinline, cold)) void no_kernel(const Launch& l) {
  fail(ErrorKind::NotImplemented, kernel_name(l.kernel), ": no ", name_of(l.device),
       " kernel for dtype ", name_of(l.dtype));
}

template <class... Fs>
constexpr auto functor_names(TypeList<Fs...>) {
  return std::array<const char*, sizeof...(Fs)>{Fs::name...};
}

}  // namespace

LaunchObserver* set_launch_observer(LaunchObserver* o) {
  return std::exchange(observer, o);
}
void set_long_kernel_hooks(LongKernelHooks h) {
  hooks = h;
}

void launch(const Launch& l) {
  const KernelFn fn = table(l.device)->at(l.kernel, l.dtype);
  if (!fn) [[unlikely]]
    no_kernel(l);
  if (observer) [[unlikely]]
    observer->on_launch(l);
  if (is_long(l) && hooks.begin) {
    const LongKernel during;
    fn(l);
  } else {
    fn(l);
  }
}

std::string kernel_name(KernelId k) {
  static constexpr auto functors = functor_names(MapFunctors{});
  static constexpr auto reductions = functor_names(Reductions{});
  static constexpr int first = static_cast<int>(Kernel::Copy);
  static constexpr const char* others[] = {"copy",
                                           "fill",
                                           "gemm",
                                           "softmax",
                                           "log_softmax",
                                           "softmax.grad",
                                           "log_softmax.grad",
                                           "cross_entropy",
                                           "cross_entropy.grad",
                                           "gather",
                                           "scatter",
                                           "scatter_reduce",
                                           "index_offsets",
                                           "nonzero_count",
                                           "nonzero",
                                           "isin",
                                           "cumsum",
                                           "cumprod",
                                           "logcumsumexp",
                                           "cummax",
                                           "cummin",
                                           "recurrence",
                                           "sort",
                                           "topk",
                                           "select",
                                           "searchsorted",
                                           "arange",
                                           "linspace",
                                           "uniform",
                                           "normal",
                                           "log_normal",
                                           "exponential",
                                           "geometric",
                                           "cauchy",
                                           "bernoulli",
                                           "randint",
                                           "dropout",
                                           "poisson",
                                           "multinomial",
                                           "optimizer_step",
                                           "lu",
                                           "cholesky",
                                           "solve_triangular",
                                           "qr",
                                           "eigh",
                                           "svd"};
  static_assert(std::size(others) == kNumKernels - first);
  if (k >= first) return others[k - first];
  if (k >= kFirstReduction) return reductions[k - kFirstReduction];
  std::string name = functors[k / kIdsPerFunctor];
  if (const int part = k % kIdsPerFunctor) name += ".grad" + std::to_string(part - 1);
  return name;
}

}  // namespace wengert
