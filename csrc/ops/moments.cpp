// Variance, standard deviation, and the covariance of rows.
#include <algorithm>
#include <cmath>

#include "core/watch.h"
#include "ops/checks.h"
#include "ops/elementwise.h"
#include "ops/op_table.h"
#include "ops/reduce.h"

namespace wengert {
namespace {

// var = sum (x - mean)^2 / (n - correction); d var / d x = 2 (x - mean) / (n - correction)
void var_pull(Node& node, Tensor* g, Tensor* out) {
  const auto& p = node.payload<ReductionPayload>();
  const Tensor x = node.unpack(0);
  const Dims dims = dims_of(p.mask);
  const double degrees = static_cast<double>(reduced_count(x.sizes(), p.mask)) - p.number;
  const Tensor each = with_dims(*g, x.sizes(), p.mask);
  out[0] = ops::mul(ops::mul(each, constant(2 / std::max(0.0, degrees), each)),
                    ops::sub(x, p.mask ? ops::mean(x, &dims, true) : x));
}
constexpr Rule kVar{"var", &var_pull};

// As of the square root of the variance, but 0 where that is 0.
constexpr Rule kStd{"std", [](Node& node, Tensor* g, Tensor* out) {
                      const Tensor y = node.unpack(1);
                      const Tensor zero = constant(0, y);
                      const Tensor flat = ops::eq(y, zero);
                      const Tensor twice = ops::where(flat, constant(1, y), ops::add(y, y));
                      Tensor inner = ops::where(flat, zero, ops::div(*g, twice));
                      var_pull(node, &inner, out);
                    }};

// Two passes over x: the mean, unless the caller has it, then the squared distances from it.
Tensor variance(const Rule& rule, const Tensor& input, const Dims* dims, double correction,
                bool keepdim, const Tensor* known_mean = nullptr) {
  if (!is_floating(input.dtype())) {
    fail(rule.name, ": std and var only support floating point dtypes, got ",
         name_of(input.dtype()));
  }
  const Tensor x = numbers(input);
  const DimMask mask = mask_of(rule.name, dims, x.dim());
  const auto n = static_cast<double>(reduced_count(x.sizes(), mask));
  const Tensor mean = known_mean ? ops::contiguous(ops::detach(*known_mean))
                                 : reduce(reduce_kernel<Sum>, x, mask, false, x.dtype(), 1 / n);
  Tensor out = reduce(reduce_kernel<SquareDistance>, x, mask, keepdim, x.dtype(),
                      1 / std::max(0.0, n - correction), &mean);
  if (&rule == &kStd) {
    const GradMode off(false);
    out = apply_<Sqrt>(out);
  }
  if (recording(x)) {
    const bool root = &rule == &kStd;
    Node* node = record_reduction(rule, x, out, root ? 2 : 1, mask, correction);
    node->save(0, x);
    if (root) node->save_output(1, out);
  }
  return ops::to(out, input.dtype());
}

double correction_of(const Number* correction) {
  return correction ? (correction->integral ? static_cast<double>(correction->i) : correction->d)
                    : 1;
}

template <const Rule* R>
Tensor spread(const Tensor& x, const Dims* dims, const Number* correction, bool keepdim) {
  return variance(*R, x, dims, correction_of(correction), keepdim);
}
template <const Rule* R>
Tensor spread_unbiased(const Tensor& x, const Dims* dims, bool unbiased, bool keepdim) {
  return variance(*R, x, dims, unbiased, keepdim);
}
template <const Rule* R>
Tensor spread_all(const Tensor& x, bool unbiased) {
  return variance(*R, x, nullptr, unbiased, false);
}

std::vector<Tensor> with_mean(const Rule& rule, const Tensor& input, const Dims* dims,
                              double correction, bool keepdim) {
  if (!is_floating(input.dtype())) variance(rule, input, dims, correction, keepdim);  // refuses
  const Tensor x = numbers(input);
  const Tensor mean = ops::mean(x, dims, keepdim);
  return {ops::to(variance(rule, x, dims, correction, keepdim, &mean), input.dtype()),
          ops::to(mean, input.dtype())};
}
template <const Rule* R>
std::vector<Tensor> spread_mean(const Tensor& x, const Dims* dims, const Number* correction,
                                bool keepdim) {
  return with_mean(*R, x, dims, correction_of(correction), keepdim);
}
template <const Rule* R>
std::vector<Tensor> spread_mean_unbiased(const Tensor& x, const Dims* dims, bool unbiased,
                                         bool keepdim) {
  return with_mean(*R, x, dims, unbiased, keepdim);
}
template <const Rule* R>
std::vector<Tensor> spread_mean_all(const Tensor& x, bool unbiased) {
  return with_mean(*R, x, nullptr, unbiased, false);
}

// --- covariance --------------------------------------------------------------------------------

Tensor floating(const Tensor& x) {
  return is_floating(x.dtype()) ? x : ops::to(x, default_dtype());
}

void check_weights(const char* name, const Tensor& w, int64_t observations, bool integers) {
  if (w.dim() > 1 || w.numel() != observations) {
    fail("cov: expected ", name, " to have one weight for each of ", observations,
         " observations, got shape ", w.sizes());
  }
  if (integers ? !is_integral(w.dtype()) : !is_floating(w.dtype())) {
    fail("cov: expected ", name, " to have ", integers ? "an integral" : "a floating point",
         " dtype, got ", name_of(w.dtype()));
  }
  const GradMode off(false);
  if (w.numel() == 0) return;
  const Tensor lowest = ops::to(ops::amin(w, nullptr, false), DType::Float64);
  host_check(checks::kNotNegative, {lowest}, {.text = {"cov", name}});
}

Tensor cov(const Tensor& input, int64_t correction, const Tensor& fweights,
           const Tensor& aweights) {
  if (input.dim() > 2) {
    fail("cov: expected input to have two or fewer dimensions but got shape ", input.sizes());
  }
  if (input.dtype() == DType::Bool) fail("cov: bool dtype is not supported for input");
  const Tensor x = floating(input.dim() < 2 ? ops::reshape(input, {1, input.numel()}) : input);
  const int64_t observations = x.size(1);
  Tensor w;
  if (fweights.defined()) {
    check_weights("fweights", fweights, observations, true);
    w = ops::to(fweights, x.dtype());
  }
  if (aweights.defined()) {
    check_weights("aweights", aweights, observations, false);
    w = w.defined() ? ops::mul(w, aweights) : aweights;
  }
  const Dims along{1};
  Tensor mean, degrees;
  if (w.defined()) {
    w = ops::reshape(w, {observations});
    const Tensor total = ops::sum(w, nullptr, false);
    mean = ops::div(ops::sum(ops::mul(x, w), &along, true), total);
    degrees = aweights.defined() && correction != 0
                  ? ops::div(ops::sum(ops::mul(w, aweights), nullptr, false), total)
                  : constant(1, total);
    degrees = ops::sub(total, ops::mul(degrees, constant(static_cast<double>(correction), total)));
  } else {
    mean = ops::mean(x, &along, true);
    degrees = constant(static_cast<double>(observations - correction), x);
  }
  degrees = apply<Maximum>(degrees, constant(0, degrees));
  const Tensor centred = ops::sub(x, mean);
  const Tensor weighted = w.defined() ? ops::mul(centred, w) : centred;
  const Tensor c = ops::div(ops::matmul(centred, ops::transpose(weighted, 0, 1)), degrees);
  return x.size(0) == 1 ? ops::reshape(c, {}) : c;
}

Tensor cov_row(const Tensor& input, int64_t correction, const Tensor& fweights,
               const Tensor& aweights) {
  return cov(input, correction, fweights, aweights);
}

Tensor corrcoef(const Tensor& input) {
  if (input.dim() > 2) {
    fail("corrcoef: expected input to have two or fewer dimensions but got shape ", input.sizes());
  }
  const Tensor c = cov(input, 1, {}, {});
  if (c.dim() == 0) return ops::div(c, c);
  const int64_t n = c.size(0);
  const Tensor place = ops::arange(n);
  const Tensor diagonal =
      ops::where(ops::eq(place, ops::reshape(place, {n, 1})), c, constant(0, c));
  const Dims along{1};
  const Tensor deviation = apply<Sqrt>(ops::sum(diagonal, &along, false));
  const Tensor r = ops::div(ops::div(c, ops::reshape(deviation, {n, 1})), deviation);
  return apply<Minimum>(apply<Maximum>(r, constant(-1, r)), constant(1, r));
}

// The three overloads that PyTorch has of each.
template <const Rule* R>
void push_spread(OpTable& t, const char* name, const char* doc) {
  constexpr uint8_t both = kMethod | kFunction;
  t.push_back(row<&spread_all<R>>(text(name, "(Tensor input, bool unbiased)"), both, doc));
  t.push_back(row<&spread_unbiased<R>>(
      text(name, "(Tensor input, int[]? dim, bool unbiased, bool keepdim=False)"), both, ""));
  t.push_back(row<&spread<R>>(
      text(name, "(Tensor input, int[]? dim=None, *, Number? correction=1, bool keepdim=False)"),
      both, ""));
}
template <const Rule* R>
void push_spread_mean(OpTable& t, const char* name, const char* doc) {
  t.push_back(
      row<&spread_mean_all<R>>(text(name, "(Tensor input, bool unbiased)"), kFunction, doc));
  t.push_back(row<&spread_mean_unbiased<R>>(
      text(name, "(Tensor input, int[]? dim, bool unbiased, bool keepdim=False)"), kFunction, ""));
  t.push_back(row<&spread_mean<R>>(
      text(name, "(Tensor input, int[]? dim=None, *, Number? correction=1, bool keepdim=False)"),
      kFunction, ""));
}

}  // namespace

void add_moments(OpTable& t) {
  constexpr uint8_t both = kMethod | kFunction;
  push_spread<&kVar>(t, "var",
                     "The variance, sum (x - mean)^2 / (n - correction), in two passes. "
                     "Derivative: 2 (x - mean) / (n - correction).");
  push_spread<&kStd>(t, "std",
                     "The square root of the variance. Derivative: (x - mean) / (n - correction) "
                     "/ std, 0 where std is 0.");
  push_spread_mean<&kVar>(t, "var_mean", "The variance and the mean.");
  push_spread_mean<&kStd>(t, "std_mean", "The standard deviation and the mean.");
  t.push_back(
      row<&cov_row>("cov(Tensor input, *, int correction=1, Tensor? fweights=None, "
                    "Tensor? aweights=None)",
                    both,
                    "The covariances of variables, which are rows, over observations, "
                    "which are columns."));
  t.push_back(row<&corrcoef>("corrcoef(Tensor input)", both,
                             "Pearson's correlation coefficients of variables, which are rows."));
}

}  // namespace wengert
