// Kernels that users' libraries bring along: ids above those of kernels.h, given out at load.
#pragma once

#include <span>
#include <string>

#include "kernels/launch.h"

namespace wengert {

// The CPU's kernel for each dtype; null where there is none.
struct AddedKernel {
  std::string name;  // in traces
  bool elementwise = false;
  int part = 0;  // of elementwise: 0 the forward, else 1 + the operand that the gradient is by
  KernelFn fn[kNumDTypes] = {};
};

// Numbers them in order and returns the first's id. They are never taken away. Throws when there
// are too many.
KernelId add_kernels(std::span<const AddedKernel> kernels);

KernelFn added_fn(const Launch& l);  // null where the launch has none
std::string added_name(KernelId k);
bool is_added_map(KernelId k);
int added_part(KernelId k);

}  // namespace wengert
