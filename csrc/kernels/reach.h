// What memory a launch reaches, as its kernel walks it: for who runs launches that come from
// somewhere else than the operations, such as a file.
#pragma once

#include <span>
#include <vector>

#include "kernels/launch.h"

namespace wengert {

// Bytes of the same memory before a pointer and from it on.
struct Room {
  int64_t before = 0, after = 0;
};

// Where a kernel goes by what stands in a buffer: numbers from low to high, or `other`, stay within
// its other buffers.
struct IndexBound {
  int buffer;
  int64_t count;  // of a buffer without strides: so many side by side
  int64_t low, high, other;
};

// Throws if the launch is not one that its kernel can run within the room of its buffers and of
// what else it points to (in the order of KeptLaunch::each_pointer). What it asks of the numbers in
// its buffers is the result.
std::vector<IndexBound> check_reach(const Launch& l, std::span<const Room> buffers,
                                    std::span<const Room> pointers);

// Whether the kernel goes by what it has written itself: no other buffer of it may be there then.
bool writes_apart(KernelId kernel);

// What of a launch is set: how many of its numbers and of those in `more`, and whether it goes by
// the strides of a buffer.
struct LaunchFields {
  int numbers = 0, more = 0;
};
LaunchFields fields_of(KernelId kernel);
bool goes_by_strides(const Launch& l, int buffer);

// The params behind its pointer, if any.
enum class ParamsKind : uint8_t { None, Gemm, Conv, Pool, Optimizer, List };
ParamsKind params_of(KernelId kernel);

}  // namespace wengert
