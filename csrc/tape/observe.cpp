#include "tape/observe.h"

#include <pthread.h>

#include <algorithm>
#include <mutex>
#include <new>
#include <unordered_map>
#include <utility>

namespace wengert {
namespace {

thread_local std::shared_ptr<TapeObserver> current;

struct Watch {
  const TapeObserver* key;
  std::weak_ptr<TapeObserver> observer;
};

// Who watches which node. The lock is held for a look-up alone, never while an observer runs.
struct Registry {
  std::mutex lock;
  std::unordered_multimap<const Node*, Watch> watches;
};
Registry& registry() {
  static auto* made = [] {
    auto* r = new Registry;
    pthread_atfork([] { registry().lock.lock(); }, [] { registry().lock.unlock(); },
                   [] { registry().lock.unlock(); });
    return r;
  }();
  return *made;
}

std::vector<std::shared_ptr<TapeObserver>> watchers(const Node& node) {
  Registry& r = registry();
  const std::lock_guard hold(r.lock);
  std::vector<std::shared_ptr<TapeObserver>> out;
  const auto [first, last] = r.watches.equal_range(&node);
  for (auto it = first; it != last; ++it) {
    if (auto observer = it->second.observer.lock()) out.push_back(std::move(observer));
  }
  return out;
}

}  // namespace

std::shared_ptr<TapeObserver> set_recorder(std::shared_ptr<TapeObserver> observer) {
  has_recorder = observer != nullptr;
  return std::exchange(current, std::move(observer));
}
const std::shared_ptr<TapeObserver>& recorder() {
  return current;
}

void watch(Node& node, const std::shared_ptr<TapeObserver>& observer) {
  Registry& r = registry();
  const std::lock_guard hold(r.lock);
  r.watches.insert({&node, {observer.get(), observer}});
  node.watched.store(true, std::memory_order_relaxed);
}

void unwatch(Node& node, const TapeObserver* observer) {
  Registry& r = registry();
  const std::lock_guard hold(r.lock);
  const auto [first, last] = r.watches.equal_range(&node);
  const auto it =
      std::find_if(first, last, [&](const auto& entry) { return entry.second.key == observer; });
  if (it == last) return;
  r.watches.erase(it);
  if (!r.watches.contains(&node)) node.watched.store(false, std::memory_order_relaxed);
}

void tell_adjoint(Node& node, const Tensor& first, const std::vector<Tensor>& more) {
  std::vector<const Tensor*> grads{&first};
  for (const Tensor& g : more) grads.push_back(&g);
  for (const auto& observer : watchers(node)) observer->on_adjoint(node, grads.data());
}

void tell_pulled(Node& node, const std::vector<Tensor>& out) {
  int count = 0;
  for (int i = 0; i < node.num_inputs; ++i) {
    count += out[static_cast<size_t>(i)].defined() && node.edges()[i].node;
  }
  for (const auto& observer : watchers(node)) observer->on_pulled(node, count);
}

void tell_recorder(Node& node, const Tensor* const* inputs, const Tensor* outputs) {
  const std::shared_ptr<TapeObserver> observer = current;
  observer->on_record(node, inputs, outputs);
}

}  // namespace wengert
