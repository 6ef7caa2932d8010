// The table of slots.
#include "kernels/cpu/cpu.h"
#include "kernels/cuda/cuda.h"
#include "kernels/cuda/slots.h"

namespace wengert::cuda {

const KernelTable& table() {
  static const KernelTable filled = [] {
    KernelTable t;
    fill_map_float(t);
    fill_map_double(t);
    fill_map_int32(t);
    fill_map_int64(t);
    fill_map_bool(t);
    fill_copy(t);
    fill_optim_float(t);
    fill_optim_double(t);
    fill_optim_bfloat16(t);
    fill_many(t);
    fill_attention(t);
    fill_attention_grad(t);
    fill_attention_narrow(t);
    fill_attention_narrow_grad(t);
    fill_conv(t);
    fill_conv_weight(t);
    fill_random(t);
    fill_sampling(t);
    fill_sort(t);
    fill_scan(t);
    fill_pool(t);
    fill_index(t);
    fill_gather(t);
    fill_scatter_reduce(t);
    fill_reduce(t);
    fill_places(t);
    fill_dot(t);
    fill_rows(t);
    fill_norm(t);
    fill_norm_channels(t);
    fill_gemm(t);
    for (KernelId k = 0; k < kNumKernels; ++k) {
      for (int d = 0; d < kNumDTypes; ++d) {
        // Elements of narrow dtypes are converted on the way in and out of elementwise kernels.
        if (k < kNumMapKernels) {
          t.slot[k][d] = t.slot[k][static_cast<int>(compute_dtype(static_cast<DType>(d)))];
        }
        if (!t.slot[k][d] && cpu::table().slot[k][d]) t.slot[k][d] = &run_on_host;
      }
    }
    return t;
  }();
  return filled;
}

}  // namespace wengert::cuda
