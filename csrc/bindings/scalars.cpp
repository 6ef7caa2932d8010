// dtype, device and Size; numbers and nested data to tensors and back; errors.
#include <pybind11/pybind11.h>

#include <new>

#include "bindings/py_tensor.h"
#include "core/error.h"
#include "kernels/cuda/cuda.h"

namespace wengert::bindings {

PyTypeObject* dtype_type = nullptr;
PyTypeObject* device_type = nullptr;

namespace {

PyObject* dtypes[kNumDTypes];
PyObject* devices[kNumDevices];
PyTypeObject* size_type = nullptr;

PyObject* dtype_repr(PyObject* o) {
  return PyUnicode_FromFormat("wengert.%s", name_of(reinterpret_cast<PyDType*>(o)->dtype));
}
PyObject* dtype_reduce(PyObject* o, PyObject*) {
  return PyUnicode_FromString(name_of(reinterpret_cast<PyDType*>(o)->dtype));
}
PyObject* dtype_floating(PyObject* o, void*) {
  return PyBool_FromLong(is_floating(reinterpret_cast<PyDType*>(o)->dtype));
}
PyObject* dtype_itemsize(PyObject* o, void*) {
  return PyLong_FromSize_t(item_size(reinterpret_cast<PyDType*>(o)->dtype));
}
PyObject* dtype_complex(PyObject*, void*) {
  Py_RETURN_FALSE;
}
PyObject* dtype_signed(PyObject* o, void*) {
  const DType d = reinterpret_cast<PyDType*>(o)->dtype;
  return PyBool_FromLong(d != DType::Bool && d != DType::UInt8);
}
PyGetSetDef dtype_getset[] = {
    {"is_complex", dtype_complex, nullptr, "Whether it is a complex type: never.", nullptr},
    {"is_signed", dtype_signed, nullptr, "Whether it has negative numbers.", nullptr},
    {"is_floating_point", dtype_floating, nullptr, "Whether it is a floating point type.", nullptr},
    {"itemsize", dtype_itemsize, nullptr, "Bytes an element.", nullptr},
    {}};
PyMethodDef dtype_methods[] = {{"__reduce__", dtype_reduce, METH_NOARGS, nullptr}, {}};

// --- device --------------------------------------------------------------------------------------

constexpr const char* kDeviceKinds[] = {"cpu", "cuda", "mps", "xpu", "meta"};
constexpr int kNumDeviceKinds = static_cast<int>(std::size(kDeviceKinds));

const PyDevice& device_of(PyObject* o) {
  return *reinterpret_cast<PyDevice*>(o);
}
std::string device_text(PyObject* o) {
  const PyDevice& d = device_of(o);
  return d.index < 0 ? kDeviceKinds[d.kind] : text(kDeviceKinds[d.kind], ':', d.index);
}
PyObject* device_repr(PyObject* o) {
  const PyDevice& d = device_of(o);
  if (d.index < 0) return PyUnicode_FromFormat("device(type='%s')", kDeviceKinds[d.kind]);
  return PyUnicode_FromFormat("device(type='%s', index=%d)", kDeviceKinds[d.kind], d.index);
}
PyObject* device_str(PyObject* o) {
  return PyUnicode_FromString(device_text(o).c_str());
}
PyObject* device_kind(PyObject* o, void*) {
  return PyUnicode_FromString(kDeviceKinds[device_of(o).kind]);
}
PyObject* device_index(PyObject* o, void*) {
  if (device_of(o).index < 0) Py_RETURN_NONE;
  return PyLong_FromLong(device_of(o).index);
}
PyGetSetDef device_getset[] = {{"type", device_kind, nullptr, "'cpu', 'cuda', ...", nullptr},
                               {"index", device_index, nullptr, "Its number, or None.", nullptr},
                               {}};
PyObject* device_compare(PyObject* a, PyObject* b, int op) {
  if (Py_TYPE(b) != device_type || (op != Py_EQ && op != Py_NE)) Py_RETURN_NOTIMPLEMENTED;
  const PyDevice &x = device_of(a), &y = device_of(b);
  return PyBool_FromLong((x.kind == y.kind && x.index == y.index) == (op == Py_EQ));
}
Py_hash_t device_hash(PyObject* o) {
  return (device_of(o).index + 1) * kNumDeviceKinds + device_of(o).kind + 1;
}
PyObject* make_device(int kind, int index) {
  if (kind < kNumDevices && index == device_of(devices[kind]).index) {
    return Py_NewRef(devices[kind]);
  }
  auto* d = reinterpret_cast<PyDevice*>(device_type->tp_alloc(device_type, 0));
  if (!d) rethrow_python();
  d->kind = static_cast<int8_t>(kind);
  d->index = index;
  return reinterpret_cast<PyObject*>(d);
}
// 'cuda' or 'cuda:1', with the number apart if it is given so.
PyObject* device_from_text(const std::string& name, int index) {
  const size_t colon = name.find(':');
  const std::string kind = name.substr(0, colon);
  if (colon != std::string::npos) {
    const std::string digits = name.substr(colon + 1);
    const bool valid = !digits.empty() && digits.size() <= 3 &&
                       digits.find_first_not_of("0123456789") == std::string::npos;
    if (!valid) fail("device: invalid device string '", name, "'");
    if (index >= 0) {
      fail("device: type must not include an index because index was passed explicitly: ", name);
    }
    index = std::stoi(digits);
  }
  for (int k = 0; k < kNumDeviceKinds; ++k) {
    if (kind == kDeviceKinds[k]) return make_device(k, index);
  }
  fail("device: unknown device '", name, "'; expected one of cpu, cuda, mps, xpu, meta");
}
// A number alone is a CUDA device's.
PyObject* device_from_number(PyObject* o) {
  const int64_t n = py::cast<int64_t>(py::handle(o));
  if (n < 0 || n > 127) fail("device: expected a number of a device from 0, got ", n);
  return make_device(static_cast<int>(Device::CUDA), static_cast<int>(n));
}
PyObject* device_new(PyTypeObject*, PyObject* args, PyObject* kwargs) {
  static const char* names[] = {"type", "index", nullptr};
  PyObject* o = nullptr;
  int index = -1;
  if (!PyArg_ParseTupleAndKeywords(args, kwargs, "O|i:device", const_cast<char**>(names), &o,
                                   &index)) {
    return nullptr;
  }
  return guarded([&]() -> PyObject* {
    if (Py_TYPE(o) == device_type && index < 0) return Py_NewRef(o);
    if (PyLong_CheckExact(o) && index < 0) return device_from_number(o);
    if (!PyUnicode_Check(o)) {
      fail(ErrorKind::Type, "device: expected a device or its name, got ", Py_TYPE(o)->tp_name);
    }
    return device_from_text(py::cast<std::string>(py::handle(o)), index);
  });
}
PyObject* device_reduce(PyObject* o, PyObject*) {
  return Py_BuildValue("O(s)", device_type, device_text(o).c_str());
}
// with wg.device("cuda"): tensors of which nothing else is said are made there.
thread_local std::vector<Device> devices_before;
PyObject* device_enter(PyObject* o, PyObject*) {
  return guarded([&] {
    devices_before.push_back(set_default_device(device_from(o)));
    return Py_NewRef(o);
  });
}
PyObject* device_exit(PyObject*, PyObject*) {
  if (!devices_before.empty()) {
    set_default_device(devices_before.back());
    devices_before.pop_back();
  }
  Py_RETURN_NONE;
}
PyMethodDef device_methods[] = {
    {"__reduce__", device_reduce, METH_NOARGS, nullptr},
    {"__enter__", device_enter, METH_NOARGS, "Makes tensors there by default."},
    {"__exit__", device_exit, METH_VARARGS, "Makes them where they were made before."},
    {}};

// --- Size ----------------------------------------------------------------------------------------

PyObject* size_numel(PyObject* o, PyObject*) {
  int64_t n = 1;
  for (Py_ssize_t i = 0; i < PyTuple_GET_SIZE(o); ++i) {
    n *= PyLong_AsLongLong(PyTuple_GET_ITEM(o, i));
  }
  return PyErr_Occurred() ? nullptr : PyLong_FromLongLong(n);
}
PyObject* size_repr(PyObject* o) {
  const py::object list = py::reinterpret_steal<py::object>(PySequence_List(o));
  return list ? PyUnicode_FromFormat("wengert.Size(%R)", list.ptr()) : nullptr;
}
// Size(iterable of ints): what stands for an int is made one.
PyObject* size_new(PyTypeObject* type, PyObject* args, PyObject* kwargs) {
  const py::object made =
      py::reinterpret_steal<py::object>(PyTuple_Type.tp_new(type, args, kwargs));
  if (!made) return nullptr;
  for (Py_ssize_t i = 0; i < PyTuple_GET_SIZE(made.ptr()); ++i) {
    PyObject* each = PyTuple_GET_ITEM(made.ptr(), i);
    if (PyLong_CheckExact(each)) continue;
    PyObject* number = PyFloat_Check(each) ? nullptr : PyNumber_Index(each);
    if (!number) {
      PyErr_Clear();
      return PyErr_Format(PyExc_TypeError, "Size() takes an iterable of 'int' (item %zd is '%s')",
                          i, Py_TYPE(each)->tp_name);
    }
    PyTuple_SET_ITEM(made.ptr(), i, number);
    Py_DECREF(each);
  }
  return made.inc_ref().ptr();
}
PyObject* as_size(PyObject* tuple) {
  const py::object made = py::reinterpret_steal<py::object>(tuple);
  return made ? PyObject_CallOneArg(reinterpret_cast<PyObject*>(size_type), made.ptr()) : nullptr;
}
// Sums, repetitions and slices of sizes are sizes; a sum with any other tuple is one too.
PyObject* size_add(PyObject* a, PyObject* b) {
  if (!PyTuple_Check(a) || !PyTuple_Check(b)) Py_RETURN_NOTIMPLEMENTED;
  return as_size(PyTuple_Type.tp_as_sequence->sq_concat(a, b));
}
PyObject* size_repeat(PyObject* a, Py_ssize_t n) {
  return as_size(PyTuple_Type.tp_as_sequence->sq_repeat(a, n));
}
PyObject* size_subscript(PyObject* o, PyObject* index) {
  PyObject* out = PyTuple_Type.tp_as_mapping->mp_subscript(o, index);
  return out && PySlice_Check(index) ? as_size(out) : out;
}
PyMethodDef size_methods[] = {
    {"numel", size_numel, METH_NOARGS, "The number of elements of a tensor of this size."}, {}};

PyTypeObject* make_type(const char* name, int basic_size, unsigned flags, PyType_Slot* slots,
                        PyObject* base = nullptr) {
  PyType_Spec spec{name, basic_size, 0, flags, slots};
  PyObject* type = PyType_FromSpecWithBases(&spec, base);
  if (!type) rethrow_python();
  return reinterpret_cast<PyTypeObject*>(type);
}

}  // namespace

PyObject* wrap(DType d) {
  return Py_NewRef(dtypes[static_cast<int>(d)]);
}
PyObject* wrap(Device d) {
  return Py_NewRef(devices[static_cast<int>(d)]);
}

bool is_size(PyObject* o) {
  return Py_TYPE(o) == size_type;
}

PyObject* wrap_size(const Dims& d) {
  PyObject* t = size_type->tp_alloc(size_type, d.size());
  if (!t) rethrow_python();
  for (int i = 0; i < d.size(); ++i) PyTuple_SET_ITEM(t, i, PyLong_FromLongLong(d[i]));
  return t;
}

bool dtype_from(PyObject* o, DType& out) {
  if (Py_TYPE(o) == dtype_type) {
    out = reinterpret_cast<PyDType*>(o)->dtype;
  } else if (o == reinterpret_cast<PyObject*>(&PyBool_Type)) {
    out = DType::Bool;
  } else if (o == reinterpret_cast<PyObject*>(&PyLong_Type)) {
    out = DType::Int64;
  } else if (o == reinterpret_cast<PyObject*>(&PyFloat_Type)) {
    out = DType::Float64;
  } else {
    return false;
  }
  return true;
}

Device device_from(PyObject* o) {
  py::object device = py::reinterpret_borrow<py::object>(o);
  if (PyUnicode_Check(o)) {
    device = py::reinterpret_steal<py::object>(
        device_from_text(py::cast<std::string>(py::handle(o)), -1));
  } else if (PyLong_CheckExact(o)) {
    device = py::reinterpret_steal<py::object>(device_from_number(o));
  } else if (Py_TYPE(o) != device_type) {
    fail(ErrorKind::Type, "device: expected a device or its name, got ", Py_TYPE(o)->tp_name);
  }
  const PyDevice& d = device_of(device.ptr());
  if (d.kind == 0 && d.index <= 0) return Device::CPU;
  const std::string name = device_text(device.ptr());
  if (d.kind == 1) {
    if (!cuda::is_available()) fail("device: '", name, "' is not available: ", cuda::why_none());
    if (d.index > 0) {
      fail("device: '", name, "' is not available: wengert uses one CUDA device, 'cuda:0'; choose ",
           "which by CUDA_VISIBLE_DEVICES");
    }
    cuda::require();
    return Device::CUDA;
  }
  fail("device: '", name, "' is not available; wengert computes on 'cpu'");
}

bool is_array(PyObject* o) {
  return std::string_view(Py_TYPE(o)->tp_name) == "numpy.ndarray";
}

bool is_numpy(PyObject* o) {
  return std::string_view(Py_TYPE(o)->tp_name).rfind("numpy.", 0) == 0;
}

bool number_from(PyObject* o, Number& out) {
  if (PyFloat_Check(o)) {
    out = {false, 0, PyFloat_AS_DOUBLE(o)};
    return true;
  }
  if (PyLong_Check(o)) {
    int overflow = 0;
    const int64_t i = PyLong_AsLongLongAndOverflow(o, &overflow);
    if (overflow) fail("overflow: a Python int does not fit in int64");
    out = {true, i, static_cast<double>(i), PyBool_Check(o) != 0};
    return true;
  }
  if (!is_numpy(o) || is_array(o)) return false;
  const py::object v = py::reinterpret_steal<py::object>(PyObject_CallMethod(o, "item", nullptr));
  if (!v) rethrow_python();
  return (PyFloat_Check(v.ptr()) || PyLong_Check(v.ptr())) && number_from(v.ptr(), out);
}

bool dims_from(PyObject* o, Dims& out) {
  const auto checked = [](int64_t v) {
    if (v == -1 && PyErr_Occurred()) {
      PyErr_Clear();
      fail(ErrorKind::Type, "overflow: an int of a sequence does not fit in 64 bits");
    }
    return v;
  };
  if (!PyTuple_Check(o) && !PyList_Check(o)) return false;
  return every_item(o, [&](PyObject* each) {
    if (PyLong_CheckExact(each)) {
      out.push_back(checked(PyLong_AsLongLong(each)));
      return true;
    }
    if (PyFloat_Check(each) || !PyIndex_Check(each)) return false;
    const py::object v = py::reinterpret_steal<py::object>(PyNumber_Index(each));
    if (!v) rethrow_python();
    out.push_back(checked(PyLong_AsLongLong(v.ptr())));
    return true;
  });
}

// --- errors ------------------------------------------------------------------------------------

PyObject* linalg_error() {
  static PyObject* type = PyErr_NewExceptionWithDoc(
      "wengert.linalg.LinAlgError", "A matrix is singular, or not positive definite.",
      PyExc_RuntimeError, nullptr);
  return type;
}

PyObject* out_of_memory_error() {
  static PyObject* type = PyErr_NewExceptionWithDoc(
      "wengert.OutOfMemoryError", "A device has no more memory; what was made before is intact.",
      PyExc_RuntimeError, nullptr);
  return type;
}

PyObject* capture_error() {
  static PyObject* type = PyErr_NewExceptionWithDoc(
      "wengert.CaptureError", "A function does what a replay of its launches would not.",
      PyExc_RuntimeError, nullptr);
  return type;
}

void set_python_error() {
  try {
    throw;
  } catch (py::error_already_set& e) {
    e.restore();
  } catch (const Error& e) {
    PyObject* kinds[] = {PyExc_RuntimeError, PyExc_TypeError,           PyExc_ValueError,
                         PyExc_IndexError,   PyExc_NotImplementedError, linalg_error(),
                         capture_error(),    out_of_memory_error()};
    PyErr_SetString(kinds[static_cast<int>(e.kind())], e.what());
  } catch (const std::bad_alloc&) {
    PyErr_NoMemory();
  } catch (const std::exception& e) {
    PyErr_SetString(PyExc_RuntimeError, e.what());
  }
}

void register_scalars(py::module_& m) {
  set_warning_handler([](const std::string& message) {
    if (PyErr_WarnEx(PyExc_UserWarning, message.c_str(), 1) < 0) throw py::error_already_set();
  });
  py::register_exception_translator([](std::exception_ptr p) {
    try {
      if (p) std::rethrow_exception(p);
    } catch (const Error&) {
      set_python_error();
    }
  });
  PyType_Slot dtype_slots[] = {{Py_tp_repr, reinterpret_cast<void*>(&dtype_repr)},
                               {Py_tp_getset, dtype_getset},
                               {Py_tp_methods, dtype_methods},
                               doc_slot("The type of a tensor's elements, such as wg.float32."),
                               {}};
  dtype_type = make_type("wengert.dtype", sizeof(PyDType),
                         Py_TPFLAGS_DEFAULT | Py_TPFLAGS_DISALLOW_INSTANTIATION, dtype_slots);
  PyType_Slot device_slots[] = {{Py_tp_repr, reinterpret_cast<void*>(&device_repr)},
                                {Py_tp_str, reinterpret_cast<void*>(&device_str)},
                                {Py_tp_getset, device_getset},
                                {Py_tp_methods, device_methods},
                                doc_slot("Where a tensor's memory is: device('cpu')."),
                                {Py_tp_new, reinterpret_cast<void*>(&device_new)},
                                {Py_tp_richcompare, reinterpret_cast<void*>(&device_compare)},
                                {Py_tp_hash, reinterpret_cast<void*>(&device_hash)},
                                {}};
  device_type = make_type("wengert.device", sizeof(PyDevice), Py_TPFLAGS_DEFAULT, device_slots);
  PyType_Slot size_slots[] = {{Py_tp_repr, reinterpret_cast<void*>(&size_repr)},
                              {Py_tp_new, reinterpret_cast<void*>(&size_new)},
                              {Py_nb_add, reinterpret_cast<void*>(&size_add)},
                              {Py_sq_repeat, reinterpret_cast<void*>(&size_repeat)},
                              {Py_mp_subscript, reinterpret_cast<void*>(&size_subscript)},
                              {Py_tp_methods, size_methods},
                              doc_slot("The sizes of a tensor's dimensions, a tuple of ints."),
                              {}};
  size_type = make_type("wengert.Size", 0, Py_TPFLAGS_DEFAULT, size_slots,
                        reinterpret_cast<PyObject*>(&PyTuple_Type));
  for (int i = 0; i < kNumDTypes; ++i) {
    dtypes[i] = dtype_type->tp_alloc(dtype_type, 0);
    reinterpret_cast<PyDType*>(dtypes[i])->dtype = static_cast<DType>(i);
    m.add_object(name_of(static_cast<DType>(i)), py::handle(dtypes[i]));
  }
  for (int i = 0; i < kNumDevices; ++i) {
    devices[i] = device_type->tp_alloc(device_type, 0);
    reinterpret_cast<PyDevice*>(devices[i])->kind = static_cast<int8_t>(i);
    // There is one processor; a CUDA device has a number.
    reinterpret_cast<PyDevice*>(devices[i])->index = i == static_cast<int>(Device::CPU) ? -1 : 0;
  }
  m.add_object("dtype", py::handle(reinterpret_cast<PyObject*>(dtype_type)));
  m.add_object("device", py::handle(reinterpret_cast<PyObject*>(device_type)));
  m.add_object("Size", py::handle(reinterpret_cast<PyObject*>(size_type)));
}

}  // namespace wengert::bindings
