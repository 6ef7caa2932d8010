#include "bindings/dict_version.h"

#include <unordered_map>
#include <utility>

namespace wengert::bindings {

#if PY_VERSION_HEX < 0x030C0000

// PEP 509: each dict has a number that is new after each write.
DictVersion::DictVersion(py::object dict) : dict_(std::move(dict)) {}
DictVersion::~DictVersion() = default;
DictVersion::DictVersion(DictVersion&& other) noexcept = default;

uint64_t DictVersion::now() const {
  return reinterpret_cast<const PyDictObject*>(dict_.ptr())->ma_version_tag;
}

bool DictVersion::readable() const {
  return true;
}

#else

namespace {

// Python calls back before each write to a dict that is watched.
struct Watched {
  uint64_t writes = 0;
  int users = 0;
};

std::unordered_map<PyObject*, Watched>& watched() {
  static auto* const all = new std::unordered_map<PyObject*, Watched>;  // guards may outlive main
  return *all;
}

int on_write(PyDict_WatchEvent, PyObject* dict, PyObject*, PyObject*) {
  const auto it = watched().find(dict);
  if (it != watched().end()) ++it->second.writes;
  return 0;
}

// Negative where all that an interpreter has are taken: then entries are compared each time.
int watcher() {
  static const int id = [] {
    const int made = PyDict_AddWatcher(&on_write);
    if (made < 0) PyErr_Clear();
    return made;
  }();
  return id;
}

}  // namespace

DictVersion::DictVersion(py::object dict) : dict_(std::move(dict)) {
  if (watcher() < 0) return;
  Watched& w = watched()[dict_.ptr()];
  if (w.users++ == 0 && PyDict_Watch(watcher(), dict_.ptr()) < 0) {
    PyErr_Clear();
    watched().erase(dict_.ptr());
    return;
  }
  counter_ = &w.writes;
}

DictVersion::~DictVersion() {
  if (!counter_) return;
  const auto it = watched().find(dict_.ptr());
  if (--it->second.users > 0) return;
  watched().erase(it);
  if (PyDict_Unwatch(watcher(), dict_.ptr()) < 0) PyErr_Clear();
}

DictVersion::DictVersion(DictVersion&& other) noexcept
    : dict_(std::move(other.dict_)),
      counter_(std::exchange(other.counter_, nullptr)),
      seen_(other.seen_),
      known_(other.known_) {}

uint64_t DictVersion::now() const {
  return *counter_;
}

// Of values that stand in an object, as its attributes, Python writes without a word.
bool DictVersion::readable() const {
  return counter_ && !reinterpret_cast<const PyDictObject*>(dict_.ptr())->ma_values;
}

#endif

}  // namespace wengert::bindings
