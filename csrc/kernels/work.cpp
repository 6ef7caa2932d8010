#include "kernels/work.h"

#include <algorithm>

#include "kernels/added.h"

namespace wengert {
namespace {

double flops_of(const Launch& l) {
  const auto n = static_cast<double>(l.count);
  if (!is_floating(l.dtype)) return 0;
  if (l.kernel < kNumMapKernels) return l.kernel % kIdsPerFunctor ? 2 * n : n;
  if (l.kernel < kFirstReduction + Reductions::size) return n;
  if (is_added_map(l.kernel)) return added_part(l.kernel) ? 2 * n : n;
  // of linear algebra: batch, rows, columns
  const auto size = [&](int d) { return static_cast<double>(l.size[d]); };
  switch (static_cast<Kernel>(l.kernel)) {
    case Kernel::Gemm: {
      const auto& p = *static_cast<const GemmParams*>(l.pointer);
      const auto m = static_cast<double>(p.m), k = static_cast<double>(p.k);
      const double entries = n * m * static_cast<double>(p.n);
      return entries * (2 * k + p.has_bias + p.has_activation);
    }
    case Kernel::Softmax:
    case Kernel::LogSoftmax:
    case Kernel::CrossEntropy:
      return 5 * size(0) * size(1);
    case Kernel::SoftmaxGrad:
    case Kernel::LogSoftmaxGrad:
    case Kernel::CrossEntropyGrad:
      return 4 * size(0) * size(1);
    case Kernel::LayerNorm:
    case Kernel::RmsNorm:
    case Kernel::BatchNorm:
      return 7 * n;
    case Kernel::LayerNormGrad:
    case Kernel::RmsNormGrad:
    case Kernel::BatchNormGrad:
      return 12 * n;
    case Kernel::EmbeddingGrad:
      return n;
    case Kernel::Attention:
    case Kernel::AttentionGrad: {
      const bool back = l.kernel == id(Kernel::AttentionGrad);
      const auto q = static_cast<double>(l.more[2]), v = static_cast<double>(l.more[3]);
      return n * (back ? 6 * q + 4 * v + 8 : 2 * q + 2 * v + 5) * (l.more[5] ? 0.5 : 1);
    }
    case Kernel::ScatterReduce:
    case Kernel::Dropout:
    case Kernel::Cumsum:
    case Kernel::Cumprod:
    case Kernel::Cummax:
    case Kernel::Cummin:
      return n;
    case Kernel::Logcumsumexp:
      return 4 * n;
    case Kernel::Dot:
    case Kernel::Recurrence:
      return 2 * n;
    case Kernel::Lu:
      return size(0) * size(1) * size(2) * std::min(size(1), size(2)) * 2 / 3;
    case Kernel::Cholesky:
      return size(0) * size(1) * size(1) * size(1) / 3;
    case Kernel::SolveTriangular:
      return size(0) * size(1) * size(1) * size(2);
    case Kernel::Qr:
      return 4 * size(0) * size(1) * size(2) * std::min(size(1), size(2));
    case Kernel::Eigh:
      return 9 * size(0) * size(1) * size(2) * size(2);
    case Kernel::Svd:
      return 12 * size(0) * size(1) * size(2) * std::min(size(1), size(2));
    case Kernel::Conv:
    case Kernel::ConvGradInput:
    case Kernel::ConvGradWeight:
      return 2 * static_cast<const ConvParams*>(l.pointer)->macs();
    case Kernel::MaxPool: {
      const auto& p = *static_cast<const PoolParams*>(l.pointer);
      return p.adaptive ? static_cast<double>(p.planes * p.input_size())
                        : n * static_cast<double>(p.kernel[0] * p.kernel[1] * p.kernel[2]);
    }
    case Kernel::MaxPoolGrad:
      return n;
    default:
      return 0;
  }
}

bool is_place(KernelId k) {
  return k == reduce_kernel<ArgMax> || k == reduce_kernel<ArgMin>;
}

// Launches by rows, scans and linear algebra are dense and have no strides.
bool has_strides(const Launch& l, int buffer) {
  if (l.kernel < kNumMapKernels || is_added_map(l.kernel)) return true;
  if (l.kernel < kFirstReduction + Reductions::size) return buffer < 2 || is_place(l.kernel);
  switch (static_cast<Kernel>(l.kernel)) {
    case Kernel::Copy:
    case Kernel::Dot:
    case Kernel::Fill:
    case Kernel::Gather:
    case Kernel::Scatter:
    case Kernel::ScatterReduce:
      return true;
    case Kernel::CountNonzero:
      return buffer < 2;
    default:
      return false;
  }
}

double elements_of(const Launch& l, int buffer) {
  const Buffer& b = l.buffer[buffer];
  const bool strided = has_strides(l, buffer);
  int64_t n = 1;
  for (int d = 0; d < l.ndim; ++d) {
    if (!strided || b.stride[d] != 0) n *= l.size[d];
  }
  const auto held = static_cast<int64_t>(b.storage->bytes / item_size(b.dtype));
  return static_cast<double>(std::min(n, held));
}

}  // namespace

Work work_of(const Launch& l) {
  Work w{flops_of(l), 0};
  if (l.kernel == id(Kernel::Gemm)) {
    const auto& p = *static_cast<const GemmParams*>(l.pointer);
    const int64_t entries = p.m * p.k + p.k * p.n + p.m * p.n * (p.accumulate ? 2 : 1);
    w.bytes = static_cast<double>((entries + (p.has_bias ? p.n : 0)) * l.count) *
              static_cast<double>(item_size(l.dtype));
    return w;
  }
  for (int k = 0; k < l.nbuffers; ++k) {
    w.bytes += elements_of(l, k) * static_cast<double>(item_size(l.buffer[k].dtype));
  }
  return w;
}

int buffers_written(const Launch& l) {
  if (is_place(l.kernel)) return l.nbuffers - 1;
  switch (static_cast<Kernel>(l.kernel)) {
    case Kernel::CrossEntropy:
    case Kernel::LayerNormGrad:
    case Kernel::RmsNormGrad:
    case Kernel::BatchNormGrad:
    case Kernel::AttentionGrad:
      return 3;
    case Kernel::LayerNorm:
    case Kernel::RmsNorm:
    case Kernel::BatchNorm:
    case Kernel::Attention:
    case Kernel::Cummax:
    case Kernel::Cummin:
    case Kernel::Sort:
    case Kernel::Topk:
    case Kernel::Select:
    case Kernel::MaxPool:
    case Kernel::IndexOffsets:
    case Kernel::UpdateScale:
    case Kernel::Quantize:
      return 2;
    case Kernel::ManyClip:
      return 0;
    case Kernel::Lu:
    case Kernel::Cholesky:
    case Kernel::Qr:
    case Kernel::Eigh:
    case Kernel::Svd:
      return l.nbuffers;
    default:
      return std::min<int>(l.nbuffers, 1);
  }
}

bool draws_random_numbers(KernelId kernel) {
  switch (static_cast<Kernel>(kernel)) {
    case Kernel::Uniform:
    case Kernel::Normal:
    case Kernel::LogNormal:
    case Kernel::Exponential:
    case Kernel::Geometric:
    case Kernel::Cauchy:
    case Kernel::Bernoulli:
    case Kernel::Randint:
    case Kernel::Poisson:
    case Kernel::Multinomial:
      return true;
    default:
      return false;
  }
}

bool takes_stream(const Launch& l) {
  if (draws_random_numbers(l.kernel)) return l.kernel != id(Kernel::Multinomial);
  if (l.kernel == id(Kernel::Dropout)) return true;
  const bool attention = l.kernel == id(Kernel::Attention) || l.kernel == id(Kernel::AttentionGrad);
  return attention && l.number[1] > 0;
}

unsigned states_used(const OptimizerLaunch& s) {
  switch (s.rule) {
    case OptimizerRule::SGD:
      return s.momentum != 0 ? 1 : 0;
    case OptimizerRule::RMSprop:
      return 1u | (s.momentum != 0 ? 2u : 0u) | (s.centered ? 4u : 0u);
    case OptimizerRule::Adagrad:
      return 1;
    case OptimizerRule::Adam:
      return 3u | (s.amsgrad ? 4u : 0u);
  }
  return 0;
}

}  // namespace wengert
