#include "ops/var.h"

#include "ops/elementwise.h"

namespace wengert {
namespace {
template <class F>
Var one(const Var& x) {
  return Var(apply<F>(x.tensor()));
}
template <class F>
Var two(const Var& a, const Var& b) {
  return Var(apply<F>(a.tensor(), b.tensor()));
}
}  // namespace

Var operator-(const Var& x) {
  return one<Neg>(x);
}
Var operator+(const Var& a, const Var& b) {
  return two<Add>(a, b);
}
Var operator-(const Var& a, const Var& b) {
  return two<Sub>(a, b);
}
Var operator*(const Var& a, const Var& b) {
  return two<Mul>(a, b);
}
Var operator/(const Var& a, const Var& b) {
  return two<Div>(a, b);
}
Var operator==(const Var& a, const Var& b) {
  return two<Eq>(a, b);
}
Var operator!=(const Var& a, const Var& b) {
  return two<Ne>(a, b);
}
Var operator<(const Var& a, const Var& b) {
  return two<Lt>(a, b);
}
Var operator<=(const Var& a, const Var& b) {
  return two<Le>(a, b);
}
Var operator>(const Var& a, const Var& b) {
  return two<Gt>(a, b);
}
Var operator>=(const Var& a, const Var& b) {
  return two<Ge>(a, b);
}
Var operator&(const Var& a, const Var& b) {
  return two<BitwiseAnd>(a, b);
}
Var operator|(const Var& a, const Var& b) {
  return two<BitwiseOr>(a, b);
}
Var select(const Var& condition, const Var& a, const Var& b) {
  // Two constants give doubles, not the default dtype as in ops::where: nothing is lost on the way.
  const Tensor operands[] = {condition.tensor(), a.tensor(), b.tensor()};
  const Tensor* in[] = {&operands[0], &operands[1], &operands[2]};
  return Var(map(map_info<Where>, in));
}
Var exp(const Var& x) {
  return one<Exp>(x);
}
Var exp2(const Var& x) {
  return one<Exp2>(x);
}
Var log1p(const Var& x) {
  return one<Log1p>(x);
}
Var sinh(const Var& x) {
  return one<Sinh>(x);
}
Var cosh(const Var& x) {
  return one<Cosh>(x);
}
Var digamma(const Var& x) {
  return one<Digamma>(x);
}
Var polygamma(const Var& n, const Var& x) {
  const Tensor t = x.tensor();
  const Tensor* in[] = {&t};
  const double params[4] = {n.constant()};
  return Var(map(map_info<Polygamma>, in, params));
}
Var sign(const Var& x) {
  return one<Sign>(x);
}
Var floor(const Var& x) {
  return one<Floor>(x);
}
Var trunc(const Var& x) {
  return one<Trunc>(x);
}
Var log(const Var& x) {
  return one<Log>(x);
}
Var sin(const Var& x) {
  return one<Sin>(x);
}
Var cos(const Var& x) {
  return one<Cos>(x);
}
Var tanh(const Var& x) {
  return one<Tanh>(x);
}
Var sigmoid(const Var& x) {
  return one<Sigmoid>(x);
}
Var erf(const Var& x) {
  return one<Erf>(x);
}
Var sqrt(const Var& x) {
  return one<Sqrt>(x);
}
Var abs(const Var& x) {
  return one<Abs>(x);
}
Var pow(const Var& a, const Var& b) {
  return two<Pow>(a, b);
}
Var maximum(const Var& a, const Var& b) {
  return two<Maximum>(a, b);
}
Var minimum(const Var& a, const Var& b) {
  return two<Minimum>(a, b);
}

}  // namespace wengert
