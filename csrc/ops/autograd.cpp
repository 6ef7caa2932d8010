#include "ops/autograd.h"

#include <algorithm>

#include "ops/ops.h"
#include "tape/backward.h"
#include "tape/hooks.h"

namespace wengert {
namespace {

// Ones for scalar outputs whose gradient was not given.
void prepare(const char* op, const std::vector<Tensor>& outputs, std::vector<Tensor>& grads) {
  if (grads.empty()) grads.resize(outputs.size());
  if (grads.size() != outputs.size()) {
    fail(op, ": got ", outputs.size(), " tensors and ", grads.size(), " gradients");
  }
  for (size_t i = 0; i < outputs.size(); ++i) {
    const Tensor& out = outputs[i];
    if (!out.defined()) fail(ErrorKind::Type, op, ": element ", i, " of tensors is None");
    if (!requires_grad(out)) {
      fail(op, ": element ", i, " of tensors does not require grad and does not have a grad_fn",
           is_floating(out.dtype())
               ? ""
               : text("; a result of dtype ", name_of(out.dtype()), " has no derivative"));
    }
    Tensor& g = grads[i];
    if (!g.defined()) {
      if (out.numel() != 1) {
        fail(op, ": grad can be implicitly created only for scalar outputs, got shape ",
             out.sizes());
      }
      g = ops::ones_like(out);
    }
    if (!(g.sizes() == out.sizes())) {
      fail(op, ": mismatch in shape: grad_output[", i, "] has a shape of ", g.sizes(),
           " and output[", i, "] has a shape of ", out.sizes());
    }
    if (g.dtype() != out.dtype()) g = ops::to(g, out.dtype());
  }
}

}  // namespace

std::vector<Tensor> grad(const std::vector<Tensor>& outputs, std::vector<Tensor> grads,
                         const std::vector<Tensor>& inputs, const BackwardOptions& options) {
  if (inputs.empty()) fail("grad: `inputs` argument to `grad()` cannot be empty");
  prepare("grad", outputs, grads);
  for (const Tensor& t : inputs) {
    if (!t.defined()) fail(ErrorKind::Type, "grad: an input is None, expected a Tensor");
    if (!requires_grad(t)) {
      fail("grad: one of the differentiated tensors does not require grad");
    }
  }
  std::vector<Tensor> results(inputs.size());
  walk_back(outputs, grads, {options.retain_graph, options.create_graph, inputs}, results.data());
  for (size_t i = 0; i < inputs.size(); ++i) {
    if (results[i].defined()) continue;
    if (options.materialize) {
      results[i] = ops::zeros_like(inputs[i]);
      if (options.create_graph) set_requires_grad(results[i], true);
    } else if (!options.allow_unused) {
      fail("grad: one of the differentiated tensors (inputs[", i,
           "]) appears to not have been used in the graph; set allow_unused=True if this is the "
           "desired behavior");
    }
  }
  return results;
}

void backward(const std::vector<Tensor>& outputs, std::vector<Tensor> grads,
              const std::vector<Tensor>& inputs, const BackwardOptions& options) {
  if (inputs.empty()) {
    prepare("backward", outputs, grads);
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
