// The Tensor type: allocation with a free list, number slots, properties, and the few methods that
// are not rows of the op table.
#include <Python.h>
#include <structmember.h>

#include <new>

#include "bindings/capi.h"
#include "bindings/py_tensor.h"
#include "core/error.h"
#include "ops/aliasing.h"
#include "ops/autograd.h"
#include "tape/node.h"
#include "transforms/call.h"

namespace wengert::bindings {

PyTypeObject* tensor_type = nullptr;

namespace {

// --- life --------------------------------------------------------------------------------------

constexpr int kFreeListSize = 256;
PyTensor* free_list[kFreeListSize];
int free_count = 0;

PyTensor* allocate_object(PyTypeObject* type) {
  PyTensor* p;
  if (type == tensor_type && free_count > 0) {
    p = free_list[--free_count];
    PyObject_Init(reinterpret_cast<PyObject*>(p), type);
  } else {
    p = reinterpret_cast<PyTensor*>(type->tp_alloc(type, 0));
    if (!p) rethrow_python();
  }
  p->dict = nullptr;
  p->weakrefs = nullptr;
  new (&p->tensor) Tensor;
  return p;
}

void tensor_dealloc(PyObject* o) {
  auto* p = reinterpret_cast<PyTensor*>(o);
  PyTypeObject* type = Py_TYPE(o);
  if (p->weakrefs) PyObject_ClearWeakRefs(o);
  Py_CLEAR(p->dict);
  if (p->tensor.defined() && p->tensor->object == o) p->tensor->object = nullptr;
  p->tensor.~Tensor();
  if (type == tensor_type && free_count < kFreeListSize) {
    free_list[free_count++] = p;
  } else {
    type->tp_free(o);
  }
  Py_DECREF(type);
}

}  // namespace

PyObject* wrap(const Tensor& t) {
  if (t->object) return Py_NewRef(static_cast<PyObject*>(t->object));
  return wrap_as(tensor_type, t);
}

PyObject* wrap_as(PyTypeObject* type, const Tensor& t) {
  PyTensor* p = allocate_object(type);
  p->tensor = t;
  t->object = p;
  return reinterpret_cast<PyObject*>(p);
}

namespace {

// Tensor(), Tensor(2, 3), Tensor(size), Tensor([..]), Tensor(tensor): PyTorch's old constructor,
// always of the default dtype.
PyObject* tensor_new(PyTypeObject* type, PyObject* args, PyObject* kwargs) {
  return guarded([&]() -> PyObject* {
    const Py_ssize_t n = PyTuple_GET_SIZE(args);
    PyObject* first = n == 1 ? PyTuple_GET_ITEM(args, 0) : nullptr;
    if (type == tensor_type && kwargs && PyDict_GET_SIZE(kwargs) > 0) {
      fail(ErrorKind::Type, "Tensor: takes no keywords; wengert.tensor does");
    }
    if (first && is_tensor(first)) return wrap_as(type, transforms::detach(any_tensor_of(first)));
    const bool data = first && !is_size(first) && (is_array(first) || PySequence_Check(first));
    if (data) return wrap_as(type, tensor_from_data(first, default_dtype()));
    Dims sizes;
    if (n == 0) sizes.push_back(0);
    if (n > 0 && !dims_from(first && is_size(first) ? first : args, sizes)) {
      fail(ErrorKind::Type, "Tensor: expected sizes as ints, a sequence or an array");
    }
    for (const int64_t size : sizes) {
      if (size < 0) fail("Tensor: trying to create a tensor with negative dimension ", size);
    }
    return wrap_as(type, Tensor::empty(sizes, default_dtype(), Device::CPU));
  });
}

// --- sequence ----------------------------------------------------------------------------------

Py_ssize_t length_slot(PyObject* o) {
  const Tensor& t = any_tensor_of(o);
  if (t.dim() > 0) return static_cast<Py_ssize_t>(t.size(0));
  PyErr_SetString(PyExc_TypeError, "len() of a 0-d tensor");
  return -1;
}
PyObject* subscript_slot(PyObject* o, PyObject* index) {
  return guarded([&] { return get_item(any_tensor_of(o), index); });
}
int assign_slot(PyObject* o, PyObject* index, PyObject* value) {
  return guarded_int([&] {
    if (!value) fail(ErrorKind::Type, "index: elements of a tensor cannot be deleted");
    set_item(any_tensor_of(o), index, value);
  });
}
PyObject* iter_slot(PyObject* o) {
  return guarded([&]() -> PyObject* {
    const Tensor& t = any_tensor_of(o);
    if (t.dim() == 0) fail(ErrorKind::Type, "iteration over a 0-d tensor");
    const std::vector<Tensor> rows = t->layer ? transforms::unbind(t) : ops::unbind(t, 0);
    const py::object list = py::reinterpret_steal<py::object>(PyList_New(t.size(0)));
    if (!list) rethrow_python();
    for (size_t i = 0; i < rows.size(); ++i) {
      PyList_SET_ITEM(list.ptr(), static_cast<Py_ssize_t>(i), wrap(rows[i]));
    }
    return PyObject_GetIter(list.ptr());
  });
}

// --- properties --------------------------------------------------------------------------------

template <class F>
PyObject* get(PyObject* o, F&& f) {
  return guarded([&] { return f(tensor_of(o)); });
}
template <class F>
PyObject* get_any(PyObject* o, F&& f) {
  return guarded([&] { return f(any_tensor_of(o)); });
}
PyObject* none_or(const Tensor& t) {
  return t.defined() ? wrap(t) : Py_NewRef(Py_None);
}

PyObject* get_shape(PyObject* o, void*) {
  return get_any(o, [](const Tensor& t) { return wrap_size(t.sizes()); });
}
PyObject* get_dtype(PyObject* o, void*) {
  return wrap(any_tensor_of(o).dtype());
}
PyObject* get_device(PyObject* o, void*) {
  return wrap(any_tensor_of(o).device());
}
PyObject* get_ndim(PyObject* o, void*) {
  return PyLong_FromLong(any_tensor_of(o).dim());
}
PyObject* get_is_leaf(PyObject* o, void*) {
  return PyBool_FromLong(is_leaf(transforms::innermost(any_tensor_of(o))));
}
PyObject* get_requires_grad(PyObject* o, void*) {
  return PyBool_FromLong(transforms::tracked(any_tensor_of(o)));
}
PyObject* get_itemsize(PyObject* o, void*) {
  return PyLong_FromSize_t(item_size(any_tensor_of(o).dtype()));
}
PyObject* get_nbytes(PyObject* o, void*) {
  const Tensor& t = any_tensor_of(o);
  return PyLong_FromSize_t(item_size(t.dtype()) * static_cast<size_t>(t.numel()));
}
PyObject* get_grad(PyObject* o, void*) {
  return get(o, [](const Tensor& t) {
    const Tensor grad = grad_of(t);
    if (!grad.defined() && !is_leaf(t) && !retains_grad(t)) [[unlikely]] {
      warn(
          "The .grad attribute of a Tensor that is not a leaf Tensor is being accessed. Its .grad "
          "attribute won't be populated during autograd.backward(). Call .retain_grad() on it "
          "first, or read the gradient of a leaf.");
    }
    return none_or(grad);
  });
}
PyObject* get_version(PyObject* o, void*) {
  return guarded([&] {
    const Tensor& t = transforms::innermost(any_tensor_of(o));
    if (t->storage->inference) fail("Inference tensors do not track version counter.");
    return PyLong_FromUnsignedLong(t.version());
  });
}
PyObject* get_base(PyObject* o, void*) {
  return get(o,
             [](const Tensor& t) { return t->base ? wrap(Tensor(t->base)) : Py_NewRef(Py_None); });
}
PyObject* get_t(PyObject* o, void*) {
  return get_any(o, [](const Tensor& t) {
    Dims order;
    for (int d = t.dim() - 1; d >= 0; --d) order.push_back(d);
    return wrap(transforms::permute(t, order));
  });
}
PyObject* get_h(PyObject* o, void*) {
  return get_any(o, [](const Tensor& t) {
    if (t.dim() != 2 && t.dim() != 0) {
      fail("H: only supported on matrices (2-D tensors), got ", t.dim(),
           "-D; for batches of "
           "matrices use mT");
    }
    return wrap(t.dim() == 0 ? t : transforms::transpose(t, 0, 1));
  });
}
PyObject* get_mt(PyObject* o, void*) {
  return get_any(o, [](const Tensor& t) {
    if (t.dim() < 2)
      fail("mT: only supported on matrices or batches of matrices, got ", t.dim(), "-D");
    return wrap(transforms::transpose(t, -1, -2));
  });
}
PyObject* get_data(PyObject* o, void*) {
  return get_any(o, [](const Tensor& t) { return wrap(transforms::detach(t)); });
}

int set_requires_grad_flag(PyObject* o, PyObject* v, void*) {
  return guarded_int([&] {
    if (!v || !PyBool_Check(v)) fail(ErrorKind::Type, "requires_grad must be a bool");
    set_requires_grad(tensor_of(o), v == Py_True);
  });
}
int set_grad_value(PyObject* o, PyObject* v, void*) {
  return guarded_int([&] {
    const Tensor& t = tensor_of(o);
    if (!v || v == Py_None) {
      set_grad(t, {});
      return;
    }
    if (!is_tensor(v)) {
      fail(ErrorKind::Type, "grad: assigned grad expected to be a Tensor or None but got ",
           Py_TYPE(v)->tp_name);
    }
    const Tensor& g = tensor_of(v);
    if (!(g.sizes() == t.sizes()) || g.dtype() != t.dtype()) {
      fail("grad: assigned grad has data of a different size or dtype: ", g.sizes(), " ",
           name_of(g.dtype()), " for ", t.sizes(), " ", name_of(t.dtype()));
    }
    if (g.device() != t.device()) {
      fail("grad: assigned grad has data located on a different device: ", name_of(g.device()),
           " for ", name_of(t.device()));
    }
    if (g.impl() == t.impl()) fail("grad: can't assign a tensor as its own grad");
    set_grad(t, g);
  });
}
// t.data = u: t looks at u's memory from now on.
int set_data(PyObject* o, PyObject* v, void*) {
  return guarded_int([&] {
    if (!v || !is_tensor(v)) fail(ErrorKind::Type, "data: expected a Tensor");
    const Tensor& t = tensor_of(o);
    const Tensor& u = tensor_of(v);
    const Node* n = node_of(t);
    if (n && n->active && !is_floating(u.dtype())) {
      fail("data: a tensor that requires grad cannot take data of dtype ", name_of(u.dtype()));
    }
    t->storage = u->storage;
    t->data = u->data;
    t->dtype = u->dtype;
    t->device = u->device;
    t->numel = u->numel;
    t->contiguous = u->contiguous;
    t->sizes = u->sizes;
    t->strides = u->strides;
    t->base = nullptr;
    if (n && n->leaf) *node_of(t)->outputs() = {u.sizes(), u.dtype(), u.device()};
  });
}

PyGetSetDef getset[] = {
    {"__dict__", PyObject_GenericGetDict, PyObject_GenericSetDict, nullptr, nullptr},
    {"shape", get_shape, nullptr, "The size of each dimension.", nullptr},
    {"dtype", get_dtype, nullptr, "The element type.", nullptr},
    {"device", get_device, nullptr, "Where the memory is.", nullptr},
    {"ndim", get_ndim, nullptr, "The number of dimensions.", nullptr},
    {"is_leaf", get_is_leaf, nullptr, "Whether no recorded operation made this tensor.", nullptr},
    {"requires_grad", get_requires_grad, set_requires_grad_flag,
     "Whether operations on this tensor are recorded.", nullptr},
    {"grad", get_grad, set_grad_value, "The gradient accumulated by backward, or None.", nullptr},
    {"data", get_data, set_data, "The same memory without history.", nullptr},
    {"T", get_t, nullptr, "The dimensions in reverse order, sharing memory.", nullptr},
    {"H", get_h, nullptr, "The transpose of a matrix, sharing memory.", nullptr},
    {"mT", get_mt, nullptr, "The last two dimensions exchanged, sharing memory.", nullptr},
    {"itemsize", get_itemsize, nullptr, "Bytes an element.", nullptr},
    {"nbytes", get_nbytes, nullptr, "Bytes of all elements.", nullptr},
    {"_version", get_version, nullptr, "How often the memory was changed in place.", nullptr},
    {"_base", get_base, nullptr, "What this is a view of, or None.", nullptr},
    {}};

// --- methods -----------------------------------------------------------------------------------

PyObject* m_item(PyObject* o, PyObject*) {
  return get(o, [](const Tensor& t) { return item_of(t); });
}
PyObject* m_tolist(PyObject* o, PyObject*) {
  return get(o, [](const Tensor& t) { return list_of(t); });
}
PyObject* m_dim(PyObject* o, PyObject*) {
  return get_ndim(o, nullptr);
}
PyObject* m_numel(PyObject* o, PyObject*) {
  return PyLong_FromLongLong(any_tensor_of(o).numel());
}
PyObject* m_is_contiguous(PyObject* o, PyObject* args, PyObject* kwargs) {
  static const char* names[] = {"memory_format", nullptr};
  const char* format = "";
  if (!PyArg_ParseTupleAndKeywords(args, kwargs, "|s", const_cast<char**>(names), &format)) {
    return nullptr;
  }
  return get_any(
      o, [&](const Tensor& t) { return PyBool_FromLong(ops::is_contiguous_in(t, format)); });
}
PyObject* m_element_size(PyObject* o, PyObject*) {
  return get_itemsize(o, nullptr);
}
PyObject* m_is_floating_point(PyObject* o, PyObject*) {
  return PyBool_FromLong(is_floating(any_tensor_of(o).dtype()));
}
PyObject* m_is_complex(PyObject*, PyObject*) {
  Py_RETURN_FALSE;
}
PyObject* m_is_signed(PyObject* o, PyObject*) {
  const DType d = any_tensor_of(o).dtype();
  return PyBool_FromLong(d != DType::Bool && d != DType::UInt8);
}
PyObject* m_is_same_size(PyObject* o, PyObject* other) {
  return guarded([&] {
    if (!is_tensor(other)) {
      fail(ErrorKind::Type, "is_same_size(): argument 'other' must be Tensor, not ",
           Py_TYPE(other)->tp_name);
    }
    return PyBool_FromLong(any_tensor_of(o).sizes() == any_tensor_of(other).sizes());
  });
}
PyObject* m_data_ptr(PyObject* o, PyObject*) {
  return guarded([&] { return PyLong_FromVoidPtr(tensor_of(o).data()); });
}
PyObject* m_storage_offset(PyObject* o, PyObject*) {
  return guarded([&] { return PyLong_FromLongLong(tensor_of(o).offset()); });
}
PyObject* size_or_stride(PyObject* o, PyObject* args, PyObject* kwargs, const char* op,
                         bool stride) {
  static const char* names[] = {"dim", nullptr};
  return get_any(o, [&](const Tensor& t) -> PyObject* {
    const Dims& all = stride ? t.strides() : t.sizes();
    PyObject* dim = nullptr;
    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "|O", const_cast<char**>(names), &dim)) {
      rethrow_python();
    }
    if (!dim || dim == Py_None) {
      if (!stride) return wrap_size(all);
      py::tuple out(static_cast<size_t>(all.size()));
      for (int d = 0; d < all.size(); ++d) out[static_cast<size_t>(d)] = all[d];
      return out.release().ptr();
    }
    const Py_ssize_t d = PyNumber_AsSsize_t(dim, PyExc_IndexError);
    if (d == -1 && PyErr_Occurred()) rethrow_python();
    if (t.dim() == 0)
      fail(ErrorKind::Index, op, ": dimension specified as ", d, " but tensor has no dimensions");
    return PyLong_FromLongLong(all[wrap_dim(op, d, t.dim())]);
  });
}
PyObject* m_size(PyObject* o, PyObject* args, PyObject* kwargs) {
  return size_or_stride(o, args, kwargs, "size", false);
}
PyObject* m_stride(PyObject* o, PyObject* args, PyObject* kwargs) {
  return size_or_stride(o, args, kwargs, "stride", true);
}
PyObject* m_requires_grad_(PyObject* o, PyObject* args, PyObject* kwargs) {
  static const char* names[] = {"requires_grad", nullptr};
  int on = 1;
  if (!PyArg_ParseTupleAndKeywords(args, kwargs, "|p", const_cast<char**>(names), &on)) {
    return nullptr;
  }
  return guarded([&] {
    set_requires_grad(tensor_of(o), on != 0);
    return Py_NewRef(o);
  });
}
PyObject* m_detach_(PyObject* o, PyObject*) {
  return guarded([&] {
    const Tensor& t = tensor_of(o);
    forget_lost_base(t);
    if (t->base && requires_grad(t)) {
      fail("detach_: can't detach views in-place; use detach() instead");
    }
    t->node = nullptr;
    t->slot = 0;
    return Py_NewRef(o);
  });
}
// _make_subclass(cls, data, requires_grad): the same memory as an instance of a subclass.
PyObject* m_make_subclass(PyObject*, PyObject* args) {
  PyObject *cls, *data;
  int on = 0;
  if (!PyArg_ParseTuple(args, "OO|p", &cls, &data, &on)) return nullptr;
  return guarded([&]() -> PyObject* {
    if (!PyType_Check(cls) ||
        !PyType_IsSubtype(reinterpret_cast<PyTypeObject*>(cls), tensor_type) || !is_tensor(data)) {
      fail(ErrorKind::Type, "_make_subclass: expected a subclass of Tensor and a Tensor");
    }
    const Tensor t = ops::detach(tensor_of(data));
    if (on) set_requires_grad(t, true);
    return wrap_as(reinterpret_cast<PyTypeObject*>(cls), t);
  });
}

