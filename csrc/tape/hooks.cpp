#include "tape/hooks.h"

#include <utility>

#include "tape/node.h"

namespace wengert {
namespace {

NodeExtras& extras_of(Node& node) {
  if (!node.extras) node.extras = std::make_unique<NodeExtras>();
  return *node.extras;
}

}  // namespace

void add_hook(Node& node, HookPoint point, uint32_t slot, std::shared_ptr<Hook> hook) {
  auto& hooks = extras_of(node).hooks;
  std::erase_if(hooks, [](const NodeExtras::Entry& e) { return e.hook->removed(); });
  hooks.push_back({point, slot, std::move(hook)});
}

bool has_hooks(const Node& node, HookPoint point) {
  if (!node.extras) return false;
  for (const NodeExtras::Entry& e : node.extras->hooks) {
    if (e.point == point && !e.hook->removed()) return true;
  }
  return false;
}

std::vector<std::shared_ptr<Hook>> hooks_of(const Node& node) {
  std::vector<std::shared_ptr<Hook>> out;
  if (!node.extras) return out;
  for (const NodeExtras::Entry& e : node.extras->hooks) {
    if (!e.hook->removed()) out.push_back(e.hook);
  }
  return out;
}

void run_hooks(Node& node, HookPoint point, uint32_t slot, std::vector<Tensor>& gradients,
               const std::vector<Tensor>& others) {
  const auto hooks = node.extras->hooks;  // a hook may add others
  for (const NodeExtras::Entry& e : hooks) {
    if (e.point == point && e.slot == slot && !e.hook->removed()) e.hook->call(gradients, others);
  }
}

void retain_grad(const Tensor& t) {
  Node* n = node_of(t);
  if (!n || !n->active) {
    fail("retain_grad: can't retain_grad on a tensor that has requires_grad=False");
  }
  if (n->leaf) return;
  kept_of(t).asked = true;
}

NodeExtras::Retained& kept_of(const Tensor& t) {
  auto& retained = extras_of(*node_of(t)).retained;
  if (retained.size() <= t->slot) retained.resize(t->slot + 1);
  return retained[t->slot];
}

bool retains_grad(const Tensor& t) {
  const Node* n = node_of(t);
  return n && !n->leaf && n->extras && t->slot < n->extras->retained.size() &&
         n->extras->retained[t->slot].asked;
}

}  // namespace wengert
