// The walk: nodes wait in a heap and are taken in descending sequence number, which is a
// topological order, so when a node is taken every gradient for it has arrived. It knows no
// operation; it owns accumulation and summing to shape.
#include "tape/backward.h"

#include <pthread.h>

#include <algorithm>
#include <mutex>
#include <new>
#include <utility>
#include <vector>

#include "core/watch.h"
#include "tape/anomaly.h"
#include "tape/observe.h"

namespace wengert {
namespace {

struct Entry {
  Ref<Node> node;
  Tensor first;              // gradient of output 0
  std::vector<Tensor> more;  // of the others
  uint64_t outer_walk;       // the walk around this one that had touched the node
  uint32_t outer_entry;
  bool wanted;
  bool queued;  // in the heap: a gradient has come

  std::vector<Tensor> grads() const {
    std::vector<Tensor> all{first};
    all.insert(all.end(), more.begin(), more.end());
    return all;
  }
  Tensor& grad(uint32_t slot) {
    if (slot == 0) return first;
    if (more.size() < slot) more.resize(slot);
    return more[slot - 1];
  }
};

// One walk at a time writes gradients; walks inside hooks and rules of the same thread nest.
std::recursive_mutex& walk_lock() {
  static auto* lock = [] {
    static std::recursive_mutex made;
    pthread_atfork(nullptr, nullptr, [] { new (&walk_lock()) std::recursive_mutex; });
    return &made;
  }();
  return *lock;
}

uint64_t next_walk = 0;

class Walk {
 public:
  explicit Walk(const WalkOptions& o) : options_(o), id_(++next_walk), outer_(current) {
    current = this;
  }
  Walk(const Walk&) = delete;
  Walk& operator=(const Walk&) = delete;
  ~Walk() {
    for (Entry& e : entries_) leave(e);
    current = outer_;
  }

  void run(std::span<const Tensor> roots, std::span<const Tensor> grads, Tensor* results) {
    roots_ = roots;
    filtered_ = !options_.inputs.empty();
    if (filtered_) mark_wanted(roots);
    for (size_t i = 0; checked_ && i < grads.size(); ++i) check_given(grads[i], i);
    for (size_t i = 0; i < roots.size(); ++i) deliver(*node_of(roots[i]), roots[i]->slot, grads[i]);
    const GradMode mode(options_.create_graph);
    std::vector<Tensor> out;
    while (!heap_.empty()) {
      std::pop_heap(heap_.begin(), heap_.end(), before);
      const uint32_t at = heap_.back();
      heap_.pop_back();
      // Moved out: delivering may grow entries_.
      Entry e = std::move(entries_[at]);
      e.more.resize(static_cast<size_t>(e.node->num_outputs) - 1);
      if (e.node->extras) [[unlikely]] {
        if (options_.batched) {
          arrive_parts(e);
        } else {
          arrive(e);
        }
      }
      collect(e, results);
      if (e.node->watched.load(std::memory_order_relaxed)) [[unlikely]]
        tell_adjoint(*e.node, e.first, e.more);
      if (e.node->leaf) {
        if (!filtered_) accumulate(static_cast<Leaf&>(*e.node), std::move(e.first));
      } else {
        pull(e, out);
      }
      leave(e);
      free_.push_back(at);
    }
  }

  bool filtered() const { return filtered_; }
  uint64_t number() const { return id_; }
  bool reaches(const Node& n) const {
    if (filtered_) return wants(n);
    std::vector<Node*> nodes;
    for (const Tensor& t : roots_) nodes.push_back(node_of(t));
    return any_behind(std::move(nodes), [&](const Node& m) { return &m == &n; });
  }
  bool wants(const Node& n) const {
    return !filtered_ || (n.walk == id_ && entries_[n.walk_entry].wanted);
  }

  static thread_local Walk* current;

 private:
  static bool less(const Node& a, const Node& b) { return a.sequence < b.sequence; }

  Entry& touch(Node& n) {
    if (n.walk == id_) return entries_[n.walk_entry];
    uint32_t at = static_cast<uint32_t>(entries_.size());
    if (!free_.empty()) {
      at = free_.back();
      free_.pop_back();
    } else {
      entries_.emplace_back();
    }
    Entry& e = entries_[at];
    e = Entry{Ref<Node>::share(&n), {}, {}, n.walk, n.walk_entry, !filtered_, false};
    n.walk = id_;
    n.walk_entry = at;
    return e;
  }
  void leave(Entry& e) {
    if (!e.node) return;
    e.node->walk = e.outer_walk;
    e.node->walk_entry = e.outer_entry;
    e.node = nullptr;
  }

