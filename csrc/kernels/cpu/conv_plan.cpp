#include "kernels/cpu/conv_plan.h"

#include <algorithm>
#include <cstring>
#include <utility>

namespace wengert::cpu {
namespace {

int64_t floor_div(int64_t a, int64_t b) {
  return a / b - (a % b != 0 && (a < 0) != (b < 0));
}
int64_t ceil_div(int64_t a, int64_t b) {
  return -floor_div(-a, b);
}

}  // namespace

void Axis::set_taps(const std::vector<std::pair<int64_t, int64_t>>& places) {
  for (const auto& [kernel, place] : places) {
    const int64_t phase = place % split;
    const auto at = std::find(phases.begin(), phases.end(), phase);
    taps.push_back({kernel, at - phases.begin(), place / split});
    if (at == phases.end()) phases.push_back(phase);
    reach = std::max(reach, place / split);
  }
  const auto n = static_cast<int64_t>(taps.size());
  if (n * count < slots() * (count + reach)) spread();
}

void Axis::spread() {
  std::vector<int64_t> places;
  for (Tap& t : taps) {
    places.push_back(t.shift * split + phases[static_cast<size_t>(t.phase)]);
    t = {t.kernel, static_cast<int64_t>(places.size()) - 1, 0};
  }
  phases = std::move(places);
  reach = 0;
}

void spread_rows(Axes& axes, int64_t channels, int64_t rows, int64_t lanes, int64_t most) {
  constexpr double kRow = 8;  // multiply-adds of vectors in the time to begin a row's copy
  int64_t taps = 1, outer = 1, rows_staged = 1;
  for (int d = 0; d < 3; ++d) taps *= static_cast<int64_t>(axes[d].taps.size());
  for (int d = 0; d < 2; ++d) {
    outer *= axes[d].slots();
    rows_staged *= axes[d].count + axes[d].reach;
  }
  // Of a sample: what is computed, the gaps included, and what is copied.
  const auto cost = [&](const Axis& last) {
    const int64_t row = last.count + last.reach, plane = row * (axes[1].count + axes[1].reach);
    const int64_t outputs = (axes[0].count - 1) * plane + (axes[1].count - 1) * row + last.count;
    const double copies = static_cast<double>(outer * last.slots() * rows_staged) *
                          (kRow + 2.0 * static_cast<double>(ceil_div(row, lanes)));
    return static_cast<double>(channels) *
           (static_cast<double>(taps * rows * ceil_div(outputs, lanes)) + copies);
  };
  Axis dense = axes[2];
  dense.spread();
  const int64_t staged = channels * outer * dense.slots() * rows_staged * dense.count;
  if (staged <= most && cost(dense) < cost(axes[2])) axes[2] = std::move(dense);
}

Axis forward_axis(const ConvParams& p, int d) {
  Axis a{p.output[d], 0, 1, p.input[d], p.stride[d], -p.padding[d], 0, {}, {}};
  std::vector<std::pair<int64_t, int64_t>> places;
  for (int64_t k = 0; k < p.kernel[d]; ++k) places.emplace_back(k, k * p.dilation[d]);
  a.set_taps(places);
  return a;
}

Axis backward_axis(const ConvParams& p, int d, int64_t first) {
  const int64_t s = p.stride[d], residue = (first + p.padding[d]) % s;
  Axis a{ceil_div(p.input[d] - first, s), first, s, p.output[d], 1, 0, 0, {}, {}};
  std::vector<std::pair<int64_t, int64_t>> places;
  int64_t least = 0;
  for (int64_t k = 0; k < p.kernel[d]; ++k) {
    const int64_t behind = residue - k * p.dilation[d];
    if (behind % s != 0) continue;
    places.emplace_back(k, behind / s);
    least = std::min(least, behind / s);
  }
  for (auto& [k, place] : places) place -= least;
  a.origin = (first + p.padding[d] - residue) / s + least;
  a.set_taps(places);
  return a;
}

Axis plain_axis(const Axis& like) {
  return {like.count, 0, 1, like.count, 1, 0, like.reach, {0}, {{0, 0, 0}}};
}

Box Boxes::box(int64_t i) const {
  const int64_t bands = per_sample();
  Box b{i / bands * samples, 0, {0, 0, 0}, {full[0], full[1], full[2]}};
  b.samples = std::min(samples, batch - b.sample);
  b.low[cut] = i % bands * band;
  b.length[cut] = std::min(band, count - b.low[cut]);
  return b;
}

Boxes cut_into_boxes(const Axes& axes, int64_t batch, int64_t channels, int64_t rows, int64_t item,
                     int64_t bytes, int64_t most) {
  Boxes b{batch, 1, 0, 0, 0, {axes[0].count, axes[1].count, axes[2].count}};
  while (b.cut < 2 && b.full[b.cut] == 1) ++b.cut;
  b.count = b.band = b.full[b.cut];
  const int64_t phases = axes[0].slots() * axes[1].slots() * axes[2].slots();
  // What one more place along the cut axis takes.
  int64_t slice = 1;
  for (int d = b.cut + 1; d < 3; ++d) slice *= b.full[d] + axes[d].reach;
  const int64_t each = std::max<int64_t>(1, slice * (channels * phases + rows) * item);
  const int64_t halo = axes[b.cut].reach;
  const int64_t fit =
      std::max<int64_t>(1, std::min(bytes / each - halo, (most + slice - 1) / slice));
  if (fit < b.count) {
    const int64_t bands = (b.count + fit - 1) / fit;
    b.band = (b.count + bands - 1) / bands;
  } else {
    const int64_t places = (b.count + halo) * slice;
    const int64_t samples = std::min(bytes / (each * (b.count + halo)), most / places);
    b.samples = std::clamp<int64_t>(samples, 1, std::max<int64_t>(batch, 1));
  }
  return b;
}

Layout::Layout(const Axes& axes, const Boxes& boxes) {
  const Box b = boxes.box(0);
  row = b.length[2] + axes[2].reach;
  plane = row * (b.length[1] + axes[1].reach);
  sample = plane * (b.length[0] + axes[0].reach);
  phase = sample * boxes.samples;
  channel = phase * axes[0].slots() * axes[1].slots() * axes[2].slots();
  outputs = outputs_of(b);
}

Runs::Runs(const Layout& layout, const Box& b, int64_t lanes)
    : count(1), length(round_up(layout.outputs_of(b), lanes)), step(layout.sample) {
  const int64_t one = round_up(layout.outputs_of_one(b), lanes);
  // A run must end before the next sample: it would count its first outputs again.
  if (one > layout.sample || b.samples * one >= length) return;
  count = b.samples;
  length = one;
}

std::vector<int64_t> tap_offsets(const Axes& axes, const Layout& layout, int64_t channels) {
  std::vector<int64_t> offsets;
  for (int64_t c = 0; c < channels; ++c) {
    for (const Axis::Tap& a : axes[0].taps) {
      for (const Axis::Tap& b : axes[1].taps) {
        for (const Axis::Tap& e : axes[2].taps) {
          const int64_t phase = (a.phase * axes[1].slots() + b.phase) * axes[2].slots() + e.phase;
          offsets.push_back(c * layout.channel + phase * layout.phase + a.shift * layout.plane +
                            b.shift * layout.row + e.shift);
        }
      }
    }
  }
  return offsets;
}

template <class T>
void stage(const ConvIsa& isa, const Axes& axes, const Layout& layout, const Box& box,
           const Source& source, bool clip, T* to) {
  // Of each axis and phase, the places [begin, end) of the box that are in the source.
  struct Run {
    int64_t begin, end, from;
  };
  std::vector<Run> runs[3];
  int64_t rows[3];
  for (int d = 0; d < 3; ++d) {
    const Axis& a = axes[d];
    rows[d] = box.length[d] + a.reach;
    for (const int64_t phase : a.phases) {
      const int64_t start = box.low[d] * a.split + phase + a.origin;  // of place 0
      const int64_t begin = std::clamp<int64_t>(ceil_div(-start, a.split), 0, rows[d]);
      int64_t end = std::clamp<int64_t>(ceil_div(a.source - start, a.split), begin, rows[d]);
      if (clip) end = std::clamp<int64_t>(end, begin, std::max(begin, box.length[d]));
      runs[d].push_back({begin, end, start + begin * a.split});
    }
  }
  const int64_t height = axes[1].source, width = axes[2].source;
  for (int64_t c = 0; c < source.channels; ++c) {
    T* block = to + c * layout.channel;
    for (const Run& r0 : runs[0]) {
      for (const Run& r1 : runs[1]) {
        for (const Run& r2 : runs[2]) {
          const bool whole = r0.end - r0.begin == rows[0] && r1.end - r1.begin == rows[1] &&
                             r2.end - r2.begin == rows[2] &&
                             layout.sample == rows[0] * rows[1] * rows[2];
          const T* from = static_cast<const T*>(source.data) + c * source.channel_step +
                          box.sample * source.sample_step;
          for (int64_t n = 0; n < box.samples; ++n, from += source.sample_step) {
            T* sample = block + n * layout.sample;
            if (!whole) std::memset(sample, 0, static_cast<size_t>(layout.sample) * sizeof(T));
            if (r1.begin == r1.end || r2.begin == r2.end) continue;
            for (int64_t u = r0.begin; u < r0.end; ++u) {
              const int64_t at = r0.from + (u - r0.begin) * axes[0].split;
              isa.stage({from + (at * height + r1.from) * width + r2.from, width * axes[1].split,
                         axes[2].split,
                         sample + u * layout.plane + r1.begin * layout.row + r2.begin, layout.row,
                         1, r1.end - r1.begin, r2.end - r2.begin});
            }
          }
          if (clip && box.samples * layout.sample < layout.phase) {
            std::memset(
                block + box.samples * layout.sample, 0,
                static_cast<size_t>(layout.phase - box.samples * layout.sample) * sizeof(T));
          }
          block += layout.phase;
        }
      }
    }
  }
}
template void stage<float>(const ConvIsa&, const Axes&, const Layout&, const Box&, const Source&,
                           bool, float*);
template void stage<double>(const ConvIsa&, const Axes&, const Layout&, const Box&, const Source&,
                            bool, double*);

}  // namespace wengert::cpu
