#include "program/plan.h"

#include <algorithm>
#include <utility>

#include "program/order.h"

namespace wengert {
namespace {

size_t rounded(size_t bytes) {
  return (bytes + kAlignment - 1) / kAlignment * kAlignment;
}

// Backwards: what nobody reads need not be written.
int drop_dead(Recording& r) {
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
  const size_t dropped = r.steps.size() - kept;
  r.steps.resize(kept);
  return static_cast<int>(dropped);
}

// Offline dynamic storage allocation, greatest first into the lowest gap that fits (Pisarchyk, Lee,
// Efficient memory management for deep neural net inference, 2020: greedy by size).
void lay_out(Recording& r, PlanSize& report) {
  report.arena = report.sum = report.bound = 0;
  std::vector<uint32_t> order;
  std::vector<size_t> alive(r.steps.size() + 1);
  for (uint32_t i = 0; i < r.slots.size(); ++i) {
    const Slot& s = r.slots[i];
    if (s.kind != Slot::Intermediate || s.first < 0 || s.in_tile) continue;
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

// Bytes of memory that a step reads and writes, without what stays in tiles.
double moved(const Recording& r, const Step& s) {
  double bytes = s.work.bytes;
  if (!s.launch) return bytes;
  const Launch& l = s.launch->launch;
  for (int k = 0; k < l.nbuffers; ++k) {
    const auto at = std::find_if(s.pointers.begin(), s.pointers.end(),
                                 [&](const SlotPointer& p) { return p.at == &l.buffer[k].data; });
    if (!r.slots[at->slot].in_tile) continue;
    bytes -= static_cast<double>(r.slots[at->slot].bytes);
  }
  return std::max(bytes, 0.0);
}

// Steps of a group are under way at once, so what one of them touches is alive in all of them.
void widen_lifetimes(Recording& r, const std::vector<Group>& groups) {
  for (const Group& g : groups) {
    for (int i = g.first; i < g.first + g.count; ++i) {
      const Step& s = r.steps[static_cast<size_t>(i)];
      for (const auto& list : {s.reads, s.writes}) {
        for (uint32_t slot : list) {
          r.slots[slot].first = std::min(r.slots[slot].first, g.first);
          r.slots[slot].last = std::max(r.slots[slot].last, g.first + g.count - 1);
        }
      }
    }
  }
}

void measure(Recording& r, const std::vector<Group>& groups, PlanSize& size) {
  find_lifetimes(r);
  widen_lifetimes(r, groups);
  lay_out(r, size);
  size.steps = static_cast<int>(r.steps.size());
  size.moved = 0;
  for (const Step& s : r.steps) size.moved += moved(r, s);
}

}  // namespace

Plan make_plan(Recording& r) {
  Plan plan;
  measure(r, {}, plan.before);
  plan.dropped = drop_dead(r);
  plan.groups = fuse(r);
  const std::vector<Group> beside = together(r, plan.groups);
  plan.groups.insert(plan.groups.end(), beside.begin(), beside.end());
  measure(r, plan.groups, plan.after);
  return plan;
}

}  // namespace wengert
