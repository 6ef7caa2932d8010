#include "program/file_recording.h"

#include <algorithm>
#include <deque>
#include <unordered_set>

#include "core/error.h"
#include "kernels/reach.h"
#include "ops/checks.h"

namespace wengert {
namespace {

constexpr int64_t kMost = int64_t{1} << 46;  // of elements or bytes that a machine has

// From the first element's first byte to the last's last, counted from the tensor's start.
struct Extent {
  int64_t low = 0, high = 0;
  bool empty = false;
};
Extent extent_of(DType dtype, const Dims& sizes, const Dims& strides) {
  Extent e;
  for (int d = 0; d < sizes.size(); ++d) {
    if (sizes[d] < 0 || sizes[d] > kMost || strides[d] < -kMost || strides[d] > kMost) {
      fail("a tensor of shape ", sizes);
    }
    int64_t far = 0;
    if (sizes[d] == 0) e.empty = true;
    if (sizes[d] > 1 &&
        (__builtin_mul_overflow(sizes[d] - 1, strides[d], &far) || far > kMost || far < -kMost)) {
      fail("a tensor of shape ", sizes, " and strides ", strides);
    }
    (far < 0 ? e.low : e.high) += far;
  }
  if (product(sizes) > kMost) fail("a tensor of shape ", sizes);
  const auto item = static_cast<int64_t>(item_size(dtype));
  e.low *= item;
  e.high = (e.high + 1) * item;
  return e;
}

Tensor make_tensor(DType dtype, const Dims& sizes, const Dims& strides) {
  auto impl = Ref<TensorImpl>::adopt(new TensorImpl);
  impl->dtype = dtype;
  impl->numel = product(sizes);
  impl->sizes = sizes;
  impl->strides = strides;
  impl->contiguous = is_contiguous(sizes, strides);
  return Tensor(std::move(impl));
}

class Builder {
 public:
  Builder(const FileDescription& d, const FileParts& parts) : d_(d), parts_(parts) {}

  Recording build() {
    slots();
    arguments();
    leaves();
    streams();
    for (const TensorPlace& p : d_.results) {
      inside(p, "a result", {Slot::Result, Slot::External, Slot::Argument, Slot::Gradient});
      r_.results.push_back(p);
    }
    for (const FileStep& s : d_.steps) step(s);
    return std::move(r_);
  }

 private:
  // The bytes that a slot surely has, from its base on.
  struct Bytes {
    int64_t low = 0, high = 0;
  };

  template <class... Parts>
  static void require(bool right, const Parts&... what) {
    if (!right) fail(what...);
  }
  Slot& slot(uint32_t index) {
    require(index < r_.slots.size(), "slot ", index, " of ", r_.slots.size());
    return r_.slots[index];
  }
  Room room(uint32_t index, int64_t offset) {
    slot(index);
    const Bytes& b = bytes_[index];
    require(-kMost < offset && offset < kMost, "an offset of ", offset, " into slot ", index);
    return {offset - b.low, b.high - offset};
  }
  void inside(const TensorPlace& p, const char* what, std::initializer_list<Slot::Kind> kinds) {
    const Slot& s = slot(p.slot);
    require(std::find(kinds.begin(), kinds.end(), s.kind) != kinds.end(), what,
            " in a slot of another kind");
    covers(p, what);
  }
  void covers(const TensorPlace& p, const char* what) {
    const Extent e = extent_of(p.dtype, p.sizes, p.strides);
    require(p.offset % static_cast<ptrdiff_t>(item_size(p.dtype)) == 0, what, " out of line");
    const Room r = room(p.slot, p.offset);
    require(e.empty || (-e.low <= r.before && e.high <= r.after), what, " beyond its memory");
  }

