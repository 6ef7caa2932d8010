// What a capture keeps: launches in order, and the memory that they work on, by slots.
//
// What a slot stands for is decided when it is captured: an argument's memory, a parameter's, a
// gradient that a leaf holds, a result that is made afresh at each replay, a constant, or a stretch
// of the arena that all intermediates share by lifetime.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "core/watch.h"
#include "kernels/kept_launch.h"
#include "kernels/work.h"
#include "ops/optim.h"
#include "ops/random.h"
#include "tape/node.h"

namespace wengert {

struct Slot {
  enum Kind : uint8_t {
    External,      // there before and afterwards: by reference
    Argument,      // at each replay another
    Gradient,      // of a leaf, as the step finds it
    Result,        // made at each replay, and handed out
    Constant,      // made while capturing, by the host
    Intermediate,  // in the arena
  };
  Kind kind = Intermediate;
  Device device = Device::CPU;
  bool made = false;     // while capturing
  bool touched = false;  // by a launch or a check
  bool written = false;  // by a launch
  size_t bytes = 0;
  uint32_t index = 0;          // of the argument
  int first = -1, last = -1;   // steps that touch it
  const char* base = nullptr;  // while capturing
  Ref<Storage> storage;        // of what is there for good
  std::vector<char> content;   // that launches find, of what the host made
  Source source;               // where it was made
  size_t offset = 0;           // in the arena
  bool in_tile = false;        // never in memory: in the scratch of a group of steps
};

// A pointer that leads into a slot.
struct SlotPointer {
  void* at;                 // a pointer of any type stands there
  const Storage** storage;  // beside it, or null
  uint32_t slot;
  ptrdiff_t offset;  // in bytes
};

// A check with texts of its own.
struct HostCheck {
  const CheckRule* rule = nullptr;
  CheckFacts facts;
  std::string text[2];

  void operator()(std::span<const Tensor> of) const {
    CheckFacts f = facts;
    for (int i = 0; i < 2; ++i) f.text[i] = text[i].c_str();
    check_on_host(*rule, of, f);
  }
};

struct Step {
  std::unique_ptr<KeptLaunch> launch;  // or a check
  KernelFn kernel = nullptr;
  std::vector<SlotPointer> pointers;
  std::vector<uint32_t> reads, writes;
  Source source;  // in the user's program
  HostCheck check;
  std::vector<Tensor> checked;
  std::shared_ptr<const SettingsSource> settings;  // of an optimizer's step
  int generator = -1;  // whose stream it takes; counters count from where that starts
  uint64_t counter = 0;
  Work work{};
};

// The pointer of a launch's buffer.
const SlotPointer& pointer_of(const Step& s, int buffer);
// Nanoseconds that one core takes, roughly.
double cost_of(const Step& s);

// A tensor that leads into a slot.
struct TensorPlace {
  static constexpr uint32_t kNone = UINT32_MAX;
  uint32_t slot = kNone;  // kNone: undefined
  DType dtype{};
  Dims sizes{}, strides{};
  ptrdiff_t offset = 0;  // in bytes
  bool requires_grad = false;
  bool is_view = false;  // of another tensor
};

// The gradient of a leaf before and after. An argument's leaf is another at each replay.
struct LeafPlace {
  Ref<Node> leaf;
  int argument = -1;
  bool looked_at = false;     // before it was replaced: then it must be as it was
  TensorPlace before, after;  // no slot: there is none
  bool changed = false;
};

struct Stream {
  Generator* generator;
  uint64_t seed, counter;  // when the capture began
  bool seeded = false;     // anew since: from there on the numbers are always the same
  uint64_t end_seed = 0, end_counter = 0;
};

struct Recording {
  std::vector<Slot> slots;
  std::vector<Step> steps;
  std::vector<TensorPlace> arguments, results;
  std::vector<LeafPlace> leaves;
  std::vector<Stream> streams;
};

}  // namespace wengert
