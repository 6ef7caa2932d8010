// Moving elements by offsets: gather, scatter, the offsets themselves, and where a tensor is not
// zero. An iteration space is walked in order; the operand that is indexed stands still in the
// dimensions that the offsets stand for.
#include <atomic>
#include <bit>
#include <cstring>
#include <functional>
#include <limits>

#include "kernels/cpu/cpu.h"
#include "kernels/cpu/odometer.h"
#include "kernels/cpu/parallel.h"

namespace wengert::cpu {
namespace {

constexpr int64_t kGrain = 16384;  // elements a thread must get for waking it to pay

// Calls f with an unsigned integer type of the element's size: moving knows no other dtype.
template <class F>
void visit_size(DType d, F&& f) {
  switch (item_size(d)) {
    case 1:
      return f.template operator()<uint8_t>();
    case 2:
      return f.template operator()<uint16_t>();
    case 4:
      return f.template operator()<uint32_t>();
    default:
      return f.template operator()<uint64_t>();
  }
}

}  // namespace

void run_gather(const Launch& l) {
  if (l.count == 0) return;
  const int last = l.ndim - 1;
  const int64_t so = l.buffer[0].stride[last], sx = l.buffer[1].stride[last],
                sa = l.buffer[2].stride[last];
  const auto item = static_cast<int64_t>(item_size(l.dtype));
  const auto pick = isa().pick[std::countr_zero(static_cast<uint64_t>(item))];
  parallel_for(l.count, kGrain, [&](int64_t b, int64_t e) {
    each_run(l, b, e, [&](const Odometer& row, int64_t column, int64_t, int64_t n) {
      char* out = row.at(0) + column * so * item;
      const char* x = row.at(1) + column * sx * item;
      const int64_t* at = reinterpret_cast<const int64_t*>(row.at(2)) + column * sa;
      if (sa == 0 && so == 1 && sx == 1) {
        std::memcpy(out, x + *at * item, static_cast<size_t>(n * item));
      } else {
        pick({out, x, at, n, so, sx, sa});
      }
    });
  });
}

// --- scatter -----------------------------------------------------------------------------------

namespace {

struct Replace {
  template <class T>
  static T f(T, T v) {
    return v;
  }
};
template <Reduction R>
struct Combine {
  template <class T>
  static T f(T a, T b) {
    if constexpr (std::is_same_v<T, Bool8>) {
      constexpr bool either = R == Reduction::Sum || R == Reduction::AMax;
      return Bool8(either ? a.value | b.value : a.value & b.value);
    } else if constexpr (R == Reduction::Sum || R == Reduction::Product) {
      // integers wrap around
      using U = typename std::conditional_t<std::is_integral_v<T>, std::make_unsigned<T>,
                                            std::type_identity<T>>::type;
      const U x = static_cast<U>(a), y = static_cast<U>(b);
      return static_cast<T>(R == Reduction::Sum ? x + y : x * y);
    } else {
      const bool better = R == Reduction::AMax ? b > a : b < a;
      return better || b != b ? b : a;  // NaN wins
    }
  }
};

// The launch with its dimensions in another order: those that never meet first, so that they can
// be shared out, but the last dimension last, so that runs stay runs.
struct ScatterSpace {
  Launch l;
  int64_t apart = 1, meeting = 1;  // elements of the dimensions of either kind
  int64_t run = 1;                 // of the last dimension, if it is of the first kind

