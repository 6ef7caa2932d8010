// The tape as Python reads it, and where in a Python program its lines come from.
#include "ops/trace.h"

#include <pybind11/stl.h>

#include <array>
#include <unordered_map>
#include <vector>

#include "bindings/frames.h"
#include "bindings/py_tensor.h"
#include "core/error.h"
#include "tape/source.h"

namespace wengert::bindings {
namespace {

// --- sources -----------------------------------------------------------------------------------

// A code object by number. Numbers stand in nodes for longer than frames live, so a numbered code
// object is kept for good; code beyond kMaxCodes, of a program that makes it without end, is not
// numbered.
constexpr size_t kMaxCodes = 1 << 14;

struct Code {
  uint32_t number = 0;
  bool ours = false;  // of this package, where a user has nothing to look for
};

std::vector<PyCodeObject*>& codes() {
  static auto* all = new std::vector<PyCodeObject*>{nullptr};
  return *all;
}

bool is_ours(PyObject* globals) {
  PyObject* name = PyDict_GetItemString(globals, "__name__");
  if (!name || !PyUnicode_Check(name)) return false;
  const auto text = py::reinterpret_borrow<py::str>(name).cast<std::string>();
  return text == "wengert" || text.starts_with("wengert.");
}

__attribute__((noinline)) Code number_code(PyCodeObject* code, PyObject* globals) {
  static auto* numbered = new std::unordered_map<PyCodeObject*, Code>;
  const auto it = numbered->find(code);
  if (it != numbered->end()) return it->second;
  if (codes().size() == kMaxCodes) return {};
  const Code found{static_cast<uint32_t>(codes().size()), is_ours(globals)};
  codes().push_back(reinterpret_cast<PyCodeObject*>(Py_NewRef(code)));
  numbered->insert({code, found});
  return found;
}

Code code_of(PyCodeObject* code, PyObject* globals) {
  struct Slot {
    PyCodeObject* code;
    Code found;
  };
  static std::array<Slot, 64> cache;  // numbered code stays alive, so an address means one code
  Slot& slot = cache[reinterpret_cast<uintptr_t>(code) / 64 % cache.size()];
  if (slot.code == code) [[likely]]
    return slot.found;
  const Code found = number_code(code, globals);
  if (found.number) slot = {code, found};
  return found;
}

// The innermost frame that is not of this package, if there is one.
Source here() {
  WENGERT_DCHECK(PyGILState_Check());
  Source found;
  wengert_walk_frames(
      [](void* result, PyCodeObject* code, PyObject* globals, int at) {
        const Code c = code_of(code, globals);
        *static_cast<Source*>(result) = {c.number, static_cast<uint32_t>(at)};
        return c.ours ? 0 : 1;
      },
      &found);
  return found;
}

// File, line and function; None where unknown.
py::object place(const Source& s) {
  if (!s.code) return py::none();
  PyCodeObject* code = codes()[s.code];
  const py::handle object(reinterpret_cast<PyObject*>(code));
  const int line = PyCode_Addr2Line(code, static_cast<int>(s.at));
  const char* name = py::hasattr(object, "co_qualname") ? "co_qualname" : "co_name";
  return py::make_tuple(object.attr("co_filename"), line, object.attr(name));
}

std::string describe_place(const Source& s) {
  const py::gil_scoped_acquire locked;
  const py::object at = place(s);
  if (at.is_none()) return {};
  const auto t = at.cast<py::tuple>();
  return text(t[0].cast<std::string>(), ":", t[1].cast<int>(), " in ", t[2].cast<std::string>());
}

// --- the trace ---------------------------------------------------------------------------------

py::tuple operand(const Trace::Operand& o) {
  switch (o.kind) {
    case Trace::Operand::kEntry:
      return py::make_tuple("entry", o.entry);
    case Trace::Operand::kNumber:
      return py::make_tuple("number", o.number);
    case Trace::Operand::kShape:
      return py::make_tuple("shape", py::reinterpret_steal<py::object>(wrap_size(o.sizes)));
    default:
      return py::make_tuple("unknown", py::none());
  }
}

// What does not change once it is recorded.
py::dict describe_entry(Trace& t, size_t at) {
  const Ref<Node> node = t.node(at);
  const OutputMeta& meta = node->outputs()[t.slot(at)];
  py::list operands;
  for (const Trace::Operand& o : t.operands(at)) operands.append(operand(o));
  py::dict out;
  out["operation"] = node->name();
  out["result"] = node->num_outputs == 1 ? py::object(py::none()) : py::int_(t.slot(at));
  out["shape"] = py::reinterpret_steal<py::object>(wrap_size(meta.sizes));
  out["dtype"] = py::reinterpret_steal<py::object>(wrap(meta.dtype));
  out["operands"] = operands;
  out["parameters"] = t.parameters(at);
  out["elementwise"] = t.elementwise(at);
  out["source"] = node->leaf ? py::object(py::none()) : place(node->source);
  return out;
}

Tensor plain(const Tensor& t) {
  return t.defined() ? ops::detach(t) : t;
}

}  // namespace

void register_trace(py::module_& m) {
  set_source_hooks({&here, &describe_place});
  m.def(
      "_note_places", [](bool on) { set_source_hooks({on ? &here : nullptr, &describe_place}); },
      py::arg("on"),
      "Whether nodes get the line that records them: for a benchmark of what that costs.");
  py::class_<Trace, std::shared_ptr<Trace>>(m, "Trace", "The tape, to be read.")
      .def(py::init(&Trace::make))
      .def_static("of", &Trace::of, py::arg("result"), py::arg("known"),
                  "Of all that led to a result.")
      .def("start", &Trace::start, py::arg("gauge") = py::none(),
           "Lists what this thread records from now on.")
      .def("stop", &Trace::stop, "The end of that.")
      .def("learn", &Trace::learn, py::arg("known"), "Takes the values of lines and leaves.")
      .def("walk", &Trace::walk, py::arg("result"),
           "A backward that leaves gradients of leaves as they are.")
      .def("__len__", &Trace::size)
      .def("lines", &Trace::lines, "Entries that are lines, in the order recorded.")
      .def("starts", &Trace::starts, "Entries that lines start from.")
      .def("describe", &describe_entry, py::arg("entry"),
           "What does not change once it is recorded.")
      .def(
          "sources",
          [](const Trace& t, size_t at) {
            std::vector<size_t> out;
            for (const Trace::Operand& o : t.operands(at)) {
              if (o.kind == Trace::Operand::kEntry) out.push_back(o.entry);
            }
            return out;
          },
          py::arg("line"), "The entries that a line reads.")
      .def("find", &Trace::find, py::arg("tensor"), "The entry of a tensor, or -1.")
      .def(
          "value", [](Trace& t, size_t at) { return plain(t.value(at)); }, py::arg("entry"))
      .def(
          "adjoint", [](Trace& t, size_t at) { return plain(t.adjoint(at)); }, py::arg("entry"))
      .def("local_derivative", &Trace::local_derivative, py::arg("line"), py::arg("operand"))
      .def("times_computed", &Trace::times_computed, py::arg("entry"))
      .def("times_used", &Trace::times_used, py::arg("entry"));
}

}  // namespace wengert::bindings
