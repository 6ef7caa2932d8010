#include "kernels/cuda/optim.h"
#include "kernels/cuda/slots.h"

namespace wengert::cuda {
void fill_optim_bfloat16(KernelTable& t) {
  t.at(id(Kernel::OptimizerStep), DType::BFloat16) = &run_optimizer<BFloat16>;
}
}  // namespace wengert::cuda
