// Every vector math function. Loops over functors include this.
#pragma once

#include "kernels/cpu/vmath.h"
#include "kernels/cpu/vmath_activation.h"
#include "kernels/cpu/vmath_basic.h"
#include "kernels/cpu/vmath_exp.h"
#include "kernels/cpu/vmath_gamma.h"
#include "kernels/cpu/vmath_log.h"
#include "kernels/cpu/vmath_lookup.h"
#include "kernels/cpu/vmath_lookup_inverse.h"
#include "kernels/cpu/vmath_special.h"
#include "kernels/cpu/vmath_trig.h"
