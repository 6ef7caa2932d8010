// A second run of the same launches in float64, beside the first.
//
// Every launch that makes floating point numbers is run once more, in float64, on a shadow of the
// memory that it reads and writes, so that forward and backward leave a more exact value beside
// each line's value and adjoint. Nothing has to be known of the operations: all numbers come
// through one doorway. What is not floating point (places, conditions) and what is drawn at random
// is the first run's. Memory that no launch has written starts as the float64 of what it holds.
//
// Shadows are never overwritten: a launch that writes into memory leaves a new version of it. So a
// line can be run again later, with other operands, and its rule be asked in float64.
#pragma once

#include <map>
#include <vector>

#include "kernels/kept_launch.h"
#include "ops/gauge.h"

namespace wengert {

class Shadow final : public Gauge {
 public:
  void on_line(size_t entry, Node& node, const Tensor* const* inputs,
               const Tensor* outputs) override;
  void on_adjoints(size_t entry, Node& node, const Tensor* const* grads) override;
  void on_launch(const Launch& l) override;
  void on_done(const Launch& l) override;

  // In float64; undefined where it is not known. Entries are those of the node's first result.
  Tensor value(size_t entry, uint32_t slot) const;
  Tensor adjoint(size_t entry, uint32_t slot) const;

  // The memory, one-dimensional, that operand i of a line is in, and the operand as a view of such
  // memory. Undefined for an operand that is not floating point.
  Tensor memory(size_t entry, int i) const;
  Tensor window(size_t entry, int i, const Tensor& memory) const;
  // Whether a constant of the line is in that memory too.
  bool shared_with_constant(size_t entry, int i) const;
  // The results of a line whose operands are in other memory: `from` was returned by memory().
  // Undefined where a result does not come from the line's launches or its operands.
  std::vector<Tensor> replay(size_t entry, const std::vector<Tensor>& from,
                             const std::vector<Tensor>& to) const;
  // What the rule of a line's node makes of gradients by its results, all in float64: one for each
  // operand, of its shape, undefined for constants. A rule of somebody's own may not run in
  // float64; asked not to be exact, it runs in the line's dtypes.
  std::vector<Tensor> pull(size_t entry, Node& node, std::vector<Tensor> grads, bool exact);

 private:
  struct Version {
    Tensor memory;      // one-dimensional, of the whole storage
    ptrdiff_t made_by;  // a step; -1: it was there before
  };
  struct Memory {
    Ref<Storage> of;
    std::vector<Version> versions;
  };
  struct Step {
    std::unique_ptr<KeptLaunch> launch;
    std::array<Tensor, kMaxBuffers> before, after;  // shadows; undefined if not floating point
    std::array<Ref<Storage>, kMaxBuffers> kept;     // what the others are in
  };
  struct Window {
    Tensor memory;
    Dims sizes, strides;
    int64_t offset = 0;
    bool constant = false;
  };
  struct Line {
    size_t first_step = 0, end_step = 0;
    std::vector<Window> operands, results;
  };
  using Key = std::pair<const Storage*, DType>;

  Memory& memory_of(const Storage* storage, DType dtype);
  // The shadow as it was before a step, or is now.
  const Tensor& before(const Storage* storage, DType dtype, size_t step);
  Window window_of(const Tensor& t, const Tensor& memory) const;
  Saved exact(const Saved& saved, size_t step);
  // A copy of the line's node in float64, that stands alone.
  Ref<Node> exact_node(size_t entry, Node& node);
  static void run(Launch l, const std::array<Tensor, kMaxBuffers>& in,
                  const std::array<Tensor, kMaxBuffers>& out);

  std::map<Key, Memory> memories_;
  std::vector<Step> steps_;
  size_t end_of_last_line_ = 0;
  std::unordered_map<size_t, Line> lines_;
  std::unordered_map<size_t, std::vector<Tensor>> adjoints_;
};

// Makes the rule of the operation that made a tensor wrong: its gradients are multiplied by the
// factor. For tests of what finds wrong rules.
void spoil(const Tensor& result, double factor);

}  // namespace wengert
