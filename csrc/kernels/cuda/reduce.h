// Reductions: a launch names the kept dimensions first and the reduced ones after them; the output
// is dense. A block of kReduceThreads is so many results side by side, each joined by so many
// threads; a row too long for one block is cut into chunks, whose results a second launch joins.
// How is a matter of the sizes alone, so the same launch always joins in the same order.
#pragma once

#include "kernels/cuda/lane.h"
#include "kernels/cuda/operand.h"
#include "kernels/kernels.h"
#include "kernels/reductions.h"

namespace wengert::cuda {

inline constexpr int kReduceThreads = 256;

// What is counted over whole numbers beside the list of reductions: `c` is a mask of bits.
struct Nonzeros : Sum {
  using Joins = Sum;
  template <class V>
  static WENGERT_DEVICE V lift(V x, V c) {
    return select((x & c) != V(0.0), V(1.0), V(0.0));
  }
};
struct AllBitsSet : Sum {
  using Joins = Sum;
  template <class V>
  static WENGERT_DEVICE V lift(V x, V c) {
    return select((x & c) == c, V(1.0), V(0.0));
  }
};
inline constexpr int kNonzeros = Reductions::size, kAllBitsSet = Reductions::size + 1;

enum class Finish : uint8_t { Scale, Positive, Zero };  // the last two give bools

// Dimensions of a launch in the order in which threads walk them: the nearest elements last.
struct Axes {
  Space space;
  int64_t from[kMaxDims], to[kMaxDims];  // strides of the source and of the results

  WENGERT_DEVICE int64_t source(int64_t i) const {
    return space.ndim <= 1 ? i * from[0] : place_of(space, from, i);
  }
  WENGERT_DEVICE int64_t result(int64_t i) const {
    return space.ndim <= 1 ? i * to[0] : place_of(space, to, i);
  }
};

struct ReduceShape {
  Axes kept, reduced;
  int64_t chunk;    // reduced elements to a block; a multiple of what its threads take at once
  uint32_t chunks;  // blockIdx.y; results of chunks lie side by side
  uint8_t lanes;    // log2 of the threads to a result
  bool across;      // neighbouring threads take neighbouring results, and not elements of one
  bool packed;      // rows may be read by whole vectors of 16 bytes

  // With `ordered`, reduced elements stay in their order. A thread takes `each` at once.
  ReduceShape(const Launch& l, int source, bool ordered, int each);
  int64_t results() const { return kept.space.count; }
  dim3 grid() const;
};

struct ReduceArgs {
  ReduceShape shape;
  int reduction, join;  // index in Reductions
  const char* in;
  DType dtype;  // of the source
  char* out;
  const char* centres = nullptr;
  int64_t mask = 0;
  bool last = true;  // of the stages
  Finish finish = Finish::Scale;
  double scale = 1;
};

// What a thread is in its block.
struct Post {
  int lane, lanes, which, side;  // which of the `side` results
  WENGERT_DEVICE explicit Post(const ReduceShape& s) {
    const int t = static_cast<int>(threadIdx.x);
    lanes = 1 << s.lanes;
    side = kReduceThreads >> s.lanes;
    lane = s.across ? t / side : t & (lanes - 1);
    which = s.across ? t & (side - 1) : t >> s.lanes;
  }
};

// Where a thread's part of a reduction is.
struct Part {
  int64_t base, to, first, end;
  bool active;
  WENGERT_DEVICE Part(const ReduceShape& s, const Post& p) {
    const int64_t i = static_cast<int64_t>(blockIdx.x) * p.side + p.which,
                  n = s.reduced.space.count;
    active = i < s.kept.space.count;
    base = active ? s.kept.source(i) : 0;
    to = active ? s.kept.result(i) : 0;
    first = blockIdx.y * s.chunk;
    end = !active ? first : first + s.chunk < n ? first + s.chunk : n;
  }
};

// Joins what the lanes of each result hold; the lane 0 has it then. V may be several words long:
// `words` gives arrays of them to shuffle.
template <class V, class Join>
WENGERT_DEVICE V join_block(const ReduceShape& s, const Post& p, V v, Join join) {
  __shared__ __align__(16) V shared[kReduceThreads];
  const int t = static_cast<int>(threadIdx.x);
  int lanes = p.lanes;
  if (!s.across) {
    // Lanes are neighbours: those of a warp need no barrier.
    for (int h = lanes > kWarp ? kWarp / 2 : lanes / 2; h > 0; h /= 2) v = join(v, v.other(h));
    if (lanes <= kWarp) return v;
  }
  shared[t] = v;
  if (s.across) {
    for (int h = lanes / 2; h > 0; h /= 2) {
      __syncthreads();
      if (p.lane < h) shared[t] = v = join(v, shared[t + h * p.side]);
    }
  } else {
    __syncthreads();
    if (p.lane == 0) {
      for (int w = kWarp; w < lanes; w += kWarp) v = join(v, shared[t + w]);
    }
  }
  return v;
}

template <class T>
struct Joined {
  Lane<T> x;
  WENGERT_DEVICE Joined other(int h) const {
    return {Lane<T>::of(__shfl_xor_sync(0xffffffffu, x.v, h))};
  }
};

void run_reduce(const Launch& l);
// One for each type that is computed in.
void reduce_float(const Launch& l, const ReduceArgs& a);
void reduce_double(const Launch& l, const ReduceArgs& a);
void reduce_int32(const Launch& l, const ReduceArgs& a);
void reduce_int64(const Launch& l, const ReduceArgs& a);
// Elements that a thread of theirs takes at once.
template <class T>
inline constexpr int kReduceEach = sizeof(T) == 4 ? 16 : 8;

// Dense rows of partial results, for the last stage of kernels that have several.
struct Parts {
  const void* in;
  int64_t results, parts;
  // In one chunk: parts are few, and a second cut would not pay.
  ReduceShape shape(DType dtype, bool ordered, int each) const;
};
void join_parts(const Launch& l, int reduction, DType dtype, Parts parts, void* out,
                Finish finish = Finish::Scale, double scale = 1);

}  // namespace wengert::cuda
