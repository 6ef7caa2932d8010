// tensor[index] and tensor[index] = value for integers, slices, None, ... and tuples of them, and
// for one integer tensor or list, which picks rows.
#include "bindings/py_tensor.h"
#include "core/error.h"

namespace wengert::bindings {
namespace {

using ops::Region;

// Builds a Region one index at a time.
struct RegionBuilder {
  const Tensor& t;
  Region r;
  int dim = 0;  // the next dimension of t

  explicit RegionBuilder(const Tensor& tensor) : t(tensor) {}

  void keep(int64_t start, int64_t step, int64_t size) {
    r.start[dim] = start;
    r.step[dim] = step;
    r.source[r.sizes.size()] = static_cast<int8_t>(dim);
    r.sizes.push_back(size);
    ++dim;
  }
  void whole() { keep(0, 1, t.size(dim)); }
  void new_axis() {
    r.source[r.sizes.size()] = -1;
    r.sizes.push_back(1);
  }
  void check(int asked) const {
    if (dim >= t.dim()) {
      fail(ErrorKind::Index, "index: too many indices for tensor of dimension ", t.dim(), " (got ",
           asked, ")");
    }
  }
  void integer(int64_t i) {
    const int64_t n = t.size(dim);
    if (i < -n || i >= n) {
      fail(ErrorKind::Index, "index ", i, " is out of bounds for dimension ", dim, " with size ",
           n);
    }
    r.start[dim] = i < 0 ? i + n : i;
    r.step[dim] = 0;
    ++dim;
  }
  void slice(PyObject* s) {
    Py_ssize_t start, stop, step;
    if (PySlice_Unpack(s, &start, &stop, &step) < 0) rethrow_python();
    if (step <= 0) fail(ErrorKind::Value, "index: step must be greater than zero, got ", step);
    const Py_ssize_t n = PySlice_AdjustIndices(t.size(dim), &start, &stop, step);
    keep(start, step, n);
  }
};

bool is_plain(PyObject* o) {
  return PyLong_CheckExact(o) || PySlice_Check(o) || o == Py_None || o == Py_Ellipsis ||
         (!PyBool_Check(o) && !PyList_Check(o) && !PyTuple_Check(o) && !is_array(o) &&
          PyIndex_Check(o) &&
          (!is_tensor(o) || (tensor_of(o).dim() == 0 && tensor_of(o).dtype() == DType::Int64)));
}

[[noreturn]] void unsupported(PyObject* o) {
  fail(ErrorKind::Index, "index: unsupported index of type ", Py_TYPE(o)->tp_name,
       "; expected integers, slices, None, ..., or one integer tensor or list for rows");
}

Region region_of(const Tensor& t, PyObject* index) {
  RegionBuilder b(t);
  PyObject* const* items = &index;
  Py_ssize_t n = 1;
  if (PyTuple_Check(index)) {
    items = &PyTuple_GET_ITEM(index, 0);
    n = PyTuple_GET_SIZE(index);
  }
  int consumed = 0, ellipses = 0;
  for (Py_ssize_t i = 0; i < n; ++i) {
    if (!is_plain(items[i])) unsupported(items[i]);
    ellipses += items[i] == Py_Ellipsis;
    consumed += items[i] != Py_Ellipsis && items[i] != Py_None;
  }
  if (ellipses > 1)
    fail(ErrorKind::Index, "index: an index can only have a single ellipsis ('...')");
  for (Py_ssize_t i = 0; i < n; ++i) {
    PyObject* o = items[i];
    if (o == Py_None) {
      b.new_axis();
    } else if (o == Py_Ellipsis) {
      for (int rest = t.dim() - consumed; rest > 0; --rest) b.whole();
    } else {
      b.check(consumed);
      if (PySlice_Check(o)) {
        b.slice(o);
      } else {
        const Py_ssize_t at = PyNumber_AsSsize_t(o, PyExc_IndexError);
        if (at == -1 && PyErr_Occurred()) rethrow_python();
        b.integer(at);
      }
    }
  }
  while (b.dim < t.dim()) b.whole();
  return b.r;
}

// One tensor, list or array of integers; undefined for anything else.
Tensor row_index(PyObject* index) {
  Tensor rows;
  if (is_tensor(index)) {
    rows = tensor_of(index);
  } else if (PyList_Check(index) || is_array(index)) {
    rows = tensor_from_data(index, {});
    if (rows.numel() == 0) rows = ops::to(rows, DType::Int64);
  }
  return rows.defined() && rows.dtype() == DType::Int64 && rows.dim() > 0 ? rows : Tensor();
}

}  // namespace

PyObject* get_item(const Tensor& t, PyObject* index) {
  if (!PyTuple_Check(index) && !is_plain(index)) {
    const Tensor rows = row_index(index);
    if (rows.defined()) return wrap(ops::take_rows(t, rows));
  }
  return wrap(ops::at_region(t, region_of(t, index)));
}

void set_item(const Tensor& t, PyObject* index, PyObject* value) {
  Number n;
  Tensor v;
  if (is_tensor(value)) {
    v = tensor_of(value);
  } else if (number_from(value, n)) {
    v = number_like(n, &t);
  } else {
    v = tensor_from_data(value, {});
  }
  ops::assign_region(t, region_of(t, index), v);
}

}  // namespace wengert::bindings
