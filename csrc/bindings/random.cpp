// Generators of random numbers, and the state of the default one.
#include "ops/random.h"

#include <cstring>

#include "bindings/py_tensor.h"
#include "core/error.h"
#include "core/watch.h"

namespace wengert::bindings {
namespace {

// Any Python integer of 64 bits, with or without sign.
uint64_t seed_from(const py::handle& seed) {
  const auto number = py::reinterpret_steal<py::object>(PyNumber_Index(seed.ptr()));
  if (!number) {
    PyErr_Clear();
    fail("manual_seed: expected an int, but got ", Py_TYPE(seed.ptr())->tp_name);
  }
  int overflow = 0;
  const long long v = PyLong_AsLongLongAndOverflow(number.ptr(), &overflow);
  if (overflow == 0) return static_cast<uint64_t>(v);
  const unsigned long long u = overflow > 0 ? PyLong_AsUnsignedLongLong(number.ptr()) : 0;
  if (overflow < 0 || PyErr_Occurred()) {
    PyErr_Clear();
    fail(ErrorKind::Value, "manual_seed: the seed does not fit into 64 bits: ",
         py::cast<std::string>(py::str(number)));
  }
  return u;
}

Tensor state_tensor(const Generator& g) {
  const RandomState s = g.state();
  const Tensor t = Tensor::empty({static_cast<int64_t>(sizeof s)}, DType::UInt8, Device::CPU);
  std::memcpy(t.data(), &s, sizeof s);
  t.host_wrote();
  return t;
}

void set_state(Generator& g, const py::object& state) {
  if (!is_tensor(state.ptr())) {
    fail(ErrorKind::Type, "set_state: expected a uint8 tensor, but got ",
         Py_TYPE(state.ptr())->tp_name);
  }
  const Tensor& t = tensor_of(state.ptr());
  if (t.dtype() != DType::UInt8) {
    fail(ErrorKind::Type, "set_state: the state must be a uint8 tensor, got ", name_of(t.dtype()));
  }
  RandomState s;
  if (t.dim() != 1 || t.numel() != static_cast<int64_t>(sizeof s)) {
    fail("set_state: expected a state of shape (", sizeof s, ",), but found ", t.sizes());
  }
  std::memcpy(&s, ops::contiguous(t).read<char>().get(), sizeof s);
  g.set_state(s);
}

}  // namespace

void register_random(py::module_& m) {
  py::class_<Generator>(m, "Generator", "A source of random numbers: a seed and a counter.")
      .def(py::init([](const py::object& device) {
             auto made = std::make_unique<Generator>();
             if (!device.is_none()) made->device = device_from(device.ptr());
             return made;
           }),
           py::arg("device") = py::none())
      .def_property_readonly(
          "device",
          [](const Generator& g) { return py::reinterpret_steal<py::object>(wrap(g.device)); },
          "The device that it was made for; it draws the same numbers on all.")
      .def(
          "manual_seed",
          [](const py::object& self, const py::object& seed) {
            self.cast<Generator&>().manual_seed(seed_from(seed));
            return self;
          },
          py::arg("seed"), "Starts anew from a seed; returns the generator.")
      .def("seed", &Generator::seed, "Starts anew from a seed of the system's; returns it.")
      .def(
          "initial_seed", [](const Generator& g) { return g.state().seed; }, "The seed in use.")
      .def("get_state", &state_tensor, "The state, as a uint8 tensor.")
      .def(
          "set_state",
          [](const py::object& self, const py::object& state) {
            set_state(self.cast<Generator&>(), state);
            return self;
          },
          py::arg("new_state"), "Restores what get_state gave; returns the generator.")
      .def(
          "clone_state", [](const Generator& g) { return std::make_unique<Generator>(g.state()); },
          "A generator in the same state, which then goes its own way.")
      .def(py::pickle(
          [](const Generator& g) {
            const RandomState s = g.state();
            return py::make_tuple(s.seed, s.counter);
          },
          [](const py::tuple& state) {
            if (state.size() != 2) fail(ErrorKind::Value, "Generator: not a pickled state");
            return std::make_unique<Generator>(
                RandomState{state[0].cast<uint64_t>(), state[1].cast<uint64_t>()});
          }));
  m.attr("default_generator") = py::cast(&default_generator(), py::return_value_policy::reference);
}

}  // namespace wengert::bindings
