// Calls of the operation table with tensors that may be layers. A call takes off the highest level
// among its arguments, does there what a batch or a dual number asks for, by calls of the levels
// below, and puts the level back on the results.
#pragma once

#include <string_view>

#include "ops/op_table.h"
#include "transforms/layers.h"

namespace wengert::transforms {

// The arguments of a call, owned, so that they can be changed.
class Arguments {
 public:
  explicit Arguments(const Op& op);  // the defaults
  Arguments(const Op& op, const Arg* args);
  Arguments(const Arguments& o) : Arguments(*o.op_, o.data()) {}
  Arguments& operator=(const Arguments&) = delete;

  const Arg* data() const { return args_.data(); }
  const Arg& operator[](size_t i) const { return args_[i]; }
  // The place of a parameter; -1 if there is none of the name.
  int find(std::string_view param) const;

  void set(size_t i, const Tensor& t);
  void set(size_t i, const Dims& d);
  void set(size_t i, const std::vector<Tensor>& list);
  void set(size_t i, int64_t v);
  void set(size_t i, bool v);
  void set(size_t i, DType d);
  void set(size_t i, const char* text);
  void clear(size_t i) { args_[i].given = false; }

  // Every tensor among them, in order, those of lists too; none are undefined.
  template <class F>
  void each(const F& f) {
    for (size_t i = 0; i < args_.size(); ++i) {
      if (!args_[i].given) continue;
      if (singles_[i].defined()) f(singles_[i]);
      if (is_list(i)) {
        for (Tensor& t : list_) {
          if (t.defined()) f(t);
        }
      }
    }
  }
  std::vector<Tensor> tensors();
  bool is_list(size_t i) const;
  std::vector<Tensor>& list() { return list_; }
  Tensor& tensor(size_t i) { return singles_[i]; }

 private:
  const Op* op_;
  std::vector<Arg> args_;
  std::vector<Tensor> singles_, list_;
  std::vector<Dims> dims_;
};

// The results of an operation, one or several.
std::vector<Tensor> call(const Op& op, bool inplace, Arguments args);
// The same for the direct ways in.
Tensor call(const Op& op, const Tensor& x, bool inplace = false);
Tensor call(const Op& op, const Tensor& a, const Tensor& b, bool inplace = false);
// Whether a call draws random numbers; then it is a matter of the innermost vmap, also where no
// layer is among its arguments.
bool draws(const Op& op, const Arguments& args);

// For call.cpp: one level, and random numbers at the innermost vmap.
std::vector<Tensor> call_random(const Op& op, bool inplace, Arguments args);
std::vector<Tensor> call_batch(const Op& op, bool inplace, Arguments args, const Level& level);
std::vector<Tensor> call_dual(const Op& op, bool inplace, Arguments args, uint64_t level);
// A tensor that is to be changed becomes a dual number of tangent zero; a view of another makes
// that one, too, and its tangent is a view of the other's.
void make_changeable(const Tensor& self, uint64_t level);

// --- operations on what may be layers ----------------------------------------------------------

Tensor reshape(const Tensor& x, const Dims& sizes);
Tensor expand(const Tensor& x, const Dims& sizes);
Tensor permute(const Tensor& x, const Dims& order);
Tensor transpose(const Tensor& x, int64_t a, int64_t b);
Tensor movedim(const Tensor& x, int from, int to);
Tensor unsqueeze(const Tensor& x, int64_t dim);
Tensor select(const Tensor& x, int64_t dim, int64_t index);
Tensor stack(const std::vector<Tensor>& tensors);
std::vector<Tensor> unbind(const Tensor& x);
Tensor add(const Tensor& a, const Tensor& b);
Tensor mul(const Tensor& a, const Tensor& b);
Tensor matmul(const Tensor& a, const Tensor& b);
Tensor sum(const Tensor& x, const Dims& dims);
Tensor mean(const Tensor& x, const Dims& dims);
Tensor to(const Tensor& x, DType dtype);
Tensor detach(const Tensor& x);
Tensor clone(const Tensor& x);
Tensor zeros_like(const Tensor& x);
Tensor ones_like(const Tensor& x);
void copy_(const Tensor& to, const Tensor& from);

// x with a dimension of size n put in at `dim`, without memory of its own.
Tensor repeated(const Tensor& x, int dim, int64_t n);
// The tensor as a batch that repeats it, at its level's place among the layers.
Tensor insert_batch(const Tensor& x, const Level& level);
// The value below a batch's level: its first dimension is the batch's; a tensor that is not of the
// level is repeated.
Tensor batch_value(const Tensor& t, const Level& level);

}  // namespace wengert::transforms
