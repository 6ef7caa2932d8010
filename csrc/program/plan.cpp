#include "program/plan.h"

#include <algorithm>
#include <utility>

namespace wengert {
namespace {

size_t rounded(size_t bytes) {
  return (bytes + kAlignment - 1) / kAlignment * kAlignment;
}

// Backwards: what nobody reads need not be written.
void drop_dead(Recording& r, PlanReport& report) {
  std::vector<bool> wanted(r.slots.size());
  for (size_t i = 0; i < r.slots.size(); ++i) wanted[i] = r.slots[i].kind != Slot::Intermediate;
  std::vector<bool> keep(r.steps.size());
  for (size_t i = r.steps.size(); i-- > 0;) {
    const Step& s = r.steps[i];
    keep[i] = s.writes.empty() || std::any_of(s.writes.begin(), s.writes.end(),
                                              [&](uint32_t slot) { return wanted[slot]; });
    if (!keep[i]) continue;
    for (uint32_t slot : s.reads) wanted[slot] = true;
    for (uint32_t slot : s.writes) wanted[slot] = true;
  }
  size_t kept = 0;
  for (size_t i = 0; i < r.steps.size(); ++i) {
    if (keep[i]) {
      if (kept != i) r.steps[kept] = std::move(r.steps[i]);
      ++kept;
    }
  }
  report.dropped = static_cast<int>(r.steps.size() - kept);
  r.steps.resize(kept);
  for (size_t i = 0; i < r.steps.size(); ++i) {
    for (const auto& list : {r.steps[i].reads, r.steps[i].writes}) {
      for (uint32_t slot : list) {
        if (r.slots[slot].first < 0) r.slots[slot].first = static_cast<int>(i);
        r.slots[slot].last = static_cast<int>(i);
      }
    }
  }
}

// Offline dynamic storage allocation, greatest first into the lowest gap that fits (Pisarchyk, Lee,
// Efficient memory management for deep neural net inference, 2020: greedy by size).
void lay_out(Recording& r, PlanReport& report) {
  std::vector<uint32_t> order;
  std::vector<size_t> alive(r.steps.size() + 1);
  for (uint32_t i = 0; i < r.slots.size(); ++i) {
    const Slot& s = r.slots[i];
    if (s.kind != Slot::Intermediate || s.first < 0) continue;
    order.push_back(i);
    report.sum += rounded(s.bytes);
    for (int k = s.first; k <= s.last; ++k) alive[static_cast<size_t>(k)] += rounded(s.bytes);
  }
  for (size_t bytes : alive) report.bound = std::max(report.bound, bytes);
  std::stable_sort(order.begin(), order.end(),
                   [&](uint32_t a, uint32_t b) { return r.slots[a].bytes > r.slots[b].bytes; });
  std::vector<uint32_t> placed;  // by offset
  for (uint32_t i : order) {
    Slot& s = r.slots[i];
    size_t at = 0;
    for (uint32_t other : placed) {
      const Slot& o = r.slots[other];
      if (o.last < s.first || s.last < o.first) continue;
      if (at + rounded(s.bytes) <= o.offset) break;
      at = std::max(at, o.offset + rounded(o.bytes));
    }
    s.offset = at;
    report.arena = std::max(report.arena, at + rounded(s.bytes));
    placed.insert(std::upper_bound(placed.begin(), placed.end(), i,
                                   [&](uint32_t a, uint32_t b) {
                                     return r.slots[a].offset < r.slots[b].offset;
                                   }),
                  i);
  }
}

}  // namespace

PlanReport make_plan(Recording& r) {
  PlanReport report;
  report.recorded = static_cast<int>(r.steps.size());
  drop_dead(r, report);
  lay_out(r, report);
  return report;
}

}  // namespace wengert
