// Scans: running sums, products and extremes along a dimension, and linear recurrences. Every rule
// is a scan the other way, so that all derivatives are scans.
#include "ops/scan.h"

#include <limits>

#include "ops/elementwise.h"
#include "ops/op_table.h"
#include "ops/reduce.h"

namespace wengert {
namespace {

// One launch over (outer, n, inner); operands are dense and of the output's shape.
void launch_scan(Kernel kernel, const Tensor* const* operands, int n, int dim, bool reverse) {
  const Tensor& out = *operands[0];
  Launch l;
  l.kernel = id(kernel);
  l.dtype = out.dtype();
  l.device = out.device();
  l.dense = true;
  l.ndim = 3;
  l.size[0] = l.size[1] = l.size[2] = 1;
  for (int d = 0; d < out.dim(); ++d) l.size[d < dim ? 0 : d == dim ? 1 : 2] *= out.size(d);
  l.count = out.numel();
  l.integer[0] = reverse;
  l.nbuffers = static_cast<uint8_t>(n);
  for (int k = 0; k < n; ++k) set_buffer(l, k, *operands[k]);
  launch(l);
}

struct ScanPayload {
  int64_t dim;
  int64_t reverse;
};

Tensor scan(const Rule& rule, Kernel kernel, const Tensor& given, int dim, bool reverse,
            int saved) {
  const Tensor x = ops::contiguous(given);
  const Tensor out = Tensor::empty(x.sizes(), x.dtype(), x.device());
  const Tensor* operands[] = {&out, &x};
  launch_scan(kernel, operands, 2, dim, reverse);
  if (recording(x)) {
    const Tensor* in[] = {&x};
    Node* n = record(rule, in, 1, out, saved, ScanPayload{dim, reverse});
    if (saved > 0) n->save(0, x);
    if (saved > 1) n->save_output(1, out);
  }
  return out;
}

// Each element's neighbour, the one before it if `forward`; the one at the end has `fill`.
Tensor shift(const Tensor& x, int dim, bool forward, double fill) {
  const int64_t n = x.size(dim);
  if (n == 0) return x;
  Dims end = x.sizes();
  end[dim] = 1;
  const Tensor filler = ops::full(end, {false, 0, fill}, x.dtype(), x.device());
  const Tensor rest = ops::narrow(x, dim, forward ? 0 : 1, n - 1);
  return forward ? ops::cat({filler, rest}, dim) : ops::cat({rest, filler}, dim);
}

// h[k] = a[k] h[k - 1] + b[k], with nothing before the first; reversed, from the last on. The
// gradient of h by b runs through the same recurrence the other way: v[k] = g[k] + a[k + 1] v[k +
// 1] and then d by a[k] is v[k] h[k - 1].
Tensor recurrence(const Tensor& a, const Tensor& b, int dim, bool reverse);
constexpr Rule kRecurrence{"recurrence", [](Node& node, Tensor* g, Tensor* out) {
                             const auto [dim64, reverse] = node.payload<ScanPayload>();
                             const int dim = static_cast<int>(dim64);
                             const Tensor a = node.unpack(0), h = node.unpack(1);
                             const Tensor v =
                                 recurrence(shift(a, dim, reverse, 0), *g, dim, !reverse);
                             if (node.wants(0)) out[0] = ops::mul(v, shift(h, dim, !reverse, 0));
                             if (node.wants(1)) out[1] = v;
                           }};

Tensor recurrence(const Tensor& given_a, const Tensor& given_b, int dim, bool reverse) {
  const Tensor a = ops::contiguous(given_a), b = ops::contiguous(given_b);
  const Tensor out = Tensor::empty(a.sizes(), a.dtype(), a.device());
  const Tensor* operands[] = {&out, &a, &b};
  launch_scan(Kernel::Recurrence, operands, 3, dim, reverse);
  if (recording(a, b)) {
    const Tensor* in[] = {&a, &b};
    Node* n = record(kRecurrence, in, 2, out, 2, ScanPayload{dim, reverse});
    n->save(0, a);
    n->save_output(1, out);
  }
  return out;
}

constexpr Rule kCumSum{"cumsum", [](Node& node, Tensor* g, Tensor* out) {
                         const auto [dim, reverse] = node.payload<ScanPayload>();
                         out[0] = running_sum(*g, static_cast<int>(dim), !reverse);
                       }};

// d by x[k]: the product before k times s[k] = g[k] + x[k + 1] s[k + 1]. Nothing is divided, so
// zeros need no care.
constexpr Rule kCumProd{
    "cumprod", [](Node& node, Tensor* g, Tensor* out) {
      const auto [dim64, reverse] = node.payload<ScanPayload>();
      const int dim = static_cast<int>(dim64);
      const Tensor x = node.unpack(0);
      const Tensor before = running_product(shift(x, dim, !reverse, 1), dim, reverse);
      const Tensor after = recurrence(shift(x, dim, reverse, 0), *g, dim, !reverse);
      out[0] = ops::mul(before, after);
    }};

// d by x[k]: exp(x[k] - y[k]) s[k] with s[k] = g[k] + exp(y[k] - y[k + 1]) s[k + 1]: no exponent is
// above 0, as y grows.
constexpr Rule kLogCumSumExp{
    "logcumsumexp", [](Node& node, Tensor* g, Tensor* out) {
      const auto dim = static_cast<int>(node.payload<ScanPayload>().dim);
      const Tensor x = node.unpack(0), y = node.unpack(1);
      const Tensor bottom = constant(-std::numeric_limits<double>::infinity(), y);
      const Tensor growth = ops::sub(y, shift(y, dim, false, 0));
      const Tensor factor = ops::exp(ops::where(ops::eq(y, bottom), bottom, growth));
      out[0] = ops::mul(ops::exp(ops::sub(x, y)), recurrence(factor, *g, dim, true));
    }};

}  // namespace

Tensor running_sum(const Tensor& x, int dim, bool reverse) {
  return scan(kCumSum, Kernel::Cumsum, x, dim, reverse, 0);
}
Tensor running_product(const Tensor& x, int dim, bool reverse) {
  return scan(kCumProd, Kernel::Cumprod, x, dim, reverse, 1);
}
Tensor product_of_others(const Tensor& x, int dim) {
  return ops::mul(running_product(shift(x, dim, true, 1), dim, false),
                  running_product(shift(x, dim, false, 1), dim, true));
}

namespace ops {
namespace {

// A 0-dim tensor is scanned as a vector of one.
template <class Body>
Tensor along(const Tensor& x, Body&& body) {
  return x.dim() == 0 ? reshape(body(reshape(x, {1})), {}) : body(x);
}

}  // namespace

Tensor cumsum(const Tensor& x, int64_t dim, OptDType dtype) {
  const int d = wrap_dim("cumsum", dim, x.dim());
  const DType out = dtype.value_or(is_floating(x.dtype()) ? x.dtype() : DType::Int64);
  return to(along(numbers(to(x, out)), [&](const Tensor& v) { return running_sum(v, d, false); }),
            out);
}
namespace {

Tensor cumprod(const Tensor& x, int64_t dim, OptDType dtype) {
  const int d = wrap_dim("cumprod", dim, x.dim());
  const DType out = dtype.value_or(is_floating(x.dtype()) ? x.dtype() : DType::Int64);
  return to(
      along(numbers(to(x, out)), [&](const Tensor& v) { return running_product(v, d, false); }),
      out);
}

Tensor logcumsumexp(const Tensor& x, int64_t dim) {
  const int d = wrap_dim("logcumsumexp", dim, x.dim());
  if (!is_floating(x.dtype())) {
    fail(ErrorKind::NotImplemented, "logcumsumexp: not implemented for ", name_of(x.dtype()),
         "; expected a floating point dtype");
  }
  return to(along(numbers(x),
                  [&](const Tensor& v) {
                    return scan(kLogCumSumExp, Kernel::Logcumsumexp, v, d, false, 2);
                  }),
            x.dtype());
}

std::vector<Tensor> running_extreme(Kernel kernel, const char* op, const Tensor& x, int64_t dim) {
  const int d = wrap_dim(op, dim, x.dim());
  const Tensor dense = contiguous(numbers(x));
  const Tensor values = Tensor::empty(x.sizes(), dense.dtype(), x.device());
  const Tensor places = Tensor::empty(x.sizes(), DType::Int64, x.device());
  const Tensor* operands[] = {&values, &places, &dense};
  launch_scan(kernel, operands, 3, d, false);
  return {recording(x) ? gather(x, d, places) : to(values, x.dtype()), places};
}
std::vector<Tensor> cummax(const Tensor& x, int64_t dim) {
  return running_extreme(Kernel::Cummax, "cummax", x, dim);
}
std::vector<Tensor> cummin(const Tensor& x, int64_t dim) {
  return running_extreme(Kernel::Cummin, "cummin", x, dim);
}

}  // namespace
}  // namespace ops

void add_scan(OpTable& t) {
  using namespace ops;
  constexpr uint8_t both = kMethod | kFunction;
  t.push_back(with_inplace(row<&cumsum>("cumsum(Tensor input, int dim, *, dtype? dtype=None)", both,
                                        "The sums of all elements up to each along dim. "
                                        "Derivative: the same from the other end.")));
  t.push_back(with_inplace(row<&cumprod>(
      "cumprod(Tensor input, int dim, *, dtype? dtype=None)", both,
      "The products of all elements up to each along dim. Derivative: scans, which zeros do not "
      "disturb.")));
  t.push_back(row<&logcumsumexp>("logcumsumexp(Tensor input, int dim)", both,
                                 "log(cumsum(exp(x))) along dim, without overflow."));
  t.push_back(row<&cummax>("cummax(Tensor input, int dim) -> values, indices", both,
                           "The largest element up to each along dim, and the last index of it."));
  t.push_back(row<&cummin>("cummin(Tensor input, int dim) -> values, indices", both,
                           "The smallest element up to each along dim, and the last index of it."));
}

}  // namespace wengert
