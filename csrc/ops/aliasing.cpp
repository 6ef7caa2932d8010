// Views and recorded changes in place. A change through a view is, to the base, the assignment of a
// part of it; a view whose base has changed since is, to the tape, taken from it anew. Both know
// the view only by where its elements lie in the base's memory.
#include <algorithm>
#include <numeric>

#include "kernels/launch.h"
#include "ops/aliasing.h"
#include "ops/anomaly.h"
#include "ops/elementwise.h"
#include "ops/inference.h"
#include "tape/anomaly.h"
#include "tape/backward.h"
#include "tape/saved.h"

namespace wengert {
namespace {

// Where a view's elements lie: `offset` and `strides` count from the base's first element.
struct Geometry {
  Dims sizes, strides, base_sizes, base_strides;
  int64_t offset;
};

Geometry geometry_of(const Tensor& view) {
  const Ref<TensorImpl>& base = view->base;
  const auto item = static_cast<int64_t>(item_size(view.dtype()));
  return {view.sizes(), view.strides(), base->sizes, base->strides,
          (view->data - base->data) / item};
}

// False after `base.data = other`, and where the view reads the memory as another dtype.
bool same_memory(const Tensor& view) {
  return view->base->storage.get() == view->storage.get() && view->base->dtype == view.dtype();
}

// Whether two indices may mean one element: where a dimension steps less than the smaller ones
// span.
bool may_overlap(const Dims& sizes, const Dims& strides) {
  Dims order;
  for (int d = 0; d < sizes.size(); ++d) {
    if (sizes[d] > 1) order.push_back(d);
  }
  std::sort(order.begin(), order.end(), [&](int64_t a, int64_t b) {
    return strides[static_cast<int>(a)] < strides[static_cast<int>(b)];
  });
  int64_t span = 0;
  for (const int64_t d : order) {
    const int at = static_cast<int>(d);
    if (strides[at] <= span) return true;
    span += (sizes[at] - 1) * strides[at];
  }
  return false;
}

Tensor part(const Tensor& laid, const Geometry& v) {
  return laid.view(v.sizes, v.strides, product(v.sizes) == 0 ? 0 : v.offset);
}

// An own copy that lies in memory as the base does. Its parts are found by the view's geometry.
Tensor laid_out(const Tensor& x, const Geometry& v) {
  const Tensor memory =
      Tensor::empty({extent(v.base_sizes, v.base_strides)}, x.dtype(), x.device());
  const Tensor out = memory.view(v.base_sizes, v.base_strides);
  ops::copy_into(out, x);
  return out;
}

Tensor take(const Tensor& x, const Geometry& v);
Tensor put(const Tensor& g, const Geometry& v);
Tensor clear(const Tensor& x, const Geometry& v);

constexpr Rule kTake{"as_strided", [](Node& node, Tensor* g, Tensor* out) {
                       out[0] = put(*g, node.payload<Geometry>());
                     }};
constexpr Rule kPut{"as_strided_backward", [](Node& node, Tensor* g, Tensor* out) {
                      out[0] = take(*g, node.payload<Geometry>());
                    }};
constexpr Rule kClear{"slice_cleared", [](Node& node, Tensor* g, Tensor* out) {
                        out[0] = clear(*g, node.payload<Geometry>());
                      }};
// The base after a change through a view: what it was, but for the view's part.
constexpr Rule kCopySlices{"copy_slices", [](Node& node, Tensor* g, Tensor* out) {
                             const auto& v = node.payload<Geometry>();
                             if (node.wants(0)) out[0] = clear(*g, v);
                             if (node.wants(1)) out[1] = take(*g, v);
                           }};

Tensor recorded(const Rule& rule, const Tensor& x, const Tensor& out, const Geometry& v) {
  if (recording(x)) {
    const Tensor* in[] = {&x};
    record(rule, in, 1, out, 0, v);
  }
  return out;
}

// The view's elements of something of the base's shape.
Tensor take(const Tensor& x, const Geometry& v) {
  return recorded(kTake, x, part(x.strides() == v.base_strides ? x : laid_out(x, v), v), v);
}

// Zeros of the base's shape with g added where the view lies.
Tensor put(const Tensor& g, const Geometry& v) {
  const int64_t elements = extent(v.base_sizes, v.base_strides);
  const Tensor memory = ops::zeros({elements}, g.dtype(), g.device());
  if (may_overlap(v.sizes, v.strides)) {
    const Tensor places = part(ops::arange(elements), v);
    const GradMode off(false);
    const Dims flat{product(v.sizes)};
    const Tensor sums =
        ops::scatter_add(memory, 0, ops::reshape(places, flat), ops::reshape(ops::detach(g), flat));
    ops::copy_into(memory, sums);
  } else {
    ops::copy_into(part(memory, v), g);
  }
  return recorded(kPut, g, memory.view(v.base_sizes, v.base_strides), v);
}

// x of the base's shape with zeros where the view lies.
Tensor clear(const Tensor& x, const Geometry& v) {
  const Tensor out = laid_out(x, v);
  ops::fill(part(out, v), {true, 0, 0});
  return recorded(kClear, x, out, v);
}

}  // namespace

void refresh_view(const Tensor& view) {
  const Tensor base(view->base);
  view->base_history = base->history;
  if (!same_memory(view)) return;
  if (!requires_grad(base)) {  // detached in place: so is the view, unless it is a leaf by itself
    if (node_of(view) && !node_of(view)->leaf) view->node = nullptr;
    return;
  }
  const Tensor* in[] = {&base};
  record(kTake, in, 1, view, 0, geometry_of(view));
  view->base_history = base->history;
}

void write_through(const Tensor& view) {
  if (!same_memory(view)) return;
  const Tensor base(view->base);
  const Tensor* in[] = {&base, &view};
  record(kCopySlices, in, 2, base, 0, geometry_of(view));
  view->base_history = base->history;
}

void set_base(const Tensor& view, const Tensor& of) {
  view->base = of->base ? of->base : of.ref();
  view->base_history = of->base ? of->base_history : of->history;
}

namespace {

// " (float32 of shape [3] was made to require grad at train.py:3 in f)"
std::string made_at(const Tensor& leaf, const Tensor& changed) {
  const std::string leaf_at = at_place(node_of(leaf)->source);
  std::string out;
  if (!leaf_at.empty()) {
    out = text(" (the leaf, ", name_of(leaf.dtype()), " of shape ", leaf.sizes(),
               ", was made to require grad", leaf_at);
  }
  const Node* view = node_of(changed);
  if (changed.impl() != leaf.impl() && view) {
    const std::string view_at = at_place(view->source);
    if (!view_at.empty()) {
      out += text(out.empty() ? " (" : "; ", "the view was taken by ", view->name(), view_at);
    }
  }
  return out.empty() ? out : out + ")";
}

// A row's name with the underscore of its form in place.
std::string name_in_place(const char* op) {
  std::string name = op;
  if (name.back() != '_' && name.find(' ') == name.npos) name += '_';
  return name;
}

}  // namespace

void forget_lost_base(const Tensor& view) {
  if (!view->base || !view->base->unique() || may_overlap(view.sizes(), view.strides())) return;
  const bool recorded = requires_grad(view);
  const Tensor base(view->base);
  if (requires_grad(base) == recorded && !(recorded && is_leaf(base))) view->base = nullptr;
}

void check_no_view_of_leaf(const char* op, const Tensor& self) {
  if (!self->base) return;
  const Tensor base(self->base);
  if (requires_grad(base) && is_leaf(base)) {
    fail(name_in_place(op),
         ": a view of a leaf Variable that requires grad is being used in an in-place operation",
         at_place(source_here()), "; do it under no_grad(), or out of place", made_at(base, self));
  }
}

void check_no_leaf(const char* op, const Tensor& self) {
  if (!grad_enabled() || !requires_grad(self) || !is_leaf(self)) return;
  fail(name_in_place(op),
       ": a leaf Variable that requires grad is being used in an in-place operation",
       at_place(source_here()), "; do it under no_grad(), or out of place", made_at(self, self));
}

void check_inference(const char* op, const Tensor& self) {
  if (!self->storage->inference || inference_mode()) [[likely]]
    return;
  fail(name_in_place(op),
       ": Inplace update to inference tensor outside InferenceMode is not allowed. You can make a "
       "clone to get a normal tensor before doing inplace update.");
}

bool check_inplace(const char* op, const Tensor& self, bool inputs_record) {
  for (int d = 0; d < self.dim(); ++d) {
    if (self.stride(d) == 0 && self.size(d) > 1 && self.numel() > 0) {
      fail(op,
           ": unsupported operation: more than one element of the written-to tensor refers to a "
           "single memory location (expanded to ",
           self.sizes(), "); clone() the tensor first");
    }
  }
  check_inference(op, self);
  if (checks_forward()) [[unlikely]]
    note_before_change(self);
  if (saved_hooks_set) [[unlikely]]
    tell_before_change(self);
  const bool on = grad_enabled();
  const bool records = on && (inputs_record || requires_grad(self));
  check_no_leaf(op, self);
  if (!on || !self->base) return records;
  forget_lost_base(self);
  if (!self->base) return records;
  check_no_view_of_leaf(op, self);
  const Tensor base(self->base);
  if (requires_grad(base) && !requires_grad(self)) {
    fail(op,
         ": a view was created in no_grad mode and is being modified inplace with grad mode "
         "enabled; create it where operations are recorded, or change it under no_grad()");
  }
  if (records && base.dtype() != self.dtype()) {
    fail(op, ": recording an in-place change of a ", name_of(self.dtype()), " view of a ",
         name_of(base.dtype()), " tensor is not supported; clone() the tensor first");
  }
  if (records && self.numel() > 0 && may_overlap(self.sizes(), self.strides())) {
    fail(op, ": elements of the written-to view of shape ", self.sizes(), " and strides ",
         self.strides(), " share memory; clone() the tensor first");
  }
  self->changing = records;
  return records;
}

}  // namespace wengert
