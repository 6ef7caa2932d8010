// How other extension modules (ours for array interchange, a user's) reach the C++ tensor in a
// Python Tensor: the capsule wengert._core._c_api.
#pragma once

#include <Python.h>

#include "core/tensor.h"

namespace wengert::bindings {

inline constexpr const char* kCApiName = "wengert._core._c_api";

struct CApi {
  const Tensor* (*unwrap)(PyObject* object);  // borrowed; null if it is no Tensor
  PyObject* (*wrap)(const Tensor& tensor);    // new reference
};

}  // namespace wengert::bindings
