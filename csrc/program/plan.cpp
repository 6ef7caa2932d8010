#include "program/plan.h"

#include <algorithm>
#include <utility>

#include "program/arena.h"
#include "program/order.h"
#include "program/rewrite.h"

namespace wengert {
namespace {

// Backwards: what nobody reads need not be written.
int drop_dead(Recording& r) {
  std::vector<bool> wanted(r.slots.size());
  for (size_t i = 0; i < r.slots.size(); ++i) wanted[i] = r.slots[i].kind != Slot::Intermediate;
  std::vector<bool> gone(r.steps.size());
  for (size_t i = r.steps.size(); i-- > 0;) {
    const Step& s = r.steps[i];
    gone[i] = !s.writes.empty() && std::none_of(s.writes.begin(), s.writes.end(),
                                                [&](uint32_t slot) { return wanted[slot]; });
    if (gone[i]) continue;
    for (uint32_t slot : s.reads) wanted[slot] = true;
    for (uint32_t slot : s.writes) wanted[slot] = true;
  }
  return erase(r, gone);
}

// Checks of tensors on another device come last, where they part no graph, unless a step behind one
// writes what it looks at. They tell what is wrong later in any case.
void put_checks_last(Recording& r) {
  std::vector<int> order, last;
  for (int i = 0; std::cmp_less(i, r.steps.size()); ++i) {
    const Step& s = r.steps[static_cast<size_t>(i)];
    const bool moves = !s.launch && std::any_of(s.reads.begin(), s.reads.end(), [&](uint32_t slot) {
      return r.slots[slot].device != Device::CPU;
    }) && std::none_of(r.steps.begin() + i, r.steps.end(), [&](const Step& other) {
      return std::any_of(s.reads.begin(), s.reads.end(), [&](uint32_t slot) {
        return std::find(other.writes.begin(), other.writes.end(), slot) != other.writes.end();
      });
    });
    (moves ? last : order).push_back(i);
  }
  if (last.empty()) return;
  order.insert(order.end(), last.begin(), last.end());
  reorder(r, order);
}

bool in_arena(const Slot& s) {
  return s.kind == Slot::Intermediate && s.first >= 0 && !s.in_tile;
}

// Bytes of memory that a step reads and writes, without what stays in tiles.
double moved(const Recording& r, const Step& s) {
  double bytes = s.work.bytes;
  if (!s.launch) return bytes;
  const Launch& l = s.launch->launch;
  for (int k = 0; k < l.nbuffers; ++k) {
    const Slot& slot = r.slots[pointer_of(s, k).slot];
    if (slot.in_tile) bytes -= static_cast<double>(slot.bytes);
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
  size = {static_cast<int>(r.steps.size())};
  for (int d = 0; d < kNumDevices; ++d) {
    size.arenas[d] = lay_out(r.slots, static_cast<Device>(d));
    size.arena += size.arenas[d];
  }
  std::vector<size_t> alive(r.steps.size());
  for (const Slot& s : r.slots) {
    if (!in_arena(s)) continue;
    size.sum += rounded(s.bytes);
    for (int k = s.first; k <= s.last; ++k) alive[static_cast<size_t>(k)] += rounded(s.bytes);
  }
  for (size_t bytes : alive) size.bound = std::max(size.bound, bytes);
  for (const Step& s : r.steps) size.moved += moved(r, s);
}

}  // namespace

size_t lay_out(std::vector<Slot>& slots, Device device) {
  std::vector<Slot*> placed;
  std::vector<Stretch> stretches;
  for (Slot& s : slots) {
    if (!in_arena(s) || s.device != device) continue;
    placed.push_back(&s);
    stretches.push_back({s.bytes, s.first, s.last});
  }
  const size_t all = pack(stretches);
  for (size_t i = 0; i < placed.size(); ++i) placed[i]->offset = stretches[i].offset;
  return all;
}

Plan make_plan(Recording& r, size_t memory_limit) {
  for (Slot& s : r.slots) s.in_tile = false;
  Plan plan;
  measure(r, {}, plan.before);
  plan.dropped = drop_dead(r);
  plan.folded = fold_constants(r);
  plan.copies = drop_copies(r);
  plan.joined = join_activations(r);
  put_checks_last(r);
  if (memory_limit) {
    plan.again = rematerialise(r, memory_limit);
    plan.groups = fuse(r, 0);
    measure(r, plan.groups, plan.after);
    if (plan.after.arena <= memory_limit) return plan;
    // Steps that are under way at once need more.
    for (Slot& s : r.slots) s.in_tile = false;
    plan.groups.clear();
    measure(r, {}, plan.after);
    return plan;
  }
  plan.groups = fuse(r, static_cast<int>(r.steps.size()));
  const std::vector<Group> beside = together(r, plan.groups);
  plan.groups.insert(plan.groups.end(), beside.begin(), beside.end());
  measure(r, plan.groups, plan.after);
  return plan;
}

}  // namespace wengert
