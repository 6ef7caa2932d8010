#include "transforms/gradient.h"

#include <algorithm>
#include <unordered_set>

#include "core/error.h"
#include "ops/autograd.h"
#include "tape/backward.h"
#include "transforms/call.h"

namespace wengert::transforms {
namespace {

using Tensors = std::vector<Tensor>;

// One pull: some outputs with their cotangents, by some inputs.
struct Pull {
  Tensors outputs, cotangents, inputs;
  void keep(const Tensor& out, const Tensor& cotangent) {
    if (!out.defined() || !cotangent.defined()) return;
    outputs.push_back(out);
    cotangents.push_back(cotangent);
  }
};

Tensors gradient_of(const Pull& p, const GradientOptions& options, int leading) {
  return gradient(p.outputs, p.inputs, p.cotangents, options, leading);
}

void accumulate(Tensors& into, const Tensors& more) {
  for (size_t i = 0; i < into.size(); ++i) {
    if (!more[i].defined()) continue;
    into[i] = into[i].defined() ? add(into[i], more[i]) : more[i];
  }
}

// The walk itself, when all layers are off.
Tensors walk(const Pull& p, const GradientOptions& options, int leading) {
  Pull roots;
  for (size_t i = 0; i < p.outputs.size(); ++i) {
    if (requires_grad(p.outputs[i])) roots.keep(p.outputs[i], p.cotangents[i]);
  }
  Tensors known, results(p.inputs.size());
  std::vector<size_t> places;
  for (size_t i = 0; i < p.inputs.size(); ++i) {
    if (!requires_grad(p.inputs[i])) continue;
    known.push_back(p.inputs[i]);
    places.push_back(i);
  }
  if (roots.outputs.empty() || known.empty()) return results;
  Dims batch(roots.cotangents[0].sizes().begin(), leading);
  for (size_t i = 0; i < roots.outputs.size(); ++i) {
    Tensor& g = roots.cotangents[i];
    if (g.dtype() != roots.outputs[i].dtype()) g = ops::to(g, roots.outputs[i].dtype());
    if (leading <= 1) continue;
    g = ops::reshape(g, concat({product(batch)}, roots.outputs[i].sizes()));
  }
  Tensors found(known.size());
  if (product(batch) > 0) {
    walk_back(roots.outputs, roots.cotangents,
              {options.retain_graph, options.create_graph, known, leading > 0}, found.data());
  }
  for (size_t k = 0; k < known.size(); ++k) {
    Tensor& g = found[k];
    const Dims sizes = concat(batch, known[k].sizes());
    if (product(batch) == 0) g = ops::zeros(sizes, known[k].dtype());
    if (leading > 1 && g.defined()) g = ops::reshape(g, sizes);
    results[places[k]] = std::move(g);
  }
  return results;
}

// The level is in the cotangents alone: one more leading dimension.
Tensors batch_of_cotangents(Pull p, const GradientOptions& options, int leading,
                            const Level& level) {
  for (Tensor& c : p.cotangents) c = batch_value(c, level);
  Tensors results = gradient_of(p, options, leading + 1);
  for (Tensor& r : results) {
    if (r.defined()) r = make_batch(r, level.id);
  }
  return results;
}

// Outputs and inputs are below the level: a walk of the whole batch.
Tensors batch_of_outputs(Pull p, const GradientOptions& options, int leading, const Level& level) {
  for (size_t i = 0; i < p.outputs.size(); ++i) {
    p.outputs[i] = layer_of(p.outputs[i])->value;
    p.cotangents[i] = movedim(batch_value(p.cotangents[i], level), 0, leading);
  }
  std::vector<bool> batched;
  for (Tensor& x : p.inputs) {
    batched.push_back(has_level(x, level.id));
    if (batched.back()) x = layer_of(x)->value;
  }
  Tensors results = gradient_of(p, options, leading);
  for (size_t i = 0; i < results.size(); ++i) {
    if (!results[i].defined()) continue;
    if (!batched[i]) {
      fail("vmap: the gradient of a batched output by a tensor of shape ", p.inputs[i].sizes(),
           " from outside of vmap would be one for each of the batch; use func.grad or func.vjp "
           "inside of vmap, which make it batched, or pass the tensor through vmap");
    }
    results[i] = make_batch(movedim(results[i], leading, 0), level.id);
  }
  return results;
}

Tensors through_batch(const Pull& p, const GradientOptions& options, int leading,
                      const Level& level) {
  Pull inside, outside;
  for (size_t i = 0; i < p.outputs.size(); ++i) {
    (has_level(p.outputs[i], level.id) ? inside : outside).keep(p.outputs[i], p.cotangents[i]);
  }
  inside.inputs = outside.inputs = p.inputs;
  if (inside.outputs.empty()) {
    const bool inputs_have = std::any_of(p.inputs.begin(), p.inputs.end(),
                                         [&](const Tensor& x) { return has_level(x, level.id); });
    if (!inputs_have) return batch_of_cotangents(p, options, leading, level);
  }
  Tensors results(p.inputs.size());
  if (!inside.outputs.empty()) {
    GradientOptions first = options;
    first.retain_graph = options.retain_graph || !outside.outputs.empty();
    results = batch_of_outputs(inside, first, leading, level);
  }
  if (outside.outputs.empty()) return results;
  // Nothing outside of a level depends on what is inside.
  Pull rest = outside;
  rest.inputs.clear();
  std::vector<size_t> places;
  for (size_t i = 0; i < p.inputs.size(); ++i) {
    if (has_level(p.inputs[i], level.id)) continue;
    rest.inputs.push_back(p.inputs[i]);
    places.push_back(i);
  }
  if (rest.inputs.empty()) return results;
  const Tensors more = batch_of_cotangents(rest, options, leading, level);
  for (size_t k = 0; k < places.size(); ++k) {
    Tensor& r = results[places[k]];
    if (more[k].defined()) r = r.defined() ? add(r, more[k]) : more[k];
  }
  return results;
}

// y = (yp, yt), x = (xp, xt), c = (cp, ct): the gradient is that of yp by xp for cp; its tangent is
// that of yp for ct and of yt for cp.
Tensors through_dual(const Pull& p, const GradientOptions& options, int leading, uint64_t level) {
  Pull values, moved, tangents;
  for (size_t i = 0; i < p.outputs.size(); ++i) {
    const Layer* y = has_level(p.outputs[i], level) ? layer_of(p.outputs[i]) : nullptr;
    const Layer* c = has_level(p.cotangents[i], level) ? layer_of(p.cotangents[i]) : nullptr;
    const Tensor& yp = y ? y->value : p.outputs[i];
    const Tensor& cp = c ? c->value : p.cotangents[i];
    values.keep(yp, cp);
    if (c) moved.keep(yp, c->tangent);
    if (y && tracked(y->tangent)) tangents.keep(y->tangent, cp);
  }
  for (const Tensor& x : p.inputs) {
    values.inputs.push_back(has_level(x, level) ? layer_of(x)->value : x);
  }
  moved.inputs = tangents.inputs = values.inputs;
  GradientOptions kept = options;
  kept.retain_graph = true;
  const bool last = moved.outputs.empty() && tangents.outputs.empty();
  const Tensors results = gradient_of(values, last ? options : kept, leading);
  Tensors changes(results.size());
  if (!moved.outputs.empty()) {
    accumulate(changes, gradient_of(moved, tangents.outputs.empty() ? options : kept, leading));
  }
  if (!tangents.outputs.empty()) accumulate(changes, gradient_of(tangents, options, leading));
  Tensors out;
  for (size_t i = 0; i < results.size(); ++i) {
    Tensor value = results[i];
    if (!value.defined() && changes[i].defined()) value = zeros_like(changes[i]);
    out.push_back(value.defined() ? make_dual(value, changes[i], level) : value);
  }
  return out;
}

}  // namespace

Tensors gradient(Tensors outputs, Tensors inputs, Tensors cotangents,
                 const GradientOptions& options, int leading) {
  uint64_t top = 0;
  for (Tensors* list : {&outputs, &inputs, &cotangents}) {
    for (Tensor& t : *list) {
      t = settled(t);
      top = std::max(top, level_of(t));
    }
  }
  if (outputs.empty() || inputs.empty()) return Tensors(inputs.size());
  const Pull p{std::move(outputs), std::move(cotangents), std::move(inputs)};
  if (top == 0) return walk(p, options, leading);
  const Level level = *find_level(top);
  return level.kind == Kind::Batch ? through_batch(p, options, leading, level)
                                   : through_dual(p, options, leading, top);
}

Tensors grad(AskedGradient asked) {
  const AskedOf how{&tracked, &ones_like, asked.batched ? 1 : 0};
  if (asked.inputs.empty()) fail(ErrorKind::Value, "grad: requires non-empty inputs");
  prepare("grad", asked.outputs, asked.cotangents, how);
  check_inputs(asked.inputs, how);
  Pull p;
  for (size_t i = 0; i < asked.outputs.size(); ++i) p.keep(asked.outputs[i], asked.cotangents[i]);
  Tensors results = gradient(p.outputs, asked.inputs, p.cotangents,
                             {asked.retain_graph, asked.create_graph}, how.leading);
  for (size_t i = 0; i < results.size(); ++i) {
    if (results[i].defined()) continue;
    if (asked.materialize) {
      results[i] = zeros_like(asked.inputs[i]);
      if (asked.batched) results[i] = clone(repeated(results[i], 0, p.cotangents.back().size(0)));
    } else if (!asked.allow_unused) {
      fail_unused(i);
    }
  }
  return results;
}

bool reaches_beyond(const Tensors& outputs, const Tensors& inputs) {
  std::unordered_set<const Node*> own;
  for (const Tensor& t : inputs) {
    const Tensor& below = innermost(t);
    if (requires_grad(below) && node_of(below)->leaf) own.insert(node_of(below));
  }
  std::vector<Node*> nodes;
  const auto add = [&](const auto& self, const Tensor& t) -> void {
    if (const Layer* l = layer_of(t)) {
      self(self, l->value);
      if (l->tangent.defined()) self(self, l->tangent);
    } else if (requires_grad(t)) {
      nodes.push_back(node_of(t));
    }
  };
  for (const Tensor& t : outputs) add(add, t);
  return any_behind(std::move(nodes),
                    [&](const Node& n) { return n.leaf && n.active && !own.contains(&n); });
}

}  // namespace wengert::transforms
