// One launch for many models at once, where it gives each the bits of a launch of its own.
#pragma once

#include <span>

#include "kernels/launch.h"

namespace wengert {

// Gives a launch a first dimension of models, or makes its first one count through all of them:
// `apart` says how many elements lie from one model's to the next's, for each buffer; 0 where all
// share it. size[0] and count are those of one model still, to be multiplied by how many there are.
// False, and unchanged, where the kernel cannot: then it is launched for each.
//
// These can: elementwise work and copies, of which every element is for itself; reductions and
// matrix products, whose order is fixed by what is summed; rows of softmax.
bool widen(Launch& l, std::span<const int64_t> apart);

}  // namespace wengert
