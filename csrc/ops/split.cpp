// Taking a tensor apart along a dimension, all pieces views. What is cut into n pieces is one node
// with n outputs: its pull joins the gradients once, where n nodes would each fill a gradient of
// the whole.
#include "core/watch.h"
#include "ops/op_table.h"
#include "tape/backward.h"

namespace wengert {
namespace ops {
namespace {

// More pieces than any program wants, fewer than would fill a memory.
constexpr int64_t kMaxPieces = int64_t{1} << 24;

void check_pieces(const char* op, int64_t n) {
  if (n > kMaxPieces) {
    fail(op, ": asked for ", n, " pieces; at most ", kMaxPieces, " are made");
  }
}

// The gradients of all pieces, zeros (without memory) for those that none came for.
std::vector<Tensor> whole_gradient(Node& node, const Tensor* g) {
  const auto n = static_cast<size_t>(node.num_outputs);
  std::vector<Tensor> parts(g, g + n);
  for (size_t i = 0; i < n; ++i) {
    if (parts[i].defined()) continue;
    const OutputMeta& meta = node.outputs()[i];
    parts[i] = expand(zeros({}, meta.dtype, meta.device), meta.sizes);
  }
  return parts;
}
constexpr Rule kSplit{"split", [](Node& node, Tensor* g, Tensor* out) {
                        out[0] = cat(whole_gradient(node, g), node.payload<int64_t>());
                      }};
constexpr Rule kUnbind{"unbind", [](Node& node, Tensor* g, Tensor* out) {
                         out[0] = stack(whole_gradient(node, g), node.payload<int64_t>());
                       }};

std::vector<Tensor> recorded(const Rule& rule, const Tensor& x, std::vector<Tensor> pieces,
                             int64_t dim) {
  if (recording(x) && !pieces.empty()) {
    const Tensor* in[] = {&x};
    Node* node = record(rule, in, 1, pieces, 0, sizeof(int64_t));
    node->payload<int64_t>() = dim;
  }
  return pieces;
}

// A stretch of dimension d, or with `drop` one place of it; unknown to the tape.
Tensor stretch(const Tensor& x, int d, int64_t start, int64_t length, bool drop = false) {
  Dims sizes = x.sizes(), strides = x.strides();
  sizes[d] = length;
  const int64_t offset = start * x.stride(d);
  if (drop) {
    sizes.erase(d);
    strides.erase(d);
  }
  // An empty view may start one past the end; keep its address inside.
  const Tensor v = x.view(sizes, strides, product(sizes) == 0 ? 0 : offset);
  set_base(v, x);
  return v;
}

// Pieces that end where `ends` says, which never leaves [0, size].
std::vector<Tensor> cut(const Tensor& x, int d, const std::vector<int64_t>& starts,
                        const std::vector<int64_t>& lengths) {
  std::vector<Tensor> pieces;
  pieces.reserve(lengths.size());
  int64_t covered = 0;
  bool in_order = true;  // the pieces make up the whole, as the pull of split assumes
  for (size_t i = 0; i < lengths.size(); ++i) {
    in_order = in_order && starts[i] == covered;
    covered += lengths[i];
  }
  if (!in_order || covered != x.size(d)) {
    for (size_t i = 0; i < lengths.size(); ++i) {
      pieces.push_back(narrow(x, d, starts[i], lengths[i]));
    }
    return pieces;
  }
  for (size_t i = 0; i < lengths.size(); ++i) {
    pieces.push_back(stretch(x, d, starts[i], lengths[i]));
  }
  return recorded(kSplit, x, std::move(pieces), d);
}

std::vector<Tensor> cut(const Tensor& x, int d, const std::vector<int64_t>& lengths) {
  std::vector<int64_t> starts;
  int64_t at = 0;
  for (int64_t n : lengths) {
    starts.push_back(at);
    at += n;
  }
  return cut(x, d, starts, lengths);
}

void check_has_dims(const char* op, const Tensor& x) {
  if (x.dim() == 0) fail(op, ": expects at least a 1-dimensional tensor, got a 0-dim one");
}

std::vector<Tensor> split(const Tensor& x, int64_t size, int64_t dim) {
  check_has_dims("split", x);
  const int d = wrap_dim("split", dim, x.dim());
  const int64_t n = x.size(d);
  if (size < 0) fail("split: expects split_size be non-negative, but got split_size=", size);
  if (size == 0 && n != 0) {
    fail("split: split_size can only be 0 if dimension size is 0, but got dimension size of ", n);
  }
  const int64_t pieces = n == 0 ? 1 : (n - 1) / size + 1;
  check_pieces("split", pieces);
  std::vector<int64_t> lengths(static_cast<size_t>(pieces), size);
  lengths.back() = n - (pieces - 1) * size;
  return cut(x, d, lengths);
}

std::vector<Tensor> split_with_sizes(const Tensor& x, const std::vector<int64_t>& sizes,
                                     int64_t dim) {
  check_has_dims("split_with_sizes", x);
  const int d = wrap_dim("split_with_sizes", dim, x.dim());
  int64_t left = x.size(d);
  for (int64_t n : sizes) {
    if (n < 0) fail("split_with_sizes: expects only non-negative sizes, got ", n);
    left = n > left ? -1 : left - n;
    if (left < 0) break;
  }
  if (left != 0) {
    fail("split_with_sizes: expects split_sizes to sum exactly to ", x.size(d),
         " (input tensor's size at dimension ", d, "), but got ", sizes.size(), " sizes that do ",
         "not");
  }
  return cut(x, d, sizes);
}

std::vector<Tensor> chunk(const Tensor& x, int64_t chunks, int64_t dim) {
  check_has_dims("chunk", x);
  if (chunks <= 0) fail("chunk: expects `chunks` to be greater than 0, got ", chunks);
  const int d = wrap_dim("chunk", dim, x.dim());
  const int64_t n = x.size(d);
  if (n == 0) {  // as PyTorch, then as many as were asked for
    check_pieces("chunk", chunks);
    return cut(x, d, std::vector<int64_t>(static_cast<size_t>(chunks), 0));
  }
  return split(x, (n - 1) / chunks + 1, d);
}

// Sections as even as can be, the longer ones first.
std::vector<Tensor> split_evenly(const char* op, const Tensor& x, int64_t sections, int64_t dim) {
  check_has_dims(op, x);
  const int d = wrap_dim(op, dim, x.dim());
  if (sections <= 0) fail(op, ": number of sections must be larger than 0, got ", sections);
  check_pieces(op, sections);
  std::vector<int64_t> lengths;
  for (int64_t i = 0; i < sections; ++i) {
    lengths.push_back(x.size(d) / sections + (i < x.size(d) % sections ? 1 : 0));
  }
  return cut(x, d, lengths);
}

// Pieces between places, which are taken as those of a slice: clamped, negative from the end.
std::vector<Tensor> split_at(const char* op, const Tensor& x, const std::vector<int64_t>& places,
                             int64_t dim) {
  check_has_dims(op, x);
  const int d = wrap_dim(op, dim, x.dim());
  const int64_t n = x.size(d);
  check_pieces(op, static_cast<int64_t>(places.size()) + 1);
  std::vector<int64_t> starts, lengths;
  int64_t start = 0;
  for (size_t i = 0; i <= places.size(); ++i) {
    int64_t end = i == places.size() ? n : places[i];
    if (end < 0) end = std::max<int64_t>(end + n, 0);
    end = std::min(end, n);
    starts.push_back(start);
    lengths.push_back(std::max<int64_t>(end - start, 0));
    start = end;
  }
  return cut(x, d, starts, lengths);
}

std::vector<Tensor> tensor_split(const Tensor& x, int64_t sections, int64_t dim) {
  return split_evenly("tensor_split", x, sections, dim);
}
std::vector<Tensor> tensor_split_at(const Tensor& x, const std::vector<int64_t>& indices,
                                    int64_t dim) {
  return split_at("tensor_split", x, indices, dim);
}
std::vector<Tensor> tensor_split_by(const Tensor& x, AnyDevice given, int64_t dim) {
  const Tensor& by = given.tensor;
  if (by.dtype() != DType::Int64 || by.dim() > 1) {
    fail(
        "tensor_split: expected tensor_indices_or_sections to be a 0-dim or 1-dim int64 tensor, "
        "got ",
        name_of(by.dtype()), " of shape ", by.sizes());
  }
  if (by.dim() == 0) return tensor_split(x, by.to_int64(), dim);
  const Tensor dense = contiguous(by);
  const auto read = dense.read<int64_t>();
  const int64_t* at = read.get();
  return tensor_split_at(x, std::vector<int64_t>(at, at + dense.numel()), dim);
}

// hsplit, vsplit and dsplit: the name, the dimension cut, the dimensions needed.
struct Fixed {
  const char* name;
  int dim, needed;
};
constexpr Fixed kH{"hsplit", 1, 1}, kV{"vsplit", 0, 2}, kD{"dsplit", 2, 3};

int fixed_dim(const Fixed& f, const Tensor& x) {
  if (x.dim() < f.needed) {
    fail(f.name, ": requires a tensor with at least ", f.needed, " dimension(s), but got a ",
         "tensor with ", x.dim());
  }
  return std::min(f.dim, x.dim() - 1);
}
template <const Fixed* F>
std::vector<Tensor> split_fixed(const Tensor& x, int64_t sections) {
  const int d = fixed_dim(*F, x);
  if (sections <= 0 || x.size(d) % sections != 0) {
    fail(F->name, ": attempted to split along dimension ", d, ", but the size of the dimension ",
         x.size(d), " is not divisible by the split_size ", sections);
  }
  return split_evenly(F->name, x, sections, d);
}
template <const Fixed* F>
std::vector<Tensor> split_fixed_at(const Tensor& x, const std::vector<int64_t>& indices) {
  return split_at(F->name, x, indices, fixed_dim(*F, x));
}

template <const Fixed* F>
void add_fixed(OpTable& t, std::string_view doc) {
  constexpr uint8_t both = kMethod | kFunction;
  t.push_back(row<&split_fixed<F>>(text(F->name, "(Tensor input, int sections)"), both, doc));
  t.push_back(row<&split_fixed_at<F>>(text(F->name, "(Tensor input, int[n] indices)"), both, ""));
}

}  // namespace

std::vector<Tensor> unbind(const Tensor& x, int64_t dim) {
  if (x.dim() == 0) {
    fail(ErrorKind::Index, "unbind: dimension specified as ", dim, " but tensor has no dimensions");
  }
  const int d = wrap_dim("unbind", dim, x.dim());
  check_pieces("unbind", x.size(d));
  std::vector<Tensor> pieces;
  pieces.reserve(static_cast<size_t>(x.size(d)));
  for (int64_t i = 0; i < x.size(d); ++i) pieces.push_back(stretch(x, d, i, 1, true));
  return recorded(kUnbind, x, std::move(pieces), d);
}

Tensor narrow(const Tensor& x, int64_t dim, int64_t start, int64_t length) {
  if (x.dim() == 0) fail("narrow: cannot be applied to a 0-dim tensor");
  const int d = wrap_dim("narrow", dim, x.dim());
  const int64_t n = x.size(d);
  if (length < 0) fail("narrow: length must be non-negative, got ", length);
  if (start < -n || start > n) {
    fail(ErrorKind::Index, "narrow: start out of range (expected to be in range of [", -n, ", ", n,
         "], but got ", start, ")");
  }
  if (start < 0) start += n;
  if (length > n - start) {
    fail("narrow: start (", start, ") + length (", length, ") exceeds dimension size (", n, ")");
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

Tensor select(const Tensor& x, int64_t dim, int64_t index) {
  if (x.dim() == 0) fail(ErrorKind::Index, "select: cannot be applied to a 0-dim tensor");
  const int d = wrap_dim("select", dim, x.dim());
  const int64_t n = x.size(d);
  if (index < -n || index >= n) {
    fail(ErrorKind::Index, "select: index ", index, " out of range for tensor of size ", x.sizes(),
         " at dimension ", d);
  }
  Region r;
  for (int k = 0; k < x.dim(); ++k) {
    r.start[k] = k != d ? 0 : index < 0 ? index + n : index;
    r.step[k] = k == d ? 0 : 1;
    if (k == d) continue;
    r.source[r.sizes.size()] = static_cast<int8_t>(k);
    r.sizes.push_back(x.size(k));
  }
  return at_region(x, r);
}

}  // namespace ops

void add_split(OpTable& t) {
  using namespace ops;
  constexpr uint8_t both = kMethod | kFunction;
  t.push_back(row<&narrow>("narrow(Tensor input, int dim, int start, int length)", both,
                           "A stretch of one dimension, sharing memory."));
  t.push_back(row<&select>("select(Tensor input, int dim, int index)", both,
                           "One place of a dimension, which is dropped, sharing memory."));
  t.push_back(row<&unbind>("unbind(Tensor input, int dim=0)", both,
                           "The places of a dimension as a tuple of views."));
  // PyTorch's method and function differ in what they call their arguments.
  t.push_back(row<&split>("split(Tensor tensor, int split_size_or_sections, int dim=0)", both,
                          "Pieces of one size (the last may be smaller), or of the sizes given, "
                          "as a tuple of views."));
  t.push_back(row<&split_with_sizes>(
      "split(Tensor tensor, int[n] split_size_or_sections, int dim=0)", both, ""));
  t.push_back(row<&split>("split(Tensor tensor, int split_size, int dim=0)", both, ""));
  t.push_back(
      row<&split_with_sizes>("split(Tensor tensor, int[n] split_size, int dim=0)", both, ""));
  t.push_back(
      row<&split_with_sizes>("split_with_sizes(Tensor input, int[n] split_sizes, int dim=0)", both,
                             "Pieces of the sizes given, as a tuple of views."));
  t.push_back(row<&chunk>("chunk(Tensor input, int chunks, int dim=0)", both,
                          "At most so many pieces of one size (the last may be smaller), as a "
                          "tuple of views."));
  for (const char* name : {"indices_or_sections", "sections"}) {
    t.push_back(row<&tensor_split>(
        text("tensor_split(Tensor input, int ", name, ", int dim=0)"), both,
        "Sections as even as can be, or the pieces between indices, as a tuple of views."));
  }
  for (const char* name : {"indices_or_sections", "indices"}) {
    t.push_back(row<&tensor_split_at>(
        text("tensor_split(Tensor input, int[n] ", name, ", int dim=0)"), both, ""));
  }
  t.push_back(row<&tensor_split_by>(
      "tensor_split(Tensor input, Tensor tensor_indices_or_sections, int dim=0)", both, ""));
  add_fixed<&kH>(t,
                 "Even sections, or the pieces between indices, of dimension 1 (of dimension 0 "
                 "in a vector).");
  add_fixed<&kV>(t, "Even sections, or the pieces between indices, of dimension 0.");
  add_fixed<&kD>(t, "Even sections, or the pieces between indices, of dimension 2.");
}

}  // namespace wengert
