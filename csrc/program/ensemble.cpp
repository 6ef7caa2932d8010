#include "program/ensemble.h"

#include <algorithm>
#include <atomic>
#include <cstring>
#include <exception>
#include <utility>

#include "core/error.h"
#include "kernels/cpu/parallel.h"
#include "kernels/work.h"
#include "program/lane.h"

namespace wengert {
namespace {

template <class... Parts>
[[noreturn]] void refuse(const Parts&... parts) {
  fail(ErrorKind::Capture, "ensemble: ", parts...);
}

char* data_of(const Storage& s) {
  return static_cast<char*>(s.data);
}

}  // namespace

Ensemble::Ensemble(std::shared_ptr<const Program> program, int64_t n, std::span<const Tensor> also)
    : program_(std::move(program)),
      r_(program_->recording()),
      n_(n),
      stack_of_(r_.slots.size(), -1),
      streams_(r_.streams.size()) {
  if (program_->device_run()) {
    fail(ErrorKind::NotImplemented,
         "ensemble: a step on a CUDA device cannot be taken for many models at once; train them on "
         "the CPU, or one by one");
  }
  if (n < 1) fail(ErrorKind::Value, "ensemble: expected at least 1 model, got ", n);
  check();
  for (uint32_t i = 0; i < r_.slots.size(); ++i) {
    const Slot& s = r_.slots[i];
    Ref<Storage> from = s.storage;
    bool wanted = s.kind == Slot::External && s.written;
    if (s.kind == Slot::External && !wanted) {
      wanted = std::any_of(also.begin(), also.end(),
                           [&](const Tensor& t) { return t->storage.get() == from.get(); });
    }
    if (s.kind == Slot::Gradient) {
      const auto of = std::find_if(r_.leaves.begin(), r_.leaves.end(),
                                   [i](const LeafPlace& l) { return l.before.slot == i; });
      const Tensor& grad = static_cast<const Leaf&>(*of->leaf).grad;
      if (!grad.defined() || grad->storage->bytes != s.bytes) {
        refuse("a gradient that the step found when it was captured is not there");
      }
      from = grad->storage;
      wanted = true;
    }
    if (!wanted) continue;
    stack_of_[i] = static_cast<int>(stacks_.size());
    Ref<Storage> all = Storage::make(s.bytes * static_cast<size_t>(n), Device::CPU);
    stacks_.push_back({i, std::move(all), std::move(from)});
  }
  for (auto& models : streams_) models.resize(static_cast<size_t>(n));
  for (const Step& s : r_.steps) {
    if (s.settings) optimizers_.push_back({{s.settings}, {}});
  }
  for (int64_t m = 0; m < n; ++m) load(m);
}

Ensemble::~Ensemble() = default;

// What models would share, or find otherwise than the step did.
void Ensemble::check() const {
  for (size_t i = 0; i < r_.arguments.size(); ++i) {
    const TensorPlace& p = r_.arguments[i];
    if (r_.slots[p.slot].index != i) refuse("two arguments of the step share memory");
    if (r_.slots[p.slot].written) refuse("the step changes an argument");
    if (p.requires_grad) refuse("an argument of the step requires grad");
    if (!is_contiguous(p.sizes, p.strides)) {
      refuse("an argument of shape ", p.sizes, " is not contiguous; capture the step with one");
    }
  }
  for (const TensorPlace& p : r_.results) {
    if (!is_contiguous(p.sizes, p.strides)) {
      refuse("a result of shape ", p.sizes, " is not contiguous; return it contiguous");
    }
  }
  for (const LeafPlace& l : r_.leaves) {
    const bool same = l.before.slot == l.after.slot;
    if (l.looked_at && l.changed && !same) {
      refuse("a gradient of shape ",
             (l.before.slot == TensorPlace::kNone ? l.after : l.before).sizes,
             " is not after the step where it was before; forget gradients at its beginning, with "
             "zero_grad()");
    }
  }
}

// --- contents ------------------------------------------------------------------------------------

void Ensemble::load(int64_t model) {
  for (const Stack& s : stacks_) {
    std::memcpy(data_of(*s.all) + static_cast<size_t>(model) * s.from->bytes, s.from->data,
                s.from->bytes);
    s.all->version.fetch_add(1, std::memory_order_relaxed);
  }
  for (size_t i = 0; i < streams_.size(); ++i) {
    streams_[i][static_cast<size_t>(model)] = r_.streams[i].generator->state();
  }
}

void Ensemble::store(int64_t model) const {
  for (const Stack& s : stacks_) {
    std::memcpy(s.from->data, data_of(*s.all) + static_cast<size_t>(model) * s.from->bytes,
                s.from->bytes);
    s.from->version.fetch_add(1, std::memory_order_relaxed);
  }
}

Ensemble::Contents Ensemble::save() const {
  Contents out;
  for (const Stack& s : stacks_) {
    out.bytes.emplace_back(data_of(*s.from), data_of(*s.from) + s.from->bytes);
  }
  for (const Stream& s : r_.streams) out.streams.push_back(s.generator->state());
  return out;
}

void Ensemble::put_back(const Contents& contents) const {
  for (size_t i = 0; i < stacks_.size(); ++i) {
    const Storage& to = *stacks_[i].from;
    std::copy(contents.bytes[i].begin(), contents.bytes[i].end(), data_of(to));
  }
  for (size_t i = 0; i < r_.streams.size(); ++i) {
    r_.streams[i].generator->set_state(contents.streams[i]);
  }
}

bool Ensemble::stacks(const Tensor& t) const {
  return std::any_of(stacks_.begin(), stacks_.end(),
                     [&](const Stack& s) { return s.from.get() == t->storage.get(); });
}

bool Ensemble::uses(const Tensor& t) const {
  return stacks(t) || std::any_of(r_.slots.begin(), r_.slots.end(), [&](const Slot& s) {
           return s.kind == Slot::External && s.storage.get() == t->storage.get();
         });
}

Tensor Ensemble::stacked(const Tensor& t) const {
  const Storage* const storage = t->storage.get();
  const Dims one{n_};
  for (const Stack& s : stacks_) {
    if (s.from.get() != storage) continue;
    const auto item = static_cast<int64_t>(item_size(t.dtype()));
    Tensor out = t.view(concat(one, t.sizes()),
                        concat(Dims{static_cast<int64_t>(s.from->bytes) / item}, t.strides()));
    out->data = data_of(*s.all) + (t.data() - data_of(*s.from));
    out->storage = s.all;
    return out;
  }
  if (!uses(t)) {
    fail(ErrorKind::Value, "ensemble: the step does not use this tensor of shape ", t.sizes());
  }
  return t.view(concat(one, t.sizes()), concat(Dims{0}, t.strides()));
}

// --- settings ------------------------------------------------------------------------------------

void Ensemble::set_settings(
    const std::function<Source(int64_t model, const SettingsSource& of)>& source) {
  auto next = optimizers_;
  auto to = next.begin();
  for (const Step& s : r_.steps) {
    if (!s.settings) continue;
    to->sources.clear();
    for (int64_t m = 0; m < n_; ++m) to->sources.push_back(source(m, *s.settings));
    ++to;
  }
  std::swap(next, optimizers_);
  try {
    read_settings();
  } catch (...) {
    std::swap(next, optimizers_);
    throw;
  }
}

void Ensemble::read_settings() {
  auto to = optimizers_.begin();
  for (const Step& s : r_.steps) {
    if (!s.settings) continue;
    std::vector<OptimizerLaunch> read(to->sources.size(), *s.launch->optimizer());
    for (size_t m = 0; m < read.size(); ++m) {
      to->sources[m]->read(read[m]);
      if (states_used(read[m]) != states_used(*s.launch->optimizer())) {
        refuse("an optimizer's settings ask for other states than the captured step has");
      }
    }
    to->current = std::move(read);
    ++to;
  }
}

// --- steps ---------------------------------------------------------------------------------------

Ensemble::Layout& Ensemble::layout_of(const std::vector<bool>& each) {
  auto& layout = layouts_[each];
  if (!layout) layout = std::make_unique<Layout>(*this, each);
  return *layout;
}

// Steps [begin, end) of one group.
void Ensemble::take(Lane& lane, const EnsembleData& data, std::span<const Tensor> stacked,
                    int64_t group, int64_t groups, int64_t begin, int64_t end) {
  const int64_t first = n_ * group / groups;
  lane.bind(first, n_ * (group + 1) / groups - first);
  for (int64_t k = begin; k < end; ++k) {
    lane.bind_arguments(data, k);
    lane.step();
    lane.hand_out(stacked, k);
  }
}

int64_t Ensemble::run(const EnsembleData& data, std::span<const Tensor> stacked, int64_t every,
                      const std::function<bool(int64_t)>& between) {
  const std::unique_lock lock(running_, std::try_to_lock);
  if (!lock.owns_lock()) refuse("another thread is running it");
  for (const Tensor& a : data.arrays) {
    if (uses(a)) refuse("an argument shares memory with what the step holds");
  }
  std::vector<bool> each = data.each;
  if (data.own_orders) each.assign(each.size(), true);
  Layout& layout = layout_of(each);
  const int64_t threads = std::min<int64_t>(num_threads(), n_);
  const int64_t groups = std::max((n_ + layout.group - 1) / layout.group, threads);
  while (std::ssize(layout.lanes) < threads) {
    layout.lanes.push_back(std::make_unique<Lane>(*this, layout));
  }
  for (int64_t k = 0; k < data.steps;) {
    const int64_t end = std::min(k + every, data.steps);
    std::atomic<size_t> next_lane{0};
    std::exception_ptr failure;
    std::mutex failing;
    parallel_for(groups, 1, [&](int64_t b, int64_t e) {
      Lane& lane = *layout.lanes[next_lane++];
      try {
        for (int64_t g = b; g < e; ++g) take(lane, data, stacked, g, groups, k, end);
      } catch (...) {
        const std::lock_guard guard(failing);
        failure = std::current_exception();
      }
    });
    for (const Stack& s : stacks_) s.all->version.fetch_add(1, std::memory_order_relaxed);
    if (failure) std::rethrow_exception(failure);
    k = end;
    if (!between(k)) return k;
  }
  return data.steps;
}

std::vector<std::string> Ensemble::lines() {
  Layout& layout = layout_of(std::vector<bool>(r_.arguments.size()));
  return Lane(*this, layout).lines();
}

}  // namespace wengert
