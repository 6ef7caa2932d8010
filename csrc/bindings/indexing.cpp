// tensor[index] and tensor[index] = value: reads a Python index (integers, slices, None, ...,
// bools, masks, integer tensors, arrays, sequences, and tuples of these) into an ops::Index.
#include "bindings/py_tensor.h"
#include "core/error.h"

namespace wengert::bindings {
namespace {

using ops::Index;

constexpr auto kAllowed =
    "index: only integers, slices (`:`), ellipsis (`...`), None and long or byte Variables are "
    "valid indices (got ";

[[noreturn]] void unsupported(PyObject* o) {
  fail(ErrorKind::Index, kAllowed, Py_TYPE(o)->tp_name, ")");
}

// --- what an item is ---------------------------------------------------------------------------

// A sequence that stands for an index tensor: a list, a tuple, a range, an array.
bool is_sequence(PyObject* o) {
  return PySequence_Check(o) && !is_tensor(o) && !PyUnicode_Check(o) && !PyBytes_Check(o);
}

bool is_integer(PyObject* o) {
  if (PyLong_CheckExact(o)) return true;
  if (PyBool_Check(o) || is_sequence(o)) return false;
  if (is_tensor(o)) {
    const Tensor& t = tensor_of(o);
    return t.dim() == 0 && is_integral(t.dtype()) && !ops::is_mask(t);
  }
  return PyIndex_Check(o);
}

int64_t integer_from(PyObject* o) {
  const Py_ssize_t i = PyNumber_AsSsize_t(o, PyExc_IndexError);
  if (i == -1 && PyErr_Occurred()) rethrow_python();
  return i;
}

// Refuses what cannot be an index tensor: what belongs in a tuple, and lists nested deeper than any
// tensor's shape (or in themselves).
void check_sequence(PyObject* o, int depth) {
  if (PySlice_Check(o) || o == Py_None || o == Py_Ellipsis) {
    fail(ErrorKind::Index, "index: a ", Py_TYPE(o)->tp_name,
         " in a list, which is taken for an index tensor; use x[tuple(seq)] instead of x[seq]");
  }
  if (!PyList_Check(o) && !PyTuple_Check(o)) return;
  if (depth > kMaxDims) {
    fail(ErrorKind::Index, "index: sequences nested more than ", kMaxDims, " deep");
  }
  for (Py_ssize_t i = 0; i < PySequence_Fast_GET_SIZE(o); ++i) {
    check_sequence(PySequence_Fast_GET_ITEM(o, i), depth + 1);
  }
}

// A sequence as an index tensor.
Tensor tensor_from_sequence(PyObject* o) {
  py::object data = py::reinterpret_borrow<py::object>(o);
  if (!PyList_Check(o) && !PyTuple_Check(o) && !is_array(o)) {
    data = py::reinterpret_steal<py::object>(PySequence_List(o));
    if (!data) rethrow_python();
  }
  check_sequence(data.ptr(), 0);
  const Tensor t = tensor_from_data(data.ptr(), {});
  // an empty list has no dtype of its own
  return t.numel() == 0 && is_floating(t.dtype()) ? ops::to(t, DType::Int64) : t;
}

// One item of an index, read once.
struct Item {
  PyObject* object = nullptr;
  Tensor tensor;  // of an item that is an index tensor or a mask
  bool truth = false, is_bool = false;

