// What vmap and forward mode put over tensors. Each transform under way on this thread is a level;
// a tensor inside it may be a layer: a batch, which hides the first dimension of a value, or a dual
// number, a value and its tangent. A layer looks like a tensor (sizes, dtype) but has no memory;
// operations on it go through call.h, which takes off the highest level and goes on below. The tape
// records what is left when all layers are off, so reverse mode needs no layer of its own.
#pragma once

#include <vector>

#include "tape/node.h"

namespace wengert::transforms {

enum class Kind : uint8_t { Batch, Dual };
// What random numbers are inside vmap: refused, different for each of the batch, or the same.
enum class Randomness : uint8_t { Error, Different, Same };

struct Level {
  uint64_t id;  // above that of every level around it
  Kind kind;
  int64_t size = 0;  // of the batch
  Randomness randomness = Randomness::Error;
};

struct Layer : Attachment {
  uint64_t level;
  Kind kind;
  Tensor value;    // of a batch: its first dimension is the batch's
  Tensor tangent;  // of a dual; of value's shape
  Layer(uint64_t level, Kind kind, Tensor value, Tensor tangent);
};

inline const Layer* layer_of(const Tensor& t) {
  return static_cast<const Layer*>(t->layer.get());
}

uint64_t enter(Kind kind, int64_t size = 0, Randomness randomness = Randomness::Error);
// Also leaves what was entered inside it.
void leave(uint64_t level);
// The level, if it is under way on this thread.
const Level* find_level(uint64_t id);
// The levels of vmap, from the outside in.
std::vector<Level> batches();
// The innermost batch; null outside of vmap.
const Level* innermost_batch();
// While one lives, a batch is not the innermost: what is drawn at random there is drawn outside.
class OutsideBatch {
 public:
  explicit OutsideBatch(uint64_t level);
  OutsideBatch(const OutsideBatch&) = delete;
  OutsideBatch& operator=(const OutsideBatch&) = delete;
  ~OutsideBatch();

 private:
  uint64_t before_;
};

Tensor make_batch(const Tensor& value, uint64_t level);
Tensor make_dual(const Tensor& value, const Tensor& tangent, uint64_t level);
// Turns a tensor into a dual number in place; its history goes along.
void become_dual(const Tensor& t, const Tensor& tangent, uint64_t level);

// The tensor itself, or its layer of a level that is still under way. A dual number of a level that
// has been left is its value; a batch of one is an error.
Tensor settled(const Tensor& t);
// The level of the outermost layer; 0 if there is none.
uint64_t level_of(const Tensor& t);
// Whether the outermost layer is of `level`.
bool has_level(const Tensor& t, uint64_t level);

// The value of a dual number, for who reads elements; throws for a batch, which has none to read.
const Tensor& readable(const Tensor& t);

// Whether any layer of the value is of a level; or any of its tangents' either.
bool below_has(const Tensor& t, uint64_t level);
bool involves(const Tensor& t, uint64_t level);

// Below all layers: the value, without tangents or batches.
const Tensor& innermost(const Tensor& t);
// Whether the tape knows anything of it: the value or a tangent.
bool tracked(const Tensor& t);
// Applies f to the value below all layers, and puts the layers back.
template <class F>
Tensor below(const Tensor& t, const F& f) {
  const Layer* l = layer_of(t);
  if (!l) return f(t);
  return l->kind == Kind::Batch ? make_batch(below(l->value, f), l->level)
                                : make_dual(below(l->value, f), l->tangent, l->level);
}
// The same values and tangents, as something to differentiate by: a view, which the tape knows if
// it knows t, else a new leaf.
Tensor alias(const Tensor& t);

}  // namespace wengert::transforms
