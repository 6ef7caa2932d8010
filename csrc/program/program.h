// A captured straight-line list of launches, and its replay.
#pragma once

#include <functional>
#include <mutex>
#include <span>
#include <string>
#include <vector>

#include "program/device_run.h"
#include "program/file_format.h"
#include "program/plan.h"

namespace wengert {

// What a step changes beside its results: memory by reference, gradients, random streams.
struct ProgramState {
  std::vector<std::vector<char>> bytes;
  std::vector<Tensor> grads;
  std::vector<RandomState> streams;
};

class Program {
 public:
  // With a limit of the bytes of intermediates, or 0; throws if they cannot do with so few.
  explicit Program(Recording recording, size_t memory_limit = 0);
  Program(const Program&) = delete;
  Program& operator=(const Program&) = delete;

  // Reads the settings of optimizers anew, for which the binding's language must be at hand. False
  // if they ask for other launches.
  bool read_settings();
  // Why a replay with these arguments would not be what the eager run is; null if it would.
  const char* refuses(std::span<const Tensor> arguments) const;
  // Throws Error if another thread is running it.
  std::vector<Tensor> replay(std::span<const Tensor> arguments);
  struct Pauses {
    int64_t every;       // so many steps `between` is called, and ends the run by returning false
    int64_t before = 0;  // steps that were counted already
    std::function<bool(int64_t)> between;
  };
  // Replays of the rows that `order` names in each array, so many at a time as arguments have; the
  // results of step k become row k of `stacked`. Returns how many were done: fewer, too, where a
  // replay is refused.
  int64_t run(std::span<const Tensor> arrays, std::span<const int64_t> order,
              std::span<const Tensor> stacked, const Pauses& pauses);
  const std::vector<TensorPlace>& results() const { return r_.results; }

  ProgramState save(std::span<const Tensor> arguments) const;
  void restore(const ProgramState& state, std::span<const Tensor> arguments) const;
  // Which bits of two ends of a step differ first, and where the program writes them; empty if none
  // do. Results are those that replay() returns.
  std::string first_difference(std::span<const Tensor> results, const ProgramState& state,
                               std::span<const Tensor> other_results,
                               const ProgramState& other) const;

  // For who writes it to a file: that nobody runs it meanwhile (throws where somebody does), and
  // as it was recorded.
  std::unique_lock<std::mutex> hold();
  const RecordedBytes& recorded() const { return recorded_; }

  bool is_long() const { return is_long_; }
  const Plan& plan() const { return plan_; }
  std::vector<std::string> lines() const;
  // Nanoseconds of each step, or of the first of each group for all of it: the least of so many
  // replays, whose changes are taken back.
  std::vector<double> times(std::span<const Tensor> arguments, int rounds);
  const Recording& recording() const { return r_; }
  // Null where all is the processor's.
  const DeviceRun* device_run() const { return device_run_.get(); }

 private:
  struct Bound {  // what a slot stands for now
    void* base = nullptr;
    const Storage* of = nullptr;
    Ref<Storage> storage;  // of results: what was handed out last
  };
  // What a replay does, in order.
  struct Op {
    enum Kind : uint8_t { Kernel, Dense, Check, Draw, Optimize, Tiles, Together } kind;
    uint32_t index;  // of the step, of the group, or in directs_
    KernelFn kernel;
    Launch* launch;
  };
  // An elementwise launch without its driver.
  struct Direct {
    static constexpr int kMost = 6;
    DenseLoop loop;
    int64_t count;
    const double* params;
    char* buffer[kMost];
  };
  void make_ops();
  std::vector<RandomState> random_states() const;
  void prepare(const Op& op, const std::vector<RandomState>& starts);
  void run_op(const Op& op, const std::vector<RandomState>& starts);
  void run_observed(const std::vector<RandomState>& starts);
  void patch(uint32_t slot, void* base, const Storage* storage);
  void lead(uint32_t slot, void* base, const Storage* storage);
  void bind(std::span<const Tensor> arguments);
  void renew(uint32_t slot);
  void refill();
  class Batches;
  bool repeat(const Batches& batches, uint64_t binds, std::span<const Tensor> stacked, int64_t row);
  std::vector<Tensor> replay_held(std::span<const Tensor> arguments);
  void execute();
  void set_leaves(std::span<const Tensor> arguments);
  const Storage& changed_at(uint32_t slot, std::span<const Tensor> arguments) const;
  std::string written_at(uint32_t slot) const;
  Leaf& leaf_at(const LeafPlace& place, std::span<const Tensor> arguments) const;
  Tensor tensor_at(const TensorPlace& place) const;

  RecordedBytes recorded_;
  Recording r_;
  Plan plan_;
  std::vector<std::vector<SlotPointer>> pointers_;    // by slot
  std::vector<const Storage*> held_;                  // by reference
  std::vector<Bound> bound_;                          // by slot
  std::vector<Tensor> leaf_grads_;                    // by leaf: handed to it last
  std::vector<uint32_t> fresh_, refilled_, changed_;  // slots: results; with content; by reference
  Ref<Storage> arena_[kNumDevices];
  std::unique_ptr<DeviceRun> device_run_;  // of a program with launches on a CUDA device
  std::vector<Op> ops_, plain_ops_;        // groups as one; each step by itself
  std::vector<Direct> directs_;
  std::vector<Ref<Storage>> untiled_;  // of what is in tiles, for who observes each launch
  bool is_long_ = false;
  bool repeats_ = false;  // whether a replay leaves all that the next looks at as it was
  uint64_t binds_ = 0;    // how often
  std::mutex running_;
};

}  // namespace wengert
