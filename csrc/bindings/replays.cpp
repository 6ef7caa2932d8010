// The type below wengert.capture's functions: a call with tensors alone, for which there is a
// program, is replayed without any Python code.
#include "bindings/replays.h"

#include <pybind11/stl.h>

#include <array>
#include <new>
#include <tuple>

#include "bindings/guards.h"
#include "bindings/py_tensor.h"
#include "core/watch.h"
#include "ops/autocast.h"
#include "tape/anomaly.h"

namespace wengert::bindings {

ThreadModes thread_modes() {
  const AutocastState& s = autocast_state();
  int autocast = -1;
  for (int d = 0; s.on && d < kNumDevices; ++d) {
    if (s.on_for[d]) autocast += (static_cast<int>(s.dtype[d]) + 1) << (8 * d);
  }
  return {grad_mode(),
          inference_mode(),
          autocast,
          static_cast<int>(default_dtype()),
          static_cast<int>(default_device()),
          checks_forward()};
}

std::vector<Tensor> results_of(Program& p, std::span<const Tensor> arguments) {
  if (!p.is_long()) return p.replay(arguments);
  const py::gil_scoped_release released;
  return p.replay(arguments);
}

namespace {

constexpr Py_ssize_t kMostArguments = 8;
PyObject* call_name = nullptr;

// A program that a call may be replayed by, and what keeps it.
struct Ready {
  py::object owner;
  py::object finish;  // makes the results of the program's; null where that is the only one
  Program* program;
  Guards* guards;
  ThreadModes modes;
  Py_ssize_t arguments;
};

struct Replays {
  PyObject_HEAD std::vector<Ready> ready;
};

std::vector<Ready>& ready_of(PyObject* self) {
  return reinterpret_cast<Replays*>(self)->ready;
}

PyObject* wrapped(const Ready& r, const std::vector<Tensor>& results) {
  if (!r.finish) return wrap(results[0]);
  return r.finish(py::cast(results)).release().ptr();
}

// Null where no program fits.
PyObject* replayed(std::vector<Ready>& all, PyObject* args) {
  const Py_ssize_t n = PyTuple_GET_SIZE(args);
  if (n > kMostArguments) return nullptr;
  std::array<Tensor, kMostArguments> tensors;
  for (Py_ssize_t i = 0; i < n; ++i) {
    PyObject* const a = PyTuple_GET_ITEM(args, i);
    if (Py_TYPE(a) != tensor_type || any_tensor_of(a)->layer) return nullptr;
    tensors[static_cast<size_t>(i)] = any_tensor_of(a);
  }
  const std::span<const Tensor> given(tensors.data(), static_cast<size_t>(n));
  const ThreadModes modes = thread_modes();
  for (size_t i = 0; i < all.size(); ++i) {
    if (all[i].arguments != n || !(all[i].modes == modes)) continue;
    const Ready r = all[i];  // what runs meanwhile may take it out
    if (!hold(*r.guards) || r.program->refuses(given) || !r.program->read_settings()) continue;
    return wrapped(r, results_of(*r.program, given));
  }
  return nullptr;
}

PyObject* call(PyObject* self, PyObject* args, PyObject* kwargs) {
  return guarded([&]() -> PyObject* {
    const bool plain = (!kwargs || PyDict_GET_SIZE(kwargs) == 0) && !host_watcher();
    if (plain && !ready_of(self).empty()) {
      if (PyObject* const result = replayed(ready_of(self), args)) return result;
    }
    const auto slow = py::reinterpret_steal<py::object>(PyObject_GetAttr(self, call_name));
    return slow ? PyObject_Call(slow.ptr(), args, kwargs) : nullptr;
  });
}

PyObject* set_ready(PyObject* self, PyObject* list) {
  return guarded([&]() -> PyObject* {
    std::vector<Ready> made;
    for (const py::handle item : py::reinterpret_borrow<py::list>(list)) {
      const auto entry = item.cast<py::tuple>();
      const auto modes = entry[1].cast<std::tuple<bool, bool, int, int, int, bool>>();
      Ready r{entry[2],
              entry[3],
              entry[2].attr("program").cast<Program*>(),
              &guards_of(entry[2].attr("guards")),
              std::make_from_tuple<ThreadModes>(modes),
              entry[0].cast<Py_ssize_t>()};
      if (r.finish.is_none()) r.finish = {};
      made.push_back(std::move(r));
    }
    ready_of(self).swap(made);
    return Py_NewRef(Py_None);
  });
}

int traverse(PyObject* self, visitproc visit, void* arg) {
  Py_VISIT(Py_TYPE(self));
  for (const Ready& r : ready_of(self)) {
    Py_VISIT(r.owner.ptr());
    Py_VISIT(r.finish.ptr());
  }
  return 0;
}

int clear(PyObject* self) {
  std::vector<Ready>().swap(ready_of(self));
  return 0;
}

PyObject* make(PyTypeObject* type, PyObject*, PyObject*) {
  PyObject* const self = type->tp_alloc(type, 0);
  if (self) new (&ready_of(self)) std::vector<Ready>;
  return self;
}

void dealloc(PyObject* self) {
  PyObject_GC_UnTrack(self);
  ready_of(self).~vector();
  PyTypeObject* const type = Py_TYPE(self);
  type->tp_free(self);
  Py_DECREF(type);
}

}  // namespace

void register_replays(py::module_& m) {
  call_name = PyUnicode_InternFromString("_call");
  static PyMethodDef methods[] = {
      {"_set_ready", &set_ready, METH_O,
       "Lists programs: arguments, modes, entry, and what makes the results (or None)."},
      {nullptr, nullptr, 0, nullptr}};
  static PyType_Slot slots[] = {
      {Py_tp_new, reinterpret_cast<void*>(&make)},
      {Py_tp_call, reinterpret_cast<void*>(&call)},
      {Py_tp_methods, methods},
      {Py_tp_traverse, reinterpret_cast<void*>(&traverse)},
      {Py_tp_clear, reinterpret_cast<void*>(&clear)},
      {Py_tp_dealloc, reinterpret_cast<void*>(&dealloc)},
      doc_slot("Its call is a replay, or else its `_call`; what captured functions derive from."),
      {0, nullptr}};
  static PyType_Spec spec{"wengert._core.Replays", sizeof(Replays), 0,
                          Py_TPFLAGS_DEFAULT | Py_TPFLAGS_BASETYPE | Py_TPFLAGS_HAVE_GC, slots};
  PyObject* type = PyType_FromSpec(&spec);
  if (!type || !call_name) rethrow_python();
  m.add_object("Replays", py::reinterpret_steal<py::object>(type));
}

}  // namespace wengert::bindings
