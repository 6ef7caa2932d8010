// Indexing: regions (integers, slices, None) as views, assignment to them, rows by index, cat.
#include "kernels/launch.h"
#include "ops/elementwise.h"
#include "ops/op_table.h"
#include "tape/backward.h"

namespace wengert {
namespace ops {
namespace {

Tensor region_view(const Tensor& x, const Region& r) {
  Dims strides = r.sizes;
  int64_t offset = 0;
  for (int d = 0; d < x.dim(); ++d) offset += r.start[d] * x.stride(d);
  for (int d = 0; d < r.sizes.size(); ++d) {
    strides[d] = r.source[d] < 0 ? 0 : r.step[r.source[d]] * x.stride(r.source[d]);
  }
  // An empty view may start one past the end; keep its address inside.
  return x.view(r.sizes, strides, product(r.sizes) == 0 ? 0 : offset);
}

// The inverse: zeros with g in the region.
Tensor embed(const Tensor& g, const Region& r, const Dims& sizes);

constexpr Rule kEmbed{"index_backward", [](Node& node, Tensor* g, Tensor* out) {
                        out[0] = at_region(*g, node.payload<Region>());
                      }};
constexpr Rule kAt{"index", [](Node& node, Tensor* g, Tensor* out) {
                     out[0] = embed(*g, node.payload<Region>(), node.input_sizes(0));
                   }};

// x[region] = value: the region's gradient goes to value, the rest to what x was.
constexpr Rule kAssign{"index_put_", [](Node& node, Tensor* g, Tensor* out) {
                         const auto& r = node.payload<Region>();
                         if (node.wants(1)) {
                           const Edge& e = node.edges()[1];
                           out[1] = to(at_region(*g, r), e.node->outputs()[e.slot].dtype);
                         }
                         if (!node.wants(0)) return;
                         out[0] = clone(*g);
                         assign_region(out[0], r, number_like({true, 0, 0}, g));
                       }};

Tensor embed(const Tensor& g, const Region& r, const Dims& sizes) {
  const Tensor out = zeros(sizes, g.dtype(), g.device());
  copy_into(region_view(out, r), g);
  if (recording(g)) {
    const Tensor* in[] = {&g};
    record(kEmbed, in, 1, out, 0, r);
  }
  return out;
}

}  // namespace

Tensor at_region(const Tensor& x, const Region& r) {
  const Tensor v = region_view(x, r);
  set_base(v, x);
  if (recording(x)) {
    check_view("index", x);
    const Tensor* in[] = {&x};
    record(kAt, in, 1, v, 0, r);
  }
  return v;
}

void assign_region(const Tensor& x, const Region& r, const Tensor& value) {
  Tensor v = value;
  // as PyTorch, leading dimensions of size 1 that the region lacks are dropped
  while (v.dim() > r.sizes.size() && v.size(0) == 1) v = squeeze(v, 0);
  if (v.dim() > r.sizes.size() ||
      !(broadcast_shapes("index_put_", r.sizes, v.sizes()) == r.sizes)) {
    fail("index_put_: shape mismatch: value tensor of shape ", value.sizes(),
         " cannot be broadcast to indexing result of shape ", r.sizes);
  }
  const bool records = check_inplace("index_put_", x, recording(v) && is_floating(x.dtype()));
  const bool shares = x->storage.get() == v->storage.get();
  copy_into(region_view(x, r), shares ? clone(v) : v);
  x.bump_version();
  if (records) {
    const Tensor* in[] = {&x, &v};
    record(kAssign, in, 2, x, 0, r);
  }
}

// --- rows by index -----------------------------------------------------------------------------

namespace {

struct Fold {
  int64_t outer, middle, inner;
};
Fold fold_at(const Dims& sizes, int dim) {
  Fold f{1, sizes.empty() ? 1 : sizes[dim], 1};
  for (int d = 0; d < dim; ++d) f.outer *= sizes[d];
  for (int d = dim + 1; d < sizes.size(); ++d) f.inner *= sizes[d];
  return f;
}

// to[:, i, :] = from[:, index[i], :], or with IndexAdd to[:, index[i], :] += from[:, i, :]
void run_index(Kernel kernel, const Tensor& to, const Tensor& from, const Tensor& index,
               const Fold& whole) {
  const Tensor* operands[] = {&to, &from, &index};
  Launch l;
  l.kernel = id(kernel);
  l.dtype = to.dtype();
  l.device = to.device();
  l.dense = true;
  l.ndim = 3;
  l.size[0] = whole.outer;
  l.size[1] = index.numel();
  l.size[2] = whole.inner;
  l.count = whole.outer * index.numel() * whole.inner;
  l.integer[0] = whole.middle;
  l.nbuffers = 3;
  for (int k = 0; k < 3; ++k) set_buffer(l, k, *operands[k]);
  launch(l);
}

struct SelectPayload {
  int64_t dim;
  Dims sizes;
};
Tensor add_rows_at(const Tensor& g, const Tensor& index, const SelectPayload& p);

constexpr Rule kAddRows{"index_add", [](Node& node, Tensor* g, Tensor* out) {
                          const auto& p = node.payload<SelectPayload>();
                          out[0] = index_select(*g, p.dim, node.unpack(0));
                        }};
constexpr Rule kSelect{"index_select", [](Node& node, Tensor* g, Tensor* out) {
                         out[0] = add_rows_at(*g, node.unpack(0), node.payload<SelectPayload>());
                       }};

Tensor add_rows_at(const Tensor& g, const Tensor& index, const SelectPayload& p) {
  const Tensor out = zeros(p.sizes, g.dtype(), g.device());
  run_index(Kernel::IndexAdd, out, contiguous(g), index, fold_at(p.sizes, static_cast<int>(p.dim)));
  if (recording(g)) {
    const Tensor* in[] = {&g};
    record(kAddRows, in, 1, out, 1, p)->save(0, index);
  }
  return out;
}

Tensor checked_index(const Tensor& index, int64_t size, bool wrap) {
  if (index.dtype() != DType::Int64) {
    fail("index_select: expected an int64 index, got ", name_of(index.dtype()));
  }
  Tensor out = contiguous(index);
  bool negative = false;
  const auto* at = out.data<int64_t>();
  for (int64_t i = 0; i < out.numel(); ++i) {
    if (at[i] >= size || at[i] < (wrap ? -size : 0)) {
      fail(ErrorKind::Index, "index_select: index ", at[i],
           " is out of bounds for dimension with size ", size);
    }
    negative = negative || at[i] < 0;
  }
  if (!negative) return out;
  out = clone(out);
  auto* fixed = out.data<int64_t>();
  for (int64_t i = 0; i < out.numel(); ++i) fixed[i] += fixed[i] < 0 ? size : 0;
  return out;
}

Tensor select_rows(const Tensor& x, int dim, const Tensor& index, bool wrap) {
  const Fold whole = fold_at(x.sizes(), dim);
  const Tensor at = checked_index(index, whole.middle, wrap);
  if (x->base) check_view("index_select", x);
  Dims sizes = x.sizes();
  if (!sizes.empty()) sizes[dim] = at.numel();
  const Tensor out = Tensor::empty(sizes, x.dtype(), x.device());
  run_index(Kernel::IndexSelect, out, contiguous(x), at, whole);
  if (recording(x)) {
    const Tensor* in[] = {&x};
    record(kSelect, in, 1, out, 1, SelectPayload{dim, x.sizes()})->save(0, at);
  }
  return out;
}

}  // namespace

Tensor index_select(const Tensor& x, int64_t dim, const Tensor& index) {
  const int d = wrap_dim("index_select", dim, x.dim());
  if (index.dim() > 1) {
    fail(ErrorKind::Index, "index_select: index is supposed to be a vector, got shape ",
         index.sizes());
  }
  return select_rows(x, d, index, false);
}

Tensor take_rows(const Tensor& x, const Tensor& index) {
  if (x.dim() == 0) {
    fail(ErrorKind::Index, "index: too many indices for tensor of dimension 0");
  }
  Dims sizes = index.sizes();
  for (int d = 1; d < x.dim(); ++d) sizes.push_back(x.size(d));
  return reshape(select_rows(x, 0, reshape(index, {index.numel()}), true), sizes);
}

Tensor narrow(const Tensor& x, int64_t dim, int64_t start, int64_t length) {
  if (x.dim() == 0) fail("narrow: cannot be applied to a 0-dim tensor");
  const int d = wrap_dim("narrow", dim, x.dim());
  if (start < 0) start += x.size(d);
  if (start < 0 || length < 0 || start + length > x.size(d)) {
    fail("narrow: start (", start, ") + length (", length, ") exceeds dimension size (", x.size(d),
         ")");
  }
  Region r;
  r.sizes = x.sizes();
  for (int k = 0; k < x.dim(); ++k) {
    r.start[k] = k == d ? start : 0;
    r.step[k] = 1;
    r.source[k] = static_cast<int8_t>(k);
  }
  r.sizes[d] = length;
  return at_region(x, r);
}

namespace {
constexpr Rule kCat{"cat", [](Node& node, Tensor* g, Tensor* out) {
                      const auto dim = static_cast<int>(node.payload<int64_t>());
                      const auto* lengths = &node.payload<int64_t>() + 1;
                      int64_t at = 0;
                      for (int i = 0; i < node.num_inputs; at += lengths[i++]) {
                        if (node.wants(i)) out[i] = narrow(*g, dim, at, lengths[i]);
                      }
                    }};
}  // namespace

Tensor cat(const std::vector<Tensor>& given, int64_t dim) {
  if (given.empty()) fail("cat: expected a non-empty list of tensors");
  // as PyTorch, empty vectors are passed over whatever the other shapes
  std::vector<Tensor> parts;
  for (const Tensor& t : given) {
    if (t.dim() == 0) fail("cat: zero-dimensional tensor cannot be concatenated");
    if (t.dim() != 1 || t.size(0) != 0) parts.push_back(t);
  }
  if (parts.empty()) parts.push_back(given[0]);
  const Tensor& first = parts[0];
  const int d = wrap_dim("cat", dim, first.dim());
  DType dtype = first.dtype();
  Dims sizes = first.sizes();
  sizes[d] = 0;
  for (size_t i = 0; i < parts.size(); ++i) {
    const Tensor& t = parts[i];
    const Tensor* both[] = {&first, &t};
    if (t.dtype() != dtype) dtype = result_type(both, 2);
    Dims others = t.sizes();
    if (t.dim() == sizes.size()) others[d] = sizes[d];
    if (!(others == sizes)) {
      fail("cat: sizes of tensors must match except in dimension ", d, ", got ", first.sizes(),
           " and ", t.sizes(), " at position ", i);
    }
    sizes[d] += t.size(d);
  }
  const Tensor out = Tensor::empty(sizes, dtype, first.device());
  Dims piece = sizes;
  int64_t at = 0;
  bool records = false;
  std::vector<const Tensor*> inputs;
  for (Tensor& t : parts) {
    if (t.dtype() != dtype) t = to(t, dtype);
    piece[d] = t.size(d);
    copy_into(out.view(piece, out.strides(), at * out.stride(d)), t);
    at += t.size(d);
    records = records || recording(t);
    inputs.push_back(&t);
  }
  if (records) {
    const auto n = static_cast<int>(parts.size());
    const size_t bytes = (parts.size() + 1) * sizeof(int64_t);
    if (bytes > UINT16_MAX) fail("cat: too many tensors (", n, ") to record");
    Node* node = record(kCat, inputs.data(), n, out, 0, static_cast<int>(bytes));
    int64_t* payload = &node->payload<int64_t>();
    *payload = d;
    for (const Tensor& t : parts) *++payload = t.size(d);
  }
  return out;
}

namespace {
Tensor stack(const std::vector<Tensor>& tensors, int64_t dim) {
  std::vector<Tensor> parts;
  for (const Tensor& t : tensors) {
    if (!(t.sizes() == tensors[0].sizes())) {
      fail("stack: expects each tensor to be equal size, but got ", tensors[0].sizes(),
           " at entry 0 and ", t.sizes(), " at entry ", parts.size());
    }
    parts.push_back(unsqueeze(t, wrap_dim("stack", dim, t.dim() + 1)));
  }
  return cat(parts, tensors.empty() ? 0 : wrap_dim("stack", dim, tensors[0].dim() + 1));
}
}  // namespace
}  // namespace ops

void add_index(OpTable& t) {
  using namespace ops;
  constexpr uint8_t both = kMethod | kFunction;
  t.push_back(row<&index_select>("index_select(Tensor input, int dim, Tensor index)", both,
                                 "The slices of input along dim that an int64 vector names."));
  t.push_back(row<&narrow>("narrow(Tensor input, int dim, int start, int length)", both,
                           "A stretch of one dimension, sharing memory."));
  t.push_back(row<&cat>("cat(Tensor[] tensors, int dim=0)", kFunction,
                        "Joins tensors along an existing dimension."));
  t.push_back(row<&stack>("stack(Tensor[] tensors, int dim=0)", kFunction,
                          "Joins tensors of one shape along a new dimension."));
}

}  // namespace wengert
