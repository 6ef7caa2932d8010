// CUDA's own words, as a C++ compiler understands them.
#pragma once

// The standard library spells an attribute `__noinline__` too: read it before that becomes a macro.
#include <algorithm>
#include <cassert>
#include <cstring>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <vector>

#define __global__
#define __device__
#define __host__
#define __constant__
#define __grid_constant__
#define __launch_bounds__(...)
#define __forceinline__ inline __attribute__((always_inline))
#define __noinline__ __attribute__((noinline))
#define __align__(bytes) __attribute__((aligned(bytes)))
// The blocks of a grid run one after another, so one copy serves them all.
#define __shared__ static
