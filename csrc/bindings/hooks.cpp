// Hooks and rules that are Python functions, and the nodes of the tape as Python sees them.
#include "tape/hooks.h"

#include <pybind11/stl.h>

#include <unordered_map>

#include "bindings/held.h"
#include "bindings/py_tensor.h"
#include "ops/aliasing.h"
#include "ops/ops.h"
#include "tape/backward.h"
#include "tape/node.h"

namespace wengert::bindings {
namespace {

py::tuple tuple_of(const std::vector<Tensor>& tensors) {
  py::tuple out(tensors.size());
  for (size_t i = 0; i < tensors.size(); ++i) out[i] = tensors[i];
  return out;
}

std::string type_name(const py::handle& o) {
  return Py_TYPE(o.ptr())->tp_name;
}

class PythonHook : public Hook {
 public:
  PythonHook(HookPoint point, py::object fn, py::object self)
      : point_(point), fn_(std::move(fn)), self_(std::move(self)) {}

  const py::object& fn() const { return fn_.get(); }

  void call(std::vector<Tensor>& gradients, const std::vector<Tensor>& others) override {
    const py::gil_scoped_acquire locked;
    switch (point_) {
      case HookPoint::Tensor:
        return replace(gradients[0], fn_.get()(gradients[0]));
      case HookPoint::Before:
        return replace_all(gradients, fn_.get()(tuple_of(gradients)));
      case HookPoint::After:
        return replace_all(gradients, fn_.get()(tuple_of(gradients), tuple_of(others)));
      case HookPoint::Accumulated: {
        const py::object tensor = self_.get()();
        if (!tensor.is_none() && !fn_.get()(tensor).is_none()) {
          fail("register_post_accumulate_grad_hook: hooks should return None");
        }
      }
    }
  }

 private:
  std::string name() const {
    return py::str(py::getattr(fn_.get(), "__name__", py::repr(fn_.get())));
  }

  void replace(Tensor& gradient, const py::object& result) const {
    if (result.is_none()) return;
    if (!is_tensor(result.ptr())) {
      fail(ErrorKind::Type, "expected a Tensor or None, but hook '", name(), "' returned '",
           type_name(result), "'");
    }
    const Tensor& t = tensor_of(result.ptr());
    if (gradient.defined() && !(t.sizes() == gradient.sizes())) {
      fail("hook '", name(), "' has changed the size of value: got ", t.sizes(), ", expected ",
           gradient.sizes());
    }
    if (gradient.defined() && t.dtype() != gradient.dtype()) {
      fail("hook '", name(), "' has changed the type of value (was ", name_of(gradient.dtype()),
           " got ", name_of(t.dtype()), ")");
    }
    gradient = t;
  }

  void replace_all(std::vector<Tensor>& gradients, const py::object& result) const {
    if (result.is_none()) return;
    const py::tuple given = is_tensor(result.ptr()) ? py::make_tuple(result) : py::tuple(result);
    if (given.size() != gradients.size()) {
      fail("hook '", name(), "' has returned an incorrect number of values (got ", given.size(),
           ", but expected ", gradients.size(), ")");
    }
    for (size_t i = 0; i < gradients.size(); ++i) replace(gradients[i], given[i]);
  }

  HookPoint point_;
  Held fn_, self_;
};

// The dict that a user keeps with a node: a hook that does nothing.
class Metadata : public Hook {
 public:
  void call(std::vector<Tensor>&, const std::vector<Tensor>&) override {}
  const py::object& dict() const { return dict_.get(); }

 private:
  Held dict_{py::dict()};
};

py::object metadata_of(Node& node) {
  if (node.extras) {
    for (const NodeExtras::Entry& e : node.extras->hooks) {
      if (const auto* found = dynamic_cast<const Metadata*>(e.hook.get())) return found->dict();
    }
  }
  auto made = std::make_shared<Metadata>();
  add_hook(node, HookPoint::Accumulated, 0, made);
  return made->dict();
}

// --- rules -------------------------------------------------------------------------------------

// One call of a wengert.autograd.Function. The context is Python's; what it saved is kept here, so
// that changes in place are noticed and no output owns itself.
class PythonRule : public CustomRule {
 public:
  PythonRule(py::object context, py::object pull)
      : context_(std::move(context)), pull_(std::move(pull)) {}

