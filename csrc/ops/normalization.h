// What the normalizations share.
#pragma once

#include "ops/ops.h"

namespace wengert::ops {

// In the dtype that it is computed in; undefined stays so.
Tensor wide(const Tensor& t);

void check_floating_input(const char* op, const Tensor& input);
// Weight and bias must have the input's dtype, or the one that it is computed in.
void check_parameters_dtype(const char* op, const Tensor& input, const Tensor& weight,
                            const Tensor& bias);
// A vector with an element for each of an input's channels, if there is one.
void check_channels(const char* op, const char* what, const Tensor& t, int64_t channels,
                    const Tensor& input);

// Group normalization of (N, C, ...), C a multiple of groups; a weight for each channel.
Tensor normalize_groups(const Tensor& input, int64_t groups, const Tensor& weight,
                        const Tensor& bias, double eps);

}  // namespace wengert::ops