  void slots() {
    require(d_.slot_memory.size() == d_.slots.size(), "slots without their memory");
    uint64_t all = 0;
    for (size_t i = 0; i < d_.slots.size(); ++i) {
      const FileSlot& from = d_.slots[i];
      require(from.kind <= Slot::Intermediate, "a slot of kind ", int{from.kind});
      Slot s;
      s.kind = static_cast<Slot::Kind>(from.kind);
      s.bytes = from.bytes;
      s.index = from.index;
      all += from.bytes;
      require(from.bytes <= uint64_t{kMost} && all <= uint64_t{kMost}, "slots of so many bytes");
      const uint32_t at = d_.slot_memory[i];
      const bool has = at != FileTensor::kNone;
      require(!has || at < parts_.memories.size(), "memory ", at, " of ", parts_.memories.size());
      const bool filled = s.kind == Slot::External || s.kind == Slot::Constant;
      require(has ? filled || s.kind == Slot::Result : !filled, "a slot with memory of its own");
      if (has) {
        const Ref<Storage>& memory = parts_.memories[at];
        require(memory->bytes == s.bytes, "a slot of other bytes than its memory");
        if (s.kind == Slot::External) {
          require(held_.insert(memory.get()).second, "two slots of one memory");
          s.storage = memory;
        } else {
          const auto* from_memory = static_cast<const char*>(memory->data);
          s.content.assign(from_memory, from_memory + s.bytes);
        }
      }
      const bool other = s.kind == Slot::Argument || s.kind == Slot::Gradient;
      bytes_.push_back({0, other ? 0 : static_cast<int64_t>(s.bytes)});
      r_.slots.push_back(std::move(s));
    }
  }

  void widen(const TensorPlace& p) {
    const Extent e = extent_of(p.dtype, p.sizes, p.strides);
    if (e.empty) return;
    Bytes& b = bytes_[p.slot];
    b.low = std::min(b.low, p.offset + e.low);
    b.high = std::max(b.high, p.offset + e.high);
  }

  void arguments() {
    std::vector<bool> owned(r_.slots.size());
    for (size_t i = 0; i < d_.arguments.size(); ++i) {
      const TensorPlace& p = d_.arguments[i].place;
      const Slot& s = slot(p.slot);
      require(s.kind == Slot::Argument && s.index <= i, "an argument in a slot of another kind");
      require(s.index == i ? p.offset == 0 : d_.arguments[s.index].place.slot == p.slot,
              "an argument that does not begin its slot");
      require(p.offset > -kMost && p.offset < kMost, "an argument out of line");
      require(p.offset % static_cast<ptrdiff_t>(item_size(p.dtype)) == 0,
              "an argument out of line");
      if (s.index == i) owned[p.slot] = true;
      widen(p);
      r_.arguments.push_back(p);
    }
    for (size_t i = 0; i < owned.size(); ++i) {
      require(r_.slots[i].kind != Slot::Argument || owned[i], "an argument's slot without it");
    }
  }

  void leaves() {
    std::vector<bool> owned(r_.slots.size());
    for (size_t i = 0; i < d_.leaves.size(); ++i) {
      const FileLeaf& from = d_.leaves[i];
      LeafPlace l;
      l.argument = from.argument;
      l.leaf = parts_.leaves[i];
      l.looked_at = from.looked_at;
      l.changed = from.changed;
      l.before = from.before;
      l.after = from.after;
      require(
          from.argument >= -1 && from.argument < static_cast<int64_t>(r_.arguments.size()) &&
              (from.argument < 0 || r_.arguments[static_cast<size_t>(from.argument)].requires_grad),
          "a leaf of argument ", from.argument);
      if (l.before.slot != TensorPlace::kNone) {
        require(l.looked_at, "a gradient that nobody looks at");
        if (slot(l.before.slot).kind == Slot::Gradient) {
          require(!owned[l.before.slot], "a gradient of two leaves");
          owned[l.before.slot] = true;
          const uint32_t at = from.grad.memory;
          require(at >= parts_.memories.size() || !held_.contains(parts_.memories[at].get()),
                  "a gradient in the memory of a slot");
          require(l.before.offset >= 0 && l.before.offset < kMost, "a gradient out of line");
          bytes_[l.before.slot] = {l.before.offset, l.before.offset};
          widen(l.before);
        }
        inside(l.before, "a gradient", {Slot::Gradient, Slot::External});
      }
      r_.leaves.push_back(std::move(l));
    }
    for (const LeafPlace& l : r_.leaves) {
      if (l.after.slot == TensorPlace::kNone) continue;
      inside(l.after, "a gradient", {Slot::Result, Slot::External, Slot::Gradient});
    }
    for (size_t i = 0; i < owned.size(); ++i) {
      require(r_.slots[i].kind != Slot::Gradient || owned[i], "a gradient's slot without it");
    }
  }

  void streams() {
    for (size_t i = 0; i < d_.streams.size(); ++i) {
      const FileStream& s = d_.streams[i];
      r_.streams.push_back(
          {parts_.generators[i], s.seed, s.counter, s.seeded, s.end_seed, s.end_counter});
    }
  }

