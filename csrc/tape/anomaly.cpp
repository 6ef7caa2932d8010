#include "tape/anomaly.h"

namespace wengert {

std::atomic<uint8_t> anomaly_checks{0};

namespace {
std::atomic<uint8_t> mode_bits{6};  // on, gradients, forward
}

AnomalyMode anomaly_mode() {
  const uint8_t bits = mode_bits.load(std::memory_order_relaxed);
  return {(bits & 1) != 0, (bits & 2) != 0, (bits & 4) != 0};
}

void set_anomaly_mode(AnomalyMode m) {
  mode_bits.store(static_cast<uint8_t>(int{m.on} | int{m.gradients} << 1 | int{m.forward} << 2),
                  std::memory_order_relaxed);
  anomaly_checks.store(
      static_cast<uint8_t>((m.on && m.gradients && m.forward ? kChecksForward : 0) |
                           (m.on && m.gradients ? kChecksGradients : 0)),
      std::memory_order_relaxed);
}

}  // namespace wengert
