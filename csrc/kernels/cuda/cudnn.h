// cuDNN, where it is installed: found when the first convolution runs, never needed. The variable
// WENGERT_CUDNN: 0 leaves it alone, 1 looks for it (as does none), else the library's path.
#pragma once

#include "kernels/launch.h"

namespace wengert::cuda {

// Runs a convolution or one of its gradients by an algorithm whose results are the same each time.
// False: it did not, whatever the reason, and another kernel must.
bool run_cudnn(const Launch& l);

// Such as 91002; 0: there is none.
int64_t cudnn_version();

}  // namespace wengert::cuda
