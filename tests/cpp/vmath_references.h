// The vector math functions of one argument: what they should give, and how far off they may be.
#pragma once

#include <cmath>
#include <cstring>

namespace wengert::cpu {

template <class R>
R sigmoid(R x) {
  return x < 0 ? std::exp(x) / (1 + std::exp(x)) : 1 / (1 + std::exp(-x));
}
template <class R>
R rsqrt(R x) {
  return 1 / std::sqrt(x);
}
template <class R>
R softplus(R x) {
  if (std::isinf(x)) return x > 0 ? x : R(0);
  return std::fmax(x, R(0)) + std::log1p(std::exp(-std::fabs(x)));
}
// x Phi(x), NaN for -inf as in PyTorch
template <class R>
R gelu(R x) {
  return R(0.5) * x * std::erfc(-x * R(0.70710678118654752440L));
}

// Its references for float and double, and the error allowed in ULP of the result for every
// argument: in float, and there on AVX-512, where many functions are others (vmath_lookup.h); in
// double.
struct Reference {
  const char* name;
  double (*single)(double);
  long double (*twice)(long double);
  double ulp32, ulp32_avx512, ulp64;
};
inline double allowed32(const Reference& row, const char* isa) {
  return std::strcmp(isa, "avx512") == 0 ? row.ulp32_avx512 : row.ulp32;
}
inline const Reference kReferences[] = {
    {"exp", std::exp, std::exp, 1.0, 1.0, 1.0},
    {"expm1", std::expm1, std::expm1, 1.25, 1.25, 1.25},
    {"log", std::log, std::log, 1.0, 1.1, 1.0},
    {"log1p", std::log1p, std::log1p, 1.0, 1.25, 1.0},
    {"exp2", std::exp2, std::exp2, 1.25, 1.25, 1.25},
    {"log2", std::log2, std::log2, 1.25, 1.25, 1.25},
    {"log10", std::log10, std::log10, 1.25, 1.35, 1.25},
    {"rsqrt", rsqrt<double>, rsqrt<long double>, 1.5, 1.5, 1.5},
    {"tan", std::tan, std::tan, 1.5, 1.5, 1.25},
    {"asin", std::asin, std::asin, 1.25, 1.25, 1.25},
    {"acos", std::acos, std::acos, 1.25, 1.25, 1.25},
    {"atan", std::atan, std::atan, 1.5, 1.25, 1.5},
    {"sinh", std::sinh, std::sinh, 1.0, 1.0, 1.0},
    {"cosh", std::cosh, std::cosh, 1.0, 1.0, 1.0},
    {"asinh", std::asinh, std::asinh, 1.25, 1.1, 1.25},
    {"acosh", std::acosh, std::acosh, 1.25, 1.1, 1.25},
    {"atanh", std::atanh, std::atanh, 1.25, 1.1, 1.25},
    {"erfc", std::erfc, std::erfc, 2.0, 2.0, 2.0},
    {"lgamma", std::lgamma, std::lgamma, 0.6, 0.6, 6.0},
    {"tanh", std::tanh, std::tanh, 1.4, 1.0, 1.4},
    {"sigmoid", sigmoid<double>, sigmoid<long double>, 1.25, 1.5, 1.25},
    {"sin", std::sin, std::sin, 1.5, 1.5, 1.0},
    {"cos", std::cos, std::cos, 1.5, 1.5, 1.0},
    {"erf", std::erf, std::erf, 1.5, 1.0, 1.0},
    {"softplus", softplus<double>, softplus<long double>, 1.6, 1.5, 2.0},
    {"gelu", gelu<double>, gelu<long double>, 2.0, 1.0, 2.5},
    {"floor", std::floor, std::floor, 0.0, 0.0, 0.0},
    {"ceil", std::ceil, std::ceil, 0.0, 0.0, 0.0},
    {"trunc", std::trunc, std::trunc, 0.0, 0.0, 0.0},
    {"round", std::nearbyint, std::nearbyint, 0.0, 0.0, 0.0},
};

}  // namespace wengert::cpu