  void pull(Node& node, std::vector<Tensor> grads, Tensor* out) override {
    const py::gil_scoped_acquire locked;
    node_ = &node;
    const py::tuple given = pull_.get()(context_.get(), tuple_of(grads));
    if (given.size() != static_cast<size_t>(node.num_inputs)) {
      fail(node.name(), ": returned an incorrect number of gradients (expected ", node.num_inputs,
           ", got ", given.size(), ")");
    }
    for (int i = 0; i < node.num_inputs; ++i) {
      const py::object g = given[static_cast<size_t>(i)];
      if (g.is_none() || !node.wants(i)) continue;
      if (!is_tensor(g.ptr())) {
        fail(node.name(), ": expected a Tensor or None as gradient ", i, ", got '", type_name(g),
             "'");
      }
      out[i] = fitting(node, i, tensor_of(g.ptr()));
    }
  }

  const py::object& context() const { return context_.get(); }

  std::vector<Saved>* saved_tensors() override { return &saved_; }
  void release() override {
    saved_.clear();
    released_ = true;
  }
  void forget(Node& node) override {
    if (node_ == &node) node_ = nullptr;
  }

  void save(Node& node, const std::vector<Tensor>& tensors, const std::vector<Tensor>& outputs) {
    node_ = &node;
    for (const Tensor& t : tensors) {
      if (!t.defined()) {
        saved_.emplace_back();
        continue;
      }
      int output = -1;
      for (size_t i = 0; i < outputs.size(); ++i) {
        if (outputs[i].impl() == t.impl() && node_of(t) == &node) output = static_cast<int>(i);
      }
      saved_.push_back(output < 0 ? Saved::input(t) : Saved::output_of(t, output));
    }
  }

  py::tuple saved() {
    if (released_) {
      fail(
          "trying to backward through the graph a second time, or to read saved tensors after "
          "they have been freed; pass retain_graph=True to the first backward");
    }
    if (!node_) fail("saved tensors: the graph that they were saved for is gone");
    py::tuple out(saved_.size());
    for (size_t i = 0; i < saved_.size(); ++i) {
      out[i] = saved_[i].tensor.defined() ? node_->unpack(saved_[i]) : Tensor();
    }
    return out;
  }

 private:
  // A gradient of the input's shape, or one that can be summed to it, in its dtype.
  static Tensor fitting(Node& node, int input, const Tensor& g) {
    const Edge& edge = node.edges()[input];
    const OutputMeta& meta = edge.node->outputs()[edge.slot];
    bool fits = g.dim() >= meta.sizes.size();
    for (int d = 0; fits && d < meta.sizes.size(); ++d) {
      const int64_t want = meta.sizes[meta.sizes.size() - 1 - d], got = g.size(g.dim() - 1 - d);
      fits = want == got || want == 1;
    }
    if (!fits) {
      fail(node.name(), ": returned an invalid gradient at index ", input, ": got ", g.sizes(),
           " but expected shape compatible with ", meta.sizes);
    }
    return g.dtype() == meta.dtype ? g : ops::to(g, meta.dtype);
  }

