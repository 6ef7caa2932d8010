// The kernel of reductions for a type T that is computed in. Reading takes more code than joining,
// so one kernel holds all reductions and all dtypes of sources, chosen by branches that all threads
// take alike.
#pragma once

#include "kernels/cuda/reduce.h"

namespace wengert::cuda {

// Calls f with the reduction meant.
template <class T, class F>
WENGERT_DEVICE void by_reduction(int reduction, F f) {
  switch (reduction) {
    case index_of<Sum, Reductions>:
      return f(Sum{});
    case index_of<Prod, Reductions>:
      return f(Prod{});
    case index_of<AMax, Reductions>:
      return f(AMax{});
    case index_of<AMin, Reductions>:
      return f(AMin{});
    case index_of<AbsSum, Reductions>:
      return f(AbsSum{});
    case index_of<SquareSum, Reductions>:
      return f(SquareSum{});
    case index_of<SquareDistance, Reductions>:
      return f(SquareDistance{});
    default:
      if constexpr (is_real<T>) return f(ExpSum{});
      if constexpr (std::is_same_v<T, int64_t>) {
        if (reduction == kNonzeros) return f(Nonzeros{});
        return f(AllBitsSet{});
      }
  }
}

template <class T>
WENGERT_DEVICE Lane<T> join_two(int join, Lane<T> a, Lane<T> b) {
  switch (join) {
    case index_of<Sum, Reductions>:
      return Sum::join(a, b);
    case index_of<Prod, Reductions>:
      return Prod::join(a, b);
    case index_of<AMax, Reductions>:
      return AMax::join(a, b);
    default:
      return AMin::join(a, b);
  }
}
template <class T>
WENGERT_DEVICE Lane<T> identity_of(int join) {
  switch (join) {
    case index_of<Sum, Reductions>:
      return Sum::identity<Lane<T>>();
    case index_of<Prod, Reductions>:
      return Prod::identity<Lane<T>>();
    case index_of<AMax, Reductions>:
      return AMax::identity<Lane<T>>();
    default:
      return AMin::identity<Lane<T>>();
  }
}

// The next elements of a thread, of those from `first` to `end`; returns a bit for each that there
// is. Neighbouring lanes read neighbouring elements, or vectors.
template <class S, class T, int N>
WENGERT_DEVICE uint32_t take(const ReduceArgs& a, int64_t base, int64_t first, int64_t end,
                             const Post& p, T (&x)[N]) {
  constexpr int kPack = 16 / sizeof(S) < N ? static_cast<int>(16 / sizeof(S)) : N;
  const ReduceShape& s = a.shape;
  uint32_t there = 0;
  if (s.packed) {
#pragma unroll
    for (int u = 0; u < N / kPack; ++u) {
      const int64_t r = first + (static_cast<int64_t>(u) * p.lanes + p.lane) * kPack;
      if (r >= end) continue;
      const int64_t at = base + s.reduced.source(r);
      if (r + kPack <= end) {
        T v[kPack];
        read_pack<T, S>(a.in, at, v);
#pragma unroll
        for (int j = 0; j < kPack; ++j) x[u * kPack + j] = v[j];
        there |= ((1u << kPack) - 1) << (u * kPack);
      } else {
#pragma unroll
        for (int j = 0; j < kPack; ++j) {
          if (r + j >= end) continue;
          x[u * kPack + j] = read_as<T, S>(a.in, at + j);
          there |= 1u << (u * kPack + j);
        }
      }
    }
  } else {
#pragma unroll
    for (int j = 0; j < N; ++j) {
      const int64_t r = first + static_cast<int64_t>(j) * p.lanes + p.lane;
      if (r >= end) continue;
      x[j] = read_as<T, S>(a.in, base + s.reduced.source(r));
      there |= 1u << j;
    }
  }
  return there;
}
template <class T, int N>
WENGERT_DEVICE uint32_t take_any(const ReduceArgs& a, int64_t base, int64_t first, int64_t end,
                                 const Post& p, T (&x)[N]) {
  if constexpr (std::is_same_v<T, float>) {
    if (a.dtype == DType::BFloat16) return take<BFloat16>(a, base, first, end, p, x);
    if (a.dtype == DType::Float16) return take<Float16>(a, base, first, end, p, x);
  }
  if constexpr (std::is_integral_v<T>) {
    if (a.dtype == DType::Bool || a.dtype == DType::UInt8) {
      return take<uint8_t>(a, base, first, end, p, x);
    }
    if (a.dtype == DType::Int8) return take<int8_t>(a, base, first, end, p, x);
    if (a.dtype == DType::Int16) return take<int16_t>(a, base, first, end, p, x);
    if constexpr (sizeof(T) == 8) {
      if (a.dtype == DType::Int32) return take<int32_t>(a, base, first, end, p, x);
    }
  }
  return take<T>(a, base, first, end, p, x);
}

template <class R, class T>
WENGERT_DEVICE Lane<T> lifted(Lane<T> x, Lane<T> centre) {
  if constexpr (requires { R::lift(x, centre); }) {
    return R::lift(x, centre);
  } else {
    return x;
  }
}

template <class T>
__global__ void __launch_bounds__(kReduceThreads, 3)
    reduce_elements(const __grid_constant__ ReduceArgs a) {
  using V = Lane<T>;
  constexpr int N = kReduceEach<T>, kSide = 4, kFold = 16;
  const ReduceShape& s = a.shape;
  const Post p(s);
  const Part part(s, p);
  V centre(0.0);
  if constexpr (std::is_same_v<T, int64_t>) centre = V::of(a.mask);
  if (a.centres && part.active) centre = V::of(reinterpret_cast<const T*>(a.centres)[part.to]);

  const V nothing = identity_of<T>(a.join);
  V total = nothing;
  const int64_t step = static_cast<int64_t>(N) * p.lanes;
  for (int64_t first = part.first; first < part.end;) {
    // A thread's sums are joined now and then, so that errors of rounding grow with neither.
    V sum[kSide];
#pragma unroll
    for (int k = 0; k < kSide; ++k) sum[k] = nothing;
    for (int fold = 0; fold < kFold && first < part.end; ++fold, first += step) {
      T x[N];
      const uint32_t there = take_any(a, part.base, first, part.end, p, x);
      by_reduction<T>(a.reduction, [&]<class R>(R) {
        V v[N];
#pragma unroll
        for (int j = 0; j < N; ++j) {
          v[j] = there >> j & 1 ? lifted<R>(V::of(x[j]), centre) : R::template identity<V>();
        }
#pragma unroll
        for (int h = N / 2; h >= kSide; h /= 2) {
#pragma unroll
          for (int j = 0; j < h; ++j) v[j] = R::join(v[j], v[j + h]);
        }
#pragma unroll
        for (int k = 0; k < kSide; ++k) sum[k] = R::join(sum[k], v[k]);
      });
    }
    const V low = join_two(a.join, sum[0], sum[1]), high = join_two(a.join, sum[2], sum[3]);
    total = join_two(a.join, total, join_two(a.join, low, high));
  }
  total = join_block(s, p, Joined<T>{total}, [&](Joined<T> l, Joined<T> r) {
            return Joined<T>{join_two(a.join, l.x, r.x)};
          }).x;
  if (p.lane != 0 || !part.active) return;
  if (!a.last) {
    reinterpret_cast<T*>(a.out)[part.to * s.chunks + blockIdx.y] = total.v;
  } else if (a.finish == Finish::Scale) {
    T v = total.v;
    if constexpr (is_real<T>) {
      if (a.scale != 1) v = static_cast<T>(v * a.scale);
    }
    reinterpret_cast<T*>(a.out)[part.to] = v;
  } else {
    const bool yes = a.finish == Finish::Zero ? total.v == T(0) : total.v > T(0);
    reinterpret_cast<uint8_t*>(a.out)[part.to] = yes ? 1 : 0;
  }
}

template <class T>
void start_reduce(const Launch& l, const ReduceArgs& a) {
  start(l, &reduce_elements<T>, a.shape.grid(), kReduceThreads, 0, a);
}

}  // namespace wengert::cuda
