// The backward walk.
#pragma once

#include <span>
#include <unordered_set>
#include <vector>

#include "tape/node.h"

namespace wengert {

struct WalkOptions {
  bool retain_graph = false;
  bool create_graph = false;
  // Non-empty: only the gradients of these are computed, and returned instead of accumulated.
  std::span<const Tensor> inputs = {};
  // With inputs: the gradients have one more dimension, the first, and so have the results.
  bool batched = false;
};

// Pulls `grads` back from `roots`. Gradients are accumulated in the leaves, or, with inputs given,
// returned in `results`, one an input, undefined where an input is not reached.
void walk_back(std::span<const Tensor> roots, std::span<const Tensor> grads,
               const WalkOptions& options, Tensor* results);

// Whether the walk under way on this thread was asked for gradients by certain inputs alone.
bool walk_is_filtered();
// Its number; 0 outside of any. And whether it brings a node gradients, or has.
uint64_t walk_number();
bool walk_reaches(Node& node);
// Whether the walk under way on this thread needs the gradient of this node's outputs.
bool walk_wants(const Node& n);

// Whether `found` holds for a node that some nodes lead to, or for one of them.
template <class F>
bool any_behind(std::vector<Node*> open, const F& found) {
  std::unordered_set<const Node*> seen(open.begin(), open.end());
  while (!open.empty()) {
    Node* n = open.back();
    open.pop_back();
    if (found(*n)) return true;
    for (int i = 0; i < n->num_inputs; ++i) {
      Node* from = n->edges()[i].node.get();
      if (from && seen.insert(from).second) open.push_back(from);
    }
  }
  return false;
}

// While one lives, rules that this thread runs are outside of any walk under way and give every
// gradient.
class OutsideWalk {
 public:
  OutsideWalk();
  OutsideWalk(const OutsideWalk&) = delete;
  OutsideWalk& operator=(const OutsideWalk&) = delete;
  ~OutsideWalk();

 private:
  void* inside_;
};

// What the walk asks of the operations, which stand above it.
// The sum of two gradients: into have's buffer if `in_place`, or if nobody else can see it.
Tensor add_gradients(Tensor have, const Tensor& g, bool in_place);
// With `leading`, every dimension but that many of the first is summed to sizes.
Tensor sum_to_shape(const Tensor& g, const Dims& sizes, int leading = 0);
// Part i of a batch of gradients, and the batch from its parts.
Tensor part_of(const Tensor& batch, int64_t i);
Tensor batch_of(const std::vector<Tensor>& parts);
Tensor move_gradient(const Tensor& g, Device device);
Tensor copy_gradient(const Tensor& g);  // contiguous, sharing nothing

}  // namespace wengert
