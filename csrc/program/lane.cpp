#include "program/lane.h"

#include <algorithm>
#include <cstring>
#include <utility>

#include "core/error.h"
#include "ops/optim.h"
#include "program/plan.h"
#include "program/widen.h"

namespace wengert {
namespace {

// What a group's memory may take of a core's cache of the second level, which is 512 KiB to 2 MiB.
constexpr int64_t kGroupBytes = 1 << 19;

char* read_pointer(const void* at) {
  char* p;
  std::memcpy(&p, at, sizeof p);
  return p;
}
void write_pointer(void* at, const void* p) {
  std::memcpy(at, &p, sizeof p);
}

int64_t bytes_of(const TensorPlace& p) {
  return product(p.sizes) * static_cast<int64_t>(item_size(p.dtype));
}

// Where a launch keeps its pointers, always in the same order.
std::vector<void*> places_of(KeptLaunch& k) {
  std::vector<void*> out;
  for (int i = 0; i < k.launch.nbuffers; ++i) out.push_back(&k.launch.buffer[i].data);
  k.each_pointer([&](void* at, const void*, bool) { out.push_back(at); });
  return out;
}

}  // namespace

// --- where everything lies ---------------------------------------------------------------------

Ensemble::Layout::Layout(const Ensemble& e, std::vector<bool> own)
    : each(std::move(own)), slots(e.r_.slots.size()), apart(e.r_.slots.size()) {
  const Recording& r = e.r_;
  const auto last = static_cast<int>(r.steps.size());
  std::vector<bool> varies(r.slots.size());
  for (size_t i = 0; i < slots.size(); ++i) {
    const Slot& from = r.slots[i];
    Slot& s = slots[i];
    s.kind = from.kind;
    s.bytes = from.bytes;
    s.first = from.first;
    s.last = from.last;
    varies[i] = e.stack_of_[i] >= 0;
    if (from.kind == Slot::Argument) varies[i] = each[from.index];
    // Results and gradients are intermediates here.
    const bool filled = !from.content.empty() && (from.written || from.kind == Slot::Result);
    if (from.kind == Slot::Result || filled) s.kind = Slot::Intermediate;
    if (filled) {
      s.first = 0;
      s.last = std::max(s.last, 0);
    }
  }
  for (const TensorPlace& p : r.results) {
    Slot& s = slots[p.slot];
    if (s.kind != Slot::Intermediate) continue;
    varies[p.slot] = true;
    s.first = std::max(s.first, 0);
    s.last = last;
  }
  // What is written from what varies does so too, in all of its steps.
  for (bool more = true; std::exchange(more, false);) {
    for (const Step& s : r.steps) {
      const auto any = [&](const std::vector<uint32_t>& list) {
        return std::any_of(list.begin(), list.end(), [&](uint32_t i) { return varies[i]; });
      };
      if (!any(s.reads) && !any(s.writes) && s.generator < 0) continue;
      for (uint32_t i : s.writes) {
        if (!varies[i]) more = varies[i] = true;
      }
    }
  }
  int64_t stacked = 0;
  for (size_t i = 0; i < slots.size(); ++i) {
    if (!varies[i]) continue;
    apart[i] = static_cast<int64_t>(slots[i].bytes);
    if (slots[i].kind == Slot::Argument) apart[i] = bytes_of(r.arguments[r.slots[i].index]);
    if (slots[i].kind != Slot::Intermediate) stacked += apart[i];
  }
  const auto one = static_cast<int64_t>(lay_out(slots, Device::CPU));
  group = std::clamp<int64_t>(kGroupBytes / (stacked + one + 1), 1, e.n_);
  for (size_t i = 0; i < slots.size(); ++i) {
    if (varies[i]) slots[i].bytes *= static_cast<size_t>(group);
  }
  arena = lay_out(slots, Device::CPU);
}

Ensemble::Lane::Lane(Ensemble& e, const Layout& layout)
    : e_(e),
      layout_(layout),
      pointers_(layout.slots.size()),
      base_(layout.slots.size()),
      arena_(Storage::make(layout.arena, Device::CPU)),
      staged_(layout.each.size()) {
  int optimizers = 0;
  for (const Step& s : e.r_.steps) {
    Line line = copy_of(s);
    const auto varies = [&](uint32_t slot) { return layout.apart[slot] != 0; };
    const bool any = std::any_of(s.reads.begin(), s.reads.end(), varies) ||
                     std::any_of(s.writes.begin(), s.writes.end(), varies);
    if (s.settings) line.optimizer = optimizers++;
    line.wide = any && s.generator < 0 && s.launch && widens(line, s);
    line.repeated = (any || s.generator >= 0 || line.optimizer >= 0) && !line.wide;
    if (!line.repeated) line.moves.clear();
    starts_.resize(std::max(starts_.size(), line.moves.size()));
    lines_.push_back(std::move(line));
  }
  for (uint32_t i = 0; i < layout.slots.size(); ++i) {
    const Slot& s = e.r_.slots[i];
    const int stack = e.stack_of_[i];
    const auto from = stack >= 0 ? e.stacks_[static_cast<size_t>(stack)].all : s.storage;
    if (layout.slots[i].kind == Slot::Intermediate) {
      patch(i, static_cast<char*>(arena_->data) + layout.slots[i].offset, arena_.get());
      if (!s.content.empty()) refilled_.push_back(i);
    } else if (s.kind != Slot::Argument && from) {
      patch(i, static_cast<char*>(from->data), from.get());
    }
  }
}

Ensemble::Lane::Line Ensemble::Lane::copy_of(const Step& s) {
  Line line;
  line.of = &s;
  std::vector<void*> here, there;
  if (s.launch) {
    line.launch = std::make_unique<KeptLaunch>(s.launch->launch);
    here = places_of(*line.launch);
    there = places_of(*s.launch);
  }
  for (const Tensor& t : s.checked) {
    Tensor own = t.view(t.sizes(), t.strides());
    here.push_back(&own->data);
    there.push_back(&t->data);
    line.checked.push_back(std::move(own));
  }
  for (const SlotPointer& p : s.pointers) {
    const auto at = std::find(there.begin(), there.end(), p.at) - there.begin();
    WENGERT_CHECK(at < std::ssize(there));
    SlotPointer own = p;
    own.at = here[static_cast<size_t>(at)];
    if (p.storage) own.storage = &line.launch->launch.buffer[at].storage;
    pointers_[p.slot].push_back(own);
    line.moves.push_back({own.at, layout_.apart[p.slot]});
  }
  // Settings are copied over pointers that do not move, too.
  if (!s.settings) std::erase_if(line.moves, [](const Move& m) { return m.stride == 0; });
  return line;
}

bool Ensemble::Lane::widens(Line& line, const Step& s) {
  Launch& l = line.launch->launch;
  if (std::ssize(s.pointers) != l.nbuffers) return false;
  int64_t apart[kMaxBuffers] = {};
  for (const SlotPointer& p : s.pointers) {
    for (int k = 0; k < l.nbuffers; ++k) {
      if (&s.launch->launch.buffer[k].data != p.at) continue;
      const auto item = static_cast<int64_t>(item_size(l.buffer[k].dtype));
      apart[k] = layout_.apart[p.slot] / item;
      if (apart[k] * item != layout_.apart[p.slot]) return false;
    }
  }
  if (!widen(l, {apart, static_cast<size_t>(l.nbuffers)})) return false;
  line.size = l.size[0];
  line.count = l.count;
  return true;
}

// --- a step ------------------------------------------------------------------------------------

void Ensemble::Lane::patch(uint32_t slot, char* base, const Storage* storage) {
  if (base_[slot] == base) return;
  base_[slot] = base;
  for (const SlotPointer& p : pointers_[slot]) {
    write_pointer(p.at, base + p.offset);
    if (p.storage) *p.storage = storage;
  }
}

void Ensemble::Lane::bind(int64_t first, int64_t count) {
  first_ = first;
  models_ = count;
  for (const Stack& s : e_.stacks_) {
    patch(s.slot, static_cast<char*>(s.all->data) + first * layout_.apart[s.slot], s.all.get());
  }
  for (Line& line : lines_) {
    if (!line.wide) continue;
    Launch& l = line.launch->launch;
    l.size[0] = line.size * count;
    l.count = line.count * count;
  }
}

void Ensemble::Lane::bind_arguments(const EnsembleData& data, int64_t k) {
  const auto arguments = std::ssize(data.arrays);
  const int64_t total = std::ssize(data.order) / (data.own_orders ? e_.n_ : 1);
  const int64_t batch = total / data.steps;
  for (int64_t a = 0; a < arguments; ++a) {
    const auto i = static_cast<size_t>(a);
    const TensorPlace& place = e_.r_.arguments[i];
    const bool own_rows = data.each[i];
    const Tensor& array = data.arrays[i];
    char* const from = array.data();
    const int64_t bytes = bytes_of(place);
    if (data.order.empty()) {  // where it is
      patch(place.slot, from + (own_rows ? first_ * bytes : 0), array->storage.get());
      continue;
    }
    const int64_t row = batch ? bytes / batch : 0;
    const int64_t rows = array.size(own_rows ? 1 : 0);
    const int64_t* order = data.order.data() + k * batch;
    bool in_order = true;
    for (int64_t j = 1; j < batch; ++j) in_order &= order[j] == order[j - 1] + 1;
    if (!layout_.apart[place.slot] && in_order) {
      patch(place.slot, from + order[0] * row, array->storage.get());
      continue;
    }
    const int64_t copies = layout_.apart[place.slot] ? models_ : 1;
    if (!staged_[i]) {
      const int64_t most = layout_.apart[place.slot] ? layout_.group : 1;
      staged_[i] = Storage::make(static_cast<size_t>(most * bytes), Device::CPU);
    }
    char* to = static_cast<char*>(staged_[i]->data);
    patch(place.slot, to, staged_[i].get());
    for (int64_t m = 0; m < copies; ++m) {
      const int64_t* own = order + (data.own_orders ? (first_ + m) * total : 0);
      const char* source = from + (own_rows ? (first_ + m) * rows * row : 0);
      for (int64_t j = 0; j < batch; ++j, to += row) {
        std::memcpy(to, source + own[j] * row, static_cast<size_t>(row));
      }
    }
  }
}

void Ensemble::Lane::refill() {
  for (uint32_t slot : refilled_) {
    const std::vector<char>& content = e_.r_.slots[slot].content;
    for (int64_t m = 0; m < (layout_.apart[slot] ? models_ : 1); ++m) {
      std::copy(content.begin(), content.end(), base_[slot] + m * layout_.apart[slot]);
    }
  }
}

void Ensemble::Lane::step() {
  refill();
  const bool observed = launch_observer() != nullptr;
  for (Line& line : lines_) {
    if (line.repeated) {
      repeat(line, observed);
    } else if (line.launch) {
      take(line, observed);
    } else {
      line.of->check(line.checked);
    }
  }
  for (size_t i = 0; i < e_.streams_.size(); ++i) {
    const Stream& s = e_.r_.streams[i];
    for (int64_t m = first_; m < first_ + models_; ++m) {
      RandomState& now = e_.streams_[i][static_cast<size_t>(m)];
      now.counter += s.end_counter - s.counter;
      if (s.seeded) now = {s.end_seed, s.end_counter};
    }
  }
}

void Ensemble::Lane::take(const Line& line, bool observed) const {
  observed ? launch(line.launch->launch) : line.of->kernel(line.launch->launch);
}

void Ensemble::Lane::repeat(Line& line, bool observed) {
  const Step& s = *line.of;
  for (size_t j = 0; j < line.moves.size(); ++j) starts_[j] = read_pointer(line.moves[j].at);
  for (int64_t m = 0; m < models_; ++m) {
    const auto model = static_cast<size_t>(first_ + m);
    if (line.optimizer >= 0) {
      const Optimizer& all = e_.optimizers_[static_cast<size_t>(line.optimizer)];
      OptimizerLaunch& o = *line.launch->optimizer();
      const OptimizerItem* const items = o.items;
      o = all.current[all.current.size() > 1 ? model : 0];
      o.items = items;
    }
    for (size_t j = 0; j < line.moves.size(); ++j) {
      write_pointer(line.moves[j].at, starts_[j] + m * line.moves[j].stride);
    }
    if (!line.launch) {
      s.check(line.checked);
      continue;
    }
    Launch& l = line.launch->launch;
    if (s.generator >= 0) {
      const RandomState& from = e_.streams_[static_cast<size_t>(s.generator)][model];
      l.more[0] = static_cast<int64_t>(from.seed);
      l.more[1] = static_cast<int64_t>(from.counter + s.counter);
    }
    if (line.optimizer >= 0) count_step(l, line.launch->items());
    take(line, observed);
  }
  for (size_t j = 0; j < line.moves.size(); ++j) write_pointer(line.moves[j].at, starts_[j]);
}

void Ensemble::Lane::hand_out(std::span<const Tensor> stacked, int64_t k) const {
  for (size_t i = 0; i < stacked.size(); ++i) {
    const TensorPlace& p = e_.r_.results[i];
    const int64_t bytes = bytes_of(p);
    if (bytes == 0) continue;
    char* to = stacked[i].data() + (k * e_.n_ + first_) * bytes;
    for (int64_t m = 0; m < models_; ++m, to += bytes) {
      std::memcpy(to, base_[p.slot] + p.offset + m * layout_.apart[p.slot],
                  static_cast<size_t>(bytes));
    }
  }
}

std::vector<std::string> Ensemble::Lane::lines() const {
  std::vector<std::string> out = e_.program_->lines();
  for (size_t i = 0; i < lines_.size() && i < out.size(); ++i) {
    out[i] += lines_[i].wide ? ", widened" : lines_[i].repeated ? ", repeated" : ", once";
  }
  return out;
}

}  // namespace wengert