  // --- steps -------------------------------------------------------------------------------------

  void touch(uint32_t index, Step& step, bool written) {
    Slot& s = slot(index);
    // A plan takes it for granted.
    require(s.kind != Slot::Intermediate || s.touched || written,
            "a slot that is read before it "
            "is written");
    s.touched = true;
    s.written |= written;
    (written ? step.writes : step.reads).push_back(index);
  }

  void step(const FileStep& s) {
    if (s.kernel.empty()) {
      // Those that a reader puts in himself.
      if (s.check == checks::kOffsets.name) return;
      const CheckRule* rule = checks::find(s.check);
      require(rule, "check '", s.check, "' is unknown to this version");
      r_.steps.push_back(check(*rule, s.facts, s.text, s.checked));
      return;
    }
    launch(s);
  }

  Step check(const CheckRule& rule, const CheckFacts& facts, const std::string* text,
             const std::vector<TensorPlace>& of) {
    Step step;
    step.check = {&rule, facts, {text[0], text[1]}};
    for (const TensorPlace& p : of) {
      covers(p, "what is checked");
      touch(p.slot, step, false);
      Tensor t = make_tensor(p.dtype, p.sizes, p.strides);
      step.pointers.push_back({&t->data, nullptr, p.slot, p.offset});
      step.checked.push_back(std::move(t));
    }
    require(rule.fits(step.checked, facts), "check '", rule.name, "' of other tensors");
    return step;
  }

  void launch(const FileStep& s) {
    Launch l = s.launch;
    OptimizerLaunch optimizer = s.optimizer;
    TensorList list{s.list.data(), static_cast<int64_t>(s.list.size())};
    switch (params_of(l.kernel)) {
      case ParamsKind::None:
        break;
      case ParamsKind::Gemm:
        l.pointer = &s.gemm;
        break;
      case ParamsKind::Conv:
        l.pointer = &s.conv;
        break;
      case ParamsKind::Pool:
        l.pointer = &s.pool;
        break;
      case ParamsKind::Optimizer:
        group(s, optimizer);
        optimizer.items = s.items.data();
        optimizer.num_items = static_cast<int64_t>(s.items.size());
        l.pointer = &optimizer;
        break;
      case ParamsKind::List:
        l.pointer = &list;
        break;
    }
    std::vector<Room> rooms;
    for (const FilePointer& p : s.pointers) rooms.push_back(room(p.slot, p.offset));
    const auto buffers = static_cast<size_t>(l.nbuffers);
    require(rooms.size() >= buffers, "a launch without its buffers");
    for (size_t k = 0; k < buffers; ++k) {
      const auto item = static_cast<int64_t>(item_size(l.buffer[k].dtype));
      require(s.pointers[k].offset % item == 0, "a buffer out of line");
    }
    const auto bounds =
        check_reach(l, std::span(rooms).first(buffers), std::span(rooms).subspan(buffers));
    if (writes_apart(l.kernel)) {
      for (int k = 0; k < buffers_written(l); ++k) apart(s, k);
    }
    for (const IndexBound& b : bounds) guard(s, b);
    r_.steps.push_back(kept(s, l));
  }

  void group(const FileStep& s, OptimizerLaunch& o) {
    require(s.group >= 0 && static_cast<size_t>(s.group) < d_.groups.size(),
            "an optimizer's step without its group");
    const FileGroup& g = d_.groups[static_cast<size_t>(s.group)];
    require(g.rule == name_of(o.rule), "an optimizer's step of another rule than its group");
    read_group(g, o);
  }

  // No other buffer of the launch is where this one is.
  static void apart(const FileStep& s, int buffer) {
    for (int k = 0; k < s.launch.nbuffers; ++k) {
      require(k == buffer || s.pointers[static_cast<size_t>(k)].slot !=
                                 s.pointers[static_cast<size_t>(buffer)].slot,
              "a launch whose buffers are one");
    }
  }