  explicit ScatterSpace(const Launch& given) : l(given) {
    const int last = given.ndim - 1;
    const auto apart_at = [&](int d) { return given.buffer[0].stride[d] != 0; };
    int to = 0;
    const auto take = [&](int d) {
      l.size[to] = given.size[d];
      for (int k = 0; k < 3; ++k) l.buffer[k].stride[to] = given.buffer[k].stride[d];
      ++to;
    };
    for (int d = 0; d <= last; ++d) {
      (apart_at(d) ? apart : meeting) *= given.size[d];
      if (apart_at(d) && d < last) take(d);
    }
    for (int d = 0; d < last; ++d) {
      if (!apart_at(d)) take(d);
    }
    take(last);
    if (apart_at(last)) run = given.size[last];
  }
};

// Every element is visited in the order of the space by the one thread whose share it falls into,
// so what meets is combined in the same order however many threads there are. Shares are of the
// dimensions that never meet, or, where these are small, of the memory written to: then each
// thread reads all offsets and passes over those of others.
template <class T, class Op>
void scatter(const Launch& given) {
  if (given.count == 0) return;
  const ScatterSpace s(given);
  const Launch& l = s.l;
  const int last = l.ndim - 1;
  const int64_t so = l.buffer[0].stride[last], sx = l.buffer[1].stride[last],
                sa = l.buffer[2].stride[last];
  const auto run = [&](const Odometer& row, int64_t column, int64_t n, int64_t low, int64_t high) {
    T* out = reinterpret_cast<T*>(row.at(0)) + column * so;
    const T* x = reinterpret_cast<const T*>(row.at(1)) + column * sx;
    const int64_t* at = reinterpret_cast<const int64_t*>(row.at(2)) + column * sa;
    if (sa == 0) {
      if (*at < low || *at >= high) return;
      T* to = out + *at;
      if (so == 1 && sx == 1) {
        for (int64_t i = 0; i < n; ++i) to[i] = Op::f(to[i], x[i]);
      } else {
        for (int64_t i = 0; i < n; ++i) to[i * so] = Op::f(to[i * so], x[i * sx]);
      }
      return;
    }
    for (int64_t i = 0; i < n; ++i) {
      const int64_t offset = at[i * sa];
      if (offset < low || offset >= high) continue;
      T& to = out[i * so + offset];
      to = Op::f(to, x[i * sx]);
    }
  };
  constexpr int64_t kAll = std::numeric_limits<int64_t>::max();
  // Shares of the dimensions that never meet: units are columns of the last dimension.
  const auto units = [&](int64_t b, int64_t e, int64_t low, int64_t high) {
    for (int64_t at = b; at < e;) {
      const int64_t column = at % s.run, m = std::min(s.run - column, e - at);
      if (s.run == 1) {
        // the last dimension is walked as part of what meets
        each_run(
            l, b * s.meeting, e * s.meeting,
            [&](const Odometer& row, int64_t c, int64_t, int64_t n) { run(row, c, n, low, high); });
        return;
      }
      Odometer row(l, last, at / s.run * s.meeting);
      for (int64_t i = 0; i < s.meeting; ++i, row.next()) run(row, column, m, low, high);
      at += m;
    }
  };
  constexpr int64_t kEnough = 512;  // units to share out, so that each thread gets whole lines
  if (s.apart >= kEnough || l.count < 2 * kGrain) {
    const int64_t grain = std::max<int64_t>(1, kGrain / s.meeting);
    parallel_for(s.apart, grain, [&](int64_t b, int64_t e) { units(b, e, 0, kAll); });
  } else {
    const int64_t span = l.integer[1], shares = l.count / kGrain;
    parallel_for(span, (span + shares - 1) / shares,
                 [&](int64_t b, int64_t e) { units(0, s.apart, b, e); });
  }
}

}  // namespace

void run_scatter(const Launch& l) {
  visit_size(l.dtype, [&]<class U>() { scatter<U, Replace>(l); });
}

void run_scatter_reduce(const Launch& l) {
  visit_compute(l.dtype, [&]<class T>() {
    switch (static_cast<Reduction>(l.integer[0])) {
      case Reduction::Sum:
        return scatter<T, Combine<Reduction::Sum>>(l);
      case Reduction::Product:
        return scatter<T, Combine<Reduction::Product>>(l);
      case Reduction::AMax:
        return scatter<T, Combine<Reduction::AMax>>(l);
      case Reduction::AMin:
        return scatter<T, Combine<Reduction::AMin>>(l);
    }
  });
}

// --- offsets -----------------------------------------------------------------------------------

namespace {

template <class Better>
void improve(std::atomic<int64_t>& best, int64_t v, Better better) {
  int64_t have = best.load(std::memory_order_relaxed);
  while (better(v, have) && !best.compare_exchange_weak(have, v)) {
  }
}

}  // namespace

void run_index_offsets(const Launch& l) {
  if (l.count == 0) return;
  const int last = l.ndim - 1;
  const int64_t so = l.buffer[0].stride[last], si = l.buffer[2].stride[last];
  const int64_t item = item_of(l, 2);
  const OffsetsLoop loop = isa().offsets[l.dtype == DType::Int32 ? 0 : 1];
  std::atomic<int64_t> least{std::numeric_limits<int64_t>::max()};
  std::atomic<int64_t> greatest{std::numeric_limits<int64_t>::min()};
  parallel_for(l.count, kGrain, [&](int64_t b, int64_t e) {
    int64_t low = std::numeric_limits<int64_t>::max(), high = std::numeric_limits<int64_t>::min();
    each_run(l, b, e, [&](const Odometer& row, int64_t column, int64_t, int64_t n) {
      loop({reinterpret_cast<int64_t*>(row.at(0)) + column * so, row.at(2) + column * si * item, n,
            so, si, l.integer[0], l.integer[1], l.integer[2] != 0},
           low, high);
    });
    improve(least, low, std::less<>());
    improve(greatest, high, std::greater<>());
  });
  auto* bounds = static_cast<int64_t*>(l.buffer[1].data);
  bounds[0] = least;
  bounds[1] = greatest;
}

// --- where it is not zero ----------------------------------------------------------------------

namespace {

// Which of up to 64 elements are not zero, a bit each.
template <class T>
uint64_t bits_of(const T* x, int64_t n) {
  uint64_t bits = 0;
  if constexpr (std::is_same_v<T, Bool8>) {
    if (n == 64) {
      for (int k = 0; k < 8; ++k) {
        uint64_t eight;  // bytes of 0 or 1; the product moves them into the top byte
        std::memcpy(&eight, x + 8 * k, 8);
        bits |= (eight * 0x0102040810204080u >> 56) << (8 * k);
      }
      return bits;
    }
  }
  for (int64_t i = 0; i < n; ++i) {
    bool set;
    if constexpr (is_half<T>) {
      set = (x[i].bits & 0x7fff) != 0;
    } else {
      set = convert<Bool8>(x[i]).value != 0;
    }
    bits |= uint64_t{set} << i;
  }
  return bits;
}

// Calls each(bits, first position) for the elements of one block.
template <class T, class F>
void each_word(const T* x, int64_t block, int64_t count, F&& each) {
  const int64_t end = std::min(count, (block + 1) * kNonzeroBlock);
  for (int64_t i = block * kNonzeroBlock; i < end; i += 64) {
    each(bits_of(x + i, std::min<int64_t>(64, end - i)), i);
  }
}

}  // namespace

void run_nonzero_count(const Launch& l) {
  const int64_t blocks = (l.count + kNonzeroBlock - 1) / kNonzeroBlock;
  auto* before = static_cast<int64_t*>(l.buffer[0].data);
  before[0] = 0;
  visit(l.dtype, [&]<class T>() {
    const T* x = static_cast<const T*>(l.buffer[1].data);
    parallel_for(blocks, std::max<int64_t>(1, kGrain / kNonzeroBlock), [&](int64_t b, int64_t e) {
      for (int64_t k = b; k < e; ++k) {
        int64_t found = 0;
        each_word(x, k, l.count, [&](uint64_t bits, int64_t) { found += std::popcount(bits); });
        before[k + 1] = found;
      }
    });
  });
  for (int64_t k = 0; k < blocks; ++k) before[k + 1] += before[k];
}

void run_nonzero(const Launch& l) {
  const int64_t blocks = (l.count + kNonzeroBlock - 1) / kNonzeroBlock;
  const auto* before = static_cast<const int64_t*>(l.buffer[2].data);
  const int last = l.ndim - 1;
  visit(l.dtype, [&]<class T>() {
    const T* x = static_cast<const T*>(l.buffer[1].data);
    parallel_for(blocks, std::max<int64_t>(1, kGrain / kNonzeroBlock), [&](int64_t b, int64_t e) {
      for (int64_t k = b; k < e; ++k) {
        int64_t* out = static_cast<int64_t*>(l.buffer[0].data) + before[k] * l.ndim;
        each_word(x, k, l.count, [&](uint64_t bits, int64_t first) {
          for (; bits; bits &= bits - 1, out += l.ndim) {
            int64_t at = first + std::countr_zero(bits);
            for (int d = last; d > 0; --d) {
              out[d] = at % l.size[d];
              at /= l.size[d];
            }
            out[0] = at;
          }
        });
      }
    });
  });
}

}  // namespace wengert::cpu
