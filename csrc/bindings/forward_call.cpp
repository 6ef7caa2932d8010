// The type below nn.Module: calling an object calls its method `forward`, without the tuple and
// dict that a Python `__call__(self, *args, **kwargs)` makes and takes apart again.
#include "bindings/py_tensor.h"

namespace wengert::bindings {
namespace {

constexpr Py_ssize_t kMaxOnStack = 8;
PyObject* forward_name = nullptr;

PyObject* call_forward(PyObject* self, PyObject* args, PyObject* kwargs) {
  const Py_ssize_t n = PyTuple_GET_SIZE(args);
  if ((kwargs && PyDict_GET_SIZE(kwargs) > 0) || n > kMaxOnStack) {
    const auto forward = py::reinterpret_steal<py::object>(PyObject_GetAttr(self, forward_name));
    return forward ? PyObject_Call(forward.ptr(), args, kwargs) : nullptr;
  }
  PyObject* stack[kMaxOnStack + 1] = {self};
  for (Py_ssize_t i = 0; i < n; ++i) stack[i + 1] = PyTuple_GET_ITEM(args, i);
  return PyObject_VectorcallMethod(forward_name, stack, static_cast<size_t>(n + 1), nullptr);
}

}  // namespace

void register_forward_call(py::module_& m) {
  forward_name = PyUnicode_InternFromString("forward");
  static PyType_Slot slots[] = {{Py_tp_call, reinterpret_cast<void*>(&call_forward)},
                                doc_slot("Its call is its forward; what nn.Module derives from."),
                                {0, nullptr}};
  static PyType_Spec spec{"wengert._core.CallsForward", 0, 0,
                          Py_TPFLAGS_DEFAULT | Py_TPFLAGS_BASETYPE, slots};
  PyObject* type = PyType_FromSpec(&spec);
  if (!type || !forward_name) rethrow_python();
  m.add_object("CallsForward", py::reinterpret_steal<py::object>(type));
}

}  // namespace wengert::bindings
