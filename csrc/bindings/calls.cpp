// Calls of the op table from Python: the overload that takes the arguments, its results and out=,
// and the trampolines that make every row a function, a method and an in-place method.
#include <pybind11/stl.h>

#include <array>
#include <cstring>
#include <list>
#include <string>
#include <string_view>
#include <unordered_map>
#include <unordered_set>
#include <utility>
#include <vector>

#include "bindings/arguments.h"
#include "bindings/py_tensor.h"
#include "core/error.h"
#include "ops/autocast.h"
#include "transforms/call.h"

namespace wengert::bindings {
namespace {

// A tuple with names, as PyTorch's torch.return_types.
PyTypeObject* result_type_of(const Op& op) {
  static std::unordered_map<const Op*, PyTypeObject*> types;
  PyTypeObject*& type = types[&op];
  if (type) return type;
  std::vector<PyStructSequence_Field> fields;
  for (const std::string& name : op.outputs) fields.push_back({name.c_str(), nullptr});
  fields.push_back({nullptr, nullptr});
  static std::list<std::string> names;  // types keep no copy of theirs before Python 3.11
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

// Whether a result may be written where the caller wants it.
void check_out(const Op& op, PyObject* to, const Tensor& result) {
  if (!is_tensor(to)) {
    fail(ErrorKind::Type, op.name, "(): argument 'out' must be Tensor, not ", Py_TYPE(to)->tp_name);
  }
  const Tensor& out = tensor_of(to);
  if (out.device() != result.device()) devices_differ(result.device(), out.device());
  check_castable(op.name.c_str(), result.dtype(), out.dtype());
  if (grad_enabled() && (requires_grad(result) || requires_grad(out))) {
    fail(op.name,
         ": functions with out=... don't support automatic differentiation, but one of the "
         "arguments requires grad");
  }
  if (out.sizes() == result.sizes()) check_inplace(op.name.c_str(), out, false);
}

// Writes it there, as PyTorch's out=: another size replaces the memory.
void write_out(const Op& op, PyObject* to, const Tensor& result) {
  const Tensor& out = tensor_of(to);
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
  ops::copy_into(out, result);
  note_change("out=", out);
}

PyObject* invoke_into(const Op& op, const Arg* args, PyObject* out, bool layered) {
  if (layered) fail(op.name, ": out= is not supported inside vmap or forward mode");
  if (op.call) {
    const Tensor result = op.call(args);
    check_out(op, out, result);
    write_out(op, out, result);
  } else {
    const std::vector<Tensor> results = op.call_many(args);
    if (!PyTuple_Check(out) || PyTuple_GET_SIZE(out) != static_cast<Py_ssize_t>(results.size())) {
      fail(ErrorKind::Type, op.name, "(): argument 'out' must be a tuple of ", results.size(),
           " Tensors, not ", Py_TYPE(out)->tp_name);
    }
    for (size_t i = 0; i < results.size(); ++i) {
      check_out(op, PyTuple_GET_ITEM(out, static_cast<Py_ssize_t>(i)), results[i]);
    }
    for (size_t i = 0; i < results.size(); ++i) {
      write_out(op, PyTuple_GET_ITEM(out, static_cast<Py_ssize_t>(i)), results[i]);
    }
  }
  return Py_NewRef(out);
}

PyObject* invoke(const Op& op, bool inplace, const Arg* args, bool layered) {
  if (layered || transforms::innermost_batch()) [[unlikely]] {
    const std::vector<Tensor> results =
        transforms::call(op, inplace, transforms::Arguments(op, args));
    const bool one = inplace || op.call || (op.bare && op.bare(args));
    return one ? wrap(results[0]) : wrap_all(op, results);
  }
  if (inplace) return wrap(op.inplace(args));
  if (op.call) return wrap(op.call(args));
  const std::vector<Tensor> results = op.call_many(args);
  return op.bare && op.bare(args) ? wrap(results[0]) : wrap_all(op, results);
}

// What autocast computes in float32 on CUDA devices, where half precision holds little: PyTorch's
// list, but for the losses, which are so on every device.
constexpr std::string_view kWideOnCuda[] = {
    "acos",       "asin",        "cosh",    "cumprod", "cumsum",    "dist",       "erfinv",
    "exp",        "expm1",       "log",     "log10",   "log1p",     "log2",       "log_softmax",
    "layer_norm", "group_norm",  "norm",    "pow",     "prod",      "reciprocal", "rsqrt",
    "sinh",       "softmax",     "softmin", "sum",     "softplus",  "renorm",     "tan",
    "logsumexp",  "linalg_norm", "pdist",   "cdist",   "normalize",
};
bool is_wide_on_cuda(const Op& op) {
  static const std::unordered_set<std::string_view> all(std::begin(kWideOnCuda),
                                                        std::end(kWideOnCuda));
  return all.contains(op.name);
}
void widen(const Op& op, Parsed& parsed, std::vector<Tensor>& held) {
  held.reserve(op.params.size());
  for (size_t i = 0; i < op.params.size(); ++i) {
    const ArgType type = op.params[i].type;
    Arg& a = parsed.arg[i];
    if (!a.given || (type != ArgType::Tensor && type != ArgType::Value)) continue;
    const Tensor& t = *a.tensor;
    if (t->weak || t.device() == Device::CPU || !is_floating(t.dtype())) continue;
    if (!is_narrow(t.dtype())) continue;
    held.push_back(transforms::to(t, DType::Float32));
    a.tensor = &held.back();
  }
}

PyObject* invoke_pinned(const Op& op, const Arg* args) {
  const Tensor made = op.call(args), out = pinned_copy(ops::detach(made));
  if (requires_grad(made)) set_requires_grad(out, true);
  return wrap(out);
}

}  // namespace

PyObject* call_op(const std::vector<const Op*>& overloads, bool inplace, PyObject* self,
                  PyObject* const* args, Py_ssize_t nargs, PyObject* kwnames) {
  return guarded([&]() -> PyObject* {
    const Op& first = *overloads[0];
    const bool wide = device_memory_in_use() && !inplace &&
                      autocast_state().on_for[static_cast<size_t>(Device::CUDA)] &&
                      is_wide_on_cuda(first);
    if (!kwnames && !inplace && !wide) {
      // Past the parser: one or two tensors and nothing else.
      PyObject* a = self ? self : nargs > 0 ? args[0] : nullptr;
      const Py_ssize_t rest = nargs - (self ? 0 : 1);
      if (first.unary && rest == 0 && is_tensor(a)) {
        const Tensor& x = any_tensor_of(a);
        return wrap(x->layer ? transforms::call(first, x) : first.unary(x));
      }
      if (first.binary && rest == 1 && is_tensor(a) && is_tensor(args[nargs - 1])) {
        const Tensor &x = any_tensor_of(a), &y = any_tensor_of(args[nargs - 1]);
        return wrap(x->layer || y->layer ? transforms::call(first, x, y) : first.binary(x, y));
      }
      if (first.ternary && nargs == 3 && is_tensor(args[0]) && is_tensor(args[1]) &&
          (is_tensor(args[2]) || args[2] == Py_None)) {
        static const Tensor none;
        const Tensor &x = any_tensor_of(args[0]), &y = any_tensor_of(args[1]);
        const Tensor& z = args[2] == Py_None ? none : any_tensor_of(args[2]);
        const bool layered = x->layer || y->layer || (z.defined() && z->layer);
        if (!layered) return wrap(first.ternary(x, y, z));
      }
    }
    std::string why;
    for (const Op* op : overloads) {
      try {
        Parsed parsed;
        parse(*op, self, args, nargs, kwnames, parsed);
        std::vector<Tensor> held;
        if (wide && !parsed.out) widen(*op, parsed, held);
        if (parsed.pinned) return invoke_pinned(*op, parsed.arg);
        if (parsed.out) return invoke_into(*op, parsed.arg, parsed.out, parsed.layered);
        return invoke(*op, inplace, parsed.arg, parsed.layered);
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
  const auto* holder = reinterpret_cast<Overloads*>(self);
  return call_op(*holder->ops, holder->inplace, nullptr, args, nargs, kwnames);
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

py::object function_of(const std::vector<const Op*>& overloads, bool inplace,
                       const std::string& name, const py::object& module) {
  static PyType_Slot slots[] = {{0, nullptr}};
  static PyType_Spec spec{"wengert._core.Overloads", sizeof(Overloads), 0,
                          Py_TPFLAGS_DEFAULT | Py_TPFLAGS_DISALLOW_INSTANTIATION, slots};
  static auto* type = reinterpret_cast<PyTypeObject*>(PyType_FromSpec(&spec));
  if (!type) rethrow_python();
  struct Definition {
    std::string name, doc;
    PyMethodDef def;
  };
  static std::list<Definition> all;  // functions keep no copy of theirs
  Definition& made = all.emplace_back(name, doc_of(*overloads[0], name, false));
  made.def = {made.name.c_str(), as_c_function(&function_call), METH_FASTCALL | METH_KEYWORDS,
              made.doc.c_str()};
  const auto holder = py::reinterpret_steal<py::object>(type->tp_alloc(type, 0));
  if (!holder) rethrow_python();
  auto* raw = reinterpret_cast<Overloads*>(holder.ptr());
  raw->ops = new std::vector<const Op*>(overloads);
  raw->inplace = inplace;
  auto fn =
      py::reinterpret_steal<py::object>(PyCFunction_NewEx(&made.def, holder.ptr(), module.ptr()));
  if (!fn) rethrow_python();
  return fn;
}

void register_functions(py::module_& m) {
  py::module_ functional = m.def_submodule("functional", "What wg.nn.functional offers.");
  py::module_ linalg = m.def_submodule("linalg", "What wg.linalg offers.");
  py::list names, functional_names, linalg_names;
  for (const Op& op : op_table()) check_room(op);
  for (const auto& group : by_name()) {
    const Op& op = *group[0];
    if (!(op.where & ~kMethod)) continue;
    // linalg_inv is known as wg.linalg.inv
    const char* name = op.name.c_str() + (op.where & kLinalg ? std::strlen("linalg_") : 0);
    const py::object fn = function_of(group, false, name);
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
