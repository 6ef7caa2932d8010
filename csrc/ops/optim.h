// Optimizer steps: a group of parameters with their states, updated by one launch; and norms and
// limits of many gradients at once.
#pragma once

#include <memory>
#include <string_view>
#include <utility>
#include <vector>

#include "core/watch.h"
#include "kernels/launch.h"
#include "tape/node.h"

namespace wengert {

// What states are kept as. Bytes: only of parameters of at least kBytesFrom elements, as below that
// there is nothing to win; the others have float32.
enum class StateDType : uint8_t { AsParameter, Float32, BFloat16, Bytes };
inline constexpr int64_t kBytesFrom = 4096;

// A number or a flag of a group's settings.
struct Setting {
  const char* name;
  double OptimizerLaunch::* number;
  bool OptimizerLaunch::* flag = nullptr;

  double get(const OptimizerLaunch& s) const { return flag ? s.*flag : s.*number; }
  void set(OptimizerLaunch& s, double value) const;
};
// Those that a rule goes by.
const std::vector<Setting>& settings_of(OptimizerRule rule);
// "sgd", "rmsprop", "adagrad", "adam"
const char* name_of(OptimizerRule rule);
bool rule_from(std::string_view name, OptimizerRule& out);

// Where a group's settings stand, for who keeps its launch and takes the step again.
class SettingsSource : public std::enable_shared_from_this<SettingsSource> {
 public:
  virtual ~SettingsSource() = default;
  virtual void read(OptimizerLaunch& settings) const = 0;
  // The same for every step of a group.
  virtual const void* group() const = 0;
};

// Counts a step, which is about to be taken by the launch of these items, unless it is skipped. On
// another device than the processor the kernel counts.
void count_step(const Launch& l, std::vector<OptimizerItem>& items);

class OptimizerGroup {
 public:
  // Narrow states need parameters of float32 or bfloat16: throws.
  OptimizerGroup(OptimizerRule rule, std::vector<Tensor> params,
                 StateDType states = StateDType::AsParameter);

  // One step of every parameter that has a gradient. `settings` is the launch without its items.
  // All checks come before the first write. Returns whether states were made that were not there.
  // Parameters of each device are a launch.
  // With a norm (clipping_norm) gradients are read as if scaled by max_norm / (norm + 1e-6) where
  // that is below 1. There is no step where found_inf (float32) is not 0.
  bool step(const OptimizerLaunch& settings, const Tensor& norm = {}, double max_norm = 0,
            const Tensor& found_inf = {});
  void drop_grads() const;

  size_t size() const { return params_.size(); }
  const Tensor& param(size_t i) const { return params_[i]; }
  const std::vector<Tensor>& params() const { return params_; }
  // States of a parameter, on its device: undefined before its first step, and where the rule needs
  // none. The number of steps is a float32 tensor, as PyTorch keeps it.
  struct State {
    Tensor steps;
    Tensor tensor[kMaxOptimizerStates];
    Tensor peaks[kMaxOptimizerStates];  // of states in bytes: of each block
  };
  const State& state(size_t i) const { return states_[i]; }
  // Takes over states, converted to what this group keeps; throws where sizes do not fit. The
  // tensors may become the group's own.
  void set_state(size_t i, State given);
  OptimizerRule rule() const { return rule_; }

 private:
  StateFormat format_of(const Tensor& p) const;
  void check_gradient(const Tensor& p, const Tensor& g) const;
  // Of all that pointers lead to: its own and those.
  void tell(HostWatcher& watcher, std::vector<Tensor> used) const;
  void make_states(size_t i, unsigned used);  // those that are not there
  bool step_on(Device device, const OptimizerLaunch& settings, const Tensor& norm,
               const Tensor& found_inf);

  OptimizerRule rule_;
  StateDType kept_as_;
  std::vector<Tensor> params_;
  std::vector<State> states_;
  std::vector<OptimizerItem> items_;  // reused from step to step
};

// Codes (uint8, of x's sizes) and the greatest magnitude of each kStateBlock elements (float32).
std::pair<Tensor, Tensor> quantize_blocks(const Tensor& x, bool with_signs);
Tensor dequantize_blocks(const Tensor& codes, const Tensor& peaks, bool with_signs);

// Of many floating tensors as if they were one vector; not recorded. `op` lives for good.
Tensor norm_of_all(const std::vector<Tensor>& tensors, double order);  // 1, 2 or infinity
// Times max_norm / (norm + 1e-6) where that is below 1.
void clip_all(const char* op, const std::vector<Tensor>& tensors, const Tensor& norm,
              double max_norm);
// A norm as launches take it.
Tensor clipping_norm(const Tensor& norm);
// Divides gradients by a loss scale (float32); sets found_inf (float32) to 1 if one of them was not
// finite.
void unscale_all(const char* op, const std::vector<Tensor>& tensors, const Tensor& found_inf,
                 const Tensor& scale);
// Lets a loss scale back off where something was not finite, and grow after `interval` steps
// without; `steps` (int32) counts these.
void update_scale(const Tensor& scale, const Tensor& steps, const Tensor& found_inf, double growth,
                  double backoff, int64_t interval);
// Throws unless it is one number of that dtype.
void check_number(const char* op, const char* name, const Tensor& t, DType dtype);
void limit_all(const char* op, const std::vector<Tensor>& tensors, double low, double high);

}  // namespace wengert
