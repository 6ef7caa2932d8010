#include "program/fuse.h"

#include <algorithm>
#include <map>
#include <optional>
#include <queue>
#include <utility>

#include "program/arena.h"
#include "program/order.h"

namespace wengert {
namespace {

// Elements of a tile: four KiB of float32, so that some eight operands stay in L1; of what the
// inner loops cannot take as it is, more, as each cut costs a tenth of a microsecond.
constexpr int64_t kTile = 1024, kLongTile = 4096;
// Elements of a row that a tile may have.
constexpr int64_t kLongestRow = 4096;
// Elements from which tiles pay: all operands of smaller launches stay in L1 or L2 anyway.
constexpr int64_t kFrom = 4096;
// Reductions of shorter rows take several at a time, as many as there are.
constexpr int64_t kShortestReduced = 64;

// How a launch goes over its buffers, if it can be cut into ranges of rows without changing what it
// computes.
struct Space {
  int64_t count;           // elements
  int64_t rows;            // 0: any divisor of the count
  int64_t written_to_row;  // of a reduction: elements of its result; else 0
};

bool is_reduction(KernelId k) {
  return k >= kFirstReduction && k < kFirstReduction + Reductions::size;
}

bool is_packed(const Launch& l, int k) {
  int64_t step = 1;
  for (int d = l.ndim - 1; d >= 0; --d) {
    if (l.size[d] != 1 && l.buffer[k].stride[d] != step) return false;
    step *= l.size[d];
  }
  return true;
}

std::optional<Space> space_of(const Step& s) {
  if (!s.launch || s.generator >= 0 || s.settings) return std::nullopt;
  const Launch& l = s.launch->launch;
  if (l.device != Device::CPU) return std::nullopt;
  if (l.count == 0 || s.writes.size() != 1 || buffers_written(l) != 1) return std::nullopt;
  if (is_reduction(l.kernel)) {
    const bool rows = l.ndim == 2 && !l.dense && l.integer[0] == 1 && l.nbuffers == 2 &&
                      l.dtype != DType::Bool && l.kernel != reduce_kernel<ArgMax> &&
                      l.kernel != reduce_kernel<ArgMin> && l.buffer[1].stride[1] == 1 &&
                      l.size[1] >= kShortestReduced;
    if (!rows) return std::nullopt;
    return Space{l.size[0] * l.size[1], l.size[0], 1};
  }
  const bool elementwise = l.kernel < kNumMapKernels || l.kernel == id(Kernel::Copy);
  if (!elementwise) return std::nullopt;
  if (l.dense) return Space{l.count, 0, 0};
  if (l.ndim == 0 || !is_packed(l, 0)) return std::nullopt;
  for (int k = 1; k < l.nbuffers; ++k) {
    const int64_t along = l.buffer[k].stride[l.ndim - 1];
    if (along != 0 && along != 1) return std::nullopt;
  }
  // One dimension, with a number for all.
  if (l.ndim == 1) return Space{l.count, 0, 0};
  return Space{l.count, l.size[0], 0};
}

// Where a buffer's rows are, if there are so many of them.
struct Walked {
  ptrdiff_t offset;
  int64_t step;  // bytes
  bool packed;   // rows are one behind the other, and whole
  bool operator==(const Walked&) const = default;
};

Walked walk(const Step& s, const Space& space, int64_t rows, int k) {
  const Launch& l = s.launch->launch;
  const auto item = static_cast<int64_t>(item_size(l.buffer[k].dtype));
  const int64_t row = space.count / rows;
  Walked w{0, 0, false};
  w.offset = pointer_of(s, k).offset;
  if (space.written_to_row && k == 0) {
    w.step = item * space.written_to_row;
    w.packed = true;
  } else if (space.rows == 0) {
    const int64_t stride = l.dense ? 1 : l.buffer[k].stride[0];
    w.step = stride * row * item;
    w.packed = stride == 1;
  } else {
    w.step = l.buffer[k].stride[0] * item;
    bool one = l.buffer[k].stride[0] == 1;
    for (int d = 1; d < l.ndim; ++d) one &= l.buffer[k].stride[d] == 0;
    w.packed = one || is_packed(l, k);
  }
  return w;
}

// Steps that go tile by tile so far.
struct Open {
  const Recording& r;
  std::vector<int> steps;
  std::vector<Space> spaces;
  int64_t rows = 0;   // 0: that of elements
  int64_t count = 0;  // of elements, while rows are not known
  int64_t longest = 1;

