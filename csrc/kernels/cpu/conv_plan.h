// What the drivers of convolutions share: how outputs and taps lie along each axis, how the work is
// cut into boxes, how a box's input is staged. Read conv.h first.
#pragma once

#include <cstdint>
#include <utility>
#include <vector>

#include "kernels/cpu/conv.h"
#include "kernels/kernels.h"

namespace wengert::cpu {

// One axis of a convolution. Output i reads, for each tap, source place
// (i + shift) * split + phases[phase] + origin; places outside the source are zero. With stride 2,
// say, even and odd places are two phases, each of which a tap reads without gaps. Where taps are
// far apart for so few outputs, each has a phase of its own instead of a shift.
struct Axis {
  struct Tap {
    int64_t kernel, phase, shift;
  };
  int64_t count;        // outputs
  int64_t first, step;  // output i stands at first + i * step
  int64_t source;       // size
  int64_t split, origin;
  int64_t reach = 0;  // the largest shift
  std::vector<int64_t> phases;
  std::vector<Tap> taps;

  // With source place (i * split + each of `places` + origin) for each tap.
  void set_taps(const std::vector<std::pair<int64_t, int64_t>>& places);
  // A phase for each tap.
  void spread();
  int64_t slots() const { return static_cast<int64_t>(phases.size()); }
};
using Axes = Axis[3];

// Axis d of y = x * w.
Axis forward_axis(const ConvParams& p, int d);
// Axis d of the input's gradient: every place a stride apart from `first` on. The same taps reach
// them all.
Axis backward_axis(const ConvParams& p, int d, int64_t first);
// The outputs' own places, laid out as `like`: the other operand of a weight's gradient.
Axis plain_axis(const Axis& like);

// Gives each tap of the last axis a phase of its own where rows without gaps, which are less to
// compute, are worth the copies: for `rows` sums of `channels`, in vectors of `lanes`. A staged
// sample may then have up to `most` elements.
void spread_rows(Axes& axes, int64_t channels, int64_t rows, int64_t lanes, int64_t most);

// Some samples, or a part of one, whose staged input fits a cache. All boxes share a layout.
struct Box {
  int64_t sample, samples;
  int64_t low[3], length[3];
};

struct Boxes {
  int64_t batch, samples;  // at most so many to a box
  int cut;                 // the axis along which a sample is cut
  int64_t count, band;     // its outputs, at most so many to a box
  int64_t full[3];
  int64_t per_sample() const { return (count + band - 1) / band; }
  int64_t total() const { return (batch + samples - 1) / samples * per_sample(); }
  Box box(int64_t i) const;
};

// Boxes whose staged `channels` and sums of `rows` fill about `bytes`, with at most `most` outputs.
Boxes cut_into_boxes(const Axes& axes, int64_t batch, int64_t channels, int64_t rows, int64_t item,
                     int64_t bytes, int64_t most);

// Where things are in a staged box: channel, phase, sample, then the places of the three axes.
struct Layout {
  int64_t row, plane, sample;  // strides of places and of samples
  int64_t phase, channel;      // strides
  int64_t outputs;             // from the first of a box to the last, gaps included
  Layout(const Axes& axes, const Boxes& boxes);
  int64_t outputs_of(const Box& b) const { return (b.samples - 1) * sample + outputs_of_one(b); }
  int64_t outputs_of_one(const Box& b) const {
    return (b.length[0] - 1) * plane + (b.length[1] - 1) * row + b.length[2];
  }
};

// The outputs of a box as runs of whole vectors: one over all samples and the gaps between them, or
// one for each, whichever is shorter.
struct Runs {
  int64_t count, length, step;
  Runs(const Layout& layout, const Box& b, int64_t lanes);
};

// The offsets of all taps of all channels, in the order of the weights.
std::vector<int64_t> tap_offsets(const Axes& axes, const Layout& layout, int64_t channels);

struct Source {
  const void* data;
  int64_t channels, channel_step, sample_step;
};

// With `clip`, places behind the box's outputs are zero, too.
template <class T>
void stage(const ConvIsa& isa, const Axes& axes, const Layout& layout, const Box& box,
           const Source& source, bool clip, T* to);
extern template void stage<float>(const ConvIsa&, const Axes&, const Layout&, const Box&,
                                  const Source&, bool, float*);
extern template void stage<double>(const ConvIsa&, const Axes&, const Layout&, const Box&,
                                   const Source&, bool, double*);

constexpr int64_t round_up(int64_t n, int64_t to) {
  return (n + to - 1) / to * to;
}

}  // namespace wengert::cpu
