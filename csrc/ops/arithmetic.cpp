// Arithmetic, rounding, bounds, comparisons, logical and bitwise operations.
#include <cmath>
#include <limits>

#include "ops/checks.h"
#include "ops/elementwise_rows.h"

namespace wengert {
namespace ops {

Tensor add(const Tensor& a, const Tensor& b) {
  return apply<Add>(a, b);
}
Tensor sub(const Tensor& a, const Tensor& b) {
  return apply<Sub>(a, b);
}
Tensor mul(const Tensor& a, const Tensor& b) {
  return apply<Mul>(a, b);
}
Tensor div(const Tensor& a, const Tensor& b) {
  return apply<Div>(a, b);
}
Tensor eq(const Tensor& a, const Tensor& b) {
  return apply<Eq>(a, b);
}
Tensor square(const Tensor& x) {
  return apply<Square>(x);
}
Tensor where(const Tensor& condition, const Tensor& a, const Tensor& b) {
  if (a->weak && b->weak) {  // two numbers, which no tensor gives a dtype
    const Tensor* numbers[] = {&a, &b};
    const DType d = result_type(numbers, 2);
    return where(condition, to(a, d, true), to(b, d, true));
  }
  const Tensor* in[] = {&condition, &a, &b};
  return map(map_info<Where>, in);
}

// Whole-number exponents that a cheaper function serves go there.
Tensor pow(const Tensor& a, const Tensor& b) {
  if (!b->weak || a->weak) return apply<Pow>(a, b);
  const double e = b.to_double();
  if (e == 2 && a.dtype() != DType::Bool) return apply<Square>(a);
  const bool integers = !is_floating(a.dtype()) && !is_floating(b.dtype());
  if (integers && e < 0) {
    fail("pow: integers to negative integer powers are not allowed");
  }
  if (integers) return apply<Pow>(a, b);
  if (e == 0.5) return apply<Sqrt>(a);
  if (e == -1) return apply<Reciprocal>(a);
  const double params[4] = {e};
  const Tensor* in[] = {&a};
  return map(map_info<PowScalar>, in, params);
}

namespace {

Tensor pow_(const Tensor& a, const Tensor& b) {
  return overwrite("pow_", a, pow(recording(a) ? clone(a) : a, b));
}

// alpha * other, for add and sub
Tensor scaled(const Tensor& a, const Tensor& other, const Number& alpha) {
  const Tensor* both[] = {&a, &other};
  if (!alpha.integral && !is_floating(result_type(both, 2))) {
    fail("for integral input tensors, argument alpha must not be a floating point number, got ",
         alpha.d);
  }
  return alpha.d == 1 ? other : mul(other, number_like(alpha, &other));
}
template <class F>
Tensor with_alpha(const Tensor& a, const Tensor& b, const Number& alpha) {
  return apply<F>(a, scaled(a, b, alpha));
}
template <class F>
Tensor with_alpha_(const Tensor& a, const Tensor& b, const Number& alpha) {
  return apply_<F>(a, scaled(a, b, alpha));
}
Tensor rsub(const Tensor& a, const Tensor& b, const Number& alpha) {
  return sub(b, scaled(b, a, alpha));
}

// --- division ----------------------------------------------------------------------------------

// Integers have no infinity to divide by zero to.
void check_divisor(const char* op, const Tensor& a, const Tensor& b) {
  if (is_floating(a.dtype()) || is_floating(b.dtype()) || b.numel() == 0) return;
  const GradMode off(false);
  const Tensor zero = eq(b, number_like({true, 0, 0}, &b));
  host_check(checks::kDivisor, {sum(zero, nullptr, false)}, {.text = {op}});
}
template <class F>
Tensor divide(const Tensor& a, const Tensor& b) {
  check_divisor(F::name, a, b);
  return apply<F>(a, b);
}
template <class F>
Tensor divide_(const Tensor& a, const Tensor& b) {
  check_divisor(F::name, a, b);
  return apply_<F>(a, b);
}

Tensor div_rounded(const Tensor& a, const Tensor& b, std::string_view mode) {
  if (mode.empty()) return div(a, b);
  if (mode == "floor") return divide<FloorDivide>(a, b);
  if (mode == "trunc") return divide<TruncDivide>(a, b);
  fail("div: expected rounding_mode to be one of None, 'trunc' or 'floor', got '", mode, "'");
}
Tensor div_rounded_(const Tensor& a, const Tensor& b, std::string_view mode) {
  return mode.empty() ? apply_<Div>(a, b) : overwrite("div_", a, div_rounded(a, b, mode));
}

// --- bounds ------------------------------------------------------------------------------------

bool is_number(const Tensor& t) {
  return !t.defined() || t->weak;
}

Tensor clamp(const Tensor& x, const Tensor& low, const Tensor& high) {
  if (!low.defined() && !high.defined())
    fail("clamp: at least one of 'min' or 'max' must not be None");
  const Tensor* all[3] = {&x};
  int n = 1;
  if (low.defined()) all[n++] = &low;
  if (high.defined()) all[n++] = &high;
  const DType dtype = result_type(all, n);
  if (is_floating(dtype) && is_number(low) && is_number(high)) {
    constexpr double infinity = std::numeric_limits<double>::infinity();
    double a = low.defined() ? low.to_double() : -infinity;
    double b = high.defined() ? high.to_double() : infinity;
    if (std::isnan(a) || std::isnan(b)) a = b = std::numeric_limits<double>::quiet_NaN();
    if (a == a) {
      // where the bounds cross, the upper one holds
      const double params[4] = {std::min(a, b), b};
      const Tensor wide = to(x, dtype);
      const Tensor* in[] = {&wide};
      return map(map_info<Clamp>, in, params);
    }
  }
  if (low.defined() && high.defined() && is_number(low) && is_number(high) && is_integral(dtype)) {
    const int64_t a = std::min(low.to_int64(), high.to_int64()), b = high.to_int64();
    const bool is_signed = dtype != DType::UInt8;
    const int digits = static_cast<int>(8 * item_size(dtype)) - (is_signed ? 1 : 0);
    const int64_t limit = int64_t{1} << std::min(digits, 53);  // what fits, and in a double, too
    if (a >= (is_signed ? -limit : 0) && b < limit) {
      const double params[4] = {static_cast<double>(a), static_cast<double>(b)};
      const Tensor wide = to(x, dtype);
      const Tensor* in[] = {&wide};
      return map(map_info<Clamp>, in, params);
    }
  }
  Tensor out = low.defined() ? apply<ClampMin>(x, low) : x;
  return high.defined() ? apply<ClampMax>(out, high) : out;
}
Tensor clamp_min(const Tensor& x, const Tensor& low) {
  return clamp(x, low, {});
}
Tensor clamp_max(const Tensor& x, const Tensor& high) {
  return clamp(x, {}, high);
}

Tensor nan_to_num(const Tensor& x, std::optional<double> nan, std::optional<double> high,
                  std::optional<double> low) {
  if (!is_floating(x.dtype())) return clone(x);
  const double largest = x.dtype() == DType::Float64    ? std::numeric_limits<double>::max()
                         : x.dtype() == DType::Float32  ? double{std::numeric_limits<float>::max()}
                         : x.dtype() == DType::BFloat16 ? 0x1.fep127
                                                        : 65504.0;
  return WithParams<NanToNum, double, double, double>::out_of_place(
      x, nan.value_or(0), high.value_or(largest), low.value_or(-largest));
}

Tensor lerp(const Tensor& x, const Tensor& end, const Tensor& weight) {
  if (x.dtype() != end.dtype()) {
    fail("lerp: expected dtype ", name_of(x.dtype()), " for `end`, but got dtype ",
         name_of(end.dtype()));
  }
  const Tensor* in[] = {&x, &end, &weight};
  return map(map_info<Lerp>, in);
}
template <class F>
Tensor add_product(const Tensor& x, const Tensor& a, const Tensor& b, const Number& value) {
  const double params[4] = {value.d};
  const Tensor* in[] = {&x, &a, &b};
  return map(map_info<F>, in, params);
}

// --- rounding ----------------------------------------------------------------------------------

Tensor round(const Tensor& x, int64_t decimals) {
  if (decimals == 0 || !is_floating(x.dtype())) return apply<Round>(x);
  const double ten = std::pow(10.0, static_cast<double>(std::abs(decimals)));
  const Tensor factor = number_like({false, 0, ten}, &x);
  return decimals > 0 ? div(apply<Round>(mul(x, factor)), factor)
                      : mul(apply<Round>(div(x, factor)), factor);
}

Tensor times(const Tensor& x, double factor) {
  return mul(x, number_like({false, 0, factor}, &x));
}
Tensor deg2rad(const Tensor& x) {
  return times(x, 0.017453292519943295);
}
Tensor rad2deg(const Tensor& x) {
  return times(x, 57.29577951308232);
}
Tensor positive(const Tensor& x) {
  if (x.dtype() == DType::Bool) fail("positive: not defined for bool tensors");
  return x;
}
Tensor ldexp(const Tensor& x, const Tensor& other) {
  const Tensor two =
      is_floating(x.dtype()) ? Tensor::scalar(2.0, x.dtype()) : number_like({false, 0, 2}, &x);
  return mul(x, pow(two, other));
}
Tensor float_power(const Tensor& a, const Tensor& b) {
  const auto wide = [](const Tensor& t) {
    Tensor d = to(t, DType::Float64);
    if (t->weak) d->weak = true;
    return d;
  };
  return pow(wide(a), wide(b));
}
Tensor lcm(const Tensor& a, const Tensor& b) {
  const Tensor divisor = apply<Gcd>(a, b);
  const Tensor one = number_like({true, 1, 1}, &divisor);
  return apply<Abs>(mul(apply<TruncDivide>(a, apply<Maximum>(divisor, one)), b));
}

// --- closeness ---------------------------------------------------------------------------------

Tensor isclose(const Tensor& a, const Tensor& b, double rtol, double atol, bool equal_nan) {
  if (a.dtype() != b.dtype()) {
    fail("isclose: ", name_of(a.dtype()), " did not match ", name_of(b.dtype()));
  }
  if (!(rtol >= 0 && atol >= 0)) {
    fail("isclose: rtol and atol must be at least zero, but got ", rtol, " and ", atol);
  }
  const GradMode off(false);
  Tensor close = eq(a, b);
  if (is_floating(a.dtype()) && equal_nan) {
    close = apply<BitwiseOr>(close, apply<BitwiseAnd>(apply<Isnan>(a), apply<Isnan>(b)));
  }
  if (rtol == 0 && atol == 0) return close;
  const bool exact = !is_floating(a.dtype());
  const Tensor x = exact ? to(a, DType::Float64) : a, y = exact ? to(b, DType::Float64) : b;
  const Tensor bound = add(times(apply<Abs>(y), rtol), number_like({false, 0, atol}, &y));
  const Tensor apart = apply<Abs>(sub(x, y));
  const Tensor near = apply<BitwiseAnd>(apply<Isfinite>(apart), apply<Le>(apart, bound));
  return apply<BitwiseOr>(close, near);
}

}  // namespace
}  // namespace ops

// --- rows --------------------------------------------------------------------------------------

namespace {

template <class F>
Op binary_with_alpha(std::string_view doc) {
  Op op = row<&ops::with_alpha<F>, &ops::with_alpha_<F>>(
      text(F::name, "(Value input, Value other, *, Number alpha=1)"), kBoth, doc);
  op.binary = &apply<F>;
  op.binary_inplace = &apply_<F>;
  return op;
}
template <class F>
Op division(std::string_view doc) {
  Op op = row<&ops::divide<F>, &ops::divide_<F>>(text(F::name, "(Value input, Value other)"), kBoth,
                                                 doc);
  op.binary = direct<&ops::divide<F>>;
  op.binary_inplace = direct<&ops::divide_<F>>;
  return op;
}

void add_comparisons(OpTable& t) {
  t.push_back(comparison<Eq>("input == other, a bool tensor."));
  t.push_back(comparison<Ne>("input != other, a bool tensor."));
  t.push_back(comparison<Lt>("input < other, a bool tensor."));
  t.push_back(comparison<Le>("input <= other, a bool tensor."));
  t.push_back(comparison<Gt>("input > other, a bool tensor."));
  t.push_back(comparison<Ge>("input >= other, a bool tensor."));
  alias(t, "ne", "not_equal");
  alias(t, "lt", "less");
  alias(t, "le", "less_equal");
  alias(t, "gt", "greater");
  alias(t, "ge", "greater_equal");
  t.push_back(with_inplace(predicate<LogicalNot>("Whether each element is zero.")));
  t.push_back(comparison<LogicalAnd>("Whether both elements are nonzero."));
  t.push_back(comparison<LogicalOr>("Whether one element or both are nonzero."));
  t.push_back(comparison<LogicalXor>("Whether exactly one element is nonzero."));
  t.push_back(predicate<Isnan>("Whether each element is NaN."));
  t.push_back(predicate<Isinf>("Whether each element is infinite."));
  t.push_back(predicate<Isfinite>("Whether each element is neither infinite nor NaN."));
  t.push_back(predicate<Isposinf>("Whether each element is positive infinity."));
  t.push_back(predicate<Isneginf>("Whether each element is negative infinity."));
  t.push_back(predicate<Signbit>("Whether each element's sign bit is set."));
  t.push_back(row<&ops::isclose>(
      "isclose(Tensor input, Tensor other, float rtol=1e-05, float atol=1e-08, bool "
      "equal_nan=False)",
      kBoth, "Whether |input - other| <= atol + rtol |other|, of each pair of elements."));
  t.push_back(unary<BitwiseNot>("The complement of each integer's bits, or of each bool."));
  t.push_back(binary<BitwiseAnd>("input & other of integers or bools."));
  t.push_back(binary<BitwiseOr>("input | other of integers or bools."));
  t.push_back(binary<BitwiseXor>("input ^ other of integers or bools."));
  t.push_back(binary<LeftShift>("input << other of integers."));
  t.push_back(binary<RightShift>("input >> other of integers, keeping the sign."));
}

void add_rounding(OpTable& t) {
  t.push_back(unary<Sign>("-1, 0 or 1 by each element's sign. Derivative: 0."));
  alias(t, "sign", "sgn");
  t.push_back(unary<Floor>("The largest integer not above each element. Derivative: 0."));
  t.push_back(unary<Ceil>("The smallest integer not below each element. Derivative: 0."));
  Op round = with_inplace(row<&ops::round>(
      "round(Tensor input, *, int decimals=0)", kBoth,
      "Each element rounded to the nearest integer, or to so many decimals; halves to even. "
      "Derivative: 0."));
  round.unary = &apply<Round>;
  t.push_back(round);
  t.push_back(unary<Trunc>("Each element without its fraction. Derivative: 0."));
  alias(t, "trunc", "fix");
  t.push_back(unary<Frac>("Each element's fraction, x - trunc(x). Derivative: 1."));
  t.push_back(division<FloorDivide>("input // other, rounded down. Derivative: 0."));
  t.push_back(division<Remainder>(
      "input % other with the sign of other. Derivatives: 1, -floor(input / other)."));
  t.push_back(division<Fmod>(
      "The remainder with the sign of input, as C's fmod. Derivatives: 1, -trunc(input / other)."));
}

void add_bounds(OpTable& t) {
  t.push_back(binary<Maximum>(
      "The larger of two elements. At a tie each operand gets half of the gradient."));
  t.push_back(binary<Minimum>(
      "The smaller of two elements. At a tie each operand gets half of the gradient."));
  t.push_back(binary<Fmax>("The larger of two elements; NaN only where both are."));
  t.push_back(binary<Fmin>("The smaller of two elements; NaN only where both are."));
  t.push_back(with_inplace(row<&ops::clamp>(
      "clamp(Tensor input, Value? min=None, Value? max=None)", kBoth,
      "Each element brought between min and max. Derivative: 1 within the bounds, else 0.")));
  alias(t, "clamp", "clip");
  t.push_back(with_inplace(row<&ops::clamp_min>("clamp_min(Tensor input, Value min)", kBoth,
                                                "Each element brought up to min.")));
  t.push_back(with_inplace(row<&ops::clamp_max>("clamp_max(Tensor input, Value max)", kBoth,
                                                "Each element brought down to max.")));
  t.push_back(row<&ops::where>("where(Tensor condition, Value input, Value other)", kFunction,
                               "input where condition holds, other elsewhere. The gradient goes to "
                               "the one that was taken."));
  t.push_back(with_inplace(
      row<&ops::lerp>("lerp(Tensor input, Tensor end, Value weight)", kBoth,
                      "input + weight (end - input). Derivatives: 1 - weight, weight, end - "
                      "input.")));
  t.push_back(with_inplace(row<&ops::nan_to_num>(
      "nan_to_num(Tensor input, float? nan=0.0, float? posinf=None, float? neginf=None)", kBoth,
      "NaN and infinities replaced: by default by 0 and the largest and lowest numbers.")));
  t.push_back(binary<Copysign>("The magnitude of input with the sign of other."));
  t.push_back(with_inplace(row<static_cast<BinaryFn<Heaviside>>(&apply<Heaviside>)>(
      "heaviside(Tensor input, Tensor values)", kBoth, "0 below zero, 1 above, values at zero.")));
}

}  // namespace

void alias(OpTable& t, std::string_view name, std::string_view other) {
  const size_t n = t.size();
  for (size_t i = 0; i < n; ++i) {
    if (t[i].name != name) continue;
    Op op = t[i];
    op.name = other;
    t.push_back(std::move(op));
  }
}

void add_arithmetic(OpTable& t) {
  t.push_back(unary<Neg>("The negative of each element. Derivative: -1."));
  t.push_back(unary<Abs>("The absolute value of each element. Derivative: sign(x), 0 at 0."));
  t.push_back(unary<Square>("The square of each element. Derivative: 2 x."));
  t.push_back(unary<Reciprocal>("1 / x of each element. Derivative: -1 / x^2."));
  t.push_back(unary<Sqrt>("The square root of each element. Derivative: 1 / (2 sqrt(x))."));
  t.push_back(unary<Rsqrt>("1 / sqrt(x) of each element. Derivative: -1 / (2 x sqrt(x))."));
  t.push_back(row<&ops::positive>("positive(Tensor input)", kBoth, "The tensor itself."));
  t.push_back(binary_with_alpha<Add>("input + alpha * other. Derivatives: 1, alpha."));
  t.push_back(binary_with_alpha<Sub>("input - alpha * other. Derivatives: 1, -alpha."));
  t.push_back(row<&ops::rsub>("rsub(Tensor input, Value other, *, Number alpha=1)", kFunction,
                              "other - alpha * input."));
  t.push_back(binary<Mul>("input * other. Derivatives: other, input."));
  Op div = row<&ops::div_rounded, &ops::div_rounded_>(
      "div(Value input, Value other, *, str? rounding_mode=None)", kBoth,
      "input / other: true division, or rounded with rounding_mode='floor' or 'trunc'. "
      "Derivatives: 1 / b, -a / b^2; 0 when rounded.");
  div.binary = &apply<Div>;
  div.binary_inplace = &apply_<Div>;
  t.push_back(div);
  Op pow = row<&ops::pow, &ops::pow_>("pow(Value input, Value exponent)", kBoth,
                                      "input ** exponent. Derivatives: b a^(b-1), a^b log(a).");
  pow.binary = direct<&ops::pow>;
  pow.binary_inplace = direct<&ops::pow_>;
  t.push_back(pow);
  t.push_back(row<&ops::float_power>("float_power(Value input, Value exponent)", kBoth,
                                     "input ** exponent in float64."));
  alias(t, "neg", "negative");
  alias(t, "abs", "absolute");
  alias(t, "sub", "subtract");
  alias(t, "mul", "multiply");
  alias(t, "div", "divide");
  alias(t, "div", "true_divide");
  t.push_back(with_inplace(row<&ops::add_product<Addcmul>>(
      "addcmul(Tensor input, Tensor tensor1, Tensor tensor2, *, Number value=1)", kBoth,
      "input + value * tensor1 * tensor2.")));
  t.push_back(with_inplace(row<&ops::add_product<Addcdiv>>(
      "addcdiv(Tensor input, Tensor tensor1, Tensor tensor2, *, Number value=1)", kBoth,
      "input + value * tensor1 / tensor2.")));
  t.push_back(with_inplace(
      row<&ops::ldexp>("ldexp(Tensor input, Value other)", kBoth, "input * 2 ** other.")));
  t.push_back(
      with_inplace(row<&ops::deg2rad>("deg2rad(Tensor input)", kBoth, "Degrees as radians.")));
  t.push_back(
      with_inplace(row<&ops::rad2deg>("rad2deg(Tensor input)", kBoth, "Radians as degrees.")));
  t.push_back(binary<Gcd>("The greatest common divisor of two integers."));
  t.push_back(with_inplace(row<&ops::lcm>("lcm(Tensor input, Value other)", kBoth,
                                          "The least common multiple of two integers.")));
  add_rounding(t);
  add_bounds(t);
  add_comparisons(t);
}

}  // namespace wengert
