#include "ops/optim.h"

#include <algorithm>
#include <iterator>

#include "kernels/launch.h"
#include "kernels/work.h"
#include "ops/elementwise.h"
#include "ops/flat_launch.h"
#include "ops/inference.h"
#include "ops/ops.h"

namespace wengert {
namespace {

constexpr const char* kRuleNames[] = {"sgd", "rmsprop", "adagrad", "adam"};

}  // namespace

const char* name_of(OptimizerRule rule) {
  return kRuleNames[static_cast<int>(rule)];
}
bool rule_from(std::string_view name, OptimizerRule& out) {
  const auto* const found = std::find(std::begin(kRuleNames), std::end(kRuleNames), name);
  out = static_cast<OptimizerRule>(found - kRuleNames);
  return found != std::end(kRuleNames);
}

void Setting::set(OptimizerLaunch& s, double value) const {
  if (flag) {
    s.*flag = value != 0;
  } else {
    s.*number = value;
  }
}

const std::vector<Setting>& settings_of(OptimizerRule rule) {
  using O = OptimizerLaunch;
  static const Setting lr{"lr", &O::lr}, decay{"weight_decay", &O::weight_decay},
      eps{"eps", &O::eps}, momentum{"momentum", &O::momentum},
      maximize{"maximize", nullptr, &O::maximize};
  static const std::vector<Setting> by_rule[] = {
      {lr,
       decay,
       maximize,
       momentum,
       {"dampening", &O::dampening},
       {"nesterov", nullptr, &O::nesterov}},
      {lr,
       decay,
       maximize,
       eps,
       momentum,
       {"alpha", &O::alpha},
       {"centered", nullptr, &O::centered}},
      {lr, decay, maximize, eps, {"lr_decay", &O::lr_decay}},
      {lr,
       decay,
       maximize,
       eps,
       {"beta1", &O::beta1},
       {"beta2", &O::beta2},
       {"amsgrad", nullptr, &O::amsgrad},
       {"decoupled_weight_decay", nullptr, &O::decoupled}},
  };
  return by_rule[static_cast<int>(rule)];
}

void count_step(const Launch& l, std::vector<OptimizerItem>& items) {
  if (l.device != Device::CPU || static_cast<const OptimizerLaunch*>(l.pointer)->skipped()) return;
  for (OptimizerItem& it : items) it.step = static_cast<int64_t>(*it.steps += 1);
}

namespace {

bool has_states(const OptimizerGroup::State& s, unsigned used) {
  for (unsigned k = 0; k < kMaxOptimizerStates; ++k) {
    if ((used >> k & 1) && !s.tensor[k].defined()) return false;
  }
  return s.steps.defined();
}

// Whether a rule's state is a mean of either sign; the others are of squares.
bool has_signs(OptimizerRule rule, int state) {
  switch (rule) {
    case OptimizerRule::SGD:
      return true;
    case OptimizerRule::RMSprop:
      return state > 0;
    case OptimizerRule::Adagrad:
      return false;
    case OptimizerRule::Adam:
      return state == 0;
  }
  return true;
}

bool can_step(DType d) {
  return d == DType::Float32 || d == DType::Float64 || d == DType::BFloat16;
}
DType computed_as(DType parameter) {
  return parameter == DType::Float64 ? DType::Float64 : DType::Float32;
}
Dims blocks_of(int64_t n) {
  return Dims{(n + kStateBlock - 1) / kStateBlock};
}

Tensor new_state(const Tensor& p, StateFormat format) {
  const DType as = format == StateFormat::Bytes      ? DType::UInt8
                   : format == StateFormat::BFloat16 ? DType::BFloat16
                                                     : computed_as(p.dtype());
  return ops::zeros(p.sizes(), as, p.device());
}

// A number of steps as a device keeps it: the processor's kernels leave it to who launches them,
// others count by themselves, in the room behind it.
Tensor new_steps(double steps, Device device) {
  if (device == Device::CPU) return Tensor::scalar(steps, DType::Float32);
  const Tensor both = Tensor::empty({2}, DType::Float32, Device::CPU);
  both.data<float>()[0] = static_cast<float>(steps);
  both.data<float>()[1] = 0;
  return ops::to_device(both, device).view({}, {});
}

void quantize_launch(Kernel kernel, const Tensor* const (&buffers)[3], int64_t count, bool signs) {
  Launch l = flat_launch(kernel, DType::Float32, buffers[0]->device(), count, 3);
  l.integer[0] = signs;
  for (int k = 0; k < 3; ++k) {
    set_buffer(l, k, *buffers[k]);
    l.buffer[k].stride[0] = 1;
  }
  launch(l);
}

}  // namespace

std::pair<Tensor, Tensor> quantize_blocks(const Tensor& x, bool with_signs) {
  const GradMode off(false);
  const DefaultDevice there(x.device());
  const Tensor dense = ops::contiguous(ops::to(ops::detach(x), DType::Float32));
  const Tensor codes = Tensor::empty(x.sizes(), DType::UInt8, x.device());
  const Tensor peaks = Tensor::empty(blocks_of(x.numel()), DType::Float32, x.device());
  quantize_launch(Kernel::Quantize, {&codes, &peaks, &dense}, x.numel(), with_signs);
  return {codes, peaks};
}

Tensor dequantize_blocks(const Tensor& codes, const Tensor& peaks, bool with_signs) {
  if (codes.dtype() != DType::UInt8 || peaks.dtype() != DType::Float32 ||
      !(peaks.sizes() == blocks_of(codes.numel()))) {
    fail(ErrorKind::Value, "optimizer: states in bytes of shape ", codes.sizes(), " and dtype ",
         name_of(codes.dtype()), " with scales of shape ", peaks.sizes(), " and dtype ",
         name_of(peaks.dtype()), "; expected uint8, and a float32 scale to each ", kStateBlock,
         " elements");
  }
  const GradMode off(false);
  const DefaultDevice there(codes.device());
  const Tensor from = ops::contiguous(codes), scales = ops::contiguous(peaks);
  const Tensor x = Tensor::empty(codes.sizes(), DType::Float32, codes.device());
  quantize_launch(Kernel::Dequantize, {&x, &from, &scales}, codes.numel(), with_signs);
  return x;
}

OptimizerGroup::OptimizerGroup(OptimizerRule rule, std::vector<Tensor> params, StateDType states)
    : rule_(rule), kept_as_(states), params_(std::move(params)), states_(params_.size()) {
  if (states == StateDType::AsParameter) return;
  for (const Tensor& p : params_) {
    if (computed_as(p.dtype()) != DType::Float32 || !can_step(p.dtype())) {
      fail(ErrorKind::Value, "optimizer: state_dtype with a parameter of dtype ",
           name_of(p.dtype()), "; expected parameters of float32 or bfloat16");
    }
  }
}

StateFormat OptimizerGroup::format_of(const Tensor& p) const {
  switch (kept_as_) {
    case StateDType::AsParameter:
      return p.dtype() == DType::BFloat16 ? StateFormat::BFloat16 : StateFormat::Computed;
    case StateDType::Float32:
      return StateFormat::Computed;
    case StateDType::BFloat16:
      return StateFormat::BFloat16;
    case StateDType::Bytes:
      return p.numel() < kBytesFrom ? StateFormat::Computed : StateFormat::Bytes;
  }
  return StateFormat::Computed;
}

void OptimizerGroup::check_gradient(const Tensor& p, const Tensor& g) const {
  if (!(g.sizes() == p.sizes()) || g.dtype() != p.dtype()) {
    fail("optimizer step: gradient of shape ", g.sizes(), " and dtype ", name_of(g.dtype()),
         " for a parameter of shape ", p.sizes(), " and dtype ", name_of(p.dtype()));
  }
  if (g.device() != p.device()) {
    fail("optimizer step: gradient on ", name_of(g.device()), " for a parameter on ",
         name_of(p.device()), "; expected them on the same device");
  }
  check_inference("optimizer step", p);
  if (p.dtype() != params_[0].dtype()) {
    fail("optimizer step: parameters of dtypes ", name_of(params_[0].dtype()), " and ",
         name_of(p.dtype()), " in one group; expected one dtype a group");
  }
  if (!can_step(p.dtype())) {
    fail(ErrorKind::NotImplemented, "optimizer step: parameters of dtype ", name_of(p.dtype()),
         "; expected float32, float64 or bfloat16");
  }
}

void OptimizerGroup::tell(HostWatcher& watcher, std::vector<Tensor> used) const {
  const auto add = [&](const Tensor& t) {
    if (t.defined()) used.push_back(t);
  };
  for (size_t i = 0; i < params_.size(); ++i) {
    add(params_[i]);
    add(grad_of(params_[i]));
    add(states_[i].steps);
    for (const Tensor& t : states_[i].tensor) add(t);
    for (const Tensor& t : states_[i].peaks) add(t);
  }
  watcher.on_use(used);
}

void OptimizerGroup::make_states(size_t i, unsigned used) {
  const Unwatched lasting;  // made once: no part of a step
  const Tensor& p = params_[i];
  State& s = states_[i];
  if (!s.steps.defined()) s.steps = new_steps(0.0, p.device());
  for (int k = 0; k < kMaxOptimizerStates; ++k) {
    if (!(used >> k & 1) || s.tensor[k].defined()) continue;
    s.tensor[k] = new_state(p, format_of(p));
    if (format_of(p) == StateFormat::Bytes) {
      s.peaks[k] = ops::zeros(blocks_of(p.numel()), DType::Float32, p.device());
    }
  }
}

bool OptimizerGroup::step(const OptimizerLaunch& settings, const Tensor& norm, double max_norm,
                          const Tensor& found_inf) {
  const GradMode off(false);
  if (found_inf.defined()) check_number("optimizer step", "found_inf", found_inf, DType::Float32);
  bool on[kNumDevices] = {};
  for (const Tensor& p : params_) {
    const Tensor g = grad_of(p);
    if (!g.defined()) continue;
    check_gradient(p, g);
    if (settings.centered && format_of(p) != StateFormat::Computed) {
      fail(ErrorKind::Value,
           "optimizer step: centered=True takes the difference of two states; expected "
           "state_dtype=float32");
    }
    on[static_cast<int>(p.device())] = true;
  }
  OptimizerLaunch limited = settings;
  limited.max_norm = max_norm;
  const auto there = [](const Tensor& t, Device d) {
    return t.defined() ? ops::to_device(t, d) : t;
  };
  bool made = false;
  for (const Device d : {Device::CPU, Device::CUDA}) {
    if (!on[static_cast<int>(d)]) continue;
    made |= step_on(d, limited, there(norm, d), there(found_inf, d));
  }
  return made;
}

bool OptimizerGroup::step_on(Device device, const OptimizerLaunch& settings, const Tensor& norm,
                             const Tensor& found_inf) {
  const DefaultDevice there(device);
  const unsigned used = states_used(settings);
  items_.clear();
  // Copies of what is not dense, written back at the end.
  std::vector<std::pair<size_t, Tensor>> copies;
  std::vector<Tensor> grads;
  OptimizerLaunch all = settings;
  if (norm.defined()) {
    all.norm = norm.data();
    all.norm_dtype = norm.dtype();
  }
  if (found_inf.defined()) all.found_inf = found_inf.data<float>();
  // A program needs the launch in any case; what stands on another device its kernel looks at.
  if (device == Device::CPU && all.skipped() && !host_watcher()) return false;
  Launch l;
  l.kernel = id(Kernel::OptimizerStep);
  l.device = device;
  l.dense = true;
  l.ndim = 1;
  l.nbuffers = 0;
  l.count = 0;
  bool made = false;
  for (size_t i = 0; i < params_.size(); ++i) {
    const Tensor& p = params_[i];
    Tensor g = grad_of(p);
    if (!g.defined() || p.device() != device) continue;
    State& s = states_[i];
    OptimizerItem it{};
    it.format = format_of(p);
    if (!has_states(s, used)) [[unlikely]] {
      make_states(i, used);
      made = true;
    }
    it.steps = s.steps.data<float>();
    for (int k = 0; k < kMaxOptimizerStates; ++k) {
      if (!(used >> k & 1)) continue;
      it.state[k] = s.tensor[k].data();
      if (it.format == StateFormat::Bytes) it.peaks[k] = s.peaks[k].data<float>();
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
  all.items = items_.data();
  all.num_items = static_cast<int64_t>(items_.size());
  l.size[0] = l.count;
  l.pointer = &all;
  count_step(l, items_);
  if (HostWatcher* w = host_watcher()) {
    for (const auto& copy : copies) grads.push_back(copy.second);
    if (norm.defined()) grads.push_back(norm);
    if (found_inf.defined()) grads.push_back(found_inf);
    tell(*w, grads);
  }
  launch(l);
  for (const auto& [i, copy] : copies) ops::copy_into(params_[i], copy);
  const SourceScope from(source_here());
  for (const Tensor& p : params_) {
    if (p.device() == device && grad_of(p).defined()) note_change("optimizer step", p);
  }
  return made;
}

void OptimizerGroup::drop_grads() const {
  for (const Tensor& p : params_) {
    if (node_of(p)) set_grad(p, Tensor());
  }
}

void OptimizerGroup::set_state(size_t i, State given) {
  const GradMode off(false);
  const Tensor& p = params_[i];
  const StateFormat format = format_of(p);
  const DefaultDevice there(p.device());
  State s;
  s.steps = new_steps(given.steps.to_double(), p.device());
  for (int k = 0; k < kMaxOptimizerStates; ++k) {
    if (!given.tensor[k].defined()) continue;
    const Tensor t = ops::to_device(given.tensor[k], p.device());
    if (!(t.sizes() == p.sizes())) {
      fail(ErrorKind::Value, "optimizer: state of shape ", t.sizes(), " for a parameter of shape ",
           p.sizes());
    }
    const bool signs = has_signs(rule_, k), bytes = t.dtype() == DType::UInt8;
    if (bytes != given.peaks[k].defined()) {
      fail(ErrorKind::Value, "optimizer: state of dtype ", name_of(t.dtype()),
           bytes ? " without" : " with", " scales; expected them with uint8, and only there");
    }
    if (!bytes && !is_floating(t.dtype())) {
      fail(ErrorKind::Value, "optimizer: state of dtype ", name_of(t.dtype()),
           "; expected a floating dtype, or uint8 with scales");
    }
    const Tensor peaks = bytes ? ops::to_device(given.peaks[k], p.device()) : Tensor();
    const Tensor plain = bytes ? dequantize_blocks(t, peaks, signs) : t;
    if (format != StateFormat::Bytes) {
      const DType as = format == StateFormat::BFloat16 ? DType::BFloat16 : computed_as(p.dtype());
      s.tensor[k] = ops::contiguous(ops::to(plain, as));
    } else if (bytes) {  // as they are: no rounding
      s.tensor[k] = ops::contiguous(t);
      s.peaks[k] = ops::contiguous(peaks);
    } else {
      std::tie(s.tensor[k], s.peaks[k]) = quantize_blocks(plain, signs);
    }
  }
  states_[i] = std::move(s);
}

}  // namespace wengert