  bool takes(int i, const Space& space) {
    Open with = *this;
    with.steps.push_back(i);
    with.spaces.push_back(space);
    if (space.rows) {
      if (with.rows && with.rows != space.rows) return false;
      with.rows = space.rows;
    }
    if (!with.settle()) return false;
    steps = std::move(with.steps);
    spaces = std::move(with.spaces);
    rows = with.rows;
    count = with.count;
    longest = with.longest;
    return true;
  }

  int64_t all_rows() const { return rows ? rows : count; }

  explicit Open(const Recording& recording) : r(recording) {}

  // Whether all can be cut into the same rows, and agree on the memory that one of them writes.
  bool settle() {
    longest = 1;
    count = spaces[0].count;
    for (const Space& s : spaces) {
      if (!rows) {
        if (s.count != count) return false;
        continue;
      }
      if (s.count % rows != 0) return false;
      longest = std::max(longest, s.count / rows);
    }
    if (longest > kLongestRow) return false;
    std::map<uint32_t, Walked> known;
    std::map<uint32_t, bool> written;
    for (size_t j = 0; j < steps.size(); ++j) {
      const Step& s = r.steps[static_cast<size_t>(steps[j])];
      for (int k = s.launch->launch.nbuffers - 1; k >= 0; --k) {
        const Walked w = walk(s, spaces[j], all_rows(), k);
        const uint32_t slot = pointer_of(s, k).slot;
        const auto [it, fresh] = known.try_emplace(slot, w);
        if (!fresh && !(it->second == w)) it->second.packed = false;
        written[slot] |= k == 0;
      }
    }
    return std::all_of(known.begin(), known.end(), [&](const auto& entry) {
      return !written[entry.first] || entry.second.packed;
    });
  }
};

// Plans the run of steps [first, first + count), and takes what they alone know out of memory.
Group make_group(Recording& r, int first, const Open& open) {
  Group g{Group::Tiles, first, static_cast<int>(open.steps.size()), {}};
  TileRun& run = g.tiles;
  run.rows = open.all_rows();
  const bool by_rows = open.rows != 0;
  run.tile = std::max<int64_t>(1, (by_rows ? kLongTile : kTile) / open.longest);
  run.scratch = 0;
  const auto inside = [&](const Slot& s) {
    return s.kind == Slot::Intermediate && s.first >= first && s.last < first + g.count;
  };
  // By slot: where its tile is. One that is no longer read gives its place to the next.
  struct Place {
    int64_t at, bytes;
  };
  std::map<uint32_t, Place> places;
  std::vector<Place> free;
  for (int j = 0; j < g.count; ++j) {
    const Step& s = r.steps[static_cast<size_t>(first + j)];
    const Space& space = open.spaces[static_cast<size_t>(j)];
    TilePart part{&s.launch->launch, space.count / run.rows, {}, {}};
    for (int k = 0; k < s.launch->launch.nbuffers; ++k) {
      const uint32_t slot = pointer_of(s, k).slot;
      part.step[k] = walk(s, space, run.rows, k).step;
      part.scratch[k] = TilePart::kInMemory;
      if (!inside(r.slots[slot])) continue;
      r.slots[slot].in_tile = true;
      if (!places.contains(slot)) {
        const auto bytes =
            static_cast<int64_t>(rounded(static_cast<size_t>(part.step[k] * run.tile)));
        const auto it = std::find_if(free.begin(), free.end(),
                                     [&](const Place& p) { return p.bytes >= bytes; });
        if (it != free.end()) {
          places[slot] = *it;
          free.erase(it);
        } else {
          places[slot] = {run.scratch, bytes};
          run.scratch += bytes;
        }
      }
      part.scratch[k] = places[slot].at;
    }
    for (const auto& list : {s.reads, s.writes}) {
      for (uint32_t slot : list) {
        const auto it = places.find(slot);
        if (it == places.end() || r.slots[slot].last != first + j) continue;
        free.push_back(it->second);
        places.erase(it);
      }
    }
    run.parts.push_back(part);
  }
  return g;
}

}  // namespace

// --- steps that know nothing of each other -------------------------------------------------------

namespace {

// Nanoseconds: what must be saved, as a thread that sleeps takes as long to wake; and of launches
// that are too long, as those share out their work themselves.
constexpr double kLeast = 4000, kMost = 30'000;

}  // namespace

std::vector<Group> together(const Recording& r, const std::vector<Group>& taken) {
  const Order order = order_of(r);
  std::vector<bool> free(r.steps.size(), true);
  for (const Group& g : taken) std::fill_n(free.begin() + g.first, g.count, false);
  const auto may = [&](int i) {
    const Step& s = r.steps[static_cast<size_t>(i)];
    return free[static_cast<size_t>(i)] && s.launch && !s.settings &&
           s.launch->launch.device == Device::CPU && cost_of(s) < kMost;
  };
  std::vector<Group> out;
  const int n = static_cast<int>(r.steps.size());
  for (int first = 0, end; first < n; first = end) {
    end = first + 1;
    if (!may(first)) continue;
    std::vector<int> waits;  // for one of them
    const auto add = [&](int i) {
      const auto& next = order.next[static_cast<size_t>(i)];
      waits.insert(waits.end(), next.begin(), next.end());
    };
    add(first);
    double sum = cost_of(r.steps[static_cast<size_t>(first)]), greatest = sum;
    for (; end < n && may(end) && std::find(waits.begin(), waits.end(), end) == waits.end();
         ++end) {
      add(end);
      const double c = cost_of(r.steps[static_cast<size_t>(end)]);
      sum += c;
      greatest = std::max(greatest, c);
    }
    if (sum - greatest >= kLeast) out.push_back({Group::Together, first, end - first, {}});
  }
  return out;
}

// --- steps that go tile by tile ------------------------------------------------------------------

// List scheduling: the lowest step that waits for nobody; but as long as others can join what has
// been begun, these first.
std::vector<Group> fuse(Recording& r, int reach) {
  const int n = static_cast<int>(r.steps.size());
  Order order = order_of(r);
  std::vector<std::optional<Space>> spaces;
  for (const Step& s : r.steps) spaces.push_back(space_of(s));
  std::priority_queue<int, std::vector<int>, std::greater<>> ready, fusable;
  const auto free = [&](int i) { (spaces[static_cast<size_t>(i)] ? fusable : ready).push(i); };
  for (int i = 0; i < n; ++i) {
    if (order.waits[static_cast<size_t>(i)] == 0) free(i);
  }
  std::vector<int> sorted;
  const auto take = [&](int i) {
    sorted.push_back(i);
    for (int next : order.next[static_cast<size_t>(i)]) {
      if (--order.waits[static_cast<size_t>(next)] == 0) free(next);
    }
  };
  std::vector<std::pair<int, Open>> kept;
  while (std::cmp_less(sorted.size(), n)) {
    if (fusable.empty() || (!ready.empty() && ready.top() < fusable.top())) {
      const int i = ready.top();
      ready.pop();
      take(i);
      continue;
    }
    const int first = static_cast<int>(sorted.size());
    Open open(r);
    const int begins = fusable.top();
    const Space& space = *spaces[static_cast<size_t>(begins)];
    if (space.count < kFrom || !open.takes(begins, space)) {
      fusable.pop();
      take(begins);
      continue;
    }
    fusable.pop();
    take(begins);
    std::vector<int> others;
    while (!fusable.empty()) {
      const int i = fusable.top();
      fusable.pop();
      if (i - static_cast<int>(sorted.size()) <= reach &&
          open.takes(i, *spaces[static_cast<size_t>(i)])) {
        take(i);
      } else {
        others.push_back(i);
      }
    }
    for (int i : others) fusable.push(i);
    if (open.steps.size() > 1) kept.emplace_back(first, std::move(open));
  }
  reorder(r, sorted);
  find_lifetimes(r);
  std::vector<Group> groups;
  for (const auto& [first, open] : kept) groups.push_back(make_group(r, first, open));
  return groups;
}

}  // namespace wengert
