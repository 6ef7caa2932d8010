#include "ops/anomaly.h"

#include <algorithm>
#include <cmath>
#include <numeric>

#include "ops/flat_launch.h"
#include "ops/ops.h"
#include "tape/anomaly.h"

namespace wengert {
namespace {

// Elements that lie side by side, in whatever order: each once. Repeated ones are left out. Zero if
// there are gaps.
int64_t dense_elements(const Tensor& t) {
  if (t.contiguous()) return t.numel();
  int order[kMaxDims];
  int n = 0;
  for (int d = 0; d < t.dim(); ++d) {
    if (t.size(d) > 1 && t.stride(d) != 0) order[n++] = d;
  }
  std::sort(order, order + n, [&](int a, int b) { return t.stride(a) < t.stride(b); });
  int64_t count = 1;
  for (int k = 0; k < n; ++k) {
    if (t.stride(order[k]) != count) return 0;
    count *= t.size(order[k]);
  }
  return count;
}

struct Counts {
  int64_t nan = 0, inf = 0;
};
Counts count_of(const Tensor& t) {
  const Unwatched quiet;
  const GradMode off(false);
  const Tensor wide = ops::contiguous(ops::to(ops::detach(t), DType::Float64));
  Counts out;
  const auto values = wide.read<double>();
  for (int64_t i = 0; i < wide.numel(); ++i) {
    const double v = values[i];
    out.nan += std::isnan(v);
    out.inf += std::isinf(v);
  }
  return out;
}

std::string described(const Tensor& t) {
  return text(name_of(t.dtype()), " of shape ", t.sizes());
}

// What check_inplace saw last.
struct Change {
  const TensorImpl* self = nullptr;
  bool finite = false;
};
thread_local Change change;

bool was_finite(const Tensor& input, const Tensor& out) {
  if (!input.defined()) return true;
  if (input.impl() == out.impl()) return change.self == input.impl() && change.finite;
  return all_finite(input);
}

__attribute__((noinline, cold)) void report(const char* op, const Tensor* const* inputs, int n,
                                            const Tensor& out, const std::string& place) {
  const Counts c = count_of(out);
  std::string given;
  for (int i = 0; i < n; ++i) {
    if (!inputs[i]->defined()) continue;
    given += given.empty() ? " of " : " and ";
    given +=
        (*inputs[i])->weak ? text("the number ", inputs[i]->to_double()) : described(*inputs[i]);
  }
  fail(op, ": made nan or inf", given, ", which are finite: the result, ", described(out),
       ", holds ", c.nan, " nan and ", c.inf, " inf", place,
       ". This is a check of anomaly detection; detect_anomaly(check_forward=False) leaves it out");
}

void check(const char* op, const Tensor* const* inputs, int n, const Tensor& out,
           const Source* recorded) {
  if (all_finite(out)) return;
  for (int i = 0; i < n; ++i) {
    if (!was_finite(*inputs[i], out)) return;
  }
  report(op, inputs, n, out, at_place(recorded ? *recorded : source_here()));
}

// What only moves elements, or writes a number that the user gave.
bool may_write_infinity(const Node& n) {
  const std::string_view name = n.name();
  return name == "constant_pad_nd" || name == "pad" || name == "index_fill";
}

}  // namespace

bool all_finite(const Tensor& t) {
  if (!is_floating(t.dtype()) || t.numel() == 0) return true;
  const Unwatched quiet;
  Tensor x = t;
  int64_t n = dense_elements(t);
  if (n == 0) {
    const GradMode off(false);
    x = ops::contiguous(ops::detach(t));
    n = x.numel();
  }
  bool finite = true;
  Tensor there;  // the same in another device's memory
  Launch l = flat_launch(Kernel::AllFinite, x.dtype(), x.device(), n, 2);
  if (x.device() == Device::CPU) [[likely]] {
    l.buffer[0].data = &finite;
    l.buffer[0].storage = nullptr;
    l.buffer[0].dtype = DType::Bool;
  } else {
    there = ops::full({}, {true, 1, 1}, DType::Bool, x.device());
    set_buffer(l, 0, there);
  }
  l.buffer[0].stride[0] = 0;
  set_buffer(l, 1, x);
  l.buffer[1].stride[0] = 1;
  launch(l);
  return there.defined() ? there.to_int64() != 0 : finite;
}

void note_before_change(const Tensor& self) {
  change = {self.impl(), all_finite(self)};
}

void check_map(const MapInfo& info, const Tensor* const* inputs, const double* params,
               const Tensor& out) {
  if (walking()) return;
  for (int i = 0; i < info.num_params; ++i) {
    if (!std::isfinite(params[i])) return;
  }
  check(info.name, inputs, info.arity, out, nullptr);
}

void check_forward(Node& node, const Tensor* const* inputs, const Tensor* outputs) {
  // Elementwise operations check themselves, once they are done.
  if (walking() || node.rule->pull == &map_pull || may_write_infinity(node)) return;
  for (int i = 0; i < node.num_outputs; ++i) {
    check(node.name(), inputs, node.num_inputs, outputs[i], &node.source);
  }
}

void check_gradients(const Node& node, const Tensor* grads, int count) {
  for (int i = 0; i < count; ++i) {
    if (!grads[i].defined() || all_finite(grads[i]) || count_of(grads[i]).nan == 0) continue;
    fail("Function '", node.backward_name(), "' returned nan values in its ", i, "th output",
         node.recorded_at());
  }
}

void check_given(const Tensor& grad, size_t index) {
  if (all_finite(grad) || count_of(grad).nan == 0) return;
  fail("backward: the gradient given for output ", index, ", ", described(grad),
       ", holds nan values");
}

}  // namespace wengert
