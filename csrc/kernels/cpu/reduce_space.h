// Where a reduction reads and writes: a launch names the kept dimensions first and the reduced ones
// after them; the output is dense.
#pragma once

#include <algorithm>

#include "kernels/launch.h"

namespace wengert::cpu {

// Elements to a row up to which a call for each of many rows is a waste: they are joined in another
// order than those of a single row.
inline constexpr int64_t kShortRun = 16;

// A walk in order through dimensions [first, end) of a buffer, starting at element `i` of them.
class Walk {
 public:
  Walk(const Launch& l, int buffer, int first, int end, int64_t i)
      : size_(l.size), stride_(l.buffer[buffer].stride), first_(first), end_(end) {
    for (int d = end - 1; d >= first; --d) {
      index_[d] = i % size_[d];
      i /= size_[d];
      at_ += index_[d] * stride_[d];
    }
  }
  int64_t at() const { return at_; }  // in elements
  void next() {
    for (int d = end_ - 1; d >= first_; --d) {
      at_ += stride_[d];
      if (++index_[d] < size_[d]) return;
      at_ -= index_[d] * stride_[d];
      index_[d] = 0;
    }
  }

 private:
  const int64_t *size_, *stride_;
  int first_, end_;
  int64_t at_ = 0;
  int64_t index_[kMaxDims];
};

template <class T>
void gather_as(const char* from, int64_t stride, int64_t n, char* to) {
  for (int64_t i = 0; i < n; ++i) {
    reinterpret_cast<T*>(to)[i] = reinterpret_cast<const T*>(from)[i * stride];
  }
}
// n items, `stride` items apart, laid side by side.
inline void gather(const char* from, int64_t stride, int64_t n, int64_t item, char* to) {
  constexpr decltype(&gather_as<uint8_t>) by_size[] = {&gather_as<uint8_t>, &gather_as<uint16_t>,
                                                       &gather_as<uint32_t>, &gather_as<uint64_t>};
  by_size[item < 4 ? item - 1 : item / 4 + 1](from, stride, n, to);
}

struct ReduceSpace {
  const Launch& l;
  const int from;  // the source's buffer
  int kept_dims, last;
  int64_t kept = 1, reduced = 1;
  int64_t run, step;  // of the last reduced dimension
  int64_t in_item, out_item;
  const char* in;
  char* out;

  explicit ReduceSpace(const Launch& launch, int source_buffer = 1)
      : l(launch),
        from(source_buffer),
        kept_dims(l.ndim - static_cast<int>(l.integer[0])),
        last(l.ndim - 1),
        in_item(static_cast<int64_t>(item_size(l.buffer[from].dtype))),
        out_item(static_cast<int64_t>(item_size(l.buffer[0].dtype))),
        in(static_cast<const char*>(l.buffer[from].data)),
        out(static_cast<char*>(l.buffer[0].data)) {
    for (int d = 0; d < kept_dims; ++d) kept *= l.size[d];
    for (int d = kept_dims; d < l.ndim; ++d) reduced *= l.size[d];
    run = l.ndim > kept_dims ? l.size[last] : 1;
    step = l.ndim > kept_dims ? stride(last) : 1;
  }
  int64_t stride(int d) const { return l.buffer[from].stride[d]; }
  const char* source(int64_t i) const { return in + Walk(l, from, 0, kept_dims, i).at() * in_item; }
  char* result(int64_t i) const { return out + i * out_item; }

  bool one_run() const { return run == reduced || reduced == 0; }
  bool dense_rows() const { return step == 1 || reduced <= 1; }
  // Results side by side, whose elements are too.
  bool has_dense_columns() const {
    return (step != 1 || reduced == 1) && reduced > 0 && kept_dims > 0 &&
           stride(kept_dims - 1) == 1;
  }
  // Many rows of up to `longest` dense elements.
  bool has_short_rows(int64_t longest) const {
    return reduced > 1 && reduced <= longest && kept > 1 && dense_rows() && one_run();
  }

  // Calls body(where, length) for each stretch of the last reduced dimension that holds some of
  // the reduced elements [first, first + m).
  template <class Body>
  void stretches(const char* base, int64_t first, int64_t m, Body&& body) const {
    Walk outer(l, from, kept_dims, last, first / run);
    for (int64_t start = first % run; m > 0; start = 0, outer.next()) {
      const int64_t length = std::min(run - start, m);
      body(base + (outer.at() + start * step) * in_item, length);
      m -= length;
    }
  }
};

}  // namespace wengert::cpu
