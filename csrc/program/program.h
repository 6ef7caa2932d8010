// A captured straight-line list of launches, and its replay.
//
// A program knows memory by slots. What a slot stands for is decided when it is captured: an
// argument's memory, a parameter's, a gradient that a leaf holds, a result that is made afresh at
// each replay, a constant, or a stretch of the arena that all intermediates share by lifetime.
#pragma once

#include <mutex>
#include <span>
#include <string>
#include <unordered_map>
#include <vector>

#include "core/watch.h"
#include "kernels/kept_launch.h"
#include "kernels/work.h"
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
};

// A pointer that leads into a slot.
struct SlotPointer {
  void* at;                 // a pointer of any type stands there
  const Storage** storage;  // beside it, or null
  uint32_t slot;
  ptrdiff_t offset;  // in bytes
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

// A tensor that leads into a slot.
struct TensorPlace {
  static constexpr uint32_t kNone = UINT32_MAX;
  uint32_t slot = kNone;  // kNone: undefined
  DType dtype{};
  Dims sizes{}, strides{};
  ptrdiff_t offset = 0;  // in bytes
  bool requires_grad = false;
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

struct ArenaReport {
  size_t arena, sum, bound;  // bytes: of the arena, of all intermediates, of those alive at once
  int dropped;               // dead launches
};

// What a step changes beside its results: memory by reference, gradients, random streams.
struct ProgramState {
  std::vector<std::vector<char>> bytes;
  std::vector<Tensor> grads;
  std::vector<RandomState> streams;
};

class Program {
 public:
  Program(std::vector<Slot> slots, std::vector<Step> steps, std::vector<TensorPlace> arguments,
          std::vector<TensorPlace> results, std::vector<LeafPlace> leaves,
          std::vector<Stream> streams);
  Program(const Program&) = delete;
  Program& operator=(const Program&) = delete;

  // Reads the settings of optimizers anew, for which the binding's language must be at hand. False
  // if they ask for other launches.
  bool read_settings();
  // Why a replay with these arguments would not be what the eager run is; null if it would.
  const char* refuses(std::span<const Tensor> arguments) const;
  // Throws Error if another thread is running it.
  std::vector<Tensor> replay(std::span<const Tensor> arguments);
  // Replays of the rows that `order` names in each array, so many at a time as arguments have; the
  // results of step k become row k of `stacked`. `between` is called after each step, and ends the
  // run by returning false. Returns how many were done: fewer, too, where a replay is refused.
  int64_t run(std::span<const Tensor> arrays, std::span<const int64_t> order,
              std::span<const Tensor> stacked, const std::function<bool(int64_t)>& between);
  const std::vector<TensorPlace>& results() const { return results_; }

  ProgramState save(std::span<const Tensor> arguments) const;
  void restore(const ProgramState& state, std::span<const Tensor> arguments) const;
  // Which bits of two ends of a step differ first, and where the program writes them; empty if none
  // do. Results are those that replay() returns.
  std::string first_difference(std::span<const Tensor> results, const ProgramState& state,
                               std::span<const Tensor> other_results,
                               const ProgramState& other) const;

  bool is_long() const { return is_long_; }
  const ArenaReport& report() const { return report_; }
  std::vector<std::string> lines() const;

 private:
  struct Bound {  // what a slot stands for now
    void* base = nullptr;
    const Storage* of = nullptr;
    Ref<Storage> storage;  // of results: what was handed out last
  };
  void drop_dead();
  void lay_out();
  void patch(uint32_t slot, void* base, const Storage* storage);
  void bind(std::span<const Tensor> arguments);
  void renew(uint32_t slot);
  void execute();
  void set_leaves(std::span<const Tensor> arguments);
  const Storage& changed_at(uint32_t slot, std::span<const Tensor> arguments) const;
  std::string written_at(uint32_t slot) const;
  Leaf& leaf_at(const LeafPlace& place, std::span<const Tensor> arguments) const;
  Tensor tensor_at(const TensorPlace& place) const;

  std::vector<Slot> slots_;
  std::vector<Step> steps_;
  std::vector<TensorPlace> arguments_, results_;
  std::vector<LeafPlace> leaves_;
  std::vector<Stream> streams_;
  std::vector<std::vector<SlotPointer>> pointers_;    // by slot
  std::vector<const Storage*> held_;                  // by reference
  std::vector<Bound> bound_;                          // by slot
  std::vector<Tensor> leaf_grads_;                    // by leaf: handed to it last
  std::vector<uint32_t> fresh_, refilled_, changed_;  // slots: results; with content; by reference
  Ref<Storage> arena_;
  ArenaReport report_{};
  bool is_long_ = false;
  std::mutex running_;
};

}  // namespace wengert
