#include "tape/saved.h"

#include <string>
#include <utility>
#include <vector>

namespace wengert {
namespace {

thread_local std::vector<std::shared_ptr<SavedTensorHooks>> stack;
thread_local std::shared_ptr<const std::string> disabled;

// Hangs on the empty tensor of a Saved.
struct Packed : Attachment {
  Packed() : Attachment([](Attachment* a) { delete static_cast<Packed*>(a); }) {}
  std::shared_ptr<PackedTensor> value;
  Ref<Attachment> node;  // an input's, for derivatives of the derivative
  uint32_t slot = 0;
  int16_t output = Saved::kInput;
  Dims sizes;
  DType dtype{};
};

}  // namespace

void push_saved_hooks(std::shared_ptr<SavedTensorHooks> hooks) {
  if (disabled) fail(*disabled);
  stack.push_back(std::move(hooks));
  saved_hooks_set = true;
}
void pop_saved_hooks() {
  if (stack.empty()) fail("saved_tensors_hooks: none are set on this thread");
  stack.pop_back();
  saved_hooks_set = !stack.empty();
}
std::shared_ptr<const std::string> disable_saved_hooks(std::shared_ptr<const std::string> message) {
  if (message && !stack.empty()) fail(*message);
  return std::exchange(disabled, std::move(message));
}

void tell_before_change(const Tensor& t) {
  for (const auto& hooks : std::vector(stack)) hooks->before_change(t);
}

Saved save_specially(const Tensor& t, int16_t output) {
  if (t->storage->inference) {
    fail(
        "Inference tensors cannot be saved for backward. Please do not use Tensors created in "
        "inference mode in computation tracked by autograd. To work around this, you can make a "
        "clone to get a normal tensor and use it in autograd, or use no_grad() instead of "
        "inference_mode().");
  }
  // An output that reached its node would own itself.
  const Tensor kept = output < 0 ? t : t.view(t.sizes(), t.strides());
  if (!saved_hooks_set || t->weak) {
    t->storage->saved.store(true, std::memory_order_relaxed);
    return {kept, t.version(), output};
  }
  auto* packed = new Packed;
  const Tensor holder = Tensor::empty({}, DType::Bool, Device::CPU);
  holder->node = Ref<Attachment>::adopt(packed);
  packed->output = output;
  packed->sizes = t.sizes();
  packed->dtype = t.dtype();
  if (output < 0 && requires_grad(t)) {
    packed->node = t->node;
    packed->slot = t->slot;
  }
  const std::shared_ptr<SavedTensorHooks> hooks = stack.back();
  const uint32_t version = t.version();
  const GradMode off(false);
  packed->value = hooks->pack(kept);
  if (t.version() != version) {
    fail(
        "A saved tensor pack hook is modifying its input in place. Tensors provided as input to "
        "pack hook can not be modified by in-place operations as this can lead to unexpected "
        "side-effects.");
  }
  return {holder, holder.version(), Saved::kPacked};
}

Tensor unpack_specially(Node& node, const Saved& s) {
  const auto& packed = static_cast<const Packed&>(*s.tensor->node);
  const std::shared_ptr<PackedTensor> value = packed.value;
  const Tensor made = value->unpack();
  if (!made.defined() || !(made.sizes() == packed.sizes) || made.dtype() != packed.dtype) {
    fail(node.name(), ": the unpack hook of a saved tensor returned ",
         made.defined() ? text(name_of(made.dtype()), " of shape ", made.sizes()) : "nothing",
         "; expected ", name_of(packed.dtype), " of shape ", packed.sizes, node.recorded_at());
  }
  if (!grad_enabled() || (packed.output < 0 && !packed.node)) return made;
  const Tensor out = made.view(made.sizes(), made.strides());
  out->node = packed.output < 0 ? packed.node : Ref<Attachment>::share(&node);
  out->slot = packed.output < 0 ? packed.slot : static_cast<uint32_t>(packed.output);
  return out;
}

}  // namespace wengert
