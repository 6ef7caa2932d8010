// Where a dict was not written to, and pointers are the same, nothing was changed; else plain
// values are compared.
#include "bindings/guards.h"

#include <pybind11/stl.h>

#include <algorithm>
#include <cstring>
#include <variant>

#include "bindings/dict_version.h"
#include "bindings/py_tensor.h"
#include "core/error.h"

namespace wengert::bindings {
namespace {

// Whether a value cannot change and is told by its type and contents.
bool is_plain(PyObject* o) {
  return o == Py_None || PyBool_Check(o) || PyLong_CheckExact(o) || PyFloat_CheckExact(o) ||
         PyUnicode_CheckExact(o) || PyBytes_CheckExact(o) || PyComplex_CheckExact(o) ||
         Py_TYPE(o) == dtype_type || Py_TYPE(o) == device_type || is_size(o);
}

bool same_value(PyObject* a, PyObject* b) {
  if (a == b) return true;
  if (!a || !b || Py_TYPE(a) != Py_TYPE(b)) return false;
  if (PyFloat_CheckExact(a)) {
    const double x = PyFloat_AS_DOUBLE(a), y = PyFloat_AS_DOUBLE(b);
    return std::memcmp(&x, &y, sizeof x) == 0;
  }
  if (PyTuple_CheckExact(a)) {
    const Py_ssize_t n = PyTuple_GET_SIZE(a);
    if (n != PyTuple_GET_SIZE(b)) return false;
    for (Py_ssize_t i = 0; i < n; ++i) {
      if (!same_value(PyTuple_GET_ITEM(a, i), PyTuple_GET_ITEM(b, i))) return false;
    }
    return true;
  }
  if (!is_plain(a)) return false;
  const int equal = PyObject_RichCompareBool(a, b, Py_EQ);
  if (equal < 0) PyErr_Clear();
  return equal > 0;
}

struct Entry {
  py::object key, value;
  bool skipped = false;  // any value will do
};

// All entries of a dict, or those of some keys.
struct DictGuard {
  py::object dict;
  std::vector<Entry> entries;
  bool all;
  DictVersion version{dict};
  // As `differs`, but for dicts that nobody wrote to since entries were found the same.
  bool differs_now() {
    if (!version.changed()) return false;
    if (differs() >= 0) return true;
    version.renew();
    return false;
  }
  PyObject* now(const Entry& e) const {
    PyObject* v = PyDict_GetItemWithError(dict.ptr(), e.key.ptr());
    if (!v) PyErr_Clear();
    return v;
  }
  // The first entry that differs: the number of entries if it is their number.
  Py_ssize_t differs() const {
    if (!all) {
      for (size_t i = 0; i < entries.size(); ++i) {
        if (!same_value(now(entries[i]), entries[i].value.ptr())) return static_cast<Py_ssize_t>(i);
      }
      return -1;
    }
    const auto n = static_cast<Py_ssize_t>(entries.size());
    if (PyDict_GET_SIZE(dict.ptr()) != n) return n;
    PyObject *key, *value;
    Py_ssize_t at = 0;
    for (Py_ssize_t i = 0; PyDict_Next(dict.ptr(), &at, &key, &value); ++i) {
      const Entry& e = entries[static_cast<size_t>(i)];
      if (key != e.key.ptr() && !same_value(key, e.key.ptr())) return n;
      if (value != e.value.ptr() && !e.skipped && !same_value(value, e.value.ptr())) return i;
    }
    return -1;
  }
};

struct ListGuard {
  py::object list;
  std::vector<py::object> items;
  bool differs() const {
    const auto n = static_cast<Py_ssize_t>(items.size());
    if (PyList_GET_SIZE(list.ptr()) != n) return true;
    for (Py_ssize_t i = 0; i < n; ++i) {
      if (!same_value(PyList_GET_ITEM(list.ptr(), i), items[static_cast<size_t>(i)].ptr()))
        return true;
    }
    return false;
  }
};

struct CellGuard {
  py::object cell, value;
  bool differs() const { return !same_value(PyCell_GET(cell.ptr()), value.ptr()); }
};

// For what has no dict that can be looked into: getattr.
struct AttributeGuard {
  py::object of, name, value;
  bool differs() const {
    PyObject* v = PyObject_GetAttr(of.ptr(), name.ptr());
    if (!v) PyErr_Clear();
    const bool same = same_value(v, value.ptr());
    Py_XDECREF(v);
    return !same;
  }
};

// A copy, compared with == or by a function: sets, deques, arrays.
struct CopyGuard {
  py::object of, copy, equal;
  bool differs() const {
    if (equal.is_none()) {
      const int same = PyObject_RichCompareBool(of.ptr(), copy.ptr(), Py_EQ);
      if (same < 0) PyErr_Clear();
      return same <= 0;
    }
    try {
      return !equal(of, copy).cast<bool>();
    } catch (py::error_already_set&) {
      return true;
    }
  }
};

struct TensorGuard {
  Tensor tensor;
  char* data;
  Dims sizes, strides;
  DType dtype;
  bool requires_grad;
  const Node* history;
  std::vector<std::shared_ptr<Hook>> hooks;
  explicit TensorGuard(const Tensor& t)
      : tensor(t),
        data(t.data()),
        sizes(t.sizes()),
        strides(t.strides()),
        dtype(t.dtype()),
        requires_grad(wengert::requires_grad(t)),
        history(history_of(t)),
        hooks(hooks_at(t)) {}
  bool differs() const {
    const TensorImpl& t = *tensor.impl();
    return t.data != data || t.dtype != dtype || wengert::requires_grad(tensor) != requires_grad ||
           !(t.sizes == sizes) || !(t.strides == strides) || history_of(tensor) != history ||
           hooks_differ();
  }
  bool hooks_differ() const {
    const bool bare = !tensor->node || !node_of(tensor)->extras;
    return !(bare && hooks.empty()) && hooks_at(tensor) != hooks;
  }
  // Null of leaves, whose node may come later.
  static const Node* history_of(const Tensor& t) { return is_leaf(t) ? nullptr : node_of(t); }
  static std::vector<std::shared_ptr<Hook>> hooks_at(const Tensor& t) {
    return t->node ? hooks_of(*node_of(t)) : std::vector<std::shared_ptr<Hook>>();
  }
};

struct Change {
  std::string label;
  py::object container, key, before, after;
};

}  // namespace

class Guards {
 public:
  void add_dict(const py::dict& dict, const std::string& label, const py::set& skipped) {
    DictGuard g{dict, {}, true};
    for (const auto& [key, value] : dict) {
      g.entries.push_back({py::reinterpret_borrow<py::object>(key),
                           py::reinterpret_borrow<py::object>(value), skipped.contains(key)});
    }
    add(std::move(g), label);
  }
  void add_name(const py::dict& dict, const py::object& key, const std::string& label) {
    if (!dict.contains(key)) return;
    add(DictGuard{dict, {{key, dict[key]}}, false}, label);
  }
  void add_list(const py::list& list, const std::string& label) {
    ListGuard g{list, {}};
    for (const auto& item : list) g.items.push_back(py::reinterpret_borrow<py::object>(item));
    add(std::move(g), label);
  }
  void add_cell(const py::object& cell, const std::string& label) {
    if (!PyCell_Check(cell.ptr())) fail(ErrorKind::Type, "guards: expected a cell");
    add(CellGuard{cell, py::reinterpret_borrow<py::object>(PyCell_GET(cell.ptr()))}, label);
  }
  void add_attribute(const py::object& of, const py::object& name, const std::string& label) {
    add(AttributeGuard{of, name, py::getattr(of, name)}, label);
  }
  void add_copy(const py::object& of, const py::object& copy, const py::object& equal,
                const std::string& label) {
    add(CopyGuard{of, copy, equal}, label);
  }
  void add_tensor(const Tensor& t, const std::string& label) {
    tensors_.emplace_back(t);
    tensor_labels_.push_back(label);
  }

