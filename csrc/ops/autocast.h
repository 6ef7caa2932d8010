// Autocast: where it is on, rows that gain from it take their float32 operands in 16 bits, and rows
// that would lose too much take 16-bit operands in float32. What they compute, and the derivatives,
// see dtypes as if the caller had converted; what they call within is not cast again.
#pragma once

#include <type_traits>
#include <vector>

#include "ops/ops.h"

namespace wengert {

// Of one thread.
struct AutocastState {
  bool on = false;  // on any device
  bool on_for[kNumDevices] = {};
  DType dtype[kNumDevices] = {DType::BFloat16, DType::Float16};

  void set(Device device, const DType* d) {
    const auto i = static_cast<size_t>(device);
    on_for[i] = d != nullptr;
    if (d) dtype[i] = *d;
    on = on_for[0] || on_for[1];
  }
};
AutocastState& autocast_state();

namespace ops {

enum class Precision { Lower, Full };

Tensor autocast_operand(const Tensor& t, Precision p);

template <Precision P, class A>
auto autocast_argument(const A& a)
    -> std::conditional_t<std::is_same_v<A, Tensor> || std::is_same_v<A, std::vector<Tensor>>, A,
                          const A&> {
  if constexpr (std::is_same_v<A, Tensor>) {
    return autocast_operand(a, P);
  } else if constexpr (std::is_same_v<A, std::vector<Tensor>>) {
    std::vector<Tensor> all;
    for (const Tensor& t : a) all.push_back(autocast_operand(t, P));
    return all;
  } else {
    return a;
  }
}

// Off until it goes, as the values are that it computes.
class AutocastOff {
 public:
  AutocastOff() { autocast_state().on = false; }
  ~AutocastOff() { autocast_state().on = true; }
  AutocastOff(const AutocastOff&) = delete;
  AutocastOff& operator=(const AutocastOff&) = delete;
};

// The function of a row with its operands cast: row<&Autocast<&mm, Precision::Lower>::call>(...).
template <auto Fn, Precision P>
struct Autocast;
template <class R, class... As, R (*Fn)(As...), Precision P>
struct Autocast<Fn, P> {
  static R call(As... args) {
    if (!autocast_state().on) [[likely]]
      return Fn(args...);
    const AutocastOff off;
    return Fn(autocast_argument<P>(args)...);
  }
};
template <auto Fn>
inline constexpr auto lowered = &Autocast<Fn, Precision::Lower>::call;
template <auto Fn>
inline constexpr auto widened = &Autocast<Fn, Precision::Full>::call;

}  // namespace ops
}  // namespace wengert
