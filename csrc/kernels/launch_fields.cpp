// What the operations set of a launch, by kernel.
#include "kernels/reach_space.h"

namespace wengert {

ParamsKind params_of(KernelId kernel) {
  switch (static_cast<Kernel>(kernel)) {
    case Kernel::Gemm:
      return ParamsKind::Gemm;
    case Kernel::Conv:
    case Kernel::ConvGradInput:
    case Kernel::ConvGradWeight:
      return ParamsKind::Conv;
    case Kernel::MaxPool:
      return ParamsKind::Pool;
    case Kernel::OptimizerStep:
      return ParamsKind::Optimizer;
    case Kernel::ManyNorm:
    case Kernel::ManyClip:
    case Kernel::ManyLimit:
    case Kernel::ManyUnscale:
      return ParamsKind::List;
    default:
      return ParamsKind::None;
  }
}

LaunchFields fields_of(KernelId kernel) {
  if (kernel < kNumMapKernels) return {kMaps[kernel / kIdsPerFunctor].params ? 4 : 0, 0};
  if (kernel < kFirstReduction + Reductions::size) return {1, 1};
  switch (static_cast<Kernel>(kernel)) {
    case Kernel::Transfer:
    case Kernel::Fill:
    case Kernel::Embedding:
    case Kernel::CountNonzero:
    case Kernel::Cumsum:
    case Kernel::Cumprod:
    case Kernel::Logcumsumexp:
    case Kernel::Cummax:
    case Kernel::Cummin:
    case Kernel::Recurrence:
    case Kernel::Quantize:
    case Kernel::Dequantize:
    case Kernel::MaxPoolGrad:
      return {1, 0};
    case Kernel::CrossEntropy:
    case Kernel::CrossEntropyGrad:
    case Kernel::Scatter:
    case Kernel::ScatterReduce:
    case Kernel::Isin:
    case Kernel::Searchsorted:
    case Kernel::Arange:
    case Kernel::Linspace:
    case Kernel::Multinomial:
    case Kernel::Lu:
    case Kernel::Cholesky:
    case Kernel::SolveTriangular:
    case Kernel::Qr:
    case Kernel::Eigh:
    case Kernel::Svd:
      return {2, 0};
    case Kernel::BatchNorm:
    case Kernel::BatchNormGrad:
    case Kernel::EmbeddingGrad:
    case Kernel::IndexOffsets:
    case Kernel::Sort:
    case Kernel::Topk:
    case Kernel::Select:
      return {3, 0};
    case Kernel::LayerNorm:
    case Kernel::RmsNorm:
    case Kernel::LayerNormGrad:
    case Kernel::RmsNormGrad:
      return {3, 2};
    case Kernel::Attention:
    case Kernel::AttentionGrad:
      return {2, 7};
    case Kernel::Uniform:
    case Kernel::Normal:
    case Kernel::LogNormal:
    case Kernel::Exponential:
    case Kernel::Geometric:
    case Kernel::Cauchy:
    case Kernel::Bernoulli:
    case Kernel::Randint:
    case Kernel::Dropout:
    case Kernel::Poisson:
      return {2, 3};
    case Kernel::ManyNorm:
    case Kernel::ManyClip:
    case Kernel::ManyLimit:
    case Kernel::ManyUnscale:
      return {0, 2};
    case Kernel::UpdateScale:
      return {0, 3};
    default:
      return {};
  }
}

bool writes_apart(KernelId kernel) {
  switch (static_cast<Kernel>(kernel)) {
    case Kernel::Sort:
    case Kernel::Topk:
    case Kernel::Select:
    case Kernel::Multinomial:
    case Kernel::Shuffle:
    case Kernel::UpdateScale:
    case Kernel::Lu:
    case Kernel::Cholesky:
    case Kernel::SolveTriangular:
    case Kernel::Qr:
    case Kernel::Eigh:
    case Kernel::Svd:
      return true;
    default:
      return false;
  }
}

bool goes_by_strides(const Launch& l, int buffer) {
  if (l.kernel < kNumMapKernels) return true;
  if (l.kernel < kFirstReduction + Reductions::size) {
    const bool places = l.kernel == reduce_kernel<ArgMax> || l.kernel == reduce_kernel<ArgMin>;
    return buffer == (places ? l.nbuffers - 1 : 1);
  }
  switch (static_cast<Kernel>(l.kernel)) {
    case Kernel::Copy:
    case Kernel::Fill:
    case Kernel::Gather:
    case Kernel::Scatter:
    case Kernel::ScatterReduce:
    case Kernel::Attention:
    case Kernel::AttentionGrad:
      return true;
    case Kernel::Dot:
      return buffer > 0;
    case Kernel::CountNonzero:
      return buffer == 1;
    case Kernel::IndexOffsets:
      return buffer != 1;
    case Kernel::Gemm:
      return buffer < 3;
    default:
      return false;
  }
}

}  // namespace wengert
