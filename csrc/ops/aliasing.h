// What changes in place and hooks ask of views.
#pragma once

#include "core/tensor.h"

namespace wengert {

// Makes a view whose base nobody else can reach a tensor of its own: many operations end with a
// view of what they computed.
void forget_lost_base(const Tensor& view);
// Throws if the tensor is a view of a leaf that requires grad.
void check_no_view_of_leaf(const char* op, const Tensor& self);

}  // namespace wengert
