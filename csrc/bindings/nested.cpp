// Numbers and nested data to tensors and back.
#include <pybind11/pybind11.h>

#include "bindings/py_tensor.h"
#include "core/error.h"
#include "core/watch.h"

namespace wengert::bindings {

namespace {

bool is_sequence(PyObject* o) {
  return PyList_Check(o) || PyTuple_Check(o);
}
// Any other sequence, a range say or an array among lists, as a list; null if it is none.
py::object list_from(PyObject* o) {
  if (!PySequence_Check(o) || is_sequence(o) || is_tensor(o) || PyUnicode_Check(o) ||
      PyBytes_Check(o) || PyByteArray_Check(o) || (is_array(o) && PyObject_Length(o) < 0)) {
    PyErr_Clear();
    return {};
  }
  const py::object list = py::reinterpret_steal<py::object>(PySequence_List(o));
  if (!list) rethrow_python();
  return list;
}

[[noreturn]] void no_dtype(PyObject* o) {
  if (PyUnicode_Check(o)) fail(ErrorKind::Type, "tensor: invalid data type 'str'");
  fail("tensor: could not infer dtype of ", Py_TYPE(o)->tp_name,
       "; expected numbers, nested sequences of them, arrays or tensors");
}

// The dtype that one element asks for.
DType dtype_of_element(PyObject* o) {
  if (is_tensor(o) && tensor_of(o).numel() == 1) return tensor_of(o).dtype();
  Number n;
  if (!number_from(o, n)) no_dtype(o);
  if (is_numpy(o) && !n.integral) {
    return std::string_view(Py_TYPE(o)->tp_name) == "numpy.float32" ? DType::Float32
                                                                    : DType::Float64;
  }
  return n.boolean ? DType::Bool : n.integral ? DType::Int64 : default_dtype();
}

[[noreturn]] void changed() {
  fail(ErrorKind::Type, "tensor: the data changed while it was read");
}

// What nested sequences hold: sizes from the first of each depth, the widest dtype, and the depth
// of the elements (-1 while none was seen).
struct Scan {
  Dims sizes;
  int rank = -1;
  DType dtype = DType::Bool;

  void visit(PyObject* o, int depth) {
    const py::object list = list_from(o);
    if (list) o = list.ptr();
    if (!is_sequence(o)) {
      if (depth < sizes.size()) {
        fail(ErrorKind::Type, "tensor: not a sequence at dim ", depth, ": ", Py_TYPE(o)->tp_name);
      }
      rank = depth;
      const DType here = dtype_of_element(o);
      // float64 elements give float64; among numbers the default float type wins over integers
      if (is_floating(here) != is_floating(dtype) ? is_floating(here) : here > dtype) dtype = here;
      return;
    }
    if (depth == rank) {
      fail(ErrorKind::Type, "tensor: a sequence of ", Py_TYPE(o)->tp_name,
           " where a number was expected, at dim ", depth);
    }
    const Py_ssize_t n = PySequence_Fast_GET_SIZE(o);
    if (depth == sizes.size()) sizes.push_back(n);
    if (sizes[depth] != n) {
      fail(ErrorKind::Value, "tensor: expected sequence of length ", sizes[depth], " at dim ",
           depth, " (got ", n, ")");
    }
    const bool all = every_item(o, [&](PyObject* each) {
      visit(each, depth + 1);
      return true;
    });
    if (!all) changed();
  }
};

// Writes the elements to [to, end).
template <class T>
void read(PyObject* o, T*& to, const T* end) {
  const py::object list = list_from(o);
  if (list) o = list.ptr();
  if (is_sequence(o)) {
    const bool all = every_item(o, [&](PyObject* each) {
      read(each, to, end);
      return true;
    });
    if (!all) changed();
    return;
  }
  Number n;
  if (is_tensor(o)) {
    const Tensor& t = tensor_of(o);
    if (t.numel() != 1) changed();
    n = {!is_floating(t.dtype()), t.to_int64(), t.to_double()};
  } else if (!number_from(o, n)) {
    changed();
  }
  if (to == end) changed();
  *to++ = n.integral ? convert<T>(n.i) : convert<T>(n.d);
}

}  // namespace

Tensor tensor_from_data(PyObject* data, OptDType dtype) {
  if (is_tensor(data)) {
    const GradMode off(false);
    return ops::to(tensor_of(data), dtype.value_or(tensor_of(data).dtype()), true);
  }
  if (PyRange_Check(data)) {
    const py::object list = list_from(data);
    return tensor_from_data(list.ptr(), dtype);
  }
  const bool sequence = is_sequence(data);
  Number plain;
  if (!sequence && (is_numpy(data) || !number_from(data, plain))) {
    // NumPy's scalars have a dtype of their own, which counts.
    const py::object array = is_numpy(data)
                                 ? py::module_::import("numpy").attr("asarray")(py::handle(data))
                                 : py::reinterpret_borrow<py::object>(data);
    if (!PyObject_CheckBuffer(array.ptr()) && !PyObject_HasAttrString(array.ptr(), "__dlpack__")) {
      no_dtype(data);
    }
    const Tensor shared = tensor_from_array(array.ptr());
    return ops::to(shared, dtype.value_or(shared.dtype()), true);
  }
  // A list of arrays is stacked by NumPy, which they come from.
  if (sequence && PySequence_Fast_GET_SIZE(data) > 0) {
    PyObject* first = PySequence_Fast_GET_ITEM(data, 0);
    if (is_array(first)) {
      const py::object stacked = py::module_::import("numpy").attr("array")(py::handle(data));
      const Tensor shared = tensor_from_array(stacked.ptr());
      return ops::to(shared, dtype.value_or(shared.dtype()), true);
    }
  }
  Scan found;
  found.visit(data, 0);
  const DType inferred = found.rank < 0 ? default_dtype() : found.dtype;
  const Tensor out = Tensor::empty(found.sizes, dtype.value_or(inferred), Device::CPU);
  visit(out.dtype(), [&]<class T>() {
    T* to = out.data<T>();
    const T* end = to + out.numel();
    read(data, to, end);
    if (to != end) changed();
  });
  out.host_wrote();
  return out;
}

PyObject* item_of(const Tensor& t) {
  if (t.numel() != 1) {
    fail("item: a Tensor with ", t.numel(), " elements cannot be converted to Scalar; shape ",
         t.sizes());
  }
  if (t.dtype() == DType::Bool) return PyBool_FromLong(t.to_int64() != 0);
  return is_floating(t.dtype()) ? PyFloat_FromDouble(t.to_double())
                                : PyLong_FromLongLong(t.to_int64());
}

namespace {
PyObject* list_at(const Tensor& t, int dim, const char* at) {
  if (dim == t.dim()) {
    Tensor one = t.view({}, {});
    one->data = const_cast<char*>(at);
    return item_of(one);
  }
  PyObject* list = PyList_New(t.size(dim));
  if (!list) rethrow_python();
  const int64_t step = t.stride(dim) * static_cast<int64_t>(item_size(t.dtype()));
  for (int64_t i = 0; i < t.size(dim); ++i) {
    PyList_SET_ITEM(list, i, list_at(t, dim + 1, at + i * step));
  }
  return list;
}
}  // namespace

PyObject* list_of(const Tensor& t) {
  const Tensor here = ops::to_device(t, Device::CPU);
  here.host_reads();
  return list_at(here, 0, here.data());
}

Tensor tensor_from_array(PyObject* o) {
  const py::object shared =
      py::module_::import("wengert._interop").attr("from_array")(py::handle(o));
  return tensor_of(shared.ptr());
}

}  // namespace wengert::bindings
