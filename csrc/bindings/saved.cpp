// Captured programs in files.
#include <pybind11/functional.h>
#include <pybind11/stl.h>

#include "bindings/py_tensor.h"
#include "core/error.h"
#include "program/file.h"
#include "program/program.h"

namespace wengert::bindings {
namespace {

constexpr const char* kRoles[] = {"parameter", "buffer", "state"};

using Named = std::tuple<std::string, std::string, Tensor>;

NamedTensor::Role role_of(const std::string& name) {
  for (int i = 0; i < 3; ++i) {
    if (name == kRoles[i]) return static_cast<NamedTensor::Role>(i);
  }
  fail(ErrorKind::Value, "save_program: unknown role '", name, "'");
}

}  // namespace

void register_saved(py::module_& m) {
  m.def(
      "save_program",
      [](const std::string& path, Program& program, const std::vector<Named>& tensors,
         const std::vector<std::string>& arguments, const std::string& structure) {
        ProgramNotes notes{{}, arguments, structure};
        for (const auto& [name, role, tensor] : tensors) {
          notes.tensors.push_back({name, role_of(role), tensor});
        }
        save_program(path, program, notes);
      },
      py::arg("path"), py::arg("program"), py::arg("tensors"), py::arg("arguments"),
      py::arg("structure"), "Writes a program, with the tensors that it keeps, to a file.");
  py::class_<SavedProgram>(m, "SavedProgram", "A program from a file.")
      .def(py::init(&SavedProgram::load), py::arg("path"))
      .def(
          "__call__",
          [](SavedProgram& p, const std::vector<Tensor>& arguments) { return p.run(arguments); },
          py::arg("arguments"), "One step; returns the results.")
      .def_property_readonly("program", &SavedProgram::program, "The launches.")
      .def_property_readonly(
          "tensors",
          [](const SavedProgram& p) {
            std::vector<Named> out;
            for (const NamedTensor& t : p.tensors()) {
              out.emplace_back(t.name, kRoles[t.role], t.tensor);
            }
            return out;
          },
          "Names, roles and tensors of what it keeps.")
      .def_property_readonly("structure", &SavedProgram::structure, "How results are put together.")
      .def_property_readonly(
          "arguments",
          [](const SavedProgram& p) {
            py::list out;
            for (const auto& a : p.arguments()) {
              out.append(py::make_tuple(a.name, py::reinterpret_steal<py::object>(wrap(a.dtype)),
                                        py::reinterpret_steal<py::object>(wrap_size(a.sizes))));
            }
            return out;
          },
          "Names, dtypes and shapes.")
      .def_property_readonly("groups", &SavedProgram::groups, "Groups of optimizers' settings.")
      .def(
          "settings",
          [](const SavedProgram& p, size_t group) {
            py::dict out;
            for (const auto& [name, value] : p.settings(group)) out[name.c_str()] = value;
            return out;
          },
          py::arg("group"))
      .def("set", py::overload_cast<size_t, std::string_view, double>(&SavedProgram::set),
           py::arg("group"), py::arg("name"), py::arg("value"))
      .def("seed", &SavedProgram::seed, py::arg("seed"),
           "Where its random numbers start from now on.")
      .def("save", &SavedProgram::save, py::arg("path"), "Writes it again, as it is now.");
}

}  // namespace wengert::bindings
