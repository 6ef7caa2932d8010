// Reverse mode through layers: the walk happens below them.
#pragma once

#include <vector>

#include "core/tensor.h"

namespace wengert::transforms {

struct GradientOptions {
  bool retain_graph = true;
  bool create_graph = false;
};

// The gradients of outputs by inputs for `cotangents`, one an output, each of its shape; undefined
// where an input is not reached. `leading`: how many dimensions stand before the output's own in
// every cotangent, and before the input's in every result.
std::vector<Tensor> gradient(std::vector<Tensor> outputs, std::vector<Tensor> inputs,
                             std::vector<Tensor> cotangents, const GradientOptions& options,
                             int leading = 0);

// What autograd.grad does: checks, and fills in ones and zeros. `batched`: one leading dimension.
struct AskedGradient {
  std::vector<Tensor> outputs, inputs, cotangents;
  bool retain_graph, create_graph, allow_unused, materialize, batched;
};
std::vector<Tensor> grad(AskedGradient asked);

// Whether anything but `inputs` that requires grad is behind outputs: then a gradient by the inputs
// has derivatives of its own.
bool reaches_beyond(const std::vector<Tensor>& outputs, const std::vector<Tensor>& inputs);

}  // namespace wengert::transforms
