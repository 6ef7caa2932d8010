// Reading and writing along one dimension or in the flattened tensor, by an index tensor: gather,
// scatter, index_add and their kin. All are picks (picks.h); here are the checks and the rows.
#include <limits>

#include "ops/op_table.h"
#include "ops/picks.h"

namespace wengert {
namespace ops {
namespace {

// --- checks ------------------------------------------------------------------------------------

void check_index_dtype(const char* op, const Tensor& index, bool also_int32) {
  if (index.dtype() == DType::Int64 || (also_int32 && index.dtype() == DType::Int32)) return;
  fail(op, ": expected ", also_int32 ? "an int32 or int64" : "an int64", " index, got ",
       name_of(index.dtype()));
}
void check_same_dtype(const char* op, const Tensor& self, const Tensor& source) {
  if (self.dtype() == source.dtype()) return;
  fail(op, ": expected self and source to have the same dtype, got ", name_of(self.dtype()),
       " and ", name_of(source.dtype()));
}
std::string prefix_of(const char* op) {
  return text(op, ": ");
}

// An index as large as or smaller than x, except along dim; a number counts as a vector.
void check_along(const char* op, const Tensor& x, int dim, const Tensor& index) {
  check_index_dtype(op, index, true);
  if (index.numel() == 0) return;
  if (std::max(index.dim(), 1) != std::max(x.dim(), 1)) {
    fail(op, ": index tensor must have the same number of dimensions as input tensor, got ",
         index.sizes(), " for ", x.sizes());
  }
  for (int d = 0; d < index.dim() && x.dim() > 0; ++d) {
    if (d != dim && index.size(d) > x.size(d)) {
      fail(op, ": size does not match at dimension ", d, ", expected index ", index.sizes(),
           " to be no larger than self ", x.sizes(), " apart from dimension ", dim);
    }
  }
}

// The corner of source that an index of the given sizes covers.
Tensor corner(const char* op, const Tensor& source, const Dims& sizes) {
  if (product(sizes) == 0) return zeros({}, source.dtype(), source.device());
  bool fits = std::max(source.dim(), 1) == std::max(sizes.size(), 1);
  for (int d = 0; fits && d < std::min(source.dim(), sizes.size()); ++d) {
    fits = sizes[d] <= source.size(d);
  }
  if (!fits) {
    fail(op, ": expected index ", sizes, " to be no larger than src ", source.sizes(),
         " in any dimension");
  }
  if (source.sizes() == sizes) return source;
  if (source.dim() == 0 || sizes.empty()) return reshape(source, sizes);
  Tensor out = source;
  for (int d = 0; d < sizes.size(); ++d) {
    if (out.size(d) != sizes[d]) out = narrow(out, d, 0, sizes[d]);
  }
  return out;
}

// Makes the picks of gather and scatter.
auto along(const char* op, const Tensor& x, int64_t asked, const Tensor& index,
           bool wraps = false) {
  const int dim = wrap_dim(op, asked, x.dim());
  check_along(op, x, dim, index);
  return [=, prefix = prefix_of(op)](const Frame& f) {
    return picks_along(f, dim, index, {prefix.c_str(), ErrorKind::Runtime, dim, wraps});
  };
}

// Makes the picks of index_select, index_add and so on.
auto slices(const char* op, const Tensor& x, int64_t asked, const Tensor& index, ErrorKind kind,
            bool wraps = false) {
  const int dim = wrap_dim(op, asked, x.dim());
  if (index.dim() > 1) {
    fail(ErrorKind::Index, op, ": index is supposed to be a vector, got shape ", index.sizes());
  }
  if (x.dim() == 0 && index.numel() != 1) {
    fail(op, ": an index to a scalar can have only 1 value, got ", index.numel());
  }
  return [=, prefix = prefix_of(op)](const Frame& f) {
    return picks_of_slices(f, dim, index, {prefix.c_str(), kind, dim, wraps});
  };
}

// The source of index_add and so on: x's shape with the index's length in dim.
Tensor check_source(const char* op, const Tensor& x, int64_t asked, const Tensor& index,
                    const Tensor& source, ErrorKind kind) {
  check_same_dtype(op, x, source);
  const int dim = wrap_dim(op, asked, x.dim());
  Dims want = x.sizes();
  if (!want.empty()) want[dim] = index.numel();
  if (source.sizes() == want) return source;
  if (x.dim() <= 1 && source.dim() <= 1 && source.numel() == 1 && index.numel() == 1) {
    return reshape(source, want);
  }
  const bool counts = source.dim() == x.dim() && x.dim() > 0 && source.size(dim) != index.numel();
  if (counts) {
    fail(kind, op, ": number of indices (", index.numel(),
         ") should be equal to source.size(dim) (", source.size(dim), "), for dim ", dim);
  }
  fail(kind, op,
       ": source tensor shape must match self tensor shape, excluding the specified "
       "dimension, got source ",
       source.sizes(), " for self ", x.sizes(), " and ", index.numel(), " indices");
}

// --- reading -----------------------------------------------------------------------------------

Tensor gather_row(const Tensor& x, int64_t dim, const Tensor& index, bool) {
  return read_picks(x, along("gather", x, dim, index));
}

Tensor take_along_dim(const Tensor& x, const Tensor& indices, OptInt asked) {
  constexpr auto op = "take_along_dim";
  check_index_dtype(op, indices, false);
  if (!asked) {
    const Tensor flat = reshape(x, {x.numel()}), at = reshape(indices, {indices.numel()});
    return read_picks(flat, along(op, flat, 0, at, true));
  }
  if (x.dim() != indices.dim()) {
    fail(op, ": input and indices should have the same number of dimensions, but got ", x.dim(),
         " dimensions for input, and ", indices.dim(), " dimensions for indices");
  }
  const int dim = wrap_dim(op, *asked, x.dim());
  Dims a = x.sizes(), b = indices.sizes();
  if (!a.empty()) a[dim] = b[dim] = 1;
  const Dims common = broadcast_shapes(op, a, b);
  a = b = common;
  if (!a.empty()) {
    a[dim] = x.size(dim);
    b[dim] = indices.size(dim);
  }
  const Tensor wide = a == x.sizes() ? x : expand(x, a);
  return read_picks(wide, along(op, wide, dim, expand(indices, b), true));
}

// Makes the picks of take and put.
auto positions(const char* op, const Tensor& x, const Tensor& index) {
  check_index_dtype(op, index, false);
  if (x.numel() == 0 && index.numel() > 0) {
    fail(ErrorKind::Index, op, ": tried to access an empty tensor of shape ", x.sizes());
  }
  return [=, prefix = text(op, ": out of range, ")](const Frame& f) {
    return picks_of_positions(f, index, {prefix.c_str(), ErrorKind::Index, 0, true});
  };
}

Tensor take(const Tensor& x, const Tensor& index) {
  return read_picks(contiguous(x), positions("take", x, index));
}

// --- scatter -----------------------------------------------------------------------------------

// What a derivative keeps of self must outlive the change.
Tensor kept(const Tensor& self) {
  return recording(self) ? clone(self) : self;
}

Tensor scatter_any(const char* op, const Tensor& x, int64_t dim, const Tensor& index,
                   const Tensor& values, std::string_view reduce, bool inplace) {
  if (!reduce.empty() && reduce != "add" && reduce != "multiply") {
    fail(op, ": reduce argument must be either add or multiply, got ", reduce);
  }
  const auto make = along(op, x, dim, index);
  if (reduce == "multiply") {
    const Tensor from = inplace ? kept(x) : x;
    const Picks p = make(Frame{x.sizes(), contiguous_strides(x.sizes())});
    const Tensor out = combine(from, p, to(values, x.dtype()), Reduction::Product);
    return inplace ? overwrite(op, x, out) : out;
  }
  const Write how = reduce == "add" ? Write::Accumulate : Write::Put;
  return inplace ? write_picks_(op, x, values, how, make) : write_picks(op, x, values, how, make);
}

template <bool kInplace>
Tensor scatter_src(const Tensor& x, int64_t dim, const Tensor& index, const Tensor& src,
                   std::string_view reduce) {
  constexpr auto op = kInplace ? "scatter_" : "scatter";
  wrap_dim(op, dim, x.dim());
  check_same_dtype(op, x, src);
  return scatter_any(op, x, dim, index, corner(op, src, index.sizes()), reduce, kInplace);
}
template <bool kInplace>
Tensor scatter_value(const Tensor& x, int64_t dim, const Tensor& index, const Number& value,
                     std::string_view reduce) {
  constexpr auto op = kInplace ? "scatter_" : "scatter";
  return scatter_any(op, x, dim, index, number_like(value, &x), reduce, kInplace);
}
template <bool kInplace>
Tensor scatter_add(const Tensor& x, int64_t dim, const Tensor& index, const Tensor& src) {
  constexpr auto op = kInplace ? "scatter_add_" : "scatter_add";
  wrap_dim(op, dim, x.dim());
  check_same_dtype(op, x, src);
  return scatter_any(op, x, dim, index, corner(op, src, index.sizes()), "add", kInplace);
}

// --- reductions --------------------------------------------------------------------------------

// What combining starts from where x itself does not count.
Tensor identity(const Tensor& x, std::string_view reduce) {
  if (reduce == "prod") return full({}, {true, 1, 1}, x.dtype());
  if (reduce == "sum" || reduce == "mean") return zeros({}, x.dtype());
  const bool least = reduce == "amax";
  if (is_floating(x.dtype())) {
    const double end = std::numeric_limits<double>::infinity();
    return full({}, {false, 0, least ? -end : end}, x.dtype());
  }
  return visit(x.dtype(), [&]<class T>() {
    if constexpr (std::is_integral_v<T>) {
      using Limits = std::numeric_limits<T>;
      return Tensor::scalar(static_cast<int64_t>(least ? Limits::min() : Limits::max()), x.dtype());
    } else {
      return full({}, {true, !least, least ? 0.0 : 1.0}, x.dtype());
    }
  });
}

template <class Make>
Tensor reduce_picks(const char* op, const Tensor& x, const Tensor& source, std::string_view reduce,
                    bool include_self, Make&& make) {
  const Picks p = make(Frame{x.sizes(), contiguous_strides(x.sizes())});
  check_values(op, x, p, source);
  const Tensor start = include_self ? x : put(x, p, identity(x, reduce));
  if (reduce == "prod") return combine(start, p, source, Reduction::Product);
  if (reduce == "amax") return combine(start, p, source, Reduction::AMax);
  if (reduce == "amin") return combine(start, p, source, Reduction::AMin);
  if (reduce == "sum") return accumulate(start, p, source);
  if (x.dtype() == DType::Bool) {
    fail(ErrorKind::NotImplemented, op, ": mean is not defined for bool tensors");
  }
  const Tensor sums = accumulate(start, p, source);
  const DType d = compute_dtype(x.dtype());
  const Tensor one = full({}, {true, 1, 1}, d);
  Tensor counts = full(x.sizes(), {true, 1, 1}, d);
  if (!include_self) counts = put(counts, p, zeros({}, d));
  counts = accumulate(counts, p, one);
  return to(is_floating(d) ? div(sums, counts) : apply<FloorDivide>(sums, counts), x.dtype());
}

Tensor scatter_reduce(const Tensor& x, int64_t dim, const Tensor& index, const Tensor& src,
                      std::string_view reduce, bool include_self) {
  constexpr auto op = "scatter_reduce";
  if (reduce != "sum" && reduce != "prod" && reduce != "mean" && reduce != "amax" &&
      reduce != "amin") {
    fail(op, ": reduce argument must be either sum, prod, mean, amax or amin, got ", reduce);
  }
  check_same_dtype(op, x, src);
  const auto make = along(op, x, dim, index);
  return reduce_picks(op, x, corner(op, src, index.sizes()), reduce, include_self, make);
}

Tensor index_reduce(const Tensor& x, int64_t dim, const Tensor& index, const Tensor& source,
                    std::string_view reduce, bool include_self) {
  constexpr auto op = "index_reduce";
  if (reduce != "prod" && reduce != "mean" && reduce != "amax" && reduce != "amin") {
    fail(op, ": expected reduce to be one of prod, mean, amax or amin but got ", reduce);
  }
  check_index_dtype(op, index, true);
  const auto make = slices(op, x, dim, index, ErrorKind::Index);
  const Tensor s = check_source(op, x, dim, index, source, ErrorKind::Runtime);
  return reduce_picks(op, x, s, reduce, include_self, make);
}

// --- slices ------------------------------------------------------------------------------------

template <class Make>
Tensor write(const char* op, const Tensor& x, const Tensor& values, Write how, bool inplace,
             Make&& make) {
  return inplace ? write_picks_(op, x, values, how, make) : write_picks(op, x, values, how, make);
}

template <bool kInplace>
Tensor index_add(const Tensor& x, int64_t dim, const Tensor& index, const Tensor& source,
                 const Number& alpha) {
  constexpr auto op = kInplace ? "index_add_" : "index_add";
  check_index_dtype(op, index, true);
  const auto make = slices(op, x, dim, index, ErrorKind::Runtime);
  Tensor s = check_source(op, x, dim, index, source, ErrorKind::Runtime);
  if (alpha.d != 1 && x.dtype() != DType::Bool) {
    const auto whole = static_cast<int64_t>(alpha.d);
    check_fits(alpha, x.dtype());
    const Number in_dtype{true, alpha.integral ? alpha.i : whole, static_cast<double>(whole)};
    s = mul(s, number_like(is_floating(x.dtype()) ? alpha : in_dtype, &s));
  }
  return write(op, x, s, Write::Accumulate, kInplace, make);
}

template <bool kInplace>
Tensor index_copy(const Tensor& x, int64_t dim, const Tensor& index, const Tensor& source) {
  constexpr auto op = kInplace ? "index_copy_" : "index_copy";
  check_index_dtype(op, index, false);
  const auto make = slices(op, x, dim, index, ErrorKind::Index);
  if (source.dim() != x.dim() && source.dim() > 0 && x.dim() > 0) {
    fail(ErrorKind::Index, op, ": source dimensionality (", source.dim(),
         ") must match destination dimensionality (", x.dim(), ")");
  }
  const bool counts =
      x.dim() == 0 || source.dim() == 0 || source.size(wrap_dim(op, dim, x.dim())) != index.numel();
  const Tensor s =
      check_source(op, x, dim, index, source, counts ? ErrorKind::Index : ErrorKind::Runtime);
  return write(op, x, s, Write::Put, kInplace, make);
}

template <bool kInplace>
Tensor index_fill_tensor(const Tensor& x, int64_t dim, const Tensor& index, const Tensor& value) {
  constexpr auto op = kInplace ? "index_fill_" : "index_fill";
  if (index.dtype() != DType::Int64) {
    fail(ErrorKind::Index, op, ": expected an int64 index, got ", name_of(index.dtype()));
  }
  if (value.dim() != 0) {
    fail(op, ": only a 0-dimensional value tensor is supported, but got tensor with ", value.dim(),
         " dimension(s)");
  }
  if (index.dim() > 1) fail(op, ": index has to be a vector or scalar, got ", index.sizes());
  const auto make = slices(op, x, dim, index, ErrorKind::Index, true);
  return write(op, x, value, Write::Put, kInplace, make);
}
template <bool kInplace>
Tensor index_fill_value(const Tensor& x, int64_t dim, const Tensor& index, const Number& value) {
  return index_fill_tensor<kInplace>(x, dim, index, number_like(value, &x));
}

// --- in the flattened tensor -------------------------------------------------------------------

template <bool kInplace>
Tensor put_at(const Tensor& x, const Tensor& index, const Tensor& source, bool accumulates) {
  constexpr auto op = kInplace ? "put_" : "put";
  const auto make = positions(op, x, index);
  check_same_dtype(op, x, source);
  if (source.numel() != index.numel()) {
    fail(ErrorKind::Index, op,
         ": expected source and index to have the same number of elements, but got ",
         source.numel(), " and ", index.numel());
  }
  const Tensor values = reshape(source, index.sizes());
  const Write how = accumulates ? Write::Accumulate : Write::Put;
  if (kInplace && x.contiguous()) return write_picks_(op, x, values, how, make);
  const Tensor out = write_picks(op, kInplace ? kept(x) : x, values, how, make);
  return kInplace ? overwrite(op, x, out) : out;
}

// --- views written to --------------------------------------------------------------------------

Tensor assigned(const char* op, const Tensor& x, const Region& r, const Tensor& src) {
  if (!(src.sizes() == r.sizes)) {
    fail(op, ": expected src to have a size equal to the slice of self, src size = ", src.sizes(),
         ", slice size = ", r.sizes);
  }
  const Tensor out = clone(x);
  assign_region(out, r, src);
  return out;
}

Tensor select_scatter(const Tensor& x, const Tensor& src, int64_t asked, int64_t index) {
  constexpr auto op = "select_scatter";
  if (x.dim() == 0) fail(ErrorKind::Index, op, ": cannot select from a 0-dim tensor");
  const int dim = wrap_dim(op, asked, x.dim());
  const int64_t n = x.size(dim);
  if (index < -n || index >= n) {
    fail(ErrorKind::Index, op, ": index ", index, " is out of bounds for dimension ", dim,
         " with size ", n);
  }
  Region r = whole_region(x);
  r.start[dim] = index < 0 ? index + n : index;
  r.step[dim] = 0;
  r.sizes.erase(dim);
  for (int d = dim; d < r.sizes.size(); ++d) r.source[d] = static_cast<int8_t>(d + 1);
  return assigned(op, x, r, src);
}

Tensor slice_scatter(const Tensor& x, const Tensor& src, int64_t asked, OptInt start, OptInt end,
                     int64_t step) {
  constexpr auto op = "slice_scatter";
  if (x.dim() == 0) fail(op, ": cannot slice a 0-dim tensor");
  if (step <= 0) fail(op, ": slice step must be positive, got ", step);
  const int dim = wrap_dim(op, asked, x.dim());
  const int64_t n = x.size(dim);
  const auto within = [&](int64_t v) { return std::clamp<int64_t>(v < 0 ? v + n : v, 0, n); };
  const int64_t from = within(start.value_or(0)), to = within(end.value_or(n));
  Region r = whole_region(x);
  r.start[dim] = from;
  r.step[dim] = step;
  r.sizes[dim] = to > from ? (to - from - 1) / step + 1 : 0;
  return assigned(op, x, r, src);
}

Tensor diagonal_scatter(const Tensor& x, const Tensor& src, int64_t offset, int64_t dim1,
                        int64_t dim2) {
  constexpr auto op = "diagonal_scatter";
  const int a = wrap_dim(op, dim1, x.dim()), b = wrap_dim(op, dim2, x.dim());
  if (a == b) fail(op, ": diagonal dimensions cannot be identical ", dim1, ", ", dim2);
  const int64_t down = offset < 0 ? -std::max(offset, -x.size(a)) : 0;
  const int64_t right = offset > 0 ? std::min(offset, x.size(b)) : 0;
  const int64_t n = std::min(x.size(a) - down, x.size(b) - right);
  const auto make = [&](const Frame& f) {
    Picks p;
    for (int d = 0; d < f.sizes.size(); ++d) {
      if (d == a || d == b) continue;
      p.sizes.push_back(f.sizes[d]);
      p.strides.push_back(f.strides[d]);
    }
    p.sizes.push_back(n);
    p.strides.push_back(f.strides[a] + f.strides[b]);
    p.start = n == 0 ? 0 : down * f.strides[a] + right * f.strides[b];
    p.at = zeros({}, DType::Int64);
    return p;
  };
  const Picks p = make(Frame{x.sizes(), x.strides()});
  if (!(src.sizes() == p.sizes)) {
    fail(op, ": expected src to have a size equal to the slice of self, src size = ", src.sizes(),
         ", slice size = ", p.sizes);
  }
  return write_picks(op, x, src, Write::Put, make);
}

}  // namespace

Tensor gather(const Tensor& x, int64_t dim, const Tensor& index) {
  return gather_row(x, dim, index, false);
}
Tensor scatter_add(const Tensor& x, int64_t dim, const Tensor& index, const Tensor& src) {
  return scatter_add<false>(x, dim, index, src);
}

Tensor index_select(const Tensor& x, int64_t dim, const Tensor& index) {
  check_index_dtype("index_select", index, true);
  return read_picks(x, slices("index_select", x, dim, index, ErrorKind::Index));
}

}  // namespace ops

void add_scatter(OpTable& t) {
  using namespace ops;
  constexpr uint8_t both = kMethod | kFunction;
  t.push_back(row<&index_select>("index_select(Tensor input, int dim, Tensor index)", both,
                                 "The slices of input along dim that an integer vector names."));
  t.push_back(row<&gather_row>(
      "gather(Tensor input, int dim, Tensor index, *, bool sparse_grad=False)", both,
      "The elements at index along dim: out[i][j] = input[index[i][j]][j] for dim = 0. "
      "Derivative: scatter_add."));
  t.push_back(row<&take_along_dim>(
      "take_along_dim(Tensor input, Tensor indices, int? dim=None)", both,
      "The elements at indices along dim, input and indices broadcast against each other; of the "
      "flattened input without dim."));
  t.push_back(row<&take>("take(Tensor input, Tensor index)", both,
                         "The elements of the flattened input at index."));
  t.push_back(row<&scatter_src<false>, &scatter_src<true>>(
      "scatter(Tensor input, int dim, Tensor index, Tensor src, *, str? reduce=None)", both,
      "input with src, or a number, written at index along dim: out[index[i][j]][j] = src[i][j] "
      "for dim = 0; of several the last in order stays. With reduce='add' or 'multiply' they are "
      "combined."));
  t.push_back(row<&scatter_value<false>, &scatter_value<true>>(
      "scatter(Tensor input, int dim, Tensor index, Number value, *, str? reduce=None)", both, ""));
  t.push_back(row<&scatter_add<false>, &scatter_add<true>>(
      "scatter_add(Tensor input, int dim, Tensor index, Tensor src)", both,
      "input with src added at index along dim, in order. Derivative by src: gather."));
  t.push_back(with_inplace(row<&scatter_reduce>(
      "scatter_reduce(Tensor input, int dim, Tensor index, Tensor src, str reduce, *, bool "
      "include_self=True)",
      both,
      "input with src combined at index along dim by reduce: 'sum', 'prod', 'mean', 'amax' or "
      "'amin'; include_self says whether input's own elements count.")));
  t.push_back(row<&index_add<false>, &index_add<true>>(
      "index_add(Tensor input, int dim, Tensor index, Tensor source, *, Number alpha=1)", both,
      "input with alpha * source added to the slices along dim that index names, in order."));
  t.push_back(row<&index_copy<false>, &index_copy<true>>(
      "index_copy(Tensor input, int dim, Tensor index, Tensor source)", both,
      "input with the slices along dim that index names replaced by those of source."));
  t.push_back(row<&index_fill_tensor<false>, &index_fill_tensor<true>>(
      "index_fill(Tensor input, int dim, Tensor index, Tensor value)", both,
      "input with the slices along dim that index names filled with a number or a 0-dim tensor."));
  t.push_back(row<&index_fill_value<false>, &index_fill_value<true>>(
      "index_fill(Tensor input, int dim, Tensor index, Number value)", both, ""));
  t.push_back(with_inplace(row<&index_reduce>(
      "index_reduce(Tensor input, int dim, Tensor index, Tensor source, str reduce, *, bool "
      "include_self=True)",
      both,
      "input with source combined into the slices along dim that index names by reduce: 'prod', "
      "'mean', 'amax' or 'amin'.")));
  t.push_back(row<&put_at<false>, &put_at<true>>(
      "put(Tensor input, Tensor index, Tensor source, bool accumulate=False)", both,
      "The flattened input with source written, or added, at index; in input's shape."));
  t.push_back(row<&select_scatter>("select_scatter(Tensor input, Tensor src, int dim, int index)",
                                   both, "A copy of input in which one slice along dim is src."));
  t.push_back(row<&slice_scatter>(
      "slice_scatter(Tensor input, Tensor src, int dim=0, int? start=None, int? end=None, int "
      "step=1)",
      both, "A copy of input in which a range along dim is src."));
  t.push_back(row<&diagonal_scatter>(
      "diagonal_scatter(Tensor input, Tensor src, int offset=0, int dim1=0, int dim2=1)", both,
      "A copy of input in which a diagonal is src."));
}

}  // namespace wengert
