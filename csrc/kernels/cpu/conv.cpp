// The drivers of convolutions and of their gradients by the input, which are convolutions, too: for
// each residue of places by the stride one with the taps that reach them. Boxes of output are
// shared out among threads; each thread stages what its boxes read. Read conv.h and conv_plan.h
// first.
#include <algorithm>
#include <cstring>

#include "kernels/cpu/conv_plan.h"
#include "kernels/cpu/cpu.h"
#include "kernels/cpu/parallel.h"
#include "kernels/cpu/scratch.h"

namespace wengert::cpu {
namespace {

constexpr int64_t kBoxBytes = 384 << 10;       // staged input and sums of a box: a part of L2
constexpr int64_t kBoxOutputs = 4096;          // and their number
constexpr double kMinMacsPerThread = 1 << 20;  // about 20 us of work

// out[m] = sum over channels c and taps k of w[m, c, k] source[c], shifted, + bias[m]
struct Pass {
  Axes axes;
  int64_t batch, groups, channels, rows;
  const void* source;
  const void* weight;
  int64_t row_step, channel_step, group_step;  // of the weight
  const int64_t* kernel;                       // its last three sizes
  void* out;
  const int64_t* out_sizes;
  const void* bias;
};

int64_t taps_of(const Axes& axes) {
  return static_cast<int64_t>(axes[0].taps.size() * axes[1].taps.size() * axes[2].taps.size());
}

// The weights as tiles read them: for each panel of rows, for each k, one weight a row.
template <class T>
void pack_weights(const Pass& pass, int64_t height, T* to) {
  std::vector<int64_t> at;
  for (const Axis::Tap& a : pass.axes[0].taps) {
    for (const Axis::Tap& b : pass.axes[1].taps) {
      for (const Axis::Tap& c : pass.axes[2].taps) {
        at.push_back((a.kernel * pass.kernel[1] + b.kernel) * pass.kernel[2] + c.kernel);
      }
    }
  }
  for (int64_t g = 0; g < pass.groups; ++g) {
    for (int64_t m = 0; m < pass.rows; m += height) {
      const int64_t rows = std::min(height, pass.rows - m);
      const T* w = static_cast<const T*>(pass.weight) + g * pass.group_step + m * pass.row_step;
      for (int64_t c = 0; c < pass.channels; ++c, w += pass.channel_step) {
        for (const int64_t k : at) {
          for (int64_t i = 0; i < rows; ++i) *to++ = w[i * pass.row_step + k];
        }
      }
    }
  }
}

template <class T>
class Correlation {
 public:
  explicit Correlation(const Pass& pass)
      : pass_(pass),
        isa_(isa().conv[static_cast<int>(kDTypeOf<T>)]),
        k_(pass.channels * taps_of(pass.axes)),
        boxes_(cut_into_boxes(pass.axes, pass.batch, pass.channels, pass.rows, sizeof(T), kBoxBytes,
                              kBoxOutputs)),
        layout_(pass.axes, boxes_),
        offsets_(tap_offsets(pass.axes, layout_, pass.channels)) {
    const int64_t panels = (pass.rows + isa_.rows - 1) / isa_.rows;
    height_ = (pass.rows + panels - 1) / panels;  // even panels
    width_ = isa_.vectors[height_ - 1] * isa_.lanes;
    k_block_ = gemm_k_block(k_, isa().gemm[static_cast<int>(kDTypeOf<T>)].kc);
    sums_row_ = round_up(layout_.outputs, isa_.lanes) + isa_.lanes;  // for the last of several runs
    // Rows a multiple of 4 KiB apart would share the same few lines of L1.
    if (sums_row_ * static_cast<int64_t>(sizeof(T)) % 1024 == 0) sums_row_ += isa_.lanes;
  }

  void run() const {
    const Scratch packed(pass_.groups * pass_.rows * k_ * int64_t{sizeof(T)} + 64);
    T* panels = reinterpret_cast<T*>(packed.data());
    pack_weights(pass_, height_, panels);
    const int64_t jobs = boxes_.total() * pass_.groups;
    const double macs = static_cast<double>(pass_.rows * k_) * static_cast<double>(layout_.outputs);
    const int64_t grain =
        std::max<int64_t>(1, static_cast<int64_t>(kMinMacsPerThread / (macs + 1)));
    parallel_for(jobs, grain, [&](int64_t begin, int64_t end) {
      // What is read behind the last place must be numbers.
      const int64_t staged = pass_.channels * layout_.channel + 2 * isa_.lanes;
      const Scratch memory(staged * int64_t{sizeof(T)});
      const Scratch sums(pass_.rows * sums_row_ * int64_t{sizeof(T)});
      std::memset(memory.data(), 0, static_cast<size_t>(staged) * sizeof(T));
      for (int64_t job = begin; job < end; ++job) {
        const int64_t group = job % pass_.groups;
        make(boxes_.box(job / pass_.groups), group, panels + group * pass_.rows * k_,
             reinterpret_cast<T*>(memory.data()), reinterpret_cast<T*>(sums.data()));
      }
    });
  }

