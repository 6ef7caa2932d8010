#include "kernels/cuda/reduce_kernel.h"

namespace wengert::cuda {
void reduce_int64(const Launch& l, const ReduceArgs& a) {
  start_reduce<int64_t>(l, a);
}
}  // namespace wengert::cuda
