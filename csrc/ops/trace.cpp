#include "ops/trace.h"

#include <algorithm>
#include <unordered_set>
#include <utility>

#include "ops/elementwise.h"
#include "ops/ops.h"
#include "tape/backward.h"

namespace wengert {
namespace {

// Entries of a Jacobian up to which it is formed, one pull for each row of it.
constexpr int64_t kLargestJacobian = 4096;

bool is_map(const Node& n) {
  return n.rule->pull == &map_pull;
}
const MapInfo& map_info_of(const Node& n) {
  return static_cast<const MapInfo&>(*n.rule);
}

bool intact(const Saved& s) {
  return s.tensor.defined() && !s.packed() && s.tensor.version() == s.version;
}
// Whether the rule can still run.
bool complete(Node& n) {
  if (n.released && n.num_saved > 0) return false;
  return std::all_of(n.saved(), n.saved() + n.num_saved,
                     [](const Saved& s) { return !s.tensor.defined() || s.packed() || intact(s); });
}

Tensor alias(const Tensor& t) {
  return t.view(t.sizes(), t.strides());
}

Trace::Operand constant(const Tensor& t) {
  Trace::Operand o;
  if (!t.defined()) return o;
  o.kind = t.numel() == 1 ? Trace::Operand::kNumber : Trace::Operand::kShape;
  if (t.numel() == 1) o.number = t.to_double();
  o.sizes = t.sizes();
  return o;
}

}  // namespace

// --- what is listed ----------------------------------------------------------------------------

std::shared_ptr<Trace> Trace::make() {
  return std::shared_ptr<Trace>(new Trace);
}

std::shared_ptr<Trace> Trace::of(const Tensor& result, const std::vector<Tensor>& known) {
  if (!requires_grad(result) || is_leaf(result)) {
    fail("tape: nothing was recorded of this tensor of shape ", result.sizes(),
         requires_grad(result) ? ": it is a leaf, not the result of an operation"
                               : ": it does not require grad; expected the result of operations "
                                 "on tensors that require grad, outside of no_grad");
  }
  std::vector<Node*> reached{node_of(result)};
  std::unordered_set<const Node*> seen{reached[0]};
  for (size_t k = 0; k < reached.size(); ++k) {
    Node& n = *reached[k];
    for (int i = 0; i < n.num_inputs; ++i) {
      Node* from = n.edges()[i].node.get();
      if (from && !from->leaf && seen.insert(from).second) reached.push_back(from);
    }
  }
  std::sort(reached.begin(), reached.end(),
            [](const Node* a, const Node* b) { return a->sequence < b->sequence; });
  const auto trace = make();
  {
    const std::lock_guard hold(trace->lock_);  // once watched, a walk may speak to it
    for (Node* n : reached) {
      const size_t first = trace->add(*n, true);
      const Ref<Node> copy = n->copy();
      for (int k = 0; k < n->num_outputs; ++k) {
        trace->entries_[first + static_cast<size_t>(k)].copy = copy;
      }
    }
  }
  trace->learn({result});
  trace->learn(known);
  trace->keep_saved();
  return trace;
}

Trace::~Trace() {
  for (const Entry& e : entries_) {
    if (e.slot == 0) unwatch(*e.node, this);
  }
}

// A node and, before it, what it starts from.
size_t Trace::add(Node& node, bool line) {
  if (line) {
    for (int i = 0; i < node.num_inputs; ++i) {
      Node* from = node.edges()[i].node.get();
      if (from && !index_.contains(from)) add(*from, false);
    }
  }
  const size_t first = entries_.size();
  entries_.resize(first + static_cast<size_t>(node.num_outputs));
  for (int k = 0; k < node.num_outputs; ++k) {
    Entry& e = entries_[first + static_cast<size_t>(k)];
    e.node = Ref<Node>::share(&node);
    e.slot = static_cast<uint32_t>(k);
    e.line = line;
  }
  index_[&node] = first;
  watch(node, shared_from_this());
  return first;
}

size_t Trace::entry_of(const Tensor& t) const {
  const auto it = index_.find(node_of(t));
  return it == index_.end() ? kNone : it->second + t->slot;
}

// --- recording ---------------------------------------------------------------------------------

void Trace::start(std::shared_ptr<Gauge> gauge) {
  if (started_) fail("tape: already listing; leave the with block first");
  outer_ = set_recorder(shared_from_this());
  gauge_ = std::move(gauge);
  thread_ = std::this_thread::get_id();
  if (gauge_) gauge_->start();
  started_ = true;
}

void Trace::stop() {
  if (recorder().get() != this) {
    fail("tape: left on another thread, or out of order, than it was entered");
  }
  set_recorder(std::exchange(outer_, nullptr));
  if (gauge_) gauge_->stop();
  gauge_ = nullptr;
  started_ = false;
  const std::lock_guard hold(lock_);
  seal();
}

void Trace::on_record(Node& node, const Tensor* const* inputs, const Tensor* outputs) {
  {
    const std::lock_guard hold(lock_);
    seal();
    pending_ = add(node, true);
    std::vector<Operand> constants(static_cast<size_t>(node.num_inputs));
    for (int i = 0; i < node.num_inputs; ++i) {
      if (!node.edges()[i].node) {
        constants[static_cast<size_t>(i)] = constant(*inputs[i]);
      } else if (inputs[i]->impl() != outputs[0].impl()) {  // an overwritten operand is gone
        const Edge& from = node.edges()[i];
        const size_t source = index_.at(from.node.get()) + from.slot;
        if (!entries_[source].line) keep(source, *inputs[i]);
      }
    }
    for (int k = 0; k < node.num_outputs; ++k) {
      Entry& e = entries_[pending_ + static_cast<size_t>(k)];
      e.constants = constants;
      e.value.tensor = alias(outputs[k]);
    }
  }
  if (gauge_) gauge_->on_line(pending_, node, inputs, outputs);
  if (outer_) outer_->on_record(node, inputs, outputs);
}

void Trace::walk(const Tensor& result) const {
  std::vector<Tensor> inputs;
  for (const size_t at : starts()) {
    const Tensor handle =
        Tensor::empty({0}, DType::Float32, Device::CPU);  // the walk asks for its node alone
    handle->node = Ref<Attachment>::share(node(at).get());
    handle->slot = slot(at);
    inputs.push_back(handle);
  }
  std::vector<Tensor> found(inputs.size());
  const Tensor one = ops::ones_like(result), roots[] = {result}, grads[] = {one};
  walk_back(roots, grads, {.retain_graph = true, .create_graph = false, .inputs = inputs},
            found.data());
}

// What the last line saved and which version its result is of, known once the operation is over.
void Trace::seal() {
  if (pending_ == kNone) return;
  const Ref<Node> copy = entries_[pending_].node->copy();
  for (int k = 0; k < copy->num_outputs; ++k) {
    Entry& e = entries_[pending_ + static_cast<size_t>(k)];
    e.copy = copy;
    e.value.version = e.value.tensor.version();
  }
  pending_ = kNone;
}

// --- walking -----------------------------------------------------------------------------------

void Trace::on_adjoint(Node& node, const Tensor* const* grads) {
  const std::lock_guard hold(lock_);
  seal();
  const size_t first = index_.at(&node);
  if (gauge_ && thread_ == std::this_thread::get_id()) gauge_->on_adjoints(first, node, grads);
  for (int k = 0; k < node.num_outputs; ++k) {
    Entry& e = entries_[first + static_cast<size_t>(k)];
    const Tensor& g = *grads[k];
    e.adjoint = g.defined() && g->node ? alias(g) : g;
    e.arrived = g.defined();
    e.computed += e.arrived;
  }
}

void Trace::on_pulled(Node& node, int count) {
  const std::lock_guard hold(lock_);
  const size_t first = index_.at(&node);
  for (int k = 0; k < node.num_outputs; ++k) {
    Entry& e = entries_[first + static_cast<size_t>(k)];
    if (e.arrived) e.used += static_cast<uint32_t>(count);
  }
}

// --- values ------------------------------------------------------------------------------------

void Trace::keep(size_t entry, const Tensor& value) {
  Value& v = entries_[entry].value;
  if (v.tensor.defined() && v.tensor.version() == v.version) return;
  v = {alias(value), value.version()};
}

void Trace::learn(const std::vector<Tensor>& known) {
  const std::lock_guard hold(lock_);
  seal();
  for (const Tensor& t : known) {
    // A view of memory that was changed since holds something else by now.
    if (t->base && t->base->history != t->base_history) continue;
    const size_t entry = entry_of(t);
    if (entry != kNone && !entries_[entry].value.tensor.defined()) keep(entry, t);
  }
}

// Results that rules read again are somebody's saved tensors.
void Trace::keep_saved() {
  const std::lock_guard hold(lock_);
  for (size_t at = 0; at < entries_.size(); ++at) {
    if (!entries_[at].copy || entries_[at].slot != 0) continue;
    Node& n = *entries_[at].copy;
    for (int i = 0; i < n.num_saved; ++i) {
      const Saved& s = n.saved()[i];
      if (!intact(s)) continue;
      if (s.output >= 0) {
        keep(at + static_cast<size_t>(s.output), s.tensor);
        continue;
      }
      // An elementwise operation saves operand i in place i, perhaps without its node.
      const Edge* edge = is_map(n) && i < n.num_inputs ? &n.edges()[i] : nullptr;
      const size_t entry =
          edge && edge->node ? index_.at(edge->node.get()) + edge->slot : entry_of(s.tensor);
      if (entry != kNone) keep(entry, s.tensor);
    }
  }
}

// Elementwise lines that nobody saved, from their operands; in order, so that one leads to the
// next.
void Trace::compute_missing() {
  const GradMode off(false);
  for (const size_t at : lines()) {
    Ref<Node> node;
    Tensor operands[3];
    {
      const std::lock_guard hold(lock_);
      const Entry& e = entries_[at];
      if (readable(e.value).defined() || !e.copy || !is_map(*e.copy)) continue;
      node = e.copy;
      for (int i = 0; i < node->num_inputs; ++i) {
        const Edge& edge = node->edges()[i];
        if (edge.node) {
          operands[i] = readable(entries_[index_.at(edge.node.get()) + edge.slot].value);
        } else if (i < node->num_saved && intact(node->saved()[i])) {
          operands[i] = node->saved()[i].tensor;
        }
      }
    }
    const MapInfo& info = map_info_of(*node);
    const Tensor* in[] = {&operands[0], &operands[1], &operands[2]};
    if (std::any_of(in, in + info.arity, [](const Tensor* t) { return !t->defined(); })) continue;
    const Tensor out = map(info, in, info.num_params ? node->payload<double[4]>() : nullptr);
    const std::lock_guard hold(lock_);
    entries_[at].value = {out, out.version()};
  }
}

Tensor Trace::readable(const Value& v) {
  return v.tensor.defined() && v.tensor.version() == v.version ? v.tensor : Tensor();
}

Tensor Trace::value(size_t entry) {
  {
    const std::lock_guard hold(lock_);
    seal();
    const Tensor found = readable(entries_.at(entry).value);
    if (found.defined() || !entries_[entry].line || computed_missing_) return found;
    computed_missing_ = true;
  }
  compute_missing();
  const std::lock_guard hold(lock_);
  return readable(entries_[entry].value);
}

// --- reading -----------------------------------------------------------------------------------

size_t Trace::size() const {
  const std::lock_guard hold(lock_);
  return entries_.size();
}

std::vector<size_t> Trace::lines() const {
  const std::lock_guard hold(lock_);
  std::vector<size_t> out;
  for (size_t at = 0; at < entries_.size(); ++at) {
    if (entries_[at].line) out.push_back(at);
  }
  return out;
}

std::vector<size_t> Trace::starts() const {
  const std::lock_guard hold(lock_);
  std::vector<size_t> out;
  for (size_t at = 0; at < entries_.size(); ++at) {
    if (!entries_[at].line) out.push_back(at);
  }
  return out;
}

Ref<Node> Trace::node(size_t entry) const {
  const std::lock_guard hold(lock_);
  return entries_.at(entry).node;
}

uint32_t Trace::slot(size_t entry) const {
  const std::lock_guard hold(lock_);
  return entries_.at(entry).slot;
}

Ref<Node> Trace::copy(size_t line) {
  const std::lock_guard hold(lock_);
  seal();
  return entries_.at(line).copy;
}

std::vector<Trace::Operand> Trace::operands(size_t line) const {
  const std::lock_guard hold(lock_);
  const Entry& e = entries_.at(line);
  if (!e.line) return {};
  Node& n = *e.node;
  std::vector<Operand> out = e.constants;
  out.resize(static_cast<size_t>(n.num_inputs));
  for (int i = 0; i < n.num_inputs; ++i) {
    Operand& o = out[static_cast<size_t>(i)];
    if (const Node* from = n.edges()[i].node.get()) {
      o.kind = Operand::kEntry;
      o.entry = index_.at(from) + n.edges()[i].slot;
    } else if (o.kind == Operand::kUnknown && e.copy && is_map(n) && i < n.num_saved &&
               intact(e.copy->saved()[i])) {
      o = constant(e.copy->saved()[i].tensor);
    }
  }
  return out;
}

std::vector<double> Trace::parameters(size_t line) const {
  const Ref<Node> n = node(line);
  const int count = is_map(*n) ? map_info_of(*n).num_params : 0;
  if (count == 0) return {};
  const double* p = n->payload<double[4]>();
  return {p, p + count};
}

bool Trace::elementwise(size_t line) const {
  return is_map(*node(line));
}

ptrdiff_t Trace::find(const Tensor& t) const {
  const std::lock_guard hold(lock_);
  const size_t entry = entry_of(t);
  return entry == kNone ? -1 : static_cast<ptrdiff_t>(entry);
}

Tensor Trace::adjoint(size_t entry) const {
  const std::lock_guard hold(lock_);
  return entries_.at(entry).adjoint;
}
uint32_t Trace::times_computed(size_t entry) const {
  const std::lock_guard hold(lock_);
  return entries_.at(entry).computed;
}
uint32_t Trace::times_used(size_t entry) const {
  const std::lock_guard hold(lock_);
  return entries_.at(entry).used;
}

Tensor Trace::local_derivative(size_t line, int operand) {
  const Ref<Node> node = copy(line);
  if (!node || operand < 0 || operand >= node->num_inputs || !node->edges()[operand].node ||
      !complete(*node)) {
    return {};
  }
  const uint32_t result = slot(line);
  const GradMode off(false);
  const OutsideWalk outside;
  const auto pull = [&](Tensor one) {
    std::vector<Tensor> g(static_cast<size_t>(node->num_outputs));
    std::vector<Tensor> out(static_cast<size_t>(node->num_inputs));
    g[result] = std::move(one);
    node->rule->pull(*node, g.data(), out.data());
    return out[static_cast<size_t>(operand)];
  };
  const OutputMeta& of = node->outputs()[result];
  if (is_map(*node)) return pull(ops::full(of.sizes, {true, 1, 1}, of.dtype, of.device));

  const Edge& edge = node->edges()[operand];
  const OutputMeta& by = edge.node->outputs()[edge.slot];
  const int64_t rows = product(of.sizes), columns = product(by.sizes);
  if (rows != 1 && rows * columns > kLargestJacobian) return {};
  Dims shape = of.sizes;
  if (shape.size() + by.sizes.size() > kMaxDims) {
    shape = {rows, columns};
  } else {
    for (const int64_t n : by.sizes) shape.push_back(n);
  }
  const Tensor jacobian = ops::zeros(shape, by.dtype, by.device);
  for (int64_t row = 0; row < rows; ++row) {
    const Tensor unit = ops::zeros(of.sizes, of.dtype, of.device);
    ops::fill(unit.view({}, {}, row), {true, 1, 1});
    const Tensor g = pull(unit);
    if (!g.defined()) continue;
    const Tensor to = jacobian.view(by.sizes, contiguous_strides(by.sizes), row * columns);
    ops::copy_into(to, sum_to_shape(g, by.sizes));
  }
  return jacobian;
}

}  // namespace wengert