  void deliver(Node& to, uint32_t slot, Tensor g) {
    if (filtered_ && !wants(to)) return;
    const OutputMeta& meta = to.outputs()[slot];
    if (options_.batched || !(g.sizes() == meta.sizes)) [[unlikely]]
      g = sum_to_shape(g, meta.sizes, options_.batched ? 1 : 0);
    if (g.device() != meta.device) [[unlikely]]
      g = move_gradient(g, meta.device);
    Entry& e = touch(to);
    Tensor& have = e.grad(slot);
    have = have.defined() ? add_gradients(std::move(have), g, false) : std::move(g);
    if (std::exchange(e.queued, true)) return;
    heap_.push_back(to.walk_entry);
    std::push_heap(heap_.begin(), heap_.end(), before);
  }

  // Hooks see the gradients, and what is retained is kept.
  void arrive(Entry& e) {
    Node& n = *e.node;
    for (int slot = 0; slot < n.num_outputs; ++slot) {
      Tensor& g = e.grad(static_cast<uint32_t>(slot));
      if (!g.defined()) continue;
      std::vector<Tensor> one{std::move(g)};
      run_hooks(n, HookPoint::Tensor, static_cast<uint32_t>(slot), one);
      g = std::move(one[0]);
    }
    if (has_hooks(n, HookPoint::Before)) {
      std::vector<Tensor> all = e.grads();
      run_hooks(n, HookPoint::Before, 0, all);
      e.first = std::move(all[0]);
      e.more.assign(all.begin() + 1, all.end());
    }
    for (uint32_t slot = 0; slot < n.extras->retained.size(); ++slot) {
      auto& kept = n.extras->retained[slot];
      const Tensor& g = e.grad(slot);
      if (!kept.asked || !g.defined()) continue;
      kept.grad = kept.grad.defined()     ? add_gradients(kept.grad, g, false)
                  : options_.create_graph ? g
                                          : copy_gradient(g);
    }
  }

  // Calls f with an entry for each part of a batch of gradients.
  template <class F>
  void each_part(const Entry& e, const F& f) {
    const std::vector<Tensor> batches = e.grads();
    const auto some =
        std::find_if(batches.begin(), batches.end(), [](const Tensor& b) { return b.defined(); });
    const int64_t n = some == batches.end() ? 0 : some->size(0);
    for (int64_t k = 0; k < n; ++k) {
      Entry one{e.node, {}, {}, 0, 0, e.wanted, false};
      one.more.resize(e.more.size());
      for (uint32_t slot = 0; slot < batches.size(); ++slot) {
        if (batches[slot].defined()) one.grad(slot) = part_of(batches[slot], k);
      }
      f(one);
    }
  }

  void arrive_parts(Entry& e) {
    std::vector<std::vector<Tensor>> parts(e.more.size() + 1);
    each_part(e, [&](Entry& one) {
      arrive(one);
      join(one.grads(), parts);
    });
    for (uint32_t slot = 0; slot < parts.size(); ++slot) {
      if (!parts[slot].empty()) e.grad(slot) = batch_of(parts[slot]);
    }
  }

  // A batch through a rule that knows none.
  void pull_parts(Entry& e, std::vector<Tensor>& out) {
    std::vector<std::vector<Tensor>> parts(static_cast<size_t>(e.node->num_inputs));
    each_part(e, [&](Entry& one) {
      pull_whole(one, out);
      join(out, parts);
    });
    for (size_t i = 0; i < parts.size(); ++i) {
      out[i] = parts[i].empty() ? Tensor() : batch_of(parts[i]);
    }
  }

  static void join(const std::vector<Tensor>& one, std::vector<std::vector<Tensor>>& parts) {
    for (size_t i = 0; i < one.size(); ++i) {
      if (one[i].defined()) parts[i].push_back(one[i]);
    }
  }

  void pull_whole(Entry& e, std::vector<Tensor>& out) {
    Node& n = *e.node;
    const DefaultDevice here(n.outputs()[0].device);
    out.assign(n.num_inputs, Tensor());
    const bool after = n.extras && has_hooks(n, HookPoint::After);
    std::vector<Tensor> arrived;
    if (after) [[unlikely]]
      arrived = e.grads();
    if (n.num_outputs == 1) {
      n.rule->pull(n, &e.first, out.data());
    } else {
      e.more.insert(e.more.begin(), std::move(e.first));
      n.rule->pull(n, e.more.data(), out.data());
    }
    if (checked_) [[unlikely]]
      check_gradients(n, out.data(), n.num_inputs);
    if (n.watched.load(std::memory_order_relaxed)) [[unlikely]]
      tell_pulled(n, out);
    if (after) [[unlikely]]
      run_hooks(n, HookPoint::After, 0, out, arrived);
  }

