// Shapes by name: what is a composition of the views of view.cpp, the bits of a tensor as another
// dtype, the orders of memory, and the views that a tensor becomes in place.
#include "ops/aliasing.h"
#include "ops/inference.h"
#include "ops/op_table.h"
#include "tape/backward.h"

namespace wengert {
namespace ops {
namespace {

// --- compositions ------------------------------------------------------------------------------

Tensor movedim(const Tensor& x, const Dims& source, const Dims& destination) {
  if (source.size() != destination.size()) {
    fail("movedim: source ", source, " and destination ", destination,
         " should contain the same number of dims");
  }
  const unsigned from = dim_set("movedim", source, x.dim());
  const unsigned to = dim_set("movedim", destination, x.dim());
  if (x.dim() == 0) return permute(x, {});
  Dims order = Dims::filled(x.dim(), 0);
  for (int i = 0; i < source.size(); ++i) {
    order[wrap_dim("movedim", destination[i], x.dim())] = wrap_dim("movedim", source[i], x.dim());
  }
  // the others keep their order in the places left
  for (int place = 0, d = 0; place < x.dim(); ++place) {
    if (to >> place & 1) continue;
    while (from >> d & 1) ++d;
    order[place] = d++;
  }
  return permute(x, order);
}

Tensor unflatten(const Tensor& x, int64_t dim, const Dims& sizes) {
  const int d = wrap_dim("unflatten", dim, x.dim());
  if (sizes.empty()) fail("unflatten: sizes must be non-empty");
  const int64_t have = x.dim() == 0 ? 1 : x.size(d);
  int64_t known = 1;
  int unknown = -1;
  bool fits = true;
  for (int i = 0; i < sizes.size(); ++i) {
    if (sizes[i] == -1 && unknown < 0) {
      unknown = i;
    } else {
      fits = fits && sizes[i] >= 0 && !__builtin_mul_overflow(known, sizes[i], &known);
    }
  }
  if (fits && unknown >= 0) fits = known != 0 && have % known == 0;
  if (!fits || (unknown < 0 && known != have)) {
    fail("unflatten: provided sizes ", sizes, " don't multiply up to the size of dim ", d, " (",
         have, ") in the input tensor of shape ", x.sizes());
  }
  Dims whole;
  for (int k = 0; k < std::max(x.dim(), 1); ++k) {
    if (k != d) {
      whole.push_back(x.size(k));
      continue;
    }
    for (int i = 0; i < sizes.size(); ++i) {
      whole.push_back(i == unknown ? have / known : sizes[i]);
    }
  }
  return view(x, whole);
}

Tensor ravel(const Tensor& x) {
  return view(contiguous(x), {x.numel()});
}
Tensor view_as(const Tensor& x, const Tensor& other) {
  return view(x, other.sizes());
}
Tensor reshape_as(const Tensor& x, const Tensor& other) {
  return reshape(x, other.sizes());
}
Tensor expand_as(const Tensor& x, const Tensor& other) {
  return expand(x, other.sizes());
}

Tensor sum_to_size(const Tensor& x, const Dims& size) {
  const int shift = x.dim() - size.size();
  bool fits = shift >= 0;
  for (int d = 0; fits && d < size.size(); ++d) {
    fits = size[d] == x.size(d + shift) || size[d] == 1;
  }
  if (!fits) fail("sum_to_size: size ", size, " is not expandable to size ", x.sizes());
  return x.sizes() == size ? x : sum_to_shape(x, size);
}

Tensor atleast_1d(const Tensor& x) {
  return x.dim() == 0 ? reshape(x, {1}) : x;
}
Tensor atleast_2d(const Tensor& x) {
  return x.dim() == 0 ? reshape(x, {1, 1}) : x.dim() == 1 ? unsqueeze(x, 0) : x;
}
Tensor atleast_3d(const Tensor& x) {
  if (x.dim() == 0) return reshape(x, {1, 1, 1});
  if (x.dim() == 1) return unsqueeze(unsqueeze(x, 0), -1);
  return x.dim() == 2 ? unsqueeze(x, -1) : x;
}
template <Tensor (*Each)(const Tensor&)>
std::vector<Tensor> each(const std::vector<Tensor>& tensors) {
  std::vector<Tensor> out;
  out.reserve(tensors.size());
  for (const Tensor& t : tensors) out.push_back(Each(t));
  return out;
}

// --- bits as another dtype ---------------------------------------------------------------------

// Elements of another size: the last dimension, dense, is cut finer or joined.
Tensor view_dtype(const Tensor& x, DType dtype) {
  if (dtype == x.dtype()) return view(x, x.sizes());
  const auto from = static_cast<int64_t>(item_size(x.dtype()));
  const auto to = static_cast<int64_t>(item_size(dtype));
  Dims sizes = x.sizes(), strides = x.strides();
  const auto check = [&](bool ok, const char* why) {
    if (ok) return;
    fail("view: cannot view ", name_of(x.dtype()), " of shape ", x.sizes(), " and strides ",
         x.strides(), " as ", name_of(dtype), ", which has elements of another size: ", why);
  };
  if (from != to) {
    const int last = x.dim() - 1;
    check(x.dim() > 0, "a 0-dim tensor has no dimension to resize");
    check(x.size(last) == 1 ? from > to || x.stride(last) == 1 : x.stride(last) == 1,
          "the stride of the last dimension must be 1");
    const int64_t ratio = from > to ? from / to : to / from;
    const auto resized = [&](int64_t n) { return from > to ? n * ratio : n / ratio; };
    if (from < to) {
      check(x.size(last) % ratio == 0, "the last size must be divisible by their ratio");
      check(x.offset() % ratio == 0, "the storage offset must be divisible by their ratio");
      for (int d = 0; d < last; ++d) {
        check(x.stride(d) % ratio == 0, "the other strides must be divisible by their ratio");
      }
    }
    for (int d = 0; d < last; ++d) strides[d] = resized(strides[d]);
    sizes[last] = resized(sizes[last]);
    strides[last] = 1;
  }
  const Tensor v = x.view(x.sizes(), x.strides());
  v->dtype = dtype;
  return v.view(sizes, strides);
}

// --- orders of memory --------------------------------------------------------------------------

// The dimensions from the outermost in memory to the innermost; empty stands for their own order.
Dims memory_order(const char* op, const Tensor& x, std::string_view format) {
  if (format.empty() || format == "contiguous_format" || format == "preserve_format") return {};
  const bool flat = format == "channels_last";
  if (!flat && format != "channels_last_3d") fail(op, ": unknown memory format ", format);
  const int rank = flat ? 4 : 5;
  if (x.dim() != rank) {
    fail(op, ": ", format, " needs a tensor of ", rank, " dimensions, got shape ", x.sizes());
  }
  return flat ? Dims{0, 2, 3, 1} : Dims{0, 2, 3, 4, 1};
}
// What permute must be given to undo an order of memory.
Dims back_from(const Dims& order) {
  return order.size() == 4 ? Dims{0, 3, 1, 2} : Dims{0, 4, 1, 2, 3};
}

Tensor clone_row(const Tensor& x, std::string_view format) {
  const Dims order = memory_order("clone", x, format);
  return order.empty() ? clone(x) : permute(clone(permute(x, order)), back_from(order));
}
Tensor contiguous_row(const Tensor& x, std::string_view format) {
  const Dims order = memory_order("contiguous", x, format);
  if (order.empty()) return contiguous(x);
  if (is_contiguous_in(x, format)) return x;
  return permute(contiguous(permute(x, order)), back_from(order));
}

// --- in place ----------------------------------------------------------------------------------

// Makes x the view of itself that `make` gives. Recorded, x takes over the view's node.
template <class Make>
Tensor become(const char* op, const Tensor& x, Make&& make) {
  check_inference(op, x);
  if (requires_grad(x)) {
    check_no_leaf(op, x);
    if (!is_leaf(x) && !grad_enabled()) {
      fail(op,
           ": the result of a recorded operation cannot be changed unrecorded; do it out of "
           "place");
    }
    forget_lost_base(x);
    check_no_view_of_leaf(op, x);
  }
  const Tensor v = make(x);
  x->sizes = v.sizes();
  x->strides = v.strides();
  x->contiguous = v.contiguous();
  note_change(op, x);
  if (recording(v)) {
    x->node = v->node;
    x->slot = v->slot;
    ++x->history;
  } else if (Node* n = node_of(x); n && n->leaf) {
    n->outputs()->sizes = v.sizes();
  }
  return x;
}

Tensor transpose_(const Tensor& x, int64_t a, int64_t b) {
  return become("transpose_", x, [&](const Tensor& t) { return transpose(t, a, b); });
}
Tensor t_(const Tensor& x) {
  if (x.dim() > 2) fail("t_: expects a tensor with <= 2 dimensions, but self is ", x.dim(), "D");
  return become("t_", x, [&](const Tensor& t) { return transpose(t, 0, x.dim() < 2 ? 0 : 1); });
}
Tensor unsqueeze_(const Tensor& x, int64_t dim) {
  return become("unsqueeze_", x, [&](const Tensor& t) { return unsqueeze(t, dim); });
}
Tensor squeeze_(const Tensor& x, const Dims* dims) {
  return become("squeeze_", x, [&](const Tensor& t) { return squeeze_dims(t, dims); });
}

}  // namespace

bool is_contiguous_in(const Tensor& x, std::string_view format) {
  const bool channels_last = format == "channels_last" || format == "channels_last_3d";
  if (channels_last && x.dim() != (format == "channels_last" ? 4 : 5)) return false;
  const Dims order = memory_order("is_contiguous", x, format);
  if (order.empty()) return x.contiguous();
  Dims sizes, strides;
  for (const int64_t d : order) {
    sizes.push_back(x.size(static_cast<int>(d)));
    strides.push_back(x.stride(static_cast<int>(d)));
  }
  return is_contiguous(sizes, strides);
}

}  // namespace ops

void add_shape(OpTable& t) {
  using namespace ops;
  constexpr uint8_t both = kMethod | kFunction;
  t.push_back(row<&clone_row>("clone(Tensor input, *, str? memory_format=None)", both,
                              "A copy that shares nothing. The gradient passes through."));
  t.push_back(row<&contiguous_row>("contiguous(Tensor input, str? memory_format=None)", kMethod,
                                   "The tensor itself if its elements are dense in row-major "
                                   "order, or the order asked for, else a copy that is."));
  for (const char* name : {"movedim", "moveaxis"}) {
    t.push_back(row<&movedim>(text(name, "(Tensor input, int[] source, int[] destination)"), both,
                              "Some dimensions moved to other places, the others kept in order, "
                              "sharing memory."));
  }
  for (const char* signature : {"swapaxes(Tensor input, int axis0, int axis1)",
                                "swapdims(Tensor input, int dim0, int dim1)"}) {
    t.push_back(row<&transpose>(signature, both, "Two dimensions exchanged, sharing memory."));
  }
  t.push_back(
      row<&unflatten>("unflatten(Tensor input, int dim, int[] sizes)", both,
                      "One dimension cut into several, sharing memory. One size may be -1."));
  t.push_back(row<&ravel>("ravel(Tensor input)", both,
                          "All elements in one dimension: a view of a contiguous tensor, else a "
                          "copy."));
  t.push_back(row<&view_as>("view_as(Tensor input, Tensor other)", kMethod,
                            "The elements in the shape of other, sharing memory."));
  t.push_back(row<&reshape_as>("reshape_as(Tensor input, Tensor other)", kMethod,
                               "The elements in the shape of other: a view where the strides "
                               "allow it, else a copy."));
  t.push_back(row<&expand_as>("expand_as(Tensor input, Tensor other)", kMethod,
                              "Broadcast to the shape of other, without copying."));
  t.push_back(row<&sum_to_size>("sum_to_size(Tensor input, int* size)", kMethod,
                                "Summed over dimensions until it has a size that broadcasts to "
                                "its own."));
  t.push_back(row<&atleast_1d>("atleast_1d(Tensor input)", kFunction,
                               "With at least one dimension; several tensors give a tuple."));
  t.push_back(row<&each<&atleast_1d>>("atleast_1d(Tensor* tensors)", kFunction, ""));
  t.push_back(row<&atleast_2d>("atleast_2d(Tensor input)", kFunction,
                               "With at least two dimensions; several tensors give a tuple."));
  t.push_back(row<&each<&atleast_2d>>("atleast_2d(Tensor* tensors)", kFunction, ""));
  t.push_back(row<&atleast_3d>("atleast_3d(Tensor input)", kFunction,
                               "With at least three dimensions; several tensors give a tuple."));
  t.push_back(row<&each<&atleast_3d>>("atleast_3d(Tensor* tensors)", kFunction, ""));
  t.push_back(row<&transpose_>("transpose_(Tensor self, int dim0, int dim1)", kMethod,
                               "Exchanges two dimensions of the tensor itself."));
  t.push_back(row<&transpose_>("swapaxes_(Tensor self, int axis0, int axis1)", kMethod,
                               "Exchanges two dimensions of the tensor itself."));
  t.push_back(row<&transpose_>("swapdims_(Tensor self, int dim0, int dim1)", kMethod,
                               "Exchanges two dimensions of the tensor itself."));
  t.push_back(row<&t_>("t_(Tensor self)", kMethod, "Transposes the matrix itself."));
  t.push_back(row<&unsqueeze_>("unsqueeze_(Tensor self, int dim)", kMethod,
                               "Inserts a dimension of size 1 into the tensor itself."));
  t.push_back(row<&squeeze_>("squeeze_(Tensor self, int[]? dim=None)", kMethod,
                             "Drops dimensions of size 1, all or those named, of the tensor "
                             "itself."));
  t.push_back(row<&view_dtype>("view(Tensor input, dtype dtype)", kMethod, ""));
}

}  // namespace wengert