// CPython's method tables hold every signature as one, and say which in their flags.
PyCFunction with_keywords(PyCFunctionWithKeywords f) {
  return reinterpret_cast<PyCFunction>(reinterpret_cast<void (*)()>(f));
}

PyMethodDef own_methods[] = {
    {"item", m_item, METH_NOARGS, "The element of a one-element tensor as a Python number."},
    {"tolist", m_tolist, METH_NOARGS, "The elements as nested lists of Python numbers."},
    {"dim", m_dim, METH_NOARGS, "The number of dimensions."},
    {"ndimension", m_dim, METH_NOARGS, "The number of dimensions."},
    {"numel", m_numel, METH_NOARGS, "The number of elements."},
    {"nelement", m_numel, METH_NOARGS, "The number of elements."},
    {"is_contiguous", with_keywords(m_is_contiguous), METH_VARARGS | METH_KEYWORDS,
     "Whether elements are dense in row-major order, or the order asked for."},
    {"element_size", m_element_size, METH_NOARGS, "Bytes an element."},
    {"is_floating_point", m_is_floating_point, METH_NOARGS, "Whether the dtype is floating point."},
    {"is_complex", m_is_complex, METH_NOARGS, "Whether the dtype is complex: never."},
    {"is_signed", m_is_signed, METH_NOARGS, "Whether the dtype has negative numbers."},
    {"is_same_size", m_is_same_size, METH_O, "Whether another tensor has the same shape."},
    {"data_ptr", m_data_ptr, METH_NOARGS, "The address of the first element."},
    {"storage_offset", m_storage_offset, METH_NOARGS,
     "Elements before the first in the memory shared."},
    {"size", with_keywords(m_size), METH_VARARGS | METH_KEYWORDS,
     "The size of one dimension, or of all."},
    {"stride", with_keywords(m_stride), METH_VARARGS | METH_KEYWORDS,
     "The step of one dimension in elements, or of all."},
    {"requires_grad_", with_keywords(m_requires_grad_), METH_VARARGS | METH_KEYWORDS,
     "Sets requires_grad; returns the tensor."},
    {"detach_", m_detach_, METH_NOARGS, "Forgets the history; returns the tensor."},
    {"_make_subclass", m_make_subclass, METH_VARARGS | METH_STATIC, nullptr},
    {}};

