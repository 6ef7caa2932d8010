#include "transforms/layers.h"

#include <algorithm>

#include "core/error.h"
#include "ops/ops.h"

namespace wengert::transforms {
namespace {

thread_local std::vector<Level> levels;
thread_local uint64_t last_level = 0;
thread_local uint64_t outside_of = ~uint64_t{0};  // batches from this level on are passed over

// A tensor without memory, of these sizes.
Tensor hollow(const Dims& sizes, const Tensor& like, Ref<Attachment> layer) {
  auto* impl = new TensorImpl;
  impl->dtype = like.dtype();
  impl->device = like.device();
  impl->weak = like->weak;
  impl->sizes = sizes;
  impl->strides = contiguous_strides(sizes);
  impl->numel = product(sizes);
  impl->layer = std::move(layer);
  return Tensor(Ref<TensorImpl>::adopt(impl));
}

Ref<Attachment> layer(uint64_t level, Kind kind, const Tensor& value, const Tensor& tangent) {
  return Ref<Attachment>::adopt(new Layer(level, kind, value, tangent));
}

}  // namespace

Layer::Layer(uint64_t l, Kind k, Tensor v, Tensor t)
    : Attachment([](Attachment* a) { delete static_cast<Layer*>(a); }),
      level(l),
      kind(k),
      value(std::move(v)),
      tangent(std::move(t)) {}

uint64_t enter(Kind kind, int64_t size, Randomness randomness) {
  levels.push_back({++last_level, kind, size, randomness});
  return last_level;
}

void leave(uint64_t level) {
  while (!levels.empty() && levels.back().id >= level) levels.pop_back();
}

const Level* find_level(uint64_t id) {
  const auto at =
      std::find_if(levels.begin(), levels.end(), [&](const Level& l) { return l.id == id; });
  return at == levels.end() ? nullptr : &*at;
}

const Level* innermost_batch() {
  const auto at = std::find_if(levels.rbegin(), levels.rend(), [](const Level& l) {
    return l.kind == Kind::Batch && l.id < outside_of;
  });
  return at == levels.rend() ? nullptr : &*at;
}

std::vector<Level> batches() {
  std::vector<Level> out;
  std::copy_if(levels.begin(), levels.end(), std::back_inserter(out),
               [](const Level& l) { return l.kind == Kind::Batch; });
  return out;
}

OutsideBatch::OutsideBatch(uint64_t level) : before_(std::exchange(outside_of, level)) {}
OutsideBatch::~OutsideBatch() {
  outside_of = before_;
}

Tensor make_batch(const Tensor& value, uint64_t level) {
  const Dims& all = value.sizes();
  return hollow(Dims(all.begin() + 1, all.size() - 1), value, layer(level, Kind::Batch, value, {}));
}

Tensor make_dual(const Tensor& value, const Tensor& tangent, uint64_t level) {
  if (!tangent.defined()) return value;
  return hollow(value.sizes(), value, layer(level, Kind::Dual, value, tangent));
}

void become_dual(const Tensor& t, const Tensor& tangent, uint64_t level) {
  TensorImpl& impl = *t.impl();
  auto* value = new TensorImpl;
  value->dtype = impl.dtype;
  value->device = impl.device;
  value->contiguous = impl.contiguous;
  value->slot = std::exchange(impl.slot, 0);
  value->data = std::exchange(impl.data, nullptr);
  value->numel = impl.numel;
  value->storage = std::move(impl.storage);
  value->node = std::move(impl.node);
  value->base = std::move(impl.base);
  value->history = impl.history;
  value->base_history = impl.base_history;
  value->layer = std::move(impl.layer);
  value->sizes = impl.sizes;
  value->strides = impl.strides;
  impl.storage = nullptr;
  impl.node = nullptr;
  impl.base = nullptr;
  impl.layer = layer(level, Kind::Dual, Tensor(Ref<TensorImpl>::adopt(value)), tangent);
}

Tensor settled(const Tensor& t) {
  const Layer* l = layer_of(t);
  if (!l || find_level(l->level)) return t;
  if (l->kind == Kind::Batch) {
    fail("vmap: a tensor of shape ", t.sizes(),
         " that was made inside of vmap is used after it ended, or on another thread; return it "
         "from the function instead");
  }
  return settled(l->value);
}

const Tensor& readable(const Tensor& t) {
  const Layer* l = layer_of(t);
  if (!l) return t;
  if (l->kind == Kind::Batch) {
    fail("vmap: the elements of a batched tensor of shape ", t.sizes(),
         " are being read as Python values, by .item(), bool(), .tolist(), .numpy() or by an "
         "operation that is not mapped; there is a value for each of the batch. Use "
         "wengert.where instead of `if`, or read the elements outside of vmap");
  }
  return readable(l->value);
}

uint64_t level_of(const Tensor& t) {
  const Layer* l = layer_of(t);
  return l ? l->level : 0;
}

bool has_level(const Tensor& t, uint64_t level) {
  return level_of(t) == level;
}

bool below_has(const Tensor& t, uint64_t level) {
  const Layer* l = layer_of(t);
  return l && (l->level == level || below_has(l->value, level));
}

bool involves(const Tensor& t, uint64_t level) {
  const Layer* l = layer_of(t);
  return l && (l->level == level || involves(l->value, level) ||
               (l->tangent.defined() && involves(l->tangent, level)));
}

const Tensor& innermost(const Tensor& t) {
  const Layer* l = layer_of(t);
  return l ? innermost(l->value) : t;
}

bool tracked(const Tensor& t) {
  const Layer* l = layer_of(t);
  if (!l) return requires_grad(t);
  return tracked(l->value) || (l->tangent.defined() && tracked(l->tangent));
}

Tensor alias(const Tensor& t) {
  return below(t, [](const Tensor& value) {
    const GradMode on(true);
    if (requires_grad(value)) return ops::view(value, value.sizes());
    Tensor leaf = value.view(value.sizes(), value.strides());
    set_requires_grad(leaf, true);
    return leaf;
  });
}

}  // namespace wengert::transforms
