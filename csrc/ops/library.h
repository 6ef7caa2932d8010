// Operations of users, from shared libraries of their own: rows like those of the table, in a
// namespace. A library defines a `wengert_extension` (extension/extension.h), which fills a Library
// when it is loaded; either all of that is added, or nothing.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "core/version.h"
#include "kernels/added.h"
#include "ops/op_table.h"

namespace wengert {

class Library {
 public:
  explicit Library(std::string_view name_space);

  // An operation that is a C++ function, whose parameters are those of the signature, in order.
  template <auto Fn>
  void add(std::string_view signature, std::string_view doc) {
    add_row(row<Fn>(qualified(signature), kFunction, doc));
  }
  // An elementwise operation that is a functor: its operands are tensors, and Ps the types of its
  // parameters. Kernels, in-place form and derivatives follow from the functor.
  template <class F, class... Ps>
  void add(std::string_view signature, std::string_view doc);  // extension/extension.h

  // A kernel that launch() will run, by the id that is returned. It reads buffers from 1 on and
  // writes buffer 0, and it is given float32 and float64, into which operations convert others; so
  // everything that sees or repeats launches serves it. `name` is shown in traces.
  KernelId add_kernel(std::string_view name, KernelFn float32, KernelFn float64);

  // The rows so far, which are now the caller's.
  std::vector<std::unique_ptr<Op>> take() { return std::move(rows_); }

 private:
  std::string qualified(std::string_view signature) const;
  void add_row(Op op);

  std::string name_space_;
  std::vector<std::unique_ptr<Op>> rows_;
};

// What a library exports under the name `wengert_extension`. Every version of wengert finds the
// stamp, which says what the library was built for, at the same place.
struct Extension {
  constexpr Extension(const char* name_space, void (*load)(Library&));

  const char* stamp;
  const char* isa;  // the instruction set of its loops
  const char* name_space;
  void (*load)(Library&);
};

// Loads a library, and returns the rows that it has added: none, if it had been loaded before.
// Throws if there is no such library, if it was built for another version of wengert or for another
// processor, if it adds what is not right or already there, or if `check` throws for one of its
// rows.
std::vector<const Op*> load_library(const std::string& path, void (*check)(const Op&));

}  // namespace wengert
