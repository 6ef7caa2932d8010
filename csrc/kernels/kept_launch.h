// A launch that outlives its call: it owns what its pointer leads to.
#pragma once

#include <variant>
#include <vector>

#include "kernels/launch.h"

namespace wengert {

class KeptLaunch {
 public:
  explicit KeptLaunch(const Launch& l);
  KeptLaunch(const KeptLaunch&) = delete;
  KeptLaunch& operator=(const KeptLaunch&) = delete;

  Launch launch;
  // Of an optimizer's step: its settings and items; else null.
  OptimizerLaunch* optimizer() { return std::get_if<OptimizerLaunch>(&params_); }
  std::vector<OptimizerItem>& items() { return items_; }

  // Calls f(address of the pointer, where it leads, written) for every pointer to memory beside the
  // buffers.
  template <class F>
  void each_pointer(F&& f) {
    const auto visit = [&](auto& pointer, bool written) {
      if (pointer) f(static_cast<void*>(&pointer), static_cast<const void*>(pointer), written);
    };
    for (OptimizerItem& it : items_) {
      visit(it.param, true);
      visit(it.grad, false);
      for (void*& s : it.state) visit(s, true);
      for (float*& p : it.peaks) visit(p, true);
      visit(it.steps, true);
    }
    for (ListedTensor& t : list_) visit(t.data, launch.kernel != id(Kernel::ManyNorm));
    if (OptimizerLaunch* o = optimizer()) {
      visit(o->norm, false);
      visit(o->found_inf, false);
    }
  }

 private:
  std::variant<std::monostate, GemmParams, ConvParams, PoolParams, OptimizerLaunch, TensorList>
      params_;
  std::vector<OptimizerItem> items_;
  std::vector<ListedTensor> list_;
};

}  // namespace wengert
