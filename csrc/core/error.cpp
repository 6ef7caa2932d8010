#include "core/error.h"

#include <cstdio>
#include <cstring>

namespace wengert {
namespace {

void (*warning_handler)(const std::string&) = [](const std::string& message) {
  std::fprintf(stderr, "wengert: warning: %s\n", message.c_str());
};

}  // namespace

void set_warning_handler(void (*handler)(const std::string&)) {
  warning_handler = handler;
}
void warn_text(const std::string& message) {
  warning_handler(message);
}

void assertion_failed(const char* condition, const char* file, int line) {
  const char* base = std::strrchr(file, '/');
  fail("internal invariant broken: ", condition, " (", base ? base + 1 : file, ":", line, ")");
}

}  // namespace wengert
