#include "tape/node.h"

#include <algorithm>
#include <cctype>
#include <cstring>
#include <memory>
#include <utility>

#include "core/watch.h"
#include "tape/anomaly.h"
#include "tape/backward.h"
#include "tape/observe.h"
#include "tape/saved.h"

namespace wengert {
namespace {

struct Recording {
  bool grad = true;  // the grad mode
  bool on = true;    // and no inference mode
};
thread_local Recording mode;
// A Lamport clock: above every node this thread has made and every input it has seen, so sequence
// numbers order the graph across threads without a shared counter.
thread_local uint64_t clock = 0;

constexpr Rule kLeafRule{"AccumulateGrad", nullptr};

size_t block_bytes(int inputs, int outputs, int saved, int payload) {
  return sizeof(Node) + static_cast<size_t>(outputs) * sizeof(OutputMeta) +
         static_cast<size_t>(inputs) * sizeof(Edge) + static_cast<size_t>(saved) * sizeof(Saved) +
         static_cast<size_t>(payload);
}

}  // namespace

Node::Node(const Rule& r, int inputs, int outputs, int saved, int payload)
    : Attachment([](Attachment* a) { Node::destroy(static_cast<Node*>(a)); }),
      rule(&r),
      num_inputs(inputs),
      num_outputs(outputs),
      payload_bytes(payload),
      num_saved(static_cast<int16_t>(saved)) {}

// A leaf's one OutputMeta stands behind its gradient; both kinds are reached by one address.
char* Node::end_of_header() {
  return leaf ? reinterpret_cast<char*>(&static_cast<Leaf*>(this)->meta_storage)
              : reinterpret_cast<char*>(this + 1);
}

Ref<Node> Node::make(const Rule& rule, int inputs, int outputs, int saved, int payload) {
  void* block = allocate(block_bytes(inputs, outputs, saved, payload));
  Node* n = new (block) Node(rule, inputs, outputs, saved, payload);
  for (int i = 0; i < inputs; ++i) new (n->edges() + i) Edge;
  for (int i = 0; i < saved; ++i) new (n->saved() + i) Saved;
  return Ref<Node>::adopt(n);
}

Ref<Node> Node::copy() {
  Ref<Node> made = make(*rule, num_inputs, num_outputs, num_saved, payload_bytes);
  Node* n = made.get();
  n->sequence = sequence;
  n->source = source;
  n->released = released;
  std::uninitialized_copy_n(outputs(), num_outputs, n->outputs());
  std::copy_n(edges(), num_inputs, n->edges());
  std::copy_n(saved(), num_saved, n->saved());
  std::memcpy(n->end_of_saved(), end_of_saved(), payload_bytes);
  if (extras && extras->custom) {
    n->extras = std::make_unique<NodeExtras>();
    n->extras->custom = extras->custom;
  }
  return made;
}

// Freed without recursion: a node that dies while another is being freed waits its turn, so a
// chain of any length unwinds in constant stack.
void Node::destroy(Node* n) {
  thread_local Node* dead = nullptr;
  thread_local bool draining = false;
  n->next_dead = dead;
  dead = n;
  if (draining) return;
  draining = true;
  while (dead) {
    Node* next = std::exchange(dead, dead->next_dead);
    finish(next);
  }
  draining = false;
}

void Node::finish(Node* n) {
  if (n->leaf) {
    auto* leaf = static_cast<Leaf*>(n);
    leaf->~Leaf();
    deallocate(leaf, sizeof(Leaf));
    return;
  }
  const size_t bytes = block_bytes(n->num_inputs, n->num_outputs, n->num_saved, n->payload_bytes);
  if (n->extras && n->extras->custom) n->extras->custom->forget(*n);
  for (int i = 0; i < n->num_saved; ++i) n->saved()[i].~Saved();
  for (int i = 0; i < n->num_inputs; ++i) n->edges()[i].~Edge();
  n->~Node();
  deallocate(n, bytes);
}

Leaf::Leaf(const OutputMeta& meta) : Node(kLeafRule, 0, 1, 0, 0), meta_storage(meta) {
  leaf = true;
}

bool Node::wants(int i) {
  const Edge& e = edges()[i];
  return e.node && walk_wants(*e.node);
}

namespace {
void mark_saved(const Tensor& t) {
  auto& saved = t->storage->saved;
  if (!saved.load(std::memory_order_relaxed)) saved.store(true, std::memory_order_relaxed);
}
}  // namespace

Saved Saved::input(const Tensor& t) {
  if (t->storage->inference || saved_hooks_set) [[unlikely]]
    return save_specially(t, kInput);
  mark_saved(t);
  return {t, t.version(), kInput};
}
Saved Saved::output_of(const Tensor& t, int slot) {
  if (saved_hooks_set) [[unlikely]]
    return save_specially(t, static_cast<int16_t>(slot));
  mark_saved(t);
  return {t.view(t.sizes(), t.strides()), t.version(), static_cast<int16_t>(slot)};
}

// `index_put_` as `IndexPutBackward0`; a rule of a user's own says its name itself.
std::string Node::backward_name() const {
  if (leaf || (extras && extras->custom)) return name();
  std::string out;
  bool start = true;
  for (const char* c = name(); *c; ++c) {
    if (*c != '_') out += start ? static_cast<char>(std::toupper(*c)) : *c;
    start = *c == '_';
  }
  return out + "Backward0";
}

std::string Node::recorded_at() const {
  const std::string where = describe(source);
  return where.empty() ? where : " (" + std::string(name()) + " was recorded at " + where + ")";
}

Tensor Node::unpack(const Saved& s) {
  if (!s.tensor.defined()) {
    if (!released) return {};
    fail(name(),
         ": trying to backward through the graph a second time, but the tensors it saved have "
         "been freed; pass retain_graph=True to the first backward");
  }
  if (s.tensor.version() != s.version) {
    const std::string change = last_change(s.tensor);
    fail(name(), ": a tensor that is needed for the gradient, ", name_of(s.tensor.dtype()),
         " of shape ", s.tensor.sizes(), s.output >= 0 ? " (the output)" : "",
         ", has been modified by an inplace operation: it is at version ", s.tensor.version(),
         "; expected version ", s.version, " instead.",
         change.empty() ? change : " It was last changed by " + change + ".",
         " Clone it before changing it", recorded_at());
  }
  if (s.output == Saved::kInput || (!grad_enabled() && !s.packed())) return s.tensor;
  if (s.packed()) [[unlikely]]
    return unpack_specially(*this, s);
  const Tensor out = s.tensor.view(s.tensor.sizes(), s.tensor.strides());
  out->node = Ref<Attachment>::share(this);
  out->slot = static_cast<uint32_t>(s.output);
  return out;
}

void Node::release_saved() {
  for (int i = 0; i < num_saved; ++i) saved()[i].tensor.reset();
  if (extras && extras->custom) extras->custom->release();
  released = true;
}

bool grad_enabled() {
  return mode.on;
}
bool grad_mode() {
  return mode.grad;
}
bool set_grad_enabled(bool on) {
  mode.on = on && !inference_mode();
  return std::exchange(mode.grad, on);
}
Modes enter_inference_mode(bool on) {
  const Modes before{mode.grad, set_inference_mode(on)};
  set_grad_enabled(!on);
  return before;
}
void restore_modes(Modes m) {
  set_inference_mode(m.inference);
  set_grad_enabled(m.grad);
}

namespace {
Leaf* leaf_of(const Tensor& t) {
  if (!t->node) {
    void* block = allocate(sizeof(Leaf));
    auto* leaf = new (block) Leaf({t.sizes(), t.dtype(), t.device()});
    leaf->active = false;
    t->node = Ref<Attachment>::adopt(leaf);
    t->slot = 0;
    if (HostWatcher* w = host_watcher()) w->on_leaf(*leaf);
  }
  Node* n = node_of(t);
  return n->leaf ? static_cast<Leaf*>(n) : nullptr;
}
}  // namespace

void set_requires_grad(const Tensor& t, bool on) {
  if (!on && !t->node) return;
  Leaf* leaf = leaf_of(t);
  if (!leaf) {
    if (on) return;
    fail(
        "requires_grad: you can only change requires_grad flags of leaf variables; use detach() "
        "to stop the gradient of a result");
  }
  if (on && !is_floating(t.dtype())) {
    fail("requires_grad: only tensors of floating point dtype can require gradients, got ",
         name_of(t.dtype()));
  }
  if (on && t->storage && t->storage->inference && !inference_mode()) {
    fail(
        "requires_grad: Setting requires_grad=True on inference tensor outside InferenceMode is "
        "not allowed; clone() the tensor first");
  }
  if (on) leaf->source = source_here();
  leaf->active = on;
}

Tensor grad_of(const Tensor& t) {
  Node* n = node_of(t);
  if (n && n->leaf) {
    if (HostWatcher* w = host_watcher()) w->on_grad(*n, false);
    return static_cast<Leaf*>(n)->grad;
  }
  const bool kept = n && n->extras && t->slot < n->extras->retained.size();
  return kept ? n->extras->retained[t->slot].grad : Tensor();
}

void set_grad(const Tensor& t, Tensor grad) {
  if (Leaf* leaf = leaf_of(t)) {
    if (HostWatcher* w = host_watcher()) w->on_grad(*leaf, true);
    leaf->grad = std::move(grad);
  } else {
    kept_of(t).grad = std::move(grad);
  }
}

namespace {

// The node with its edges, above all that they lead to.
Ref<Node> linked(const Rule& rule, const Tensor* const* inputs, int num_inputs, int num_outputs,
                 int num_saved, int payload_bytes) {
  Ref<Node> n = Node::make(rule, num_inputs, num_outputs, num_saved, payload_bytes);
  for (int i = 0; i < num_inputs; ++i) {
    const Tensor& t = *inputs[i];
    if (!t.defined() || !requires_grad(t)) continue;
    Node* from = node_of(t);
    from->retain();
    n->edges()[i].node = Ref<Node>::adopt(from);
    n->edges()[i].slot = t->slot;
    if (from->sequence > clock) clock = from->sequence;
  }
  n->sequence = ++clock;
  n->source = source_here();
  return n;
}

void describe_output(Node& n, int slot, const Tensor& output) {
  new (n.outputs() + slot) OutputMeta{output.sizes(), output.dtype(), output.device()};
}

void attach(Ref<Node> n, int slot, const Tensor& output) {
  describe_output(*n, slot, output);
  // Changed in place, a tensor still retains its gradient: by the new value.
  const bool retains = output->node && retains_grad(output);
  output->node = Ref<Attachment>::adopt(n.release());
  output->slot = static_cast<uint32_t>(slot);
  ++output->history;
  if (retains) [[unlikely]]
    retain_grad(output);
  if (std::exchange(output->changing, false)) [[unlikely]]
    write_through(output);
}

__attribute__((noinline, cold)) void recorded(Node& n, const Tensor* const* inputs,
                                              const Tensor* outputs) {
  if (has_recorder) tell_recorder(n, inputs, outputs);
  if (checks_forward()) check_forward(n, inputs, outputs);
}

}  // namespace

Node* record(const Rule& rule, const Tensor* const* inputs, int num_inputs, const Tensor& output,
             int num_saved, int payload_bytes) {
  Ref<Node> made = linked(rule, inputs, num_inputs, 1, num_saved, payload_bytes);
  Node* n = made.get();
  attach(std::move(made), 0, output);
  if (has_recorder || checks_forward()) [[unlikely]]
    recorded(*n, inputs, &output);
  return n;
}

Node* record(const Rule& rule, const Tensor* const* inputs, int num_inputs,
             const std::vector<Tensor>& outputs, int num_saved, int payload_bytes) {
  const auto num_outputs = static_cast<int>(outputs.size());
  const Ref<Node> made = linked(rule, inputs, num_inputs, num_outputs, num_saved, payload_bytes);
  for (int i = 0; i < num_outputs; ++i) attach(made, i, outputs[static_cast<size_t>(i)]);
  if (has_recorder || checks_forward()) [[unlikely]]
    recorded(*made, inputs, outputs.data());
  return made.get();
}

Node* record_custom(const Rule& name, std::shared_ptr<CustomRule> rule, const Tensor* const* inputs,
                    int num_inputs, const std::vector<Tensor>& outputs,
                    const std::vector<bool>& differentiable) {
  const auto num_outputs = static_cast<int>(outputs.size());
  const Ref<Node> made = linked(name, inputs, num_inputs, num_outputs, 0, 0);
  made->extras = std::make_unique<NodeExtras>();
  made->extras->custom = std::move(rule);
  for (int i = 0; i < num_outputs; ++i) {
    const Tensor& out = outputs[static_cast<size_t>(i)];
    if (differentiable[static_cast<size_t>(i)]) {
      attach(made, i, out);
    } else {
      describe_output(*made, i, out);
    }
  }
  if (has_recorder || checks_forward()) [[unlikely]]
    recorded(*made, inputs, outputs.data());
  return made.get();
}

Rule custom_rule(const char* name) {
  return {name, [](Node& node, Tensor* g, Tensor* out) {
            node.extras->custom->pull(node, std::vector<Tensor>(g, g + node.num_outputs), out);
          }};
}

}  // namespace wengert
