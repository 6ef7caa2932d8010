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

// The tangents of outputs that were computed from sources, for tangents of these; undefined where
// there is none. With g(u) = J^T u, which is linear in u, the gradient of g by u for the tangent t
// is J t. `keep`: whether the results are recorded.
std::vector<Tensor> pushed(const std::vector<Tensor>& outputs, const std::vector<Tensor>& sources,
                           const std::vector<Tensor>& tangents, bool keep);

// Whether anything but `inputs` that requires grad is behind outputs: then a gradient by the inputs
// has derivatives of its own.
bool reaches_beyond(const std::vector<Tensor>& outputs, const std::vector<Tensor>& inputs);

}  // namespace wengert::transforms
