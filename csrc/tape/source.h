// Where in the user's program an operation was recorded. The tape does not know the program's
// language: a binding says where the calling thread is, as two numbers, and can turn them to text.
#pragma once

#include <cstdint>
#include <string>

#include "core/tensor.h"

namespace wengert {

// A piece of code, by the binding's own number (0: unknown), and a place in it.
struct Source {
  uint32_t code = 0;
  uint32_t at = 0;
};

struct SourceHooks {
  Source (*here)();                          // where the calling thread is
  std::string (*describe)(const Source& s);  // such as "train.py:12 in step"
};
void set_source_hooks(SourceHooks hooks);

// What nodes recorded now on this thread are given.
Source source_here();
// As text; empty if unknown.
std::string describe(const Source& s);
// The same within a sentence: " at train.py:12 in step", or nothing.
std::string at_place(const Source& s);

// For every in-place change: raises the version of the tensor's memory and, where a derivative has
// saved that, notes who did it.
// `op` must live for good.
void note_change(const char* op, const Tensor& t);
// Such as "add_ at train.py:12 in step"; empty if nobody noted a change.
std::string last_change(const Tensor& t);

// Everything that this thread records meanwhile is from one place: a backward's nodes are its
// caller's, and the walk need not ask the binding.
class SourceScope {
 public:
  explicit SourceScope(Source s);
  SourceScope(const SourceScope&) = delete;
  SourceScope& operator=(const SourceScope&) = delete;
  ~SourceScope();

 private:
  Source before_;
  bool was_fixed_;
};

}  // namespace wengert
