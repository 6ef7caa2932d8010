#include "program/rematerialise.h"

#include <algorithm>
#include <limits>
#include <optional>
#include <set>
#include <utility>

#include "core/error.h"
#include "program/arena.h"

namespace wengert {
namespace {

// What is known of an intermediate before anything is moved.
struct Value {
  int writer = -1;                        // the one step that makes it, if it can be taken again
  bool managed = false;                   // an intermediate: counts for the memory
  std::vector<int> uses;                  // steps, in order
  int needed_until = -1;                  // by itself, and by what can be made of it again
  std::vector<uint32_t> inputs, outputs;  // managed ones, that it is made of, or are made of it
};

struct Taken {
  int step;
  bool again;
};

enum class Time { SinceUse, UntilUse, Ignored };

class Simulation {
 public:
  Simulation(const Recording& r, const std::vector<Value>& values, size_t limit, Time time)
      : r_(r),
        values_(values),
        limit_(limit),
        time_(time),
        resident_(r.slots.size()),
        used_(r.slots.size()),
        pins_(r.slots.size()),
        next_(r.slots.size()) {}

  // False if some step needs more at once than there may be.
  bool run() {
    for (now_ = 0; std::cmp_less(now_, r_.steps.size()); ++now_) {
      if (!take(now_, false)) return false;
      release();
    }
    return true;
  }
  const std::vector<Taken>& taken() const { return taken_; }
  double cost() const { return cost_; }

 private:
  bool take(int i, bool again) {
    const Step& s = r_.steps[static_cast<size_t>(i)];
    for (const auto& list : {s.reads, s.writes}) {
      for (uint32_t slot : list) ++pins_[slot];
    }
    bool fits = true;
    for (uint32_t slot : s.reads) fits = fits && have(slot, i);
    for (uint32_t slot : s.writes) {
      if (fits && values_[slot].managed && !resident_[slot]) fits = place(slot);
    }
    for (const auto& list : {s.reads, s.writes}) {
      for (uint32_t slot : list) {
        --pins_[slot];
        used_[slot] = cost_;
      }
    }
    cost_ += cost_of(s);
    taken_.push_back({i, again});
    return fits;
  }

  // What the step reads; of what is not there, it is the first writer.
  bool have(uint32_t slot, int reader) {
    const Value& v = values_[slot];
    if (!v.managed || resident_[slot]) return true;
    if (v.writer < 0 || v.writer == reader) return place(slot);
    return take(v.writer, true);
  }

  bool place(uint32_t slot) {
    const size_t bytes = rounded(r_.slots[slot].bytes);
    while (alive_ + bytes > limit_) {
      const std::optional<uint32_t> victim = cheapest();
      if (!victim) return false;
      drop(*victim);
    }
    resident_[slot] = true;
    alive_ += bytes;
    return true;
  }

  void drop(uint32_t slot) {
    resident_[slot] = false;
    alive_ -= rounded(r_.slots[slot].bytes);
  }

  int next_use(uint32_t slot) {
    const std::vector<int>& uses = values_[slot].uses;
    size_t& at = next_[slot];
    while (at < uses.size() && uses[at] <= now_) ++at;
    return at < uses.size() ? uses[at] : -1;
  }

  // What nobody needs any more, or only to make again what is not needed before it is evicted.
  void release() {
    for (uint32_t slot = 0; slot < resident_.size(); ++slot) {
      if (!resident_[slot]) continue;
      const Value& v = values_[slot];
      const bool gone = v.writer >= 0 ? next_use(slot) < 0 : v.needed_until <= now_;
      if (gone) drop(slot);
    }
  }

  // Of the slot, and of what is evicted around it: to have it again, or to have again what is made
  // of it.
  double projected(uint32_t slot) {
    double sum = cost_of(r_.steps[static_cast<size_t>(values_[slot].writer)]);
    seen_.assign(resident_.size(), false);
    seen_[slot] = true;
    std::vector<uint32_t> stack{slot};
    while (!stack.empty()) {
      const Value& v = values_[stack.back()];
      stack.pop_back();
      for (const auto& list : {v.inputs, v.outputs}) {
        for (uint32_t other : list) {
          const Value& o = values_[other];
          if (seen_[other] || resident_[other] || o.writer < 0 || o.writer > now_) continue;
          if (o.needed_until <= now_) continue;
          seen_[other] = true;
          sum += cost_of(r_.steps[static_cast<size_t>(o.writer)]);
          stack.push_back(other);
        }
      }
    }
    return sum;
  }

