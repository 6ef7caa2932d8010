// The argument parser of all rows, driven by their signatures.
#include "bindings/arguments.h"

#include <algorithm>
#include <initializer_list>
#include <string_view>

#include "core/error.h"
#include "ops/random.h"

namespace wengert::bindings {
namespace {

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

bool tensors_from(PyObject* o, std::vector<Tensor>& out, bool& layered, bool or_none = false) {
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
    out.push_back(each == Py_None ? Tensor() : any_tensor_of(each));
    layered = layered || (each != Py_None && out.back()->layer);
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
  return every_item(items.ptr(), [&](PyObject* each) {
    int64_t one;
    Dims d;
    if (int_from(each, one)) {
      d = Dims{one};
    } else if (!dims_from(each, d)) {
      return false;
    }
    out.push_back(d);
    return true;
  });
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
      a.tensor = &any_tensor_of(o);
      out.layered = out.layered || (*a.tensor)->layer;
      return;
    case ArgType::Number:
      if (is_tensor(o) && any_tensor_of(o).numel() == 1) {
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
      if (is_tensor(o) && any_tensor_of(o).numel() == 1) {
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
    case ArgType::IntList: {
      const bool ints = (PyTuple_Check(o) || PyList_Check(o)) && every_item(o, [&](PyObject* each) {
                          int64_t v;
                          if (PyBool_Check(each) || !int_from(each, v, ErrorKind::Type))
                            return false;
                          out.int_list.push_back(v);
                          return true;
                        });
      if (!ints) mismatch(op, p, o);
      a.int_list = &out.int_list;
      return;
    }
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
      if (!tensors_from(o, out.list, out.layered, p.type == ArgType::OptTensors))
        mismatch(op, p, o);
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

// Keywords of functions that make tensors which are no parameters of theirs: for what every tensor
// here is, strided, dense in row-major order; and for pinned memory.
bool is_of_makers(const Op& op, std::string_view name, PyObject* value, bool& pinned) {
  const bool makes_tensors = !op.params.empty() && op.params.back().name == "requires_grad";
  if (!makes_tensors) return false;
  if (name == "pin_memory") {
    pinned = value == Py_True;
    return pinned || value == Py_None || value == Py_False;
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
}  // namespace

void check_room(const Op& op) {
  const auto count = [&](std::initializer_list<ArgType> types) {
    return std::count_if(op.params.begin(), op.params.end(), [&](const Param& p) {
      return std::find(types.begin(), types.end(), p.type) != types.end();
    });
  };
  const bool fits = op.params.size() <= kMaxParams && count({ArgType::Value}) <= kMaxOwned &&
                    count({ArgType::Ints, ArgType::VarInts}) <= kMaxDimLists &&
                    count({ArgType::IntList}) <= 1 && count({ArgType::IntLists}) <= 1 &&
                    count({ArgType::Tensors, ArgType::VarTensors, ArgType::OptTensors}) <= 1;
  if (!fits) fail("op table: no room for the parameters of ", op.name, op.signature);
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
    if (found == num_params && is_of_makers(op, name, args[nargs + k], out.pinned)) continue;
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
    if (given[i] && is_tensor(given[i])) peer = &any_tensor_of(given[i]);
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

}  // namespace wengert::bindings
