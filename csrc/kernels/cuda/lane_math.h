// The functions of floating point numbers that functors call: CUDA's own, or compositions of them.
// Included by lane.h.
#pragma once

#include "kernels/cuda/lane.h"
#include "kernels/gamma.h"

namespace wengert::cuda {

template <class T>
WENGERT_DEVICE Lane<T> exp(Lane<T> x) {
  return Lane<T>::of(std::exp(x.v));
}
template <class T>
WENGERT_DEVICE Lane<T> exp2(Lane<T> x) {
  return Lane<T>::of(std::exp2(x.v));
}
template <class T>
WENGERT_DEVICE Lane<T> expm1(Lane<T> x) {
  return Lane<T>::of(std::expm1(x.v));
}
template <class T>
WENGERT_DEVICE Lane<T> log(Lane<T> x) {
  return Lane<T>::of(std::log(x.v));
}
template <class T>
WENGERT_DEVICE Lane<T> log2(Lane<T> x) {
  return Lane<T>::of(std::log2(x.v));
}
template <class T>
WENGERT_DEVICE Lane<T> log10(Lane<T> x) {
  return Lane<T>::of(std::log10(x.v));
}
template <class T>
WENGERT_DEVICE Lane<T> log1p(Lane<T> x) {
  return Lane<T>::of(std::log1p(x.v));
}
template <class T>
WENGERT_DEVICE Lane<T> sqrt(Lane<T> x) {
  return Lane<T>::of(std::sqrt(x.v));
}
template <class T>
WENGERT_DEVICE Lane<T> sin(Lane<T> x) {
  return Lane<T>::of(std::sin(x.v));
}
template <class T>
WENGERT_DEVICE Lane<T> cos(Lane<T> x) {
  return Lane<T>::of(std::cos(x.v));
}
template <class T>
WENGERT_DEVICE Lane<T> tan(Lane<T> x) {
  return Lane<T>::of(std::tan(x.v));
}
template <class T>
WENGERT_DEVICE Lane<T> asin(Lane<T> x) {
  return Lane<T>::of(std::asin(x.v));
}
template <class T>
WENGERT_DEVICE Lane<T> acos(Lane<T> x) {
  return Lane<T>::of(std::acos(x.v));
}
template <class T>
WENGERT_DEVICE Lane<T> atan(Lane<T> x) {
  return Lane<T>::of(std::atan(x.v));
}
template <class T>
WENGERT_DEVICE Lane<T> sinh(Lane<T> x) {
  return Lane<T>::of(std::sinh(x.v));
}
template <class T>
WENGERT_DEVICE Lane<T> cosh(Lane<T> x) {
  return Lane<T>::of(std::cosh(x.v));
}
template <class T>
WENGERT_DEVICE Lane<T> tanh(Lane<T> x) {
  return Lane<T>::of(std::tanh(x.v));
}
template <class T>
WENGERT_DEVICE Lane<T> asinh(Lane<T> x) {
  return Lane<T>::of(std::asinh(x.v));
}
template <class T>
WENGERT_DEVICE Lane<T> acosh(Lane<T> x) {
  return Lane<T>::of(std::acosh(x.v));
}
template <class T>
WENGERT_DEVICE Lane<T> atanh(Lane<T> x) {
  return Lane<T>::of(std::atanh(x.v));
}
template <class T>
WENGERT_DEVICE Lane<T> erf(Lane<T> x) {
  return Lane<T>::of(std::erf(x.v));
}
template <class T>
WENGERT_DEVICE Lane<T> erfc(Lane<T> x) {
  return Lane<T>::of(std::erfc(x.v));
}
template <class T>
WENGERT_DEVICE Lane<T> lgamma(Lane<T> x) {
  return Lane<T>::of(std::lgamma(x.v));
}
template <class T>
WENGERT_DEVICE Lane<T> erfinv(Lane<T> x) {
  if constexpr (sizeof(T) == 4) {
    return Lane<T>::of(::erfinvf(x.v));
  } else {
    return Lane<T>::of(::erfinv(x.v));
  }
}
template <class T>
WENGERT_DEVICE Lane<T> digamma(Lane<T> x) {
  return Lane<T>::of(static_cast<T>(special::digamma(x.v)));
}
template <class T>
WENGERT_DEVICE Lane<T> polygamma(Lane<T> n, Lane<T> x) {
  return Lane<T>::of(static_cast<T>(special::polygamma(n.v, x.v)));
}
template <class T>
WENGERT_DEVICE Lane<T> rsqrt(Lane<T> x) {
  return Lane<T>(1.0) / sqrt(x);
}
template <class T>
  requires is_real<T>
WENGERT_DEVICE Lane<T> pow(Lane<T> x, Lane<T> y) {
  return Lane<T>::of(std::pow(x.v, y.v));
}
template <class T>
WENGERT_DEVICE Lane<T> atan2(Lane<T> y, Lane<T> x) {
  return Lane<T>::of(std::atan2(y.v, x.v));
}
// Infinite beside an infinity, even if the other is NaN.
template <class T>
WENGERT_DEVICE Lane<T> hypot(Lane<T> x, Lane<T> y) {
  return Lane<T>::of(std::hypot(x.v, y.v));
}
template <class T>
WENGERT_DEVICE Lane<T> nextafter(Lane<T> x, Lane<T> y) {
  return Lane<T>::of(std::nextafter(x.v, y.v));
}
template <class T>
WENGERT_DEVICE Lane<T> fma(Lane<T> a, Lane<T> b, Lane<T> c) {
  return Lane<T>::of(std::fma(a.v, b.v, c.v));
}

// --- activations, as in kernels/cpu/vmath_activation.h -------------------------------------------

// With an exponential that does not overflow.
template <class T>
WENGERT_DEVICE Lane<T> sigmoid(Lane<T> x) {
  const Lane<T> e = exp(-abs(x)), one(1.0);
  return select(x < Lane<T>(0.0), e, one) / (one + e);
}
template <class T>
WENGERT_DEVICE Lane<T> silu(Lane<T> x) {
  return x * sigmoid(x);
}
// log(1 + e^x) and -log(1 + e^-x).
template <class T>
WENGERT_DEVICE Lane<T> softplus(Lane<T> x) {
  return maximum(x, Lane<T>(0.0)) + log1p(exp(-abs(x)));
}
template <class T>
WENGERT_DEVICE Lane<T> logsigmoid(Lane<T> x) {
  return minimum(x, Lane<T>(0.0)) - log1p(exp(-abs(x)));
}
// x tanh(log(1 + e^x)) is x n / (n + 2) with n = e^x (e^x + 2); above 0 both times e^-2x.
template <class T>
WENGERT_DEVICE Lane<T> mish(Lane<T> x) {
  const Lane<T> e = exp(-abs(x)), one(1.0), two(2.0);
  const Flag below = x < Lane<T>(0.0);
  const Lane<T> n = select(below, e * (e + two), fma(two, e, one));
  return x * (n / (n + select(below, two, two * (e * e))));
}
// Its derivative: with d = n + 2, (n d + 4 x e^x (1 + e^x)) / d^2; above 0 both times e^-4x.
template <class T>
WENGERT_DEVICE Lane<T> mish_slope(Lane<T> x) {
  const Lane<T> e = exp(-abs(x)), one(1.0), two(2.0), square = e * e;
  const Flag below = x < Lane<T>(0.0);
  const Lane<T> n = select(below, fma(two, e, square), fma(two, e, one));
  const Lane<T> inverse = one / (n + select(below, two, two * square));
  const Lane<T> u = two * inverse, s = u * u * (one + e) * select(below, e, square);
  return fma(select(s == Lane<T>(0.0), Lane<T>(0.0), x), s, n * inverse);
}
// x Phi(x), below 0 by erfc, which keeps its digits there.
template <class T>
WENGERT_DEVICE Lane<T> gelu(Lane<T> x) {
  const Lane<T> y = Lane<T>(0.5) * erfc(x * Lane<T>(-0.7071067811865476));
  return select(y == Lane<T>(0.0), x * Lane<T>(0.0), x * y);
}

}  // namespace wengert::cuda
