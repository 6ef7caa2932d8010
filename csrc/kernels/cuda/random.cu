// Fills with random numbers, dropout, and evenly spaced numbers: the elements that the processor's
// kernels give, each from its own counter. A thread takes what one or two counters give it, and
// writes 16 bytes at a time.
#include "kernels/cuda/operand.h"
#include "kernels/cuda/philox.h"
#include "kernels/cuda/slots.h"
#include "kernels/kernels.h"

namespace wengert::cuda {
namespace {

constexpr int kThreads = 256;
constexpr int kBlock = 64;  // elements that a pair of normal numbers shares its words over

// Rounded one by one, as on the processor.
WENGERT_DEVICE float times(float a, float b) {
  return __fmul_rn(a, b);
}
WENGERT_DEVICE double times(double a, double b) {
  return __dmul_rn(a, b);
}
WENGERT_DEVICE float plus(float a, float b) {
  return __fadd_rn(a, b);
}
WENGERT_DEVICE double plus(double a, double b) {
  return __dadd_rn(a, b);
}

template <class T, int N>
WENGERT_DEVICE void put(T* to, int64_t i, int64_t count, bool aligned, const T (&x)[N]) {
  if (aligned && i + N <= count) {
    return write_pack<T, T>(reinterpret_cast<char*>(to), i, x);
  }
#pragma unroll
  for (int j = 0; j < N; ++j) {
    if (i + j < count) to[i + j] = x[j];
  }
}

template <class T>
struct DrawArgs {
  RandomSource source;
  int64_t count;
  T* out;
  bool aligned;
  Kernel which;
  int bits;  // of a uniform float
  T step;    // of that many bits
  T a, b;
};

// Words of one counter make so many uniform numbers.
template <class T>
inline constexpr int kDraws = 16 / sizeof(T);

template <class T>
WENGERT_DEVICE void half_open(const RandomWords& w, int bits, T step, T (&u)[kDraws<T>]) {
#pragma unroll
  for (int j = 0; j < kDraws<T>; ++j) {
    if constexpr (sizeof(T) == 4) {
      u[j] = static_cast<T>(w.of[j] >> (32 - bits)) * step;
    } else {
      const uint64_t both = uint64_t{w.of[2 * j]} << 32 | w.of[2 * j + 1];
      u[j] = static_cast<T>(both >> 11) * T(0x1p-53);
    }
  }
}
template <class T>
WENGERT_DEVICE void open(const RandomWords& w, T (&u)[kDraws<T>]) {
#pragma unroll
  for (int j = 0; j < kDraws<T>; ++j) {
    if constexpr (sizeof(T) == 4) {
      u[j] = static_cast<T>(w.of[j] >> 9) * T(0x1p-23) + T(0x1p-24);
    } else {
      const uint64_t both = uint64_t{w.of[2 * j]} << 32 | w.of[2 * j + 1];
      u[j] = static_cast<T>(both >> 12) * T(0x1p-52) + T(0x1p-53);
    }
  }
}

// By inversion.
template <class T>
WENGERT_DEVICE T inverted(Kernel which, T u, T a, T b) {
  if (which == Kernel::Exponential) return std::log(u) * a;
  if (which == Kernel::Geometric) return -std::floor(-(std::log(u) / a));
  // tan(pi (u - 1/2)) as a cotangent of the distance to the nearer end, which keeps the tails.
  const T v = T(3.141592653589793) * (u < T(0.5) ? u : T(1) - u);
  const T t = b * (std::cos(v) / std::sin(v));
  return a + (u < T(0.5) ? -t : t);
}

template <class T>
__global__ void __launch_bounds__(kThreads) draw(const __grid_constant__ DrawArgs<T> a) {
  constexpr int N = kDraws<T>;
  const RandomStream stream(a.source);
  const int64_t step = static_cast<int64_t>(gridDim.x) * kThreads;
  for (int64_t at = static_cast<int64_t>(blockIdx.x) * kThreads + threadIdx.x; at * N < a.count;
       at += step) {
    const RandomWords w = stream.words(at);
    T x[N];
    if (a.which == Kernel::Uniform) {
      half_open(w, a.bits, a.step, x);
#pragma unroll
      for (int j = 0; j < N; ++j) x[j] = plus(times(x[j], a.b), a.a);
    } else {
      open(w, x);
#pragma unroll
      for (int j = 0; j < N; ++j) x[j] = inverted(a.which, x[j], a.a, a.b);
    }
    put(a.out, at * N, a.count, a.aligned, x);
  }
}

// Box and Muller, A note on the generation of random normal deviates (1958): within a block the
// first half of the uniforms gives radii, the second half angles.
template <class T>
__global__ void __launch_bounds__(kThreads) draw_normal(const __grid_constant__ DrawArgs<T> a) {
  constexpr int N = kDraws<T>, kUnits = kBlock / 2 / N;
  const RandomStream stream(a.source);
  const int64_t units = (a.count + kBlock - 1) / kBlock * kUnits;
  const int64_t step = static_cast<int64_t>(gridDim.x) * kThreads;
  for (int64_t u = static_cast<int64_t>(blockIdx.x) * kThreads + threadIdx.x; u < units;
       u += step) {
    const int64_t i = u / kUnits * kBlock + u % kUnits * N;
    T radius[N], angle[N], x[N], y[N];
    half_open(stream.words(i / N), 24, T(0x1p-24), radius);
    half_open(stream.words((i + kBlock / 2) / N), 24, T(0x1p-24), angle);
#pragma unroll
    for (int j = 0; j < N; ++j) {
      // 1 - u lies in (0, 1]: its logarithm is finite
      const T r = std::sqrt(T(-2) * std::log(T(1) - radius[j]));
      const T turn = T(6.283185307179586) * angle[j];
      x[j] = plus(a.a, times(a.b, times(r, std::cos(turn))));
      y[j] = plus(a.a, times(a.b, times(r, std::sin(turn))));
      if (a.which == Kernel::LogNormal) {
        x[j] = std::exp(x[j]);
        y[j] = std::exp(y[j]);
      }
    }
    put(a.out, i, a.count, a.aligned, x);
    put(a.out, i + kBlock / 2, a.count, a.aligned, y);
  }
}

bool is_aligned(const Buffer& b) {
  return reinterpret_cast<uintptr_t>(b.data) % 16 == 0;
}

template <class T>
void run_draw(const Launch& l) {
  const auto which = static_cast<Kernel>(l.kernel);
  const auto bits = static_cast<int>(l.more[2]);
  DrawArgs<T> a{RandomSource(l),
                l.count,
                static_cast<T*>(l.buffer[0].data),
                is_aligned(l.buffer[0]),
                which,
                bits,
                T(1) / static_cast<T>(int64_t{1} << bits),
                static_cast<T>(l.number[0]),
                static_cast<T>(l.number[1])};
  if (which == Kernel::Uniform) a.b = static_cast<T>(l.number[1] - l.number[0]);
  if (which == Kernel::Exponential) a.a = static_cast<T>(-1.0 / l.number[0]);
  if (which == Kernel::Normal || which == Kernel::LogNormal) {
    start(l, &draw_normal<T>, grid_for(l.count, kThreads * 2 * kDraws<T>), kThreads, 0, a);
  } else {
    start(l, &draw<T>, grid_for(l.count, kThreads * kDraws<T>), kThreads, 0, a);
  }
}

// --- by one word an element --------------------------------------------------------------------

template <class T>
struct HitArgs {
  RandomSource source;
  int64_t count;
  const T* x;  // null: what is drawn is 1 or 0
  T* out;
  bool aligned;
  uint32_t bound;
  T kept;
};

template <class T>
__global__ void __launch_bounds__(kThreads) draw_hits(const __grid_constant__ HitArgs<T> a) {
  constexpr int N = 4;
  const RandomStream stream(a.source);
  const int64_t step = static_cast<int64_t>(gridDim.x) * kThreads;
  for (int64_t at = static_cast<int64_t>(blockIdx.x) * kThreads + threadIdx.x; at * N < a.count;
       at += step) {
    const int64_t i = at * N;
    T x[N] = {};
    if (a.x && a.aligned && i + N <= a.count) {
      read_pack<T, T>(reinterpret_cast<const char*>(a.x), i, x);
    } else if (a.x) {
      for (int j = 0; j < N && i + j < a.count; ++j) x[j] = a.x[i + j];
    }
    const RandomWords w = stream.words(at);
#pragma unroll
    for (int j = 0; j < N; ++j) {
      const bool hit = w.of[j] < a.bound;
      x[j] = a.x ? x[j] * (hit ? T(0) : a.kept) : hit ? T(1) : T(0);
    }
    put(a.out, i, a.count, a.aligned, x);
  }
}

template <class T>
void run_bernoulli(const Launch& l) {
  const HitArgs<T> a{RandomSource(l),
                     l.count,
                     nullptr,
                     static_cast<T*>(l.buffer[0].data),
                     is_aligned(l.buffer[0]),
                     success_bound(l.number[0]),
                     T(1)};
  start(l, &draw_hits<T>, grid_for(l.count, kThreads * 4), kThreads, 0, a);
}
template <class T>
void run_dropout(const Launch& l) {
  const HitArgs<T> a{RandomSource(l),
                     l.count,
                     static_cast<const T*>(l.buffer[1].data),
                     static_cast<T*>(l.buffer[0].data),
                     is_aligned(l.buffer[0]) && is_aligned(l.buffer[1]),
                     success_bound(l.number[0]),
                     static_cast<T>(l.number[1])};
  start(l, &draw_hits<T>, grid_for(l.count, kThreads * 4), kThreads, 0, a);
}

// --- whole numbers -----------------------------------------------------------------------------

struct IntegerArgs {
  RandomSource source;
  int64_t count;
  int64_t* out;
  bool aligned;
  uint64_t low, range;
};

// Two words an element, mapped to the range by the upper half of a product (Lemire, Fast random
// integer generation in an interval, 2019). A range of 0 stands for 2^64.
__global__ void __launch_bounds__(kThreads) draw_integers(const __grid_constant__ IntegerArgs a) {
  constexpr int N = 2;
  const RandomStream stream(a.source);
  const int64_t step = static_cast<int64_t>(gridDim.x) * kThreads;
  for (int64_t at = static_cast<int64_t>(blockIdx.x) * kThreads + threadIdx.x; at * N < a.count;
       at += step) {
    const RandomWords w = stream.words(at);
    int64_t x[N];
#pragma unroll
    for (int j = 0; j < N; ++j) {
      const uint64_t both = uint64_t{w.of[2 * j]} << 32 | w.of[2 * j + 1];
      x[j] = static_cast<int64_t>(a.low + (a.range ? __umul64hi(both, a.range) : both));
    }
    put(a.out, at * N, a.count, a.aligned, x);
  }
}

void run_randint(const Launch& l) {
  const auto low = static_cast<uint64_t>(l.integer[0]);
  const IntegerArgs a{RandomSource(l),         l.count, static_cast<int64_t*>(l.buffer[0].data),
                      is_aligned(l.buffer[0]), low,     static_cast<uint64_t>(l.integer[1]) - low};
  start(l, &draw_integers, grid_for(l.count, kThreads * 2), kThreads, 0, a);
}

// --- evenly spaced numbers ---------------------------------------------------------------------

template <class T>
struct RangeArgs {
  T* out;
  int64_t count, first, by;  // of whole numbers
  double low, high, step;
  bool from_both_ends;
};

template <class T>
__global__ void __launch_bounds__(kThreads) fill_range(const __grid_constant__ RangeArgs<T> a) {
  const int64_t grid = static_cast<int64_t>(gridDim.x) * kThreads;
  for (int64_t i = static_cast<int64_t>(blockIdx.x) * kThreads + threadIdx.x; i < a.count;
       i += grid) {
    if (std::is_same_v<T, int64_t> && !a.from_both_ends) {
      a.out[i] = static_cast<T>(static_cast<uint64_t>(a.first) +
                                static_cast<uint64_t>(i) * static_cast<uint64_t>(a.by));
      continue;
    }
    // from the nearer end, so that both are met exactly
    const bool near = !a.from_both_ends || i < a.count / 2 || a.count == 1;
    const double steps = static_cast<double>(near ? i : a.count - 1 - i);
    a.out[i] =
        convert<T>(near ? plus(a.low, times(a.step, steps)) : plus(a.high, -times(a.step, steps)));
  }
}

template <class T>
void run_range(const Launch& l) {
  RangeArgs<T> a{};
  a.out = static_cast<T*>(l.buffer[0].data);
  a.count = l.count;
  a.from_both_ends = l.kernel == id(Kernel::Linspace);
  if (std::is_same_v<T, int64_t> && !a.from_both_ends) {
    a.first = l.integer[0];
    a.by = l.integer[1];
  } else {
    a.low = l.number[0];
    a.high = l.number[1];
    a.step = !a.from_both_ends ? l.number[1]
             : l.count > 1     ? (a.high - a.low) / static_cast<double>(l.count - 1)
                               : 0;
  }
  start(l, &fill_range<T>, grid_for(l.count, kThreads), kThreads, 0, a);
}

template <class T>
void fill_of(KernelTable& t) {
  constexpr DType d = kDTypeOf<T>;
  t.at(id(Kernel::Arange), d) = t.at(id(Kernel::Linspace), d) = &run_range<T>;
  if constexpr (std::is_floating_point_v<T>) {
    for (KernelId k = id(Kernel::Uniform); k <= id(Kernel::Cauchy); ++k) t.at(k, d) = &run_draw<T>;
    t.at(id(Kernel::Bernoulli), d) = &run_bernoulli<T>;
    t.at(id(Kernel::Dropout), d) = &run_dropout<T>;
  }
}

}  // namespace

void fill_random(KernelTable& t) {
  fill_of<float>(t);
  fill_of<double>(t);
  fill_of<int64_t>(t);
  t.at(id(Kernel::Randint), DType::Int64) = &run_randint;
}

}  // namespace wengert::cuda
