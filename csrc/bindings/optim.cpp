// Optimizer steps: reads a param_group's settings and makes one C++ call.
#include "bindings/optim.h"

#include <pybind11/stl.h>

#include <cmath>
#include <iterator>

#include "bindings/py_tensor.h"
#include "core/error.h"
#include "core/watch.h"

namespace wengert::bindings {
namespace {

OptimizerRule rule_of(const std::string& name) {
  OptimizerRule rule;
  if (!rule_from(name, rule)) fail(ErrorKind::Value, "optimizer: unknown rule '", name, "'");
  return rule;
}

StateDType states_of(const py::object& kept) {
  if (kept.is_none()) return StateDType::AsParameter;
  if (py::isinstance<py::str>(kept) && py::cast<std::string>(kept) == "8bit") {
    return StateDType::Bytes;
  }
  if (Py_TYPE(kept.ptr()) == dtype_type) {
    const DType d = reinterpret_cast<PyDType*>(kept.ptr())->dtype;
    if (d == DType::Float32) return StateDType::Float32;
    if (d == DType::BFloat16) return StateDType::BFloat16;
  }
  fail(ErrorKind::Value, "optimizer: state_dtype=", std::string(py::repr(kept)),
       "; expected None, wg.float32, wg.bfloat16 or '8bit'");
}

// A key of param groups, as the text that Python code has of it: it is found by its address.
class Key {
 public:
  explicit Key(const char* name) : text_(PyUnicode_InternFromString(name)), name_(name) {}
  PyObject* text() const { return text_; }
  const char* name() const { return name_; }

 private:
  PyObject* text_;  // lives as long as Python does
  const char* name_;
};

struct Keys {
  Key lr{"lr"}, weight_decay{"weight_decay"}, maximize{"maximize"}, eps{"eps"};
  Key momentum{"momentum"}, dampening{"dampening"}, nesterov{"nesterov"}, alpha{"alpha"};
  Key centered{"centered"}, lr_decay{"lr_decay"}, betas{"betas"}, amsgrad{"amsgrad"};
  Key decoupled{"decoupled_weight_decay"};
};

PyObject* setting(PyObject* group, const Key& key) {
  PyObject* v = PyDict_GetItemWithError(group, key.text());
  if (!v) fail(ErrorKind::Value, "optimizer: the param group has no '", key.name(), "'");
  return v;
}
double number(PyObject* group, const Key& key) {
  const double v = PyFloat_AsDouble(setting(group, key));
  if (v == -1 && PyErr_Occurred()) rethrow_python();
  return v;
}
bool flag(PyObject* group, const Key& key) {
  const int v = PyObject_IsTrue(setting(group, key));
  if (v < 0) rethrow_python();
  return v != 0;
}

// Sets what the group says, and nothing else.
void read_settings(PyObject* group, OptimizerLaunch& s) {
  static const Keys keys;
  s.lr = number(group, keys.lr);
  s.weight_decay = number(group, keys.weight_decay);
  s.maximize = flag(group, keys.maximize);
  if (s.rule != OptimizerRule::SGD) s.eps = number(group, keys.eps);
  switch (s.rule) {
    case OptimizerRule::SGD:
      s.momentum = number(group, keys.momentum);
      s.dampening = number(group, keys.dampening);
      s.nesterov = flag(group, keys.nesterov);
      break;
    case OptimizerRule::RMSprop:
      s.momentum = number(group, keys.momentum);
      s.alpha = number(group, keys.alpha);
      s.centered = flag(group, keys.centered);
      break;
    case OptimizerRule::Adagrad:
      s.lr_decay = number(group, keys.lr_decay);
      break;
    case OptimizerRule::Adam: {
      PyObject* betas = setting(group, keys.betas);
      double beta[2] = {};
      size_t count = 0;
      const bool numbers =
          (PyTuple_Check(betas) || PyList_Check(betas)) && every_item(betas, [&](PyObject* each) {
            const double b = PyFloat_AsDouble(each);
            if (b == -1 && PyErr_Occurred()) rethrow_python();
            if (count < std::size(beta)) beta[count] = b;
            ++count;
            return true;
          });
      if (!numbers || count != 2) {
        fail(ErrorKind::Value, "optimizer: betas must be a pair of numbers");
      }
      s.beta1 = beta[0];
      s.beta2 = beta[1];
      s.amsgrad = flag(group, keys.amsgrad);
      s.decoupled = flag(group, keys.decoupled);
      break;
    }
  }
}

// A param group, for a step that is kept and taken again: it goes with what stands there then, but
// for what is given instead.
class GroupSettings final : public SettingsSource {
 public:
  explicit GroupSettings(py::dict group, py::object instead = py::none())
      : group_(std::move(group)), instead_(std::move(instead)) {}
  ~GroupSettings() override {
    const py::gil_scoped_acquire locked;
    group_ = py::dict();
    instead_ = py::none();
  }
  void read(OptimizerLaunch& settings) const override {
    if (instead_.is_none()) return read_settings(group_.ptr(), settings);
    const auto all = py::reinterpret_steal<py::dict>(PyDict_Copy(group_.ptr()));
    if (PyDict_Update(all.ptr(), instead_.ptr()) != 0) rethrow_python();
    read_settings(all.ptr(), settings);
  }
  const py::dict& dict() const { return group_; }
  const void* group() const override { return group_.ptr(); }

