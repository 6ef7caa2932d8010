// Joins: cat, and all that is written with it; and grids, which broadcast one tensor along others.
#include "ops/op_table.h"
#include "tape/backward.h"

namespace wengert {
namespace ops {
namespace {

// The payload: the dimension, then the length of each part.
void cat_pull(Node& node, Tensor* g, Tensor* out) {
  const int64_t dim = node.payload<int64_t>() + node.leading(*g);
  const int64_t* lengths = &node.payload<int64_t>() + 1;
  int64_t at = 0;
  for (int i = 0; i < node.num_inputs; at += lengths[i++]) {
    if (node.wants(i)) out[i] = narrow(*g, dim, at, lengths[i]);
  }
}
constexpr Rule kCat{"cat", &cat_pull, true};

// The size of parts joined along d; throws where they do not fit together.
Dims joined_sizes(const std::vector<Tensor>& parts, int d) {
  const Tensor& first = parts[0];
  Dims sizes = first.sizes();
  sizes[d] = 0;
  for (size_t i = 0; i < parts.size(); ++i) {
    const Tensor& t = parts[i];
    Dims others = t.sizes();
    if (t.dim() == sizes.size()) others[d] = sizes[d];
    if (!(others == sizes)) {
      fail("cat: sizes of tensors must match except in dimension ", d, ", got ", first.sizes(),
           " and ", t.sizes(), " at position ", i);
    }
    if (__builtin_add_overflow(sizes[d], t.size(d), &sizes[d])) {
      fail("cat: the result would have too many elements");
    }
  }
  return sizes;
}

DType joined_dtype(const std::vector<Tensor>& parts) {
  std::vector<const Tensor*> all;
  for (const Tensor& t : parts) all.push_back(&t);
  return result_type(all.data(), static_cast<int>(all.size()));
}

}  // namespace

Tensor cat(const std::vector<Tensor>& given, int64_t dim) {
  if (given.empty()) fail("cat: expected a non-empty list of tensors");
  // as PyTorch, empty vectors are passed over whatever the other shapes
  std::vector<Tensor> parts;
  parts.reserve(given.size());
  for (const Tensor& t : given) {
    if (t.dim() == 0) fail("cat: zero-dimensional tensor cannot be concatenated");
    if (t.dim() != 1 || t.size(0) != 0) parts.push_back(t);
  }
  if (parts.empty()) parts.push_back(given[0]);
  const int d = wrap_dim("cat", dim, parts[0].dim());
  const Dims sizes = joined_sizes(parts, d);
  const DType dtype = joined_dtype(parts);
  const Tensor out = Tensor::empty(sizes, dtype, parts[0].device());
  Dims piece = sizes;
  int64_t at = 0;
  bool records = false;
  std::vector<const Tensor*> inputs;
  inputs.reserve(parts.size());
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
    Node* node = record(kCat, inputs.data(), n, out, 0,
                        static_cast<int>((parts.size() + 1) * sizeof(int64_t)));
    int64_t* payload = &node->payload<int64_t>();
    *payload = d;
    for (const Tensor& t : parts) *++payload = t.size(d);
  }
  return out;
}

Tensor stack(const std::vector<Tensor>& tensors, int64_t dim) {
  if (tensors.empty()) fail("stack: expected a non-empty list of tensors");
  const int d = wrap_dim("stack", dim, tensors[0].dim() + 1);
  std::vector<Tensor> parts;
  parts.reserve(tensors.size());
  for (const Tensor& t : tensors) {
    if (!(t.sizes() == tensors[0].sizes())) {
      fail("stack: expects each tensor to be equal size, but got ", tensors[0].sizes(),
           " at entry 0 and ", t.sizes(), " at entry ", parts.size());
    }
    parts.push_back(unsqueeze(t, d));
  }
  return cat(parts, d);
}

namespace {

using Tensors = std::vector<Tensor>;

// Each tensor with at least n dimensions: 3 puts a vector's own dimension in the middle.
Tensors at_least(const char* op, const Tensors& tensors, int n) {
  if (tensors.empty()) fail(op, ": expected a non-empty list of tensors");
  Tensors out;
  for (Tensor t : tensors) {
    if (t.dim() == 0) t = reshape(t, {1});
    if (n >= 2 && t.dim() == 1) t = unsqueeze(t, 0);
    if (n >= 3 && t.dim() == 2) t = unsqueeze(t, -1);
    out.push_back(std::move(t));
  }
  return out;
}

Tensor hstack(const Tensors& tensors) {
  const Tensors parts = at_least("hstack", tensors, 1);
  return cat(parts, parts[0].dim() == 1 ? 0 : 1);
}
Tensor vstack(const Tensors& tensors) {
  return cat(at_least("vstack", tensors, 2), 0);
}
Tensor dstack(const Tensors& tensors) {
  return cat(at_least("dstack", tensors, 3), 2);
}
Tensor column_stack(const Tensors& tensors) {
  if (tensors.empty()) fail("column_stack: expected a non-empty list of tensors");
  Tensors parts;
  for (const Tensor& t : tensors) {
    parts.push_back(t.dim() <= 1 ? reshape(t, {t.numel(), 1}) : t);
  }
  return cat(parts, 1);
}

Tensor block_diag(const Tensors& tensors) {
  if (tensors.empty()) return zeros({1, 0}, default_dtype());
  Tensors blocks;
  int64_t columns = 0;
  for (size_t i = 0; i < tensors.size(); ++i) {
    if (tensors[i].dim() > 2) {
      fail("block_diag: input tensors must have 2 or fewer dimensions, input ", i, " has ",
           tensors[i].dim());
    }
    blocks.push_back(at_least("block_diag", {tensors[i]}, 2)[0]);
    if (__builtin_add_overflow(columns, blocks.back().size(1), &columns)) {
      fail("block_diag: the result would have too many elements");
    }
  }
  const DType dtype = joined_dtype(tensors);
  Tensors rows;
  int64_t before = 0;
  for (const Tensor& b : blocks) {
    const int64_t after = columns - before - b.size(1);
    const Tensor zero = zeros({}, dtype, b.device());
    rows.push_back(cat(
        {expand(zero, {b.size(0), before}), to(b, dtype), expand(zero, {b.size(0), after})}, 1));
    before += b.size(1);
  }
  return cat(rows, 0);
}

// --- grids -------------------------------------------------------------------------------------

Tensors broadcast_tensors(const Tensors& tensors) {
  Dims sizes;
  for (const Tensor& t : tensors) {
    sizes = broadcast_shapes("broadcast_tensors", sizes, t.sizes());
  }
  Tensors out;
  for (const Tensor& t : tensors) out.push_back(expand(t, sizes));
  return out;
}

Tensors meshgrid(const Tensors& tensors, std::string_view indexing) {
  if (tensors.empty()) fail("meshgrid: expects a non-empty list of tensors");
  const bool xy = indexing == "xy";
  if (!xy && !indexing.empty() && indexing != "ij") {
    fail("meshgrid: indexing must be one of \"xy\" or \"ij\", but received: ", indexing);
  }
  const bool swapped = xy && tensors.size() > 1;  // the first two dimensions change places
  Dims sizes;
  for (const Tensor& t : tensors) {
    if (t.dim() > 1) fail("meshgrid: expected 0D or 1D tensors, got shape ", t.sizes());
    if (t.dtype() != tensors[0].dtype()) {
      fail("meshgrid: expects all tensors to have the same dtype, got ",
           name_of(tensors[0].dtype()), " and ", name_of(t.dtype()));
    }
    sizes.push_back(t.numel());
  }
  if (swapped) std::swap(sizes[0], sizes[1]);
  Tensors out;
  for (int i = 0; i < sizes.size(); ++i) {
    const int place = swapped && i < 2 ? 1 - i : i;
    Dims along = Dims::filled(sizes.size(), 1);
    along[place] = sizes[place];
    out.push_back(expand(reshape(tensors[static_cast<size_t>(i)], along), sizes));
  }
  return out;
}

void check_vector(const char* op, const Tensor& t) {
  if (t.dim() != 1) fail(op, ": expected a 1D vector, but got shape ", t.sizes());
}

Tensor cartesian_prod(const Tensors& tensors) {
  for (const Tensor& t : tensors) check_vector("cartesian_prod", t);
  if (tensors.size() == 1) return tensors[0];
  Tensors columns;
  for (const Tensor& grid : meshgrid(tensors, "ij")) {
    columns.push_back(reshape(grid, {grid.numel()}));
  }
  return stack(columns, 1);
}

// How many combinations there are; throws where their elements would not fit.
int64_t count_combinations(int64_t n, int64_t r, bool with_replacement) {
  if (with_replacement) n = n == 0 ? 0 : n + r - 1;
  if (r > n) return 0;
  int64_t count = 1;
  const int64_t steps = std::min(r, n - r);
  for (int64_t i = 1; i <= steps; ++i) {  // exact at each step
    if (__builtin_mul_overflow(count, n - steps + i, &count)) {
      fail("combinations: choosing ", r, " of ", n, " gives too many elements");
    }
    count /= i;
  }
  return count;
}

Tensor combinations(const Tensor& x, int64_t r, bool with_replacement) {
  check_vector("combinations", x);
  if (r < 0) fail("combinations: expected a non-negative number, but got ", r);
  if (r == 0) return Tensor::empty({0}, x.dtype(), x.device());
  const int64_t n = x.numel();
  const int64_t count = count_combinations(n, r, with_replacement);
  const Tensor index = Tensor::empty({product({count, r})}, DType::Int64, Device::CPU);
  auto* at = index.data<int64_t>();
  for (int64_t c = 0; c < count; ++c, at += r) {
    if (c == 0) {
      for (int64_t k = 0; k < r; ++k) at[k] = with_replacement ? 0 : k;
      continue;
    }
    // the last place that may still grow does, and those behind it start over
    int64_t k = r - 1;
    const auto limit = [&](int64_t place) { return with_replacement ? n - 1 : n - r + place; };
    while (at[k - r] == limit(k)) --k;
    for (int64_t i = 0; i < r; ++i) at[i] = at[i - r];
    ++at[k];
    for (int64_t i = k + 1; i < r; ++i) at[i] = at[i - 1] + (with_replacement ? 0 : 1);
  }
  return reshape(index_select(x, 0, to_device(index, x.device())), {count, r});
}

}  // namespace
}  // namespace ops

