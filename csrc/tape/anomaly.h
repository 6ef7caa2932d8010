// Anomaly detection: the first operation whose result, or whose gradient, is not a number any more
// is reported with the line that recorded it. Switched for all threads; where it is off it costs a
// branch.
#pragma once

#include <atomic>

#include "tape/node.h"

namespace wengert {

struct AnomalyMode {
  bool on = false;
  bool gradients = true;  // check what every rule of a walk makes for NaN
  bool forward = true;    // check results for what is not finite, where all inputs are
};
AnomalyMode anomaly_mode();
void set_anomaly_mode(AnomalyMode mode);

// The mode as the hot paths read it.
enum AnomalyChecks : uint8_t { kChecksForward = 1, kChecksGradients = 2 };
extern std::atomic<uint8_t> anomaly_checks;
inline bool checks_forward() {
  return anomaly_checks.load(std::memory_order_relaxed) & kChecksForward;
}
inline bool checks_gradients() {
  return anomaly_checks.load(std::memory_order_relaxed) & kChecksGradients;
}

// Whether this thread is in a walk, whose own check covers what is recorded meanwhile.
bool walking();

// What the tape asks of the operations, which stand above it. Both throw.
// A recorded operation's results.
void check_forward(Node& node, const Tensor* const* inputs, const Tensor* outputs);
// The gradients that a node's rule has made.
void check_gradients(const Node& node, const Tensor* grads, int count);
// Those that a walk starts from.
void check_given(const Tensor& grad, size_t index);

}  // namespace wengert
