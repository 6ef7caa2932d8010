#include "program/rewrite.h"

#include <algorithm>
#include <array>
#include <cstring>
#include <map>
#include <type_traits>
#include <utility>

#include "program/order.h"

namespace wengert {
namespace {

// By slot: the steps that read it and that write it, in order.
struct Users {
  std::vector<int> readers, writers;
  int last() const {
    return std::max(readers.empty() ? -1 : readers.back(), writers.empty() ? -1 : writers.back());
  }
};

std::vector<Users> users_of(const Recording& r) {
  std::vector<Users> out(r.slots.size());
  for (int i = 0; std::cmp_less(i, r.steps.size()); ++i) {
    const Step& s = r.steps[static_cast<size_t>(i)];
    for (uint32_t slot : s.reads) out[slot].readers.push_back(i);
    for (uint32_t slot : s.writes) out[slot].writers.push_back(i);
  }
  return out;
}

// Whether a tensor that is there afterwards leads into a slot.
std::vector<bool> handed_out(const Recording& r) {
  std::vector<bool> out(r.slots.size());
  const auto mark = [&](const TensorPlace& p) {
    if (p.slot != TensorPlace::kNone) out[p.slot] = true;
  };
  for (const TensorPlace& p : r.results) mark(p);
  for (const LeafPlace& l : r.leaves) mark(l.after);
  return out;
}

bool is_plain(const Step& s) {
  return s.launch && s.generator < 0 && !s.settings;
}

// --- constants -----------------------------------------------------------------------------------

constexpr size_t kLargestConstant = 1 << 20;  // bytes

}  // namespace

int fold_constants(Recording& r) {
  const std::vector<Users> users = users_of(r);
  std::map<uint32_t, Ref<Storage>> memory;  // of constants
  const auto is_constant = [&](uint32_t slot) {
    const Slot& s = r.slots[slot];
    return memory.contains(slot) ||
           (s.device == Device::CPU && s.kind == Slot::Constant && users[slot].writers.empty());
  };
  const auto memory_of = [&](uint32_t slot) -> const Ref<Storage>& {
    auto [it, fresh] = memory.try_emplace(slot);
    if (fresh) {
      const Slot& s = r.slots[slot];
      it->second = Storage::make(s.bytes, Device::CPU);
      std::copy(s.content.begin(), s.content.end(), static_cast<char*>(it->second->data));
    }
    return it->second;
  };
  std::vector<bool> gone(r.steps.size());
  for (size_t i = 0; i < r.steps.size(); ++i) {
    Step& s = r.steps[i];
    if (!std::all_of(s.reads.begin(), s.reads.end(), is_constant)) continue;
    const bool once =
        !s.launch || std::all_of(s.writes.begin(), s.writes.end(), [&](uint32_t slot) {
          const Slot& to = r.slots[slot];
          return to.device == Device::CPU && to.kind == Slot::Intermediate &&
                 users[slot].writers.size() == 1 && to.bytes <= kLargestConstant;
        });
    if (s.launch && (!is_plain(s) || s.writes.empty() || !once)) continue;
    for (const SlotPointer& p : s.pointers) {
      const Ref<Storage>& at = memory_of(p.slot);
      void* const to = static_cast<char*>(at->data) + p.offset;
      std::memcpy(p.at, &to, sizeof to);
      if (p.storage) *p.storage = at.get();
    }
    if (s.launch) {
      s.kernel(s.launch->launch);
    } else {
      s.check(s.checked);  // passed now, it always will
    }
    gone[i] = true;
  }
  for (auto& [slot, at] : memory) {
    Slot& s = r.slots[slot];
    const char* const from = static_cast<const char*>(at->data);
    s.kind = Slot::Constant;
    s.written = false;
    s.content.assign(from, from + s.bytes);
  }
  return erase(r, gone);
}

// --- copies --------------------------------------------------------------------------------------

namespace {

// Lets `to` stand for `from`, whose byte b becomes b + by.
void redirect(Recording& r, uint32_t from, uint32_t to, ptrdiff_t by, const Users& users) {
  for (const auto& list : {users.readers, users.writers}) {
    for (int i : list) {
      Step& s = r.steps[static_cast<size_t>(i)];
      for (SlotPointer& p : s.pointers) {
        if (p.slot != from) continue;
        p.slot = to;
        p.offset += by;
      }
      std::replace(s.reads.begin(), s.reads.end(), from, to);
      std::replace(s.writes.begin(), s.writes.end(), from, to);
    }
  }
}

}  // namespace

int drop_copies(Recording& r) {
  const std::vector<bool> kept = handed_out(r);
  std::vector<Users> users = users_of(r);
  std::vector<bool> gone(r.steps.size());
  for (int i = 0; std::cmp_less(i, r.steps.size()); ++i) {
    Step& s = r.steps[static_cast<size_t>(i)];
    if (!is_plain(s) || s.launch->launch.kernel != id(Kernel::Copy)) continue;
    const Launch& l = s.launch->launch;
    if (!l.dense || l.buffer[0].dtype != l.buffer[1].dtype) continue;
    const SlotPointer to = pointer_of(s, 0), from = pointer_of(s, 1);
    const auto bytes = static_cast<size_t>(l.count) * item_size(l.buffer[0].dtype);
    const Users &written = users[to.slot], &read = users[from.slot];
    // The whole of a result of its own, which nobody changes, nor its source meanwhile.
    const bool own = r.slots[to.slot].kind == Slot::Intermediate && !kept[to.slot] &&
                     written.writers == std::vector<int>{i} && to.offset == 0 &&
                     r.slots[to.slot].bytes == bytes && to.slot != from.slot;
    if (!own) continue;
    const bool changed = std::any_of(read.writers.begin(), read.writers.end(), [&](int writer) {
      return writer > i && writer <= written.last();
    });
    if (changed) continue;
    redirect(r, to.slot, from.slot, from.offset, written);
    gone[static_cast<size_t>(i)] = true;
    users = users_of(r);
  }
  return erase(r, gone);
}

// --- epilogues -----------------------------------------------------------------------------------

namespace {

template <class... Fs>
constexpr auto without_numbers(TypeList<Fs...>) {
  return std::array<bool, sizeof...(Fs)>{!std::is_constructible_v<Fs, const double*>...};
}
constexpr auto kWithoutNumbers = without_numbers(MapFunctors{});

bool is_activation(const Launch& l) {
  return l.kernel < kNumMapKernels && l.kernel % kIdsPerFunctor == 0 && l.nbuffers == 2 &&
         l.dense && is_floating(l.dtype) && !is_narrow(l.dtype) && l.buffer[0].dtype == l.dtype &&
         l.buffer[1].dtype == l.dtype && kWithoutNumbers[l.kernel / kIdsPerFunctor];
}

}  // namespace

int join_activations(Recording& r) {
  const std::vector<bool> kept = handed_out(r);
  const std::vector<Users> users = users_of(r);
  std::vector<bool> gone(r.steps.size());
  for (int j = 0; std::cmp_less(j, r.steps.size()); ++j) {
    Step& s = r.steps[static_cast<size_t>(j)];
    if (!is_plain(s) || !is_activation(s.launch->launch)) continue;
    const SlotPointer to = pointer_of(s, 0), from = pointer_of(s, 1);
    const Users& sums = users[from.slot];
    const bool own = r.slots[from.slot].kind == Slot::Intermediate && !kept[from.slot] &&
                     from.slot != to.slot && sums.writers.size() == 1 &&
                     sums.readers == std::vector<int>{j};
    if (!own) continue;
    const int i = sums.writers[0];
    Step& product = r.steps[static_cast<size_t>(i)];
    if (!is_plain(product) || product.launch->launch.kernel != id(Kernel::Gemm)) continue;
    Launch& l = product.launch->launch;
    // The slot is the product's alone, so what its pointer leads to may be changed.
    auto& p = *static_cast<GemmParams*>(const_cast<void*>(l.pointer));
    const bool whole = !p.accumulate && !p.has_activation && l.dtype == s.launch->launch.dtype &&
                       p.c_rs == p.n && l.count * p.m * p.n == s.launch->launch.count &&
                       from.offset == pointer_of(product, 0).offset;
    if (!whole) continue;
    // The result is written earlier than it was: nobody may use its memory in between, and what
    // is there for good waits for the checks before it.
    const Slot& result = r.slots[to.slot];
    if (result.kind != Slot::Intermediate && result.kind != Slot::Result) continue;
    const auto between = [&](const std::vector<int>& steps) {
      return std::any_of(steps.begin(), steps.end(), [&](int k) { return i <= k && k < j; });
    };
    if (between(users[to.slot].readers) || between(users[to.slot].writers)) continue;
    p.has_activation = true;
    p.activation = s.launch->launch.kernel;
    for (SlotPointer& pointer : product.pointers) {
      if (pointer.at != &l.buffer[0].data) continue;
      pointer.slot = to.slot;
      pointer.offset = to.offset;
    }
    std::replace(product.writes.begin(), product.writes.end(), from.slot, to.slot);
    product.work = work_of(l);
    gone[static_cast<size_t>(j)] = true;
  }
  return erase(r, gone);
}

}  // namespace wengert
