// Results too large to stay in the caches are written past them: an ordinary store first reads the
// line that it overwrites, a third to a half of the traffic of elementwise work.
#pragma once

#if defined(__SSE2__)
#include <emmintrin.h>
#endif

#include <cstdint>

#include "kernels/launch.h"

namespace wengert::cpu {

inline constexpr int64_t kLine = 64;

// Whether the first buffer of a launch is to be written past the caches. Not if it is an input
// too: its lines are read anyway.
bool streams(const Launch& l);

// Each thread that streams holds one meanwhile: other threads may look when it is gone.
class StreamEnd {
 public:
  explicit StreamEnd(bool streams) : streams_(streams) {}
  StreamEnd(const StreamEnd&) = delete;
  StreamEnd& operator=(const StreamEnd&) = delete;
  ~StreamEnd() {
#if defined(__SSE2__)
    if (streams_) _mm_sfence();
#endif
  }

 private:
  bool streams_;
};

// How many of `most` elements to write at `to`, for what follows them to begin at a line.
inline int64_t up_to_line(const void* to, int64_t item, int64_t most) {
  return most - static_cast<int64_t>(reinterpret_cast<uintptr_t>(to) % kLine) / item;
}

}  // namespace wengert::cpu
