// The Python Tensor: one small raw CPython type around the C++ Tensor, known to pybind11 through a
// type_caster. Also the small objects that go with it: dtype, device, Size.
#pragma once

#include <pybind11/pybind11.h>

#include "core/tensor.h"
#include "ops/op_table.h"
#include "tape/node.h"
#include "transforms/layers.h"

namespace wengert::bindings {

namespace py = pybind11;

struct PyTensor {
  PyObject_HEAD PyObject* dict;
  PyObject* weakrefs;
  Tensor tensor;
};

extern PyTypeObject* tensor_type;

inline bool is_tensor(PyObject* o) {
  return Py_TYPE(o) == tensor_type || PyType_IsSubtype(Py_TYPE(o), tensor_type);
}
// What stands there, a layer too (transforms/layers.h): for who looks at sizes and dtype alone, or
// knows layers.
inline const Tensor& any_tensor_of(PyObject* o) {
  return reinterpret_cast<PyTensor*>(o)->tensor;
}
// A tensor with memory: of a dual number its value; throws for a batch.
inline const Tensor& tensor_of(PyObject* o) {
  const Tensor& t = any_tensor_of(o);
  return t->layer ? transforms::readable(t) : t;
}
// A new reference: the object that a tensor already has, else a fresh one.
PyObject* wrap(const Tensor& t);
PyObject* wrap_as(PyTypeObject* type, const Tensor& t);

// --- dtype, device, Size -----------------------------------------------------------------------

struct PyDType {
  PyObject_HEAD DType dtype;
};
// A device that programs may name; only what this build has can be used.
struct PyDevice {
  PyObject_HEAD int8_t kind;  // in the order of kDeviceKinds
  int index;                  // -1: none given
};
extern PyTypeObject* dtype_type;
extern PyTypeObject* device_type;
PyObject* wrap(DType d);  // new reference
PyObject* wrap(Device d);
PyObject* wrap_size(const Dims& d);
bool is_size(PyObject* o);
bool dtype_from(PyObject* o, DType& out);  // also of Python's bool, int, float
Device device_from(PyObject* o);           // throws; also of text

// --- values ------------------------------------------------------------------------------------

bool is_array(PyObject* o);  // of NumPy's
// An array or scalar of NumPy's, told without importing it.
bool is_numpy(PyObject* o);
// A Python or NumPy number, or nothing.
bool number_from(PyObject* o, Number& out);
// A tensor from nested sequences, numbers and tensors, as wg.tensor makes it.
Tensor tensor_from_data(PyObject* data, OptDType dtype);
PyObject* item_of(const Tensor& t);  // of a one-element tensor
PyObject* list_of(const Tensor& t);
// A tensor that shares memory with a NumPy array or another library's tensor.
Tensor tensor_from_array(PyObject* o);
bool dims_from(PyObject* o, Dims& out);  // a sequence of ints; false (no error set) if it is none

// Calls `each` with the items of a tuple or list until it says false, and returns whether it never
// did. Conversions run Python code, which may empty a list under our hands: then false, too.
template <class Each>
bool every_item(PyObject* sequence, Each&& each) {
  const Py_ssize_t n = PySequence_Fast_GET_SIZE(sequence);
  for (Py_ssize_t i = 0; i < n; ++i) {
    if (i >= PySequence_Fast_GET_SIZE(sequence)) return false;
    const auto item = py::reinterpret_borrow<py::object>(PySequence_Fast_GET_ITEM(sequence, i));
    if (!each(item.ptr())) return false;
  }
  return true;
}

PyObject* get_item(const Tensor& t, PyObject* index);
void set_item(const Tensor& t, PyObject* index, PyObject* value);

Tensor pinned_copy(const Tensor& t);  // in memory that a CUDA device copies from by itself

// --- errors ------------------------------------------------------------------------------------

void set_python_error();          // from the C++ exception in flight
PyObject* linalg_error();         // wg.linalg.LinAlgError
PyObject* capture_error();        // wg.CaptureError
PyObject* out_of_memory_error();  // wg.OutOfMemoryError

// The docstring of a type.
inline PyType_Slot doc_slot(const char* text) {
  return {Py_tp_doc, const_cast<char*>(text)};
}

// Runs body, turning C++ exceptions into Python's.
template <class Body>
PyObject* guarded(Body&& body) {
  try {
    return body();
  } catch (...) {
    set_python_error();
    return nullptr;
  }
}
template <class Body>
int guarded_int(Body&& body) {
  try {
    body();
    return 0;
  } catch (...) {
    set_python_error();
    return -1;
  }
}
// Throws what Python has set.
[[noreturn]] inline void rethrow_python() {
  throw py::error_already_set();
}

// --- calls of the op table ---------------------------------------------------------------------

// All rows of one name: overloads, tried in order.
struct Overloads {
  PyObject_HEAD std::vector<const Op*>* ops;
  bool inplace;
};
// self (or null) and args to the first overload that takes them; new reference or null.
PyObject* call_op(const std::vector<const Op*>& overloads, bool inplace, PyObject* self,
                  PyObject* const* args, Py_ssize_t nargs, PyObject* kwnames);
// The operators of Tensor.
std::vector<PyType_Slot> number_slots();
// The attributes of Tensor that are not about its elements.
std::vector<PyGetSetDef> attribute_getset();
std::vector<PyMethodDef> attribute_methods();
// The methods of Tensor that the table makes, ended by an empty one.
PyMethodDef* table_methods();
void register_functions(py::module_& m);
// A function that calls rows of the table, which live as long as the process does.
py::object function_of(const std::vector<const Op*>& overloads, bool inplace,
                       const std::string& name, const py::object& module = {});

// A tensor that may be a layer, for functions that know them.
struct AnyTensor {
  Tensor tensor;
};
using AnyTensors = std::vector<AnyTensor>;
inline std::vector<Tensor> tensors(const AnyTensors& list) {
  std::vector<Tensor> out;
  for (const AnyTensor& t : list) out.push_back(t.tensor);
  return out;
}
inline AnyTensors any(const std::vector<Tensor>& list) {
  AnyTensors out;
  for (const Tensor& t : list) out.push_back({t});
  return out;
}
// For functions that do not.
[[noreturn]] void refuse_layer(const Tensor& t);

// The parts of the module.
void register_scalars(py::module_& m);
void register_tensor(py::module_& m);
void register_attributes(py::module_& m);
void register_autograd(py::module_& m);
void register_optim(py::module_& m);
void register_config(py::module_& m);
void register_cuda(py::module_& m);
void register_trace(py::module_& m);
void register_hooks(py::module_& m);
void register_saved_hooks(py::module_& m);
void register_gauges(py::module_& m);
void register_random(py::module_& m);
void register_transforms(py::module_& m);
void register_forward_call(py::module_& m);
void register_replays(py::module_& m);
void register_library(py::module_& m);
void register_capture(py::module_& m);
void register_ensemble(py::module_& m);
void register_saved(py::module_& m);
void register_guards(py::module_& m);

}  // namespace wengert::bindings

