#include "ops/shadow.h"

#include <algorithm>
#include <deque>
#include <mutex>
#include <unordered_set>
#include <utility>

#include "core/error.h"
#include "ops/ops.h"
#include "tape/backward.h"
#include "tape/hooks.h"

namespace wengert {
namespace {

Ref<Storage> share(const Storage* s) {
  return Ref<Storage>::share(const_cast<Storage*>(s));
}

// All of a storage as elements of one dtype.
Tensor elements_of(const Storage& s, DType dtype) {
  const Tensor out = Tensor::empty({0}, dtype, s.device);
  out->data = static_cast<char*>(s.data);
  out->storage = share(&s);
  out->numel = out->sizes[0] = static_cast<int64_t>(s.bytes / item_size(dtype));
  return out;
}

Tensor copy_of(const Tensor& memory) {
  const Unwatched unseen;
  const Tensor out = Tensor::empty(memory.sizes(), memory.dtype(), memory.device());
  ops::copy_into(out, memory);
  return out;
}

Tensor converted(const Storage& s, DType dtype) {
  const Unwatched unseen;
  const GradMode off(false);
  return ops::to(elements_of(s, dtype), DType::Float64, true);
}

int64_t offset_of(const Buffer& b) {
  return (static_cast<const char*>(b.data) - static_cast<const char*>(b.storage->data)) /
         static_cast<int64_t>(item_size(b.dtype));
}

Ref<Node> leaf_like(const OutputMeta& meta) {
  OutputMeta exact = meta;
  if (is_floating(meta.dtype)) exact.dtype = DType::Float64;
  return Ref<Node>::adopt(new (allocate(sizeof(Leaf))) Leaf(exact));
}

}  // namespace

// --- memory ------------------------------------------------------------------------------------

Shadow::Memory& Shadow::memory_of(const Storage* storage, DType dtype) {
  Memory& m = memories_[{storage, dtype}];
  if (!m.of) {
    m.of = share(storage);
    m.versions.push_back({converted(*storage, dtype), -1});
  }
  return m;
}

const Tensor& Shadow::before(const Storage* storage, DType dtype, size_t step) {
  const std::vector<Version>& all = memory_of(storage, dtype).versions;
  size_t at = all.size() - 1;
  while (at > 0 && all[at].made_by >= static_cast<ptrdiff_t>(step)) --at;
  return all[at].memory;
}

Shadow::Window Shadow::window_of(const Tensor& t, const Tensor& memory) const {
  return {memory, t.sizes(), t.strides(), t.offset(), false};
}

// --- the second run ----------------------------------------------------------------------------

void Shadow::run(Launch l, const std::array<Tensor, kMaxBuffers>& in,
                 const std::array<Tensor, kMaxBuffers>& out) {
  std::array<Tensor, kMaxBuffers> scratch;
  const int written = buffers_written(l);
  for (int k = 0; k < l.nbuffers; ++k) {
    Buffer& b = l.buffer[k];
    const int64_t offset = offset_of(b);
    if (is_floating(b.dtype)) {
      const Tensor& memory = k < written ? out[static_cast<size_t>(k)] : in[static_cast<size_t>(k)];
      b.data = memory.data<double>() + offset;
      b.storage = memory->storage.get();
      b.dtype = DType::Float64;
    } else if (k < written) {  // its places and conditions are the first run's to write
      const Tensor memory = copy_of(elements_of(*b.storage, DType::UInt8));
      scratch[static_cast<size_t>(k)] = memory;
      b.data = memory.data() + offset * static_cast<int64_t>(item_size(b.dtype));
      b.storage = scratch[static_cast<size_t>(k)]->storage.get();
    }
  }
  l.dtype = DType::Float64;
  const Unwatched unseen;
  launch(l);
}

void Shadow::on_launch(const Launch& l) {
  Gauge::on_launch(l);
  const int written = buffers_written(l);
  if (written == 0 || !is_floating(l.buffer[0].dtype) || draws_random_numbers(l.kernel)) return;
  Step s{};
  s.launch = std::make_unique<KeptLaunch>(l);
  for (int k = 0; k < l.nbuffers; ++k) {
    const Buffer& b = l.buffer[k];
    const auto at = static_cast<size_t>(k);
    s.kept[at] = share(b.storage);
    if (!is_floating(b.dtype)) continue;
    s.before[at] = memory_of(b.storage, b.dtype).versions.back().memory;
    if (k >= written) continue;
    for (size_t other = 0; other < at && !s.after[at].defined(); ++other) {
      if (s.before[other].impl() == s.before[at].impl()) s.after[at] = s.after[other];
    }
    if (s.after[at].defined()) continue;
    s.after[at] = copy_of(s.before[at]);
    memory_of(b.storage, b.dtype)
        .versions.push_back({s.after[at], static_cast<ptrdiff_t>(steps_.size())});
  }
  run(l, s.before, s.after);
  steps_.push_back(std::move(s));
}

void Shadow::on_done(const Launch& l) {
  Gauge::on_done(l);
  if (l.nbuffers == 0 || !is_floating(l.buffer[0].dtype) || !draws_random_numbers(l.kernel)) return;
  const Storage* storage = l.buffer[0].storage;
  const DType dtype = l.buffer[0].dtype;
  Memory& m = memory_of(storage, dtype);
  m.versions.push_back({converted(*storage, dtype), static_cast<ptrdiff_t>(steps_.size()) - 1});
}

void Shadow::on_line(size_t entry, Node& node, const Tensor* const* inputs, const Tensor* outputs) {
  Line& line = lines_[entry];
  line.first_step = std::exchange(end_of_last_line_, steps_.size());
  line.end_step = steps_.size();
  for (int i = 0; i < node.num_inputs; ++i) {
    const Tensor& t = *inputs[i];
    const bool constant = !node.edges()[i].node;
    Window w;
    if (t.defined() && is_floating(t.dtype())) {
      // A constant may have been computed since the last line, unless it is overwritten here.
      bool overwritten = false;
      for (int k = 0; k < node.num_outputs; ++k)
        overwritten |= t->storage.get() == outputs[k]->storage.get();
      const size_t step = constant && !overwritten ? line.end_step : line.first_step;
      w = window_of(t, before(t->storage.get(), t.dtype(), step));
    }
    w.constant = constant;
    line.operands.push_back(std::move(w));
  }
  for (int k = 0; k < node.num_outputs; ++k) {
    const Tensor& t = outputs[k];
    Window w;
    if (is_floating(t.dtype())) {
      w = window_of(t, memory_of(t->storage.get(), t.dtype()).versions.back().memory);
    }
    line.results.push_back(std::move(w));
  }
}

void Shadow::on_adjoints(size_t entry, Node& node, const Tensor* const* grads) {
  std::vector<Tensor>& all = adjoints_[entry];
  all.assign(static_cast<size_t>(node.num_outputs), Tensor());
  for (int k = 0; k < node.num_outputs; ++k) {
    const Tensor& g = *grads[k];
    if (!g.defined() || !is_floating(g.dtype())) continue;
    const Tensor& memory = memory_of(g->storage.get(), g.dtype()).versions.back().memory;
    all[static_cast<size_t>(k)] = memory.view(g.sizes(), g.strides(), g.offset());
  }
}

// --- reading -----------------------------------------------------------------------------------

Tensor Shadow::value(size_t entry, uint32_t slot) const {
  const auto it = lines_.find(entry);
  if (it == lines_.end()) return {};
  const Window& w = it->second.results.at(slot);
  return w.memory.defined() ? w.memory.view(w.sizes, w.strides, w.offset) : Tensor();
}

Tensor Shadow::adjoint(size_t entry, uint32_t slot) const {
  const auto it = adjoints_.find(entry);
  return it == adjoints_.end() ? Tensor() : it->second.at(slot);
}

Tensor Shadow::memory(size_t entry, int i) const {
  return lines_.at(entry).operands.at(static_cast<size_t>(i)).memory;
}

Tensor Shadow::window(size_t entry, int i, const Tensor& memory) const {
  const Window& w = lines_.at(entry).operands.at(static_cast<size_t>(i));
  return memory.view(w.sizes, w.strides, w.offset);
}

bool Shadow::shared_with_constant(size_t entry, int i) const {
  const std::vector<Window>& all = lines_.at(entry).operands;
  return std::any_of(all.begin(), all.end(), [&](const Window& w) {
    return w.constant && w.memory.impl() == all.at(static_cast<size_t>(i)).memory.impl();
  });
}

std::vector<Tensor> Shadow::replay(size_t entry, const std::vector<Tensor>& from,
                                   const std::vector<Tensor>& to) const {
  const Line& line = lines_.at(entry);
  std::unordered_map<const Storage*, Tensor> moved;
  for (size_t k = 0; k < from.size(); ++k) moved[from[k]->storage.get()] = to.at(k);
  // What made a constant, perhaps of an operand's own values, is not run again.
  std::unordered_set<const Storage*> constants;
  for (const Window& w : line.operands) {
    if (w.constant && w.memory.defined()) constants.insert(w.memory->storage.get());
  }
  const auto makes_constant = [&](const Step& s) {
    return std::any_of(s.after.begin(), s.after.end(), [&](const Tensor& t) {
      return t.defined() && constants.contains(t->storage.get());
    });
  };
  const auto find = [&](const Tensor& memory) {
    const auto it = moved.find(memory->storage.get());
    return it == moved.end() ? memory : it->second;
  };
  for (size_t at = line.first_step; at < line.end_step; ++at) {
    const Step& s = steps_[at];
    if (makes_constant(s)) continue;
    std::array<Tensor, kMaxBuffers> in, out;
    for (size_t k = 0; k < kMaxBuffers; ++k) {
      if (s.before[k].defined()) in[k] = find(s.before[k]);
      if (!s.after[k].defined()) continue;
      const auto made = moved.try_emplace(s.after[k]->storage.get());
      if (made.second) made.first->second = copy_of(in[k]);
      out[k] = made.first->second;
    }
    run(s.launch->launch, in, out);
  }
  std::vector<Tensor> results;
  for (const Window& w : line.results) {
    const bool known = w.memory.defined() && moved.contains(w.memory->storage.get());
    results.push_back(known ? find(w.memory).view(w.sizes, w.strides, w.offset) : Tensor());
  }
  return results;
}

Saved Shadow::exact(const Saved& saved, size_t step) {
  Saved out = saved;
  const Tensor& t = saved.tensor;
  if (!t.defined()) return out;
  if (saved.packed()) fail("audit: tensors saved under saved_tensors_hooks cannot be run again");
  if (is_floating(t.dtype())) {
    const Tensor& memory = before(t->storage.get(), t.dtype(), step);
    out.tensor = memory.view(t.sizes(), t.strides(), t.offset());
  }
  out.version = out.tensor.version();
  return out;
}

Ref<Node> Shadow::exact_node(size_t entry, Node& node) {
  const size_t end = lines_.at(entry).end_step;
  Ref<Node> copy = node.copy();
  copy->released = false;
  for (int i = 0; i < copy->num_saved; ++i) copy->saved()[i] = exact(copy->saved()[i], end);
  for (int k = 0; k < copy->num_outputs; ++k) {
    OutputMeta& meta = copy->outputs()[k];
    if (is_floating(meta.dtype)) meta.dtype = DType::Float64;
  }
  for (int i = 0; i < copy->num_inputs; ++i) {
    Edge& e = copy->edges()[i];
    if (!e.node) continue;
    e.node = leaf_like(e.node->outputs()[e.slot]);
    e.slot = 0;
  }
  return copy;
}

std::vector<Tensor> Shadow::pull(size_t entry, Node& node, std::vector<Tensor> grads, bool exact) {
  const GradMode off(false);
  const OutsideWalk outside;
  const Ref<Node> n = exact ? exact_node(entry, node) : node.copy();
  grads.resize(static_cast<size_t>(n->num_outputs));
  for (int k = 0; k < n->num_outputs; ++k) {
    Tensor& g = grads[static_cast<size_t>(k)];
    if (g.defined()) g = ops::to(g, n->outputs()[k].dtype);
  }
  // A rule of a user's keeps what it saved itself.
  struct OwnSaved {
    std::vector<Saved>* of = nullptr;
    std::vector<Saved> real;
    ~OwnSaved() {
      if (of) *of = std::move(real);
    }
  } own;
  if (exact && n->extras && n->extras->custom) own.of = n->extras->custom->saved_tensors();
  if (own.of) {
    own.real = *own.of;
    for (Saved& s : *own.of) s = this->exact(s, lines_.at(entry).end_step);
  }
  std::vector<Tensor> out(static_cast<size_t>(n->num_inputs));
  n->rule->pull(*n, grads.data(), out.data());
  for (int i = 0; i < n->num_inputs; ++i) {
    Tensor& g = out[static_cast<size_t>(i)];
    if (!n->edges()[i].node) g.reset();
    if (g.defined()) g = ops::to(sum_to_shape(g, n->input_sizes(i)), DType::Float64);
  }
  return out;
}

// --- planting an error -------------------------------------------------------------------------

namespace {

struct Spoiled : Rule {
  const Rule* honest;
  double factor;
};

void pull_spoiled(Node& node, Tensor* g, Tensor* out) {
  const auto& wrong = static_cast<const Spoiled&>(*node.rule);
  {
    struct Honest {  // rules read their own data
      Node& node;
      const Rule* wrong = node.rule;
      ~Honest() { node.rule = wrong; }
    } const during{node};
    node.rule = wrong.honest;
    wrong.honest->pull(node, g, out);
  }
  for (int i = 0; i < node.num_inputs; ++i) {
    if (!out[i].defined()) continue;
    out[i] = ops::mul(out[i], number_like({false, 0, wrong.factor}, &out[i]));
  }
}

}  // namespace

void spoil(const Tensor& result, double factor) {
  if (!requires_grad(result) || is_leaf(result)) {
    fail("spoil: nothing was recorded of this tensor of shape ", result.sizes());
  }
  Node& node = *node_of(result);
  static std::mutex lock;
  static auto* rules = new std::deque<Spoiled>;  // kept for good: nodes point at them
  const std::lock_guard hold(lock);
  node.rule = &rules->emplace_back(Spoiled{{node.name(), &pull_spoiled}, node.rule, factor});
}

}  // namespace wengert
