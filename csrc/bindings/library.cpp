// Libraries of users' own operations.
#include "ops/library.h"

#include "bindings/arguments.h"

namespace wengert::bindings {

void register_library(py::module_& m) {
  m.def(
      "load_library",
      [](const std::string& path) {
        py::list out;
        for (const Op* op : load_library(path, &check_room)) {
          const size_t at = op->name.find("::");
          const std::string space = op->name.substr(0, at), name = op->name.substr(at + 2);
          const py::str module("wengert.ops." + space);
          out.append(py::make_tuple(space, name, function_of({op}, false, name, module)));
          if (!op->has_inplace()) continue;
          out.append(
              py::make_tuple(space, name + "_", function_of({op}, true, name + "_", module)));
        }
        return out;
      },
      py::arg("path"),
      "Loads a library of operations. Namespace, name and function of each that it adds.");
}

}  // namespace wengert::bindings