namespace pybind11::detail {
template <>
struct type_caster<wengert::Tensor> {
  PYBIND11_TYPE_CASTER(wengert::Tensor, const_name("Tensor"));
  bool load(handle src, bool) {
    if (src.is_none()) {
      value = {};
      return true;
    }
    if (!wengert::bindings::is_tensor(src.ptr())) return false;
    value = wengert::bindings::any_tensor_of(src.ptr());
    if (value->layer) wengert::bindings::refuse_layer(value);
    return true;
  }
  static handle cast(const wengert::Tensor& t, return_value_policy, handle) {
    return t.defined() ? wengert::bindings::wrap(t) : none().release().ptr();
  }
};
template <>
struct type_caster<wengert::bindings::AnyTensor> {
  PYBIND11_TYPE_CASTER(wengert::bindings::AnyTensor, const_name("Tensor"));
  bool load(handle src, bool) {
    if (src.is_none()) {
      value = {};
      return true;
    }
    if (!wengert::bindings::is_tensor(src.ptr())) return false;
    value.tensor = wengert::bindings::any_tensor_of(src.ptr());
    return true;
  }
  static handle cast(const wengert::bindings::AnyTensor& t, return_value_policy, handle) {
    return t.tensor.defined() ? wengert::bindings::wrap(t.tensor) : none().release().ptr();
  }
};
}  // namespace pybind11::detail
