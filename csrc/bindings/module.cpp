// The module wengert._core. It only calls what registers each part.
#include "bindings/py_tensor.h"

PYBIND11_MODULE(_core, m) {
  using namespace wengert::bindings;
  m.doc() = "The compiled core of wengert.";
  register_scalars(m);
  register_tensor(m);
  register_attributes(m);
  register_random(m);
  register_transforms(m);
  register_forward_call(m);
  register_replays(m);
  register_functions(m);
  register_autograd(m);
  register_optim(m);
  register_config(m);
  register_cuda(m);
  register_gauges(m);
  register_trace(m);
  register_hooks(m);
  register_library(m);
  register_saved_hooks(m);
  register_capture(m);
  register_ensemble(m);
  register_saved(m);
  register_guards(m);
}
