#include "program/recorder.h"

#include <algorithm>
#include <cstring>
#include <utility>

#include "core/device_memory.h"
#include "core/error.h"
#include "ops/optim.h"
#include "ops/random.h"

namespace wengert {
namespace {

ptrdiff_t distance(const void* to, const void* from) {
  return static_cast<const char*>(to) - static_cast<const char*>(from);
}

// What is in memory that is there while capturing.
std::vector<char> content_of(const Slot& s) {
  std::vector<char> out(s.bytes);
  read_memory(out.data(), s.base, s.bytes, s.device);
  return out;
}

}  // namespace

Recorder::Recorder(std::vector<Tensor> arguments, bool strict)
    : arguments_(std::move(arguments)), strict_(strict) {
  for (const Tensor& t : arguments_) {
    if (requires_grad(t) && !is_leaf(t)) {
      throw Error(ErrorKind::Capture, text("capture: an argument of shape ", t.sizes(),
                                           " has a graph, into which a "
                                           "backward would go on; pass it detached"));
    }
    if (t->node && !hooks_of(*node_of(t)).empty()) {
      throw Error(ErrorKind::Capture,
                  text("capture: an argument of shape ", t.sizes(),
                       " has hooks, which a replay with another would not have; register them on "
                       "x.detach().requires_grad_() inside"));
    }
    const Storage& s = *t->storage;
    if (!known_.contains(&s)) {
      Slot slot;
      slot.kind = Slot::Argument;
      slot.device = s.device;
      slot.index = static_cast<uint32_t>(r_.arguments.size());
      slot.bytes = s.bytes;
      // Counted from the tensor, which may be another part of its memory next time.
      slot.base = t.data();
      slot.storage = t->storage;
      known_[&s] = static_cast<uint32_t>(r_.slots.size());
      r_.slots.push_back(std::move(slot));
    }
    r_.arguments.push_back(place_of(t));
  }
}

Recorder::~Recorder() {
  if (recording_) stop();
}

void Recorder::start() {
  outer_observer_ = set_launch_observer(this);
  outer_watcher_ = set_host_watcher(this);
  recording_ = true;
}

void Recorder::stop() {
  set_host_watcher(outer_watcher_);
  set_launch_observer(outer_observer_);
  recording_ = false;
  for (Stream& s : r_.streams) {
    const RandomState end = s.generator->state();
    s.end_seed = end.seed;
    s.end_counter = end.counter;
  }
}

template <class... Parts>
void Recorder::refuse(const Parts&... parts) {
  if (!failure_.empty()) return;
  failure_ = text(parts..., at_place(source_here()));
  if (strict_) throw Error(ErrorKind::Capture, "capture: " + failure_);
}

bool Recorder::touches(const Tensor& t) const {
  const auto it = known_.find(t->storage.get());
  return it != known_.end() && r_.slots[it->second].touched;
}

// --- memory ------------------------------------------------------------------------------------

uint32_t Recorder::slot_of(const Storage& s) {
  const auto [it, fresh] = known_.try_emplace(&s, static_cast<uint32_t>(r_.slots.size()));
  if (fresh) {
    Slot slot;
    slot.kind = Slot::External;
    slot.device = s.device;
    slot.bytes = s.bytes;
    slot.base = static_cast<const char*>(s.data);
    slot.storage = Ref<Storage>::share(const_cast<Storage*>(&s));
    r_.slots.push_back(std::move(slot));
  }
  return it->second;
}

void Recorder::on_made(const Storage& s) {
  if (s.release) {
    refuse(
        "memory of another library's array, such as NumPy's, was read; its changes would not be "
        "seen. Pass it as an argument, or make a tensor of it before");
  }
  Slot slot;
  slot.made = true;
  slot.device = s.device;
  slot.bytes = s.bytes;
  slot.base = static_cast<const char*>(s.data);
  slot.source = source_here();
  known_[&s] = static_cast<uint32_t>(r_.slots.size());
  r_.slots.push_back(std::move(slot));
}

void Recorder::on_gone(const Storage& s) {
  known_.erase(&s);
}

void Recorder::on_read(const Storage& s) {
  const auto it = known_.find(&s);
  if (it != known_.end() && r_.slots[it->second].made && !r_.slots[it->second].written) return;
  refuse(
      "the host looked at the numbers of a tensor (item(), tolist(), numpy(), bool(), print, a "
      "shape that depends on them): a replay would go on as these said. Keep them in tensors "
      "(where, clamp), and return what is to be looked at");
}

void Recorder::on_write(const Storage& s) {
  const auto it = known_.find(&s);
  if (it != known_.end()) {
    Slot& slot = r_.slots[it->second];
    if (slot.made && !slot.touched) {
      slot.kind = Slot::Constant;
      return;
    }
  }
  refuse("the host wrote numbers into a tensor that launches use");
}

void Recorder::touch(uint32_t index, Step& step, bool written) {
  Slot& s = r_.slots[index];
  const bool fresh = !std::exchange(s.touched, true);
  // What a launch finds in memory that none has written, the host has put there.
  if (fresh && s.made && (!written || s.kind == Slot::Constant)) {
    s.kind = Slot::Constant;
    s.content = content_of(s);
  }
  s.written |= written;
  (written ? step.writes : step.reads).push_back(index);
}

void Recorder::point(Step& step, void* at, const void* leads_to, const Storage** storage,
                     uint32_t slot, bool written) {
  touch(slot, step, written);
  step.pointers.push_back({at, storage, slot, distance(leads_to, r_.slots[slot].base)});
}

void Recorder::on_use(std::span<const Tensor> tensors) {
  used_.assign(tensors.begin(), tensors.end());
}

// --- steps -------------------------------------------------------------------------------------

void Recorder::on_launch(const Launch& l) {
  if (outer_observer_) outer_observer_->on_launch(l);
  Step step;
  step.kernel = kernel_of(l);
  step.launch = std::make_unique<KeptLaunch>(l);
  step.work = work_of(l);
  step.source = source_here();
  Launch& kept = step.launch->launch;
  const int written = buffers_written(l);
  // What is read first, so that memory which a launch finds filled is known as such.
  for (int k = l.nbuffers - 1; k >= 0; --k) {
    Buffer& b = kept.buffer[k];
    if (!b.storage) {
      refuse(kernel_name(l.kernel), ": works on memory that is no tensor's");
      return;
    }
    point(step, &b.data, b.data, &b.storage, slot_of(*b.storage), k < written);
  }
  step.launch->each_pointer([&](void* at, const void* p, bool writes) {
    const auto of = std::find_if(used_.begin(), used_.end(), [&](const Tensor& t) {
      const auto* from = static_cast<const char*>(t->storage->data);
      return from <= p && p < from + std::max<size_t>(t->storage->bytes, 1);
    });
    if (of == used_.end()) {
      refuse(kernel_name(l.kernel), ": works on memory that is no tensor's");
    } else {
      point(step, at, p, nullptr, slot_of(*(*of)->storage), writes);
    }
  });
  used_.clear();
  if (takes_stream(l)) take_stream(step);
  if (const OptimizerLaunch* o = step.launch->optimizer()) {
    if (o->source) {
      step.settings = o->source->shared_from_this();
    } else {
      refuse("an optimizer's step without its param group");
    }
  }
  r_.steps.push_back(std::move(step));
}

void Recorder::on_done(const Launch& l) {
  if (outer_observer_) outer_observer_->on_done(l);
}

void Recorder::on_check(const CheckRule& rule, const CheckFacts& facts,
                        std::span<const Tensor> of) {
  Step step;
  step.check = {&rule, facts, {}};
  for (int i = 0; i < 2; ++i) {
    if (facts.text[i]) step.check.text[i] = facts.text[i];
  }
  for (const Tensor& t : of) {
    // A tensor of its own, whose pointer a replay sets.
    Tensor own = t.view(t.sizes(), t.strides());
    const uint32_t slot = slot_of(*t->storage);
    touch(slot, step, false);
    own->storage = nullptr;
    step.pointers.push_back({&own->data, nullptr, slot, distance(t.data(), r_.slots[slot].base)});
    step.checked.push_back(std::move(own));
  }
  r_.steps.push_back(std::move(step));
}

// --- random numbers ----------------------------------------------------------------------------

size_t Recorder::stream_of(Generator& g) {
  const auto it = std::find_if(r_.streams.begin(), r_.streams.end(),
                               [&](const Stream& s) { return s.generator == &g; });
  const auto at = static_cast<size_t>(it - r_.streams.begin());
  if (it == r_.streams.end()) {
    const RandomState s = g.state();
    r_.streams.push_back({&g, s.seed, s.counter});
  }
  return at;
}

void Recorder::on_draw(Generator& g) {
  drawing_ = static_cast<int>(stream_of(g));
}

// Set back to where it stood in here, as a checkpoint does, it goes on from where it started.
void Recorder::on_seed(Generator& g, uint64_t seed, uint64_t counter, bool anew) {
  Stream& s = r_.streams[stream_of(g)];
  s.seeded |= anew || seed != s.seed || counter < s.counter;
}

// Counters relative to where the generator stood: what draws again, such as the backward of
// dropout, finds the same.
void Recorder::take_stream(Step& step) {
  const Launch& l = step.launch->launch;
  const auto seed = static_cast<uint64_t>(l.more[0]), counter = static_cast<uint64_t>(l.more[1]);
  int found = std::exchange(drawing_, -1);
  if (found < 0) {
    for (size_t i = 0; i < r_.streams.size(); ++i) {
      const Stream& s = r_.streams[i];
      const uint64_t end = s.generator->state().counter;
      if (s.seeded || seed != s.seed || counter < s.counter || counter >= end) continue;
      if (found >= 0)
        refuse("two generators of one seed draw in turn; give them seeds of their own");
      found = static_cast<int>(i);
    }
  }
  if (found < 0 || r_.streams[static_cast<size_t>(found)].seeded) return;
  step.generator = found;
  step.counter = counter - r_.streams[static_cast<size_t>(found)].counter;
}

// --- gradients ---------------------------------------------------------------------------------

void Recorder::on_leaf(Attachment& leaf) {
  own_leaves_[&leaf] = Ref<Node>::share(static_cast<Node*>(&leaf));
}

void Recorder::on_grad(Attachment& attachment, bool replaced) {
  if (own_leaves_.contains(&attachment)) return;
  auto& leaf = static_cast<Leaf&>(attachment);
  if (!seen_leaves_.insert(&attachment).second) return;
  LeafPlace place;
  place.leaf = Ref<Node>::share(&leaf);
  for (size_t i = 0; i < arguments_.size(); ++i) {
    if (arguments_[i]->node.get() == &attachment) place.argument = static_cast<int>(i);
  }
  if (place.argument >= 0 && !r_.arguments[static_cast<size_t>(place.argument)].requires_grad) {
    refuse("an argument was made to require grad; take x.detach().requires_grad_() instead");
  }
  place.looked_at = !replaced;
  if (!replaced && leaf.grad.defined()) {
    Slot& slot = r_.slots[slot_of(*leaf.grad->storage)];
    if (slot.kind == Slot::External && !slot.touched) slot.kind = Slot::Gradient;
    place.before = place_of(leaf.grad);
  }
  r_.leaves.push_back(std::move(place));
}

// --- the end -----------------------------------------------------------------------------------

TensorPlace Recorder::place_of(const Tensor& t) {
  TensorPlace p;
  if (!t.defined()) return p;
  p.slot = slot_of(*t->storage);
  p.dtype = t.dtype();
  p.sizes = t.sizes();
  p.strides = t.strides();
  p.offset = distance(t.data(), r_.slots[p.slot].base);
  p.requires_grad = t->node && node_of(t)->active;
  p.is_view = static_cast<bool>(t->base);
  return p;
}

void Recorder::check_kept() {
  // A graph keeps leaves that were made in here, and these their gradients.
  for (const auto& [_, leaf] : own_leaves_) {
    const Tensor& grad = static_cast<const Leaf&>(*leaf).grad;
    if (grad.defined()) known_.erase(grad->storage.get());
  }
  for (const auto& [storage, index] : known_) {
    const Slot& s = r_.slots[index];
    if (s.kind != Slot::Intermediate || !s.written) continue;
    failure_ = text("a tensor that was computed", at_place(s.source),
                    " is kept by something other than the results and gradients (a list, an "
                    "attribute, a graph that no backward has freed), which a replay would not "
                    "renew. Return it, or copy_ it into a tensor made before");
    return;
  }
}

std::shared_ptr<Program> Recorder::finish(const std::vector<Tensor>& results, size_t memory_limit) {
  for (size_t i = 0; i < arguments_.size(); ++i) {
    const Tensor& t = arguments_[i];
    const TensorPlace &before = r_.arguments[i], now = place_of(t);
    if (requires_grad(t) && !is_leaf(t)) {
      failure_ = text("an argument of shape ", t.sizes(),
                      " came to have a graph, as it or a view of it was changed in place by what "
                      "requires grad; change a clone of it");
    } else if (now.slot != before.slot || now.offset != before.offset ||
               now.dtype != before.dtype || !(now.sizes == before.sizes) ||
               !(now.strides == before.strides) || now.requires_grad != before.requires_grad) {
      failure_ =
          text("an argument of shape ", before.sizes,
               " was made another tensor in place (requires_grad_(), detach_(), unsqueeze_(), "
               "x.data = ...), which a replay would not do; take x.detach() first");
    } else if (t->node && !hooks_of(*node_of(t)).empty()) {
      failure_ = "an argument got a hook; register it on x.detach().requires_grad_()";
    }
  }
  arguments_.clear();
  std::vector<TensorPlace> places;
  for (const Tensor& t : results) {
    places.push_back(place_of(t));
    if (t->node && !node_of(t)->leaf && !node_of(t)->released) {
      failure_ = text("a result of shape ", t.sizes(),
                      " still has its graph, which a replay would "
                      "not make. Do the backward inside, or capture under no_grad(), or return it "
                      "detached");
    }
  }
  for (LeafPlace& l : r_.leaves) {
    l.after = place_of(static_cast<const Leaf&>(*l.leaf).grad);
    l.changed = l.after.slot != l.before.slot || !l.looked_at;
  }
  const auto hand_out = [&](const TensorPlace& p) {
    if (p.slot == TensorPlace::kNone) return;
    Slot& s = r_.slots[p.slot];
    // A constant that is handed out is made anew each time too.
    if (s.made && s.kind == Slot::Constant && s.content.empty()) {
      s.content = content_of(s);
    }
    if (s.made) s.kind = Slot::Result;
  };
  for (const TensorPlace& p : places) hand_out(p);
  for (const LeafPlace& l : r_.leaves) hand_out(l.after);
  if (failure_.empty()) check_kept();
  if (!failure_.empty()) return nullptr;
  for (Slot& s : r_.slots) {
    if (s.kind == Slot::Argument || s.kind == Slot::Gradient) s.storage = nullptr;
  }
  r_.results = std::move(places);
  return std::make_shared<Program>(std::move(r_), memory_limit);
}

}  // namespace wengert
