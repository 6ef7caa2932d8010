// Elements by their places along a dimension, for operations that find places.
#include "ops/elementwise.h"

namespace wengert::ops {

Tensor gather(const Tensor& x, int64_t dim, const Tensor& index) {
  if (x.dim() == 0) return reshape(index_select(reshape(x, {1}), 0, reshape(index, {1})), {});
  const int d = wrap_dim("gather", dim, x.dim());
  int64_t outer = 1, inner = 1;
  for (int k = 0; k < d; ++k) outer *= x.size(k);
  for (int k = d + 1; k < x.dim(); ++k) inner *= x.size(k);
  const auto number = [](int64_t v) { return Tensor::scalar(v, DType::Int64); };
  const Tensor along = reshape(index, {outer, index.size(d), inner});
  const Tensor row = mul(reshape(arange(outer), {outer, 1, 1}), number(x.size(d) * inner));
  const Tensor place = add(add(mul(along, number(inner)), row), arange(inner));
  const Tensor flat = reshape(x, {x.numel()});
  return reshape(index_select(flat, 0, reshape(place, {place.numel()})), index.sizes());
}

// Of vectors; unrecorded.
Tensor scatter_add(const Tensor& x, int64_t, const Tensor& index, const Tensor& src) {
  const Tensor out = clone(x), at = contiguous(index), from = contiguous(src);
  const Tensor* operands[] = {&out, &from, &at};
  Launch l;
  l.kernel = id(Kernel::IndexAdd);
  l.dtype = out.dtype();
  l.device = out.device();
  l.dense = true;
  l.ndim = 3;
  l.size[0] = 1;
  l.size[1] = at.numel();
  l.size[2] = 1;
  l.count = at.numel();
  l.integer[0] = x.numel();
  l.nbuffers = 3;
  for (int k = 0; k < 3; ++k) set_buffer(l, k, *operands[k]);
  launch(l);
  return out;
}

}  // namespace wengert::ops
