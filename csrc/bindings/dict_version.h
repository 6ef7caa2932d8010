// Whether a dict was changed since it was last looked at, without looking at its entries.
#pragma once

#include <pybind11/pybind11.h>

#include <cstdint>

namespace wengert::bindings {

namespace py = pybind11;

class DictVersion {
 public:
  explicit DictVersion(py::object dict);
  ~DictVersion();
  DictVersion(DictVersion&& other) noexcept;
  DictVersion& operator=(DictVersion&&) = delete;

  // False only if nobody wrote to it since `renew`.
  bool changed() const { return !known_ || now() != seen_; }
  void renew() {
    known_ = readable();
    if (known_) seen_ = now();
  }

 private:
  uint64_t now() const;
  bool readable() const;

  py::object dict_;
  const uint64_t* counter_ = nullptr;  // of writes, where Python tells of them
  uint64_t seen_ = 0;
  bool known_ = false;
};

}  // namespace wengert::bindings
