#include "ops/autocast.h"

namespace wengert {

AutocastState& autocast_state() {
  static constinit thread_local AutocastState state;
  return state;
}

namespace ops {

Tensor autocast_operand(const Tensor& t, Precision p) {
  if (!t.defined() || !is_floating(t.dtype()) || t.dtype() == DType::Float64) return t;
  const auto device = static_cast<size_t>(t.device());
  if (!autocast_state().on_for[device]) return t;
  return to(t, p == Precision::Lower ? autocast_state().dtype[device] : DType::Float32);
}

}  // namespace ops
}  // namespace wengert
