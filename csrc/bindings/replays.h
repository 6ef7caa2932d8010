// What replays of captured programs have in common, however they are called.
#pragma once

#include <vector>

#include "program/program.h"

namespace wengert::bindings {

// What a thread's operations depend on besides their arguments.
struct ThreadModes {
  bool grad, inference;
  int autocast;  // the dtypes by device; -1: off
  int default_dtype;
  int default_device;
  bool checks_forward;
  bool operator==(const ThreadModes&) const = default;
};
ThreadModes thread_modes();

// Replays; a long one lets other threads run meanwhile.
std::vector<Tensor> results_of(Program& p, std::span<const Tensor> arguments);

}  // namespace wengert::bindings
