// Optimizer steps: a group of parameters with their states, updated by one launch.
#pragma once

#include <vector>

#include "kernels/kernels.h"
#include "tape/node.h"

namespace wengert {

class OptimizerGroup {
 public:
  OptimizerGroup(OptimizerRule rule, std::vector<Tensor> params);

  // One step of every parameter that has a gradient. `settings` is the launch without its items.
  // All checks come before the first write. Returns whether states were made that were not there.
  bool step(const OptimizerLaunch& settings);

  size_t size() const { return params_.size(); }
  const Tensor& param(size_t i) const { return params_[i]; }
  // States of a parameter: undefined before its first step, and where the rule needs none. The
  // number of steps is a float32 tensor, as PyTorch keeps it.
  struct State {
    Tensor steps;
    Tensor tensor[kMaxOptimizerStates];
  };
  State& state(size_t i) { return states_[i]; }
  OptimizerRule rule() const { return rule_; }

 private:
  OptimizerRule rule_;
  std::vector<Tensor> params_;
  std::vector<State> states_;
  std::vector<OptimizerItem> items_;  // reused from step to step
};

}  // namespace wengert
