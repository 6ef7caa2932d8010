// What every loss does with what it gives for each item.
#pragma once

#include <optional>
#include <string_view>

#include "ops/ops.h"

namespace wengert::ops {

enum LossReduction : int64_t { kReduceNone, kReduceMean, kReduceSum };

// The reduction by its name, unless the two switches that PyTorch had before it are given.
LossReduction reduction_of(const char* op, std::optional<bool> size_average,
                           std::optional<bool> reduce, std::string_view name);
Tensor reduced(const Tensor& loss, LossReduction reduction);

}  // namespace wengert::ops