void add_join(OpTable& t) {
  using namespace ops;
  for (const char* name : {"cat", "concat", "concatenate"}) {
    t.push_back(row<&cat>(text(name, "(Tensor[] tensors, int dim=0)"), kFunction,
                          "Joins tensors along an existing dimension."));
  }
  t.push_back(row<&stack>("stack(Tensor[] tensors, int dim=0)", kFunction,
                          "Joins tensors of one shape along a new dimension."));
  t.push_back(row<&hstack>("hstack(Tensor[] tensors)", kFunction,
                           "Joins tensors along dimension 1, vectors along their only one."));
  for (const char* name : {"vstack", "row_stack"}) {
    t.push_back(row<&vstack>(text(name, "(Tensor[] tensors)"), kFunction,
                             "Joins tensors along dimension 0; vectors are rows."));
  }
  t.push_back(row<&dstack>("dstack(Tensor[] tensors)", kFunction,
                           "Joins tensors along dimension 2, those of less dimensions made so."));
  t.push_back(row<&column_stack>("column_stack(Tensor[] tensors)", kFunction,
                                 "Joins tensors along dimension 1; vectors are columns."));
  t.push_back(row<&block_diag>("block_diag(Tensor* tensors)", kFunction,
                               "Matrices along a diagonal, zeros elsewhere; vectors are rows."));
  t.push_back(row<&broadcast_tensors>("broadcast_tensors(Tensor* tensors)", kFunction,
                                      "The tensors broadcast to one shape, without copying."));
  t.push_back(row<&meshgrid>(
      "meshgrid(Tensor* tensors, *, str? indexing=None)", kFunction,
      "For each vector its values over the grid of all, without copying: dimension i walks vector "
      "i with indexing='ij' (the default), and the first two change places with 'xy'."));
  t.push_back(row<&cartesian_prod>("cartesian_prod(Tensor* tensors)", kFunction,
                                   "All tuples of one element of each vector, as rows."));
  t.push_back(row<&combinations>("combinations(Tensor input, int r=2, bool with_replacement=False)",
                                 kFunction,
                                 "All combinations of r elements of a vector, as rows."));
}

}  // namespace wengert
