// What batches and dual numbers need to know of an operation, by its name. Operations that are not
// in the table are right all the same: a batch calls them once for each of its parts, and forward
// mode transposes their backward rule.
#pragma once

#include "transforms/call.h"

namespace wengert::transforms {

// The results on values whose first dimension is the batch's (tensors of lower levels, or plain
// ones), or nothing where the rule does not cover the case.
using BatchResult = std::optional<std::vector<Tensor>>;
using BatchRule = BatchResult (*)(const Op& op, bool inplace, Arguments& args, const Level& level);

enum class Tangent : uint8_t {
  Any,          // by the transpose of the backward rule
  Elementwise,  // the backward rule is its own transpose
  Linear,       // the same operation on the tangents of all tensors together
  Multilinear,  // ... on the tangent of one tensor after the other
  None,         // zero
};

struct Rules {
  std::string_view name;
  BatchRule batch = nullptr;
  Tangent tangent = Tangent::Any;
  bool random = false;
};

Rules rules_of(const Op& op);

// --- batch rules -------------------------------------------------------------------------------

// Broadcast: dimensions of size 1 are put in behind the batch's where others have more.
BatchResult batch_elementwise(const Op& op, bool inplace, Arguments& args, const Level& level);
// Works on the last dimensions, whatever stands before.
BatchResult batch_trailing(const Op& op, bool inplace, Arguments& args, const Level& level);
// The same of the first tensor alone; of attention query, key and value are alike.
BatchResult batch_in_front(const Op& op, bool inplace, Arguments& args, const Level& level);
// Dimensions are parameters by the usual names: each counts one more.
BatchResult batch_dims(const Op& op, bool inplace, Arguments& args, const Level& level);
// The same; without dimensions, all but the batch's.
BatchResult batch_reduction(const Op& op, bool inplace, Arguments& args, const Level& level);
// An index tensor that must be the same for all of the batch.
BatchResult batch_shared_index(const Op& op, bool inplace, Arguments& args, const Level& level);

BatchResult batch_masked_fill(const Op& op, bool inplace, Arguments& args, const Level& level);
BatchResult batch_reshape(const Op& op, bool inplace, Arguments& args, const Level& level);
BatchResult batch_reshape_as(const Op& op, bool inplace, Arguments& args, const Level& level);
BatchResult batch_expand(const Op& op, bool inplace, Arguments& args, const Level& level);
BatchResult batch_permute(const Op& op, bool inplace, Arguments& args, const Level& level);
BatchResult batch_squeeze(const Op& op, bool inplace, Arguments& args, const Level& level);
BatchResult batch_repeat(const Op& op, bool inplace, Arguments& args, const Level& level);
BatchResult batch_matmul(const Op& op, bool inplace, Arguments& args, const Level& level);
BatchResult batch_linear(const Op& op, bool inplace, Arguments& args, const Level& level);
BatchResult batch_outer(const Op& op, bool inplace, Arguments& args, const Level& level);
BatchResult batch_einsum(const Op& op, bool inplace, Arguments& args, const Level& level);
BatchResult batch_loss(const Op& op, bool inplace, Arguments& args, const Level& level);
BatchResult batch_class_loss(const Op& op, bool inplace, Arguments& args, const Level& level);
BatchResult batch_samples(const Op& op, bool inplace, Arguments& args, const Level& level);
BatchResult batch_convolution(const Op& op, bool inplace, Arguments& args, const Level& level);

// For the rules: a tensor's value with the batch's dimension first and `rank` more. Others are left
// as they are.
Tensor aligned(const Tensor& t, int rank, const Level& level);
// A parameter's place that is known to be there.
inline size_t place(int at) {
  return static_cast<size_t>(at);
}

}  // namespace wengert::transforms
