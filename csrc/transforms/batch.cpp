// A level of vmap: the rule of an operation, or the operation once for each of the batch; and what
// random numbers are there.
#include <algorithm>

#include "core/error.h"
#include "ops/random.h"
#include "transforms/rules.h"

namespace wengert::transforms {
namespace {

bool mutates(const Op& op, bool inplace) {
  return inplace || op.name.back() == '_';
}

// In place, the results of all of the batch need a place each.
void check_inplace_batch(const Op& op, Arguments& args, const Level& level) {
  if (has_level(args.tensor(0), level.id)) return;
  fail("vmap: ", op.name, op.name.back() == '_' ? "" : "_",
       ": in-place arithmetic on a tensor of shape ", args.tensor(0).sizes(),
       " that is not batched is not possible, because another argument is: the result has more "
       "elements than the tensor; use the out-of-place form, or make the tensor from a batched one "
       "(zeros_like, new_zeros)");
}

// Of an empty batch: what one of zeros gives says which shapes and dtypes the results have.
std::vector<Tensor> call_none(const Op& op, Arguments args, const Level& level) {
  args.each([&](Tensor& t) {
    if (!has_level(t, level.id)) return;
    const Tensor& below = innermost(layer_of(t)->value);
    t = ops::zeros(t.sizes(), below.dtype(), below.device());
  });
  std::vector<Tensor> out;
  for (const Tensor& t : call(op, false, std::move(args))) {
    out.push_back(make_batch(ops::zeros(concat({0}, t.sizes()), t.dtype(), t.device()), level.id));
  }
  return out;
}

// The arguments as one of the batch sees them.
Arguments part_of(const Arguments& args, const Level& level, int64_t i) {
  Arguments one = args;
  one.each([&](Tensor& t) {
    if (has_level(t, level.id)) t = select(layer_of(t)->value, 0, i);
  });
  return one;
}

// The whole call for each of the batch, joined: what any operation can fall back on.
template <class Before>
std::vector<Tensor> call_each(const Op& op, bool inplace, const Arguments& args, const Level& level,
                              const Before& before) {
  const bool changes = mutates(op, inplace);
  Arguments whole = args;
  const Tensor self = changes ? whole.tensor(0) : Tensor();
  if (level.size == 0) {
    if (changes) return {self};
    return call_none(op, std::move(whole), level);
  }
  std::vector<std::vector<Tensor>> parts;
  for (int64_t i = 0; i < level.size; ++i) {
    before();
    const std::vector<Tensor> results = call(op, inplace, part_of(args, level, i));
    parts.resize(results.size());
    for (size_t k = 0; k < results.size(); ++k) {
      if (!parts[k].empty() && !(results[k].sizes() == parts[k][0].sizes())) {
        fail("vmap: ", op.name, ": the result has shape ", parts[k][0].sizes(),
             " for one of the "
             "batch and ",
             results[k].sizes(),
             " for another; operations whose result's shape "
             "depends on the values cannot be mapped");
      }
      parts[k].push_back(results[k]);
    }
  }
  if (changes) return {self};
  std::vector<Tensor> out;
  for (const auto& each : parts) out.push_back(make_batch(stack(each), level.id));
  return out;
}

}  // namespace

Tensor aligned(const Tensor& t, int rank, const Level& level) {
  if (!has_level(t, level.id)) return t;
  const Tensor& value = layer_of(t)->value;
  if (t.dim() == rank) return value;
  const Dims ones = Dims::filled(rank - t.dim(), 1);
  return reshape(value, concat(concat({value.size(0)}, ones), t.sizes()));
}

std::vector<Tensor> call_batch(const Op& op, bool inplace, Arguments args, const Level& at) {
  const Level level = at;  // calls below may move the list of levels
  const bool changes = mutates(op, inplace);
  if (draws(op, args)) return call_random(op, inplace, std::move(args));
  const Tensor self = changes ? args.tensor(0) : Tensor();
  if (changes) check_inplace_batch(op, args, level);
  if (const BatchRule rule = rules_of(op).batch) {
    Arguments copy = args;
    if (const auto results = rule(op, inplace, copy, level)) {
      if (changes) return {self};
      std::vector<Tensor> out;
      for (const Tensor& r : *results) out.push_back(make_batch(r, level.id));
      return out;
    }
  }
  return call_each(op, inplace, args, level, [] {});
}

std::vector<Tensor> call_random(const Op& op, bool inplace, Arguments args) {
  const Level level = *innermost_batch();
  bool batched = false;
  args.each([&](Tensor& t) { batched = batched || has_level(t, level.id); });
  if (level.randomness == Randomness::Error) {
    fail("vmap: called random operation ", op.name,
         " while in randomness error mode. Please either use the 'same' or 'different' randomness "
         "flags on vmap or perform the randomness operation out of vmap");
  }
  const int at = args.find("generator");
  Generator& generator = at >= 0 && args[static_cast<size_t>(at)].given
                             ? *args[static_cast<size_t>(at)].generator
                             : default_generator();
  const bool same = level.randomness == Randomness::Same;
  if (!same && mutates(op, inplace) && !has_level(args.tensor(0), level.id)) {
    fail("vmap: ", op.name,
         ": cannot ask for different in-place randomness on a tensor that is not batched: it "
         "would appear like same randomness; expected a batched tensor");
  }
  // Off the stack for these calls, else they would come here again.
  const OutsideBatch outside(level.id);
  if (same && !batched && level.size > 0) return call(op, inplace, std::move(args));
  const RandomState start = generator.state();
  return call_each(op, inplace, args, level, [&] {
    if (same) generator.set_state(start);
  });
}

}  // namespace wengert::transforms
