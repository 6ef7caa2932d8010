// A tensor, or a constant, as the value type V of functors.h: with it the same f and df that make
// the kernels also make recorded operations, and so derivatives of any order.
#pragma once

#include "kernels/functors.h"
#include "ops/ops.h"

namespace wengert {

class Var {
 public:
  Var() = default;
  explicit Var(double constant) : constant_(constant) {}
  explicit Var(Tensor t) : tensor_(std::move(t)) {}
  double constant() const { return constant_; }
  // A constant becomes a 0-dim tensor that yields to any other operand's dtype.
  Tensor tensor() const {
    return tensor_.defined() ? tensor_ : number_like({false, 0, constant_}, nullptr);
  }

 private:
  Tensor tensor_;
  double constant_ = 0;
};

Var operator-(const Var& x);
Var operator+(const Var& a, const Var& b);
Var operator-(const Var& a, const Var& b);
Var operator*(const Var& a, const Var& b);
Var operator/(const Var& a, const Var& b);
Var operator==(const Var& a, const Var& b);
Var operator!=(const Var& a, const Var& b);
Var operator<(const Var& a, const Var& b);
Var operator<=(const Var& a, const Var& b);
Var operator>(const Var& a, const Var& b);
Var operator>=(const Var& a, const Var& b);
Var operator&(const Var& a, const Var& b);
Var operator|(const Var& a, const Var& b);
Var select(const Var& condition, const Var& a, const Var& b);
Var exp(const Var& x);
Var exp2(const Var& x);
Var log1p(const Var& x);
Var sinh(const Var& x);
Var cosh(const Var& x);
Var digamma(const Var& x);
Var polygamma(const Var& n, const Var& x);
Var sign(const Var& x);
Var floor(const Var& x);
Var trunc(const Var& x);
Var log(const Var& x);
Var sin(const Var& x);
Var cos(const Var& x);
Var tanh(const Var& x);
Var sigmoid(const Var& x);
Var erf(const Var& x);
Var sqrt(const Var& x);
Var abs(const Var& x);
Var pow(const Var& a, const Var& b);
Var maximum(const Var& a, const Var& b);
Var minimum(const Var& a, const Var& b);

}  // namespace wengert