 private:
  py::dict group_;
  py::object instead_;  // a dict, or None
};

// One vector of all gradients, of all groups.
Tensor norm_of_grads(const std::vector<OptimizerGroup*>& groups, double order) {
  std::vector<Tensor> grads;
  for (const OptimizerGroup* g : groups) {
    for (const Tensor& p : g->params()) {
      if (Tensor grad = grad_of(p); grad.defined()) grads.push_back(std::move(grad));
    }
  }
  return norm_of_all(grads, order);
}

}  // namespace

std::shared_ptr<const SettingsSource> settings_with(const SettingsSource& of,
                                                    const py::dict& instead) {
  return std::make_shared<GroupSettings>(dynamic_cast<const GroupSettings&>(of).dict(), instead);
}

void register_optim(py::module_& m) {
  py::class_<OptimizerGroup>(m, "OptimizerGroup", "Parameters updated together, with their states.")
      .def(py::init(
               [](const std::string& rule, std::vector<Tensor> params, const py::object& states) {
                 return OptimizerGroup(rule_of(rule), std::move(params), states_of(states));
               }),
           py::arg("rule"), py::arg("params"), py::arg("state_dtype") = py::none())
      .def(
          "step",
          [](OptimizerGroup& g, const py::dict& group, const Tensor& norm, double max_norm,
             const Tensor& found_inf) {
            OptimizerLaunch settings{};
            settings.rule = g.rule();
            read_settings(group.ptr(), settings);
            std::shared_ptr<GroupSettings> source;
            if (host_watcher()) source = std::make_shared<GroupSettings>(group);
            settings.source = source.get();
            return g.step(settings, norm.defined() ? clipping_norm(norm) : norm, max_norm,
                          found_inf);
          },
          py::arg("group"), py::arg("norm") = py::none(), py::arg("max_norm") = 0.0,
          py::arg("found_inf") = py::none(),
          "One step of every parameter that has a gradient, which is read as if scaled by max_norm "
          "/ (norm + 1e-6) where that is below 1; none where found_inf is not 0. Whether new "
          "states "
          "were made.")
      .def("drop_grads", &OptimizerGroup::drop_grads, "Forgets the gradients of the parameters.")
      .def(
          "state",
          [](OptimizerGroup& g, size_t i) {
            const auto& s = g.state(i);
            return py::make_tuple(s.steps, s.tensor[0], s.tensor[1], s.tensor[2], s.peaks[0],
                                  s.peaks[1], s.peaks[2]);
          },
          py::arg("index"),
          "Steps taken, state tensors of a parameter, and the scales of those in bytes.")
      .def(
          "set_state",
          [](OptimizerGroup& g, size_t i, double steps, const std::vector<Tensor>& tensors,
             const std::vector<Tensor>& scales) {
            OptimizerGroup::State s;
            s.steps = Tensor::scalar(steps, DType::Float32);
            for (size_t k = 0; k < kMaxOptimizerStates; ++k) {
              if (k < tensors.size()) s.tensor[k] = tensors[k];
              if (k < scales.size()) s.peaks[k] = scales[k];
            }
            g.set_state(i, std::move(s));
          },
          py::arg("index"), py::arg("steps"), py::arg("tensors"),
          py::arg("scales") = std::vector<Tensor>{});
  m.def("grad_norm", &norm_of_grads, py::arg("groups"), py::arg("norm_type") = 2.0,
        "The norm of all gradients of OptimizerGroups: order 1, 2 or inf.");
  m.def("norm_of_all", &norm_of_all, py::arg("tensors"), py::arg("norm_type") = 2.0,
        "The norm of all elements of floating tensors: order 1, 2 or inf.");
  m.def(
      "clip_all_",
      [](const std::vector<Tensor>& tensors, const Tensor& norm, double max_norm) {
        clip_all("clip_grad_norm_", tensors, norm, max_norm);
      },
      py::arg("tensors"), py::arg("norm"), py::arg("max_norm"),
      "Multiplies floating tensors by max_norm / (norm + 1e-6) where that is below 1, in place.");
  m.def(
      "limit_all_",
      [](const std::vector<Tensor>& tensors, double low, double high) {
        limit_all("clip_grad_value_", tensors, low, high);
      },
      py::arg("tensors"), py::arg("low"), py::arg("high"),
      "Limits the elements of floating tensors, in place.");
  m.def(
      "unscale_all_",
      [](const std::vector<Tensor>& tensors, const Tensor& found_inf, const Tensor& scale) {
        unscale_all("unscale_", tensors, found_inf, scale);
      },
      py::arg("tensors"), py::arg("found_inf"), py::arg("scale"),
      "Divides floating tensors by a scale, in place; found_inf becomes 1 if one was not finite.");
  m.def("update_scale_", &update_scale, py::arg("scale"), py::arg("growth_tracker"),
        py::arg("found_inf"), py::arg("growth_factor"), py::arg("backoff_factor"),
        py::arg("growth_interval"),
        "Lets a loss scale back off where something was not finite, and grow after a while.");
  m.def("quantize_blocks", &quantize_blocks, py::arg("x"), py::arg("with_signs"),
        "A tensor in bytes, as 8-bit optimizer states are kept: codes, and a scale a block.");
  m.def("dequantize_blocks", &dequantize_blocks, py::arg("codes"), py::arg("scales"),
        py::arg("with_signs"), "The float32 numbers that quantize_blocks kept.");
}

}  // namespace wengert::bindings
