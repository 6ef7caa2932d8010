// What a launch amounts to, for those who observe it.
#pragma once

#include "kernels/launch.h"

namespace wengert {

// Floating point operations, and bytes of the memory that a launch reads and writes, each element
// counted once however often a stride of 0 repeats it.
//
// An elementwise function is one operation an element, and a derivative of it two; a matrix product
// is 2mnk; a reduction or a scan one an element; softmax five (largest, difference, exponential,
// sum, quotient) and its derivative four; a factorization what its leading term says (Golub, Van
// Loan, Matrix Computations, 2013). What moves or compares data, and random numbers, are none.
struct Work {
  double flops = 0;
  double bytes = 0;
};
Work work_of(const Launch& l);

// How many of its buffers, from the first, it writes.
int buffers_written(const Launch& l);
// Whether the result is not a function of its floating point operands alone.
bool draws_random_numbers(KernelId kernel);
// Which states an optimizer's step with these settings keeps, a bit each.
unsigned states_used(const OptimizerLaunch& s);
// Whether a stream of random numbers stands in more[0] and more[1].
bool takes_stream(const Launch& l);

}  // namespace wengert
