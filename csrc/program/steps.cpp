// Many steps of a program in one call.
#include <algorithm>
#include <cstring>

#include "core/device_memory.h"
#include "ops/elementwise.h"
#include "ops/flat_launch.h"
#include "program/program.h"

namespace wengert {

// Cuts batches out of arrays: rows in order where they stand, others gathered.
class Program::Batches {
 public:
  Batches(std::span<const Tensor> arrays, int64_t batch, std::span<const int64_t> order)
      : arrays_(arrays), batch_(batch), order_(order) {
    for (const Tensor& a : arrays) {
      row_bytes_.push_back(a.stride(0) * static_cast<int64_t>(item_size(a.dtype())));
      Dims sizes = a.sizes();
      sizes[0] = batch;
      staged_.push_back(Tensor::empty(sizes, a.dtype(), a.device()));
      // Rows of an array on another device are gathered there, by places that are there too.
      if (a.device() == Device::CPU || places_.defined()) continue;
      places_ = Tensor::empty({static_cast<int64_t>(order.size())}, DType::Int64, a.device());
      write_memory(places_.data(), order.data(), order.size_bytes(), a.device());
    }
  }
  // Returns whether they are in order.
  bool cut(const int64_t* rows) {
    rows_ = rows;
    in_order_ = true;
    for (int64_t i = 1; i < batch_; ++i) in_order_ &= rows[i] == rows[i - 1] + 1;
    for (size_t a = 0; !in_order_ && a < arrays_.size(); ++a) {
      if (arrays_[a].device() != Device::CPU) {
        gather(a, rows - order_.data());
        continue;
      }
      const char* from = arrays_[a].data();
      const auto bytes = static_cast<size_t>(row_bytes_[a]);
      char* to = staged_[a].data();
      for (int64_t i = 0; i < batch_; ++i, to += bytes) {
        std::memcpy(to, from + rows[i] * row_bytes_[a], bytes);
      }
    }
    return in_order_;
  }
  char* data(size_t a) const {
    return in_order_ ? arrays_[a].data() + rows_[0] * row_bytes_[a] : staged_[a].data();
  }
  const Storage* storage(size_t a) const {
    return (in_order_ ? arrays_[a] : staged_[a])->storage.get();
  }
  std::vector<Tensor> tensors() const {
    if (!in_order_) return staged_;
    std::vector<Tensor> out;
    for (size_t a = 0; a < arrays_.size(); ++a) {
      out.push_back(arrays_[a].view(staged_[a].sizes(), arrays_[a].strides()));
      out.back()->data = data(a);
    }
    return out;
  }

 private:
  void gather(size_t a, int64_t from) const {
    const Tensor& to = staged_[a];
    Launch l = flat_launch(Kernel::Embedding, to.dtype(), Device::CUDA, to.numel(), 3);
    l.ndim = 2;
    l.size[0] = batch_;
    l.size[1] = to.stride(0);
    set_buffer(l, 0, to);
    set_buffer(l, 1, arrays_[a]);
    set_buffer(l, 2, places_);
    l.buffer[2].data = places_.data<int64_t>() + from;
    launch(l);
  }

  std::span<const Tensor> arrays_;
  int64_t batch_;
  std::span<const int64_t> order_;
  Tensor places_;  // the same on a device
  const int64_t* rows_ = nullptr;
  bool in_order_ = true;
  std::vector<Tensor> staged_;
  std::vector<int64_t> row_bytes_;
};

namespace {

void keep(const char* from, const Tensor& stacked, int64_t row) {
  const int64_t bytes =
      stacked.numel() / stacked.size(0) * static_cast<int64_t>(item_size(stacked.dtype()));
  copy_on(stacked.device(), stacked.data() + row * bytes, from, static_cast<size_t>(bytes));
}

}  // namespace

// A replay right after one, of other rows: what others see of it, tensors' versions and leaves'
// gradients, stands already. False if somebody has replayed it since.
bool Program::repeat(const Batches& batches, uint64_t binds, std::span<const Tensor> stacked,
                     int64_t row) {
  const std::unique_lock lock = hold();
  if (binds_ != binds) return false;
  for (size_t a = 0; a < r_.arguments.size(); ++a) {
    lead(r_.arguments[a].slot, batches.data(a), batches.storage(a));
  }
  refill();
  execute();
  for (size_t r = 0; r < stacked.size(); ++r) {
    const TensorPlace& p = r_.results[r];
    keep(static_cast<const char*>(bound_[p.slot].base) + p.offset, stacked[r], row);
  }
  return true;
}

int64_t Program::run(std::span<const Tensor> arrays, std::span<const int64_t> order,
                     std::span<const Tensor> stacked, const Pauses& pauses) {
  const int64_t batch = arrays.empty() ? 1 : r_.arguments[0].sizes[0];
  const int64_t steps = static_cast<int64_t>(order.size()) / std::max<int64_t>(batch, 1);
  Batches batches(arrays, batch, order);
  bool known = false, was_in_order = false;
  uint64_t binds = 0;
  for (int64_t k = 0; k < steps; ++k) {
    const bool in_order = batches.cut(order.data() + k * batch);
    if (!known || in_order != was_in_order || !repeat(batches, binds, stacked, k)) {
      const std::vector<Tensor> arguments = batches.tensors();
      if (refuses(arguments)) return k;
      const std::unique_lock lock = hold();
      const std::vector<Tensor> results = replay_held(arguments);
      for (size_t r = 0; r < stacked.size(); ++r) keep(results[r].data(), stacked[r], k);
      binds = binds_;
      was_in_order = in_order;
      known = repeats_;
    }
    if ((pauses.before + k + 1) % pauses.every) continue;
    if (!pauses.between(k)) return k + 1;
    known = false;
  }
  return steps;
}

}  // namespace wengert