  std::optional<uint32_t> cheapest() {
    std::optional<uint32_t> best;
    double least = std::numeric_limits<double>::infinity();
    for (uint32_t slot = 0; slot < resident_.size(); ++slot) {
      if (!resident_[slot] || pins_[slot] || values_[slot].writer < 0) continue;
      double time = 1;
      if (time_ == Time::SinceUse) time = cost_ - used_[slot] + 1;
      if (time_ == Time::UntilUse) {
        const int next = next_use(slot);
        time = next < 0 ? static_cast<double>(r_.steps.size()) : next - now_;
      }
      const double h = projected(slot) / (static_cast<double>(r_.slots[slot].bytes) * time);
      if (h < least) {
        least = h;
        best = slot;
      }
    }
    return best;
  }

  const Recording& r_;
  const std::vector<Value>& values_;
  size_t limit_;
  Time time_;
  std::vector<bool> resident_, seen_;
  std::vector<double> used_;
  std::vector<int> pins_;
  std::vector<size_t> next_;
  std::vector<Taken> taken_;
  int now_ = 0;
  double cost_ = 0;
  size_t alive_ = 0;
};

bool in_buffers(const Step& s) {
  const auto* const begin = reinterpret_cast<const char*>(s.launch.get());
  return std::all_of(s.pointers.begin(), s.pointers.end(), [&](const SlotPointer& p) {
    const char* at = static_cast<const char*>(p.at);
    return begin <= at && at < begin + sizeof(KeptLaunch);
  });
}

std::vector<Value> values_of(const Recording& r) {
  std::vector<Value> out(r.slots.size());
  std::vector<std::vector<int>> writers(r.slots.size());
  for (int i = 0; std::cmp_less(i, r.steps.size()); ++i) {
    const Step& s = r.steps[static_cast<size_t>(i)];
    for (uint32_t slot : s.reads) out[slot].uses.push_back(i);
    for (uint32_t slot : s.writes) {
      out[slot].uses.push_back(i);
      writers[slot].push_back(i);
    }
  }
  for (uint32_t slot = 0; slot < out.size(); ++slot) {
    Value& v = out[slot];
    v.managed = r.slots[slot].kind == Slot::Intermediate;
    v.needed_until = v.uses.empty() ? -1 : v.uses.back();
    if (!v.managed || writers[slot].size() != 1) continue;
    const Step& s = r.steps[static_cast<size_t>(writers[slot][0])];
    if (!s.launch || s.settings || s.writes.size() != 1 || !in_buffers(s)) continue;
    if (std::find(s.reads.begin(), s.reads.end(), slot) != s.reads.end()) continue;
    v.writer = writers[slot][0];
  }
  // From the last to the first, as what is made of a value comes after it.
  std::vector<uint32_t> order;
  for (uint32_t slot = 0; slot < out.size(); ++slot) {
    if (out[slot].writer >= 0) order.push_back(slot);
  }
  std::sort(order.begin(), order.end(),
            [&](uint32_t a, uint32_t b) { return out[a].writer > out[b].writer; });
  for (uint32_t slot : order) {
    Value& v = out[slot];
    const std::vector<uint32_t>& reads = r.steps[static_cast<size_t>(v.writer)].reads;
    // What it is made of is still the same, as long as it may be made again.
    const bool lasts = std::all_of(reads.begin(), reads.end(), [&](uint32_t of) {
      return std::none_of(writers[of].begin(), writers[of].end(),
                          [&](int w) { return w > v.writer && w <= v.needed_until; });
    });
    if (!lasts) {
      v.writer = -1;
      continue;
    }
    for (uint32_t of : reads) {
      out[of].needed_until = std::max(out[of].needed_until, v.needed_until);
      if (!out[of].managed) continue;
      v.inputs.push_back(of);
      out[of].outputs.push_back(slot);
    }
  }
  return out;
}

Step copy_of(const Step& s) {
  Step out;
  out.launch = std::make_unique<KeptLaunch>(s.launch->launch);
  out.kernel = s.kernel;
  out.reads = s.reads;
  out.writes = s.writes;
  out.source = s.source;
  out.generator = s.generator;
  out.counter = s.counter;
  out.work = s.work;
  const auto moved = [&](const void* p) {
    const ptrdiff_t at = static_cast<const char*>(p) - reinterpret_cast<char*>(s.launch.get());
    return reinterpret_cast<char*>(out.launch.get()) + at;
  };
  for (SlotPointer p : s.pointers) {
    p.at = moved(p.at);
    if (p.storage) p.storage = reinterpret_cast<const Storage**>(moved(p.storage));
    out.pointers.push_back(p);
  }
  return out;
}

// Of the arena, if the steps are taken like this.
size_t arena_of(const Recording& r, const std::vector<Value>& values,
                const std::vector<Taken>& taken) {
  std::vector<Stretch> stretches;
  std::vector<int> now(r.slots.size(), -1);
  for (int t = 0; std::cmp_less(t, taken.size()); ++t) {
    const auto [i, again] = taken[static_cast<size_t>(t)];
    const Step& s = r.steps[static_cast<size_t>(i)];
    for (const bool writes : {false, true}) {
      for (uint32_t slot : writes ? s.writes : s.reads) {
        if (!values[slot].managed) continue;
        if (now[slot] < 0 || (again && writes)) {
          now[slot] = static_cast<int>(stretches.size());
          stretches.push_back({r.slots[slot].bytes, t, t});
        }
        stretches[static_cast<size_t>(now[slot])].last = t;
      }
    }
  }
  return pack(stretches);
}

// Bytes of intermediates that a step needs at once.
size_t needed_by(const Recording& r, const std::vector<Value>& values, const Step& s) {
  std::set<uint32_t> slots(s.reads.begin(), s.reads.end());
  slots.insert(s.writes.begin(), s.writes.end());
  size_t bytes = 0;
  for (uint32_t slot : slots) bytes += values[slot].managed ? rounded(r.slots[slot].bytes) : 0;
  return bytes;
}

// Each time that a value is made it is another slot.
void take_again(Recording& r, const std::vector<Taken>& taken) {
  std::vector<uint32_t> now(r.slots.size());
  for (uint32_t i = 0; i < now.size(); ++i) now[i] = i;
  std::vector<Step> steps;
  steps.reserve(taken.size());
  std::vector<int> last(r.steps.size());  // the last time that a step is taken
  for (int t = 0; std::cmp_less(t, taken.size()); ++t) {
    last[static_cast<size_t>(taken[static_cast<size_t>(t)].step)] = t;
  }
  for (int t = 0; std::cmp_less(t, taken.size()); ++t) {
    const auto [i, again] = taken[static_cast<size_t>(t)];
    Step& original = r.steps[static_cast<size_t>(i)];
    Step s = last[static_cast<size_t>(i)] == t ? std::move(original) : copy_of(original);
    if (again) {
      Slot slot;
      slot.made = slot.touched = slot.written = true;
      slot.bytes = r.slots[s.writes[0]].bytes;
      slot.source = r.slots[s.writes[0]].source;
      now[s.writes[0]] = static_cast<uint32_t>(r.slots.size());
      r.slots.push_back(std::move(slot));
    }
    for (auto* list : {&s.reads, &s.writes}) {
      for (uint32_t& slot : *list) slot = now[slot];
    }
    for (SlotPointer& p : s.pointers) p.slot = now[p.slot];
    steps.push_back(std::move(s));
  }
  r.steps = std::move(steps);
}

}  // namespace

Rematerialised rematerialise(Recording& r, size_t limit) {
  const std::vector<Value> values = values_of(r);
  double before = 0;
  for (const Step& s : r.steps) before += cost_of(s);
  Rematerialised out;
  std::vector<Taken> taken;
  // What is alive at once does not always fit side by side: then in a little less.
  for (double share = 1; share > 0.5 && taken.empty(); share -= 0.02) {
    const auto budget = static_cast<size_t>(share * static_cast<double>(limit));
    for (const Time time : {Time::SinceUse, Time::UntilUse, Time::Ignored}) {
      Simulation s(r, values, budget, time);
      if (!s.run() || (!taken.empty() && s.cost() / before >= out.cost)) continue;
      const size_t arena = arena_of(r, values, s.taken());
      if (arena > limit) continue;
      out = {static_cast<int>(s.taken().size() - r.steps.size()), s.cost() / before};
      taken = s.taken();
    }
  }
  if (taken.empty()) {
    size_t least = 0;
    for (const Step& s : r.steps) least = std::max(least, needed_by(r, values, s));
    fail(ErrorKind::Capture, "the step cannot be taken in memory_limit=", limit,
         " bytes; a single launch needs ", least, " of them");
  }
  if (out.steps) take_again(r, taken);
  return out;
}

}  // namespace wengert
