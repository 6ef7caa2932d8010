// Many models at once: a captured step taken by n models, each with its own parameters, states,
// random streams and settings.
//
// What the step changes is stacked: n copies side by side, at an equal distance. So is all that is
// computed from it. A launch that works on stacked memory is widened by a dimension of models where
// its kernel then gives the same bits (program/widen.h), and repeated for each model elsewhere, its
// pointers moved on.
//
// Models are taken in groups whose memory stays in the cache; a group takes many steps before the
// next group does, and groups share nothing: threads take them in any order.
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <span>
#include <string>
#include <vector>

#include "program/program.h"

namespace wengert {

// The rows that steps are given.
struct EnsembleData {
  std::vector<Tensor> arrays;  // by argument; dense
  std::vector<bool> each;      // by argument: its first dimension is that of models
  // Rows of a step after those of the one before; empty: there is one step, of all rows.
  std::vector<int64_t> order;
  bool own_orders = false;  // n orders, one after another
  int64_t steps = 1;
};

class Ensemble {
 public:
  // Stacks what the program changes, and the memory of `also`. Throws where models would meet.
  Ensemble(std::shared_ptr<const Program> program, int64_t n, std::span<const Tensor> also);
  ~Ensemble();
  Ensemble(const Ensemble&) = delete;
  Ensemble& operator=(const Ensemble&) = delete;

  int64_t models() const { return n_; }
  const Program& program() const { return *program_; }

  // A model begins with what stands in captured memory and generators now.
  void load(int64_t model);
  // What a model has come to is put into captured memory.
  void store(int64_t model) const;
  // The stacked memory behind a tensor that the step uses, (n, ...): where it is shared, the same n
  // times.
  Tensor stacked(const Tensor& t) const;
  bool uses(const Tensor& t) const;    // is in memory that the step reads or writes
  bool stacks(const Tensor& t) const;  // and that each model has its own of
  // What load() reads: as it is, and put back.
  struct Contents {
    std::vector<std::vector<char>> bytes;
    std::vector<RandomState> streams;
  };
  Contents save() const;
  void put_back(const Contents& contents) const;

  // Settings of a model for each optimizer, which is given as the step has it.
  using Source = std::shared_ptr<const SettingsSource>;
  void set_settings(const std::function<Source(int64_t model, const SettingsSource& of)>& source);
  // Reads them anew, for which the binding's language must be at hand. Throws if they ask for
  // other launches.
  void read_settings();

  // The results of step k of model i are row [k, i] of `stacked`. `between` is called after `every`
  // steps and at the end, and ends the run by returning false. Returns how many steps were done.
  int64_t run(const EnsembleData& data, std::span<const Tensor> stacked, int64_t every,
              const std::function<bool(int64_t)>& between);
  std::vector<std::string> lines();

 private:
  struct Layout;
  class Lane;
  struct Stack {
    uint32_t slot;
    Ref<Storage> all;   // n copies
    Ref<Storage> from;  // what they are copies of
  };
  struct Optimizer {
    std::vector<Source> sources;           // one, or one a model
    std::vector<OptimizerLaunch> current;  // as many
  };
  void check() const;
  Layout& layout_of(const std::vector<bool>& each);
  void take(Lane& lane, const EnsembleData& data, std::span<const Tensor> stacked, int64_t group,
            int64_t groups, int64_t begin, int64_t end);

  std::shared_ptr<const Program> program_;
  const Recording& r_;
  int64_t n_;
  std::vector<Stack> stacks_;
  std::vector<int> stack_of_;                      // by slot; -1: not stacked
  std::vector<std::vector<RandomState>> streams_;  // by stream and model
  std::vector<Optimizer> optimizers_;              // by step that is one
  std::map<std::vector<bool>, std::unique_ptr<Layout>> layouts_;
  std::mutex running_;
};

}  // namespace wengert
