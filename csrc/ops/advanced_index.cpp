// x[index] and x[index] = value with index tensors among integers, slices and None: a Region says
// what the basic parts pick, and the index tensors pick from that. Follows PyTorch: index tensors
// are broadcast against each other; their dimensions stand where they stood if they stood side by
// side, else first.
#include "ops/op_table.h"
#include "ops/picks.h"

namespace wengert {
namespace ops {
namespace {

// One index tensor: integers over one dimension of the region, or the places where a mask over
// several holds, counted in the mask.
struct Entry {
  Tensor index;
  Tensor mask;
  int dim = 0, dims = 1;
};

struct Entries {
  Entry entry[kMaxDims];
  int count = 0;
  Dims shape;     // all index tensors broadcast
  int place = 0;  // where these dimensions go
  int covered = 0;

  const Entry* begin() const { return entry; }
  const Entry* end() const { return entry + count; }
};

void check_mask(const Tensor& mask, int dim, const Dims& sizes) {
  for (int d = 0; d < mask.dim(); ++d) {
    if (dim + d < sizes.size() && mask.size(d) == sizes[dim + d]) continue;
    fail(ErrorKind::Index, "index: the shape of the mask ", mask.sizes(), " at index ", d,
         " does not match the shape of the indexed tensor ", sizes, " at index ", dim + d);
  }
}

bool broadcasts(const Dims& a, const Dims& b) {
  for (int d = 1; d <= std::min(a.size(), b.size()); ++d) {
    const int64_t x = a[a.size() - d], y = b[b.size() - d];
    if (x != y && x != 1 && y != 1) return false;
  }
  return true;
}

// An index tensor where the indexed tensor is.
Tensor beside(const Tensor& index, Device device) {
  if (index.device() == device) [[likely]]
    return index;
  if (device == Device::CPU) {
    fail("indices should be either on cpu or on the same device as the indexed tensor (cpu)");
  }
  return to_device(index, device);
}

Entries resolve(const Index& index, Device device) {
  Entries out;
  const Dims& sizes = index.region.sizes;
  int next = -1;
  bool adjacent = true;
  for (int d = 0; d < sizes.size(); ++d) {
    const Tensor& t = index.at[d];
    if (!t.defined()) continue;
    Entry& e = out.entry[out.count++];
    e.dim = d;
    if (is_mask(t)) {
      check_mask(t, d, sizes);
      e.mask = beside(t, device);
      e.index = nonzero_positions(e.mask);
      e.dims = t.dim();
    } else {
      e.index = beside(t, device);
    }
    const Dims& shape = e.index.sizes();
    if (out.count > 1 && !broadcasts(out.shape, shape)) {
      fail(ErrorKind::Index,
           "index: shape mismatch: indexing tensors could not be broadcast together with shapes ",
           out.shape, ", ", shape);
    }
    out.shape = out.count > 1 ? broadcast_shapes("index", out.shape, shape) : shape;
    adjacent = adjacent && (next < 0 || next == d);
    next = d + e.dims;
    out.covered += e.dims;
    d = next - 1;
  }
  if (adjacent) out.place = out.entry[0].dim;
  return out;
}

// Whether dimensions [first, first + n) can be walked as one, in steps of the last.
bool joins(const Dims& sizes, const Dims& strides, int first, int n) {
  for (int d = first; d < first + n - 1; ++d) {
    if (sizes[d] != 1 && strides[d] != strides[d + 1] * sizes[d + 1]) return false;
  }
  return true;
}

// The strides of a region's dimensions, and where it starts.
Dims region_strides(const Frame& x, const Region& r, int64_t& start) {
  Dims strides = r.sizes;
  start = 0;
  for (int d = 0; d < x.sizes.size(); ++d) start += r.start[d] * x.strides[d];
  for (int d = 0; d < r.sizes.size(); ++d) {
    strides[d] = r.source[d] < 0 ? 0 : r.step[r.source[d]] * x.strides[r.source[d]];
  }
  return strides;
}

Picks picks_of(const Frame& x, const Region& r, const Entries& entries) {
  Picks p;
  const Dims strides = region_strides(x, r, p.start);
  const auto add_dim = [&](int64_t size, int64_t stride) {
    p.sizes.push_back(size);
    p.strides.push_back(stride);
  };
  unsigned covered = 0;
  for (const Entry& e : entries) covered |= ((1u << e.dims) - 1) << e.dim;
  int before = 0;
  for (int d = 0; d < entries.place; ++d, ++before) add_dim(r.sizes[d], strides[d]);
  for (int64_t s : entries.shape) add_dim(s, 0);
  for (int d = entries.place; d < r.sizes.size(); ++d) {
    if (!(covered >> d & 1)) add_dim(r.sizes[d], strides[d]);
  }
  bool adds = false;
  const auto add = [&](const Tensor& index, int64_t size, int64_t stride, int dim) {
    if (!adds) p.at = Tensor::empty(entries.shape, DType::Int64, index.device());
    add_offsets(p.at, index, size, stride, adds,
                {"", ErrorKind::Index, std::max<int>(r.source[dim], 0), true});
    p.span += std::max<int64_t>(size - 1, 0) * stride;
    adds = true;
  };
  for (const Entry& e : entries) {
    const int last = e.dim + e.dims - 1;
    if (!e.mask.defined()) {
      add(e.index, r.sizes[e.dim], strides[e.dim], e.dim);
    } else if (joins(r.sizes, strides, e.dim, e.dims)) {
      if (entries.count == 1 && strides[last] == 1) {
        p.at = e.index;
        p.span = std::max<int64_t>(e.mask.numel(), 1);
      } else {
        add(e.index, e.mask.numel(), strides[last], e.dim);
      }
    } else {
      const Tensor at = nonzero(e.mask);
      for (int d = 0; d < e.dims; ++d) {
        add(at.view({at.size(0)}, {at.size(1)}, d), r.sizes[e.dim + d], strides[e.dim + d],
            e.dim + d);
      }
    }
  }
  Dims sizes;
  for (int d = 0; d < before; ++d) sizes.push_back(1);
  for (int64_t s : entries.shape) sizes.push_back(s);
  while (sizes.size() < p.sizes.size()) sizes.push_back(1);
  p.at = p.at.view(sizes, contiguous_strides(sizes));
  return p;
}

// The values of an assignment without the leading sizes of 1 that the picked space lacks.
Tensor fitted(const Tensor& values, int dims) {
  Tensor v = values;
  while (v.dim() > dims && v.size(0) == 1) v = squeeze(v, 0);
  return v;
}

// x[mask] = one value, for a mask over whole dimensions.
// The dimension of the one mask that is filled with one number; -1 if it is something else.
int filled_mask(const Index& index, const Tensor& values) {
  if (!index.whole || values.dim() != 0) return -1;
  int found = -1;
  for (int d = 0; d < index.region.sizes.size(); ++d) {
    if (!index.at[d].defined()) continue;
    if (found >= 0 || !is_mask(index.at[d])) return -1;
    found = d;
  }
  return found;
}

}  // namespace

bool is_mask(const Tensor& index) {
  return index.dtype() == DType::Bool || index.dtype() == DType::UInt8;
}

void check_index_tensor(const Tensor& index) {
  const DType d = index.dtype();
  if (is_mask(index) || d == DType::Int64 || d == DType::Int32) return;
  fail(ErrorKind::Index,
       "index: tensors used as indices must be long, int, byte or bool tensors, got ", name_of(d));
}

Tensor index(const Tensor& x, const Index& index) {
  const Tensor view = index.whole ? x : at_region(x, index.region);
  const Entries entries = resolve(index, x.device());
  const Region r = whole_region(view);
  return read_picks(view, [&](const Frame& f) { return picks_of(f, r, entries); });
}

void index_put_(const char* op, const Tensor& x, const Index& index, const Tensor& values,
                bool accumulates) {
  const int at = accumulates ? -1 : filled_mask(index, values);
  if (at >= 0) {
    check_mask(index.at[at], at, index.region.sizes);
    const Tensor mask = to(beside(index.at[at], x.device()), DType::Bool);
    Dims sizes = mask.sizes();
    for (int d = at + mask.dim(); d < x.dim(); ++d) sizes.push_back(1);
    masked_fill_(
        x, mask.contiguous() ? mask.view(sizes, contiguous_strides(sizes)) : reshape(mask, sizes),
        values);
    return;
  }
  const Entries entries = resolve(index, x.device());
  const auto make = [&](const Frame& f) { return picks_of(f, index.region, entries); };
  const int dims = index.region.sizes.size() - entries.covered + entries.shape.size();
  write_picks_(op, x, fitted(values, dims), accumulates ? Write::Accumulate : Write::Put, make);
}

namespace {

Index index_from(const char* op, const Tensor& x, const std::vector<Tensor>& indices) {
  if (indices.empty()) fail(op, ": expected at least one index");
  Index out;
  out.region = whole_region(x);
  int dim = 0;
  for (const Tensor& t : indices) {
    const int dims = t.defined() && is_mask(t) ? t.dim() : 1;
    if (t.defined()) check_index_tensor(t);
    if (dims == 0) fail(ErrorKind::Index, op, ": a mask must have at least one dimension");
    if (dim + dims > x.dim()) {
      fail(ErrorKind::Index, op, ": too many indices for tensor of dimension ", x.dim(), " (got ",
           dim + dims, ")");
    }
    if (t.defined()) out.at[dim] = t;
    dim += dims;
  }
  return out;
}

bool names_any(const Index& index) {
  return std::any_of(std::begin(index.at), std::end(index.at),
                     [](const Tensor& t) { return t.defined(); });
}

Tensor index_put_row_(const Tensor& x, AnyDevices indices, const Tensor& values, bool accumulate) {
  constexpr auto op = "index_put_";
  const Index index = index_from(op, x, indices.tensors);
  if (values.dtype() != x.dtype()) {
    fail(op, ": index put requires the source and destination dtypes match, got ",
         name_of(x.dtype()), " for the destination and ", name_of(values.dtype()),
         " for the source");
  }
  if (!names_any(index)) fail(op, ": at least one of the indices must be a tensor");
  index_put_(op, x, index, values, accumulate);
  return x;
}
Tensor index_put_row(const Tensor& x, AnyDevices indices, const Tensor& values, bool accumulate) {
  return index_put_row_(clone(x), indices, values, accumulate);
}

}  // namespace

Tensor take_rows(const Tensor& x, const Tensor& rows) {
  if (x.dim() == 0) fail(ErrorKind::Index, "index: too many indices for tensor of dimension 0");
  check_index_tensor(rows);
  Index i;
  i.region = whole_region(x);
  i.at[0] = rows;
  return index(x, i);
}

Region whole_region(const Tensor& x) {
  Region r;
  r.sizes = x.sizes();
  for (int d = 0; d < x.dim(); ++d) {
    r.start[d] = 0;
    r.step[d] = 1;
    r.source[d] = static_cast<int8_t>(d);
  }
  return r;
}

}  // namespace ops

void add_index_put(OpTable& t) {
  t.push_back(row<&ops::index_put_row, &ops::index_put_row_>(
      "index_put(Tensor input, Tensor?[] indices, Tensor values, bool accumulate=False)",
      kMethod | kFunction,
      "input with values written, or added, at input[indices]; None stands for a whole "
      "dimension."));
}

}  // namespace wengert
