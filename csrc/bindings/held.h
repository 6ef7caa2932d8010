// A Python object that C++ owns.
#pragma once

#include <pybind11/pybind11.h>

#include <utility>

namespace wengert::bindings {

namespace py = pybind11;

// A Python object that C++ threads may drop.
class Held {
 public:
  explicit Held(py::object o) : object_(std::move(o)) {}
  Held(const Held&) = delete;
  Held& operator=(const Held&) = delete;
  ~Held() {
    if (!Py_IsInitialized()) {
      object_.release();  // the interpreter is gone, and with it the object
      return;
    }
    const py::gil_scoped_acquire locked;
    object_ = {};
  }
  const py::object& get() const { return object_; }

 private:
  py::object object_;
};

}  // namespace wengert::bindings
