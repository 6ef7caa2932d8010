// Many models at once.
#include "program/ensemble.h"

#include <pybind11/functional.h>
#include <pybind11/stl.h>

#include "bindings/optim.h"
#include "bindings/py_tensor.h"
#include "core/error.h"

namespace wengert::bindings {
namespace {

// Rows of the data, as the step's arguments have them; order: (steps * batch,), one for each model,
// or none for one step of all rows.
EnsembleData data_of(const Ensemble& e, const std::vector<Tensor>& arrays,
                     const std::vector<bool>& each, const Tensor& order, int64_t steps) {
  EnsembleData data{arrays, each, {}, false, steps};
  const auto& places = e.program().recording().arguments;
  if (order.defined()) {
    const int64_t* from = order.data<int64_t>();
    data.order.assign(from, from + order.numel());
    data.own_orders = order.dim() == 2;
  }
  bool fits = arrays.size() == places.size() && each.size() == places.size() && steps > 0;
  fits = fits && (!data.own_orders || order.size(0) == e.models());
  int64_t rows = -1;
  for (size_t i = 0; fits && i < arrays.size(); ++i) {
    const Tensor& a = arrays[i];
    const Dims& sizes = places[i].sizes;
    const int first = each[i] ? 1 : 0;
    fits = a.contiguous() && a.dtype() == places[i].dtype && a.dim() == first + sizes.size() &&
           (!first || a.size(0) == e.models());
    for (int d = order.defined() ? 1 : 0; fits && d < sizes.size(); ++d) {
      fits = a.size(first + d) == sizes[d];
    }
    if (!fits || !order.defined()) continue;
    fits = sizes.size() > 0 && (rows < 0 || rows == a.size(first));
    rows = fits ? a.size(first) : 0;
    const int64_t taken = order.numel() / (data.own_orders ? e.models() : 1);
    fits = fits && sizes[0] * steps == taken;
  }
  for (const int64_t row : data.order) fits = fits && 0 <= row && row < rows;
  if (!fits) fail(ErrorKind::Value, "ensemble: data of other shapes than the step's arguments");
  return data;
}

std::pair<int64_t, std::vector<Tensor>> run(Ensemble& e, const std::vector<Tensor>& arrays,
                                            const std::vector<bool>& each, const Tensor& order,
                                            int64_t steps, int64_t every,
                                            const py::object& progress) {
  const EnsembleData data = data_of(e, arrays, each, order, steps);
  e.read_settings();
  std::vector<Tensor> stacked;
  for (const TensorPlace& r : e.program().results()) {
    stacked.push_back(Tensor::empty(concat(Dims{steps, e.models()}, r.sizes), r.dtype));
  }
  const py::gil_scoped_release released;
  const int64_t done = e.run(data, stacked, every, [&](int64_t k) {
    const py::gil_scoped_acquire locked;
    if (PyErr_CheckSignals() != 0) throw py::error_already_set();
    if (!progress.is_none()) progress(k);
    e.read_settings();
    return true;
  });
  return {done, std::move(stacked)};
}

}  // namespace

void register_ensemble(py::module_& m) {
  py::class_<Ensemble::Contents>(m, "EnsembleContents", "What models begin with.");
  py::class_<Ensemble>(m, "Ensemble", "A captured step, taken by many models.")
      .def(py::init(
               [](std::shared_ptr<Program> program, int64_t n, const std::vector<Tensor>& also) {
                 return std::make_unique<Ensemble>(std::move(program), n, also);
               }),
           py::arg("program"), py::arg("n"), py::arg("also"))
      .def("load", &Ensemble::load, py::arg("model"), "A model begins with what stands there now.")
      .def("store", &Ensemble::store, py::arg("model"), "Puts a model where the step has its own.")
      .def("stacked", &Ensemble::stacked, py::arg("tensor"), "All models' tensors.")
      .def("uses", &Ensemble::uses, py::arg("tensor"), "Whether the step reads or writes it.")
      .def("stacks", &Ensemble::stacks, py::arg("tensor"), "Whether each model has its own.")
      .def("save", &Ensemble::save, "What load reads, as it is.")
      .def("put_back", &Ensemble::put_back, py::arg("contents"), "Puts back what was saved.")
      .def(
          "set_settings",
          [](Ensemble& e, const std::vector<py::dict>& instead) {
            e.set_settings([&](int64_t model, const SettingsSource& of) {
              return settings_with(of, instead.at(static_cast<size_t>(model)));
            });
          },
          py::arg("instead"), "Settings of each model's optimizers that differ from the step's.")
      .def("run", &run, py::arg("arrays"), py::arg("each"), py::arg("order"), py::arg("steps"),
           py::arg("every"), py::arg("progress"), "Takes steps; how many, and their results.")
      .def_property_readonly(
          "arguments",
          [](const Ensemble& e) {
            py::list out;
            for (const TensorPlace& p : e.program().recording().arguments) {
              out.append(py::make_tuple(std::vector<int64_t>(p.sizes.begin(), p.sizes.end()),
                                        py::reinterpret_steal<py::object>(wrap(p.dtype))));
            }
            return out;
          },
          "Shapes and dtypes of the step's arguments.")
      .def_property_readonly("lines", &Ensemble::lines, "The launches.");
}

}  // namespace wengert::bindings
