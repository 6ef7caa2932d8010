// Which instruction set runs, and the CPU's table of slots.
#include <cstdlib>
#include <cstring>
#include <string_view>

#include "core/error.h"
#include "kernels/cpu/cpu.h"
#include "kernels/cpu/gemm_choice.h"
#include "kernels/cpu/vmath_table.h"

namespace wengert {

namespace v2 {
void fill(cpu::CpuIsa&);
}
namespace avx2 {
void fill(cpu::CpuIsa&);
}
namespace avx512 {
void fill(cpu::CpuIsa&);
}
namespace neon {
void fill(cpu::CpuIsa&);
}

namespace cpu {
namespace {

struct Candidate {
  const char* name;
  bool (*usable)();
  void (*fill)(CpuIsa&);
};

#if defined(__x86_64__)
bool runs_v2() {
  return __builtin_cpu_supports("sse4.2");
}
bool runs_avx2() {
  return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
}
bool runs_avx512() {
  return __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
         __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl") &&
         __builtin_cpu_supports("fma");
}
#endif

// Best first.
constexpr Candidate kCandidates[] = {
#if defined(WENGERT_HAS_avx512)
    {"avx512", &runs_avx512, &avx512::fill},
#endif
#if defined(WENGERT_HAS_avx2)
    {"avx2", &runs_avx2, &avx2::fill},
#endif
#if defined(WENGERT_HAS_v2)
    {"v2", &runs_v2, &v2::fill},
#endif
#if defined(WENGERT_HAS_neon)
    {"neon", [] { return true; }, &neon::fill},
#endif
};
constexpr int kNumCandidates = std::size(kCandidates);

const CpuIsa& filled(int i) {
  static CpuIsa isas[kNumCandidates];
  static const bool done = [] {
    for (int k = 0; k < kNumCandidates; ++k) {
      isas[k].name = kCandidates[k].name;
      if (kCandidates[k].usable()) kCandidates[k].fill(isas[k]);
    }
    return true;
  }();
  (void)done;
  return isas[i];
}

const CpuIsa& choose() {
  const char* forced = std::getenv("WENGERT_ISA");
  if (forced && names_pair_unit(forced)) forced = "avx512";
  std::string names;
  for (int i = 0; i < kNumCandidates; ++i) {
    const bool usable = kCandidates[i].usable();
    if (usable) names += std::string(names.empty() ? "" : ", ") + kCandidates[i].name;
    if (forced && *forced ? usable && !std::strcmp(forced, kCandidates[i].name) : usable) {
      return filled(i);
    }
  }
  if (forced && *forced) {
    fail(ErrorKind::Value, "WENGERT_ISA: '", forced, "' is not available; expected one of ", names);
  }
  fail("this processor is not supported: x86-64-v2 (SSE4.2) or 64-bit Arm is needed");
}

KernelTable make_table() {
  KernelTable t;
  constexpr std::pair<Kernel, KernelFn> any_dtype[] = {
      {Kernel::Copy, &run_copy},           {Kernel::Fill, &run_fill},
      {Kernel::Gather, &run_gather},       {Kernel::Scatter, &run_scatter},
      {Kernel::Embedding, &run_embedding}, {Kernel::NonzeroCount, &run_nonzero_count},
      {Kernel::Nonzero, &run_nonzero},     {Kernel::CountNonzero, &run_count_nonzero}};
  for (int d = 0; d < kNumDTypes; ++d) {
    const auto computed = static_cast<int>(compute_dtype(static_cast<DType>(d)));
    for (KernelId k = 0; k < kNumMapKernels; ++k) {
      if (isa().map[k][computed]) t.slot[k][d] = &run_map;
    }
    for (const auto& [k, fn] : any_dtype) t.slot[id(k)][d] = fn;
    for (int r = 0; r < Reductions::size; ++r) {
      if (isa().reduce[r][d].row) t.slot[kFirstReduction + r][d] = &run_reduce;
    }
    for (KernelId k : {reduce_kernel<ArgMax>, reduce_kernel<ArgMin>}) {
      if (isa().places[0][d].row) t.slot[k][d] = &run_places;
    }
  }
  // Of bools the driver itself finds whether any is true, or all are.
  for (KernelId k : {reduce_kernel<AMax>, reduce_kernel<AMin>}) t.at(k, DType::Bool) = &run_reduce;
  const auto set = [&](Kernel k, KernelFn fn, std::initializer_list<DType> dtypes) {
    for (DType d : dtypes) t.at(id(k), d) = fn;
  };
  const auto numbers = {DType::Int64, DType::Float32, DType::Float64};
  const auto floats = {DType::Float32, DType::Float64};
  set(Kernel::ScatterReduce, &run_scatter_reduce,
      {DType::Bool, DType::Int32, DType::Int64, DType::Float32, DType::Float64});
  set(Kernel::Isin, &run_isin, {DType::Int32, DType::Int64, DType::Float32, DType::Float64});
  set(Kernel::AllFinite, &run_all_finite,
      {DType::Float16, DType::BFloat16, DType::Float32, DType::Float64});
  set(Kernel::IndexOffsets, &run_index_offsets, {DType::Int32, DType::Int64});
  set(Kernel::Cumsum, &run_cumsum, numbers);
  set(Kernel::Cumprod, &run_cumprod, numbers);
  set(Kernel::Logcumsumexp, &run_logcumsumexp, floats);
  set(Kernel::Cummax, &run_cummax, numbers);
  set(Kernel::Cummin, &run_cummin, numbers);
  set(Kernel::Recurrence, &run_recurrence, floats);
  set(Kernel::Sort, &run_sort, numbers);
  set(Kernel::Topk, &run_topk, numbers);
  set(Kernel::Select, &run_select, numbers);
  set(Kernel::Searchsorted, &run_searchsorted, numbers);
  set(Kernel::Arange, &run_arange, numbers);
  set(Kernel::Linspace, &run_linspace, numbers);
  set(Kernel::Gemm, &run_gemm, numbers);
  set(Kernel::Gemm, &run_gemm, {DType::Float16, DType::BFloat16});
  set(Kernel::Bounds, &run_bounds, {DType::Int64});
  set(Kernel::Bincount, &run_bincount, {DType::Int64});
  set(Kernel::Dot, &run_dot, numbers);
  set(Kernel::Softmax, &run_softmax, floats);
  set(Kernel::LogSoftmax, &run_softmax, floats);
  set(Kernel::SoftmaxGrad, &run_softmax_grad, floats);
  set(Kernel::LogSoftmaxGrad, &run_softmax_grad, floats);
  set(Kernel::CrossEntropy, &run_cross_entropy, floats);
  set(Kernel::CrossEntropyGrad, &run_cross_entropy_grad, floats);
  set(Kernel::LayerNorm, &run_norm, floats);
  set(Kernel::RmsNorm, &run_norm, floats);
  set(Kernel::LayerNormGrad, &run_norm_grad, floats);
  set(Kernel::RmsNormGrad, &run_norm_grad, floats);
  set(Kernel::BatchNorm, &run_batch_norm, floats);
  set(Kernel::BatchNormGrad, &run_batch_norm_grad, floats);
  set(Kernel::EmbeddingGrad, &run_embedding_grad, floats);
  set(Kernel::Attention, &run_attention, floats);
  set(Kernel::AttentionGrad, &run_attention_grad, floats);
  for (KernelId k = id(Kernel::Uniform); k <= id(Kernel::Bernoulli); ++k) {
    set(static_cast<Kernel>(k), &run_random, floats);
  }
  set(Kernel::Randint, &run_randint, {DType::Int64});
  set(Kernel::Shuffle, &run_shuffle, {DType::Int64});
  set(Kernel::Dropout, &run_dropout, floats);
  set(Kernel::Poisson, &run_poisson, floats);
  set(Kernel::Multinomial, &run_multinomial, {DType::Int64});
  set(Kernel::OptimizerStep, &run_optimizer, {DType::BFloat16, DType::Float32, DType::Float64});
  set(Kernel::ManyNorm, &run_many_norm, {DType::Float64});
  set(Kernel::ManyClip, &run_many_clip, {DType::Float64});
  set(Kernel::ManyLimit, &run_many_limit, {DType::Float64});
  set(Kernel::ManyUnscale, &run_many_unscale, {DType::Float64});
  set(Kernel::UpdateScale, &run_update_scale, {DType::Float32});
  set(Kernel::Quantize, &run_quantize, {DType::Float32});
  set(Kernel::Dequantize, &run_dequantize, {DType::Float32});
  set(Kernel::Lu, &run_lu, floats);
  set(Kernel::Cholesky, &run_cholesky, floats);
  set(Kernel::SolveTriangular, &run_solve_triangular, floats);
  set(Kernel::Qr, &run_qr, floats);
  set(Kernel::Eigh, &run_eigh, floats);
  set(Kernel::Svd, &run_svd, floats);
  set(Kernel::Conv, &run_conv, floats);
  set(Kernel::ConvGradInput, &run_conv_grad_input, floats);
  set(Kernel::ConvGradWeight, &run_conv_grad_weight, floats);
  set(Kernel::MaxPool, &run_max_pool, numbers);
  set(Kernel::MaxPoolGrad, &run_max_pool_grad, floats);
  return t;
}

}  // namespace

bool machine_runs(std::string_view name) {
#if defined(__x86_64__)
  return name == "avx512" ? runs_avx512()
         : name == "avx2" ? runs_avx2()
                          : name == "v2" && runs_v2();
#else
  return name == "neon";
#endif
}

const CpuIsa& isa() {
  static const CpuIsa& chosen = choose();
  return chosen;
}

const CpuIsa* find_isa(const char* name) {
  for (int i = 0; i < kNumCandidates; ++i) {
    if (!std::strcmp(name, kCandidates[i].name) && kCandidates[i].usable()) return &filled(i);
  }
  return nullptr;
}

const KernelTable& table() {
  static const KernelTable t = make_table();
  return t;
}

const GemmIsa* find_gemm(const char* isa_name, DType dtype) {
  const CpuIsa* found = find_isa(isa_name);
  return found && is_floating(dtype) ? &found->gemm[static_cast<int>(dtype)] : nullptr;
}

UnaryLoop find_vmath(const char* isa_name, const char* function, DType dtype) {
  const CpuIsa* found = find_isa(isa_name);
  return found ? reinterpret_cast<UnaryLoop>(found->vmath(function, dtype)) : nullptr;
}

BinaryLoop find_vmath2(const char* isa_name, const char* function, DType dtype) {
  const CpuIsa* found = find_isa(isa_name);
  return found ? reinterpret_cast<BinaryLoop>(found->vmath(function, dtype)) : nullptr;
}

}  // namespace cpu
}  // namespace wengert
