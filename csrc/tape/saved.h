// Saved tensors that are kept in a way of the user's: hooks turn one into something else when an
// operation saves it, and back when a rule reads it. Where none are set, saving costs a branch.
#pragma once

#include <memory>

#include "tape/node.h"

namespace wengert {

// What a hook made of a tensor.
class PackedTensor {
 public:
  virtual ~PackedTensor() = default;
  virtual Tensor unpack() = 0;
};

class SavedTensorHooks {
 public:
  virtual ~SavedTensorHooks() = default;
  virtual std::shared_ptr<PackedTensor> pack(const Tensor& t) = 0;
  // The memory of t is about to be changed in place.
  virtual void before_change(const Tensor&) {}
};

// Of this thread; the last one pushed packs. Throws where hooks are disabled.
void push_saved_hooks(std::shared_ptr<SavedTensorHooks> hooks);
void pop_saved_hooks();
// Pushing throws a message from now on, until null is given. Returns what it was.
std::shared_ptr<const std::string> disable_saved_hooks(std::shared_ptr<const std::string> message);

// For Saved and Node: where hooks are set, or the tensor may not be saved at all.
inline thread_local bool saved_hooks_set = false;
[[gnu::cold, gnu::noinline]] void tell_before_change(const Tensor& t);
[[gnu::cold, gnu::noinline]] Saved save_specially(const Tensor& t, int16_t output);
[[gnu::cold, gnu::noinline]] Tensor unpack_specially(Node& node, const Saved& s);

}  // namespace wengert
