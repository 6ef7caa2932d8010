#include "ops/optim.h"

#include "kernels/launch.h"
#include "ops/inference.h"
#include "ops/ops.h"

namespace wengert {
namespace {

// Which states a step with these settings keeps.
unsigned states_used(const OptimizerLaunch& s) {
  switch (s.rule) {
    case OptimizerRule::SGD:
      return s.momentum != 0 ? 1 : 0;
    case OptimizerRule::RMSprop:
      return 1u | (s.momentum != 0 ? 2u : 0u) | (s.centered ? 4u : 0u);
    case OptimizerRule::Adagrad:
      return 1;
    case OptimizerRule::Adam:
      return 3u | (s.amsgrad ? 4u : 0u);
  }
  return 0;
}

}  // namespace

OptimizerGroup::OptimizerGroup(OptimizerRule rule, std::vector<Tensor> params)
    : rule_(rule), params_(std::move(params)), states_(params_.size()) {}

bool OptimizerGroup::step(const OptimizerLaunch& settings) {
  const GradMode off(false);
  const unsigned used = states_used(settings);
  items_.clear();
  // Copies of what is not dense, written back at the end.
  std::vector<std::pair<size_t, Tensor>> copies;
  std::vector<Tensor> grads;
  for (size_t i = 0; i < params_.size(); ++i) {
    const Tensor& p = params_[i];
    const Tensor g = grad_of(p);
    if (!g.defined()) continue;
    if (!(g.sizes() == p.sizes()) || g.dtype() != p.dtype()) {
      fail("optimizer step: gradient of shape ", g.sizes(), " and dtype ", name_of(g.dtype()),
           " for a parameter of shape ", p.sizes(), " and dtype ", name_of(p.dtype()));
    }
    check_inference("optimizer step", p);
    if (p.dtype() != params_[0].dtype()) {
      fail("optimizer step: parameters of dtypes ", name_of(params_[0].dtype()), " and ",
           name_of(p.dtype()), " in one group; expected one dtype a group");
    }
  }
  Launch l;
  l.kernel = id(Kernel::OptimizerStep);
  l.device = Device::CPU;
  l.dense = true;
  l.ndim = 1;
  l.nbuffers = 0;
  l.count = 0;
  bool made = false;
  for (size_t i = 0; i < params_.size(); ++i) {
    const Tensor& p = params_[i];
    Tensor g = grad_of(p);
    if (!g.defined()) continue;
    State& s = states_[i];
    OptimizerItem it{};
    if (!s.steps.defined()) {
      s.steps = Tensor::scalar(0.0, DType::Float32);
      made = true;
    }
    it.step = static_cast<int64_t>(*s.steps.data<float>() += 1);
    for (int k = 0; k < kMaxOptimizerStates; ++k) {
      if (!(used >> k & 1)) continue;
      if (!s.tensor[k].defined()) {
        s.tensor[k] = ops::zeros(p.sizes(), p.dtype(), p.device());
        made = true;
      }
      it.state[k] = s.tensor[k].data();
    }
    if (p.contiguous()) {
      it.param = p.data();
    } else {
      copies.emplace_back(i, ops::contiguous(p));
      it.param = copies.back().second.data();
    }
    if (!g.contiguous()) {
      g = ops::contiguous(g);
      grads.push_back(g);
    }
    it.grad = g.data();
    it.count = p.numel();
    l.count += it.count;
    l.dtype = p.dtype();
    items_.push_back(it);
  }
  if (items_.empty()) return false;
  OptimizerLaunch all = settings;
  all.items = items_.data();
  all.num_items = static_cast<int64_t>(items_.size());
  l.size[0] = l.count;
  l.pointer = &all;
  launch(l);
  for (const auto& [i, copy] : copies) ops::copy_into(params_[i], copy);
  const SourceScope from(source_here());
  for (const Tensor& p : params_) {
    if (grad_of(p).defined()) note_change("optimizer step", p);
  }
  return made;
}

}  // namespace wengert
