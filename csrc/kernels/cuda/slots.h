// Which source fills which slots of the table.
#pragma once

#include "kernels/kernels.h"

namespace wengert::cuda {

void fill_map_float(KernelTable& t);
void fill_map_double(KernelTable& t);
void fill_map_int32(KernelTable& t);
void fill_map_int64(KernelTable& t);
void fill_map_bool(KernelTable& t);
void fill_copy(KernelTable& t);
void fill_optim_float(KernelTable& t);
void fill_optim_double(KernelTable& t);
void fill_optim_bfloat16(KernelTable& t);
void fill_many(KernelTable& t);
void fill_attention(KernelTable& t);
void fill_attention_grad(KernelTable& t);
void fill_attention_narrow(KernelTable& t);
void fill_attention_narrow_grad(KernelTable& t);
void fill_conv(KernelTable& t);
void fill_conv_weight(KernelTable& t);
void fill_random(KernelTable& t);
void fill_sampling(KernelTable& t);
void fill_sort(KernelTable& t);
void fill_scan(KernelTable& t);
void fill_pool(KernelTable& t);
void fill_index(KernelTable& t);
void fill_gather(KernelTable& t);
void fill_scatter_reduce(KernelTable& t);
void fill_reduce(KernelTable& t);
void fill_places(KernelTable& t);
void fill_dot(KernelTable& t);
void fill_rows(KernelTable& t);
void fill_norm(KernelTable& t);
void fill_norm_channels(KernelTable& t);
void fill_gemm(KernelTable& t);

}  // namespace wengert::cuda