  // Before a launch that goes where the numbers in one of its buffers say.
  void guard(const FileStep& s, const IndexBound& b) {
    const Launch& l = s.launch;
    for (int k = 0; k < buffers_written(l); ++k) {
      require(
          s.pointers[static_cast<size_t>(k)].slot != s.pointers[static_cast<size_t>(b.buffer)].slot,
          "a launch that writes where it reads its way");
    }
    TensorPlace p;
    p.slot = s.pointers[static_cast<size_t>(b.buffer)].slot;
    p.offset = s.pointers[static_cast<size_t>(b.buffer)].offset;
    p.dtype = DType::Int64;
    if (goes_by_strides(l, b.buffer)) {
      for (int d = 0; d < l.ndim; ++d) {
        const int64_t stride = l.buffer[b.buffer].stride[d];
        p.sizes.push_back(stride == 0 ? std::min<int64_t>(l.size[d], 1) : l.size[d]);
        p.strides.push_back(stride);
      }
    } else {
      p.sizes.push_back(b.count);
      p.strides.push_back(1);
    }
    const std::string text[2];
    r_.steps.push_back(check(checks::kOffsets, {.integer = {b.low, b.high, b.other}}, text, {p}));
  }

  Step kept(const FileStep& s, const Launch& l) {
    Step step;
    step.kernel = kernel_of(l);
    step.launch = std::make_unique<KeptLaunch>(l);
    Launch& own = step.launch->launch;
    const int written = buffers_written(l);
    for (int k = l.nbuffers - 1; k >= 0; --k) {
      const FilePointer& p = s.pointers[static_cast<size_t>(k)];
      touch(p.slot, step, k < written);
      own.buffer[k].storage = stand_in(p.slot);
      step.pointers.push_back({&own.buffer[k].data, &own.buffer[k].storage, p.slot, p.offset});
    }
    step.work = work_of(own);
    for (int k = 0; k < l.nbuffers; ++k) own.buffer[k].storage = nullptr;
    size_t next = l.nbuffers;
    step.launch->each_pointer([&](void* at, const void*, bool writes) {
      const FilePointer& p = s.pointers[next++];
      touch(p.slot, step, writes);
      step.pointers.push_back({at, nullptr, p.slot, p.offset});
    });
    require(s.stream >= -1 && s.stream < static_cast<int64_t>(d_.streams.size()), "stream ",
            s.stream, " of ", d_.streams.size());
    require(s.stream < 0 || takes_stream(l), "a stream for a launch that draws nothing");
    step.generator = s.stream;
    step.counter = s.counter;
    if (step.launch->optimizer()) step.settings = parts_.groups[static_cast<size_t>(s.group)];
    return step;
  }
  // For work_of, which asks for bytes.
  const Storage* stand_in(uint32_t index) {
    Storage& s = stand_ins_.emplace_back();
    s.bytes = r_.slots[index].bytes;
    return &s;
  }

  const FileDescription& d_;
  const FileParts& parts_;
  Recording r_;
  std::vector<Bytes> bytes_;
  std::unordered_set<const Storage*> held_;
  std::deque<Storage> stand_ins_;
};

}  // namespace

Recording make_recording(const FileDescription& d, const FileParts& parts) {
  return Builder(d, parts).build();
}

void read_group(const FileGroup& group, OptimizerLaunch& settings) {
  OptimizerRule rule;
  if (!rule_from(group.rule, rule)) fail("optimizer rule '", group.rule, "' is unknown");
  const auto& known = settings_of(rule);
  if (group.settings.size() != known.size()) fail("settings of ", group.rule);
  for (size_t i = 0; i < known.size(); ++i) {
    if (group.settings[i].name != known[i].name) {
      fail("setting '", group.settings[i].name, "' of ", group.rule, " is unknown");
    }
    known[i].set(settings, group.settings[i].value);
  }
}

Tensor tensor_of(const FileTensor& t, const std::vector<Ref<Storage>>& memories) {
  if (t.memory >= memories.size()) fail("memory ", t.memory, " of ", memories.size());
  const Ref<Storage>& memory = memories[t.memory];
  const Extent e = extent_of(t.dtype, t.sizes, t.strides);
  const auto bytes = static_cast<int64_t>(memory->bytes);
  const bool in_line = t.offset % static_cast<int64_t>(item_size(t.dtype)) == 0;
  if (t.offset < 0 || t.offset > bytes || !in_line ||
      (!e.empty && (t.offset + e.low < 0 || t.offset + e.high > bytes))) {
    fail("a tensor of shape ", t.sizes, " beyond its memory");
  }
  Tensor out = make_tensor(t.dtype, t.sizes, t.strides);
  out->storage = memory;
  out->data = static_cast<char*>(memory->data) + t.offset;
  return out;
}

}  // namespace wengert
