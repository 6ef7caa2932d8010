#include "kernels/cuda/reduce_kernel.h"

namespace wengert::cuda {
void reduce_float(const Launch& l, const ReduceArgs& a) {
  start_reduce<float>(l, a);
}
}  // namespace wengert::cuda