  bool hold() {
    for (Guard& guard : guards_) {
      if (std::visit([](auto& g) { return differs_now(g); }, guard)) return false;
    }
    return std::none_of(tensors_.begin(), tensors_.end(),
                        [](const TensorGuard& t) { return t.differs(); });
  }
  // What was changed first; empty if nothing was.
  std::string first_change() const {
    for (size_t i = 0; i < guards_.size(); ++i) {
      const Py_ssize_t at = std::visit([](const auto& g) { return differs(g); }, guards_[i]);
      if (at < 0) continue;
      const auto* dict = std::get_if<DictGuard>(&guards_[i]);
      if (!dict || !dict->all) return labels_[i];
      if (at == static_cast<Py_ssize_t>(dict->entries.size())) return labels_[i] + " (its entries)";
      return labels_[i] + "." + key_text(dict->entries[static_cast<size_t>(at)].key);
    }
    for (size_t i = 0; i < tensors_.size(); ++i) {
      if (tensors_[i].differs()) return tensor_labels_[i] + " (the tensor itself)";
    }
    return {};
  }

  // Entries of dicts that hold another value now. None where more than such values was changed.
  std::optional<std::vector<Change>> changes() const {
    std::vector<Change> out;
    for (const TensorGuard& t : tensors_) {
      if (t.differs()) return {};
    }
    for (size_t i = 0; i < guards_.size(); ++i) {
      const auto* dict = std::get_if<DictGuard>(&guards_[i]);
      if (!dict || !dict->all) {
        if (std::visit([](const auto& g) { return differs(g) >= 0; }, guards_[i])) return {};
        continue;
      }
      if (PyDict_GET_SIZE(dict->dict.ptr()) != static_cast<Py_ssize_t>(dict->entries.size()))
        return {};
      for (const Entry& e : dict->entries) {
        PyObject* now = dict->now(e);
        if (e.skipped || same_value(now, e.value.ptr())) continue;
        if (!now) return {};
        out.push_back({labels_[i] + "." + key_text(e.key), dict->dict, e.key, e.value,
                       py::reinterpret_borrow<py::object>(now)});
      }
    }
    return out;
  }
  // Lets an entry be whatever it will be.
  void skip(const py::object& container, const py::object& key) {
    for (auto& g : guards_) {
      auto* dict = std::get_if<DictGuard>(&g);
      if (!dict || !dict->dict.is(container)) continue;
      for (Entry& e : dict->entries) e.skipped |= e.key.equal(key);
    }
  }
  std::vector<Tensor> tensors() const {
    std::vector<Tensor> out;
    for (const TensorGuard& t : tensors_) out.push_back(t.tensor);
    return out;
  }
  size_t size() const { return guards_.size() + tensors_.size(); }

