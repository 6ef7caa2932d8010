// Optimizer steps: reads a param_group's settings and makes one C++ call.
#include "ops/optim.h"

#include <pybind11/stl.h>

#include <cmath>

#include "bindings/py_tensor.h"
#include "core/error.h"

namespace wengert::bindings {
namespace {

OptimizerRule rule_of(const std::string& name) {
  if (name == "sgd") return OptimizerRule::SGD;
  if (name == "rmsprop") return OptimizerRule::RMSprop;
  if (name == "adagrad") return OptimizerRule::Adagrad;
  if (name == "adam") return OptimizerRule::Adam;
  fail(ErrorKind::Value, "optimizer: unknown rule '", name, "'");
}

PyObject* setting(PyObject* group, const char* key) {
  PyObject* v = PyDict_GetItemString(group, key);
  if (!v) fail(ErrorKind::Value, "optimizer: the param group has no '", key, "'");
  return v;
}
double number(PyObject* group, const char* key) {
  const double v = PyFloat_AsDouble(setting(group, key));
  if (v == -1 && PyErr_Occurred()) rethrow_python();
  return v;
}
bool flag(PyObject* group, const char* key) {
  const int v = PyObject_IsTrue(setting(group, key));
  if (v < 0) rethrow_python();
  return v != 0;
}

OptimizerLaunch settings_of(OptimizerRule rule, PyObject* group) {
  OptimizerLaunch s{};
  s.rule = rule;
  s.lr = number(group, "lr");
  s.weight_decay = number(group, "weight_decay");
  s.maximize = flag(group, "maximize");
  if (rule != OptimizerRule::SGD) s.eps = number(group, "eps");
  switch (rule) {
    case OptimizerRule::SGD:
      s.momentum = number(group, "momentum");
      s.dampening = number(group, "dampening");
      s.nesterov = flag(group, "nesterov");
      break;
    case OptimizerRule::RMSprop:
      s.momentum = number(group, "momentum");
      s.alpha = number(group, "alpha");
      s.centered = flag(group, "centered");
      break;
    case OptimizerRule::Adagrad:
      s.lr_decay = number(group, "lr_decay");
      break;
    case OptimizerRule::Adam: {
      PyObject* betas = setting(group, "betas");
      std::vector<double> beta;
      const bool numbers =
          (PyTuple_Check(betas) || PyList_Check(betas)) && every_item(betas, [&](PyObject* each) {
            beta.push_back(PyFloat_AsDouble(each));
            if (PyErr_Occurred()) rethrow_python();
            return true;
          });
      if (!numbers || beta.size() != 2) {
        fail(ErrorKind::Value, "optimizer: betas must be a pair of numbers");
      }
      s.beta1 = beta[0];
      s.beta2 = beta[1];
      s.amsgrad = flag(group, "amsgrad");
      s.decoupled = flag(group, "decoupled_weight_decay");
      break;
    }
  }
  return s;
}

}  // namespace

void register_optim(py::module_& m) {
  py::class_<OptimizerGroup>(m, "OptimizerGroup", "Parameters updated together, with their states.")
      .def(py::init([](const std::string& rule, std::vector<Tensor> params) {
             return OptimizerGroup(rule_of(rule), std::move(params));
           }),
           py::arg("rule"), py::arg("params"))
      .def(
          "step",
          [](OptimizerGroup& g, const py::dict& group) {
            return g.step(settings_of(g.rule(), group.ptr()));
          },
          py::arg("group"),
          "One step of every parameter that has a gradient; whether new states were made.")
      .def(
          "state",
          [](OptimizerGroup& g, size_t i) {
            const auto& s = g.state(i);
            return py::make_tuple(s.steps, s.tensor[0], s.tensor[1], s.tensor[2]);
          },
          py::arg("index"), "Steps taken and state tensors of a parameter.")
      .def(
          "set_state",
          [](OptimizerGroup& g, size_t i, double steps, const std::vector<Tensor>& tensors) {
            const Tensor& p = g.param(i);
            for (const Tensor& t : tensors) {
              if (t.defined() &&
                  (!(t.sizes() == p.sizes()) || t.dtype() != p.dtype() || !t.contiguous())) {
                fail(ErrorKind::Value, "optimizer: state of shape ", t.sizes(),
                     " for a parameter of shape ", p.sizes());
              }
            }
            auto& s = g.state(i);
            s.steps = Tensor::scalar(steps, DType::Float32);
            for (size_t k = 0; k < kMaxOptimizerStates; ++k) {
              s.tensor[k] = k < tensors.size() ? tensors[k] : Tensor();
            }
          },
          py::arg("index"), py::arg("steps"), py::arg("tensors"));
}

}  // namespace wengert::bindings
