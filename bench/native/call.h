// Calls operations by their names in the table, as the bindings do after parsing.
#pragma once

#include <algorithm>
#include <stdexcept>
#include <string>
#include <vector>

#include "ops/op_table.h"

namespace wengert::bench {

// An operation with its first arguments given and the others at their defaults.
class Call {
 public:
  template <class... As>
  explicit Call(std::string_view name, const As&... given) : op_(find_op(name)) {
    if (!op_) throw std::invalid_argument("no operation is called " + std::string(name));
    for (const Param& p : op_->params) args_.push_back(p.default_value);
    size_t i = 0;
    (set(args_.at(i++), given), ...);
  }
  Tensor operator()() const {
    return op_->call ? op_->call(args_.data()) : op_->call_many(args_.data()).front();
  }

 private:
  static void set(Arg& a, const Tensor& t) { a.given = true, a.tensor = &t; }
  static void set(Arg& a, const Dims& d) { a.given = true, a.ints = &d; }
  static void set(Arg& a, int i) { a.given = true, a.i = i; }
  static void set(Arg& a, double d) { a.given = true, a.d = d; }
  static void set(Arg& a, const std::vector<Tensor>& t) { a.given = true, a.tensors = &t; }

  const Op* op_;
  std::vector<Arg> args_;
};

}  // namespace wengert::bench
