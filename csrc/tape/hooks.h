// What users attach to nodes: functions that walks call, and rules of their own. Rare, so a node
// holds one pointer for all of it.
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <vector>

#include "core/tensor.h"

namespace wengert {

struct Node;
struct Saved;

class Hook {
 public:
  virtual ~Hook() = default;
  // The gradients may be replaced, none by one of another shape. `others`, where the hook comes
  // after the rule: the gradients by the node's outputs.
  virtual void call(std::vector<Tensor>& gradients, const std::vector<Tensor>& others) = 0;

  void remove() { removed_.store(true, std::memory_order_relaxed); }
  bool removed() const { return removed_.load(std::memory_order_relaxed); }

 private:
  std::atomic<bool> removed_{false};
};

// The rule of a node that was not recorded by an operation of the table.
class CustomRule {
 public:
  virtual ~CustomRule() = default;
  // As Rule::pull.
  virtual void pull(Node& node, std::vector<Tensor> grads, Tensor* out) = 0;
  // What it saved, where one who reads the tape may look.
  virtual std::vector<Saved>* saved_tensors() { return nullptr; }
  virtual void release() = 0;           // what it saved
  virtual void forget(Node& node) = 0;  // which is on its way out
};

enum class HookPoint : uint8_t {
  Tensor,       // the gradient by one output has arrived
  Before,       // those by all outputs have
  After,        // the rule has made the gradients by the inputs
  Accumulated,  // a leaf's gradient has been accumulated
};

struct NodeExtras {
  struct Entry {
    HookPoint point;
    uint32_t slot;  // of HookPoint::Tensor
    std::shared_ptr<Hook> hook;
  };
  struct Retained {
    bool asked = false;
    Tensor grad;
  };
  std::vector<Entry> hooks;
  std::vector<Retained> retained;  // by output
  std::shared_ptr<CustomRule> custom;
};

void add_hook(Node& node, HookPoint point, uint32_t slot, std::shared_ptr<Hook> hook);
bool has_hooks(const Node& node, HookPoint point);
// Those that were not removed, at all points.
std::vector<std::shared_ptr<Hook>> hooks_of(const Node& node);
void run_hooks(Node& node, HookPoint point, uint32_t slot, std::vector<Tensor>& gradients,
               const std::vector<Tensor>& others = {});

// Keeps the gradient by an output, as a leaf's is kept.
void retain_grad(const Tensor& t);
bool retains_grad(const Tensor& t);
// A result's gradient, and whether walks keep it.
NodeExtras::Retained& kept_of(const Tensor& t);

}  // namespace wengert
