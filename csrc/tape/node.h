// The tape's record. A Node is one recorded operation: which rule pulls its gradient back, where
// its inputs came from (edges), and what the rule needs again (saved tensors, a small payload). A
// Leaf is where a gradient ends. A tensor requires grad exactly when an active node is attached.
//
// One pooled block holds a node: the header, then outputs, edges, saved tensors, payload.
#pragma once

#include <atomic>
#include <new>
#include <type_traits>
#include <vector>

#include "core/tensor.h"
#include "tape/hooks.h"
#include "tape/source.h"

namespace wengert {

struct Node;

// How an operation pulls gradients back. g holds one gradient an output (undefined where none
// came), out takes one an input: leave it undefined where node.wants(i) is false or it is zero.
// g may be reused as a buffer when the caller was its only owner.
struct Rule {
  const char* name;
  void (*pull)(Node& node, Tensor* g, Tensor* out);
  // Whether it also pulls gradients with one more dimension, the first: many at once. Those of
  // other rules are pulled one by one.
  bool batches = false;
};

struct OutputMeta {
  Dims sizes;
  DType dtype;
  Device device;
};

struct Edge {
  Ref<Node> node;  // null: this input needs no gradient
  uint32_t slot = 0;
};

// A tensor kept for the rule, with the version of its storage when it was kept. An output is kept
// without its node, else it would own itself.
struct Saved {
  static constexpr int16_t kInput = -1, kPacked = -2;  // else the number of an output

  Tensor tensor;  // kPacked: an empty one that holds what hooks made of it (tape/saved.h)
  uint32_t version = 0;
  int16_t output = kInput;

  static Saved input(const Tensor& t);
  static Saved output_of(const Tensor& t, int slot);
  bool packed() const { return output == kPacked; }
};

struct Node : Attachment {
  const Rule* rule;
  uint64_t sequence = 0;  // above that of every input: a topological order
  uint64_t walk = 0;      // the backward walk that last touched it, and its place there
  uint32_t walk_entry = 0;
  int32_t num_inputs, num_outputs, payload_bytes;
  int16_t num_saved;
  bool leaf = false;
  bool active = true;  // false: a leaf that stopped requiring grad
  bool released = false;
  std::atomic<bool> watched{false};  // somebody reads the gradients that arrive (observe.h)
  union {
    Source source{};  // where it was recorded
    Node* next_dead;  // of a node on its way out
  };
  std::unique_ptr<NodeExtras> extras;  // null but where a user attached something

  static Ref<Node> make(const Rule& rule, int inputs, int outputs, int saved, int payload_bytes);
  static void destroy(Node* n);
  // A node of the same rule, edges, saved tensors and payload, for one who reads the tape: it
  // still has the saved tensors when a walk has freed those of this one.
  Ref<Node> copy();

  OutputMeta* outputs() { return reinterpret_cast<OutputMeta*>(end_of_header()); }
  Edge* edges() { return reinterpret_cast<Edge*>(outputs() + num_outputs); }
  Saved* saved() { return reinterpret_cast<Saved*>(edges() + num_inputs); }
  void* end_of_saved() { return saved() + num_saved; }
  template <class P>
  P& payload() {
    static_assert(std::is_trivially_destructible_v<P> && alignof(P) <= 8);
    return *static_cast<P*>(end_of_saved());
  }

  const char* name() const { return rule->name; }
  std::string backward_name() const;  // as PyTorch writes it: AddBackward0
  // Ends a message with the place in the user's program, where it is known.
  std::string recorded_at() const;
  // Whether the walk under way wants the gradient of input i.
  bool wants(int i);
  const Dims& input_sizes(int i) { return edges()[i].node->outputs()[edges()[i].slot].sizes; }
  // How many dimensions of a gradient of output 0 come before the output's own: 1 in a batch.
  int leading(const Tensor& g) { return g.dim() - outputs()[0].sizes.size(); }

  void save(int at, const Tensor& t) { saved()[at] = Saved::input(t); }
  void save_output(int at, const Tensor& t, int slot = 0) {
    saved()[at] = Saved::output_of(t, slot);
  }
  // The tensor again; throws when it was freed or has been changed in place since.
  Tensor unpack(int at) { return unpack(saved()[at]); }
  Tensor unpack(const Saved& s);
  void release_saved();

 protected:
  Node(const Rule& r, int inputs, int outputs, int saved, int payload);
  char* end_of_header();
  static void finish(Node* n);
};

struct Leaf : Node {
  Tensor grad;
  explicit Leaf(const OutputMeta& meta);
  OutputMeta meta_storage;
};

inline Node* node_of(const Tensor& t) {
  return static_cast<Node*>(t->node.get());
}
// What the tape asks of the operations, which stand above it: a view whose base was changed since
// gets the history that it has now; and after a change through a view, its base.
void refresh_view(const Tensor& view);
void write_through(const Tensor& view);

inline bool requires_grad(const Tensor& t) {
  if (t->base && t->base->history != t->base_history) [[unlikely]]
    refresh_view(t);
  const Node* n = node_of(t);
  return n && n->active;
}
inline bool is_leaf(const Tensor& t) {
  return !requires_grad(t) || node_of(t)->leaf;
}
// Makes a tensor a leaf that requires grad, or stops it.
void set_requires_grad(const Tensor& t, bool on);
// The gradient accumulated in a leaf; undefined if there is none.
Tensor grad_of(const Tensor& t);
void set_grad(const Tensor& t, Tensor grad);

// --- recording ---------------------------------------------------------------------------------

// Whether this thread records: the grad mode is on, and the inference mode is not.
bool grad_enabled();
bool grad_mode();
bool set_grad_enabled(bool on);  // the grad mode; returns what it was
// The inference mode, which sets the grad mode to the opposite. Returns what both were.
struct Modes {
  bool grad, inference;
};
Modes enter_inference_mode(bool on);
void restore_modes(Modes m);

class GradMode {
 public:
  explicit GradMode(bool on) : before_(set_grad_enabled(on)) {}
  GradMode(const GradMode&) = delete;
  GradMode& operator=(const GradMode&) = delete;
  ~GradMode() { set_grad_enabled(before_); }

 private:
  bool before_;
};

template <class... Ts>
bool recording(const Ts&... inputs) {
  return grad_enabled() && ((inputs.defined() && requires_grad(inputs)) || ...);
}

// Makes the node of an operation and attaches it to the output. Inputs that need no gradient get
// an empty edge.
Node* record(const Rule& rule, const Tensor* const* inputs, int num_inputs, const Tensor& output,
             int num_saved, int payload_bytes = 0);
// The same for an operation with several outputs: one node, whose rule gets all their gradients.
Node* record(const Rule& rule, const Tensor* const* inputs, int num_inputs,
             const std::vector<Tensor>& outputs, int num_saved, int payload_bytes = 0);
// The same with a rule of the user's, known by `name`. Outputs that are not differentiable count,
// but get no history.
Node* record_custom(const Rule& name, std::shared_ptr<CustomRule> rule, const Tensor* const* inputs,
                    int num_inputs, const std::vector<Tensor>& outputs,
                    const std::vector<bool>& differentiable);
// A rule that only names a custom one. It must live as long as its nodes.
Rule custom_rule(const char* name);
template <class P>
Node* record(const Rule& rule, const Tensor* const* inputs, int num_inputs, const Tensor& output,
             int num_saved, const P& payload) {
  Node* n = record(rule, inputs, num_inputs, output, num_saved, static_cast<int>(sizeof(P)));
  new (&n->payload<P>()) P(payload);
  return n;
}

}  // namespace wengert