  bool is_index() const { return tensor.defined(); }
  // Dimensions of the indexed tensor that it stands for.
  int consumes() const {
    if (is_bool || object == Py_None || object == Py_Ellipsis) return 0;
    return is_index() && ops::is_mask(tensor) ? tensor.dim() : 1;
  }
};

Item item_from(PyObject* o) {
  Item item{o, {}};
  if (o == Py_None || o == Py_Ellipsis || PySlice_Check(o) || is_integer(o)) return item;
  if (PyBool_Check(o)) {
    item.is_bool = true;
    item.truth = o == Py_True;
    return item;
  }
  if (PyUnicode_Check(o)) fail(ErrorKind::Type, kAllowed, "str)");
  if (is_tensor(o)) {
    item.tensor = tensor_of(o);
  } else if (is_sequence(o)) {
    item.tensor = tensor_from_sequence(o);
  } else {
    unsupported(o);
  }
  ops::check_index_tensor(item.tensor);
  if (item.tensor.dim() == 0 && ops::is_mask(item.tensor)) {
    item.is_bool = true;
    item.truth = item.tensor.to_int64() != 0;
    item.tensor.reset();
  } else if (item.tensor.dim() == 0) {
    // a 0-dim array of integers: item_from leaves it as an integer
    item.tensor.reset();
  }
  return item;
}

// --- building an index -------------------------------------------------------------------------

// Adds one item at a time.
struct Builder {
  const Tensor& t;
  Index index;
  int dim = 0;  // the next dimension of t

  explicit Builder(const Tensor& tensor) : t(tensor) {}

  ops::Region& region() { return index.region; }

