// Capture: sees the launches of its thread while a function runs as usual, and what the host does
// beside them, and makes a program of them.
#pragma once

#include <memory>
#include <string>
#include <unordered_map>
#include <unordered_set>
#include <vector>

#include "program/program.h"

namespace wengert {

class Recorder final : public LaunchObserver, public HostWatcher {
 public:
  // Arguments are the tensors that are others at each replay. With `strict` it throws at the first
  // thing that a replay could not repeat; else that is noted.
  Recorder(std::vector<Tensor> arguments, bool strict);
  ~Recorder() override;
  Recorder(const Recorder&) = delete;
  Recorder& operator=(const Recorder&) = delete;

  // Whether a launch reads or writes the memory of a tensor that was there before.
  bool touches(const Tensor& t) const;

  void start();
  void stop();
  size_t steps() const { return r_.steps.size(); }
  // What a replay could not repeat; empty if there was nothing.
  const std::string& failure() const { return failure_; }
  // After stop, when nobody but the user's program holds tensors. Null if there was a failure.
  std::shared_ptr<Program> finish(const std::vector<Tensor>& results, size_t memory_limit = 0);

  bool splits_results() const override { return false; }
  void on_launch(const Launch& l) override;
  void on_done(const Launch& l) override;
  void on_made(const Storage& s) override;
  void on_gone(const Storage& s) override;
  void on_read(const Storage& s) override;
  void on_write(const Storage& s) override;
  void on_check(const CheckRule& rule, const CheckFacts& facts,
                std::span<const Tensor> of) override;
  void on_use(std::span<const Tensor> tensors) override;
  void on_draw(Generator& g) override;
  void on_seed(Generator& g, uint64_t seed, uint64_t counter, bool anew) override;
  void on_leaf(Attachment& leaf) override;
  void on_grad(Attachment& leaf, bool replaced) override;

 private:
  // The reason ends with the place in the user's program.
  template <class... Parts>
  void refuse(const Parts&... parts);
  uint32_t slot_of(const Storage& s);
  void touch(uint32_t slot, Step& step, bool written);
  void point(Step& step, void* at, const void* leads_to, const Storage** storage, uint32_t slot,
             bool written);
  size_t stream_of(Generator& g);
  void take_stream(Step& step);
  TensorPlace place_of(const Tensor& t);
  void check_kept();

  std::vector<Tensor> arguments_;
  bool strict_;
  std::string failure_;
  Recording r_;
  std::unordered_map<const Storage*, uint32_t> known_;
  std::unordered_set<const Attachment*> seen_leaves_;
  std::unordered_map<const Attachment*, Ref<Node>> own_leaves_;  // made while recording
  std::vector<Tensor> used_;                                     // by the next launch
  int drawing_ = -1;  // the stream that the next launch draws from
  HostWatcher* outer_watcher_ = nullptr;
  LaunchObserver* outer_observer_ = nullptr;
  bool recording_ = false;
};

}  // namespace wengert
