// The checks of anomaly detection (tape/anomaly.h) that operations call themselves.
#pragma once

#include "ops/elementwise.h"

namespace wengert {

// Whether no element is infinite or NaN; in one pass over the memory where it is dense.
bool all_finite(const Tensor& t);

// Under anomaly detection: the result of an elementwise operation, recorded or not.
[[gnu::cold, gnu::noinline]] void check_map(const MapInfo& info, const Tensor* const* inputs,
                                            const double* params, const Tensor& out);
// A tensor that is about to be changed in place: whether it was finite is known only now.
[[gnu::cold, gnu::noinline]] void note_before_change(const Tensor& self);

}  // namespace wengert
