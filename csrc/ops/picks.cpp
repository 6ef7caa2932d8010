// Offsets from index tensors, and reading, writing, adding and combining by them.
#include "ops/picks.h"

#include "kernels/launch.h"
#include "ops/checks.h"
#include "tape/backward.h"

namespace wengert::ops {

// --- offsets -----------------------------------------------------------------------------------

namespace {

Launch launch_of(Kernel kernel, DType dtype, const Dims& sizes,
                 std::initializer_list<const Tensor*> operands) {
  Launch l;
  l.kernel = id(kernel);
  l.dtype = dtype;
  describe(l, sizes, operands.begin(), static_cast<int>(operands.size()));
  return l;
}

// The picked elements of x, as an operand of a launch over the picks' space.
Tensor operand(const Tensor& x, const Picks& p) {
  return x.view(p.sizes, p.strides, product(p.sizes) == 0 ? 0 : p.start);
}

// Sizes of 1 before and after those of an index, so that it broadcasts into its place.
Tensor in_place_of(const Tensor& at, int before, int after) {
  Dims sizes;
  for (int d = 0; d < before; ++d) sizes.push_back(1);
  for (int64_t s : at.sizes()) sizes.push_back(s);
  for (int d = 0; d < after; ++d) sizes.push_back(1);
  return at.view(sizes, contiguous_strides(sizes));
}

}  // namespace

void add_offsets(const Tensor& at, const Tensor& index, int64_t size, int64_t stride, bool adds,
                 const IndexCheck& check) {
  if (at.numel() == 0) return;
  const Tensor seen = Tensor::empty({2}, DType::Int64, index.device());
  Launch l = launch_of(Kernel::IndexOffsets, index.dtype(), at.sizes(), {&at, &index});
  l.buffer[2] = l.buffer[1];
  set_buffer(l, 1, seen);
  for (int d = 0; d < l.ndim; ++d) l.buffer[1].stride[d] = 0;
  l.nbuffers = 3;
  l.integer[0] = size;
  l.integer[1] = stride;
  l.integer[2] = adds;
  launch(l);
  host_check(checks::kIndex, {seen, index},
             {.text = {check.prefix},
              .integer = {size, static_cast<int64_t>(check.kind), check.dim, check.wraps}});
}

Picks picks_along(const Frame& x, int dim, const Tensor& index, const IndexCheck& check) {
  Picks p;
  const bool scalar = x.sizes.empty();
  const int64_t size = scalar ? 1 : x.sizes[dim], stride = scalar ? 1 : x.strides[dim];
  p.sizes = p.strides = index.sizes();
  for (int d = 0; d < p.sizes.size(); ++d) {
    p.strides[d] = d == dim || d >= x.sizes.size() ? 0 : x.strides[d];
  }
  p.span = std::max<int64_t>(size - 1, 0) * stride + 1;
  p.at = Tensor::empty(index.sizes(), DType::Int64, index.device());
  add_offsets(p.at, index, size, stride, false, check);
  return p;
}

Picks picks_of_slices(const Frame& x, int dim, const Tensor& index, const IndexCheck& check) {
  Picks p;
  const bool scalar = x.sizes.empty();
  const int64_t size = scalar ? 1 : x.sizes[dim], stride = scalar ? 1 : x.strides[dim];
  p.sizes = x.sizes;
  p.strides = x.strides;
  p.span = std::max<int64_t>(size - 1, 0) * stride + 1;
  p.at = Tensor::empty({index.numel()}, DType::Int64, index.device());
  add_offsets(p.at, index, size, stride, false, check);
  if (scalar) {
    p.at = p.at.view({}, {});
  } else {
    p.sizes[dim] = index.numel();
    p.strides[dim] = 0;
    p.at = in_place_of(p.at, dim, x.sizes.size() - dim - 1);
  }
  return p;
}

Picks picks_of_positions(const Frame& x, const Tensor& index, const IndexCheck& check) {
  Picks p;
  p.sizes = index.sizes();
  p.strides = Dims::filled(p.sizes.size(), 0);
  p.span = std::max<int64_t>(product(x.sizes), 1);
  p.at = Tensor::empty(index.sizes(), DType::Int64, index.device());
  add_offsets(p.at, index, product(x.sizes), 1, false, check);
  return p;
}

Tensor plain_copy(const Tensor& x) {
  const Tensor out = Tensor::empty(x.sizes(), x.dtype(), x.device());
  copy_into(out, x);
  return out;
}

// --- the kernels -------------------------------------------------------------------------------

Tensor gathered(const Tensor& x, const Picks& p) {
  const Tensor out = Tensor::empty(p.sizes, x.dtype(), x.device());
  const Tensor from = operand(x, p);
  launch(launch_of(Kernel::Gather, x.dtype(), p.sizes, {&out, &from, &p.at}));
  return out;
}

namespace {

void scatter(Kernel kernel, const Tensor& x, const Picks& p, const Tensor& values, Reduction how) {
  const GradMode off(false);
  const Tensor to = operand(x, p), from = to_device(values, x.device());
  Launch l = launch_of(kernel, x.dtype(), p.sizes, {&to, &from, &p.at});
  l.integer[0] = static_cast<int64_t>(how);
  l.integer[1] = p.span;
  launch(l);
}

// Narrow dtypes are combined in the one that they are computed in.
void combine_into(const Tensor& x, const Picks& p, const Tensor& values, Reduction how) {
  if (!is_narrow(x.dtype())) return scatter(Kernel::ScatterReduce, x, p, values, how);
  WENGERT_CHECK(x.contiguous());
  const GradMode off(false);
  const DType wide = compute_dtype(x.dtype());
  const Tensor widened = to(x, wide);
  scatter(Kernel::ScatterReduce, widened, p, to(values, wide), how);
  copy_into(x, widened);
}

struct PickPayload {
  int64_t start, span;
  Dims sizes, strides, whole;
};
PickPayload payload_of(const Picks& p, const Dims& whole) {
  return {p.start, p.span, p.sizes, p.strides, whole};
}
Picks picks_from(Node& node, int at) {
  const auto& p = node.payload<PickPayload>();
  return {p.start, p.span, p.sizes, p.strides, node.unpack(at)};
}

constexpr Rule kSpread{"index_add", [](Node& node, Tensor* g, Tensor* out) {
                         out[0] = pick(*g, picks_from(node, 0));
                       }};
constexpr Rule kPick{"index", [](Node& node, Tensor* g, Tensor* out) {
                       out[0] = spread(*g, picks_from(node, 0), node.payload<PickPayload>().whole);
                     }};
constexpr Rule kPut{"index_put", [](Node& node, Tensor* g, Tensor* out) {
                      const Picks p = picks_from(node, 0);
                      if (node.wants(1)) out[1] = pick(*g, p);
                      if (node.wants(0)) out[0] = put(*g, p, zeros({}, g->dtype(), g->device()));
                    }};
constexpr Rule kAccumulate{"index_put", [](Node& node, Tensor* g, Tensor* out) {
                             if (node.wants(1)) out[1] = pick(*g, picks_from(node, 0));
                             out[0] = *g;
                           }};

}  // namespace

void scatter_into(const Tensor& x, const Picks& p, const Tensor& values, Write how) {
  if (how == Write::Put) {
    scatter(Kernel::Scatter, x, p, values, Reduction::Sum);
  } else {
    combine_into(x, p, values, Reduction::Sum);
  }
}

void record_pick(const Tensor& x, const Tensor& out, const Picks& dense) {
  const Tensor* in[] = {&x};
  record(kPick, in, 1, out, 1, payload_of(dense, x.sizes()))->save(0, dense.at);
}

void record_write(const Tensor& x, const Tensor& values, const Tensor& out, const Picks& dense,
                  Write how) {
  const Tensor* in[] = {&x, &values};
  record(how == Write::Put ? kPut : kAccumulate, in, 2, out, 1, payload_of(dense, x.sizes()))
      ->save(0, dense.at);
}

void check_values(const char* op, const Tensor& x, const Picks& p, const Tensor& values) {
  const bool number = values.dim() == 0 && values.device() == Device::CPU;
  if (values.device() != x.device() && !number) devices_differ(x.device(), values.device());
  const Dims& have = values.sizes();
  bool fits = have.size() <= p.sizes.size();
  for (int d = 1; fits && d <= have.size(); ++d) {
    const int64_t size = have[have.size() - d];
    fits = size == 1 || size == p.sizes[p.sizes.size() - d];
  }
  if (!fits) {
    fail(op, ": shape mismatch: value tensor of shape ", have,
         " cannot be broadcast to indexing result of shape ", p.sizes);
  }
}

// --- dense and recorded ------------------------------------------------------------------------

namespace {
Tensor written(const Tensor& x, const Picks& p, const Tensor& values, Write how) {
  return write_picks("index_put", x, values, how, [&](const Frame&) { return p; });
}
}  // namespace

Tensor pick(const Tensor& x, const Picks& p) {
  return read_picks(contiguous(x), [&](const Frame&) { return p; });
}
Tensor put(const Tensor& x, const Picks& p, const Tensor& values) {
  return written(x, p, values, Write::Put);
}
Tensor accumulate(const Tensor& x, const Picks& p, const Tensor& values) {
  return written(x, p, values, Write::Accumulate);
}

Tensor spread(const Tensor& g, const Picks& p, const Dims& sizes) {
  const Tensor out = zeros(sizes, g.dtype(), g.device());
  combine_into(out, p, g, Reduction::Sum);
  if (recording(g)) {
    const Tensor* in[] = {&g};
    record(kSpread, in, 1, out, 1, payload_of(p, sizes))->save(0, p.at);
  }
  return out;
}

// --- combining by product, greatest and least --------------------------------------------------

namespace {

struct CombinePayload {
  PickPayload picks;
  Reduction how;
};

Tensor as(const Tensor& condition, const Tensor& like) {
  return to(condition, like.dtype());
}
Tensor zero_of(const Tensor& like) {
  return number_like({true, 0, 0}, &like);
}
Tensor one_of(const Tensor& like) {
  return number_like({true, 1, 1}, &like);
}

// Whoever equals the result shares the gradient evenly.
void pull_extreme(const Tensor& g, const Picks& p, const Tensor& x, const Tensor& v,
                  const Tensor& y, Tensor* out) {
  const Tensor mine = as(eq(x, y), g), theirs = as(eq(v, pick(y, p)), g);
  const Tensor share = div(g, accumulate(mine, p, theirs));
  out[0] = mul(mine, share);
  out[1] = mul(theirs, pick(share, p));
}

// The product of the others: by division, except for a factor that is the only zero of its place,
// for which the others are multiplied anew.
void pull_product(const Tensor& g, const Picks& p, const Tensor& x, const Tensor& v,
                  const Tensor& y, Tensor* out) {
  const Tensor x_zero = eq(x, zero_of(x)), v_zero = eq(v, zero_of(v));
  const Tensor safe_x = where(x_zero, one_of(x), x);
  out[0] = div(mul(g, combine(safe_x, p, v, Reduction::Product)), safe_x);
  const Tensor zeros_here = pick(accumulate(zeros_like(g), p, as(v_zero, g)), p);
  const Tensor only = mul(as(v_zero, g), as(eq(zeros_here, one_of(g)), g));
  const Tensor is_only = eq(only, one_of(g));
  const Tensor others = combine(x, p, where(is_only, one_of(v), v), Reduction::Product);
  out[1] =
      where(is_only, pick(mul(g, others), p), div(pick(mul(g, y), p), where(v_zero, one_of(v), v)));
}

constexpr Rule kCombine{
    "scatter_reduce", [](Node& node, Tensor* g, Tensor* out) {
      const auto& c = node.payload<CombinePayload>();
      const Picks p{c.picks.start, c.picks.span, c.picks.sizes, c.picks.strides, node.unpack(0)};
      const Tensor x = node.unpack(1), v = node.unpack(2), y = node.unpack(3);
      const auto pull = c.how == Reduction::Product ? pull_product : pull_extreme;
      pull(*g, p, x, v, y, out);
    }};

}  // namespace

Tensor combine(const Tensor& given, const Picks& p, const Tensor& given_values, Reduction how) {
  if (how == Reduction::Sum) return accumulate(given, p, given_values);
  const Tensor x = contiguous(given), values = expand(given_values, p.sizes);
  const Tensor out = plain_copy(x);
  combine_into(out, p, values, how);
  if (recording(x, values)) {
    const Tensor* in[] = {&x, &values};
    Node* n = record(kCombine, in, 2, out, 4, CombinePayload{payload_of(p, x.sizes()), how});
    n->save(0, p.at);
    n->save(1, x);
    n->save(2, values);
    n->save_output(3, out);
  }
  return out;
}

// --- where it is not zero ----------------------------------------------------------------------

namespace {

Tensor nonzero_in(const Tensor& given, const Dims& sizes) {
  const Tensor x = contiguous(given);
  const int64_t n = x.numel(), blocks = (n + kNonzeroBlock - 1) / kNonzeroBlock;
  const Tensor before = Tensor::empty({blocks + 1}, DType::Int64, x.device());
  Launch l;
  l.dtype = x.dtype();
  l.device = x.device();
  l.dense = true;
  l.ndim = static_cast<uint8_t>(sizes.size());
  for (int d = 0; d < sizes.size(); ++d) l.size[d] = sizes[d];
  l.count = n;
  l.kernel = id(Kernel::NonzeroCount);
  l.nbuffers = 2;
  set_buffer(l, 0, before);
  set_buffer(l, 1, x);
  launch(l);
  const int64_t count = before.view({}, {}, blocks).to_int64();
  const Tensor out = Tensor::empty({count, sizes.size()}, DType::Int64, x.device());
  if (out.numel() == 0) return out;
  l.kernel = id(Kernel::Nonzero);
  l.nbuffers = 3;
  set_buffer(l, 0, out);
  set_buffer(l, 2, before);
  launch(l);
  return out;
}

}  // namespace

Tensor nonzero_positions(const Tensor& x) {
  const Tensor found = nonzero_in(x, {x.numel()});
  return found.view({found.size(0)}, {1});
}

Tensor nonzero(const Tensor& x) {
  return nonzero_in(x, x.sizes());
}

}  // namespace wengert::ops
