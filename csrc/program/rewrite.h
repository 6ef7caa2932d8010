// Steps that need not be taken at each replay, or not by themselves.
#pragma once

#include "program/recording.h"

namespace wengert {

// Takes those whose operands are constants once and for all. Returns how many.
int fold_constants(Recording& r);
// Copies whose source or destination can stand for both.
int drop_copies(Recording& r);
// Activations that the matrix product before them can apply to its finished rows.
int join_activations(Recording& r);

}  // namespace wengert
