// A launch and the room that it has: what reach.cpp says of kernels is put in these words. Every
// function throws what is wrong.
#pragma once

#include <algorithm>
#include <array>
#include <initializer_list>
#include <limits>
#include <span>
#include <vector>

#include "core/error.h"
#include "kernels/reach.h"

namespace wengert {

// Sizes above this are nobody's; products of a few of them are guarded one by one.
inline constexpr int64_t kMost = int64_t{1} << 46;
inline constexpr int64_t kNoIndex = std::numeric_limits<int64_t>::min();  // no index

// What loops and rules know of a functor, without its type.
struct MapTraits {
  int arity;
  Kind kind;
  int mask_operand;
  int params;
  unsigned uses[3];
};
template <class F>
constexpr MapTraits traits_of() {
  MapTraits t{F::arity, F::kind, -1, 0, {}};
  if constexpr (HasMaskOperand<F>) t.mask_operand = F::mask_operand;
  if constexpr (std::is_constructible_v<F, const double*>) t.params = sizeof(F) / sizeof(double);
  if constexpr (requires { F::uses; }) {
    for (int i = 0; i < F::arity; ++i) t.uses[i] = F::uses[i];
  }
  return t;
}
template <class... Fs>
constexpr auto all_traits(TypeList<Fs...>) {
  return std::array{traits_of<Fs>()...};
}
inline constexpr auto kMaps = all_traits(MapFunctors{});

class ReachSpace {
 protected:
  ReachSpace(const Launch& l, std::span<const Room> buffers, std::span<const Room> pointers)
      : l_(l), buffers_(buffers), pointers_(pointers) {}

  template <class... Parts>
  void require(bool right, const Parts&... what) const {
    if (!right) fail("launch of ", kernel_name(l_.kernel), ": ", what..., " cannot be");
  }
  void takes(int buffers) const { require(l_.nbuffers == buffers, "the number of its buffers"); }
  void within(const Room& room, int64_t low, int64_t high, const char* what) const {
    if (low < -room.before || high > room.after) {
      fail("launch of ", kernel_name(l_.kernel), ": ", what, " goes beyond its memory");
    }
  }
  static int64_t item(DType d) { return static_cast<int64_t>(item_size(d)); }
  const Room& room(int k) const { return buffers_[static_cast<size_t>(k)]; }
  int64_t size(int d) const { return l_.size[d]; }

  int64_t times(std::initializer_list<int64_t> factors) const {
    int64_t n = 1;
    for (const int64_t f : factors) {
      require(f >= 0 && !__builtin_mul_overflow(n, f, &n) && n <= kMost, "its sizes");
    }
    return n;
  }
  int64_t elements(int first, int end) const {
    int64_t n = 1;
    for (int d = first; d < end; ++d) n = times({n, size(d)});
    return n;
  }
  void counts(int64_t n) const { require(l_.count == n, "its count"); }
  void dims(int n) const { require(l_.ndim == n, "the number of its dimensions"); }

  // `n` elements side by side.
  void dense(int k, int64_t n, DType d) const {
    require(l_.buffer[k].dtype == d, "the dtype of a buffer");
    if (n != 0) within(room(k), 0, times({n, item(d)}), "a buffer");
  }
  void dense(int k, int64_t n) const { dense(k, n, l_.dtype); }

  struct Span {
    int64_t low = 0, high = 0;  // the first element and the last
    bool empty = false;
  };
  void stretch(Span& s, int64_t n, int64_t stride) const {
    int64_t far = 0;
    if (n == 0) s.empty = true;
    require(stride >= -kMost && stride <= kMost &&
                !__builtin_mul_overflow(std::max<int64_t>(n - 1, 0), stride, &far) &&
                far >= -kMost && far <= kMost,
            "its strides");
    (far < 0 ? s.low : s.high) += far;
  }
  // Through dimensions [first, end) of the launch, and `more` elements from each place on.
  Span span(int k, int first, int end, int64_t more = 1) const {
    Span s;
    for (int d = first; d < end; ++d) stretch(s, size(d), l_.buffer[k].stride[d]);
    s.high += more - 1;
    s.empty |= more == 0;
    return s;
  }
  void spans(int k, const Span& s, DType d) const {
    require(l_.buffer[k].dtype == d, "the dtype of a buffer");
    if (!s.empty) within(room(k), s.low * item(d), (s.high + 1) * item(d), "a buffer");
  }
  void strided(int k, DType d) const { spans(k, span(k, 0, l_.ndim), d); }
  // Every element has a place of its own, or the work would have no end.
  void writes_each(int k, int64_t n) const {
    require(n <= (room(k).before + room(k).after) / item(l_.buffer[k].dtype), "its sizes");
  }

  // A space that is walked by strides.
  void space() const {
    require(l_.ndim >= 1, "the number of its dimensions");
    counts(elements(0, l_.ndim));
    if (!l_.dense) return;
    dims(1);
    for (int k = 0; k < l_.nbuffers; ++k) {
      require(!goes_by_strides(l_, k) || l_.buffer[k].stride[0] == 1, "its strides");
    }
  }
  void bound(int k, int64_t count, int64_t low, int64_t high, int64_t other = kNoIndex) {
    bounds_.push_back({k, count, low, high, other == kNoIndex ? low : other});
  }
  const Room& next_pointer(const char* what) {
    require(used_pointers_ < pointers_.size(), what);
    return pointers_[used_pointers_++];
  }

  const Launch& l_;
  std::span<const Room> buffers_, pointers_;
  std::vector<IndexBound> bounds_;
  size_t used_pointers_ = 0;
};

}  // namespace wengert
