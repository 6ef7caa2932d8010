// What inference mode forbids.
#pragma once

#include "core/tensor.h"

namespace wengert {

// For every change in place, part of check_inplace: throws for an inference tensor outside of
// inference mode.
void check_inference(const char* op, const Tensor& self);

}  // namespace wengert
