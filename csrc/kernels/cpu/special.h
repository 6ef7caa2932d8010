// Scalar special functions that the C library lacks.
#pragma once

namespace wengert::cpu {

// The logarithmic derivative of the gamma function. At 0 it is infinite with the sign of -x; at the
// negative integers, which are poles too, it is NaN.
double digamma(double x);

// Its derivative of order n >= 1; infinite or NaN at the poles.
double polygamma(double n, double x);

// The inverse of erf: infinite at 1 and -1, NaN beyond.
double erfinv(double x, bool single);  // whether to single precision only

}  // namespace wengert::cpu
