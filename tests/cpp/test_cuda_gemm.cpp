// Matrix products on the CUDA device with every activation that a program may join to one, against
// the processor's: common ones, and those that a second kernel applies, to sums or in place.
#include <gtest/gtest.h>

#include <cmath>
#include <random>
#include <utility>
#include <vector>

#include "core/device_memory.h"
#include "core/tensor.h"
#include "kernels/cuda/cuda.h"
#include "kernels/launch.h"
#include "kernels/reach_space.h"

namespace wengert {
namespace {

constexpr int64_t kM = 9, kN = 21, kK = 24, kBatch = 2;

struct Operands {
  Tensor c, a, b, bias;
};

Operands made(DType dtype, Device device) {
  std::mt19937 random(7);
  // Sums below 1, where functions are steep.
  std::uniform_real_distribution<double> values(0.05, 0.25);
  const auto tensor = [&](std::initializer_list<int64_t> sizes) {
    const Tensor t =
        Tensor::empty(Dims(sizes.begin(), static_cast<int>(sizes.size())), dtype, device);
    std::vector<char> bytes(t->storage->bytes);
    visit(dtype, [&]<class T>() {
      T* const to = reinterpret_cast<T*>(bytes.data());
      for (int64_t i = 0; i < t.numel(); ++i) to[i] = convert<T>(values(random));
    });
    write_memory(t->data, bytes.data(), bytes.size(), device);
    return t;
  };
  return {tensor({kBatch, kM, kN}), tensor({kBatch, kM, kK}), tensor({kK, kN}), tensor({kN})};
}

std::vector<double> multiplied(DType dtype, Device device, KernelId activation) {
  const Operands o = made(dtype, device);
  GemmParams p{};
  p.m = kM, p.n = kN, p.k = kK;
  p.a_rs = kK, p.a_cs = 1, p.b_rs = kN, p.b_cs = 1, p.c_rs = kN;
  p.has_bias = p.has_activation = true;
  p.activation = activation;
  Launch l;
  l.kernel = id(Kernel::Gemm);
  l.dtype = dtype;
  l.device = device;
  l.dense = false;
  l.ndim = 1;
  l.size[0] = l.count = kBatch;
  l.nbuffers = 4;
  l.pointer = &p;
  const Tensor* tensors[] = {&o.c, &o.a, &o.b, &o.bias};
  const int64_t steps[] = {kM * kN, kM * kK, 0, 0};
  for (int k = 0; k < 4; ++k) {
    l.buffer[k].data = (*tensors[k])->data;
    l.buffer[k].storage = (*tensors[k])->storage.get();
    l.buffer[k].dtype = dtype;
    l.buffer[k].stride[0] = steps[k];
  }
  launch(l);
  std::vector<char> bytes(o.c->storage->bytes);
  read_memory(bytes.data(), o.c->data, bytes.size(), device);
  std::vector<double> out;
  visit(dtype, [&]<class T>() {
    for (int64_t i = 0; i < o.c.numel(); ++i) {
      out.push_back(convert<double>(reinterpret_cast<const T*>(bytes.data())[i]));
    }
  });
  return out;
}

TEST(CudaGemm, Activations) {
  if (!cuda::is_available()) GTEST_SKIP() << cuda::why_none();
  cuda::require();
  const int64_t on_host = cuda::host_launches();
  int tried = 0;
  for (const char* tile : {"large", "small", "thin", "thin,turned"}) {
    cuda::force_gemm(tile);
    for (KernelId functor = 0; functor < MapFunctors::size; ++functor) {
      const MapTraits& m = kMaps[functor];
      const auto kernel = static_cast<KernelId>(functor * kIdsPerFunctor);
      if (m.arity != 1 || m.params != 0 || m.kind == Kind::Compare) continue;
      for (const auto& [dtype, tolerance] : {std::pair{DType::Float32, 1e-5},
                                             {DType::Float64, 1e-12},
                                             {DType::BFloat16, 1e-2},
                                             {DType::Float16, 2e-3}}) {
        if (!cuda::table().at(kernel, dtype)) continue;
        const auto found = multiplied(dtype, Device::CUDA, kernel);
        const auto wanted = multiplied(dtype, Device::CPU, kernel);
        ++tried;
        for (size_t i = 0; i < wanted.size(); ++i) {
          if (std::isnan(wanted[i]) && std::isnan(found[i])) continue;
          if (wanted[i] == found[i]) continue;
          ASSERT_LE(std::fabs(found[i] - wanted[i]), tolerance * (1 + std::fabs(wanted[i])) * 4)
              << kernel_name(kernel) << ' ' << name_of(dtype) << ' ' << tile << ' ' << i;
        }
      }
    }
  }
  cuda::force_gemm("");
  EXPECT_GT(tried, 100);
  EXPECT_EQ(cuda::host_launches(), on_host);
}

}  // namespace
}  // namespace wengert
