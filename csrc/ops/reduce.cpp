// Sums, products, extremes: the dimensions are sorted into kept and reduced, one launch does the
// work.
#include "ops/reduce.h"

#include "ops/elementwise.h"
#include "ops/op_table.h"
#include "tape/backward.h"

namespace wengert {

DimMask mask_of(const char* op, const Dims* dims, int n) {
  if (!dims || dims->empty()) return (1u << n) - 1;
  DimMask mask = 0;
  for (int64_t d : *dims) {
    const unsigned bit = 1u << wrap_dim(op, d, n);
    if (mask & bit) fail(op, ": dim ", d, " appears multiple times in the list of dims ", *dims);
    mask |= bit;
  }
  return n == 0 ? 0 : mask;
}

Dims reduced_sizes(const Dims& sizes, DimMask mask, bool keepdim) {
  Dims out;
  for (int d = 0; d < sizes.size(); ++d) {
    if (!(mask >> d & 1)) {
      out.push_back(sizes[d]);
    } else if (keepdim) {
      out.push_back(1);
    }
  }
  return out;
}

int64_t reduced_count(const Dims& sizes, DimMask mask) {
  int64_t n = 1;
  for (int d = 0; d < sizes.size(); ++d) n *= mask >> d & 1 ? sizes[d] : 1;
  return n;
}

Dims dims_of(DimMask mask) {
  Dims dims;
  for (int d = 0; d < kMaxDims; ++d) {
    if (mask >> d & 1) dims.push_back(d);
  }
  return dims;
}

Tensor with_dims(const Tensor& reduced, const Dims& sizes, DimMask mask) {
  return ops::reshape(reduced, reduced_sizes(sizes, mask, true));
}

Tensor constant(double v, const Tensor& peer) {
  return number_like({false, 0, v}, &peer);
}

DType number_dtype(DType d) {
  return is_floating(d) ? compute_dtype(d) : DType::Int64;
}
Tensor numbers(const Tensor& x) {
  return ops::to(x, number_dtype(x.dtype()));
}

void check_not_empty(const char* op, const Tensor& x, DimMask mask) {
  for (int d = 0; d < x.dim(); ++d) {
    if ((mask >> d & 1) && x.size(d) == 0) {
      fail(ErrorKind::Index, op, ": expected reduction dim ", d,
           " to have non-zero size, got shape ", x.sizes());
    }
  }
}

namespace {

// Adds a dimension to the launch, joined with the one before where all operands allow it. The
// source's buffer comes after those of results.
void add_dim(Launch& l, int group_start, int source, int64_t size, int64_t out_stride,
             int64_t in_stride) {
  if (size == 1) return;
  const int last = l.ndim - 1;
  if (last >= group_start && l.buffer[0].stride[last] == out_stride * size &&
      l.buffer[source].stride[last] == in_stride * size) {
    l.size[last] *= size;
  } else {
    l.size[l.ndim++] = size;
  }
  for (int k = 0; k < source; ++k) l.buffer[k].stride[l.ndim - 1] = out_stride;
  l.buffer[source].stride[l.ndim - 1] = in_stride;
}

}  // namespace

Tensor reduce(KernelId kernel, const Tensor& x, DimMask mask, bool keepdim, DType out_dtype,
              double scale, const Tensor* centres, const Tensor* values) {
  const Tensor out = Tensor::empty(reduced_sizes(x.sizes(), mask, keepdim), out_dtype, x.device());
  Launch l;
  l.kernel = kernel;
  l.dtype = kernel == id(Kernel::CountNonzero) || x.dtype() == DType::Bool
                ? x.dtype()
                : number_dtype(x.dtype());
  l.device = x.device();
  l.dense = false;
  l.ndim = 0;
  l.count = x.numel();
  l.more_numbers[0] = scale;
  l.nbuffers = 0;
  const int source = values ? 2 : 1;
  for (const Tensor* t : {&out, values, &x, centres}) {
    if (t) set_buffer(l, l.nbuffers++, *t);
  }
  Dims kept_strides = contiguous_strides(reduced_sizes(x.sizes(), mask, false));
  for (int d = 0, k = 0; d < x.dim(); ++d) {
    if (!(mask >> d & 1)) add_dim(l, 0, source, x.size(d), kept_strides[k++], x.stride(d));
  }
  const int kept = l.ndim;
  for (int d = 0; d < x.dim(); ++d) {
    if (mask >> d & 1) add_dim(l, kept, source, x.size(d), 0, x.stride(d));
  }
  l.integer[0] = l.ndim - kept;
  launch(l);
  return out;
}

Node* record_reduction(const Rule& rule, const Tensor& x, const Tensor& out, int saved,
                       DimMask mask, double number) {
  const Tensor* in[] = {&x};
  return record(rule, in, 1, out, saved, ReductionPayload{number, mask});
}

namespace {

void sum_pull(Node& node, Tensor* g, Tensor* out) {
  const auto& p = node.payload<ReductionPayload>();
  const int leading = node.leading(*g);
  const Dims sizes = concat(Dims(g->sizes().begin(), leading), node.input_sizes(0));
  Tensor each = with_dims(*g, sizes, p.mask << leading);
  if (p.number != 1) each = ops::mul(each, number_like({false, 0, p.number}, &each));
  out[0] = ops::expand(each, sizes);
}
constexpr Rule kSum{"sum", &sum_pull, true};
constexpr Rule kMean{"mean", &sum_pull, true};

// Equal extremes share the gradient evenly.
void extreme_pull(Node& node, Tensor* g, Tensor* out) {
  const auto& p = node.payload<ReductionPayload>();
  const Tensor x = node.unpack(0);
  const Tensor y = with_dims(ops::detach(node.unpack(1)), x.sizes(), p.mask);
  const Tensor hit = ops::eq(ops::detach(x), y);
  const Tensor count = reduce(id(Kernel::CountNonzero), hit, p.mask, false, DType::Int64);
  const Tensor share = ops::div(with_dims(*g, x.sizes(), p.mask),
                                with_dims(ops::to(count, x.dtype()), x.sizes(), p.mask));
  // Of a NaN nothing is hit: its zero is NaN, as its share is.
  out[0] = ops::where(hit, share, ops::mul(share, constant(0, share)));
}
constexpr Rule kAMax{"amax", &extreme_pull};
constexpr Rule kAMin{"amin", &extreme_pull};

// Whether a reduction is to read a narrow dtype as it is, which takes long rows, instead of a wide
// copy.
bool reads_narrow(const Tensor& x, DimMask mask) {
  constexpr int64_t long_enough = 512;
  return number_dtype(x.dtype()) != x.dtype() && x.dtype() != DType::Bool && !recording(x) &&
         x.dim() > 0 && (mask >> (x.dim() - 1) & 1) && x.size(x.dim() - 1) >= long_enough;
}

// In the dtype d.
Tensor sum_of(const Rule& rule, const Tensor& input, const Dims* dims, bool keepdim, DType d,
              bool mean) {
  const DimMask mask = mask_of(rule.name, dims, input.dim());
  const double scale = mean ? 1 / static_cast<double>(reduced_count(input.sizes(), mask)) : 1;
  const DType wide = number_dtype(d);
  const bool narrow = number_dtype(input.dtype()) == wide && reads_narrow(input, mask);
  const Tensor x = narrow ? input : numbers(ops::to(input, d));
  const Tensor out = reduce(reduce_kernel<Sum>, x, mask, keepdim, wide, scale);
  if (recording(x)) record_reduction(rule, x, out, 0, mask, scale);
  return ops::to(out, d);
}

Tensor extreme(KernelId kernel, const Rule& rule, const Tensor& input, const Dims* dims,
               bool keepdim) {
  const DimMask mask = mask_of(rule.name, dims, input.dim());
  if (is_floating(input.dtype()) && is_narrow(input.dtype()) && !reads_narrow(input, mask)) {
    return ops::to(extreme(kernel, rule, numbers(input), dims, keepdim), input.dtype());
  }
  if (!dims && input.numel() == 0) {
    fail(rule.name, ": expected reduction dim to be specified for input.numel() == 0, got shape ",
         input.sizes());
  }
  check_not_empty(rule.name, input, mask);
  const Tensor x = reads_narrow(input, mask) ? input : numbers(input);
  const Tensor out = reduce(kernel, x, mask, keepdim, number_dtype(x.dtype()));
  if (recording(input)) {
    Node* n = record_reduction(rule, input, out, 2, mask, 1);
    n->save(0, input);
    n->save_output(1, out);
  }
  return ops::to(out, input.dtype());
}

// First places of extremes along dim, or in all elements in order; with `values`, these as well.
Tensor arg_extreme(KernelId kernel, const char* op, const Tensor& input, OptInt dim, bool keepdim,
                   Tensor* values = nullptr) {
  const GradMode off(false);
  const Tensor x = numbers(ops::detach(input));
  if (!dim) {
    if (x.numel() == 0) {
      fail(ErrorKind::Index, op, ": expected reduction dim to be specified for input.numel() == 0");
    }
    const Tensor at = reduce(kernel, ops::reshape(x, {x.numel()}), 1, false, DType::Int64);
    return keepdim ? ops::reshape(at, Dims::filled(x.dim(), 1)) : at;
  }
  const int d = wrap_dim(op, *dim, x.dim());
  const DimMask mask = x.dim() == 0 ? 0 : 1u << d;
  check_not_empty(op, x, mask);
  if (values) *values = Tensor::empty(reduced_sizes(x.sizes(), mask, keepdim), x.dtype());
  const Tensor at = reduce(kernel, x, mask, keepdim, DType::Int64, 1, nullptr, values);
  if (values) *values = ops::to(*values, input.dtype());
  return at;
}

// The gradient goes to the element that was taken.
void extreme_at_pull(Node& node, Tensor* g, Tensor* out) {
  const auto dim = static_cast<int>(node.payload<ReductionPayload>().mask);
  const Dims& sizes = node.input_sizes(0);
  const Tensor at = node.unpack(0);
  if (sizes.empty()) {
    out[0] = *g;
    return;
  }
  Dims along = Dims::filled(sizes.size(), 1);
  along[dim] = sizes[dim];
  const Tensor places = ops::reshape(ops::arange(sizes[dim]), along);
  out[0] = ops::where(ops::eq(places, ops::reshape(at, reduced_sizes(sizes, 1u << dim, true))),
                      with_dims(*g, sizes, 1u << dim), number_like({true, 0, 0}, g));
}
constexpr Rule kMaxAt{"max", &extreme_at_pull};
constexpr Rule kMinAt{"min", &extreme_at_pull};

template <KernelId ArgExtreme, const Rule* AtRule>
std::vector<Tensor> extreme_along(const Tensor& x, int64_t dim, bool keepdim) {
  const int d = wrap_dim(AtRule->name, dim, x.dim());
  Tensor values;
  const LaunchObserver* const observer = launch_observer();
  const bool apart = observer && observer->splits_results();
  const Tensor at = arg_extreme(ArgExtreme, AtRule->name, x, d, keepdim, apart ? nullptr : &values);
  if (apart) [[unlikely]] {
    const GradMode off(false);
    const Dims dims{d};
    constexpr bool most = ArgExtreme == reduce_kernel<ArgMax>;
    values = extreme(most ? reduce_kernel<AMax> : reduce_kernel<AMin>, most ? kAMax : kAMin, x,
                     &dims, keepdim);
  }
  if (recording(x)) {
    Node* n = record_reduction(*AtRule, x, values, 1, static_cast<DimMask>(d), 1);
    n->save(0, at);
  }
  return {values, at};
}

}  // namespace

Tensor sum_to_shape(const Tensor& g, const Dims& asked, int leading) {
  const Dims sizes = concat(Dims(g.sizes().begin(), leading), asked);
  const int shift = g.dim() - sizes.size();
  DimMask mask = 0;
  for (int d = leading; d < g.dim(); ++d) {
    if (d < leading + shift || (sizes[d - shift] == 1 && g.size(d) != 1)) mask |= 1u << d;
  }
  Dims dims;
  for (int d = 0; d < g.dim(); ++d) {
    if (mask >> d & 1) dims.push_back(d);
  }
  const Tensor s = dims.empty() ? g : ops::sum(g, &dims, true);
  return s.sizes() == sizes ? s : ops::reshape(s, sizes);
}

namespace ops {

Tensor sum(const Tensor& x, const Dims* dims, bool keepdim, OptDType dtype) {
  const DType d = dtype.value_or(is_floating(x.dtype()) ? x.dtype() : DType::Int64);
  if (x.dtype() == DType::Bool && d == DType::Int64) {
    return reduce(id(Kernel::CountNonzero), x, mask_of("sum", dims, x.dim()), keepdim, d);
  }
  return sum_of(kSum, x, dims, keepdim, d, false);
}
Tensor mean(const Tensor& x, const Dims* dims, bool keepdim, OptDType dtype) {
  const DType d = dtype.value_or(x.dtype());
  if (!is_floating(d)) {
    fail("mean: could not infer output dtype. Input dtype must be a floating point dtype, got ",
         name_of(d));
  }
  return sum_of(kMean, x, dims, keepdim, d, true);
}
Tensor amax(const Tensor& x, const Dims* dims, bool keepdim) {
  return extreme(reduce_kernel<AMax>, kAMax, x, dims, keepdim);
}
Tensor argmax(const Tensor& x, OptInt dim, bool keepdim) {
  return arg_extreme(reduce_kernel<ArgMax>, "argmax", x, dim, keepdim);
}

Tensor amin(const Tensor& x, const Dims* dims, bool keepdim) {
  return extreme(reduce_kernel<AMin>, kAMin, x, dims, keepdim);
}

namespace {

Tensor argmin(const Tensor& x, OptInt dim, bool keepdim) {
  return arg_extreme(reduce_kernel<ArgMin>, "argmin", x, dim, keepdim);
}
Tensor max_all(const Tensor& x) {
  return amax(x, nullptr, false);
}
Tensor min_all(const Tensor& x) {
  return amin(x, nullptr, false);
}

Tensor truths(const Tensor& x) {
  if (x.dtype() == DType::Bool) return x;
  return apply<Ne>(ops::detach(x), number_like({true, 0, 0}, &x));
}

// Whether any of some bools is true, or all of them are.
Tensor verdict(const Tensor& held, const Dims* dims, bool keepdim, bool any) {
  if (dims && dims->empty())
    return clone(detach(held));  // as PyTorch, here an empty list reduces nothing
  const DimMask mask = mask_of(any ? "any" : "all", dims, held.dim());
  const KernelId kernel = any ? reduce_kernel<AMax> : reduce_kernel<AMin>;
  return reduce(kernel, held, mask, keepdim, DType::Bool);
}
// Of uint8 the answer is uint8, too.
Tensor answer(const Tensor& hits, const Tensor& x) {
  return x.dtype() == DType::UInt8 ? to(hits, DType::UInt8) : hits;
}
Tensor all(const Tensor& x, const Dims* dims, bool keepdim) {
  return answer(verdict(truths(x), dims, keepdim, false), x);
}
Tensor any(const Tensor& x, const Dims* dims, bool keepdim) {
  return answer(verdict(truths(x), dims, keepdim, true), x);
}

}  // namespace
}  // namespace ops

void add_reduce(OpTable& t) {
  using namespace ops;
  constexpr uint8_t both = kMethod | kFunction;
  t.push_back(
      row<&sum>("sum(Tensor input, int[]? dim=None, bool keepdim=False, *, dtype? dtype=None)",
                both, "The sum over some or all dimensions. Derivative: 1."));
  t.push_back(
      row<&mean>("mean(Tensor input, int[]? dim=None, bool keepdim=False, *, dtype? dtype=None)",
                 both, "The mean over some or all dimensions. Derivative: 1 / n."));
  t.push_back(row<&amax>("amax(Tensor input, int[]? dim=None, bool keepdim=False)", both,
                         "The largest element. Equal ones share the gradient evenly."));
  t.push_back(row<&amin>("amin(Tensor input, int[]? dim=None, bool keepdim=False)", both,
                         "The smallest element. Equal ones share the gradient evenly."));
  t.push_back(
      row<&max_all>("max(Tensor input)", both,
                    "The largest element, as amax; with dim, the largest along it and their "
                    "indices; with another tensor, as maximum."));
  t.push_back(row<&extreme_along<reduce_kernel<ArgMax>, &kMaxAt>>(
      "max(Tensor input, int dim, bool keepdim=False) -> values, indices", both, ""));
  t.push_back(row<static_cast<Tensor (*)(const Tensor&, const Tensor&)>(&apply<Maximum>)>(
      "max(Tensor input, Tensor other)", both, ""));
  t.push_back(
      row<&min_all>("min(Tensor input)", both,
                    "The smallest element, as amin; with dim, the smallest along it and their "
                    "indices; with another tensor, as minimum."));
  t.push_back(row<&extreme_along<reduce_kernel<ArgMin>, &kMinAt>>(
      "min(Tensor input, int dim, bool keepdim=False) -> values, indices", both, ""));
  t.push_back(row<static_cast<Tensor (*)(const Tensor&, const Tensor&)>(&apply<Minimum>)>(
      "min(Tensor input, Tensor other)", both, ""));
  t.push_back(row<&argmax>("argmax(Tensor input, int? dim=None, bool keepdim=False)", both,
                           "The index of the largest element, the first of equals."));
  t.push_back(row<&argmin>("argmin(Tensor input, int? dim=None, bool keepdim=False)", both,
                           "The index of the smallest element, the first of equals."));
  t.push_back(row<&all>("all(Tensor input, int[]? dim=None, bool keepdim=False)", both,
                        "Whether every element is nonzero."));
  t.push_back(row<&any>("any(Tensor input, int[]? dim=None, bool keepdim=False)", both,
                        "Whether some element is nonzero."));
}

}  // namespace wengert
