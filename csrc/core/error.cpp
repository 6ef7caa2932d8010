#include "core/error.h"

#include <cstring>

namespace wengert {

void assertion_failed(const char* condition, const char* file, int line) {
  const char* base = std::strrchr(file, '/');
  fail("internal invariant broken: ", condition, " (", base ? base + 1 : file, ":", line, ")");
}

}  // namespace wengert
