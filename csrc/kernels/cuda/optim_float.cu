#include "kernels/cuda/optim.h"
#include "kernels/cuda/slots.h"

namespace wengert::cuda {
void fill_optim_float(KernelTable& t) {
  t.at(id(Kernel::OptimizerStep), DType::Float32) = &run_optimizer<float>;
}
}  // namespace wengert::cuda
