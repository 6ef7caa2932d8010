// The extremes along a dimension and their places: the first of equals, and a NaN is more extreme
// than any number.
#include "kernels/cuda/reduce.h"
#include "kernels/cuda/slots.h"

namespace wengert::cuda {
namespace {

struct PlacesArgs {
  ReduceShape shape;
  bool max;
  const char* in;
  const int64_t* in_places;  // of the elements, in a second stage
  char* values;              // null: nobody asked
  int64_t* places;
};

template <class T>
struct Found {
  T value;
  int64_t place;
  WENGERT_DEVICE Found other(int h) const {
    return {__shfl_xor_sync(0xffffffffu, value, h), __shfl_xor_sync(0xffffffffu, place, h)};
  }
};

template <class T>
WENGERT_DEVICE Found<T> better(bool max, Found<T> a, Found<T> b) {
  const bool a_nan = a.value != a.value, b_nan = b.value != b.value;
  const bool same = a_nan ? b_nan : a.value == b.value;
  const bool before = a_nan || (!b_nan && (max ? a.value > b.value : a.value < b.value));
  return same ? (a.place <= b.place ? a : b) : before ? a : b;
}

template <class T>
__global__ void __launch_bounds__(kReduceThreads)
    find_places(const __grid_constant__ PlacesArgs a) {
  constexpr int N = 4;
  constexpr int64_t kNowhere = std::numeric_limits<int64_t>::max();
  const ReduceShape& s = a.shape;
  const Post p(s);
  const Part part(s, p);
  const T* in = reinterpret_cast<const T*>(a.in);
  Found<T> best{a.max ? kLowest<T> : kHighest<T>, kNowhere};
  for (int64_t from = part.first + p.lane; from < part.end;
       from += static_cast<int64_t>(N) * p.lanes) {
    Found<T> x[N];
#pragma unroll
    for (int j = 0; j < N; ++j) {
      const int64_t r = from + static_cast<int64_t>(j) * p.lanes;
      x[j] = best;
      if (r >= part.end) continue;
      const int64_t at = part.base + s.reduced.source(r);
      x[j] = {in[at], a.in_places ? a.in_places[at] : r};
    }
#pragma unroll
    for (int j = 0; j < N; ++j) best = better(a.max, best, x[j]);
  }
  best = join_block(s, p, best, [&](Found<T> l, Found<T> r) { return better(a.max, l, r); });
  if (p.lane != 0 || !part.active) return;
  const int64_t at = part.to * s.chunks + blockIdx.y;
  if (a.values) reinterpret_cast<T*>(a.values)[at] = best.value;
  a.places[at] = best.place;
}

template <class T>
void run_places(const Launch& l) {
  const int source = l.nbuffers - 1;
  PlacesArgs a{ReduceShape(l, source, true, 4),
               l.kernel == reduce_kernel<ArgMax>,
               static_cast<const char*>(l.buffer[source].data),
               nullptr,
               source > 1 ? static_cast<char*>(l.buffer[1].data) : nullptr,
               static_cast<int64_t*>(l.buffer[0].data)};
  const int64_t results = a.shape.results();
  if (results == 0) return;
  const auto start_stage = [&](const PlacesArgs& stage) {
    start(l, &find_places<T>, stage.shape.grid(), kReduceThreads, 0, stage);
  };
  if (a.shape.chunks == 1) return start_stage(a);
  const int64_t chunks = a.shape.chunks;
  const auto parts = static_cast<size_t>(results * chunks);
  const Scratch places(parts * sizeof(int64_t)), values(parts * sizeof(T));
  PlacesArgs one = a;
  one.places = places.data<int64_t>();
  one.values = values.data();
  start_stage(one);

  a.shape = Parts{values.data(), results, chunks}.shape(kDTypeOf<T>, true, 4);
  a.in = values.data();
  a.in_places = places.data<int64_t>();
  start_stage(a);
}

}  // namespace

void fill_places(KernelTable& t) {
  const auto fill = [&]<class T>(T) {
    t.at(reduce_kernel<ArgMax>, kDTypeOf<T>) = &run_places<T>;
    t.at(reduce_kernel<ArgMin>, kDTypeOf<T>) = &run_places<T>;
  };
  fill(int32_t{});
  fill(int64_t{});
  fill(float{});
  fill(double{});
}

}  // namespace wengert::cuda
