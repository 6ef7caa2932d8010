// Basic indexing: regions (integers, slices, None) as views, assignment to them, cat.
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
  t.push_back(row<&narrow>("narrow(Tensor input, int dim, int start, int length)", both,
                           "A stretch of one dimension, sharing memory."));
  t.push_back(row<&cat>("cat(Tensor[] tensors, int dim=0)", kFunction,
                        "Joins tensors along an existing dimension."));
  t.push_back(row<&stack>("stack(Tensor[] tensors, int dim=0)", kFunction,
                          "Joins tensors of one shape along a new dimension."));
}

}  // namespace wengert
