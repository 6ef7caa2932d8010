#include "kernels/cuda/optim.h"
#include "kernels/cuda/slots.h"

namespace wengert::cuda {
void fill_optim_double(KernelTable& t) {
  t.at(id(Kernel::OptimizerStep), DType::Float64) = &run_optimizer<double>;
}
}  // namespace wengert::cuda
