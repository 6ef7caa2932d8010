// Sorting and order statistics. Every operation finds places; the values are then gathered there,
// so that the gradient is gather's.
#include <algorithm>
#include <cmath>
#include <limits>

#include "core/watch.h"
#include "ops/checks.h"
#include "ops/elementwise.h"
#include "ops/op_table.h"
#include "ops/picks.h"
#include "ops/reduce.h"

namespace wengert {
namespace ops {
namespace {

struct Found {
  Tensor values, places;
};

// A kernel that turns each row along dim into k results; n of it are looked at.
struct RowKernel {
  Kernel kernel;
  int64_t number[3];  // the launch's
};
Found find(const RowKernel& how, const Tensor& input, int dim, int64_t k) {
  const Tensor x = numbers(detach(input));
  const Tensor flat = x.dim() == 0 ? reshape(x, {1}) : x;
  const Tensor source = contiguous(transpose(flat, dim, -1));
  Dims sizes = source.sizes();
  const int64_t n = sizes.back();
  sizes[sizes.size() - 1] = k;
  Found found{Tensor::empty(sizes, x.dtype(), x.device()),
              Tensor::empty(sizes, DType::Int64, x.device())};
  const Tensor* operands[] = {&found.values, &found.places, &source};
  Launch l;
  l.kernel = id(how.kernel);
  l.dtype = x.dtype();
  l.device = x.device();
  l.dense = true;
  l.ndim = 2;
  l.size[0] = n == 0 ? 0 : source.numel() / n;
  l.size[1] = n;
  l.count = source.numel();
  std::copy_n(how.number, 3, l.integer);
  l.nbuffers = 3;
  for (int b = 0; b < 3; ++b) set_buffer(l, b, *operands[b]);
  launch(l);
  for (Tensor* t : {&found.values, &found.places}) *t = contiguous(transpose(*t, dim, -1));
  if (x.dim() == 0) found.places = reshape(found.places, {});
  found.values = recording(input) ? gather(input, dim, found.places)
                                  : to(reshape(found.values, found.places.sizes()), input.dtype());
  return found;
}

int64_t size_along(const Tensor& x, int dim) {
  return x.dim() == 0 ? 1 : x.size(dim);
}

// --- sorting -----------------------------------------------------------------------------------

std::vector<Tensor> sort(const Tensor& x, int64_t dim, bool descending, std::optional<bool>) {
  const int d = wrap_dim("sort", dim, x.dim());
  const Found f = find({Kernel::Sort, {descending}}, x, d, size_along(x, d));
  return {f.values, f.places};
}
}  // namespace

Tensor argsort(const Tensor& x, int64_t dim, bool descending, bool) {
  const int d = wrap_dim("argsort", dim, x.dim());
  return find({Kernel::Sort, {descending}}, detach(x), d, size_along(x, d)).places;
}

Tensor msort(const Tensor& x) {
  return find({Kernel::Sort, {}}, x, 0, size_along(x, 0)).values;
}

namespace {

std::vector<Tensor> topk(const Tensor& x, int64_t k, int64_t dim, bool largest, bool sorted) {
  const int d = wrap_dim("topk", dim, x.dim());
  if (k < 0 || k > size_along(x, d)) {
    fail("topk: selected index k out of range: k = ", k, " for dimension ", d, " of shape ",
         x.sizes());
  }
  if (x.dtype() == DType::Bool) fail("topk: not implemented for bool");
  const Found f = find({Kernel::Topk, {largest, k, sorted}}, x, d, k);
  return {f.values, f.places};
}

// --- one of each row ---------------------------------------------------------------------------

std::vector<Tensor> select(const char* op, const Tensor& x, int64_t rank, int64_t dim,
                           bool keepdim) {
  const int d = wrap_dim(op, dim, x.dim());
  if (x.dtype() == DType::Bool && rank != kSelectMode) {
    fail(ErrorKind::NotImplemented, op, ": not implemented for bool");
  }
  check_not_empty(op, x, 1u << d);
  Found f = find({Kernel::Select, {rank}}, x, d, 1);
  if (!keepdim && x.dim() > 0) f = {squeeze(f.values, d), squeeze(f.places, d)};
  return {f.values, f.places};
}

std::vector<Tensor> kthvalue(const Tensor& x, int64_t k, int64_t dim, bool keepdim) {
  const int d = wrap_dim("kthvalue", dim, x.dim());
  check_not_empty("kthvalue", x, 1u << d);
  if (k < 1 || k > size_along(x, d)) {
    fail("kthvalue: selected number k out of range: k = ", k, " for dimension ", d, " of shape ",
         x.sizes());
  }
  return select("kthvalue", x, k - 1, d, keepdim);
}
std::vector<Tensor> median(const Tensor& x, int64_t dim, bool keepdim) {
  return select("median", x, kSelectMedian, dim, keepdim);
}
std::vector<Tensor> nanmedian(const Tensor& x, int64_t dim, bool keepdim) {
  return select("nanmedian", x, kSelectNanMedian, dim, keepdim);
}
std::vector<Tensor> mode(const Tensor& x, int64_t dim, bool keepdim) {
  return select("mode", x, kSelectMode, dim, keepdim);
}

Tensor median_of_all(const Tensor& x, int64_t rank) {
  if (x.numel() == 0) {
    if (!is_floating(x.dtype())) {
      return to(full({}, {true, std::numeric_limits<int64_t>::min(), 0}, DType::Int64), x.dtype());
    }
    return full({}, {false, 0, std::numeric_limits<double>::quiet_NaN()}, x.dtype());
  }
  return select("median", reshape(x, {x.numel()}), rank, 0, false)[0];
}
Tensor median_all(const Tensor& x) {
  return median_of_all(x, kSelectMedian);
}
Tensor nanmedian_all(const Tensor& x) {
  return median_of_all(x, kSelectNanMedian);
}

// --- quantiles ---------------------------------------------------------------------------------

enum class Between { Linear, Lower, Higher, Nearest, Midpoint };

Between between_of(const char* op, std::string_view name) {
  constexpr std::pair<std::string_view, Between> names[] = {{"linear", Between::Linear},
                                                            {"lower", Between::Lower},
                                                            {"higher", Between::Higher},
                                                            {"nearest", Between::Nearest},
                                                            {"midpoint", Between::Midpoint}};
  for (const auto& [n, b] : names) {
    if (n == name) return b;
  }
  fail(op, ": interpolation must be one of linear, lower, higher, midpoint or nearest, but got ",
       name);
}

// rows x quantiles, of sorted dense rows. Without `skip_nan` a row with a NaN, which then stands
// last, gives that.
Tensor quantiles(const Tensor& sorted, const Tensor& q, Between how, bool skip_nan) {
  const DType d = sorted.dtype();
  const int64_t rows = sorted.size(0), last = sorted.size(1) - 1, m = q.numel();
  Tensor low, high, way;
  {
    const GradMode off(false);
    const Dims along{1};
    const Tensor values = detach(sorted), number = eq(values, values);
    const Tensor one = Tensor::scalar(int64_t{1}, DType::Int64);
    const Tensor end = Tensor::scalar(last, DType::Int64);
    // A quantile lies between two places, or at one. In the dtype of the values, as PyTorch.
    Tensor ends = end;
    if (skip_nan) {
      const Tensor numbers = sum(number, &along, true);
      ends = sub(apply<Maximum>(numbers, one), one);
    }
    const Tensor rank =
        mul(reshape(to(to_device(detach(q), sorted.device()), d), {1, m}), to(ends, d));
    const Tensor below = how == Between::Nearest  ? apply<Round>(rank)
                         : how == Between::Higher ? apply<Ceil>(rank)
                                                  : apply<Floor>(rank);
    const auto places = [&](const Tensor& at) {
      const Tensor whole = to(at, DType::Int64);
      if (skip_nan) return expand(whole, {rows, m});
      return where(narrow(number, 1, last, 1), expand(whole, {rows, m}), end);
    };
    low = places(below);
    if (how == Between::Linear) way = sub(rank, below);
    if (how == Between::Midpoint) way = Tensor::scalar(0.5, d);
    if (way.defined()) high = places(apply<Ceil>(rank));
  }
  const Tensor a = gather(sorted, 1, low);
  return way.defined() ? add(a, mul(way, sub(gather(sorted, 1, high), a))) : a;
}

void check_quantiles(const char* op, const Tensor& x, const Tensor& q) {
  if (x.numel() == 0) fail(op, ": input tensor must be non-empty, got shape ", x.sizes());
  if (x.dtype() != DType::Float32 && x.dtype() != DType::Float64) {
    fail(op, ": input tensor must be either float or double dtype, got ", name_of(x.dtype()));
  }
  if (q.dim() > 1) fail(op, ": q must be a scalar or 1D tensor, got shape ", q.sizes());
  if (q.dtype() != x.dtype() && !q->weak) {
    fail(op, ": q tensor must be same dtype as the input tensor, got ", name_of(q.dtype()), " and ",
         name_of(x.dtype()));
  }
  host_check(checks::kQuantiles, {contiguous(to(detach(q), DType::Float64))}, {.text = {op}});
}

Tensor quantile_of(const char* op, const Tensor& x, const Tensor& q, OptInt dim, bool keepdim,
                   std::string_view interpolation, bool skip_nan) {
  const Between how = between_of(op, interpolation);
  check_quantiles(op, x, q);
  const int d = dim ? wrap_dim(op, *dim, x.dim()) : 0;
  Dims kept = Dims::filled(x.dim(), 1);
  Tensor rows;
  if (dim && x.dim() > 0) {
    kept = x.sizes();
    kept[d] = 1;
    const int64_t n = x.size(d);
    rows = reshape(transpose(unsqueeze(x, 0), d + 1, -1), {x.numel() / n, n});
    // the kept dimensions stand in the order that the transposition left
    std::swap(kept[d], kept[kept.size() - 1]);
  } else {
    rows = reshape(x, {1, x.numel()});
  }
  const Tensor sorted = contiguous(find({Kernel::Sort, {}}, rows, 1, rows.size(1)).values);
  Dims sizes = kept;
  sizes.insert(0, q.numel());
  Tensor out = reshape(transpose(quantiles(sorted, q, how, skip_nan), 0, 1), sizes);
  if (dim && x.dim() > 0) out = transpose(out, d + 1, -1);
  if (!keepdim) {
    if (dim && x.dim() > 0) {
      out = squeeze(out, d + 1);
    } else {
      out = reshape(out, {q.numel()});
    }
  }
  return q.dim() == 0 ? squeeze(out, 0) : out;
}

Tensor quantile(const Tensor& x, const Tensor& q, OptInt dim, bool keepdim,
                std::string_view interpolation) {
  return quantile_of("quantile", x, q, dim, keepdim, interpolation, false);
}
Tensor nanquantile(const Tensor& x, const Tensor& q, OptInt dim, bool keepdim,
                   std::string_view interpolation) {
  return quantile_of("nanquantile", x, q, dim, keepdim, interpolation, true);
}

}  // namespace
}  // namespace ops

void add_sort(OpTable& t) {
  using namespace ops;
  constexpr uint8_t both = kMethod | kFunction;
  t.push_back(
      row<&sort>("sort(Tensor input, int dim=-1, bool descending=False, *, "
                 "bool? stable=None) -> values, indices",
                 both,
                 "The elements in order along dim, and where they were. Equal elements "
                 "keep their order; NaN is above every number."));
  t.push_back(row<&argsort>(
      "argsort(Tensor input, int dim=-1, bool descending=False, *, bool stable=False)", both,
      "The indices that sort along dim."));
  t.push_back(row<&msort>("msort(Tensor input)", both, "Sorted along the first dimension."));
  t.push_back(
      row<&topk>("topk(Tensor input, int k, int dim=-1, bool largest=True, "
                 "bool sorted=True) -> values, indices",
                 both,
                 "The k largest or smallest elements along dim, and where they were, of "
                 "equal ones the first."));
  t.push_back(row<&kthvalue>(
      "kthvalue(Tensor input, int k, int dim=-1, bool keepdim=False) -> values, indices", both,
      "The k-th smallest element along dim, counted from 1, and where it was."));
  t.push_back(row<&median_all>("median(Tensor input)", both,
                               "The middle element in order, of two the lower; with dim, those "
                               "along it and where they were. NaN if any element is."));
  t.push_back(row<&median>("median(Tensor input, int dim, bool keepdim=False) -> values, indices",
                           both, ""));
  t.push_back(row<&nanmedian_all>("nanmedian(Tensor input)", both,
                                  "As median, of the elements that are not NaN."));
  t.push_back(row<&nanmedian>(
      "nanmedian(Tensor input, int dim, bool keepdim=False) -> values, indices", both, ""));
  t.push_back(
      row<&mode>("mode(Tensor input, int dim=-1, bool keepdim=False) -> values, indices", both,
                 "The most frequent element along dim, of equally frequent ones the smallest, and "
                 "the last place of it."));
  t.push_back(
      row<&quantile>("quantile(Tensor input, Value q, int? dim=None, bool keepdim=False, "
                     "*, str interpolation='linear')",
                     both,
                     "The elements at fractions q of the order along dim, or of all, "
                     "interpolated between neighbours."));
  t.push_back(
      row<&nanquantile>("nanquantile(Tensor input, Value q, int? dim=None, bool keepdim=False, *, "
                        "str interpolation='linear')",
                        both, "As quantile, of the elements that are not NaN."));
}

}  // namespace wengert
