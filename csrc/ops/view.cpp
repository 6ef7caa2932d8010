// Views: another shape over the same storage.
#include "kernels/launch.h"
#include "ops/elementwise.h"
#include "ops/op_table.h"
#include "tape/backward.h"

namespace wengert {
namespace ops {
namespace {

Tensor make_view(const Tensor& x, const Dims& sizes, const Dims& strides, int64_t offset = 0) {
  Tensor v = x.view(sizes, strides, offset);
  set_base(v, x);
  return v;
}

void reshape_pull(Node& node, Tensor* g, Tensor* out) {
  const Dims leading(g->sizes().begin(), node.leading(*g));
  out[0] = reshape(*g, concat(leading, node.input_sizes(0)));
}
constexpr Rule kReshape{"view", &reshape_pull, true};

void expand_pull(Node&, Tensor* g, Tensor* out) {
  out[0] = *g;  // the walk sums to shape
}
constexpr Rule kExpand{"expand", &expand_pull, true};

void permute_pull(Node& node, Tensor* g, Tensor* out) {
  const Dims& order = node.payload<Dims>();
  const int leading = node.leading(*g);
  Dims inverse = Dims::filled(g->dim(), 0);
  for (int i = 0; i < order.size(); ++i) {
    inverse[leading + static_cast<int>(order[i])] = leading + i;
  }
  out[0] = permute(*g, inverse);
}
constexpr Rule kPermute{"permute", &permute_pull, true};

Tensor recorded(const Rule& rule, const Tensor& x, Tensor v) {
  if (recording(x)) {
    const Tensor* in[] = {&x};
    record(rule, in, 1, v, 0);
  }
  return v;
}

// Fills in one -1 and checks the count.
Dims infer_sizes(const char* op, const Dims& asked, int64_t numel) {
  Dims sizes = asked;
  int64_t known = 1;
  int unknown = -1;
  bool fits = true;
  for (int i = 0; i < sizes.size(); ++i) {
    if (sizes[i] == -1) {
      if (unknown >= 0) fail(op, ": only one dimension can be inferred, got ", asked);
      unknown = i;
    } else if (sizes[i] < 0) {
      fail(op, ": invalid shape dimension ", sizes[i], " in ", asked);
    } else {
      fits = fits && !__builtin_mul_overflow(known, sizes[i], &known);
    }
  }
  if (unknown >= 0 && fits) {
    if (known == 0) {
      fail(op, ": cannot reshape tensor of ", numel, " elements into shape ", asked,
           " because the unspecified dimension size -1 can be any value and is ambiguous");
    }
    sizes[unknown] = numel / known;
    known *= sizes[unknown];
  }
  if (!fits || known != numel) {
    fail(op, ": shape ", asked, " is invalid for input of size ", numel);
  }
  return sizes;
}

// The strides that give `sizes` over x's memory without copying, if there are any: each run of x's
// dimensions that lies as one in memory is cut up anew.
std::optional<Dims> view_strides(const Tensor& x, const Dims& sizes) {
  if (x.contiguous()) return contiguous_strides(sizes);
  if (x.numel() == 0) return contiguous_strides(sizes);
  Dims strides = sizes;
  int to = sizes.size() - 1;
  int64_t chunk = 1, chunk_stride = 1;
  for (int from = x.dim() - 1; from >= 0; --from) {
    if (chunk == 1) chunk_stride = x.stride(from);
    chunk *= x.size(from);
    const bool ends =
        from == 0 || (x.size(from - 1) != 1 && x.stride(from - 1) != chunk * chunk_stride);
    if (!ends) continue;
    int64_t covered = 1;
    while (to >= 0 && (covered < chunk || sizes[to] == 1)) {
      strides[to] = covered * chunk_stride;
      covered *= sizes[to];
      --to;
    }
    if (covered != chunk) return {};
    chunk = 1;
  }
  if (to >= 0) return {};
  return strides;
}

Tensor view_as_sizes(const Tensor& x, const Dims& sizes, const Dims& strides) {
  return recorded(kReshape, x, make_view(x, sizes, strides));
}

}  // namespace

Tensor view(const Tensor& x, const Dims& asked) {
  const Dims sizes = infer_sizes("view", asked, x.numel());
  const auto strides = view_strides(x, sizes);
  if (!strides) {
    fail("view: size ", sizes, " is not compatible with the input's size ", x.sizes(),
         " and strides ", x.strides(), "; use reshape(...) instead");
  }
  return view_as_sizes(x, sizes, *strides);
}

Tensor reshape(const Tensor& x, const Dims& asked) {
  const Dims sizes = infer_sizes("reshape", asked, x.numel());
  if (const auto strides = view_strides(x, sizes)) return view_as_sizes(x, sizes, *strides);
  const Tensor dense = contiguous(x);
  return view_as_sizes(dense, sizes, contiguous_strides(sizes));
}

Tensor expand(const Tensor& x, const Dims& asked) {
  Dims sizes = asked;
  const int shift = sizes.size() - x.dim();
  if (shift < 0) {
    fail("expand: the number of sizes provided (", asked.size(),
         ") must be greater or equal to the number of dimensions in the tensor (", x.dim(), ")");
  }
  for (int i = 0; i < sizes.size(); ++i) {
    const int64_t have = i < shift ? 1 : x.size(i - shift);
    if (sizes[i] == -1 && i >= shift) sizes[i] = have;
    if (sizes[i] < 0 || (have != sizes[i] && have != 1)) {
      fail("expand: the expanded size of the tensor (", asked[i],
           ") must match the existing size (", have, ") at non-singleton dimension ", i,
           "; target sizes ", asked, ", tensor sizes ", x.sizes());
    }
  }
  return recorded(kExpand, x,
                  make_view(x, sizes, broadcast_strides(x.sizes(), x.strides(), sizes)));
}

Tensor permute(const Tensor& x, const Dims& asked) {
  if (asked.size() != x.dim()) {
    fail(
        "permute: number of dimensions in the tensor input does not match the length of the "
        "desired ordering of dimensions: ",
        x.dim(), " vs ", asked.size());
  }
  Dims order = asked, sizes = asked, strides = asked;
  unsigned seen = 0;
  for (int i = 0; i < order.size(); ++i) {
    const int d = wrap_dim("permute", order[i], x.dim());
    if (seen >> d & 1) fail("permute: duplicate dimensions are not allowed, got ", asked);
    seen |= 1u << d;
    order[i] = d;
    sizes[i] = x.size(d);
    strides[i] = x.stride(d);
  }
  const Tensor v = make_view(x, sizes, strides);
  if (recording(x)) {
    const Tensor* in[] = {&x};
    record(kPermute, in, 1, v, 0, order);
  }
  return v;
}

Tensor transpose(const Tensor& x, int64_t a, int64_t b) {
  const int i = wrap_dim("transpose", a, x.dim()), j = wrap_dim("transpose", b, x.dim());
  Dims order = x.sizes();
  for (int d = 0; d < order.size(); ++d) order[d] = d;
  if (x.dim() > 0) std::swap(order[i], order[j]);
  return permute(x, order);
}

Tensor squeeze(const Tensor& x, int64_t dim) {
  const int d = wrap_dim("squeeze", dim, x.dim());
  Dims sizes = x.sizes(), strides = x.strides();
  if (x.dim() > 0 && sizes[d] == 1) {
    sizes.erase(d);
    strides.erase(d);
  }
  return view_as_sizes(x, sizes, strides);
}

Tensor squeeze_dims(const Tensor& x, const Dims* dims) {
  Tensor out = x;
  if (!dims) {
    for (int d = x.dim() - 1; d >= 0; --d) {
      if (x.size(d) == 1) out = squeeze(out, d);
    }
    return out.impl() == x.impl() ? view(x, x.sizes()) : out;
  }
  const unsigned drop = dim_set("squeeze", *dims, x.dim());
  for (int d = std::max(x.dim(), 1) - 1; d >= 0; --d) {
    if (drop >> d & 1) out = squeeze(out, d);
  }
  return out.impl() == x.impl() ? view(x, x.sizes()) : out;
}

Tensor unsqueeze(const Tensor& x, int64_t dim) {
  const int d = wrap_dim("unsqueeze", dim, x.dim() + 1);
  Dims sizes = x.sizes(), strides = x.strides();
  strides.insert(d, d < x.dim() ? x.size(d) * x.stride(d) : 1);
  sizes.insert(d, 1);
  return view_as_sizes(x, sizes, strides);
}

Tensor detach(const Tensor& x) {
  Tensor v = make_view(x, x.sizes(), x.strides());
  v->base = nullptr;  // its history is its own
  return v;
}

}  // namespace ops

// --- rows --------------------------------------------------------------------------------------

namespace {
using namespace ops;

Tensor squeeze_row(const Tensor& x, const Dims* dims) {
  return squeeze_dims(x, dims);
}

Tensor t_row(const Tensor& x) {
  if (x.dim() > 2) {
    fail("t: expects a tensor with <= 2 dimensions, but self is ", x.dim(), "D");
  }
  return x.dim() < 2 ? view(x, x.sizes()) : transpose(x, 0, 1);
}

Tensor flatten_row(const Tensor& x, int64_t start_dim, int64_t end_dim) {
  const int a = wrap_dim("flatten", start_dim, x.dim()), b = wrap_dim("flatten", end_dim, x.dim());
  if (a > b)
    fail("flatten: start_dim cannot come after end_dim, got ", start_dim, " and ", end_dim);
  if (x.dim() == 0) return reshape(x, {1});
  if (a == b) return x;
  Dims sizes;
  int64_t joined = 1;
  for (int d = 0; d < x.dim(); ++d) {
    if (d < a || d > b) {
      sizes.push_back(x.size(d));
      continue;
    }
    joined *= x.size(d);
    if (d == b) sizes.push_back(joined);
  }
  return reshape(x, sizes);
}

Tensor reshape_row(const Tensor& x, const Dims& shape) {
  return reshape(x, shape);
}
Tensor view_row(const Tensor& x, const Dims& size) {
  return view(x, size);
}
Tensor expand_row(const Tensor& x, const Dims& size) {
  return expand(x, size);
}
Tensor permute_row(const Tensor& x, const Dims& dims) {
  return permute(x, dims);
}
Tensor detach_row(const Tensor& x) {
  return detach(x);
}

}  // namespace

void add_view(OpTable& t) {
  constexpr uint8_t both = kMethod | kFunction;
  t.push_back(row<&reshape_row>("reshape(Tensor input, int* shape)", both,
                                "The elements in another shape: a view where the strides allow it, "
                                "else a copy. One size may be -1."));
  t.push_back(row<&view_row>("view(Tensor input, int* size)", kMethod,
                             "The elements in another shape, sharing memory. One size may be -1."));
  t.push_back(row<&flatten_row>("flatten(Tensor input, int start_dim=0, int end_dim=-1)", both,
                                "Joins the dimensions start_dim to end_dim into one."));
  t.push_back(row<&expand_row>("expand(Tensor input, int* size)", kMethod,
                               "Dimensions of size 1 repeated to a larger size, without copying."));
  t.push_back(row<&expand_row>("broadcast_to(Tensor input, int[] size)", both,
                               "The tensor broadcast to a size, without copying."));
  t.push_back(row<&permute_row>("permute(Tensor input, int* dims)", both,
                                "The dimensions in another order, sharing memory."));
  t.push_back(row<&transpose>("transpose(Tensor input, int dim0, int dim1)", both,
                              "Two dimensions exchanged, sharing memory."));
  t.push_back(row<&t_row>("t(Tensor input)", both, "The transpose of a matrix, sharing memory."));
  t.push_back(row<&squeeze_row>("squeeze(Tensor input, int[]? dim=None)", both,
                                "Without the dimensions of size 1, or those named."));
  t.push_back(row<&unsqueeze>("unsqueeze(Tensor input, int dim)", both,
                              "With a dimension of size 1 inserted at dim."));
  t.push_back(row<&detach_row>("detach(Tensor input)", kMethod,
                               "The same elements, sharing memory, without history."));
}

}  // namespace wengert
