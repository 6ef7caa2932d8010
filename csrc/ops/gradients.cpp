// Norms and limits of many gradients: one launch, whatever their number.
#include <algorithm>
#include <cmath>

#include "ops/flat_launch.h"
#include "ops/inference.h"
#include "ops/ops.h"
#include "ops/optim.h"

namespace wengert {
namespace {

// Tensors as a launch wants them, dense and of dtypes that it knows.
struct Listed {
  std::vector<ListedTensor> items;
  std::vector<Tensor> kept;
  int64_t count = 0;
  void add(const Tensor& t) {
    kept.push_back(t);
    items.push_back({t.data(), t.numel(), t.dtype()});
    count += t.numel();
  }
};

void run(Kernel kernel, const Listed& listed, double a, double b, double* result = nullptr) {
  const TensorList list{listed.items.data(), static_cast<int64_t>(listed.items.size())};
  Launch l = flat_launch(kernel, DType::Float64, Device::CPU, listed.count, 0);
  l.pointer = &list;
  l.more_numbers[0] = a;
  l.more_numbers[1] = b;
  l.buffer[0].data = result;
  launch(l);
}

bool is_listed_dtype(DType d) {
  return d == DType::BFloat16 || d == DType::Float32 || d == DType::Float64;
}

// Whether some memory stands in the list twice: its changes must come one after the other.
bool shares_memory(const std::vector<Tensor>& tensors) {
  std::vector<const void*> storages;
  storages.reserve(tensors.size());
  for (const Tensor& t : tensors) storages.push_back(t->storage.get());
  std::sort(storages.begin(), storages.end());
  return std::adjacent_find(storages.begin(), storages.end()) != storages.end();
}

void check_floating(const char* op, const std::vector<Tensor>& tensors) {
  for (const Tensor& t : tensors) {
    if (is_floating(t.dtype())) continue;
    fail(op, ": a tensor of dtype ", name_of(t.dtype()), "; expected floating dtypes");
  }
}

Tensor dense_of(const Tensor& t) {
  const Tensor x = ops::detach(t);
  return ops::contiguous(is_listed_dtype(t.dtype()) ? x : ops::to(x, DType::Float32));
}

void change_all(const char* op, Kernel kernel, const std::vector<Tensor>& tensors, double a,
                double b) {
  const GradMode off(false);
  check_floating(op, tensors);
  for (const Tensor& t : tensors) check_inference(op, t);
  const bool apart = shares_memory(tensors);
  Listed listed;
  std::vector<std::pair<Tensor, Tensor>> copies;  // of what no launch takes as it is
  const auto finish = [&] {
    if (!listed.items.empty()) run(kernel, listed, a, b);
    for (const auto& [t, copy] : copies) ops::copy_into(t, copy);
    listed = {};
    copies.clear();
  };
  for (const Tensor& t : tensors) {
    if (t.contiguous() && is_listed_dtype(t.dtype())) {
      listed.add(t);
    } else {
      copies.emplace_back(t, dense_of(t));
      listed.add(copies.back().second);
    }
    if (apart) finish();
  }
  finish();
  const SourceScope from(source_here());
  for (const Tensor& t : tensors) note_change(op, t);
}

}  // namespace

Tensor norm_of_all(const std::vector<Tensor>& tensors, double order) {
  const GradMode off(false);
  check_floating("total norm", tensors);
  Listed listed;
  DType dtype = tensors.empty() ? DType::Float32 : tensors[0].dtype();
  for (const Tensor& t : tensors) {
    if (t.dtype() != dtype) dtype = promote_types(dtype, t.dtype());
    listed.add(t.contiguous() && is_listed_dtype(t.dtype()) ? t : dense_of(t));
  }
  double norm = 0;
  if (!listed.items.empty()) run(Kernel::ManyNorm, listed, order, 0, &norm);
  return Tensor::scalar(norm, dtype);
}

void scale_all(const char* op, const std::vector<Tensor>& tensors, double factor) {
  change_all(op, Kernel::ManyScale, tensors, factor, 0);
}

void limit_all(const char* op, const std::vector<Tensor>& tensors, double low, double high) {
  change_all(op, Kernel::ManyLimit, tensors, low, high);
}

double clip_factor(const Tensor& norm, double max_norm) {
  double factor;
  if (norm.dtype() == DType::Float64) {
    factor = max_norm / (norm.to_double() + 1e-6);
  } else {
    factor = static_cast<float>(max_norm) / (static_cast<float>(norm.to_double()) + 1e-6f);
  }
  return factor > 1 ? 1 : factor;  // NaN stays
}

}  // namespace wengert
