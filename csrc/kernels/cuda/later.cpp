// Checks of tensors on the device, which throw on the host: their tensors are copied on the way,
// and looked at when the copies are there, at the next place where the host waits for the device
// anyway. Kernels stay within their memory whatever they find, so that what is wrong is told late
// and harms nothing else.
#include <cstring>
#include <deque>
#include <mutex>

#include "core/error.h"
#include "kernels/cuda/device.h"
#include "kernels/cuda/state.h"

namespace wengert::cuda {
namespace {

struct Pending {
  const CheckRule* rule;
  CheckFacts facts;
  std::string text[2];
  std::vector<Tensor> of;
  cudaEvent_t copied = nullptr;
};

constexpr size_t kMostPending = 256;
constexpr size_t kLargest = 1 << 16;  // bytes that are copied of a tensor that can be held instead

struct Later {
  std::mutex lock;
  std::deque<Pending> pending;
  std::vector<cudaEvent_t> events;  // to use again
};
Later& later() {
  static auto* l = new Later;
  return *l;
}

cudaEvent_t take_event(Later& l) {
  if (!l.events.empty()) {
    cudaEvent_t e = l.events.back();
    l.events.pop_back();
    return e;
  }
  return event_of(make_event(false));
}

}  // namespace

void check_later(const CheckRule& rule, std::span<const Tensor> of, const CheckFacts& facts) {
  const Unwatched unseen;
  Later& l = later();
  const bool full = [&] {
    const std::scoped_lock locked(l.lock);
    Pending p{&rule, facts, {}, {}, nullptr};
    for (int i = 0; i < 2; ++i) p.text[i] = facts.text[i] ? facts.text[i] : "";
    for (const Tensor& t : of) {
      const size_t bytes = t.extent();
      // What is only looked at to say what was wrong.
      if (bytes > kLargest && t->storage) {
        p.of.push_back(t);
        continue;
      }
      p.of.push_back(empty_pinned(t, t.strides()));
      if (!bytes) continue;
      void* to = p.of.back().data();
      if (t.device() == Device::CPU) {
        std::memcpy(to, t.data(), bytes);
      } else {
        check(cudaMemcpyAsync(to, t.data(), bytes, cudaMemcpyDeviceToHost, stream()), rule.name);
        pinned_is_used(to);
      }
    }
    p.copied = take_event(l);
    check(cudaEventRecord(p.copied, stream()), rule.name);
    l.pending.push_back(std::move(p));
    return l.pending.size() > kMostPending;
  }();
  look_at_checks(launches_block() || full);
}

void look_at_checks(bool wait) {
  Later& l = later();
  for (;;) {
    Pending p;
    {
      const std::scoped_lock locked(l.lock);
      if (l.pending.empty()) return;
      cudaEvent_t e = l.pending.front().copied;
      if (wait) {
        check(cudaEventSynchronize(e), "check");
      } else if (cudaEventQuery(e) != cudaSuccess) {
        cudaGetLastError();
        return;
      }
      p = std::move(l.pending.front());
      l.pending.pop_front();
      l.events.push_back(p.copied);
    }
    for (int i = 0; i < 2; ++i) p.facts.text[i] = p.text[i].c_str();
    const Unwatched unseen;
    p.rule->check(p.of, p.facts);
  }
}

}  // namespace wengert::cuda