  Held context_, pull_;
  Node* node_ = nullptr;
  std::vector<Saved> saved_;
  bool released_ = false;
};

// What a context knows of its rule: it must not own what owns it.
struct SavedTensors {
  std::weak_ptr<PythonRule> rule;
  py::tuple get() const {
    const auto alive = rule.lock();
    if (!alive) fail("saved tensors: the graph that they were saved for is gone");
    return alive->saved();
  }
};

const Rule& rule_named(const std::string& name) {
  static auto* rules = new std::unordered_map<std::string, Rule>;
  const auto [it, fresh] = rules->try_emplace(name);
  if (fresh) it->second = custom_rule(it->first.c_str());
  return it->second;
}

// Inputs that have been changed in place, which a view's base must be told of.
void check_dirty(const char* name, const std::vector<Tensor>& dirty) {
  try {
    for (const Tensor& t : dirty) check_inplace(name, t, true);
  } catch (const Error&) {
    for (const Tensor& t : dirty) t->changing = false;
    throw;
  }
}

SavedTensors record_function(const std::string& name, py::object context, py::object pull,
                             const std::vector<Tensor>& inputs, const std::vector<Tensor>& outputs,
                             const std::vector<bool>& differentiable,
                             const std::vector<Tensor>& saved, const std::vector<Tensor>& dirty) {
  check_dirty(name.c_str(), dirty);
  std::vector<const Tensor*> in;
  for (const Tensor& t : inputs) in.push_back(&t);
  auto rule = std::make_shared<PythonRule>(std::move(context), std::move(pull));
  Node* node = record_custom(rule_named(name), rule, in.data(), static_cast<int>(in.size()),
                             outputs, differentiable);
  rule->save(*node, saved, outputs);
  return {rule};
}

// --- nodes -------------------------------------------------------------------------------------

struct PyNode {
  Ref<Node> node;
};

py::object node_object(Node* n) {
  return n ? py::cast(PyNode{Ref<Node>::share(n)}) : py::object(py::none());
}

// A Function's node has what its context has, as in PyTorch, where they are one.
py::object attribute_of_context(const PyNode& n, const py::str& name) {
  if (n.node->extras) {
    if (const auto* rule = dynamic_cast<PythonRule*>(n.node->extras->custom.get())) {
      return rule->context().attr(name);
    }
  }
  throw py::attribute_error(
      text("'", n.node->backward_name(), "' object has no attribute '", std::string(name), "'"));
}

struct Handle {
  std::weak_ptr<Hook> hook;
  Node* node;  // which owns the hook, and lives as long
  void remove() const {
    if (const auto alive = hook.lock()) alive->remove();
  }
  bool reached() const {
    const auto alive = hook.lock();
    return alive && walk_reaches(*node);
  }
};

Handle attach_hook(Node& node, HookPoint point, uint32_t slot, py::object fn, py::object self) {
  auto hook = std::make_shared<PythonHook>(point, std::move(fn), std::move(self));
  add_hook(node, point, slot, hook);
  return {hook, &node};
}

Handle tensor_hook(const Tensor& t, py::object fn) {
  forget_lost_base(t);  // or a change in place would go past the hook
  if (!requires_grad(t)) {
    fail("register_hook: cannot register a hook on a tensor that doesn't require gradient");
  }
  return attach_hook(*node_of(t), HookPoint::Tensor, t->slot, std::move(fn), py::none());
}

Handle accumulated_hook(const py::object& self, py::object fn) {
  const Tensor& t = tensor_of(self.ptr());
  if (!requires_grad(t)) {
    fail(
        "register_post_accumulate_grad_hook: cannot register a hook on a tensor that doesn't "
        "require gradient");
  }
  if (!is_leaf(t)) {
    fail(
        "register_post_accumulate_grad_hook: post accumulate grad hooks cannot be registered on "
        "non-leaf tensors");
  }
  return attach_hook(*node_of(t), HookPoint::Accumulated, 0, std::move(fn), py::weakref(self));
}

}  // namespace

void register_hooks(py::module_& m) {
  py::class_<Handle>(m, "HookHandle", "Takes a hook away again.")
      .def("remove", &Handle::remove, "Takes the hook away.")
      .def("reached", &Handle::reached,
           "Whether the walk under way on this thread brings the node gradients, or has.")
      .def("__enter__", [](py::object self) { return self; })
      .def("__exit__", [](const Handle& h, const py::args&) { h.remove(); });
  py::class_<PyNode>(m, "Node", "An operation on the tape.")
      .def(
          "name", [](const PyNode& n) { return n.node->backward_name(); },
          "The operation's name, as PyTorch writes it: SumBackward0.")
      .def_property_readonly(
          "next_functions",
          [](const PyNode& n) {
            py::tuple out(static_cast<size_t>(n.node->num_inputs));
            for (int i = 0; i < n.node->num_inputs; ++i) {
              const Edge& e = n.node->edges()[i];
              out[static_cast<size_t>(i)] = py::make_tuple(node_object(e.node.get()), e.slot);
            }
            return out;
          },
          "For each input the node that made it and its place there; None where no gradient goes.")
      .def_property_readonly(
          "metadata", [](const PyNode& n) { return metadata_of(*n.node); },
          "A dict for whatever a user wants to keep with the node.")
      .def(
          "register_hook",
          [](const PyNode& n, py::object fn) {
            return attach_hook(*n.node, HookPoint::After, 0, std::move(fn), py::none());
          },
          py::arg("fn"),
          "Calls fn(grad_inputs, grad_outputs) after the rule; it may return other grad_inputs.")
      .def(
          "register_prehook",
          [](const PyNode& n, py::object fn) {
            return attach_hook(*n.node, HookPoint::Before, 0, std::move(fn), py::none());
          },
          py::arg("fn"), "Calls fn(grad_outputs) before the rule; it may return others.")
      .def("__getattr__", &attribute_of_context, py::arg("name"))
      .def("__eq__", [](const PyNode& a, const PyNode& b) { return a.node.get() == b.node.get(); })
      .def("__hash__",
           [](const PyNode& n) { return reinterpret_cast<intptr_t>(n.node.get()) >> 4; })
      .def("__repr__",
           [](const PyNode& n) { return text("<", n.node->backward_name(), " object>"); });
  py::class_<SavedTensors>(m, "SavedTensors", "What a Function saved for its backward.")
      .def("get", &SavedTensors::get, "The tensors.");
  m.def(
      "gradient_edge",
      [](const Tensor& t) {
        if (!requires_grad(t)) {
          fail(
              "get_gradient_edge: It is not possible to get the gradient edge of a Tensor that "
              "does "
              "not require gradients");
        }
        return py::make_tuple(node_object(node_of(t)), t->slot);
      },
      py::arg("tensor"), "The node that a tensor's gradient goes to, and its place there.");
  m.def(
      "at_edge",
      [](const PyNode& n, uint32_t slot) {
        if (slot >= static_cast<uint32_t>(n.node->num_outputs)) {
          fail(ErrorKind::Index, "GradientEdge: output_nr ", slot, " of a node with ",
               n.node->num_outputs, " outputs");
        }
        const OutputMeta& meta = n.node->outputs()[slot];
        const Tensor t = Tensor::empty(meta.sizes, meta.dtype, meta.device);
        t->node = Ref<Attachment>::share(n.node.get());
        t->slot = slot;
        return t;
      },
      py::arg("node"), py::arg("slot"), "A tensor without a value where an edge leads to.");
  m.def(
      "grad_fn", [](const Tensor& t) { return node_object(is_leaf(t) ? nullptr : node_of(t)); },
      py::arg("tensor"), "The node that made a tensor.");
  m.def(
      "tensor_hooks",
      [](const Tensor& t) {
        py::list out;
        if (!t->node) return out;
        for (const auto& hook : hooks_of(*node_of(t))) {
          if (const auto* made = dynamic_cast<const PythonHook*>(hook.get()))
            out.append(made->fn());
        }
        return out;
      },
      py::arg("tensor"), "The functions that walks call with a tensor's gradient.");
  m.def("add_tensor_hook", &tensor_hook, py::arg("tensor"), py::arg("hook"),
        "Calls hook with the tensor's gradient.");
  m.def("add_accumulated_hook", &accumulated_hook, py::arg("tensor"), py::arg("hook"),
        "Calls hook with a leaf when its gradient has been accumulated.");
  m.def("retain_grad", &retain_grad, py::arg("tensor"), "Keeps a result's gradient.");
  m.def("retains_grad", &retains_grad, py::arg("tensor"), "Whether a result's gradient is kept.");
  m.def("record_function", &record_function, py::arg("name"), py::arg("context"), py::arg("pull"),
        py::arg("inputs"), py::arg("outputs"), py::arg("differentiable"), py::arg("saved"),
        py::arg("dirty"), "Records a call of a Function.");
}

}  // namespace wengert::bindings
