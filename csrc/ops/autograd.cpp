#include "ops/autograd.h"

#include <algorithm>

#include "ops/ops.h"
#include "tape/backward.h"
#include "tape/hooks.h"

namespace wengert {
namespace {

constexpr AskedOf kPlain{&requires_grad, &ops::ones_like};

}  // namespace

void prepare(const char* op, const std::vector<Tensor>& outputs, std::vector<Tensor>& grads,
             const AskedOf& asked) {
  if (grads.empty()) grads.resize(outputs.size());
  if (grads.size() != outputs.size()) {
    fail(op, ": got ", outputs.size(), " tensors and ", grads.size(), " gradients");
  }
  const int leading = asked.leading;
  bool some = false;
  for (size_t i = 0; i < outputs.size(); ++i) {
    const Tensor& out = outputs[i];
    if (!out.defined()) fail(ErrorKind::Type, op, ": element ", i, " of tensors is None");
    if (!asked.requires_grad(out)) {
      fail(op, ": element ", i, " of tensors does not require grad and does not have a grad_fn",
           is_floating(out.dtype())
               ? ""
               : text("; a result of dtype ", name_of(out.dtype()), " has no derivative"));
    }
    Tensor& g = grads[i];
    if (!g.defined() && leading > 0) {
      if (!some) fail(op, ": is_grads_batched needs gradients; got None for output ", i);
      continue;
    }
    if (!g.defined()) {
      if (out.numel() != 1) {
        fail(op, ": grad can be implicitly created only for scalar outputs, got shape ",
             out.sizes());
      }
      g = asked.ones_like(out);
    }
    some = true;
    const bool room = g.dim() == out.dim() + leading;
    if (!room || !(Dims(g.sizes().begin() + leading, out.dim()) == out.sizes())) {
      fail(op, ": mismatch in shape: grad_output[", i, "] has a shape of ", g.sizes(),
           " and output[", i, "] has a shape of ", out.sizes(),
           leading > 0 ? "; with is_grads_batched one more dimension comes first" : "");
    }
    if (!g->layer && g.dtype() != out.dtype()) g = ops::to(g, out.dtype());
  }
}

void check_inputs(const std::vector<Tensor>& inputs, const AskedOf& asked) {
  for (const Tensor& t : inputs) {
    if (!t.defined()) fail(ErrorKind::Type, "grad: an input is None, expected a Tensor");
    if (!asked.requires_grad(t)) {
      fail("grad: one of the differentiated tensors does not require grad");
    }
  }
}

void fail_unused(size_t input) {
  fail("grad: one of the differentiated tensors (inputs[", input,
       "]) appears to not have been used in the graph; set allow_unused=True if this is the "
       "desired behavior");
}

std::vector<Tensor> grad(const std::vector<Tensor>& outputs, std::vector<Tensor> grads,
                         const std::vector<Tensor>& inputs, const BackwardOptions& options) {
  if (inputs.empty()) fail("grad: `inputs` argument to `grad()` cannot be empty");
  prepare("grad", outputs, grads, kPlain);
  check_inputs(inputs, kPlain);
  std::vector<Tensor> results(inputs.size());
  walk_back(outputs, grads, {options.retain_graph, options.create_graph, inputs}, results.data());
  for (size_t i = 0; i < inputs.size(); ++i) {
    if (results[i].defined()) continue;
    if (options.materialize) {
      results[i] = ops::zeros_like(inputs[i]);
      if (options.create_graph) set_requires_grad(results[i], true);
    } else if (!options.allow_unused) {
      fail_unused(i);
    }
  }
  return results;
}

void backward(const std::vector<Tensor>& outputs, std::vector<Tensor> grads,
              const std::vector<Tensor>& inputs, const BackwardOptions& options) {
  if (inputs.empty()) {
    prepare("backward", outputs, grads, kPlain);
    walk_back(outputs, grads, {options.retain_graph, options.create_graph, {}}, nullptr);
    return;
  }
  BackwardOptions each = options;
  each.allow_unused = true;
  const std::vector<Tensor> results = grad(outputs, std::move(grads), inputs, each);
  for (size_t i = 0; i < inputs.size(); ++i) {
    const auto same = [&](const Tensor& t) { return t.impl() == inputs[i].impl(); };
    const auto here = inputs.begin() + static_cast<std::ptrdiff_t>(i);
    if (!results[i].defined() || std::any_of(inputs.begin(), here, same)) continue;
    if (!is_leaf(inputs[i]) && retains_grad(inputs[i])) continue;  // the walk has kept it
    const Tensor have = grad_of(inputs[i]);
    set_grad(inputs[i], have.defined() ? add_gradients(have, results[i], !options.create_graph)
                        : options.create_graph ? results[i]
                                               : copy_gradient(results[i]));
  }
}

}  // namespace wengert
