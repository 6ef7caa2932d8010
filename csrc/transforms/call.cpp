#include "transforms/call.h"

#include <algorithm>

#include "core/error.h"

namespace wengert::transforms {

// --- arguments ---------------------------------------------------------------------------------

namespace {

bool holds_tensor(ArgType t) {
  return t == ArgType::Tensor || t == ArgType::Value;
}
bool holds_list(ArgType t) {
  return t == ArgType::Tensors || t == ArgType::VarTensors || t == ArgType::OptTensors;
}
bool holds_ints(ArgType t) {
  return t == ArgType::Ints || t == ArgType::VarInts;
}

}  // namespace

Arguments::Arguments(const Op& op) : op_(&op) {
  const size_t n = op.params.size();
  args_.resize(n);
  singles_.resize(n);
  dims_.resize(n);
  for (size_t i = 0; i < n; ++i) args_[i] = op.params[i].default_value;
}

Arguments::Arguments(const Op& op, const Arg* args) : Arguments(op) {
  for (size_t i = 0; i < op.params.size(); ++i) {
    const ArgType type = op.params[i].type;
    if (!args[i].given || !(holds_tensor(type) || holds_list(type) || holds_ints(type))) {
      args_[i] = args[i];
    } else if (holds_tensor(type)) {
      if (args[i].tensor->defined()) set(i, *args[i].tensor);
    } else if (holds_list(type)) {
      set(i, *args[i].tensors);
    } else {
      set(i, *args[i].ints);
    }
  }
}

int Arguments::find(std::string_view param) const {
  for (size_t i = 0; i < op_->params.size(); ++i) {
    if (op_->params[i].name == param) return static_cast<int>(i);
  }
  return -1;
}

bool Arguments::is_list(size_t i) const {
  return holds_list(op_->params[i].type);
}

void Arguments::set(size_t i, const Tensor& t) {
  singles_[i] = t;
  args_[i].given = t.defined();
  args_[i].tensor = &singles_[i];
}
void Arguments::set(size_t i, const Dims& d) {
  dims_[i] = d;
  args_[i].given = true;
  args_[i].ints = &dims_[i];
}
void Arguments::set(size_t i, const std::vector<Tensor>& list) {
  list_ = list;
  args_[i].given = true;
  args_[i].tensors = &list_;
}
void Arguments::set(size_t i, int64_t v) {
  args_[i].given = true;
  args_[i].i = v;
}
void Arguments::set(size_t i, bool v) {
  args_[i].given = true;
  args_[i].b = v;
}
void Arguments::set(size_t i, DType d) {
  args_[i].given = true;
  args_[i].dtype = d;
}
void Arguments::set(size_t i, const char* text) {
  args_[i].given = true;
  args_[i].text = text;
}

std::vector<Tensor> Arguments::tensors() {
  std::vector<Tensor> all;
  each([&](Tensor& t) { all.push_back(t); });
  return all;
}

// --- calls -------------------------------------------------------------------------------------

namespace {

// transpose_ and its like, which give the tensor itself other dimensions.
bool changes_shape(const Op& op) {
  constexpr std::string_view names[] = {"transpose_", "swapaxes_",  "swapdims_",
                                        "t_",         "unsqueeze_", "squeeze_"};
  return std::find(std::begin(names), std::end(names), op.name) != std::end(names);
}
std::vector<Tensor> change_shape(const Op& op, Arguments args) {
  const Tensor self = args.tensor(0);
  const Op& view = *find_op(std::string_view(op.name).substr(0, op.name.size() - 1));
  const Tensor result = call(view, false, Arguments(view, args.data()))[0];
  self->layer = result->layer;
  self->sizes = result->sizes;
  self->strides = result->strides;
  return {self};
}

}  // namespace

std::vector<Tensor> call(const Op& op, bool inplace, Arguments args) {
  uint64_t top = 0;
  Device device = default_device();
  args.each([&](Tensor& t) {
    t = settled(t);
    top = std::max(top, level_of(t));
    if (!t->weak && (t.dim() > 0 || t.device() != Device::CPU)) device = t.device();
  });
  if (top == 0) {
    if (innermost_batch() && draws(op, args)) return call_random(op, inplace, std::move(args));
    if (inplace) return {op.inplace(args.data())};
    if (op.call) return {op.call(args.data())};
    return op.call_many(args.data());
  }
  const DefaultDevice here(device);  // rules make tensors of their own
  if (changes_shape(op)) return change_shape(op, std::move(args));
  const Level& level = *find_level(top);
  return level.kind == Kind::Batch ? call_batch(op, inplace, std::move(args), level)
                                   : call_dual(op, inplace, std::move(args), top);
}

Tensor call(const Op& op, const Tensor& x, bool inplace) {
  Arguments args(op);
  args.set(0, x);
  return call(op, inplace, std::move(args))[0];
}
Tensor call(const Op& op, const Tensor& a, const Tensor& b, bool inplace) {
  Arguments args(op);
  args.set(0, a);
  args.set(1, b);
  return call(op, inplace, std::move(args))[0];
}

// --- operations on what may be layers ----------------------------------------------------------

namespace {

// A row by its name and the type of its second parameter, which tells overloads apart.
const Op& op_named(std::string_view name) {
  const Op* op = find_op(name);
  if (!op) fail("transforms: there is no operation ", std::string(name));
  return *op;
}

template <class... As>
Tensor call_with(const Op& op, const As&... values) {
  Arguments args(op);
  size_t i = 0;
  (args.set(i++, values), ...);
  return call(op, false, std::move(args))[0];
}

}  // namespace

Tensor reshape(const Tensor& x, const Dims& sizes) {
  static const Op& op = op_named("reshape");
  return x->layer ? call_with(op, x, sizes) : ops::reshape(x, sizes);
}
Tensor expand(const Tensor& x, const Dims& sizes) {
  static const Op& op = op_named("expand");
  return x->layer ? call_with(op, x, sizes) : ops::expand(x, sizes);
}
Tensor permute(const Tensor& x, const Dims& order) {
  static const Op& op = op_named("permute");
  return x->layer ? call_with(op, x, order) : ops::permute(x, order);
}
Tensor transpose(const Tensor& x, int64_t a, int64_t b) {
  static const Op& op = op_named("transpose");
  return x->layer ? call_with(op, x, a, b) : ops::transpose(x, a, b);
}
Tensor movedim(const Tensor& x, int from, int to) {
  if (from == to) return x;
  Dims order;
  for (int d = 0; d < x.dim(); ++d) {
    if (d != from) order.push_back(d);
  }
  order.insert(to, from);
  return permute(x, order);
}
Tensor unsqueeze(const Tensor& x, int64_t dim) {
  static const Op& op = op_named("unsqueeze");
  return x->layer ? call_with(op, x, dim) : ops::unsqueeze(x, dim);
}
Tensor select(const Tensor& x, int64_t dim, int64_t index) {
  static const Op& op = op_named("select");
  return x->layer ? call_with(op, x, dim, index) : ops::select(x, dim, index);
}
Tensor stack(const std::vector<Tensor>& tensors) {
  static const Op& op = op_named("stack");
  return call_with(op, tensors, int64_t{0});
}
std::vector<Tensor> unbind(const Tensor& x) {
  static const Op& op = op_named("unbind");
  Arguments args(op);
  args.set(0, x);
  return call(op, false, std::move(args));
}
Tensor add(const Tensor& a, const Tensor& b) {
  static const Op& op = op_named("add");
  return a->layer || b->layer ? call(op, a, b) : ops::add(a, b);
}
Tensor mul(const Tensor& a, const Tensor& b) {
  static const Op& op = op_named("mul");
  return a->layer || b->layer ? call(op, a, b) : ops::mul(a, b);
}
Tensor matmul(const Tensor& a, const Tensor& b) {
  static const Op& op = op_named("matmul");
  return a->layer || b->layer ? call(op, a, b) : ops::matmul(a, b);
}
Tensor sum(const Tensor& x, const Dims& dims) {
  static const Op& op = op_named("sum");
  return dims.empty() ? x : x->layer ? call_with(op, x, dims) : ops::sum(x, &dims, false);
}
Tensor mean(const Tensor& x, const Dims& dims) {
  static const Op& op = op_named("mean");
  return dims.empty() ? x : x->layer ? call_with(op, x, dims) : ops::mean(x, &dims, false);
}
Tensor to(const Tensor& x, DType dtype) {
  static const Op& op = op_named("_to_dtype");
  if (x.dtype() == dtype) return x;
  return x->layer ? call_with(op, x, dtype) : ops::to(x, dtype);
}
Tensor detach(const Tensor& x) {
  static const Op& op = op_named("detach");
  return x->layer ? call(op, x) : ops::detach(x);
}
Tensor clone(const Tensor& x) {
  static const Op& op = op_named("clone");
  return x->layer ? call(op, x) : ops::clone(x);
}
Tensor zeros_like(const Tensor& x) {
  static const Op& op = op_named("zeros_like");
  return x->layer ? call(op, x) : ops::zeros_like(x);
}
Tensor ones_like(const Tensor& x) {
  static const Op& op = op_named("ones_like");
  return x->layer ? call(op, x) : ops::ones_like(x);
}
void copy_(const Tensor& to, const Tensor& from) {
  static const Op& op = op_named("copy_");
  call(op, to, from);
}

Tensor repeated(const Tensor& x, int dim, int64_t n) {
  Dims sizes = x.sizes();
  sizes.insert(dim, n);
  return expand(unsqueeze(x, dim), sizes);
}

Tensor insert_batch(const Tensor& x, const Level& level) {
  if (below_has(x, level.id)) return x;
  const Layer* l = layer_of(x);
  if (!l || l->level < level.id) return make_batch(repeated(x, 0, level.size), level.id);
  if (l->kind == Kind::Dual) {
    return make_dual(insert_batch(l->value, level), insert_batch(l->tangent, level), l->level);
  }
  // The other batch's dimension comes first in its value.
  return make_batch(insert_batch(l->value, level), l->level);
}

Tensor batch_value(const Tensor& t, const Level& level) {
  return has_level(t, level.id) ? layer_of(t)->value : repeated(t, 0, level.size);
}

}  // namespace wengert::transforms
