// The arguments of a call from Python, parsed by a row's signature.
#pragma once

#include <string>
#include <vector>

#include "bindings/py_tensor.h"

namespace wengert::bindings {

constexpr int kMaxParams = 10;
constexpr int kMaxOwned = 3;
constexpr int kMaxDimLists = 4;

// The parsed arguments and what they point to.
struct Parsed {
  Arg arg[kMaxParams];
  Tensor owned[kMaxOwned];
  int num_owned = 0;
  Dims dims[kMaxDimLists];
  int num_dims = 0;
  std::vector<Tensor> list;
  std::vector<int64_t> int_list;
  std::vector<Dims> int_lists;
  PyObject* out = nullptr;  // where to write the results, if asked for
  bool pinned = false;      // whether they are to be in pinned memory
  bool layered = false;     // whether a tensor among them is a batch or a dual number
};

// Why an overload does not take the arguments; thrown as TypeError when none does.
struct Mismatch {
  std::string why;
};

// Throws unless `Parsed` has room for all arguments of a row.
void check_room(const Op& op);

// Fills `out`, which must outlive the call. `self`, or null, comes before `args`, which are as
// CPython's vectorcall lays them out. Throws Mismatch.
void parse(const Op& op, PyObject* self, PyObject* const* args, Py_ssize_t nargs, PyObject* kwnames,
           Parsed& out);

}  // namespace wengert::bindings
