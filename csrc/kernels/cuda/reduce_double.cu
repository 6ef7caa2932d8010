#include "kernels/cuda/reduce_kernel.h"

namespace wengert::cuda {
void reduce_double(const Launch& l, const ReduceArgs& a) {
  start_reduce<double>(l, a);
}
}  // namespace wengert::cuda
