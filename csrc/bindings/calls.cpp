// Calls of the op table from Python: one argument parser for all rows, driven by their signatures,
// and the trampolines that make every row a function, a method and an in-place method.
#include <pybind11/stl.h>

#include <array>
#include <cstring>
#include <string>
#include <unordered_map>
#include <utility>
#include <vector>

#include "bindings/py_tensor.h"
#include "core/error.h"
#include "ops/random.h"

namespace wengert::bindings {
namespace {

constexpr int kMaxParams = 10;
constexpr int kMaxOwned = 3;

// The parsed arguments and what they point to.
struct Parsed {
  Arg arg[kMaxParams];
  Tensor owned[kMaxOwned];
  int num_owned = 0;
  Dims dims[2];
  int num_dims = 0;
  std::vector<Tensor> list;
  std::vector<int64_t> int_list;
  std::vector<Dims> int_lists;
  PyObject* out = nullptr;  // where to write the results, if asked for
};

// Why an overload does not take the arguments; thrown as TypeError when none does.
struct Mismatch {
  std::string why;
};

const char* type_name(ArgType t) {
  constexpr const char* names[] = {"Tensor",
                                   "Tensor or number",
                                   "number",
                                   "int",
                                   "float",
                                   "bool",
                                   "tuple of ints",
                                   "tuple of ints",
                                   "dtype",
                                   "device",
                                   "str",
                                   "lists of ints",
                                   "sequence of Tensors",
                                   "Tensors",
                                   "tuple of Tensors",
                                   "Generator",
                                   "tuple of ints"};
  return names[static_cast<int>(t)];
}

[[noreturn]] __attribute__((noinline, cold)) void mismatch(const Op& op, const Param& p,
                                                           PyObject* got) {
  std::string found = Py_TYPE(got)->tp_name;
  const bool ints =
      p.type == ArgType::Ints || p.type == ArgType::VarInts || p.type == ArgType::IntList;
  if (ints && (PyTuple_Check(got) || PyList_Check(got))) {
    for (Py_ssize_t i = 0; i < PySequence_Fast_GET_SIZE(got); ++i) {
      PyObject* each = PySequence_Fast_GET_ITEM(got, i);
      if (!PyIndex_Check(each)) found += text(" with a ", Py_TYPE(each)->tp_name, " at ", i);
    }
  }
  throw Mismatch{
      text(op.name, "(): argument '", p.name, "' must be ", type_name(p.type), ", not ", found)};
}

// Throws, as PyTorch does, for what 64 bits do not hold: a ValueError, for an item of a list a
// TypeError.
int64_t unpack_int(PyObject* o, ErrorKind too_large) {
  const int64_t v = PyLong_AsLongLong(o);
  if (v == -1 && PyErr_Occurred()) {
    PyErr_Clear();
    fail(too_large, "overflow: ", py::cast<std::string>(py::str(py::handle(o))),
         " does not fit into 64 bits");
  }
  return v;
}

bool int_from(PyObject* o, int64_t& out, ErrorKind too_large = ErrorKind::Value) {
  if (PyLong_CheckExact(o)) {
    out = unpack_int(o, too_large);
    return true;
  }
  if (PyFloat_Check(o) || !PyIndex_Check(o)) return false;
  const py::object v = py::reinterpret_steal<py::object>(PyNumber_Index(o));
  if (!v) {
    PyErr_Clear();
    return false;
  }
  out = unpack_int(v.ptr(), too_large);
  return true;
}

// Another library's array as an operand: shares its memory.
bool is_array(PyObject* o) {
  return std::string_view(Py_TYPE(o)->tp_name) == "numpy.ndarray";
}

bool tensors_from(PyObject* o, std::vector<Tensor>& out, bool or_none = false) {
  if (is_tensor(o)) return false;
  const py::object items = py::reinterpret_steal<py::object>(PySequence_Fast(o, ""));
  if (!items) {
    PyErr_Clear();
    return false;
  }
  const Py_ssize_t n = PySequence_Fast_GET_SIZE(items.ptr());
  for (Py_ssize_t i = 0; i < n; ++i) {
    PyObject* each = PySequence_Fast_GET_ITEM(items.ptr(), i);
    if (!is_tensor(each) && !(or_none && each == Py_None)) return false;
    out.push_back(each == Py_None ? Tensor() : tensor_of(each));
  }
  return true;
}

// Lists of ints, or a two-dimensional tensor of them.
bool int_lists_from(PyObject* o, std::vector<Dims>& out) {
  const py::object items = py::reinterpret_steal<py::object>(PySequence_Fast(o, ""));
  if (!items) {
    PyErr_Clear();
    return false;
  }
  const Py_ssize_t n = PySequence_Fast_GET_SIZE(items.ptr());
  for (Py_ssize_t i = 0; i < n; ++i) {
    PyObject* each = PySequence_Fast_GET_ITEM(items.ptr(), i);
    int64_t one;
    Dims d;
    if (int_from(each, one)) {
      d = Dims{one};
    } else if (!dims_from(each, d)) {
      return false;
    }
    out.push_back(d);
  }
  return true;
}

// `peer`: the first tensor among the arguments, whose dtype a number takes on if it can.
void parse_one(const Op& op, const Param& p, PyObject* o, const Tensor* peer, Parsed& out, Arg& a) {
  a.given = true;
  if (o == Py_None && p.optional) {
    a.given = false;
    return;
  }
  switch (p.type) {
    case ArgType::Value:
      if (Number n; !is_tensor(o) && number_from(o, n)) {
        Tensor& t = out.owned[out.num_owned++];
        t = number_like(n, peer);
        a.tensor = &t;
        return;
      }
      if (is_array(o)) {
        a.tensor = &(out.owned[out.num_owned++] = tensor_from_array(o));
        return;
      }
      [[fallthrough]];
    case ArgType::Tensor:
      if (!is_tensor(o)) mismatch(op, p, o);
      a.tensor = &tensor_of(o);
      return;
    case ArgType::Number:
      if (is_tensor(o) && tensor_of(o).numel() == 1) {
        const Tensor& t = tensor_of(o);
        a.number = {!is_floating(t.dtype()), t.to_int64(), t.to_double()};
      } else if (!number_from(o, a.number)) {
        mismatch(op, p, o);
      }
      return;
    case ArgType::Int:
      if (PyBool_Check(o) || !int_from(o, a.i)) mismatch(op, p, o);
      return;
    case ArgType::Float: {
      Number n;
      if (is_tensor(o) && tensor_of(o).numel() == 1) {
        n.d = tensor_of(o).to_double();
      } else if (!number_from(o, n)) {
        mismatch(op, p, o);
      }
      a.d = n.d;
      return;
    }
    case ArgType::Bool:
      if (!PyBool_Check(o)) mismatch(op, p, o);
      a.b = o == Py_True;
      return;
    case ArgType::Ints:
    case ArgType::VarInts: {
      Dims& d = out.dims[out.num_dims++];
      int64_t one;
      if (!dims_from(o, d)) {
        if (PyBool_Check(o) || !int_from(o, one)) mismatch(op, p, o);
        d = Dims{one};
      }
      a.ints = &d;
      return;
    }
    case ArgType::IntList:
      if (!PyTuple_Check(o) && !PyList_Check(o)) mismatch(op, p, o);
      for (Py_ssize_t i = 0; i < PySequence_Fast_GET_SIZE(o); ++i) {
        PyObject* each = PySequence_Fast_GET_ITEM(o, i);
        int64_t v;
        if (PyBool_Check(each) || !int_from(each, v, ErrorKind::Type)) mismatch(op, p, o);
        out.int_list.push_back(v);
      }
      a.int_list = &out.int_list;
      return;
    case ArgType::DType:
      if (!dtype_from(o, a.dtype)) mismatch(op, p, o);
      return;
    case ArgType::Device:
      a.device = device_from(o);
      return;
    case ArgType::Text:
      a.text = PyUnicode_Check(o) ? PyUnicode_AsUTF8(o) : nullptr;
      if (!a.text) {
        PyErr_Clear();  // half of a surrogate pair
        mismatch(op, p, o);
      }
      return;
    case ArgType::IntLists:
      if (!int_lists_from(o, out.int_lists)) mismatch(op, p, o);
      a.int_lists = &out.int_lists;
      return;
    case ArgType::Tensors:
    case ArgType::VarTensors:
    case ArgType::OptTensors:
      if (!tensors_from(o, out.list, p.type == ArgType::OptTensors)) mismatch(op, p, o);
      a.tensors = &out.list;
      return;
    case ArgType::Generator:
      if (!py::isinstance<Generator>(o)) mismatch(op, p, o);
      a.generator = py::cast<Generator*>(py::handle(o));
      return;
  }
}

// NumPy's names for two common parameters, as PyTorch takes them.
std::string_view canonical(std::string_view name) {
  if (name == "axis") return "dim";
  if (name == "keepdims") return "keepdim";
  return name;
}

// Keywords of functions that make tensors which ask for what every tensor here is: strided, dense
// in row-major order, in memory that is not pinned.
bool asks_for_the_usual(const Op& op, std::string_view name, PyObject* value) {
  const bool makes_tensors = !op.params.empty() && op.params.back().name == "requires_grad";
  if (!makes_tensors) return false;
  if (name == "pin_memory") {
    if (value == Py_None || value == Py_False) return true;
    fail(op.name, ": pin_memory=True: there is no pinned memory in this build");
  }
  if (name != "layout" && name != "memory_format") return false;
  if (value == Py_None) return true;
  const std::string asked = py::cast<std::string>(py::repr(py::handle(value)));
  for (const char* usual :
       {"wengert.strided", "wengert.contiguous_format", "wengert.preserve_format"}) {
    if (asked == usual) return true;
  }
  fail(ErrorKind::Type, op.name, "(): argument '", name, "' must be wengert.",
       name == "layout" ? "strided" : "contiguous_format or wengert.preserve_format", ", not ",
       asked);
}

void parse(const Op& op, PyObject* self, PyObject* const* args, Py_ssize_t nargs, PyObject* kwnames,
           Parsed& out) {
  const auto num_params = static_cast<Py_ssize_t>(op.params.size());
  PyObject* given[kMaxParams] = {};
  Py_ssize_t at = 0;
  if (self) given[at++] = self;
  py::object gathered;  // ints given one by one
  for (Py_ssize_t i = 0; i < nargs; ++i, ++at) {
    if (at >= num_params || op.params[static_cast<size_t>(at)].keyword_only) {
      throw Mismatch{text(op.name, "() takes ", op.signature, " but ", nargs + (self ? 1 : 0),
                          " positional arguments were given")};
    }
    const Param& p = op.params[static_cast<size_t>(at)];
    const bool run = (p.type == ArgType::VarInts || p.type == ArgType::VarTensors) &&
                     !PyTuple_Check(args[i]) && !PyList_Check(args[i]);
    if (!run) {
      given[at] = args[i];
      continue;
    }
    gathered = py::reinterpret_steal<py::object>(PyTuple_New(nargs - i));
    for (Py_ssize_t k = i; k < nargs; ++k) {
      PyTuple_SET_ITEM(gathered.ptr(), k - i, Py_NewRef(args[k]));
    }
    given[at] = gathered.ptr();
    break;
  }
  const Py_ssize_t num_kw = kwnames ? PyTuple_GET_SIZE(kwnames) : 0;
  for (Py_ssize_t k = 0; k < num_kw; ++k) {
    const char* utf8 = PyUnicode_AsUTF8(PyTuple_GET_ITEM(kwnames, k));
    if (!utf8) PyErr_Clear();  // half of a surrogate pair: no name of ours
    const std::string_view name = canonical(utf8 ? utf8 : "?");
    Py_ssize_t found = 0;
    while (found < num_params && op.params[static_cast<size_t>(found)].name != name) ++found;
    if (found == num_params && name == "out" && (op.where & (kFunction | kLinalg))) {
      out.out = args[nargs + k] == Py_None ? nullptr : args[nargs + k];
      continue;
    }
    if (found == num_params && asks_for_the_usual(op, name, args[nargs + k])) continue;
    if (found == num_params) {
      throw Mismatch{text(op.name, "() got an unexpected keyword argument '", name, "'; it takes ",
                          op.signature)};
    }
    if (given[found])
      throw Mismatch{text(op.name, "() got multiple values for argument '", name, "'")};
    given[found] = args[nargs + k];
  }
  const Tensor* peer = nullptr;
  for (Py_ssize_t i = 0; i < num_params && !peer; ++i) {
    if (given[i] && is_tensor(given[i])) peer = &tensor_of(given[i]);
  }
  for (Py_ssize_t i = 0; i < num_params; ++i) {
    const Param& p = op.params[static_cast<size_t>(i)];
    if (given[i]) {
      parse_one(op, p, given[i], peer, out, out.arg[i]);
    } else if (p.has_default) {
      out.arg[i] = p.default_value;
    } else if (p.type == ArgType::VarInts) {
      out.arg[i].given = true;  // no sizes: a 0-dim tensor
      out.arg[i].ints = &out.dims[out.num_dims++];
    } else if (p.type == ArgType::VarTensors) {
      out.arg[i].given = true;
      out.arg[i].tensors = &out.list;
    } else {
      throw Mismatch{
          text(op.name, "() missing required argument '", p.name, "'; it takes ", op.signature)};
    }
  }
}

// A tuple with names, as PyTorch's torch.return_types.
PyTypeObject* result_type_of(const Op& op) {
  static std::unordered_map<const Op*, PyTypeObject*> types;
  PyTypeObject*& type = types[&op];
  if (type) return type;
  std::vector<PyStructSequence_Field> fields;
  for (const std::string& name : op.outputs) fields.push_back({name.c_str(), nullptr});
  fields.push_back({nullptr, nullptr});
  static std::vector<std::string> names;
  names.reserve(64);
  PyStructSequence_Desc desc{names.emplace_back("wengert.return_types." + op.name).c_str(), nullptr,
                             fields.data(), static_cast<int>(op.outputs.size())};
  type = PyStructSequence_NewType(&desc);
  if (!type) rethrow_python();
  return type;
}

PyObject* wrap_all(const Op& op, const std::vector<Tensor>& results) {
  const bool named = !op.outputs.empty();
  PyObject* out = named ? PyStructSequence_New(result_type_of(op))
                        : PyTuple_New(static_cast<Py_ssize_t>(results.size()));
  if (!out) rethrow_python();
  for (size_t i = 0; i < results.size(); ++i) {
    const auto at = static_cast<Py_ssize_t>(i);
    if (named) {
      PyStructSequence_SetItem(out, at, wrap(results[i]));
    } else {
      PyTuple_SET_ITEM(out, at, wrap(results[i]));
    }
  }
  return out;
}

// Writes a result where the caller wants it, as PyTorch's out=: another size replaces the memory.
void write_out(const Op& op, PyObject* to, const Tensor& result) {
  if (!is_tensor(to)) {
    fail(ErrorKind::Type, op.name, "(): argument 'out' must be Tensor, not ", Py_TYPE(to)->tp_name);
  }
  const Tensor& out = tensor_of(to);
  check_castable(op.name.c_str(), result.dtype(), out.dtype());
  if (grad_enabled() && (requires_grad(result) || requires_grad(out))) {
    fail(op.name,
         ": functions with out=... don't support automatic differentiation, but one of the "
         "arguments requires grad");
  }
  if (!(out.sizes() == result.sizes())) {
    if (out.numel() != 0 &&
        PyErr_WarnEx(
            PyExc_UserWarning,
            text(op.name,
                 ": an output with one or more elements was resized since it had "
                 "shape ",
                 out.sizes(), ", which does not match the required output shape ", result.sizes())
                .c_str(),
            1) < 0) {
      rethrow_python();
    }
    const Tensor fresh = Tensor::empty(result.sizes(), out.dtype(), out.device());
    out->storage = fresh->storage;
    out->data = fresh->data;
    out->sizes = fresh->sizes;
    out->strides = fresh->strides;
    out->numel = fresh->numel;
    out->contiguous = true;
    out->base = nullptr;
  }
  check_inplace(op.name.c_str(), out, false);
  ops::copy_into(out, result);
  out.bump_version();
}

PyObject* invoke_into(const Op& op, const Arg* args, PyObject* out) {
  if (op.call) {
    write_out(op, out, op.call(args));
  } else {
    const std::vector<Tensor> results = op.call_many(args);
    if (!PyTuple_Check(out) || PyTuple_GET_SIZE(out) != static_cast<Py_ssize_t>(results.size())) {
      fail(ErrorKind::Type, op.name, "(): argument 'out' must be a tuple of ", results.size(),
           " Tensors, not ", Py_TYPE(out)->tp_name);
    }
    for (size_t i = 0; i < results.size(); ++i) {
      write_out(op, PyTuple_GET_ITEM(out, static_cast<Py_ssize_t>(i)), results[i]);
    }
  }
  return Py_NewRef(out);
}

PyObject* invoke(const Op& op, bool inplace, const Arg* args) {
  if (inplace) return wrap(op.inplace(args));
  if (op.call) return wrap(op.call(args));
  const std::vector<Tensor> results = op.call_many(args);
  return op.bare && op.bare(args) ? wrap(results[0]) : wrap_all(op, results);
}

}  // namespace

PyObject* call_op(const std::vector<const Op*>& overloads, bool inplace, PyObject* self,
                  PyObject* const* args, Py_ssize_t nargs, PyObject* kwnames) {
  return guarded([&]() -> PyObject* {
    const Op& first = *overloads[0];
    if (!kwnames && !inplace) {
      // Past the parser: one or two tensors and nothing else.
      PyObject* a = self ? self : nargs > 0 ? args[0] : nullptr;
      const Py_ssize_t rest = nargs - (self ? 0 : 1);
      if (first.unary && rest == 0 && is_tensor(a)) return wrap(first.unary(tensor_of(a)));
      if (first.binary && rest == 1 && is_tensor(a) && is_tensor(args[nargs - 1])) {
        return wrap(first.binary(tensor_of(a), tensor_of(args[nargs - 1])));
      }
    }
    std::string why;
    for (const Op* op : overloads) {
      try {
        Parsed parsed;
        parse(*op, self, args, nargs, kwnames, parsed);
        if (parsed.out) return invoke_into(*op, parsed.arg, parsed.out);
        return invoke(*op, inplace, parsed.arg);
      } catch (const Mismatch& m) {
        why += (why.empty() ? "" : "; or ") + m.why;
      }
    }
    fail(ErrorKind::Type, why);
  });
}

// --- trampolines -------------------------------------------------------------------------------

namespace {

constexpr size_t kMaxMethods = 512;

struct Method {
  std::vector<const Op*> overloads;
  bool inplace = false;
  std::string name, doc;
};
std::vector<Method>& methods() {
  static std::vector<Method> all;
  return all;
}

// CPython gives a method no data of its own, so each place in the list has a function.
template <size_t I>
PyObject* method_at(PyObject* self, PyObject* const* args, Py_ssize_t nargs, PyObject* kwnames) {
  const Method& m = methods()[I];
  return call_op(m.overloads, m.inplace, self, args, nargs, kwnames);
}
using FastMethod = PyObject* (*)(PyObject*, PyObject* const*, Py_ssize_t, PyObject*);
// CPython's method tables hold every signature as this one, and say which in their flags.
PyCFunction as_c_function(FastMethod f) {
  return reinterpret_cast<PyCFunction>(reinterpret_cast<void (*)()>(f));
}
template <size_t... I>
constexpr std::array<FastMethod, sizeof...(I)> make_trampolines(std::index_sequence<I...>) {
  return {&method_at<I>...};
}
constexpr auto kTrampolines = make_trampolines(std::make_index_sequence<kMaxMethods>{});

PyObject* function_call(PyObject* self, PyObject* const* args, Py_ssize_t nargs,
                        PyObject* kwnames) {
  return call_op(*reinterpret_cast<Overloads*>(self)->ops, false, nullptr, args, nargs, kwnames);
}

std::string doc_of(const Op& op, const std::string& name, bool method) {
  std::string signature = op.signature;
  if (method) {
    const size_t end = signature.find_first_of(",)");
    signature = "($self" + signature.substr(end);
  }
  return name + signature + "\n--\n\n" + op.doc;
}

// The rows by name, in the order of the table.
std::vector<std::vector<const Op*>> by_name() {
  std::vector<std::vector<const Op*>> out;
  for (const Op& op : op_table()) {
    bool found = false;
    for (auto& group : out) {
      if (group[0]->name == op.name) {
        group.push_back(&op);
        found = true;
      }
    }
    if (!found) out.push_back({&op});
  }
  return out;
}

}  // namespace

PyMethodDef* table_methods() {
  auto& all = methods();
  for (const auto& group : by_name()) {
    const Op& op = *group[0];
    if (!(op.where & kMethod)) continue;
    all.push_back({group, false, op.name, doc_of(op, op.name, true)});
    if (op.has_inplace()) {
      all.push_back({group, true, op.name + "_", doc_of(op, op.name + "_", true)});
    }
  }
  if (all.size() > kMaxMethods) fail("op table: more methods than trampolines; raise kMaxMethods");
  static std::vector<PyMethodDef> defs;
  for (size_t i = 0; i < all.size(); ++i) {
    defs.push_back({all[i].name.c_str(), as_c_function(kTrampolines[i]),
                    METH_FASTCALL | METH_KEYWORDS, all[i].doc.c_str()});
  }
  defs.push_back({});
  return defs.data();
}

void register_functions(py::module_& m) {
  static PyType_Slot slots[] = {{0, nullptr}};
  static PyType_Spec spec{"wengert._core.Overloads", sizeof(Overloads), 0,
                          Py_TPFLAGS_DEFAULT | Py_TPFLAGS_DISALLOW_INSTANTIATION, slots};
  auto* type = reinterpret_cast<PyTypeObject*>(PyType_FromSpec(&spec));
  if (!type) rethrow_python();
  static std::vector<PyMethodDef> defs;
  static std::vector<std::string> docs;
  const auto groups = by_name();
  defs.reserve(groups.size());
  docs.reserve(groups.size());
  py::module_ functional = m.def_submodule("functional", "What wg.nn.functional offers.");
  py::module_ linalg = m.def_submodule("linalg", "What wg.linalg offers.");
  py::list names, functional_names, linalg_names;
  for (const auto& group : groups) {
    const Op& op = *group[0];
    if (!(op.where & ~kMethod)) continue;
    // linalg_inv is known as wg.linalg.inv
    const char* name = op.name.c_str() + (op.where & kLinalg ? std::strlen("linalg_") : 0);
    docs.push_back(doc_of(op, name, false));
    defs.push_back(
        {name, as_c_function(&function_call), METH_FASTCALL | METH_KEYWORDS, docs.back().c_str()});
    auto* holder = reinterpret_cast<Overloads*>(type->tp_alloc(type, 0));
    holder->ops = new std::vector<const Op*>(group);  // lives as long as the module
    const auto fn = py::reinterpret_steal<py::object>(
        PyCFunction_NewEx(&defs.back(), reinterpret_cast<PyObject*>(holder), nullptr));
    if (!fn) rethrow_python();
    m.add_object(op.name.c_str(), fn);
    if (op.where & kFunction) names.append(op.name);
    if (op.where & kFunctional) {
      functional.add_object(op.name.c_str(), fn);
      functional_names.append(op.name);
    }
    if (op.where & kLinalg) {
      linalg.add_object(name, fn);
      linalg_names.append(name);
    }
  }
  m.attr("functions") = names;
  functional.attr("__all__") = functional_names;
  linalg.attr("LinAlgError") = py::handle(linalg_error());
  linalg_names.append("LinAlgError");
  linalg.attr("__all__") = linalg_names;
  // Name, signatures, where it is seen (1 method, 2 function, 4 functional, 8 internal, 16 linalg),
  // in-place form, docstring: what stubs, documentation and tests iterate over.
  m.def(
      "op_rows",
      [] {
        py::list rows;
        for (const auto& group : by_name()) {
          py::list signatures;
          for (const Op* op : group) signatures.append(py::make_tuple(op->signature, op->outputs));
          const Op& op = *group[0];
          rows.append(py::make_tuple(op.name, signatures, op.where, op.has_inplace(), op.doc));
        }
        return rows;
      },
      "The table of operations.");
  m.def(
      "op_family", [](const std::string& name) { return find_op(name)->family; }, py::arg("name"),
      "The family of an operation: its page in the reference.");
  m.def(
      "op_params",
      [](const std::string& name) {
        py::list overloads;
        for (const Op& op : op_table()) {
          if (op.name != name) continue;
          py::list params;
          for (const Param& p : op.params) {
            params.append(py::make_tuple(p.name, static_cast<int>(p.type), p.optional,
                                         p.has_default, p.keyword_only, p.default_text));
          }
          overloads.append(py::make_tuple(params, op.outputs, op.call_many != nullptr));
        }
        return overloads;
      },
      py::arg("name"), "Parameters and named results of each overload of an operation.");
}

}  // namespace wengert::bindings