 private:
  void make(const Box& box, int64_t group, const T* panels, T* staged, T* sums) const {
    const int64_t size = pass_.axes[0].source * pass_.axes[1].source * pass_.axes[2].source;
    const T* source = static_cast<const T*>(pass_.source) + group * pass_.channels * size;
    if (k_ > 0) {
      stage(isa_, pass_.axes, layout_, box,
            {source, pass_.channels, size, size * pass_.channels * pass_.groups}, false, staged);
      multiply(Runs(layout_, box, isa_.lanes), panels, staged, sums);
    } else {
      std::memset(sums, 0, static_cast<size_t>(pass_.rows * sums_row_) * sizeof(T));
    }
    finish(box, group, sums);
  }

  void multiply(const Runs& runs, const T* panels, const T* staged, T* sums) const {
    ConvTile t{};
    t.c_rs = sums_row_;
    for (int64_t p = 0; p < k_; p += k_block_) {
      t.k = std::min(k_block_, k_ - p);
      t.add = p > 0;
      t.offsets = offsets_.data() + p;
      for (int64_t r = 0; r < runs.count; ++r) {
        for (int64_t q = 0; q < runs.length; q += width_) {
          const int64_t at = r * runs.step + q;
          const int64_t vectors = std::min(width_, runs.length - q) / isa_.lanes;
          t.b = staged + at;
          for (int64_t m = 0; m < pass_.rows; m += height_) {
            const int64_t rows = std::min(height_, pass_.rows - m);
            t.a = panels + m * k_ + p * rows;
            t.c = sums + m * sums_row_ + at;
            isa_.tile[rows - 1][vectors - 1](t);
          }
        }
      }
    }
  }

  // Sums without their gaps to where they belong, with the bias.
  void finish(const Box& box, int64_t group, const T* sums) const {
    const Axis(&axes)[3] = pass_.axes;
    const int64_t height = pass_.out_sizes[1], width = pass_.out_sizes[2];
    const int64_t size = pass_.out_sizes[0] * height * width;
    const T* bias = static_cast<const T*>(pass_.bias);
    const auto place = [&](int d, int64_t i) {
      return axes[d].first + (box.low[d] + i) * axes[d].step;
    };
    for (int64_t n = 0; n < box.samples; ++n) {
      for (int64_t m = 0; m < pass_.rows; ++m) {
        const int64_t channel = group * pass_.rows + m;
        T* to = static_cast<T*>(pass_.out) +
                ((box.sample + n) * pass_.groups * pass_.rows + channel) * size;
        const T* from = sums + m * sums_row_ + n * layout_.sample;
        for (int64_t i = 0; i < box.length[0]; ++i) {
          isa_.finish({from + i * layout_.plane, layout_.row, 1,
                       to + (place(0, i) * height + place(1, 0)) * width + place(2, 0),
                       width * axes[1].step, axes[2].step, box.length[1], box.length[2]},
                      bias ? static_cast<double>(bias[channel]) : 0.0);
        }
      }
    }
  }

  const Pass& pass_;
  const ConvIsa& isa_;
  int64_t k_;
  Boxes boxes_;
  Layout layout_;
  std::vector<int64_t> offsets_;
  int64_t height_, width_, k_block_, sums_row_;
};

void run_pass(const Launch& l, Pass pass) {
  for (const Axis& a : pass.axes) {
    if (a.count == 0) return;
  }
  if (pass.batch == 0 || pass.rows == 0) return;
  spread_rows(pass.axes, pass.channels, pass.rows, isa().conv[static_cast<int>(l.dtype)].lanes,
              INT64_MAX);
  if (l.dtype == DType::Float32)
    Correlation<float>(pass).run();
  else
    Correlation<double>(pass).run();
}

const void* bias_of(const Launch& l, const ConvParams& p) {
  return p.has_bias ? l.buffer[3].data : nullptr;
}

}  // namespace

void run_conv(const Launch& l) {
  const auto& p = *static_cast<const ConvParams*>(l.pointer);
  const int64_t taps = p.taps(), in = p.in_channels, out = p.out_channels;
  run_pass(l, {{forward_axis(p, 0), forward_axis(p, 1), forward_axis(p, 2)},
               p.batch,
               p.groups,
               in,
               out,
               l.buffer[1].data,
               l.buffer[2].data,
               in * taps,
               taps,
               in * out * taps,
               p.kernel,
               l.buffer[0].data,
               p.output,
               bias_of(l, p)});
}

void run_conv_grad_input(const Launch& l) {
  const auto& p = *static_cast<const ConvParams*>(l.pointer);
  const int64_t taps = p.taps(), in = p.in_channels, out = p.out_channels;
  const auto ends = [&](int d) { return std::min(p.stride[d], p.input[d]); };
  for (int64_t a = 0; a < ends(0); ++a) {
    for (int64_t b = 0; b < ends(1); ++b) {
      for (int64_t c = 0; c < ends(2); ++c) {
        run_pass(l, {{backward_axis(p, 0, a), backward_axis(p, 1, b), backward_axis(p, 2, c)},
                     p.batch,
                     p.groups,
                     out,
                     in,
                     l.buffer[1].data,
                     l.buffer[2].data,
                     taps,
                     in * taps,
                     in * out * taps,
                     p.kernel,
                     l.buffer[0].data,
                     p.input,
                     bias_of(l, p)});
      }
    }
  }
}

}  // namespace wengert::cpu
