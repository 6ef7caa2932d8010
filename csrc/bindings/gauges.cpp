// The instruments of a tape as Python reads them: time and work, and the second run in float64.
#include <pybind11/stl.h>

#include <memory>
#include <vector>

#include "bindings/py_tensor.h"
#include "ops/shadow.h"
#include "ops/trace.h"

namespace wengert::bindings {
namespace {

py::dict reading(const Meter::Reading& r) {
  py::dict d;
  d["seconds"] = r.seconds;
  d["flops"] = r.work.flops;
  d["bytes"] = r.work.bytes;
  d["launches"] = r.launches;
  return d;
}

}  // namespace

void register_gauges(py::module_& m) {
  py::class_<Gauge, std::shared_ptr<Gauge>>(m, "Gauge", "An instrument of a trace.");
  py::class_<Meter, Gauge, std::shared_ptr<Meter>>(m, "Meter", "Time and work of each line.")
      .def(py::init())
      .def(
          "read",
          [](Meter& meter, size_t entry) {
            const Meter::Readings r = meter.read(entry);
            return py::make_tuple(reading(r.forward), reading(r.backward));
          },
          py::arg("entry"), "Forward and backward.");
  py::class_<Shadow, Gauge, std::shared_ptr<Shadow>>(m, "Shadow", "A second run in float64.")
      .def(py::init())
      .def("value", &Shadow::value, py::arg("entry"), py::arg("result") = 0)
      .def("adjoint", &Shadow::adjoint, py::arg("entry"), py::arg("result") = 0)
      .def("memory", &Shadow::memory, py::arg("entry"), py::arg("operand"),
           "The memory that an operand is in.")
      .def("window", &Shadow::window, py::arg("entry"), py::arg("operand"), py::arg("memory"),
           "The operand in such memory.")
      .def("shared_with_constant", &Shadow::shared_with_constant, py::arg("entry"),
           py::arg("operand"))
      .def("replay", &Shadow::replay, py::arg("entry"), py::arg("from_"), py::arg("to"),
           "The results of a line with operands in other memory.")
      .def(
          "pull",
          [](Shadow& s, Trace& t, size_t entry, std::vector<Tensor> grads, bool exact) {
            return s.pull(entry, *t.copy(entry), std::move(grads), exact);
          },
          py::arg("trace"), py::arg("entry"), py::arg("grads"), py::arg("exact") = true,
          "What the line's rule makes of gradients, in float64.");
  m.def("spoil", &spoil, py::arg("result"), py::arg("factor"),
        "Makes the rule of the operation that made a tensor wrong.");
}

}  // namespace wengert::bindings
