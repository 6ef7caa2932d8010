// What programs ask of a tensor besides its elements: which device or layout it is not, and the
// memory that it and its views share.
#include <pybind11/pybind11.h>

#include "bindings/py_tensor.h"
#include "core/error.h"
#include "kernels/cuda/cuda.h"

namespace wengert::bindings {
namespace {

// --- what every tensor here is, or is not ------------------------------------------------------

PyObject* constant(PyObject*, void* value) {
  return Py_NewRef(static_cast<PyObject*>(value));
}
PyObject* m_false(PyObject*, PyObject*) {
  Py_RETURN_FALSE;
}
PyObject* m_itself(PyObject* o, PyObject*) {
  return Py_NewRef(o);
}
// Where the device's number would be: memory of the processor has none.
PyObject* m_get_device(PyObject* o, PyObject*) {
  return PyLong_FromLong(any_tensor_of(o).device() == Device::CUDA ? 0 : -1);
}
template <Device kDevice>
PyObject* get_is_on(PyObject* o, void*) {
  return PyBool_FromLong(any_tensor_of(o).device() == kDevice);
}
PyObject* m_is_pinned(PyObject* o, PyObject*) {
  return guarded([&] { return PyBool_FromLong(cuda::is_pinned(tensor_of(o).data())); });
}

// Which result of the operation that made it a tensor is.
PyObject* get_output_nr(PyObject* o, void*) {
  return PyLong_FromUnsignedLong(transforms::innermost(any_tensor_of(o))->slot);
}

// --- memory ------------------------------------------------------------------------------------

// All of the memory that a tensor looks at, as one-dimensional uint8.
PyObject* m_storage_bytes(PyObject* o, PyObject*) {
  return guarded([&] {
    const Tensor& t = tensor_of(o);
    Tensor bytes = t.view({}, {});
    const auto n = static_cast<int64_t>(t->storage->bytes);
    bytes->data = static_cast<char*>(t->storage->data);
    bytes->dtype = DType::UInt8;
    bytes->sizes = {n};
    bytes->strides = {1};
    bytes->numel = n;
    bytes->contiguous = true;
    return wrap(bytes);
  });
}

PyObject* m_is_set_to(PyObject* o, PyObject* other) {
  return guarded([&] {
    if (!is_tensor(other)) {
      fail(ErrorKind::Type, "is_set_to(): argument 'tensor' must be Tensor, not ",
           Py_TYPE(other)->tp_name);
    }
    const Tensor &a = tensor_of(o), &b = tensor_of(other);
    return PyBool_FromLong(a->storage.get() == b->storage.get() && a.data() == b.data() &&
                           a.dtype() == b.dtype() && a.sizes() == b.sizes() &&
                           a.strides() == b.strides());
  });
}

// A view of raw bytes, for what reads files: every element must lie inside them.
Tensor view_of_bytes(const Tensor& bytes, const py::object& dtype, const py::object& sizes,
                     const py::object& strides, int64_t offset) {
  constexpr auto op = "view of bytes";
  DType d;
  Dims shape, steps;
  if (bytes.dtype() != DType::UInt8 || bytes.dim() != 1 || !bytes.contiguous() ||
      !dtype_from(dtype.ptr(), d) || !dims_from(sizes.ptr(), shape) ||
      !dims_from(strides.ptr(), steps) || shape.size() != steps.size()) {
    fail(ErrorKind::Value, op, ": expected uint8 in one dimension, a dtype, sizes, and as many ",
         "strides");
  }
  const auto item = static_cast<int64_t>(item_size(d));
  int64_t last = offset;
  bool fits = offset >= 0;
  for (int i = 0; i < shape.size() && fits; ++i) {
    int64_t span = 0;
    fits = shape[i] >= 0 && steps[i] >= 0 &&
           (shape[i] == 0 || !__builtin_mul_overflow(shape[i] - 1, steps[i], &span)) &&
           !__builtin_add_overflow(last, span, &last);
  }
  const int64_t n = fits ? product(shape) : 0;
  if (!fits || (n > 0 ? last >= bytes.numel() / item : offset > bytes.numel() / item)) {
    fail(op, ": sizes ", shape, ", strides ", steps, " and offset ", offset, " of ", name_of(d),
         " reach outside ", bytes.numel(), " bytes");
  }
  Tensor out = bytes.view({}, {});
  out->data = bytes.data() + offset * item;
  if (reinterpret_cast<uintptr_t>(out->data) % static_cast<uintptr_t>(item) != 0) {
    fail(op, ": memory not aligned for ", name_of(d));
  }
  out->dtype = d;
  out->sizes = shape;
  out->strides = steps;
  out->numel = n;
  out->contiguous = is_contiguous(shape, steps);
  out->base = nullptr;
  return out;
}

PyObject* m_is_inference(PyObject* o, PyObject*) {
  return PyBool_FromLong(transforms::innermost(any_tensor_of(o))->storage->inference);
}

}  // namespace

std::vector<PyGetSetDef> attribute_getset() {
  const auto never = [](const char* name, const char* doc) {
    return PyGetSetDef{name, constant, nullptr, doc, Py_False};
  };
  return {
      {"is_cuda", get_is_on<Device::CUDA>, nullptr, "Whether it is in a CUDA device's memory.",
       nullptr},
      never("is_xpu", "Whether it is in an XPU's memory: never."),
      never("is_mps", "Whether it is in an MPS device's memory: never."),
      never("is_meta", "Whether it has no memory: never."),
      never("is_sparse", "Whether its layout is sparse: never."),
      never("is_quantized", "Whether it is quantized: never."),
      never("is_nested", "Whether it is ragged: never."),
      {"output_nr", get_output_nr, nullptr, "Which result of its operation it is.", nullptr},
      {"is_cpu", get_is_on<Device::CPU>, nullptr, "Whether it is in the processor's memory.",
       nullptr},
  };
}

std::vector<PyMethodDef> attribute_methods() {
  return {
      {"is_pinned", m_is_pinned, METH_NOARGS, "Whether a CUDA device copies from it by itself."},
      {"is_shared", m_false, METH_NOARGS, "Whether other processes share the memory: never."},
      {"is_inference", m_is_inference, METH_NOARGS, "Whether it was made in inference mode."},
      {"is_conj", m_false, METH_NOARGS, "Whether it is a lazy conjugate: never."},
      {"is_neg", m_false, METH_NOARGS, "Whether it is a lazy negative: never."},
      {"resolve_conj", m_itself, METH_NOARGS, "The tensor itself."},
      {"resolve_neg", m_itself, METH_NOARGS, "The tensor itself."},
      {"get_device", m_get_device, METH_NOARGS,
       "The number of the CUDA device; -1: the processor."},
      {"is_set_to", m_is_set_to, METH_O, "Whether another looks at the same memory alike."},
      {"_storage_bytes", m_storage_bytes, METH_NOARGS, "All of the memory shared, as uint8."},
  };
}

void register_attributes(py::module_& m) {
  m.def("_view_of_bytes", &view_of_bytes, py::arg("bytes"), py::arg("dtype"), py::arg("sizes"),
        py::arg("strides"), py::arg("offset"), "A checked strided view of raw memory.");
  m.def(
      "_check_device", [](const py::object& device) { device_from(device.ptr()); },
      py::arg("device"), "Refuses a device that tensors cannot be on.");
}

}  // namespace wengert::bindings
