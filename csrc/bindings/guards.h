// What a captured function's Python objects held, compared before each replay.
#pragma once

#include <pybind11/pybind11.h>

namespace wengert::bindings {

class Guards;

Guards& guards_of(pybind11::handle object);
// Whether all is as it was; may run Python code, of objects that are compared with ==.
bool hold(Guards& guards);

}  // namespace wengert::bindings
