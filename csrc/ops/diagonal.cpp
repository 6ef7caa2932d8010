// Diagonals and windows, views by strides; each has the adjoint that puts a gradient back, which is
// an operation itself. And triangles.
#include "ops/elementwise.h"
#include "ops/op_table.h"
#include "tape/backward.h"

namespace wengert {
namespace ops {
namespace {

// --- diagonals ---------------------------------------------------------------------------------

struct Diagonal {
  int64_t offset;
  int dim1, dim2;
};

Diagonal checked(const char* op, int n, int64_t offset, int64_t dim1, int64_t dim2) {
  const Diagonal p{offset, wrap_dim(op, dim1, n), wrap_dim(op, dim2, n)};
  if (p.dim1 == p.dim2)
    fail(op, ": diagonal dimensions cannot be identical, got ", dim1, ", ", dim2);
  return p;
}

// Dimensions dim1 and dim2 taken out, the diagonal through them as the last.
Tensor diagonal_view(const Tensor& x, const Diagonal& p) {
  const int64_t rows = x.size(p.dim1), cols = x.size(p.dim2), k = p.offset;
  const bool inside = k > -rows && k < cols;
  const int64_t length = !inside ? 0 : k >= 0 ? std::min(rows, cols - k) : std::min(rows + k, cols);
  const int64_t start = k >= 0 ? k * x.stride(p.dim2) : -k * x.stride(p.dim1);
  Dims sizes = x.sizes(), strides = x.strides();
  for (const int d : {std::max(p.dim1, p.dim2), std::min(p.dim1, p.dim2)}) {
    sizes.erase(d);
    strides.erase(d);
  }
  sizes.push_back(length);
  strides.push_back(x.stride(p.dim1) + x.stride(p.dim2));
  return x.view(sizes, strides, product(sizes) == 0 ? 0 : start);
}

Tensor take_diagonal(const Tensor& x, const Diagonal& p);
Tensor put_diagonal(const Tensor& g, const Dims& sizes, const Diagonal& p);

constexpr Rule kTakeDiagonal{"diagonal", [](Node& node, Tensor* g, Tensor* out) {
                               out[0] =
                                   put_diagonal(*g, node.input_sizes(0), node.payload<Diagonal>());
                             }};
constexpr Rule kPutDiagonal{"diag_embed", [](Node& node, Tensor* g, Tensor* out) {
                              out[0] = take_diagonal(*g, node.payload<Diagonal>());
                            }};

Tensor take_diagonal(const Tensor& x, const Diagonal& p) {
  const Tensor v = diagonal_view(x, p);
  set_base(v, x);
  if (recording(x)) {
    const Tensor* in[] = {&x};
    record(kTakeDiagonal, in, 1, v, 0, p);
  }
  return v;
}

Tensor put_diagonal(const Tensor& g, const Dims& sizes, const Diagonal& p) {
  const Tensor out = zeros(sizes, g.dtype(), g.device());
  copy_into(diagonal_view(out, p), g);
  if (recording(g)) {
    const Tensor* in[] = {&g};
    record(kPutDiagonal, in, 1, out, 0, p);
  }
  return out;
}

Tensor diag_embed(const Tensor& x, int64_t offset, int64_t dim1, int64_t dim2) {
  const int n = x.dim() + 1;
  const Diagonal p = checked("diag_embed", n, offset, dim1, dim2);
  int64_t side = x.sizes().back();
  const bool fits = offset > INT64_MIN && !__builtin_add_overflow(side, std::abs(offset), &side);
  if (!fits) fail("diag_embed: an offset of ", offset, " gives too many elements");
  Dims sizes = x.sizes();
  sizes.erase(x.dim() - 1);
  sizes.insert(std::min(p.dim1, p.dim2), side);
  sizes.insert(std::max(p.dim1, p.dim2), side);
  return put_diagonal(x, sizes, p);
}

Tensor diag(const Tensor& x, int64_t diagonal) {
  if (x.dim() == 1) return diag_embed(x, diagonal, 0, 1);
  if (x.dim() == 2) return clone(ops::diagonal(x, diagonal, 0, 1));
  fail("diag: supports 1D or 2D tensors, got ", x.dim(), "D");
}
Tensor diagflat(const Tensor& x, int64_t offset) {
  return diag_embed(reshape(x, {x.numel()}), offset, 0, 1);
}

// --- windows -----------------------------------------------------------------------------------

struct Window {
  int64_t size, step;
  int dim;
};

// Dimension dim walks the windows, a new last one the places in a window.
Tensor window_view(const Tensor& x, const Window& w) {
  Dims sizes = x.sizes(), strides = x.strides();
  const int64_t n = x.dim() == 0 ? 1 : x.size(w.dim);
  const int64_t stride = x.dim() == 0 ? 1 : x.stride(w.dim);
  if (x.dim() > 0) {
    sizes[w.dim] = (n - w.size) / w.step + 1;
    if (__builtin_mul_overflow(stride, w.step, &strides[w.dim])) {
      fail("unfold: step ", w.step, " is too large for stride ", stride);
    }
  }
  sizes.push_back(w.size);
  strides.push_back(stride);
  return x.view(sizes, strides);
}

// One place of a dimension; unknown to the tape.
Tensor slice(const Tensor& x, int dim, int64_t i) {
  Dims sizes = x.sizes(), strides = x.strides();
  sizes.erase(dim);
  strides.erase(dim);
  return x.view(sizes, strides, i * x.stride(dim));
}

Tensor unfold_window(const Tensor& x, const Window& w);
Tensor fold(const Tensor& g, const Dims& sizes, const Window& w);

constexpr Rule kUnfold{"unfold", [](Node& node, Tensor* g, Tensor* out) {
                         out[0] = fold(*g, node.input_sizes(0), node.payload<Window>());
                       }};
constexpr Rule kFold{"unfold_backward", [](Node& node, Tensor* g, Tensor* out) {
                       out[0] = unfold_window(*g, node.payload<Window>());
                     }};

Tensor unfold_window(const Tensor& x, const Window& w) {
  const Tensor v = window_view(x, w);
  set_base(v, x);
  if (recording(x)) {
    const Tensor* in[] = {&x};
    record(kUnfold, in, 1, v, 0, w);
  }
  return v;
}

// Adds each window where it came from. Windows overlap; what is added in one go does not: one place
// of all windows, or one whole window, whichever makes fewer additions.
Tensor fold(const Tensor& g, const Dims& sizes, const Window& w) {
  const Tensor out = zeros(sizes, g.dtype(), g.device());
  const Tensor windows = window_view(out, w);
  if (w.step >= w.size || sizes.empty()) {
    copy_into(windows, g);
  } else if (g.numel() > 0) {
    const GradMode off(false);
    const int along = w.size <= g.size(w.dim) ? g.dim() - 1 : w.dim;
    for (int64_t i = 0; i < g.size(along); ++i) {
      apply_<Add>(slice(windows, along, i), slice(g, along, i));
    }
  }
  if (recording(g)) {
    const Tensor* in[] = {&g};
    record(kFold, in, 1, out, 0, w);
  }
  return out;
}

Tensor unfold(const Tensor& x, int64_t dimension, int64_t size, int64_t step) {
  const int d = wrap_dim("unfold", dimension, x.dim());
  const int64_t n = x.dim() == 0 ? 1 : x.size(d);
  if (size < 0) fail("unfold: size is ", size, " but must be >= 0");
  if (size > n)
    fail("unfold: maximum size for tensor at dimension ", d, " is ", n, " but size is ", size);
  if (step <= 0) fail("unfold: step is ", step, " but must be > 0");
  return unfold_window(x, {size, step, d});
}

// --- triangles ---------------------------------------------------------------------------------

// Zeros where the column minus the row is above (lower) or below (upper) the diagonal.
template <class Keep>
Tensor triangle(const char* op, const Tensor& x, int64_t diagonal) {
  if (x.dim() < 2) fail(op, ": input tensor must have at least 2 dimensions, got ", x.dim());
  const int64_t rows = x.size(x.dim() - 2), cols = x.size(x.dim() - 1);
  const int64_t k = std::clamp(diagonal, -rows, cols);
  const Tensor row = reshape(arange(rows), {rows, 1});
  const Tensor edge = add(row, number_like({true, k, static_cast<double>(k)}, &row));
  return where(apply<Keep>(arange(cols), edge), x, Tensor::scalar(int64_t{0}, x.dtype()));
}
Tensor tril(const Tensor& x, int64_t diagonal) {
  return triangle<Le>("tril", x, diagonal);
}
Tensor triu(const Tensor& x, int64_t diagonal) {
  return triangle<Ge>("triu", x, diagonal);
}

}  // namespace

Tensor diagonal(const Tensor& x, int64_t offset, int64_t dim1, int64_t dim2) {
  return take_diagonal(x, checked("diagonal", x.dim(), offset, dim1, dim2));
}

}  // namespace ops

void add_diagonal(OpTable& t) {
  using namespace ops;
  constexpr uint8_t both = kMethod | kFunction;
  t.push_back(row<&diagonal>("diagonal(Tensor input, int offset=0, int dim1=0, int dim2=1)", both,
                             "The diagonal through two dimensions as the last one, sharing memory. "
                             "offset > 0 is above the main diagonal."));
  t.push_back(row<&diag_embed>("diag_embed(Tensor input, int offset=0, int dim1=-2, int dim2=-1)",
                               both,
                               "The last dimension as the diagonal of two, zeros elsewhere."));
  t.push_back(row<&diag>("diag(Tensor input, int diagonal=0)", both,
                         "A vector as the diagonal of a matrix, or the diagonal of a matrix."));
  t.push_back(row<&diagflat>("diagflat(Tensor input, int offset=0)", both,
                             "All elements as the diagonal of a matrix."));
  t.push_back(row<&unfold>("unfold(Tensor input, int dimension, int size, int step)", kMethod,
                           "Windows of one dimension, a step apart, their places in a new last "
                           "dimension, sharing memory. Derivative: overlapping windows add up."));
  t.push_back(with_inplace(row<&tril>("tril(Tensor input, int diagonal=0)", both,
                                      "The elements of each matrix on and below a diagonal, zeros "
                                      "elsewhere.")));
  t.push_back(with_inplace(row<&triu>("triu(Tensor input, int diagonal=0)", both,
                                      "The elements of each matrix on and above a diagonal, zeros "
                                      "elsewhere.")));
}

}  // namespace wengert
