// The list of all elementwise functions. What a functor is stands in functors/functor.h.
#pragma once

#include "kernels/functors/activation.h"
#include "kernels/functors/arithmetic.h"
#include "kernels/functors/logic.h"
#include "kernels/functors/loss.h"
#include "kernels/functors/math.h"

namespace wengert {

using MapFunctors = JoinLists<ArithmeticFunctors, MathFunctors, LogicFunctors, ActivationFunctors,
                              LossFunctors>::type;

}  // namespace wengert
