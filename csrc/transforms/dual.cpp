// A level of forward mode: the operation on the values, and what it does to the tangents.
#include <algorithm>

#include "core/error.h"
#include "transforms/gradient.h"
#include "transforms/rules.h"

namespace wengert::transforms {
using Tensors = std::vector<Tensor>;

void make_changeable(const Tensor& self, uint64_t level) {
  if (has_level(self, level)) return;
  if (!self->base || self->layer) {
    become_dual(self, zeros_like(detach(self)), level);
    return;
  }
  const Tensor base(self->base);
  make_changeable(base, level);
  const Layer* whole = layer_of(base);
  if (whole->tangent->layer) {
    fail("forward mode: changing a view of shape ", self.sizes(),
         " in place inside of another transform is not supported; change the tensor itself");
  }
  const int64_t offset = self.offset() - whole->value.offset();
  Tensor tangent = whole->tangent.view(self.sizes(), self.strides(), offset);
  set_base(tangent, whole->tangent);
  become_dual(self, tangent, level);
}

namespace {

// The arguments taken apart: values in place of dual numbers, and their tangents, in the order of
// the tensors; undefined where there is none.
struct Apart {
  Arguments values;
  Tensors tangents;
};

Apart take_apart(const Arguments& args, uint64_t level) {
  Apart a{args, {}};
  a.values.each([&](Tensor& t) {
    const Layer* l = has_level(t, level) ? layer_of(t) : nullptr;
    a.tangents.push_back(l ? l->tangent : Tensor());
    if (l) t = Tensor(l->value);
  });
  return a;
}

// Calls f(tensor, its place) with each tensor of the arguments.
template <class F>
void each_numbered(Arguments& args, const F& f) {
  size_t i = 0;
  args.each([&](Tensor& t) { f(t, i++); });
}

bool any_tracked(Arguments& args, const Tensors& tangents) {
  bool some = false;
  args.each([&](Tensor& t) { some = some || tracked(t); });
  for (const Tensor& t : tangents) some = some || (t.defined() && tracked(t));
  return some && grad_enabled();
}

// What to differentiate by in place of x: in every batch that any of the arguments is in, because
// the result will be.
Tensor source(Tensor x, Arguments& args) {
  for (const Level& level : batches()) {
    bool some = false;
    args.each([&](Tensor& t) { some = some || involves(t, level.id); });
    if (some && !below_has(x, level.id)) x = insert_batch(x, level);
  }
  return alias(x);
}

Tensors duals(const Tensors& values, const Tensors& tangents, uint64_t level) {
  Tensors out;
  for (size_t i = 0; i < values.size(); ++i) {
    const bool has = i < tangents.size() && tangents[i].defined() && is_floating(values[i].dtype());
    out.push_back(has ? make_dual(values[i], to(tangents[i], values[i].dtype()), level)
                      : values[i]);
  }
  return out;
}

// Takes the results off the tape where the caller's arguments were not on it.
Tensors unrecorded(Tensors results) {
  for (Tensor& t : results) {
    if (t.defined() && tracked(t)) t = detach(t);
  }
  return results;
}

Tensors dual_linear(const Op& op, Apart a, uint64_t level) {
  Arguments moved = a.values;
  each_numbered(moved, [&](Tensor& t, size_t i) {
    if (a.tangents[i].defined()) {
      t = a.tangents[i];
    } else if (is_floating(t.dtype())) {
      const bool weak = t->weak;
      t = zeros_like(t);
      t->weak = weak;
    }
  });
  const Tensors values = call(op, false, a.values);
  return duals(values, call(op, false, std::move(moved)), level);
}

Tensors dual_multilinear(const Op& op, Apart a, uint64_t level) {
  const Tensors values = call(op, false, a.values);
  const int bias = a.values.find("bias");
  Tensor total;
  const size_t n = a.tangents.size();
  for (size_t i = 0; i < n; ++i) {
    if (!a.tangents[i].defined()) continue;
    Tensor part = a.tangents[i];
    const bool is_bias = bias >= 0 && n == 3 && i == 2;
    if (!is_bias) {
      Arguments one = a.values;
      each_numbered(one, [&](Tensor& t, size_t k) {
        if (k == i) t = a.tangents[i];
      });
      if (bias >= 0) one.clear(static_cast<size_t>(bias));
      part = call(op, false, std::move(one))[0];
    } else {
      Dims sizes = part.sizes();  // a convolution's stands before the axes of the weight
      for (int d = 2; d < a.values.tensor(1).dim(); ++d) sizes.push_back(1);
      part = expand(reshape(part, sizes), values[0].sizes());
    }
    total = total.defined() ? add(total, part) : part;
  }
  return duals(values, {total}, level);
}

// The derivative by each operand is a diagonal matrix: the rule that pulls gradients back pushes
// tangents forward, too. Operands are broadcast first.
Tensors dual_elementwise(const Op& op, Apart a, uint64_t level) {
  const bool keep = any_tracked(a.values, a.tangents);
  Dims sizes;
  a.values.each([&](Tensor& t) { sizes = broadcast_shapes(op.name.c_str(), sizes, t.sizes()); });
  Tensors sources(a.tangents.size());
  each_numbered(a.values, [&](Tensor& t, size_t i) {
    if (!a.tangents[i].defined()) return;
    t = source(t.sizes() == sizes ? t : expand(t, sizes), a.values);
    sources[i] = t;
  });
  Tensors values;
  {
    const GradMode on(true);
    values = call(op, false, a.values);
  }
  if (!tracked(values[0])) return values;
  Tensor total;
  for (size_t i = 0; i < sources.size(); ++i) {
    if (!sources[i].defined()) continue;
    Tensor t = to(a.tangents[i], values[0].dtype());
    if (!(t.sizes() == sizes)) t = expand(t, sizes);
    const Tensor part = gradient({values[0]}, {sources[i]}, {t}, {true, keep})[0];
    if (!part.defined()) continue;
    const Tensor cast = to(part, values[0].dtype());
    total = total.defined() ? add(total, cast) : cast;
  }
  if (keep) return duals(values, {total}, level);
  return duals(unrecorded(values), unrecorded({total}), level);
}

Tensors dual_any(const Op& op, Apart a, uint64_t level) {
  const bool keep = any_tracked(a.values, a.tangents);
  Tensors sources, tangents;
  each_numbered(a.values, [&](Tensor& t, size_t i) {
    if (!a.tangents[i].defined()) return;
    t = source(t, a.values);
    sources.push_back(t);
    tangents.push_back(a.tangents[i]);
  });
  const GradMode on(true);
  const Tensors values = call(op, false, a.values);
  const Tensors moved = pushed(values, sources, tangents, keep);
  if (keep) return duals(values, moved, level);
  return duals(unrecorded(values), unrecorded(moved), level);
}

Tensors push(const Op& op, Arguments args, uint64_t level) {
  Apart a = take_apart(args, level);
  switch (rules_of(op).tangent) {
    case Tangent::Elementwise:
      return dual_elementwise(op, std::move(a), level);
    case Tangent::Linear:
      return dual_linear(op, std::move(a), level);
    case Tangent::Multilinear:
      return dual_multilinear(op, std::move(a), level);
    case Tangent::Any:
      return dual_any(op, std::move(a), level);
    case Tangent::None:
      break;
  }
  return call(op, false, std::move(a.values));
}

Tensors change(const Op& op, Arguments args, uint64_t level) {
  const Tensor self = args.tensor(0);
  const std::string name = op.name + (op.name.back() == '_' ? "" : "_");
  make_changeable(self, level);
  const Layer* l = layer_of(self);
  if (op.name.back() == '_') {  // a row of its own, which writes into its first argument
    Apart a = take_apart(args, level);
    if (rules_of(op).tangent != Tangent::Linear) {
      call(op, false, std::move(a.values));
      copy_(l->tangent, zeros_like(l->tangent));
      return {self};
    }
    dual_linear(op, std::move(a), level);
    return {self};
  }
  if (!op.call) fail(name, ": not supported in forward mode; use the out-of-place form");
  const Tensor result = call(op, false, std::move(args))[0];
  if (!(result.sizes() == self.sizes())) {
    fail(name, ": output with shape ", self.sizes(), " doesn't match the broadcast shape ",
         result.sizes());
  }
  check_castable(name.c_str(), result.dtype(), self.dtype());
  const Layer* r = has_level(result, level) ? layer_of(result) : nullptr;
  copy_(l->value, r ? r->value : result);
  copy_(l->tangent, r ? r->tangent : zeros_like(l->tangent));
  return {self};
}

}  // namespace

Tensors pushed(const Tensors& outputs, const Tensors& sources, const Tensors& tangents, bool keep) {
  const GradMode on(true);
  Tensors known, us, results(outputs.size());
  std::vector<size_t> places;
  for (size_t i = 0; i < outputs.size(); ++i) {
    if (!tracked(outputs[i])) continue;
    known.push_back(outputs[i]);
    us.push_back(alias(detach(zeros_like(outputs[i]))));
    places.push_back(i);
  }
  const Tensors pulled = gradient(known, sources, us, {true, true});
  Tensors linear, along;
  for (size_t i = 0; i < pulled.size(); ++i) {
    if (!pulled[i].defined() || !tracked(pulled[i])) continue;
    linear.push_back(pulled[i]);
    along.push_back(tangents[i]);
  }
  const Tensors found = gradient(linear, us, along, {true, keep});
  for (size_t k = 0; k < places.size(); ++k) results[places[k]] = found[k];
  return results;
}

Tensors call_dual(const Op& op, bool inplace, Arguments args, uint64_t level) {
  if (!inplace && op.name.back() != '_') return push(op, std::move(args), level);
  return change(op, std::move(args), level);
}

}  // namespace wengert::transforms