  void pull(Entry& e, std::vector<Tensor>& out) {
    Node& n = *e.node;
    if (options_.batched && (!n.rule->batches || (n.extras && has_hooks(n, HookPoint::After)))) {
      out.assign(n.num_inputs, Tensor());
      pull_parts(e, out);
    } else {
      pull_whole(e, out);
    }
    if (!options_.retain_graph) n.release_saved();
    for (int i = 0; i < n.num_inputs; ++i) {
      const Edge& edge = n.edges()[i];
      if (out[static_cast<size_t>(i)].defined() && edge.node) {
        deliver(*edge.node, edge.slot, std::move(out[static_cast<size_t>(i)]));
      }
    }
  }

  void accumulate(Leaf& leaf, Tensor g) {
    if (!leaf.active) return;
    if (HostWatcher* w = host_watcher()) w->on_grad(leaf, false);
    if (!leaf.grad.defined()) {
      // Kept as it is when it is ours alone, else two leaves could share a buffer.
      const bool ours = g.unique() && g->storage->unique() && g.contiguous();
      leaf.grad = ours || options_.create_graph ? std::move(g) : copy_gradient(g);
    } else {
      leaf.grad = add_gradients(leaf.grad, g, !options_.create_graph);
    }
    if (leaf.extras) [[unlikely]] {
      std::vector<Tensor> none;
      run_hooks(leaf, HookPoint::Accumulated, 0, none);
    }
  }

  void collect(Entry& e, Tensor* results) {
    for (size_t i = 0; i < options_.inputs.size(); ++i) {
      const Tensor& t = options_.inputs[i];
      if (t->node.get() == e.node.get()) results[i] = e.grad(t->slot);
    }
  }

  // Which nodes lie on a way to an input: found by visiting all that the roots reach, then judged
  // in ascending order, inputs of a node before the node.
  void mark_wanted(std::span<const Tensor> roots) {
    std::vector<Node*> reached;
    const auto visit = [&](Node& n) {
      if (n.walk == id_) return;
      touch(n);
      reached.push_back(&n);
    };
    for (const Tensor& t : roots) visit(*node_of(t));
    for (size_t k = 0; k < reached.size(); ++k) {
      Node& n = *reached[k];
      for (int i = 0; i < n.num_inputs; ++i) {
        if (n.edges()[i].node) visit(*n.edges()[i].node);
      }
    }
    std::sort(reached.begin(), reached.end(), [](Node* a, Node* b) { return less(*a, *b); });
    for (const Tensor& t : options_.inputs) {
      if (node_of(t)->walk == id_) entries_[node_of(t)->walk_entry].wanted = true;
    }
    for (Node* n : reached) {
      bool& wanted = entries_[n->walk_entry].wanted;
      for (int i = 0; !wanted && i < n->num_inputs; ++i) {
        const Node* from = n->edges()[i].node.get();
        wanted = from && entries_[from->walk_entry].wanted;
      }
    }
  }

  struct Before {
    Walk& walk;
    bool operator()(uint32_t a, uint32_t b) const {
      return less(*walk.entries_[a].node, *walk.entries_[b].node);
    }
  };

  const WalkOptions& options_;
  const uint64_t id_;
  Walk* const outer_;
  std::span<const Tensor> roots_;
  bool filtered_ = false;
  const bool checked_ = checks_gradients();
  std::vector<Entry> entries_;
  std::vector<uint32_t> free_, heap_;
  Before before{*this};
};

thread_local Walk* Walk::current = nullptr;

}  // namespace

OutsideWalk::OutsideWalk() : inside_(std::exchange(Walk::current, nullptr)) {}
OutsideWalk::~OutsideWalk() {
  Walk::current = static_cast<Walk*>(inside_);
}

bool walking() {
  return Walk::current != nullptr;
}
uint64_t walk_number() {
  return Walk::current ? Walk::current->number() : 0;
}
bool walk_reaches(Node& node) {
  return Walk::current && Walk::current->reaches(node);
}
bool walk_is_filtered() {
  return Walk::current && Walk::current->filtered();
}
bool walk_wants(const Node& n) {
  return !Walk::current || Walk::current->wants(n);
}

void walk_back(std::span<const Tensor> roots, std::span<const Tensor> grads,
               const WalkOptions& options, Tensor* results) {
  const std::lock_guard hold(walk_lock());
  Walk(options).run(roots, grads, results);
}

}  // namespace wengert
