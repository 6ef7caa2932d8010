#include "kernels/cuda/reduce_kernel.h"

namespace wengert::cuda {
void reduce_int32(const Launch& l, const ReduceArgs& a) {
  start_reduce<int32_t>(l, a);
}
}  // namespace wengert::cuda
