// The driver of a convolution's gradient by the weight: for every row of g and every tap the sum of
// products over all outputs of all samples. Both operands are staged in one layout, g with zeros in
// the gaps between rows. Read conv.h and conv_plan.h first.
//
// Samples are cut into parts, whose sums are added in order, by sizes alone; so results are the
// same with any number of threads.
#include <algorithm>
#include <cstring>

#include "kernels/cpu/conv_plan.h"
#include "kernels/cpu/cpu.h"
#include "kernels/cpu/parallel.h"
#include "kernels/cpu/scratch.h"

namespace wengert::cpu {
namespace {

constexpr int64_t kBoxBytes = 384 << 10;  // both operands of a box: a part of L2
constexpr int64_t kBoxOutputs = 1280;     // a tile's rows of g, and of x, in L1
constexpr int64_t kMaxParts = 8;
constexpr int64_t kPartOutputs = 4096;  // which make up for adding a part's sums

template <class T>
class WeightSums {
 public:
  WeightSums(const ConvParams& p, const Axes& axes)
      : p_(p),
        axes_(axes),
        plain_{plain_axis(axes[0]), plain_axis(axes[1]), plain_axis(axes[2])},
        isa_(isa().conv[static_cast<int>(kDTypeOf<T>)]),
        k_(p.in_channels * p.taps()),
        boxes_(cut_into_boxes(axes, p.batch, p.in_channels, p.out_channels, sizeof(T), kBoxBytes,
                              kBoxOutputs)),
        layout_(axes, boxes_),
        offsets_(tap_offsets(axes, layout_, p.in_channels)),
        plain_layout_(plain_, boxes_) {
    // A row of g ends in whole vectors.
    plain_layout_.channel = round_up(plain_layout_.channel, isa_.lanes);
    parts_ = std::clamp<int64_t>(p.batch * p.output_size() / kPartOutputs, 1,
                                 std::min(kMaxParts, boxes_.total()));
  }

  void run(const T* g, const T* x, T* out) const {
    const int64_t weights = p_.groups * p_.out_channels * k_;
    const Scratch others((parts_ - 1) * weights * int64_t{sizeof(T)} + 64);
    T* rest = reinterpret_cast<T*>(others.data());
    parallel_for(parts_ * p_.groups, 1, [&](int64_t begin, int64_t end) {
      const int64_t xs = p_.in_channels * layout_.channel + 2 * isa_.lanes;
      const int64_t gs = p_.out_channels * plain_layout_.channel + isa_.lanes;
      const Scratch memory((xs + gs) * int64_t{sizeof(T)});
      std::memset(memory.data(), 0, static_cast<size_t>(xs + gs) * sizeof(T));
      T* staged = reinterpret_cast<T*>(memory.data());
      for (int64_t job = begin; job < end; ++job) {
        const int64_t part = job / p_.groups, group = job % p_.groups;
        T* sums = (part == 0 ? out : rest + (part - 1) * weights) + group * p_.out_channels * k_;
        add_part(part, group, g, x, staged, staged + round_up(xs, isa_.lanes), sums);
      }
    });
    for (int64_t part = 1; part < parts_; ++part) {
      for (int64_t i = 0; i < weights; ++i) out[i] += rest[(part - 1) * weights + i];
    }
  }

 private:
  void add_part(int64_t part, int64_t group, const T* g, const T* x, T* staged_x, T* staged_g,
                T* sums) const {
    std::memset(sums, 0, static_cast<size_t>(p_.out_channels * k_) * sizeof(T));
    const int64_t in = p_.input_size(), out = p_.output_size(), total = boxes_.total();
    for (int64_t i = total * part / parts_; i < total * (part + 1) / parts_; ++i) {
      const Box box = boxes_.box(i);
      stage(isa_, axes_, layout_, box,
            {x + group * p_.in_channels * in, p_.in_channels, in, in * p_.in_channels * p_.groups},
            false, staged_x);
      stage(isa_, plain_, plain_layout_, box,
            {g + group * p_.out_channels * out, p_.out_channels, out,
             out * p_.out_channels * p_.groups},
            true, staged_g);
      multiply(Runs(layout_, box, isa_.lanes), staged_x, staged_g, sums);
    }
  }

  void multiply(const Runs& runs, const T* x, const T* g, T* sums) const {
    ConvSums s{};
    s.n = runs.length;
    s.runs = runs.count;
    s.step = runs.step;
    s.g_rs = plain_layout_.channel;
    s.sums_rs = k_;
    s.x = x;
    for (int64_t m = 0; m < p_.out_channels; m += isa_.sum_rows) {
      const int64_t rows = std::min<int64_t>(isa_.sum_rows, p_.out_channels - m);
      s.g = g + m * plain_layout_.channel;
      for (int64_t k = 0; k < k_; k += isa_.sum_taps) {
        const int64_t taps = std::min<int64_t>(isa_.sum_taps, k_ - k);
        s.offsets = offsets_.data() + k;
        s.sums = sums + m * k_ + k;
        isa_.sums[rows - 1][taps - 1](s);
      }
    }
  }

  const ConvParams& p_;
  const Axes& axes_;
  const Axes plain_;
  const ConvIsa& isa_;
  int64_t k_, parts_;
  Boxes boxes_;
  Layout layout_;
  std::vector<int64_t> offsets_;
  Layout plain_layout_;
};

}  // namespace

void run_conv_grad_weight(const Launch& l) {
  const auto& p = *static_cast<const ConvParams*>(l.pointer);
  if (p.batch == 0 || p.output_size() == 0) {
    std::memset(l.buffer[0].data, 0, static_cast<size_t>(l.count) * item_size(l.dtype));
    return;
  }
  if (l.count == 0) return;
  Axis axes[3] = {forward_axis(p, 0), forward_axis(p, 1), forward_axis(p, 2)};
  // Shorter runs would cost more in joining lanes than gaps do.
  const auto item = static_cast<int64_t>(item_size(l.dtype));
  spread_rows(axes, p.in_channels, p.out_channels, isa().conv[static_cast<int>(l.dtype)].lanes,
              kBoxBytes / 2 / item);
  visit_compute(l.dtype, [&]<class T>() {
    if constexpr (std::is_floating_point_v<T>) {
      WeightSums<T>(p, axes).run(static_cast<const T*>(l.buffer[1].data),
                                 static_cast<const T*>(l.buffer[2].data),
                                 static_cast<T*>(l.buffer[0].data));
    }
  });
}

}  // namespace wengert::cpu
