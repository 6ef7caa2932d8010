// Rules for batches: elementwise operations, those along dimensions, and shapes.
#include <algorithm>

#include "core/error.h"
#include "transforms/rules.h"

namespace wengert::transforms {
namespace {

// A batched 0-dim tensor takes part in promotion as one: it gives way to the dtype of dimensioned
// operands of its category, though the value has a dimension.
void settle_dtype(Arguments& args) {
  const std::vector<Tensor> all = args.tensors();
  std::vector<const Tensor*> numbers;
  for (const Tensor& t : all) numbers.push_back(&t);
  const bool scalars =
      std::any_of(all.begin(), all.end(), [](const Tensor& t) { return t->layer && t.dim() == 0; });
  if (!scalars) return;
  const DType dtype = result_type(numbers.data(), static_cast<int>(numbers.size()));
  args.each([&](Tensor& t) {
    if (t->layer && t.dim() == 0 && is_floating(t.dtype()) && is_floating(dtype)) t = to(t, dtype);
  });
}

constexpr std::string_view kDimNames[] = {"dim",     "dims",   "dim0",        "dim1",
                                          "dim2",    "axis0",  "axis1",       "start_dim",
                                          "end_dim", "source", "destination", "dimension"};

// The places of the parameters that are dimensions.
std::vector<size_t> dim_params(const Op& op) {
  std::vector<size_t> out;
  for (size_t i = 0; i < op.params.size(); ++i) {
    const Param& p = op.params[i];
    const bool ints =
        p.type == ArgType::Int || p.type == ArgType::Ints || p.type == ArgType::VarInts;
    if (ints &&
        std::find(std::begin(kDimNames), std::end(kDimNames), p.name) != std::end(kDimNames)) {
      out.push_back(i);
    }
  }
  return out;
}

// Shifts the dimensions given by one; false where none is given.
bool shift_dims(const Op& op, Arguments& args, int rank) {
  bool some = false;
  for (const size_t i : dim_params(op)) {
    if (!args[i].given) continue;
    some = true;
    if (op.params[i].type == ArgType::Int) {
      args.set(i, int64_t{wrap_dim(op.name.c_str(), args[i].i, rank) + 1});
    } else {
      Dims dims = *args[i].ints;
      for (int64_t& d : dims) d = wrap_dim(op.name.c_str(), d, rank) + 1;
      args.set(i, dims);
    }
  }
  return some;
}

// What adds a dimension counts the new one.
bool adds_dimension(const Op& op) {
  return op.name == "unsqueeze" || op.name == "stack" || op.name == "diag_embed";
}

}  // namespace

BatchResult batch_elementwise(const Op& op, bool inplace, Arguments& args, const Level& level) {
  settle_dtype(args);
  int rank = 0;
  args.each([&](Tensor& t) { rank = std::max(rank, t.dim()); });
  args.each([&](Tensor& t) { t = aligned(t, rank, level); });
  return call(op, inplace, args);
}

BatchResult batch_masked_fill(const Op& op, bool inplace, Arguments& args, const Level& level) {
  if (!args.tensor(2)->layer) return batch_elementwise(op, inplace, args, level);
  if (inplace) return {};
  static const Op& where = *find_op("where");
  Arguments other(where);
  other.set(0, args.tensor(1));
  other.set(1, args.tensor(2));
  other.set(2, args.tensor(0));
  return batch_elementwise(where, false, other, level);
}

BatchResult batch_trailing(const Op& op, bool inplace, Arguments& args, const Level& level) {
  bool matrices = true;
  args.each([&](Tensor& t) { matrices = matrices && t.dim() >= 2; });
  if (!matrices) return {};
  args.each([&](Tensor& t) { t = batch_value(t, level); });
  return call(op, inplace, args);
}

BatchResult batch_in_front(const Op& op, bool inplace, Arguments& args, const Level& level) {
  const Tensor first = args.tensor(0);
  const bool alone = op.name != "scaled_dot_product_attention";
  bool fits = first->layer && (alone || first.dim() >= 2);
  bool is_first = true;
  args.each([&](Tensor& t) {
    if (!is_first && t->layer) fits = fits && !alone && t.dim() == first.dim();
    if (!is_first && !alone) fits = fits && t.dim() <= first.dim();
    is_first = false;
  });
  if (!fits) return {};
  args.each([&](Tensor& t) {
    if (t->layer) t = batch_value(t, level);
  });
  return call(op, inplace, args);
}

BatchResult batch_dims(const Op& op, bool inplace, Arguments& args, const Level& level) {
  if (args.find("other") >= 0) return batch_elementwise(op, inplace, args, level);
  const std::vector<Tensor> all = args.tensors();
  const int rank = all[0].dim() + (adds_dimension(op) ? 1 : 0);
  if (rank == 0 || !shift_dims(op, args, rank)) return {};
  // Some take tensors of several ranks, which the batch's dimension would change the meaning of.
  const bool mixed =
      std::any_of(all.begin(), all.end(), [&](const Tensor& t) { return t.dim() != all[0].dim(); });
  if (mixed && op.name != "select_scatter" && op.name != "diagonal_scatter") return {};
  if (op.name == "roll" && args[1].ints->size() != args[2].ints->size()) return {};
  args.each([&](Tensor& t) { t = batch_value(t, level); });
  return call(op, inplace, args);
}

BatchResult batch_reduction(const Op& op, bool inplace, Arguments& args, const Level& level) {
  const int dim = args.find("dim");
  if (dim < 0) return {};
  const Arg& given = args[place(dim)];
  const bool list = op.params[place(dim)].type == ArgType::Ints;
  const bool none = given.given && list && given.ints->empty();
  if (none && (op.name == "all" || op.name == "any")) {  // there, no dimensions are none
    return batch_elementwise(op, inplace, args, level);
  }
  if (given.given && !none) return batch_dims(op, inplace, args, level);
  const int rank = args.tensor(0).dim();
  if (!list || rank == 0) return {};
  Dims all;
  for (int d = 0; d < rank; ++d) all.push_back(d);
  args.set(place(dim), all);
  return batch_dims(op, inplace, args, level);
}

BatchResult batch_shared_index(const Op& op, bool inplace, Arguments& args, const Level& level) {
  const auto index = place(args.find("index"));
  const int value = args.find("value");
  if (args.tensor(index)->layer || args.tensor(0).dim() == 0) return {};
  if (value >= 0 && args.tensor(place(value)).defined() && args.tensor(place(value))->layer) {
    return {};
  }
  shift_dims(op, args, args.tensor(0).dim());
  args.tensor(0) = batch_value(args.tensor(0), level);
  if (const int source = args.find("source"); source >= 0) {
    args.tensor(place(source)) = batch_value(args.tensor(place(source)), level);
  }
  return call(op, inplace, args);
}

BatchResult batch_reshape(const Op& op, bool inplace, Arguments& args, const Level& level) {
  if (op.params.size() > 1 && op.params[1].type == ArgType::DType) return {};
  const Tensor x = args.tensor(0);
  args.set(0, batch_value(x, level));
  if (op.params.size() == 1) return std::vector{reshape(args.tensor(0), {level.size, x.numel()})};
  Dims sizes = concat({level.size}, *args[1].ints);
  if (level.size == 0) {  // a size of -1 could be anything there
    int64_t known = 1;
    for (int i = 1; i < sizes.size(); ++i) known *= sizes[i] == -1 ? 1 : sizes[i];
    for (int i = 1; i < sizes.size(); ++i) {
      if (sizes[i] == -1) sizes[i] = known == 0 ? 0 : x.numel() / known;
    }
  }
  args.set(1, sizes);
  return call(op, inplace, args);
}

BatchResult batch_reshape_as(const Op& op, bool inplace, Arguments& args, const Level& level) {
  (void)inplace;
  const Tensor x = args.tensor(0);
  const Dims sizes = args.tensor(1).sizes();
  if (op.name == "expand_as") {
    static const Op& expand = *find_op("expand");
    Arguments other(expand);
    other.set(0, x);
    other.set(1, sizes);
    return batch_expand(expand, false, other, level);
  }
  return std::vector{reshape(batch_value(x, level), concat({level.size}, sizes))};
}

BatchResult batch_expand(const Op& op, bool inplace, Arguments& args, const Level& level) {
  const Tensor x = args.tensor(0);
  const Dims sizes = *args[1].ints;
  if (sizes.size() < x.dim()) return {};
  args.set(0, aligned(x, sizes.size(), level));
  args.set(1, concat({level.size}, sizes));
  return call(op, inplace, args);
}

BatchResult batch_permute(const Op& op, bool inplace, Arguments& args, const Level& level) {
  (void)inplace;
  const Tensor x = args.tensor(0);
  const Tensor value = batch_value(x, level);
  if (op.name == "t") {
    if (x.dim() > 2) return {};
    return std::vector{x.dim() < 2 ? value : transpose(value, 1, 2)};
  }
  const Dims& asked = *args[1].ints;
  if (asked.size() != x.dim()) return {};
  Dims order{0};
  for (const int64_t d : asked) order.push_back(wrap_dim("permute", d, x.dim()) + 1);
  return std::vector{permute(value, order)};
}

BatchResult batch_squeeze(const Op& op, bool inplace, Arguments& args, const Level& level) {
  const Tensor x = args.tensor(0);
  if (x.dim() == 0) return std::vector{batch_value(x, level)};
  Dims dims;
  if (args[1].given) {
    for (const int64_t d : *args[1].ints) dims.push_back(wrap_dim("squeeze", d, x.dim()) + 1);
  } else {
    for (int d = 0; d < x.dim(); ++d) {
      if (x.size(d) == 1) dims.push_back(d + 1);
    }
  }
  args.set(0, batch_value(x, level));
  args.set(1, dims);
  if (dims.empty()) return std::vector{reshape(args.tensor(0), args.tensor(0).sizes())};
  return call(op, inplace, args);
}

BatchResult batch_repeat(const Op& op, bool inplace, Arguments& args, const Level& level) {
  const Dims repeats = *args[1].ints;
  if (repeats.size() < args.tensor(0).dim()) return {};
  args.set(0, aligned(args.tensor(0), repeats.size(), level));
  args.set(1, concat({1}, repeats));
  return call(op, inplace, args);
}

}  // namespace wengert::transforms
