// The tape, to be read: the lines that were recorded, in order, with what is known of their values,
// local derivatives and adjoints.
//
// A Trace either looks at the graph behind a result, or is told of what a thread records
// (start/stop). It keeps that graph, and what the nodes saved, for as long as it lives, so that
// values and local derivatives can still be read when a backward has freed them; and it watches
// the nodes, so that a backward leaves their adjoints with it.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <mutex>
#include <thread>
#include <unordered_map>
#include <vector>

#include "core/tensor.h"
#include "ops/gauge.h"
#include "tape/observe.h"

namespace wengert {

class Trace : public TapeObserver, public std::enable_shared_from_this<Trace> {
 public:
  static std::shared_ptr<Trace> make();
  // Of all that led to `result`. Where the value of a line is one of `known`, it is kept.
  static std::shared_ptr<Trace> of(const Tensor& result, const std::vector<Tensor>& known);
  ~Trace() override;
  Trace(const Trace&) = delete;
  Trace& operator=(const Trace&) = delete;

  // Lists what this thread records from start to stop, with an instrument if there is one.
  void start(std::shared_ptr<Gauge> gauge = nullptr);
  void stop();
  void learn(const std::vector<Tensor>& known);  // values of lines and leaves
  // A backward from a result to what the lines start from; gradients of leaves stay as they are.
  void walk(const Tensor& result) const;

  // An operand of a line: an entry's output, or a constant, of one element or of a shape, or
  // something that the tape no longer knows.
  struct Operand {
    enum Kind { kEntry, kNumber, kShape, kUnknown } kind = kUnknown;
    size_t entry = 0;
    double number = 0;
    Dims sizes = {};
  };

  // Entries are numbered as they came to be known: lines and, among them, what they start from
  // (leaves, and results recorded before a start). An operation with several results is a line for
  // each.
  size_t size() const;
  std::vector<size_t> lines() const;  // in the order recorded
  std::vector<size_t> starts() const;
  Ref<Node> node(size_t entry) const;
  uint32_t slot(size_t entry) const;  // which of the node's results
  // A copy of a line's node with what it saved.
  Ref<Node> copy(size_t line);
  std::vector<Operand> operands(size_t line) const;
  std::vector<double> parameters(size_t line) const;  // the numbers of an elementwise operation
  bool elementwise(size_t line) const;
  // Entry of a tensor, or -1.
  ptrdiff_t find(const Tensor& t) const;

  // Undefined where unknown, or changed in place since.
  Tensor value(size_t entry);
  Tensor adjoint(size_t entry) const;
  // Of a line by its operand: of the line's shape if it is elementwise, else the Jacobian, of the
  // line's shape followed by the operand's. Undefined where what it needs is gone, where the
  // operand needs no gradient, and for large Jacobians.
  Tensor local_derivative(size_t line, int operand);
  // How often the adjoint was completed, and how many gradients were made from it.
  uint32_t times_computed(size_t entry) const;
  uint32_t times_used(size_t entry) const;

  void on_record(Node& node, const Tensor* const* inputs, const Tensor* outputs) override;
  void on_adjoint(Node& node, const Tensor* const* grads) override;
  void on_pulled(Node& node, int count) override;

 private:
  struct Value {
    Tensor tensor;
    uint32_t version = 0;
  };
  struct Entry {
    Ref<Node> node;
    Ref<Node> copy;  // with what the node saved; none yet while the line is being recorded
    uint32_t slot = 0;
    bool line = false;
    bool arrived = false;            // an adjoint, in the walk under way
    std::vector<Operand> constants;  // an operand each, where told of them; edges are not set
    Value value;
    Tensor adjoint;  // the latest
    uint32_t computed = 0, used = 0;
  };

  Trace() = default;
  size_t add(Node& node, bool line);
  size_t entry_of(const Tensor& t) const;
  void seal();
  void keep(size_t entry, const Tensor& value);
  void keep_saved();
  void compute_missing();
  static Tensor readable(const Value& v);

  static constexpr size_t kNone = SIZE_MAX;
  // Held for moments only: never while an operation runs, which may wait for another thread.
  mutable std::mutex lock_;
  std::vector<Entry> entries_;
  std::unordered_map<const Node*, size_t> index_;  // of a node's first result
  size_t pending_ = kNone;                         // the line that is being recorded
  bool computed_missing_ = false;                  // done once, for all
  std::shared_ptr<TapeObserver> outer_;
  std::shared_ptr<Gauge> gauge_;  // of the thread that started
  std::thread::id thread_;
  bool started_ = false;
};

}  // namespace wengert
