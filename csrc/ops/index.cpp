// Basic indexing: regions (integers, slices, None) as views, assignment to them.
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
  note_change("index_put_", x);
  if (records) {
    const Tensor* in[] = {&x, &v};
    record(kAssign, in, 2, x, 0, r);
  }
}

}  // namespace ops

}  // namespace wengert
