// The operations of the scans. Running values are kept in double, and in wrapping unsigned
// integers, as on the processor.
#include "kernels/cuda/scan.h"

#include <cmath>
#include <limits>

#include "kernels/cuda/slots.h"

namespace wengert::cuda {
namespace {

template <class T>
using Running = std::conditional_t<std::is_floating_point_v<T>, double, uint64_t>;

template <class T>
struct RunningSum : OneOperand<T> {
  using State = Running<T>;
  static WENGERT_DEVICE State identity() { return 0; }
  static WENGERT_DEVICE State join(const ScanArgs<T>&, State a, State b) { return a + b; }
  static WENGERT_DEVICE State lift(T x, T, int64_t) { return static_cast<State>(x); }
  static WENGERT_DEVICE void put(const ScanArgs<T>& a, int64_t at, State s) {
    a.y[at] = static_cast<T>(s);
  }
};

// A product whose exponent is apart: those of chunks may leave double's range where the running
// product does not.
struct Scaled {
  double m;  // in [1, 2), either sign; or 0, infinite, NaN
  int64_t e;

  static WENGERT_DEVICE Scaled of(double x) {
    Scaled s{x, 0};
    if (x != 0 && std::fabs(x) < std::numeric_limits<double>::min()) {
      s.m *= 0x1p64;
      s.e = -64;
    }
    s.normalize();
    return s;
  }
  WENGERT_DEVICE void normalize() {
    const auto bits = static_cast<uint64_t>(__double_as_longlong(m));
    const auto exponent = static_cast<int64_t>(bits >> 52 & 0x7ff);
    if (exponent == 0 || exponent == 0x7ff) return;
    e += exponent - 1023;
    m = __longlong_as_double(
        static_cast<long long>((bits & ~(uint64_t{0x7ff} << 52)) | uint64_t{1023} << 52));
  }
  friend WENGERT_DEVICE Scaled operator*(Scaled a, Scaled b) {
    Scaled s{a.m * b.m, a.e + b.e};
    s.normalize();
    return s;
  }
  WENGERT_DEVICE double value() const {
    const int64_t low = -4000, high = 4000;
    return std::scalbn(m, static_cast<int>(e < low ? low : e > high ? high : e));
  }
};

template <class T>
struct RunningProduct : OneOperand<T> {
  using State = std::conditional_t<std::is_floating_point_v<T>, Scaled, uint64_t>;
  static WENGERT_DEVICE State identity() { return lift(T(1), T(0), 0); }
  static WENGERT_DEVICE State join(const ScanArgs<T>&, State a, State b) { return a * b; }
  static WENGERT_DEVICE State lift(T x, T, int64_t) {
    if constexpr (std::is_floating_point_v<T>) {
      return Scaled::of(static_cast<double>(x));
    } else {
      return static_cast<State>(x);
    }
  }
  static WENGERT_DEVICE void put(const ScanArgs<T>& a, int64_t at, State s) {
    if constexpr (std::is_floating_point_v<T>) {
      a.y[at] = static_cast<T>(s.value());
    } else {
      a.y[at] = static_cast<T>(s);
    }
  }
};

template <class T>
struct RunningLogSumExp : RunningSum<T> {
  static WENGERT_DEVICE double identity() { return -std::numeric_limits<double>::infinity(); }
  static WENGERT_DEVICE double join(const ScanArgs<T>&, double a, double b) {
    const double low = a < b ? a : b, high = a < b ? b : a;
    if (a != a || b != b) return a + b;
    if (std::fabs(high) == std::numeric_limits<double>::infinity()) return high;
    return high + std::log1p(std::exp(low - high));
  }
};

// The extreme so far and the last place of it; a NaN stays.
template <class T>
struct RunningExtreme : OneOperand<T> {
  struct alignas(8) State {
    T v;
    int64_t place;  // below 0: none
  };
  static WENGERT_DEVICE State identity() { return {T(0), -1}; }
  static WENGERT_DEVICE State join(const ScanArgs<T>& args, State a, State b) {
    if (a.place < 0 || b.place < 0) return a.place < 0 ? b : a;
    const bool better = b.v != b.v || (a.v == a.v && (args.most ? b.v >= a.v : b.v <= a.v));
    return better ? b : a;
  }
  static WENGERT_DEVICE State lift(T x, T, int64_t k) { return {x, k}; }
  static WENGERT_DEVICE void put(const ScanArgs<T>& a, int64_t at, State s) {
    a.y[at] = s.v;
    a.places[at] = s.place;
  }
};

// h becomes factor h + added.
template <class T>
struct RunningRecurrence : OneOperand<T> {
  struct State {
    Scaled factor;
    double added;
  };
  static constexpr int64_t kIdentity = std::numeric_limits<int64_t>::min();  // an exponent
  static WENGERT_DEVICE State identity() { return {{0, kIdentity}, 0}; }
  static WENGERT_DEVICE State join(const ScanArgs<T>&, State a, State b) {
    if (a.factor.e == kIdentity) return b;
    if (b.factor.e == kIdentity) return a;
    const Scaled carried = b.factor * Scaled::of(a.added);
    return {b.factor * a.factor, carried.value() + b.added};
  }
  // The first has nothing before it, whatever its factor is.
  static WENGERT_DEVICE State lift(T factor, T added, int64_t k) {
    return {Scaled::of(k ? static_cast<double>(factor) : 0.0), static_cast<double>(added)};
  }
  static WENGERT_DEVICE void put(const ScanArgs<T>& a, int64_t at, State s) {
    a.y[at] = static_cast<T>(s.added);
  }
};

template <class Op, class T>
void run_one(const Launch& l) {
  ScanArgs<T> a{};
  a.x = static_cast<const T*>(l.buffer[1].data);
  a.y = static_cast<T*>(l.buffer[0].data);
  run_scan<Op>(l, a);
}

template <class T>
void run_extreme(const Launch& l) {
  ScanArgs<T> a{};
  a.x = static_cast<const T*>(l.buffer[2].data);
  a.y = static_cast<T*>(l.buffer[0].data);
  a.places = static_cast<int64_t*>(l.buffer[1].data);
  a.most = l.kernel == id(Kernel::Cummax);
  run_scan<RunningExtreme<T>>(l, a);
}

template <class T>
void run_recurrence(const Launch& l) {
  ScanArgs<T> a{};
  a.x = static_cast<const T*>(l.buffer[1].data);
  a.b = static_cast<const T*>(l.buffer[2].data);
  a.y = static_cast<T*>(l.buffer[0].data);
  run_scan<RunningRecurrence<T>>(l, a);
}

template <class T>
void fill_of(KernelTable& t) {
  constexpr DType d = kDTypeOf<T>;
  t.at(id(Kernel::Cumsum), d) = &run_one<RunningSum<T>, T>;
  t.at(id(Kernel::Cumprod), d) = &run_one<RunningProduct<T>, T>;
  t.at(id(Kernel::Cummax), d) = t.at(id(Kernel::Cummin), d) = &run_extreme<T>;
  if constexpr (std::is_floating_point_v<T>) {
    t.at(id(Kernel::Logcumsumexp), d) = &run_one<RunningLogSumExp<T>, T>;
    t.at(id(Kernel::Recurrence), d) = &run_recurrence<T>;
  }
}

}  // namespace

void fill_scan(KernelTable& t) {
  fill_of<float>(t);
  fill_of<double>(t);
  fill_of<int64_t>(t);
}

}  // namespace wengert::cuda