  void keep(int64_t start, int64_t step, int64_t size) {
    ops::Region& r = region();
    r.sizes.push_back(size);  // first: it says whether there is room
    r.source[r.sizes.size() - 1] = static_cast<int8_t>(dim);
    r.start[dim] = start;
    r.step[dim] = step;
    ++dim;
  }
  void whole() { keep(0, 1, t.size(dim)); }
  void new_axis() {
    region().sizes.push_back(1);
    region().source[region().sizes.size() - 1] = -1;
    index.whole = false;
  }
  void integer(int64_t i) {
    const int64_t n = t.size(dim);
    if (i < -n || i >= n) {
      fail(ErrorKind::Index, "index ", i, " is out of bounds for dimension ", dim, " with size ",
           n);
    }
    region().start[dim] = i < 0 ? i + n : i;
    region().step[dim] = 0;
    index.whole = false;
    ++dim;
  }
  void slice(PyObject* s) {
    Py_ssize_t start, stop, step;
    if (PySlice_Unpack(s, &start, &stop, &step) < 0) rethrow_python();
    if (step <= 0) fail(ErrorKind::Value, "index: step must be greater than zero, got ", step);
    const Py_ssize_t n = PySlice_AdjustIndices(t.size(dim), &start, &stop, step);
    index.whole = index.whole && n == t.size(dim);
    keep(start, step, n);
  }
  // True picks the one element of a new dimension, False none of them.
  void truth(bool value) {
    new_axis();
    index.at[region().sizes.size() - 1] = ops::zeros({value ? 1 : 0}, DType::Int64);
  }
  void tensor(const Tensor& at) {
    const int first = region().sizes.size(), dims = ops::is_mask(at) ? at.dim() : 1;
    for (int d = 0; d < dims; ++d) whole();
    index.at[first] = at;
  }
};

// Whether an index is one integer or slice, None or ..., as most are.
bool is_plain(PyObject* o) {
  return PyLong_CheckExact(o) || PySlice_Check(o) || o == Py_None || o == Py_Ellipsis;
}

struct ParsedIndex {
  Index index;
  bool advanced = false;  // has index tensors
};

void add_plain(Builder& b, PyObject* o) {
  if (o == Py_None) {
    b.new_axis();
  } else if (PySlice_Check(o)) {
    b.slice(o);
  } else {
    b.integer(integer_from(o));
  }
}

ParsedIndex parse_index(const Tensor& t, PyObject* given) {
  PyObject* const* objects = &given;
  Py_ssize_t n = 1;
  if (PyTuple_Check(given)) {
    objects = &PyTuple_GET_ITEM(given, 0);
    n = PyTuple_GET_SIZE(given);
  }
  // every item but None, ... and bools consumes dimensions, so more items than this are too many
  constexpr Py_ssize_t kMaxItems = 4 * kMaxDims;
  if (n > kMaxItems) {
    fail(ErrorKind::Index, "index: too many indices for tensor of dimension ", t.dim(), " (got ", n,
         ")");
  }
  Item items[kMaxItems];
  int consumed = 0;
  ParsedIndex out;
  for (Py_ssize_t i = 0; i < n; ++i) {
    items[i] = item_from(objects[i]);
    consumed += items[i].consumes();
    out.advanced = out.advanced || items[i].is_bool || items[i].is_index();
  }
  Builder b(t);
  if (consumed > t.dim()) {
    if (t.dim() == 0 && n == 1 && !out.advanced) {
      fail(ErrorKind::Index,
           "index: invalid index of a 0-dim tensor; use tensor.item() to convert it to a number "
           "(too many indices)");
    }
    fail(ErrorKind::Index, "index: too many indices for tensor of dimension ", t.dim(), " (got ",
         consumed, ")");
  }
  bool ellipsis = false;
  for (Py_ssize_t i = 0; i < n; ++i) {
    const Item& item = items[i];
    if (item.object == Py_Ellipsis) {
      for (int rest = ellipsis ? 0 : t.dim() - consumed; rest > 0; --rest) b.whole();
      ellipsis = true;
    } else if (item.is_bool) {
      b.truth(item.truth);
    } else if (item.is_index()) {
      b.tensor(item.tensor);
    } else {
      add_plain(b, item.object);
    }
  }
  while (b.dim < t.dim()) b.whole();
  out.index = b.index;
  return out;
}

// Whether an index has a batch or a dual number in it.
bool is_layered(PyObject* index) {
  if (is_tensor(index)) return static_cast<bool>(any_tensor_of(index)->layer);
  if (!PyTuple_Check(index)) return false;
  for (Py_ssize_t i = 0; i < PyTuple_GET_SIZE(index); ++i) {
    PyObject* each = PyTuple_GET_ITEM(index, i);
    if (is_tensor(each) && any_tensor_of(each)->layer) return true;
  }
  return false;
}
// What becomes of indices inside of transforms is written in Python.
py::object layered_indexing(const char* function) {
  return py::module_::import("wengert.func._indexing").attr(function);
}

}  // namespace

PyObject* get_item(const Tensor& t, PyObject* given) {
  if (t->layer || is_layered(given)) [[unlikely]] {
    const auto object = py::reinterpret_steal<py::object>(wrap(t));
    return layered_indexing("get_item")(object, py::handle(given)).release().ptr();
  }
  if (is_plain(given) && given != Py_Ellipsis && (t.dim() > 0 || given == Py_None)) {
    Builder b(t);
    add_plain(b, given);
    while (b.dim < t.dim()) b.whole();
    return wrap(ops::at_region(t, b.region()));
  }
  const DefaultDevice here(t.device());
  const ParsedIndex p = parse_index(t, given);
  return wrap(p.advanced ? ops::index(t, p.index) : ops::at_region(t, p.index.region));
}

void set_item(const Tensor& t, PyObject* given, PyObject* value) {
  const bool layered_value = is_tensor(value) && any_tensor_of(value)->layer;
  if (t->layer || layered_value || is_layered(given)) [[unlikely]] {
    const auto object = py::reinterpret_steal<py::object>(wrap(t));
    layered_indexing("set_item")(object, py::handle(given), py::handle(value));
    return;
  }
  if (given == Py_False) return;  // nothing is picked, and any value fits nothing
  if (value == Py_None || PyUnicode_Check(value)) {
    fail(ErrorKind::Type, "index_put_: cannot assign a ", Py_TYPE(value)->tp_name, " to a tensor");
  }
  Number n;
  Tensor v;
  if (is_tensor(value)) {
    v = tensor_of(value);
  } else if (number_from(value, n)) {
    v = number_like(n, &t);
  } else {
    v = tensor_from_data(value, {});
  }
  const DefaultDevice here(t.device());
  const ParsedIndex p = parse_index(t, given);
  if (p.advanced) {
    ops::index_put_("index_put_", t, p.index, v, false);
  } else {
    ops::assign_region(t, p.index.region, v);
  }
}

}  // namespace wengert::bindings
