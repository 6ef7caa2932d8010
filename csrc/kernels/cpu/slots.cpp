// Matrix products: a batch of them, their sizes and strides.
#include <algorithm>

#include "kernels/cpu/cpu.h"
#include "kernels/cpu/gemm_choice.h"

namespace wengert::cpu {
namespace {

// Integer products are rare and small (counts, permutations): the definition serves.
void integer_gemm(const GemmArgs& g) {
  const auto* a = static_cast<const int64_t*>(g.a);
  const auto* b = static_cast<const int64_t*>(g.b);
  auto* c = static_cast<int64_t*>(g.c);
  for (int64_t i = 0; i < g.m; ++i) {
    int64_t* row = c + i * g.c_rs;
    if (!g.accumulate) std::fill(row, row + g.n, 0);
    for (int64_t k = 0; k < g.k; ++k) {
      const int64_t x = a[i * g.a_rs + k * g.a_cs];
      for (int64_t j = 0; j < g.n; ++j) row[j] += x * b[k * g.b_rs + j * g.b_cs];
    }
  }
}

}  // namespace

void run_gemm(const Launch& l) {
  const auto& p = *static_cast<const GemmParams*>(l.pointer);
  GemmArgs g;
  g.m = p.m, g.n = p.n, g.k = p.k;
  g.a = l.buffer[1].data, g.a_rs = p.a_rs, g.a_cs = p.a_cs;
  g.b = l.buffer[2].data, g.b_rs = p.b_rs, g.b_cs = p.b_cs;
  g.c = l.buffer[0].data, g.c_rs = p.c_rs;
  g.accumulate = p.accumulate;
  if (p.has_bias) g.bias = l.buffer[3].data;
  const auto computed = static_cast<int>(compute_dtype(l.dtype));
  if (p.has_activation) g.activation = isa().map[p.activation][computed];
  // The last batch dimension is a batch of equal steps; those before it are looped over.
  const int last = l.ndim - 1;
  GemmBatch batch;
  if (l.ndim > 0) {
    batch.count = l.size[last];
    batch.a_step = l.buffer[1].stride[last];
    batch.b_step = l.buffer[2].stride[last];
    batch.c_step = l.buffer[0].stride[last];
    if (p.has_bias) batch.bias_step = l.buffer[3].stride[last];
  }
  int64_t outer = 1;
  for (int d = 0; d < last; ++d) outer *= l.size[d];
  const auto item = static_cast<int64_t>(item_size(l.dtype));
  for (int64_t i = 0; i < outer; ++i) {
    GemmArgs each = g;
    int64_t rest = i;
    for (int d = last - 1; d >= 0; --d) {
      const int64_t at = rest % l.size[d];
      rest /= l.size[d];
      each.a = static_cast<const char*>(each.a) + at * l.buffer[1].stride[d] * item;
      each.b = static_cast<const char*>(each.b) + at * l.buffer[2].stride[d] * item;
      each.c = static_cast<char*>(each.c) + at * l.buffer[0].stride[d] * item;
      if (p.has_bias) {
        each.bias = static_cast<const char*>(each.bias) + at * l.buffer[3].stride[d] * item;
      }
    }
    if (l.dtype != DType::Int64) {
      gemm(gemm_kernels(l.dtype), each, batch);
      continue;
    }
    for (int64_t k = 0; k < batch.count; ++k) {
      GemmArgs one = each;
      one.a = static_cast<const int64_t*>(each.a) + k * batch.a_step;
      one.b = static_cast<const int64_t*>(each.b) + k * batch.b_step;
      one.c = static_cast<int64_t*>(each.c) + k * batch.c_step;
      integer_gemm(one);
    }
  }
}

}  // namespace wengert::cpu
