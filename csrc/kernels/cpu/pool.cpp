// The drivers of max pooling and of its gradient. Planes are shared out among threads.
#include <algorithm>
#include <limits>
#include <vector>

#include "kernels/cpu/cpu.h"
#include "kernels/cpu/parallel.h"

namespace wengert::cpu {
namespace {

constexpr int64_t kGrain = 16384;  // elements that are worth a thread

// Where a window begins and ends along an axis; taps are `dilation` apart.
struct Window {
  int64_t begin, end;
};
Window window(const PoolParams& p, int d, int64_t i) {
  const int64_t in = p.input[d], out = p.output[d];
  if (p.adaptive) return {i * in / out, ((i + 1) * in + out - 1) / out};
  const int64_t reach = (p.kernel[d] - 1) * p.dilation[d] + 1;
  int64_t begin = i * p.stride[d] - p.padding[d];
  const int64_t end = std::min(begin + reach, in);
  if (begin < 0) begin += (-begin + p.dilation[d] - 1) / p.dilation[d] * p.dilation[d];
  return {begin, end};
}

// One window, element by element. The first of equal ones, the last NaN.
template <class T>
void best_of(const PoolParams& p, const T* x, const Window& a, const Window& b, const Window& c,
             T* best, int64_t* place) {
  const int64_t h = p.input[1], w = p.input[2];
  T found = std::numeric_limits<T>::has_infinity ? -std::numeric_limits<T>::infinity()
                                                 : std::numeric_limits<T>::lowest();
  int64_t at = (a.begin * h + b.begin) * w + c.begin;
  for (int64_t i = a.begin; i < a.end; i += p.dilation[0]) {
    for (int64_t j = b.begin; j < b.end; j += p.dilation[1]) {
      for (int64_t k = c.begin; k < c.end; k += p.dilation[2]) {
        const int64_t here = (i * h + j) * w + k;
        if (x[here] > found || x[here] != x[here]) {
          found = x[here];
          at = here;
        }
      }
    }
  }
  *best = found;
  *place = std::min(at, p.input_size() - 1);  // taps may all lie in the padding
}

template <class T>
class MaxPooling {
 public:
  MaxPooling(const Launch& l, const PoolParams& p)
      : p_(p),
        row_fn_(isa().max_pool[static_cast<int>(kDTypeOf<T>)]),
        x_(static_cast<const T*>(l.buffer[2].data)),
        end_(x_ + p.planes * p.input_size()),
        best_(static_cast<T*>(l.buffer[0].data)),
        places_(static_cast<int64_t*>(l.buffer[1].data)) {
    // Outputs [first_, last_) of a row have all their columns in the input.
    const bool wide = p.adaptive || p.input_size() > std::numeric_limits<int32_t>::max();
    if (wide) return;
    const int64_t reach = (p.kernel[2] - 1) * p.dilation[2] + 1;
    first_ = std::min(p.output[2], (p.padding[2] + p.stride[2] - 1) / p.stride[2]);
    const int64_t room = p.input[2] + p.padding[2] - reach;
    last_ = room < 0 ? 0 : std::min(p.output[2], room / p.stride[2] + 1);
    last_ = std::max(first_, last_);
  }

  void plane(int64_t n) const {
    const T* x = x_ + n * p_.input_size();
    int64_t at = n * p_.output_size();
    std::vector<int64_t> offsets;
    for (int64_t i = 0; i < p_.output[0]; ++i) {
      const Window a = window(p_, 0, i);
      for (int64_t j = 0; j < p_.output[1]; ++j, at += p_.output[2]) {
        const Window b = window(p_, 1, j);
        row(x, a, b, offsets, best_ + at, places_ + at);
      }
    }
  }

 private:
  void row(const T* x, const Window& a, const Window& b, std::vector<int64_t>& offsets, T* best,
           int64_t* places) const {
    for (int64_t k = 0; k < p_.output[2]; ++k) {
      if (k == first_ && first_ < last_ && a.begin < a.end && b.begin < b.end) {
        run(x, a, b, offsets, best, places);
        k = last_ - 1;
        continue;
      }
      best_of(p_, x, a, b, window(p_, 2, k), best + k, places + k);
    }
  }

  void run(const T* x, const Window& a, const Window& b, std::vector<int64_t>& offsets, T* best,
           int64_t* places) const {
    const int64_t h = p_.input[1], w = p_.input[2];
    offsets.clear();
    for (int64_t i = a.begin; i < a.end; i += p_.dilation[0]) {
      for (int64_t j = b.begin; j < b.end; j += p_.dilation[1]) {
        for (int64_t k = 0; k < p_.kernel[2]; ++k) {
          offsets.push_back(((i - a.begin) * h + j - b.begin) * w + k * p_.dilation[2]);
        }
      }
    }
    const int64_t place = (a.begin * h + b.begin) * w + first_ * p_.stride[2] - p_.padding[2];
    row_fn_({x + place, offsets.data(), static_cast<int64_t>(offsets.size()), p_.stride[2],
             last_ - first_, place, end_ - (x + place), best + first_, places + first_});
  }

  const PoolParams& p_;
  MaxPoolRow row_fn_;
  const T *x_, *end_;
  T* best_;
  int64_t* places_;
  int64_t first_ = 0, last_ = 0;
};

}  // namespace

void run_max_pool(const Launch& l) {
  const auto& p = *static_cast<const PoolParams*>(l.pointer);
  if (l.count == 0) return;
  visit_compute(l.dtype, [&]<class T>() {
    if constexpr (std::is_floating_point_v<T> || std::is_same_v<T, int64_t>) {
      const MaxPooling<T> pooling(l, p);
      parallel_for(p.planes, std::max<int64_t>(1, kGrain / (p.input_size() + p.output_size())),
                   [&](int64_t begin, int64_t end) {
                     for (int64_t n = begin; n < end; ++n) pooling.plane(n);
                   });
    }
  });
}

void run_max_pool_grad(const Launch& l) {
  const int64_t planes = l.size[0], outputs = l.size[1], inputs = l.integer[0];
  visit_compute(l.dtype, [&]<class T>() {
    if constexpr (std::is_floating_point_v<T>) {
      T* gx = static_cast<T*>(l.buffer[0].data);
      const T* g = static_cast<const T*>(l.buffer[1].data);
      const int64_t* places = static_cast<const int64_t*>(l.buffer[2].data);
      parallel_for(planes, std::max<int64_t>(1, kGrain / (inputs + outputs + 1)),
                   [&](int64_t begin, int64_t end) {
                     std::fill(gx + begin * inputs, gx + end * inputs, T(0));
                     for (int64_t n = begin; n < end; ++n) {
                       T* to = gx + n * inputs;
                       for (int64_t i = n * outputs; i < (n + 1) * outputs; ++i) {
                         to[places[i]] += g[i];
                       }
                     }
                   });
    }
  });
}

}  // namespace wengert::cpu
