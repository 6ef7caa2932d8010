// Sizes and strides: a small inline list of integers, and the rules of broadcasting.
#pragma once

#include <algorithm>
#include <cstdint>
#include <initializer_list>
#include <ostream>

#include "core/error.h"

namespace wengert {

inline constexpr int kMaxDims = 8;

// Up to kMaxDims integers. Trivially copyable, so it can stand in nodes and launch descriptors.
class Dims {
 public:
  Dims() = default;
  Dims(std::initializer_list<int64_t> values) {
    for (int64_t v : values) push_back(v);
  }
  Dims(const int64_t* values, int n) : n_(0) {
    for (int i = 0; i < n; ++i) push_back(values[i]);
  }
  static Dims filled(int n, int64_t value) {
    Dims d;
    for (int i = 0; i < n; ++i) d.push_back(value);
    return d;
  }

  int size() const { return n_; }
  bool empty() const { return n_ == 0; }
  int64_t operator[](int i) const { return d_[i]; }
  int64_t& operator[](int i) { return d_[i]; }
  int64_t back() const { return d_[n_ - 1]; }
  const int64_t* begin() const { return d_; }
  const int64_t* end() const { return d_ + n_; }
  int64_t* begin() { return d_; }
  int64_t* end() { return d_ + n_; }

  void push_back(int64_t v) {
    if (n_ == kMaxDims) fail("a tensor has at most ", kMaxDims, " dimensions");
    d_[n_++] = v;
  }
  void insert(int at, int64_t v) {
    push_back(0);
    std::copy_backward(d_ + at, d_ + n_ - 1, d_ + n_);
    d_[at] = v;
  }
  void erase(int at) {
    std::copy(d_ + at + 1, d_ + n_, d_ + at);
    --n_;
  }
  void resize(int n) { n_ = n; }

  bool operator==(const Dims& o) const {
    if (n_ != o.n_) return false;
    for (int i = 0; i < n_; ++i)
      if (d_[i] != o.d_[i]) return false;
    return true;
  }

 private:
  int n_ = 0;
  int64_t d_[kMaxDims];
};

// As Python shows a tuple: (), (3,), (2, 3).
inline std::ostream& operator<<(std::ostream& out, const Dims& d) {
  out << '(';
  for (int i = 0; i < d.size(); ++i) out << (i ? ", " : "") << d[i];
  return out << (d.size() == 1 ? ",)" : ")");
}

// Throws where the product does not fit: views can name sizes that no memory would hold.
inline int64_t product(const Dims& d) {
  int64_t n = 1;
  for (int64_t v : d) {
    if (__builtin_mul_overflow(n, v, &n)) fail("shape ", d, " has too many elements");
  }
  return n;
}

inline Dims contiguous_strides(const Dims& sizes) {
  Dims strides = sizes;
  int64_t step = 1;
  for (int i = sizes.size() - 1; i >= 0; --i) {
    strides[i] = step;
    // beside a size of 0 the others may be of any size; no such stride is ever walked
    (void)__builtin_mul_overflow(step, std::max<int64_t>(sizes[i], 1), &step);
  }
  return strides;
}

// The dimensions of one list, then those of another.
inline Dims concat(Dims front, const Dims& rest) {
  for (const int64_t d : rest) front.push_back(d);
  return front;
}

inline bool is_contiguous(const Dims& sizes, const Dims& strides) {
  int64_t step = 1;
  bool dense = true;
  for (int i = sizes.size() - 1; i >= 0; --i) {
    if (sizes[i] == 1) continue;
    if (sizes[i] == 0) return true;
    dense = dense && strides[i] == step;
    step *= sizes[i];
  }
  return dense;
}

// Elements from the first to the last.
inline int64_t extent(const Dims& sizes, const Dims& strides) {
  int64_t last = 0;
  for (int d = 0; d < sizes.size(); ++d) {
    if (sizes[d] == 0) return 0;
    last += (sizes[d] - 1) * strides[d];
  }
  return last + 1;
}

// The shape that a and b broadcast to.
inline Dims broadcast_shapes(const char* op, const Dims& a, const Dims& b) {
  const Dims& longer = a.size() >= b.size() ? a : b;
  const Dims& shorter = a.size() >= b.size() ? b : a;
  Dims out = longer;
  const int shift = longer.size() - shorter.size();
  for (int i = 0; i < shorter.size(); ++i) {
    const int64_t x = longer[i + shift], y = shorter[i];
    if (x != y && x != 1 && y != 1) {
      fail(op, ": shapes ", a, " and ", b, " do not broadcast: the size of tensor a (",
           a[a.size() - longer.size() + i + shift], ") must match the size of tensor b (",
           b[b.size() - longer.size() + i + shift], ") at non-singleton dimension ", i + shift);
    }
    out[i + shift] = x == 1 ? y : x;
  }
  return out;
}

// The strides of a tensor seen as the larger shape `to`; broadcast dimensions get stride 0.
inline Dims broadcast_strides(const Dims& sizes, const Dims& strides, const Dims& to) {
  Dims out = Dims::filled(to.size(), 0);
  const int shift = to.size() - sizes.size();
  for (int i = 0; i < sizes.size(); ++i) {
    if (sizes[i] == to[i + shift] && sizes[i] != 1) out[i + shift] = strides[i];
  }
  return out;
}

// dim in [-n, n) brought into [0, n); a 0-dim tensor counts as having one dimension.
inline int wrap_dim(const char* op, int64_t dim, int n) {
  const int range = std::max(n, 1);
  if (dim < -range || dim >= range) {
    fail(ErrorKind::Index, op, ": dimension out of range (expected to be in range of [", -range,
         ", ", range - 1, "], but got ", dim, ")");
  }
  return static_cast<int>(dim < 0 ? dim + range : dim);
}

// The dimensions that a list names, as bits; none may be named twice.
inline unsigned dim_set(const char* op, const Dims& dims, int n) {
  unsigned set = 0;
  for (int64_t d : dims) {
    const unsigned bit = 1u << wrap_dim(op, d, n);
    if (set & bit) fail(op, ": dim ", d, " appears multiple times in the list of dims ", dims);
    set |= bit;
  }
  return set;
}

}  // namespace wengert
