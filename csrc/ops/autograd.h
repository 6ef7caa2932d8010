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

// Gradients into the leaves, or, where `inputs` is given, into these alone.
void backward(const std::vector<Tensor>& outputs, std::vector<Tensor> grads,
              const std::vector<Tensor>& inputs, const BackwardOptions& options);
// Gradients of outputs by inputs.
std::vector<Tensor> grad(const std::vector<Tensor>& outputs, std::vector<Tensor> grads,
                         const std::vector<Tensor>& inputs, const BackwardOptions& options);

}  // namespace wengert
