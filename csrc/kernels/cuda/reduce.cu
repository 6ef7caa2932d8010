#include "kernels/cuda/reduce.h"

#include <algorithm>
#include <bit>
#include <cstdlib>
#include <utility>

#include "kernels/cuda/slots.h"

namespace wengert::cuda {
namespace {

constexpr int64_t kBlocks = 1024;       // that fill any device
constexpr int64_t kWarpColumns = 1024;  // a row that a warp is enough for, where there are many

struct Dim {
  int64_t size, from, to;
};

// Dimensions [first, end) of a launch; those that follow each other in memory become one.
Axes axes_of(const Launch& l, int source, int first, int end, bool ordered) {
  Dim dims[kMaxDims];
  int n = 0;
  int64_t to = 1, count = 1;
  for (int d = end - 1; d >= first; --d) {  // the nearest first
    count *= l.size[d];
    if (l.size[d] != 1) dims[n++] = {l.size[d], l.buffer[source].stride[d], first == 0 ? to : 0};
    to *= l.size[d];
  }
  if (!ordered) {
    // What is repeated comes last.
    const auto far = [](const Dim& d) {
      return d.from == 0 ? std::numeric_limits<int64_t>::max() : std::abs(d.from);
    };
    std::stable_sort(dims, dims + n, [&](const Dim& a, const Dim& b) { return far(a) < far(b); });
  }
  int joined = 0;
  for (int d = 0; d < n; ++d) {
    if (joined > 0) {
      Dim& last = dims[joined - 1];
      if (dims[d].from == last.from * last.size && dims[d].to == last.to * last.size) {
        last.size *= dims[d].size;
        continue;
      }
    }
    dims[joined++] = dims[d];
  }
  Launch walked;
  walked.count = count;
  walked.ndim = static_cast<uint8_t>(joined);
  for (int d = 0; d < joined; ++d) walked.size[d] = dims[joined - 1 - d].size;
  Axes axes{Space(walked), {}, {}};
  for (int d = 0; d < joined; ++d) {
    axes.from[d] = dims[joined - 1 - d].from;
    axes.to[d] = dims[joined - 1 - d].to;
  }
  return axes;
}

int64_t nearest(const Axes& a) {
  return a.space.ndim == 0 ? 0 : std::abs(a.from[a.space.ndim - 1]);
}

int log2_up(int64_t n) {
  return n <= 1 ? 0 : std::bit_width(static_cast<uint64_t>(n - 1));
}

// Whether all rows can be read by vectors of n elements.
bool is_packed(const Launch& l, int source, const Axes& kept, const Axes& reduced, int64_t n) {
  const auto item = static_cast<int64_t>(item_size(l.buffer[source].dtype));
  const int last = reduced.space.ndim - 1;
  if (n < 2 || last < 0 || reduced.from[last] != 1) return false;
  if (reinterpret_cast<uintptr_t>(l.buffer[source].data) % static_cast<uintptr_t>(n * item)) {
    return false;
  }
  for (int d = 0; d < kept.space.ndim; ++d) {
    if (kept.from[d] % n != 0) return false;
  }
  for (int d = 0; d < last; ++d) {
    if (reduced.from[d] % n != 0) return false;
  }
  return last == 0 || reduced.space.size[last] % n == 0;
}

constexpr int kLog2Threads = std::bit_width(unsigned{kReduceThreads}) - 1;

}  // namespace

ReduceShape::ReduceShape(const Launch& l, int source, bool ordered, int each)
    : kept(axes_of(l, source, 0, l.ndim - static_cast<int>(l.integer[0]), false)),
      reduced(axes_of(l, source, l.ndim - static_cast<int>(l.integer[0]), l.ndim, ordered)) {
  const int64_t n = reduced.space.count, results = kept.space.count;
  const auto item = static_cast<int64_t>(item_size(l.buffer[source].dtype));
  const int64_t pack = std::min<int64_t>(each, 16 / item);
  packed = false;
  const int64_t kept_step = nearest(kept), step = nearest(reduced);
  across = kept_step != 0 && (n <= 1 || step == 0 || kept_step < step);
  if (across) {
    // Results fill a warp's reads; what is left of the block shares the columns' length.
    lanes = static_cast<uint8_t>(
        std::min(kLog2Threads - std::min(log2_up(results), 5), log2_up(ceil_div(n, each))));
  } else {
    packed = is_packed(l, source, kept, reduced, pack);
    const int most = n <= kWarpColumns && results >= 2 * kBlocks ? 5 : kLog2Threads;
    lanes = static_cast<uint8_t>(std::min(most, log2_up(ceil_div(n, packed ? pack : 1))));
  }
  const int64_t blocks = ceil_div(results, kReduceThreads >> lanes);
  const int64_t at_once = int64_t{each} << lanes;
  const int64_t wanted = std::clamp<int64_t>(kBlocks / std::max<int64_t>(blocks, 1), 1,
                                             std::max<int64_t>(1, n / (2 * at_once)));
  chunk = ceil_div(std::max<int64_t>(1, ceil_div(n, wanted)), at_once) * at_once;
  chunks = static_cast<uint32_t>(std::max<int64_t>(1, ceil_div(n, chunk)));
}

dim3 ReduceShape::grid() const {
  return {static_cast<unsigned>(ceil_div(results(), kReduceThreads >> lanes)), chunks, 1};
}

namespace {

int each_of(DType d) {
  return item_size(d) == 4 ? kReduceEach<float> : kReduceEach<double>;
}

void start_as(DType d, const Launch& l, const ReduceArgs& a) {
  if (a.shape.results() == 0) return;
  switch (d) {
    case DType::Float32:
      return reduce_float(l, a);
    case DType::Float64:
      return reduce_double(l, a);
    case DType::Int32:
      return reduce_int32(l, a);
    default:
      return reduce_int64(l, a);
  }
}

// In one stage or two; d is what is computed in.
void run_stages(const Launch& l, DType d, ReduceArgs a) {
  if (a.shape.results() == 0) return;
  if (a.shape.chunks == 1) return start_as(d, l, a);
  const Scratch parts(static_cast<size_t>(a.shape.results()) * a.shape.chunks * item_size(d));
  void* const out = std::exchange(a.out, parts.data());
  a.last = false;
  start_as(d, l, a);
  join_parts(l, a.join, d, {parts.data(), a.shape.results(), int64_t{a.shape.chunks}}, out,
             a.finish, a.scale);
}

template <class... Rs>
int join_of(int reduction, TypeList<Rs...>) {
  int join = index_of<Sum, Reductions>;
  const auto look = [&]<class R>() {
    if (index_of<R, Reductions> == reduction) {
      join = index_of<typename JoinsOf<R>::type, Reductions>;
    }
  };
  (look.template operator()<Rs>(), ...);
  return join;
}

ReduceArgs args_of(const Launch& l, DType computed, int reduction) {
  return {.shape = ReduceShape(l, 1, false, each_of(computed)),
          .reduction = reduction,
          .join = join_of(reduction, Reductions{}),
          .in = static_cast<const char*>(l.buffer[1].data),
          .dtype = l.buffer[1].dtype,
          .out = static_cast<char*>(l.buffer[0].data)};
}

// The integer of a dtype's size, and which of its bits are those of zero, or of an exponent.
DType bits_of(DType d) {
  constexpr DType by_log[] = {DType::UInt8, DType::Int16, DType::Int32, DType::Int64};
  return by_log[std::bit_width(item_size(d)) - 1];
}
int64_t number_bits(DType d) {
  return is_floating(d) ? static_cast<int64_t>(~uint64_t{0} >> (65 - 8 * item_size(d))) : -1;
}
int64_t exponent_bits(DType d) {
  switch (d) {
    case DType::Float16:
      return 0x7c00;
    case DType::BFloat16:
      return 0x7f80;
    case DType::Float32:
      return 0x7f800000;
    default:
      return 0x7ff0000000000000;
  }
}

}  // namespace

ReduceShape Parts::shape(DType dtype, bool ordered, int each) const {
  Launch rows;
  rows.ndim = 2;
  rows.size[0] = results;
  rows.size[1] = parts;
  rows.integer[0] = 1;
  rows.buffer[0].data = const_cast<void*>(in);
  rows.buffer[0].dtype = dtype;
  rows.buffer[0].stride[0] = parts;
  rows.buffer[0].stride[1] = 1;
  ReduceShape s(rows, 0, ordered, each);
  s.chunks = 1;
  s.chunk = std::max<int64_t>(parts, 1);
  return s;
}

void join_parts(const Launch& l, int reduction, DType dtype, Parts parts, void* out, Finish finish,
                double scale) {
  start_as(dtype, l,
           {.shape = parts.shape(dtype, false, each_of(dtype)),
            .reduction = reduction,
            .join = join_of(reduction, Reductions{}),
            .in = static_cast<const char*>(parts.in),
            .dtype = dtype,
            .out = static_cast<char*>(out),
            .finish = finish,
            .scale = scale});
}

// Bools are counted on as numbers: whether the greatest, or the least, is above zero.
void run_reduce(const Launch& l) {
  const bool bools = l.dtype == DType::Bool;
  const DType computed = bools ? DType::Int32 : l.dtype;
  ReduceArgs a = args_of(l, computed, l.kernel - kFirstReduction);
  if (l.nbuffers > 2) a.centres = static_cast<const char*>(l.buffer[2].data);
  if (bools) {
    a.finish = Finish::Positive;
  } else {
    a.scale = l.more_numbers[0];
  }
  run_stages(l, computed, a);
}

namespace {

void run_count_nonzero(const Launch& l) {
  ReduceArgs a = args_of(l, DType::Int64, kNonzeros);
  const DType source = l.buffer[1].dtype;
  a.dtype = bits_of(source);
  a.mask = number_bits(source);
  run_stages(l, DType::Int64, a);
}

// All elements of a dense source.
Launch over_all(const Launch& l) {
  Launch all = l;
  all.ndim = 1;
  all.size[0] = l.count;
  all.integer[0] = 1;
  all.buffer[1].stride[0] = 1;
  return all;
}

void run_all_finite(const Launch& l) {
  ReduceArgs a = args_of(over_all(l), DType::Int64, kAllBitsSet);
  const DType source = l.buffer[1].dtype;
  a.dtype = bits_of(source);
  a.mask = exponent_bits(source);
  a.finish = Finish::Zero;
  run_stages(l, DType::Int64, a);
}

void run_bounds(const Launch& l) {
  const Launch all = over_all(l);
  ReduceArgs a = args_of(all, DType::Int64, index_of<AMin, Reductions>);
  run_stages(l, DType::Int64, a);
  a.reduction = a.join = index_of<AMax, Reductions>;
  a.out += sizeof(int64_t);
  run_stages(l, DType::Int64, a);
}

template <class... Rs>
void fill_list(KernelTable& t, TypeList<Rs...>) {
  const auto fill = [&]<class R>() {
    if constexpr (!requires { typename R::Extreme; }) {
      for (DType d : {DType::Int32, DType::Int64, DType::Float32, DType::Float64}) {
        if (requires { R::floating; } && !is_floating(d)) continue;
        t.at(reduce_kernel<R>, d) = &run_reduce;
      }
    }
  };
  (fill.template operator()<Rs>(), ...);
}

}  // namespace

void fill_reduce(KernelTable& t) {
  fill_list(t, Reductions{});
  t.at(reduce_kernel<AMax>, DType::Bool) = &run_reduce;
  t.at(reduce_kernel<AMin>, DType::Bool) = &run_reduce;
  for (auto& slot : t.slot[id(Kernel::CountNonzero)]) slot = &run_count_nonzero;
  for (DType d : {DType::Float16, DType::BFloat16, DType::Float32, DType::Float64}) {
    t.at(id(Kernel::AllFinite), d) = &run_all_finite;
  }
  t.at(id(Kernel::Bounds), DType::Int64) = &run_bounds;
}

}  // namespace wengert::cuda
