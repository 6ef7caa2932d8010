// What a thread does to tensors' memory outside of launches, told to whoever records the launches
// as a program: run again, they would not do it.
#pragma once

#include <span>

#include "core/tensor.h"

namespace wengert {

class Generator;

// What a check goes by besides its tensors: plain data, so that a program with the check can be
// written to a file.
struct CheckFacts {
  const char* text[2] = {"", ""};
  int64_t integer[4] = {};
  double number[2] = {};
};
// A check of tensors, which may throw and does nothing else.
struct CheckRule {
  const char* name;  // in files
  void (*check)(std::span<const Tensor> of, const CheckFacts& facts);
  bool (*fits)(std::span<const Tensor> of, const CheckFacts& facts);  // what it can be asked of
};

class HostWatcher {
 public:
  virtual ~HostWatcher() = default;
  virtual void on_made(const Storage& s) = 0;
  virtual void on_gone(const Storage& s) = 0;
  // The host looks at numbers, and goes on as they say; it writes some itself.
  virtual void on_read(const Storage& s) = 0;
  virtual void on_write(const Storage& s) = 0;
  // A check was done. Done again at the same place, of what stands there then, it keeps its
  // promise.
  virtual void on_check(const CheckRule& rule, const CheckFacts& facts,
                        std::span<const Tensor> of) = 0;
  // Pointers of the next launch lead into these, beside its buffers.
  virtual void on_use(std::span<const Tensor> tensors) = 0;
  // The next launch draws from the generator.
  virtual void on_draw(Generator& g) = 0;
  // A generator is about to be seeded anew, or set to a state.
  virtual void on_seed(Generator& g, uint64_t seed, uint64_t counter, bool anew) = 0;
  // A leaf of the tape was made; the gradient that one holds is looked at, or replaced.
  virtual void on_leaf(Attachment& leaf) = 0;
  virtual void on_grad(Attachment& leaf, bool replaced) = 0;
};

// Of this thread; null where nobody watches. Setting returns who did.
HostWatcher* host_watcher();
HostWatcher* set_host_watcher(HostWatcher* watcher);

// Throws what the check throws of those tensors; of those on another device perhaps later
// (core/device_memory.h).
void check_on_host(const CheckRule& rule, std::span<const Tensor> of, const CheckFacts& facts);

// The same, and of those in their place whenever the
// launches run again. The rules of this library stand in ops/checks.h.
inline void host_check(const CheckRule& rule, std::initializer_list<Tensor> of,
                       const CheckFacts& facts) {
  const std::span<const Tensor> tensors(of.begin(), of.size());
  check_on_host(rule, tensors, facts);
  if (HostWatcher* w = host_watcher()) w->on_check(rule, facts, tensors);
}

}  // namespace wengert
