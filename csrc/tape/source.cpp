#include "tape/source.h"

#include <utility>

namespace wengert {
namespace {

SourceHooks hooks{nullptr, nullptr};

struct Fixed {
  Source source;
  bool on = false;
};
thread_local Fixed fixed;

}  // namespace

void set_source_hooks(SourceHooks h) {
  hooks = h;
}

Source source_here() {
  if (fixed.on) return fixed.source;
  return hooks.here ? hooks.here() : Source{};
}

std::string describe(const Source& s) {
  return s.code && hooks.describe ? hooks.describe(s) : std::string();
}

std::string at_place(const Source& s) {
  const std::string where = describe(s);
  return where.empty() ? where : " at " + where;
}

void note_change(const char* op, const Tensor& t) {
  Storage& s = *t->storage;
  t.bump_version();
  if (!s.saved.load(std::memory_order_relaxed)) return;
  const Source at = source_here();
  s.changed_by.store(op, std::memory_order_relaxed);
  s.changed_at.store(uint64_t{at.code} << 32 | at.at, std::memory_order_relaxed);
}

std::string last_change(const Tensor& t) {
  const Storage& s = *t->storage;
  const char* by = s.changed_by.load(std::memory_order_relaxed);
  if (!by) return {};
  std::string name = by;
  // A row's name lacks the underscore of its form in place.
  if (name.back() != '_' && name.find_first_of(" =(") == name.npos) name += '_';
  const uint64_t at = s.changed_at.load(std::memory_order_relaxed);
  return name + at_place({static_cast<uint32_t>(at >> 32), static_cast<uint32_t>(at)});
}

SourceScope::SourceScope(Source s)
    : before_(std::exchange(fixed.source, s)), was_fixed_(std::exchange(fixed.on, true)) {}
SourceScope::~SourceScope() {
  fixed = {before_, was_fixed_};
}

}  // namespace wengert