 private:
  using Guard = std::variant<DictGuard, ListGuard, CellGuard, AttributeGuard, CopyGuard>;
  static bool differs_now(DictGuard& g) { return g.differs_now(); }
  template <class G>
  static bool differs_now(const G& g) {
    return g.differs();
  }
  static Py_ssize_t differs(const DictGuard& g) { return g.differs(); }
  template <class G>
  static Py_ssize_t differs(const G& g) {
    return g.differs() ? 0 : -1;
  }
  static std::string key_text(const py::object& key) {
    return py::isinstance<py::str>(key) ? py::cast<std::string>(key)
                                        : py::cast<std::string>(py::repr(key));
  }
  void add(Guard g, const std::string& label) {
    guards_.push_back(std::move(g));
    labels_.push_back(label);
  }

  std::vector<Guard> guards_;
  std::vector<std::string> labels_, tensor_labels_;
  std::vector<TensorGuard> tensors_;
};

Guards& guards_of(py::handle object) {
  return object.cast<Guards&>();
}

bool hold(Guards& guards) {
  return guards.hold();
}

void register_guards(py::module_& m) {
  py::class_<Change>(m, "GuardChange", "An entry of a dict that holds another value.")
      .def_readonly("label", &Change::label)
      .def_readonly("container", &Change::container)
      .def_readonly("key", &Change::key)
      .def_readonly("before", &Change::before)
      .def_readonly("after", &Change::after);
  py::class_<Guards>(m, "Guards", "What Python objects hold, to be compared later.")
      .def(py::init<>())
      .def("add_dict", &Guards::add_dict, py::arg("dict"), py::arg("label"), py::arg("skipped"))
      .def("add_name", &Guards::add_name, py::arg("dict"), py::arg("key"), py::arg("label"))
      .def("add_list", &Guards::add_list, py::arg("list"), py::arg("label"))
      .def("add_cell", &Guards::add_cell, py::arg("cell"), py::arg("label"))
      .def("add_attribute", &Guards::add_attribute, py::arg("of"), py::arg("name"),
           py::arg("label"))
      .def("add_copy", &Guards::add_copy, py::arg("of"), py::arg("copy"), py::arg("equal"),
           py::arg("label"), "Compared by a function, or with == where that is None.")
      .def("add_tensor", &Guards::add_tensor, py::arg("tensor"), py::arg("label"))
      .def("hold", &Guards::hold, "Whether all is as it was.")
      .def("first_change", &Guards::first_change, "What was changed first, or nothing.")
      .def("changes", &Guards::changes, "Entries with other values; None if that is not all.")
      .def("skip", &Guards::skip, py::arg("container"), py::arg("key"))
      .def("tensors", &Guards::tensors, "The tensors that are guarded.")
      .def("__len__", &Guards::size);
}

}  // namespace wengert::bindings
