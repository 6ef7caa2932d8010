// Backpropagation and the grad mode.
#include "ops/autograd.h"

#include <algorithm>

#include <pybind11/stl.h>

#include "bindings/py_tensor.h"
#include "kernels/launch.h"
#include "tape/node.h"
#include "transforms/gradient.h"

namespace wengert::bindings {
namespace {

// Other Python threads run while kernels do; kernels too short for that keep the lock.
void* release_lock() {
  return PyGILState_Check() ? PyEval_SaveThread() : nullptr;
}
void take_lock(void* state) {
  if (state) PyEval_RestoreThread(static_cast<PyThreadState*>(state));
}

bool layered(const AnyTensors& list) {
  return std::any_of(list.begin(), list.end(),
                     [](const AnyTensor& t) { return t.tensor.defined() && t.tensor->layer; });
}

}  // namespace

void refuse_layer(const Tensor& t) {
  const bool batch = transforms::layer_of(t)->kind == transforms::Kind::Batch;
  fail(batch ? "vmap" : "forward mode", ": this function does not take a ",
       batch ? "batched tensor" : "dual number", " (of shape ", t.sizes(),
       "); call it outside of the transform");
}

void register_autograd(py::module_& m) {
  set_long_kernel_hooks({&release_lock, &take_lock});
  m.def(
      "backward",
      [](const std::vector<Tensor>& tensors, const std::vector<Tensor>& grads, bool retain_graph,
         bool create_graph, const std::vector<Tensor>& inputs) {
        const SourceScope from(source_here());
        const py::gil_scoped_release unlocked;
        BackwardOptions options;
        options.retain_graph = retain_graph;
        options.create_graph = create_graph;
        backward(tensors, grads, inputs, options);
      },
      py::arg("tensors"), py::arg("grads"), py::arg("retain_graph"), py::arg("create_graph"),
      py::arg("inputs"), "Pulls gradients back into the leaves, or into `inputs` alone.");
  m.def(
      "grad",
      [](const AnyTensors& outputs, const AnyTensors& inputs, const AnyTensors& grads,
         bool retain_graph, bool create_graph, bool allow_unused, bool materialize, bool batched) {
        const SourceScope from(source_here());
        const py::gil_scoped_release unlocked;
        const bool plain = !batched && !layered(outputs) && !layered(inputs) && !layered(grads);
        if (plain) {
          return any(grad(tensors(outputs), tensors(grads), tensors(inputs),
                          {retain_graph, create_graph, allow_unused, materialize}));
        }
        return any(
            transforms::grad({tensors(outputs), tensors(inputs), tensors(grads), retain_graph,
                              create_graph, allow_unused, materialize, batched}));
      },
      py::arg("outputs"), py::arg("inputs"), py::arg("grads"), py::arg("retain_graph"),
      py::arg("create_graph"), py::arg("allow_unused"), py::arg("materialize"),
      py::arg("batched") = false,
      "The gradients of outputs by inputs; with batched, for each along the first dimension of the "
      "given ones.");
  m.def("is_grad_enabled", &grad_mode, "Whether operations are recorded on this thread.");
  m.def("records", &grad_enabled, "Whether both modes of this thread let operations be recorded.");
  m.def("is_inference_mode_enabled", &inference_mode,
        "Whether what this thread makes will never take part in derivatives.");
  m.def(
      "enter_inference_mode",
      [](bool on) {
        const Modes before = enter_inference_mode(on);
        return py::make_tuple(before.grad, before.inference);
      },
      py::arg("on"), "Switches the inference mode of this thread; returns what to restore.");
  m.def(
      "leave_inference_mode",
      [](const std::pair<bool, bool>& before) { restore_modes({before.first, before.second}); },
      py::arg("before"), "Restores the modes that there were.");
  m.def("set_grad_mode", &set_grad_enabled, py::arg("on"),
        "Switches recording on this thread; returns what it was.");
}

}  // namespace wengert::bindings
