#include "program/device_run.h"

#include <algorithm>
#include <cstring>

namespace wengert {
namespace {

constexpr size_t kShortest = 2;  // launches that are worth a graph

// Bytes of a slot that tensors of these places reach; 0 if one begins before it.
size_t reach(const std::vector<TensorPlace>& places, uint32_t slot) {
  size_t bytes = 0;
  for (const TensorPlace& p : places) {
    if (p.slot != slot) continue;
    if (p.offset < 0) return 0;
    const size_t own = static_cast<size_t>(extent(p.sizes, p.strides)) * item_size(p.dtype);
    bytes = std::max(bytes, static_cast<size_t>(p.offset) + own);
  }
  return bytes;
}

}  // namespace

void copy_on(Device device, void* to, const void* from, size_t bytes) {
  if (bytes == 0) return;
  if (device == Device::CPU) {
    std::memcpy(to, from, bytes);
  } else {
    cuda::copy_within(to, from, bytes);
  }
}

DeviceRun::DeviceRun(const Recording& r, const std::vector<bool>& by_graph)
    : r_(r), staged_(r.slots.size()) {
  for (size_t i = 0; i < by_graph.size();) {
    size_t end = i + 1;
    while (end < by_graph.size() && by_graph[end] == by_graph[i]) ++end;
    stretches_.push_back({i, end - i, by_graph[i] && end - i >= kShortest, false, nullptr});
    i = end;
  }
  for (uint32_t i = 0; i < r.slots.size(); ++i) {
    const bool argument = r.slots[i].kind == Slot::Argument;
    staged_[i].bytes = argument ? reach(r.arguments, i) : r.slots[i].bytes;
  }
  for (const Step& s : r.steps) {
    if (!s.launch || !cuda::Graph::takes(s.launch->launch)) continue;
    for (const SlotPointer& p : s.pointers) staged_[p.slot].in_graph = true;
  }
}

void DeviceRun::forget() {
  for (Stretch& s : stretches_) s.recorded = nullptr;
  recorded_ = false;
}

const Storage* DeviceRun::settle(uint32_t slot, void* base) {
  Staged& s = staged_[slot];
  if (!s.in_graph) return nullptr;
  s.outer = base;
  if (!s.own && recorded_ && s.baked != base) {
    if (s.bytes) {
      s.own = Storage::make(s.bytes, r_.slots[slot].device);
      own_places_.push_back(slot);
    }
    forget();
  }
  s.baked = base;
  return s.own.get();
}

void DeviceRun::follow_last() {
  const cuda::StreamId now = cuda::current_stream();
  if (last_ != now) {
    const cuda::EventId done = cuda::make_event(false);
    cuda::record_event(done, last_);
    cuda::wait_event(now, done);
    cuda::free_event(done);
  }
  last_ = now;
}

void DeviceRun::execute(const std::function<void(size_t)>& prepare,
                        const std::function<void(size_t)>& launch) {
  follow_last();
  for (uint32_t slot : own_places_) {
    const Staged& s = staged_[slot];
    const Slot& of = r_.slots[slot];
    if (of.kind != Slot::Result) copy_on(of.device, s.own->data, s.outer, s.bytes);
  }
  for (Stretch& s : stretches_) {
    for (size_t i = s.first; i < s.first + s.count; ++i) prepare(i);
    const auto all = [&] {
      for (size_t i = s.first; i < s.first + s.count; ++i) launch(i);
    };
    // What a kernel sets up when it first runs is none of the graph's.
    if (!s.graph || !std::exchange(s.warm, true)) {
      all();
      continue;
    }
    if (!s.recorded) {
      std::vector<cuda::HostRange> fixed;
      for (const Slot& c : r_.slots) {
        if (c.kind == Slot::Constant && c.device == Device::CPU && c.storage) {
          fixed.push_back({c.storage->data, c.storage->bytes});
        }
      }
      s.recorded = std::make_unique<cuda::Graph>(all, std::move(fixed));
      recorded_ = true;
    }
    s.recorded->run();
  }
  for (uint32_t slot : own_places_) {
    const Staged& s = staged_[slot];
    const Slot& of = r_.slots[slot];
    if (of.kind == Slot::Result || of.written) {
      copy_on(of.device, s.outer, s.own->data, s.bytes);
    }
  }
}

int DeviceRun::graphs() const {
  return static_cast<int>(std::count_if(stretches_.begin(), stretches_.end(),
                                        [](const Stretch& s) { return s.recorded != nullptr; }));
}
size_t DeviceRun::nodes() const {
  size_t n = 0;
  for (const Stretch& s : stretches_) n += s.recorded ? s.recorded->nodes() : 0;
  return n;
}

}  // namespace wengert
