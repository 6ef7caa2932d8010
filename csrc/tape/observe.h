// Those who read the tape: told of what a thread records, and of the gradients that a walk brings
// to the nodes they watch. Where nobody watches, this costs a branch.
#pragma once

#include <memory>
#include <vector>

#include "tape/node.h"

namespace wengert {

class TapeObserver {
 public:
  virtual ~TapeObserver() = default;
  // This thread recorded an operation; the node has its edges, but has not saved anything yet.
  virtual void on_record(Node& node, const Tensor* const* inputs, const Tensor* outputs) = 0;
  // In a walk, on any thread: every gradient by the node's outputs has arrived (undefined where
  // none came), and its rule is about to run.
  virtual void on_adjoint(Node& node, const Tensor* const* grads) = 0;
  // The rule has run, and made so many gradients of that for the node's inputs.
  virtual void on_pulled(Node& node, int count) = 0;
};

// Who is told of what this thread records; returns who was.
std::shared_ptr<TapeObserver> set_recorder(std::shared_ptr<TapeObserver> observer);
const std::shared_ptr<TapeObserver>& recorder();

// Who is told of a node's gradients. The node must outlive the watch; the observer need not.
void watch(Node& node, const std::shared_ptr<TapeObserver>& observer);
void unwatch(Node& node, const TapeObserver* observer);

// For the walk, of watched nodes.
void tell_adjoint(Node& node, const Tensor& first, const std::vector<Tensor>& more);
void tell_pulled(Node& node, const std::vector<Tensor>& out);
// For record().
void tell_recorder(Node& node, const Tensor* const* inputs, const Tensor* outputs);
inline thread_local bool has_recorder = false;

}  // namespace wengert