PyMemberDef members[] = {
    {"__dictoffset__", T_PYSSIZET, offsetof(PyTensor, dict), READONLY, nullptr},
    {"__weaklistoffset__", T_PYSSIZET, offsetof(PyTensor, weakrefs), READONLY, nullptr},
    {}};

constexpr const char* kTensorDoc =
    "Numbers of one dtype in some number of dimensions, and how they were computed.\n\n"
    "Made by functions such as `tensor` and `zeros`, and by operations. `Tensor(data)` and, of\n"
    "elements that are not set, `Tensor(2, 3)` are of the default dtype. Operations on a tensor\n"
    "that requires grad are recorded; `backward` then leaves gradients in `grad` of the leaves.\n"
    "It indexes as NumPy's arrays do, and shares memory with them by `numpy` and `from_numpy`.";

const CApi capi{
    [](PyObject* o) -> const Tensor* { return is_tensor(o) ? &tensor_of(o) : nullptr; },
    [](const Tensor& t) { return wrap(t); },
};

}  // namespace

void register_tensor(py::module_& m) {
  // The table's methods and our own, in one list.
  static std::vector<PyMethodDef> all;
  for (PyMethodDef* d = table_methods(); d->ml_name; ++d) all.push_back(*d);
  for (PyMethodDef* d = own_methods; d->ml_name; ++d) all.push_back(*d);
  for (const PyMethodDef& d : attribute_methods()) all.push_back(d);
  all.push_back({});
  static std::vector<PyGetSetDef> properties = attribute_getset();
  for (PyGetSetDef* d = getset; d->name; ++d) properties.push_back(*d);
  properties.push_back({});
  const auto slot = [](int id, auto* fn) { return PyType_Slot{id, reinterpret_cast<void*>(fn)}; };
  std::vector<PyType_Slot> slots = {slot(Py_tp_dealloc, &tensor_dealloc),
                                    slot(Py_tp_new, &tensor_new),
                                    slot(Py_tp_hash, &_Py_HashPointer),
                                    slot(Py_tp_iter, &iter_slot),
                                    {Py_tp_members, members},
                                    {Py_tp_getset, properties.data()},
                                    doc_slot(kTensorDoc),
                                    {Py_tp_methods, all.data()},
                                    slot(Py_mp_length, &length_slot),
                                    slot(Py_mp_subscript, &subscript_slot),
                                    slot(Py_mp_ass_subscript, &assign_slot)};
  for (const PyType_Slot& each : number_slots()) slots.push_back(each);
  slots.push_back({0, nullptr});
  PyType_Spec spec{"wengert.Tensor", sizeof(PyTensor), 0, Py_TPFLAGS_DEFAULT | Py_TPFLAGS_BASETYPE,
                   slots.data()};
  tensor_type = reinterpret_cast<PyTypeObject*>(PyType_FromSpec(&spec));
  if (!tensor_type) rethrow_python();
  m.add_object("Tensor", py::handle(reinterpret_cast<PyObject*>(tensor_type)));
  m.attr("_c_api") = py::capsule(&capi, kCApiName);
}

}  // namespace wengert::bindings
