#include "program/order.h"

#include <algorithm>
#include <utility>

namespace wengert {
namespace {

struct Touches {
  int writer = -1;
  std::vector<int> readers;  // since
};

bool lasts(const Slot& s) {
  return s.kind == Slot::External || s.kind == Slot::Argument || s.kind == Slot::Gradient;
}

}  // namespace

Order order_of(const Recording& r) {
  const size_t n = r.steps.size();
  Order out{std::vector<std::vector<int>>(n), std::vector<int>(n)};
  const auto edge = [&](int from, int to) {
    if (from < 0 || from == to) return;
    auto& next = out.next[static_cast<size_t>(from)];
    if (!next.empty() && next.back() == to) return;
    next.push_back(to);
    ++out.waits[static_cast<size_t>(to)];
  };
  std::vector<Touches> uses(r.slots.size());
  // What a check lets through is not changed before it, and what was changed before it stays so.
  int check = -1;
  std::vector<int> changes;
  for (int i = 0; std::cmp_less(i, n); ++i) {
    const Step& s = r.steps[static_cast<size_t>(i)];
    std::vector<int> from;
    bool changes_lasting = false;
    for (uint32_t slot : s.reads) from.push_back(uses[slot].writer);
    for (uint32_t slot : s.writes) {
      from.push_back(uses[slot].writer);
      from.insert(from.end(), uses[slot].readers.begin(), uses[slot].readers.end());
      changes_lasting |= lasts(r.slots[slot]);
    }
    if (!s.launch) {
      from.push_back(check);
      from.insert(from.end(), changes.begin(), changes.end());
      changes.clear();
      check = i;
    } else if (changes_lasting) {
      from.push_back(check);
      changes.push_back(i);
    }
    std::sort(from.begin(), from.end());
    from.erase(std::unique(from.begin(), from.end()), from.end());
    for (int f : from) edge(f, i);
    for (uint32_t slot : s.reads) uses[slot].readers.push_back(i);
    for (uint32_t slot : s.writes) uses[slot] = {i, {}};
  }
  return out;
}

void reorder(Recording& r, const std::vector<int>& order) {
  std::vector<Step> steps;
  steps.reserve(order.size());
  for (int i : order) steps.push_back(std::move(r.steps[static_cast<size_t>(i)]));
  r.steps = std::move(steps);
}

int erase(Recording& r, const std::vector<bool>& gone) {
  size_t kept = 0;
  for (size_t i = 0; i < r.steps.size(); ++i) {
    if (gone[i]) continue;
    if (kept != i) r.steps[kept] = std::move(r.steps[i]);
    ++kept;
  }
  const auto count = static_cast<int>(r.steps.size() - kept);
  r.steps.resize(kept);
  return count;
}

void find_lifetimes(Recording& r) {
  for (Slot& s : r.slots) s.first = s.last = -1;
  for (int i = 0; std::cmp_less(i, r.steps.size()); ++i) {
    const Step& s = r.steps[static_cast<size_t>(i)];
    for (const auto& list : {s.reads, s.writes}) {
      for (uint32_t slot : list) {
        if (r.slots[slot].first < 0) r.slots[slot].first = i;
        r.slots[slot].last = i;
      }
    }
  }
}

}  // namespace wengert
