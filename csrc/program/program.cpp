#include "program/program.h"

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstring>
#include <utility>

#include "core/device_memory.h"
#include "core/error.h"
#include "kernels/cpu/parallel.h"
#include "kernels/work.h"
#include "ops/ops.h"
#include "ops/optim.h"

namespace wengert {
namespace {

bool same_geometry(const Tensor& t, const TensorPlace& p) {
  return t.dtype() == p.dtype && t.sizes() == p.sizes && t.strides() == p.strides;
}

// A step that lets other threads run costs more than it gains below this.
constexpr double kLongBytes = 1 << 20, kLongFlops = 1 << 21;

// Elements up to which an elementwise launch is one thread's.
constexpr int64_t kDirectCount = 16384;

}  // namespace

Program::Program(Recording recording, size_t memory_limit)
    : recorded_(bytes_of(recording)),
      r_(std::move(recording)),
      plan_(make_plan(r_, memory_limit)),
      pointers_(r_.slots.size()),
      bound_(r_.slots.size()),
      leaf_grads_(r_.leaves.size()) {
  for (int d = 0; d < kNumDevices; ++d) {
    const size_t bytes = plan_.after.arenas[d];
    if (bytes || d == 0) arena_[d] = Storage::make(bytes, static_cast<Device>(d));
  }
  for (const Step& s : r_.steps) {
    for (const SlotPointer& p : s.pointers) pointers_[p.slot].push_back(p);
  }
  make_ops();
  Work all{};
  for (const Step& s : r_.steps) {
    all.flops += s.work.flops;
    all.bytes += s.work.bytes;
  }
  is_long_ = all.bytes > kLongBytes || all.flops > kLongFlops;
  for (uint32_t i = 0; i < r_.slots.size(); ++i) {
    Slot& s = r_.slots[i];
    const bool by_reference =
        s.kind == Slot::External || s.kind == Slot::Argument || s.kind == Slot::Gradient;
    if (by_reference && s.written) changed_.push_back(i);
    switch (s.kind) {
      case Slot::Constant:
        s.storage = Storage::make(s.bytes, s.device);
        if (!s.content.empty()) {
          write_memory(s.storage->data, s.content.data(), s.bytes, s.device);
        }
        if (s.written) refilled_.push_back(i);
        patch(i, s.storage->data, s.storage.get());
        break;
      case Slot::Intermediate:
        if (const Storage* arena = arena_[static_cast<int>(s.device)].get(); !s.in_tile && arena) {
          patch(i, static_cast<char*>(arena->data) + s.offset, arena);
        }
        break;
      case Slot::External:
        held_.push_back(s.storage.get());
        patch(i, s.storage->data, s.storage.get());
        break;
      case Slot::Result:
        fresh_.push_back(i);
        if (!s.content.empty()) refilled_.push_back(i);
        break;
      case Slot::Argument:
      case Slot::Gradient:
        break;
    }
    s.base = nullptr;
  }
  repeats_ = true;
  for (const LeafPlace& l : r_.leaves) {
    repeats_ &= l.argument < 0 && !(l.looked_at && l.changed && l.after.slot != l.before.slot);
  }
  for (size_t i = 0; i < r_.arguments.size(); ++i) {
    repeats_ &= r_.slots[r_.arguments[i].slot].index == i;
  }
}

void Program::make_ops() {
  std::vector<const Group*> begins(r_.steps.size());
  for (const Group& g : plan_.groups) begins[static_cast<size_t>(g.first)] = &g;
  directs_.reserve(r_.steps.size());
  const auto direct = [&](const Step& s) {
    const Launch& l = s.launch->launch;
    const DenseLoop loop = l.count <= kDirectCount ? dense_loop(l) : nullptr;
    if (!loop || l.nbuffers > Direct::kMost) return false;
    Direct& d = directs_.emplace_back(Direct{loop, l.count, l.number, {}});
    for (const SlotPointer& p : s.pointers) {
      for (int k = 0; k < l.nbuffers; ++k) {
        if (p.at != &l.buffer[k].data) continue;
        pointers_[p.slot].push_back({&d.buffer[k], nullptr, p.slot, p.offset});
      }
    }
    return true;
  };
  plain_ops_.reserve(r_.steps.size());
  for (uint32_t i = 0; i < r_.steps.size(); ++i) {
    const Step& s = r_.steps[i];
    Op op{Op::Kernel, i, s.kernel, s.launch ? &s.launch->launch : nullptr};
    if (!s.launch) {
      op.kind = Op::Check;
    } else if (s.generator >= 0) {
      op.kind = Op::Draw;
    } else if (s.settings) {
      op.kind = Op::Optimize;
    } else if (direct(s)) {
      op.kind = Op::Dense;
      op.index = static_cast<uint32_t>(directs_.size() - 1);
    }
    plain_ops_.push_back(op);
  }
  for (size_t i = 0; i < plain_ops_.size();) {
    const Group* g = begins[i];
    if (!g) {
      ops_.push_back(plain_ops_[i++]);
      continue;
    }
    const auto kind = g->kind == Group::Tiles ? Op::Tiles : Op::Together;
    ops_.push_back({kind, static_cast<uint32_t>(g - plan_.groups.data()), nullptr, nullptr});
    i += static_cast<size_t>(g->count);
  }
  std::vector<bool> by_graph;
  for (const Op& op : ops_) by_graph.push_back(op.launch && cuda::Graph::takes(*op.launch));
  const auto on_device = [](const Op& op) { return op.launch && op.launch->device != Device::CPU; };
  if (std::any_of(ops_.begin(), ops_.end(), on_device)) {
    device_run_ = std::make_unique<DeviceRun>(r_, by_graph);
  }
}

// --- a replay ----------------------------------------------------------------------------------

void Program::patch(uint32_t slot, void* base, const Storage* storage) {
  Bound& b = bound_[slot];
  if (b.base == base && b.of == storage) return;
  b.base = base;
  b.of = storage;
  for (const SlotPointer& p : pointers_[slot]) {
    void* const to = static_cast<char*>(base) + p.offset;
    std::memcpy(p.at, &to, sizeof to);
    if (p.storage) *p.storage = storage;
  }
}

// To memory that is another at each replay.
void Program::lead(uint32_t slot, void* base, const Storage* storage) {
  if (device_run_) {
    if (const Storage* own = device_run_->settle(slot, base)) {
      base = own->data;
      storage = own;
    }
  }
  patch(slot, base, storage);
}

Leaf& Program::leaf_at(const LeafPlace& place, std::span<const Tensor> arguments) const {
  if (place.argument < 0) return static_cast<Leaf&>(*place.leaf);
  return static_cast<Leaf&>(*node_of(arguments[static_cast<size_t>(place.argument)]));
}

bool Program::read_settings() {
  for (Step& s : r_.steps) {
    if (!s.settings) continue;
    OptimizerLaunch& o = *s.launch->optimizer();
    OptimizerLaunch next = o;
    s.settings->read(next);
    if (states_used(next) != states_used(o)) return false;
    o = next;
  }
  return true;
}

const char* Program::refuses(std::span<const Tensor> arguments) const {
  if (arguments.size() != r_.arguments.size()) return "the number of tensors";
  for (size_t i = 0; i < arguments.size(); ++i) {
    const TensorPlace& p = r_.arguments[i];
    if (!same_geometry(arguments[i], p)) return "shape, strides or dtype of an argument";
    const bool leaf = arguments[i]->node && node_of(arguments[i])->active;
    if (leaf != p.requires_grad || (leaf && !is_leaf(arguments[i]))) {
      return "whether an argument requires grad";
    }
    if (leaf && !hooks_of(*node_of(arguments[i])).empty()) return "an argument's hooks";
    // Views may be changed in place where a leaf may not.
    if (leaf && static_cast<bool>(arguments[i]->base) != p.is_view)
      return "whether an argument is a view";
    // Arguments that shared memory still do, at the same distance, and others do not.
    const Tensor& first = arguments[r_.slots[p.slot].index];
    if (first->storage.get() != arguments[i]->storage.get() ||
        arguments[i].data() - first.data() != p.offset) {
      return "which arguments share memory";
    }
    if (r_.slots[p.slot].index != i) continue;
    for (size_t k = 0; k < i; ++k) {
      if (arguments[k]->storage.get() == first->storage.get() && r_.arguments[k].slot != p.slot) {
        return "which arguments share memory";
      }
    }
    if (std::find(held_.begin(), held_.end(), first->storage.get()) != held_.end()) {
      return "an argument that shares memory with what the function holds";
    }
  }
  for (const LeafPlace& l : r_.leaves) {
    if (!l.looked_at) continue;
    const Tensor& grad = leaf_at(l, arguments).grad;
    if (grad.defined() != (l.before.slot != TensorPlace::kNone)) {
      return "whether a tensor has a gradient";
    }
    if (grad.defined() && !same_geometry(grad, l.before)) return "a gradient's strides";
  }
  return nullptr;
}

// Memory that nobody but this program and the leaf knows of can be written again.
void Program::renew(uint32_t slot) {
  Bound& b = bound_[slot];
  if (!b.storage || !b.storage->unique()) {
    b.storage = Storage::make(r_.slots[slot].bytes, r_.slots[slot].device);
    lead(slot, b.storage->data, b.storage.get());
  }
}

void Program::refill() {
  for (uint32_t slot : refilled_) {
    const Slot& s = r_.slots[slot];
    write_memory(bound_[slot].base, s.content.data(), s.bytes, s.device);
  }
}

void Program::bind(std::span<const Tensor> arguments) {
  ++binds_;
  for (size_t i = 0; i < arguments.size(); ++i) {
    const TensorPlace& p = r_.arguments[i];
    if (r_.slots[p.slot].index == i) lead(p.slot, arguments[i].data(), arguments[i]->storage.get());
  }
  for (size_t i = 0; i < r_.leaves.size(); ++i) {
    const LeafPlace& l = r_.leaves[i];
    Leaf& leaf = leaf_at(l, arguments);
    if (l.before.slot != TensorPlace::kNone && r_.slots[l.before.slot].kind == Slot::Gradient) {
      lead(l.before.slot, leaf.grad.data() - l.before.offset, leaf.grad->storage.get());
      bound_[l.before.slot].storage = leaf.grad->storage;
    }
    // A gradient of ours that nobody else holds goes, and its memory with it, to be written again.
    Tensor& ours = leaf_grads_[i];
    if (!ours.defined() || !l.changed || l.before.slot != TensorPlace::kNone) continue;
    const bool in_leaf = leaf.grad.impl() == ours.impl();
    if (in_leaf && ours->refs.load(std::memory_order_acquire) == 2) leaf.grad.reset();
    ours.reset();
  }
  for (uint32_t slot : fresh_) renew(slot);
  refill();
}

// What an operation reads of the host's.
void Program::prepare(const Op& op, const std::vector<RandomState>& starts) {
  if (op.kind == Op::Draw) {
    const Step& s = r_.steps[op.index];
    const RandomState& from = starts[static_cast<size_t>(s.generator)];
    op.launch->more[0] = static_cast<int64_t>(from.seed);
    op.launch->more[1] = static_cast<int64_t>(from.counter + s.counter);
  } else if (op.kind == Op::Optimize) {
    KeptLaunch& kept = *r_.steps[op.index].launch;
    count_step(kept.launch, kept.items());
  }
}

void Program::run_op(const Op& op, const std::vector<RandomState>& starts) {
  switch (op.kind) {
    case Op::Draw:
    case Op::Optimize:
      prepare(op, starts);
      return op.kernel(*op.launch);
    case Op::Kernel:
      return op.kernel(*op.launch);
    case Op::Dense: {
      const Direct& d = directs_[op.index];
      return d.loop(d.buffer, d.count, d.params);
    }
    case Op::Check: {
      const Step& s = r_.steps[op.index];
      return s.check(s.checked);
    }
    case Op::Tiles:
      return run_tiles(plan_.groups[op.index].tiles);
    case Op::Together: {
      const Group& g = plan_.groups[op.index];
      std::atomic<int> next = 0;
      const auto take = [&](int64_t, int64_t) {
        for (int i = next++; i < g.count; i = next++) {
          run_op(plain_ops_[static_cast<size_t>(g.first + i)], starts);
        }
      };
      return parallel_for(std::min(num_threads(), g.count), 1, take);
    }
  }
}

// Launch by launch, all in memory.
void Program::run_observed(const std::vector<RandomState>& starts) {
  if (untiled_.empty()) {
    for (uint32_t i = 0; i < r_.slots.size(); ++i) {
      if (!r_.slots[i].in_tile) continue;
      untiled_.push_back(Storage::make(r_.slots[i].bytes, r_.slots[i].device));
      patch(i, untiled_.back()->data, untiled_.back().get());
    }
  }
  LaunchObserver& observer = *launch_observer();
  for (const Op& op : plain_ops_) {
    const Step& s = r_.steps[static_cast<size_t>(&op - plain_ops_.data())];
    if (s.launch) observer.on_launch(s.launch->launch);
    run_op(op, starts);
    if (s.launch) observer.on_done(s.launch->launch);
  }
}

std::vector<RandomState> Program::random_states() const {
  std::vector<RandomState> out;
  for (const Stream& s : r_.streams) out.push_back(s.generator->state());
  return out;
}

void Program::execute() {
  const std::vector<RandomState> starts = random_states();
  if (launch_observer()) [[unlikely]] {
    run_observed(starts);
  } else if (device_run_) {
    device_run_->execute([&](size_t i) { prepare(ops_[i], starts); },
                         [&](size_t i) {  // what is prepared
                           const Op& op = ops_[i];
                           op.launch ? op.kernel(*op.launch) : run_op(op, starts);
                         });
  } else {
    for (const Op& op : ops_) run_op(op, starts);
  }
  for (size_t i = 0; i < r_.streams.size(); ++i) {
    const Stream& s = r_.streams[i];
    const RandomState later{starts[i].seed, starts[i].counter + (s.end_counter - s.counter)};
    s.generator->set_state(s.seeded ? RandomState{s.end_seed, s.end_counter} : later);
  }
}

Tensor Program::tensor_at(const TensorPlace& p) const {
  const Slot& s = r_.slots[p.slot];
  const Bound& b = bound_[p.slot];
  auto impl = Ref<TensorImpl>::adopt(new TensorImpl);
  impl->storage = b.storage ? b.storage : s.storage;
  impl->dtype = p.dtype;
  impl->device = impl->storage->device;
  void* const base = device_run_ ? device_run_->outer(p.slot, b.base) : b.base;
  impl->data = static_cast<char*>(base) + p.offset;
  impl->numel = product(p.sizes);
  impl->sizes = p.sizes;
  impl->strides = p.strides;
  impl->contiguous = is_contiguous(p.sizes, p.strides);
  return Tensor(std::move(impl));
}

void Program::set_leaves(std::span<const Tensor> arguments) {
  for (size_t i = 0; i < r_.leaves.size(); ++i) {
    const LeafPlace& l = r_.leaves[i];
    if (!l.changed) continue;
    Leaf& leaf = leaf_at(l, arguments);
    if (l.after.slot == TensorPlace::kNone) {
      leaf.grad.reset();
    } else if (l.after.slot != l.before.slot) {
      leaf_grads_[i] = tensor_at(l.after);
      leaf.grad = leaf_grads_[i];
    }
  }
}

std::unique_lock<std::mutex> Program::hold() {
  std::unique_lock lock(running_, std::try_to_lock);
  if (!lock.owns_lock()) {
    fail(ErrorKind::Capture,
         "capture: another thread is replaying this program; capture one for each thread");
  }
  return lock;
}

std::vector<Tensor> Program::replay(std::span<const Tensor> arguments) {
  const std::unique_lock lock = hold();
  return replay_held(arguments);
}

std::vector<Tensor> Program::replay_held(std::span<const Tensor> arguments) {
  bind(arguments);
  execute();
  for (uint32_t slot : changed_) {
    const Slot& s = r_.slots[slot];
    Storage* storage = s.kind == Slot::External ? s.storage.get() : nullptr;
    if (s.kind == Slot::Argument) storage = arguments[s.index]->storage.get();
    if (storage) storage->version.fetch_add(1, std::memory_order_relaxed);
  }
  set_leaves(arguments);
  std::vector<Tensor> out;
  out.reserve(r_.results.size());
  for (const TensorPlace& p : r_.results) {
    if (r_.slots[p.slot].kind == Slot::Argument) {
      const Tensor& of = arguments[r_.slots[p.slot].index];
      Tensor view = of.view(p.sizes, p.strides);
      view->data = of.data() + p.offset;
      view->dtype = p.dtype;
      out.push_back(std::move(view));
    } else {
      out.push_back(tensor_at(p));
    }
  }
  return out;
}

// --- the same step twice -------------------------------------------------------------------------

namespace {

std::vector<char> bytes_of(const Storage& s) {
  std::vector<char> out(s.bytes);
  read_memory(out.data(), s.data, s.bytes, s.device);
  return out;
}

bool same_bits(const Tensor& a, const Tensor& b) {
  if (a.defined() != b.defined()) return false;
  if (!a.defined()) return true;
  if (a.dtype() != b.dtype() || !(a.sizes() == b.sizes())) return false;
  const GradMode off(false);
  const auto here = [](const Tensor& t) {
    return ops::contiguous(ops::to_device(ops::detach(t), Device::CPU));
  };
  const Tensor x = here(a), y = here(b);
  const size_t n = static_cast<size_t>(x.numel()) * item_size(x.dtype());
  return n == 0 || std::memcmp(x.data(), y.data(), n) == 0;
}

}  // namespace

const Storage& Program::changed_at(uint32_t slot, std::span<const Tensor> arguments) const {
  const Slot& s = r_.slots[slot];
  if (s.kind == Slot::Argument) return *arguments[s.index]->storage;
  if (s.kind == Slot::External) return *s.storage;
  const auto it = std::find_if(r_.leaves.begin(), r_.leaves.end(),
                               [&](const LeafPlace& l) { return l.before.slot == slot; });
  return *leaf_at(*it, arguments).grad->storage;
}

ProgramState Program::save(std::span<const Tensor> arguments) const {
  ProgramState out;
  for (uint32_t slot : changed_) out.bytes.push_back(bytes_of(changed_at(slot, arguments)));
  for (const LeafPlace& l : r_.leaves) out.grads.push_back(leaf_at(l, arguments).grad);
  for (const Stream& s : r_.streams) out.streams.push_back(s.generator->state());
  return out;
}

void Program::restore(const ProgramState& state, std::span<const Tensor> arguments) const {
  for (size_t i = 0; i < r_.leaves.size(); ++i)
    leaf_at(r_.leaves[i], arguments).grad = state.grads[i];
  for (size_t i = 0; i < changed_.size(); ++i) {
    const Storage& s = changed_at(changed_[i], arguments);
    write_memory(s.data, state.bytes[i].data(), s.bytes, s.device);
  }
  for (size_t i = 0; i < r_.streams.size(); ++i)
    r_.streams[i].generator->set_state(state.streams[i]);
}

std::string Program::written_at(uint32_t slot) const {
  for (size_t i = r_.steps.size(); i-- > 0;) {
    const Step& s = r_.steps[i];
    if (std::find(s.writes.begin(), s.writes.end(), slot) == s.writes.end()) continue;
    return text(", written by ", kernel_name(s.launch->launch.kernel), at_place(s.source));
  }
  return {};
}

std::string Program::first_difference(std::span<const Tensor> results, const ProgramState& state,
                                      std::span<const Tensor> other_results,
                                      const ProgramState& other) const {
  for (size_t i = 0; i < r_.results.size(); ++i) {
    if (i < other_results.size() && same_bits(results[i], other_results[i])) continue;
    return text("result ", i, " of shape ", r_.results[i].sizes, written_at(r_.results[i].slot));
  }
  for (size_t i = 0; i < r_.leaves.size(); ++i) {
    if (same_bits(state.grads[i], other.grads[i])) continue;
    const uint32_t slot = r_.leaves[i].after.slot;
    return text("a gradient of shape ", r_.leaves[i].after.sizes,
                slot == TensorPlace::kNone ? std::string() : written_at(slot));
  }
  for (size_t i = 0; i < changed_.size(); ++i) {
    if (state.bytes[i] == other.bytes[i]) continue;
    return text("a tensor of ", r_.slots[changed_[i]].bytes, " bytes", written_at(changed_[i]));
  }
  for (size_t i = 0; i < r_.streams.size(); ++i) {
    if (state.streams[i].seed == other.streams[i].seed &&
        state.streams[i].counter == other.streams[i].counter) {
      continue;
    }
    return "the state of a random generator";
  }
  return {};
}

std::vector<double> Program::times(std::span<const Tensor> arguments, int rounds) {
  using Clock = std::chrono::steady_clock;
  const auto since = [](Clock::time_point t) {
    return std::chrono::duration<double, std::nano>(Clock::now() - t).count();
  };
  const std::unique_lock lock = hold();
  std::vector<double> out(r_.steps.size(), 0);
  const ProgramState state = save(arguments);
  for (int k = 0; k < rounds; ++k) {
    bind(arguments);
    const std::vector<RandomState> starts = random_states();
    const auto empty = Clock::now();
    const double look = since(empty);  // at the clock
    size_t step = 0;
    for (const Op& op : ops_) {
      const auto begin = Clock::now();
      run_op(op, starts);
      if (device_run_) cuda::synchronize();
      const double ns = std::max(0.0, since(begin) - look);
      out[step] = k ? std::min(out[step], ns) : ns;
      const bool group = op.kind == Op::Tiles || op.kind == Op::Together;
      step += group ? static_cast<size_t>(plan_.groups[op.index].count) : 1;
    }
    restore(state, arguments);
  }
  return out;
}

std::vector<std::string> Program::lines() const {
  std::vector<std::string> out;
  for (const Step& s : r_.steps) {
    if (!s.launch) {
      out.emplace_back("check");
      continue;
    }
    const Launch& l = s.launch->launch;
    std::string line =
        text(kernel_name(l.kernel), ' ', name_of(l.dtype), ' ', Dims(l.size, l.dense ? 1 : l.ndim));
    if (l.kernel == id(Kernel::Gemm)) {
      const auto& p = *static_cast<const GemmParams*>(l.pointer);
      line = text("gemm ", name_of(l.dtype), " m=", p.m, " n=", p.n, " k=", p.k);
    }
    out.push_back(std::move(line));
  }
  return out;
}

}  // namespace wengert
