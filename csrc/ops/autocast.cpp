#include "ops/autocast.h"

namespace wengert {

AutocastState& autocast_state() {
  static constinit thread_local AutocastState state;
  return state;
}

namespace ops {

Tensor autocast_operand(const Tensor& t, Precision p) {
  if (!t.defined() || !is_floating(t.dtype()) || t.dtype() == DType::Float64) return t;
  return to(t, p == Precision::Lower ? autocast_state().dtype : DType::Float32);
}

}  // namespace ops
}  // namespace wengert
