// Backpropagation as the user asks for it: what is checked and filled in before the walk.
#pragma once

#include <vector>

#include "core/tensor.h"

namespace wengert {

struct BackwardOptions {
  bool retain_graph = false;
  bool create_graph = false;
  bool allow_unused = false;
  bool materialize = false;  // zeros instead of undefined results
};

// What is asked of tensors that may be more than plain ones, and how many dimensions stand before
// an output's own in its gradient.
struct AskedOf {
  bool (*requires_grad)(const Tensor&);
  Tensor (*ones_like)(const Tensor&);
  int leading = 0;
};
// Checks outputs and the gradients given for them, in the name of `op`: ones are filled in where a
// number's was not given.
void prepare(const char* op, const std::vector<Tensor>& outputs, std::vector<Tensor>& grads,
             const AskedOf& asked);
void check_inputs(const std::vector<Tensor>& inputs, const AskedOf& asked);
[[noreturn]] void fail_unused(size_t input);

// Gradients into the leaves, or, where `inputs` is given, into these alone.
void backward(const std::vector<Tensor>& outputs, std::vector<Tensor> grads,
              const std::vector<Tensor>& inputs, const BackwardOptions& options);
// Gradients of outputs by inputs.
std::vector<Tensor> grad(const std::vector<Tensor>& outputs, std::vector<Tensor> grads,
                         const std::vector<Tensor>& inputs, const BackwardOptions& options);

}  // namespace wengert
