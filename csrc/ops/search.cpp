// Searching sorted sequences, counting, distinct elements.
#include <algorithm>
#include <cmath>

#include "core/watch.h"
#include "ops/checks.h"
#include "ops/elementwise.h"
#include "ops/op_table.h"
#include "ops/picks.h"
#include "ops/reduce.h"

namespace wengert {
namespace ops {
namespace {

Tensor flat(const Tensor& x) {
  return reshape(x, {x.numel()});
}
// How often each of 0 ... n - 1 is among the places, or the sum of what stands there.
Tensor tally(const Tensor& places, int64_t n, const Tensor& weights) {
  return scatter_add(zeros({n}, weights.dtype()), 0, places, weights);
}
Tensor ones(int64_t n) {
  return full({n}, {true, 1, 1}, DType::Int64);
}

Launch launch_over(Kernel kernel, const Tensor& out, const Tensor& x) {
  Launch l;
  l.kernel = id(kernel);
  l.dtype = x.dtype();
  l.device = x.device();
  l.dense = true;
  l.ndim = 2;
  l.count = l.size[0] = x.numel();
  l.size[1] = out.numel();
  l.nbuffers = 2;
  set_buffer(l, 0, out);
  set_buffer(l, 1, x);
  return l;
}

// --- binary search -----------------------------------------------------------------------------

void check_sorter(const Tensor& sorter, const Tensor& sequence) {
  if (!(sorter.sizes() == sequence.sizes())) {
    fail("searchsorted: boundary and sorter must have the same size, but got boundary ",
         sequence.sizes(), " and sorter ", sorter.sizes());
  }
  if (sorter.dtype() != DType::Int64) {
    fail("searchsorted: sorter must be a tensor of int64, but got ", name_of(sorter.dtype()));
  }
  if (sorter.numel() == 0) return;
  host_check(checks::kSorter, {amin(sorter, nullptr, false), amax(sorter, nullptr, false)},
             {.integer = {sequence.sizes().back()}});
}

Tensor search(const char* op, const Tensor& sequence, const Tensor& values, bool out_int32,
              bool right, const Tensor& sorter) {
  const GradMode off(false);
  const bool shared = sequence.dim() == 1;
  if (!shared) {
    Dims expected = sequence.sizes(), given = values.sizes();
    if (expected.size() == given.size() && !expected.empty()) {
      expected.resize(expected.size() - 1);
      given.resize(given.size() - 1);
    }
    if (sequence.dim() == 0 || !(expected == given)) {
      fail(op,
           ": boundaries should be 1 dimensional, or the first dimensions of boundaries and "
           "input values must match, but got ",
           sequence.sizes(), " and ", values.sizes());
    }
  }
  if (sorter.defined()) check_sorter(sorter, sequence);
  const Tensor* both[] = {&sequence, &values};
  const DType common = result_type(both, 2);
  const Tensor boundaries = contiguous(numbers(to(sequence, common)));
  const Tensor x = contiguous(numbers(to(to_device(values, sequence.device()), common)));
  const Tensor order = sorter.defined() ? contiguous(sorter) : Tensor();
  const Tensor out = Tensor::empty(values.sizes(), DType::Int64, x.device());
  const Tensor* operands[] = {&out, &boundaries, &x, &order};
  Launch l;
  l.kernel = id(Kernel::Searchsorted);
  l.dtype = x.dtype();
  l.device = x.device();
  l.dense = true;
  l.ndim = 3;
  l.size[1] = sequence.sizes().back();
  l.size[2] = shared ? x.numel() : x.sizes().back();
  l.size[0] = l.size[2] == 0 ? 0 : x.numel() / l.size[2];
  l.count = x.numel();
  l.integer[0] = right;
  l.integer[1] = shared;
  l.nbuffers = order.defined() ? 4 : 3;
  for (int k = 0; k < l.nbuffers; ++k) set_buffer(l, k, *operands[k]);
  launch(l);
  return out_int32 ? to(out, DType::Int32) : out;
}

Tensor searchsorted(const Tensor& sequence, const Tensor& values, bool out_int32, bool right,
                    std::string_view side, const Tensor& sorter) {
  if (!side.empty() && side != "left" && side != "right") {
    fail("searchsorted: side can only be 'left' or 'right' but got ", side);
  }
  if (side == "left" && right) {
    fail(
        "searchsorted: side and right can't be set to opposites, got side of left while right "
        "was True");
  }
  return search("searchsorted", sequence, values, out_int32, right || side == "right", sorter);
}

Tensor bucketize(const Tensor& values, const Tensor& boundaries, bool out_int32, bool right) {
  if (boundaries.dim() != 1) {
    fail("bucketize: boundaries tensor must be 1 dimension, but got shape ", boundaries.sizes());
  }
  return search("bucketize", boundaries, values, out_int32, right, {});
}

// --- counting ----------------------------------------------------------------------------------

Tensor bincount(const Tensor& given, const Tensor& weights, int64_t minlength) {
  const GradMode off(false);
  if (minlength < 0) fail("bincount: minlength should be >= 0, got ", minlength);
  if (given.dim() != 1 || is_floating(given.dtype()) || given.dtype() == DType::Bool) {
    fail("bincount: only supports 1-d non-negative integral inputs, got shape ", given.sizes(),
         " of ", name_of(given.dtype()));
  }
  if (weights.defined() && !(weights.sizes() == given.sizes())) {
    fail("bincount: weights should be 1-d and have the same length as input, got ", weights.sizes(),
         " and ", given.sizes());
  }
  const Tensor x = contiguous(numbers(given));
  int64_t n = minlength;
  if (x.numel() > 0) {
    const Tensor bounds = Tensor::empty({2}, DType::Int64);
    launch(launch_over(Kernel::Bounds, bounds, x));
    const auto ends = bounds.read<int64_t>();
    const int64_t low = ends[0], high = ends[1];
    if (low < 0) fail("bincount: only supports 1-d non-negative integral inputs, got ", low);
    n = std::max(n, high + 1);
  }
  if (!weights.defined()) {
    const Tensor counts = zeros({n}, DType::Int64);
    launch(launch_over(Kernel::Bincount, counts, x));
    return counts;
  }
  return tally(x, n,
               to(weights, weights.dtype() == DType::Float32 ? DType::Float32 : DType::Float64));
}

Tensor histc(const Tensor& given, int64_t bins, const Number& from, const Number& upto) {
  const GradMode off(false);
  if (!is_floating(given.dtype())) {
    fail("histc: not implemented for ", name_of(given.dtype()),
         "; expected a floating point dtype");
  }
  if (bins <= 0) fail("histc: bins must be > 0, got ", bins);
  const Tensor x = flat(numbers(given));
  double low = from.d, high = upto.d;
  if (low == high && x.numel() > 0) {
    low = amin(x, nullptr, false).to_double();
    high = amax(x, nullptr, false).to_double();
  }
  if (low == high) low -= 1, high += 1;
  if (!std::isfinite(low) || !std::isfinite(high)) {
    fail("histc: range of [", low, ", ", high, "] is not finite");
  }
  if (low > high) fail("histc: max must be larger than min, got ", low, " and ", high);
  const Tensor inside = mul(apply<Ge>(x, constant(low, x)), apply<Le>(x, constant(high, x)));
  const Tensor from_low = sub(where(inside, x, constant(low, x)), constant(low, x));
  const Tensor scaled = mul(from_low, constant(static_cast<double>(bins) / (high - low), x));
  const Tensor last = Tensor::scalar(bins - 1, DType::Int64);
  const Tensor place = where(inside, apply<Minimum>(to(scaled, DType::Int64), last),
                             Tensor::scalar(bins, DType::Int64));
  return to(narrow(tally(place, bins + 1, ones(x.numel())), 0, 0, bins), given.dtype());
}

// --- distinct elements -------------------------------------------------------------------------

// The order that sorts rows by their first element, then their second, ...
Tensor lexicographic_order(const Tensor& rows) {
  Tensor order = arange(rows.size(0));
  for (int64_t c = rows.size(1) - 1; c >= 0; --c) {
    const Tensor column = reshape(narrow(rows, 1, c, 1), {rows.size(0)});
    order = index_select(order, 0, argsort(index_select(column, 0, order), 0));
  }
  return order;
}

// Slices of `x` along its first dimension that differ, where each slice went, how many went there.
// Of neighbours alone, or of all, in order.
std::vector<Tensor> distinct(const Tensor& x, bool consecutive) {
  const int64_t n = x.size(0);
  const Tensor rows = reshape(x, {n, n == 0 ? 0 : x.numel() / n});
  if (n == 0) return {x, arange(0), arange(0)};
  const Tensor order = consecutive         ? arange(n)
                       : rows.size(1) == 1 ? argsort(flat(rows), 0)
                                           : lexicographic_order(rows);
  const Tensor line = consecutive ? rows : index_select(rows, 0, order);
  const Dims along{1};
  const Tensor steps =
      to(apply<Ne>(narrow(line, 0, 1, n - 1), narrow(line, 0, 0, n - 1)), DType::Int64);
  const Tensor fresh =
      apply<Minimum>(sum(steps, &along, false), Tensor::scalar(int64_t{1}, DType::Int64));
  const Tensor group = cat({zeros({1}, DType::Int64), cumsum(fresh, 0)}, 0);
  const int64_t count = narrow(group, 0, n - 1, 1).to_int64() + 1;
  const Tensor counts = tally(group, count, ones(n));
  const Tensor starts = sub(cumsum(counts, 0), counts);
  return {index_select(x, 0, index_select(order, 0, starts)), tally(order, n, group), counts};
}

// The same of whole numbers of a small range, which are counted; empty if the range is not small.
std::vector<Tensor> distinct_by_count(const Tensor& x, bool inverse) {
  const int64_t n = x.numel();
  if (n == 0 || is_floating(x.dtype()) || x.dtype() == DType::Bool) return {};
  const Tensor wide = numbers(x), bounds = Tensor::empty({2}, DType::Int64);
  launch(launch_over(Kernel::Bounds, bounds, wide));
  const auto ends = bounds.read<int64_t>();
  const int64_t low = ends[0], high = ends[1];
  const uint64_t range = static_cast<uint64_t>(high) - static_cast<uint64_t>(low);
  if (range >= static_cast<uint64_t>(n)) return {};
  const Tensor least = Tensor::scalar(low, DType::Int64);
  const Tensor places = low == 0 ? wide : sub(wide, least);
  const Tensor counts = zeros({static_cast<int64_t>(range) + 1}, DType::Int64);
  launch(launch_over(Kernel::Bincount, counts, places));
  const Tensor found = nonzero_positions(counts);
  Tensor groups = found;
  if (inverse) {
    const Tensor there = apply<Ne>(counts, Tensor::scalar(int64_t{0}, DType::Int64));
    const Tensor before = sub(cumsum(there, 0), Tensor::scalar(int64_t{1}, DType::Int64));
    groups = index_select(before, 0, places);
  }
  return {to(add(found, least), x.dtype()), groups, index_select(counts, 0, found)};
}

// The distinct elements of a vector alone.
Tensor distinct_values(const Tensor& x, bool consecutive) {
  const int64_t n = x.numel();
  if (n == 0) return x;
  const Tensor line = consecutive ? x : msort(x);
  const Tensor fresh = apply<Ne>(narrow(line, 0, 1, n - 1), narrow(line, 0, 0, n - 1));
  const Tensor first = full({1}, {true, 1, 1}, DType::Bool);
  return index_select(line, 0, nonzero_positions(cat({first, fresh}, 0)));
}

// What is not wanted may be left out: something else then stands in its place.
std::vector<Tensor> unique_of(const char* op, const Tensor& given, OptInt dim, bool consecutive,
                              bool inverse, bool counts) {
  const GradMode off(false);
  const Tensor x = contiguous(detach(given));
  if (!dim) {
    const Tensor line = flat(x);
    std::vector<Tensor> out;
    if (!consecutive) out = distinct_by_count(line, inverse);
    if (out.empty() && !inverse && !counts) {
      const Tensor values = distinct_values(line, consecutive);
      return {values, values, values};
    }
    if (out.empty()) out = distinct(line, consecutive);
    if (inverse) out[1] = reshape(out[1], x.sizes());
    return out;
  }
  const int d = wrap_dim(op, *dim, x.dim());
  if (x.dim() == 0) return unique_of(op, x, {}, consecutive, inverse, counts);
  for (int k = 0; k < x.dim(); ++k) {
    if (k != d && x.size(k) == 0) {
      fail(op,
           ": there are 0 sized dimensions, and they aren't selected, so unique cannot be "
           "applied, got shape ",
           x.sizes());
    }
  }
  std::vector<Tensor> out = distinct(contiguous(transpose(x, 0, d)), consecutive);
  out[0] = contiguous(transpose(out[0], 0, d));
  return out;
}

std::vector<Tensor> unique(const Tensor& x, OptInt dim, bool inverse, bool counts) {
  return unique_of("unique", x, dim, false, inverse, counts);
}
std::vector<Tensor> unique_consecutive(const Tensor& x, OptInt dim, bool inverse, bool counts) {
  return unique_of("unique_consecutive", x, dim, true, inverse, counts);
}

// The indices by dimension of places in a tensor of that shape laid out in rows.
std::vector<Tensor> unravel_index(const Tensor& given, const Dims& shape) {
  if (is_floating(given.dtype()) || given.dtype() == DType::Bool) {
    fail(ErrorKind::Type, "unravel_index: expected integer indices, but got ",
         name_of(given.dtype()));
  }
  for (int64_t s : shape) {
    if (s < 0)
      fail(ErrorKind::Value, "unravel_index: shape cannot have negative values, but got ", shape);
    if (s == 0 && given.numel() > 0) {
      fail(ErrorKind::Value, "unravel_index: shape ", shape, " has no elements to index");
    }
  }
  const Tensor places = contiguous(to(given, DType::Int64));
  const auto place = places.read<int64_t>();
  std::vector<Tensor> out;
  int64_t step = product(shape);
  for (int64_t size : shape) {
    const Tensor along = Tensor::empty(given.sizes(), DType::Int64, Device::CPU);
    auto* to = along.data<int64_t>();
    if (size > 0) step /= size;
    for (int64_t i = 0; i < places.numel(); ++i) {
      const int64_t at = place[i] / step % size;
      to[i] = at < 0 ? at + size : at;
    }
    out.push_back(to_device(along, given.device()));
  }
  return out;
}

}  // namespace
}  // namespace ops

void add_search(OpTable& t) {
  using namespace ops;
  constexpr uint8_t both = kMethod | kFunction;
  t.push_back(row<&searchsorted>(
      "searchsorted(Tensor sorted_sequence, Value input, *, bool out_int32=False, "
      "bool right=False, str? side=None, Tensor? sorter=None)",
      kFunction,
      "Where to insert each value into a sorted sequence, or into the row of its own; with right, "
      "behind equal elements."));
  t.push_back(
      row<&bucketize>("bucketize(Value input, Tensor boundaries, *, bool out_int32=False, "
                      "bool right=False)",
                      kFunction, "Which interval between boundaries each value is in."));
  t.push_back(row<&bincount>("bincount(Tensor input, Tensor? weights=None, int minlength=0)", both,
                             "How often each number 0, 1, ... is in a vector, or the sum of its "
                             "weights."));
  t.push_back(row<&histc>("histc(Tensor input, int bins=100, Number min=0, Number max=0)", both,
                          "How many elements are in each of `bins` equal intervals from min to "
                          "max, or from the least to the largest element."));
  t.push_back(
      row<&unique>("_unique(Tensor input, int? dim=None, bool inverse=True, bool counts=True) -> "
                   "output, inverse, counts",
                   kInternal, "Distinct elements, or slices along dim, in order."));
  t.push_back(row<&unique_consecutive>(
      "_unique_consecutive(Tensor input, int? dim=None, bool inverse=True, bool counts=True) -> "
      "output, inverse, counts",
      kInternal, "The first of each run of equal elements, or slices along dim."));
  t.push_back(row<&unravel_index>("unravel_index(Tensor indices, int[] shape)", kFunction,
                                  "The indices by dimension of places in a tensor of that shape."));
}

}  // namespace wengert
