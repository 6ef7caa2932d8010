// Norms and limits of many gradients: one launch, whatever their number.
#include <algorithm>
#include <cmath>

#include "ops/elementwise.h"
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

// Numbers beside the list: some that do not change, and tensors of one.
struct Numbers {
  double a = 0, b = 0;
  std::vector<Tensor> tensors = {};
};

// All of one device.
void run(Kernel kernel, const Listed& listed, const Numbers& numbers) {
  const TensorList list{listed.items.data(), static_cast<int64_t>(listed.items.size())};
  Launch l = flat_launch(kernel, DType::Float64, listed.kept[0].device(), listed.count,
                         static_cast<int>(numbers.tensors.size()));
  l.pointer = &list;
  l.more_numbers[0] = numbers.a;
  l.more_numbers[1] = numbers.b;
  for (int k = 0; k < l.nbuffers; ++k) {
    set_buffer(l, k, numbers.tensors[static_cast<size_t>(k)]);
    l.buffer[k].stride[0] = 0;
  }
  if (HostWatcher* w = host_watcher()) w->on_use(listed.kept);
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

bool on_one_device(const std::vector<Tensor>& tensors) {
  return std::all_of(tensors.begin(), tensors.end(),
                     [&](const Tensor& t) { return t.device() == tensors[0].device(); });
}
// The tensors of each device.
std::vector<std::vector<Tensor>> by_device(const std::vector<Tensor>& tensors) {
  std::vector<std::vector<Tensor>> parts;
  for (const Tensor& t : tensors) {
    auto part = parts.begin();
    while (part != parts.end() && (*part)[0].device() != t.device()) ++part;
    if (part == parts.end()) part = parts.insert(part, std::vector<Tensor>());
    part->push_back(t);
  }
  return parts;
}

Tensor dense_of(const Tensor& t) {
  const DefaultDevice there(t.device());
  const Tensor x = ops::detach(t);
  return ops::contiguous(is_listed_dtype(t.dtype()) ? x : ops::to(x, DType::Float32));
}

// Changes tensors of one device.
void change_there(Kernel kernel, const std::vector<Tensor>& tensors, const Numbers& numbers) {
  const bool apart = shares_memory(tensors);
  Listed listed;
  std::vector<std::pair<Tensor, Tensor>> copies;  // of what no launch takes as it is
  const auto finish = [&] {
    if (!listed.items.empty()) run(kernel, listed, numbers);
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
}

void change_all(const char* op, Kernel kernel, const std::vector<Tensor>& tensors,
                const Numbers& numbers) {
  const GradMode off(false);
  check_floating(op, tensors);
  for (const Tensor& t : tensors) check_inference(op, t);
  const auto change = [&](const std::vector<Tensor>& part) {
    Numbers there = numbers;
    for (Tensor& t : there.tensors) t = ops::to_device(t, part[0].device());
    change_there(kernel, part, there);
    if (kernel == Kernel::ManyUnscale && part[0].device() != numbers.tensors[0].device()) {
      ops::copy_into(numbers.tensors[0], there.tensors[0]);
    }
  };
  if (tensors.empty()) return;
  if (on_one_device(tensors)) {
    change(tensors);
  } else {
    for (const std::vector<Tensor>& part : by_device(tensors)) change(part);
  }
  const SourceScope from(source_here());
  for (const Tensor& t : tensors) note_change(op, t);
}

}  // namespace

Tensor norm_of_all(const std::vector<Tensor>& tensors, double order) {
  const GradMode off(false);
  check_floating("total norm", tensors);
  if (!on_one_device(tensors)) {
    std::vector<Tensor> norms;
    for (const auto& part : by_device(tensors)) {
      norms.push_back(ops::to_device(norm_of_all(part, order), tensors[0].device()));
    }
    return norm_of_all(norms, order);
  }
  const DefaultDevice there(tensors.empty() ? Device::CPU : tensors[0].device());
  Listed listed;
  DType dtype = tensors.empty() ? DType::Float32 : tensors[0].dtype();
  for (const Tensor& t : tensors) {
    if (t.dtype() != dtype) dtype = promote_types(dtype, t.dtype());
    listed.add(t.contiguous() && is_listed_dtype(t.dtype()) ? t : dense_of(t));
  }
  if (listed.items.empty()) return ops::zeros({}, dtype);
  const Tensor norm = Tensor::empty({}, dtype == DType::Float64 ? dtype : DType::Float32);
  run(Kernel::ManyNorm, listed, {order, 0, {norm}});
  return ops::to(norm, dtype);
}

Tensor clipping_norm(const Tensor& norm) {
  if (norm.numel() != 1 || !is_floating(norm.dtype())) {
    fail("clip_grads_with_norm_: total_norm of shape ", norm.sizes(), " and dtype ",
         name_of(norm.dtype()), "; expected one floating point number");
  }
  const GradMode off(false);
  const DefaultDevice there(norm.device());
  const bool wide = norm.dtype() == DType::Float64;
  return ops::detach(ops::to(norm, wide ? DType::Float64 : DType::Float32));
}

void clip_all(const char* op, const std::vector<Tensor>& tensors, const Tensor& norm,
              double max_norm) {
  change_all(op, Kernel::ManyClip, tensors, {max_norm, 0, {clipping_norm(norm)}});
}

void limit_all(const char* op, const std::vector<Tensor>& tensors, double low, double high) {
  change_all(op, Kernel::ManyLimit, tensors, {low, high});
}

void check_number(const char* op, const char* name, const Tensor& t, DType dtype) {
  if (t.numel() == 1 && t.dtype() == dtype) return;
  fail(op, ": ", name, " of shape ", t.sizes(), " and dtype ", name_of(t.dtype()),
       "; expected one number of dtype ", name_of(dtype));
}

void unscale_all(const char* op, const std::vector<Tensor>& tensors, const Tensor& found_inf,
                 const Tensor& scale) {
  check_number(op, "found_inf", found_inf, DType::Float32);
  check_number(op, "scale", scale, DType::Float32);
  change_all(op, Kernel::ManyUnscale, tensors, {0, 0, {found_inf, scale}});
}

void update_scale(const Tensor& scale, const Tensor& steps, const Tensor& found_inf, double growth,
                  double backoff, int64_t interval) {
  constexpr const char* op = "GradScaler.update";
  check_number(op, "scale", scale, DType::Float32);
  check_number(op, "growth_tracker", steps, DType::Int32);
  check_number(op, "found_inf", found_inf, DType::Float32);
  Launch l = flat_launch(Kernel::UpdateScale, DType::Float32, scale.device(), 1, 3);
  int k = 0;
  for (const Tensor* t : {&scale, &steps, &found_inf}) {
    set_buffer(l, k, *t);
    l.buffer[k++].stride[0] = 0;
  }
  l.more_numbers[0] = growth;
  l.more_numbers[1] = backoff;
  l.more_numbers[2] = static_cast<double>(interval);
  launch(l);
  note_change(op, scale);
  note_change(op, steps);
}

}  // namespace wengert
