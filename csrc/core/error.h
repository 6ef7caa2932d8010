// Errors that become Python exceptions, and the two levels of assertion.
#pragma once

#include <exception>
#include <sstream>
#include <string>

namespace wengert {

// The Python exception that a message becomes.
enum class ErrorKind { Runtime, Type, Value, Index, NotImplemented, LinAlg, Capture, OutOfMemory };

class Error : public std::exception {
 public:
  Error(ErrorKind kind, std::string message) : kind_(kind), message_(std::move(message)) {}
  const char* what() const noexcept override { return message_.c_str(); }
  ErrorKind kind() const { return kind_; }

 private:
  ErrorKind kind_;
  std::string message_;
};

// Joins anything that can be streamed into one text.
template <class... Ts>
std::string text(const Ts&... parts) {
  std::ostringstream out;
  out << std::boolalpha;
  (out << ... << parts);
  return out.str();
}

// Throws. A message reads `operation: what is wrong, with the values; what was expected`.
template <class... Ts>
[[noreturn]] __attribute__((noinline, cold)) void fail(ErrorKind kind, const Ts&... parts) {
  throw Error(kind, text(parts...));
}
template <class... Ts>
[[noreturn]] __attribute__((noinline, cold)) void fail(const Ts&... parts) {
  throw Error(ErrorKind::Runtime, text(parts...));
}

// Warns the user: Python's warnings, which may be made errors, once the bindings are loaded.
void set_warning_handler(void (*handler)(const std::string&));
void warn_text(const std::string& message);
template <class... Ts>
__attribute__((noinline, cold)) void warn(const Ts&... parts) {
  warn_text(text(parts...));
}

[[noreturn]] void assertion_failed(const char* condition, const char* file, int line);

}  // namespace wengert

// Broken invariants of our own: WENGERT_CHECK always, WENGERT_DCHECK in debug builds.
#define WENGERT_CHECK(condition) \
  ((condition) ? void() : ::wengert::assertion_failed(#condition, __FILE__, __LINE__))
#ifdef NDEBUG
#define WENGERT_DCHECK(condition) void()
#else
#define WENGERT_DCHECK(condition) WENGERT_CHECK(condition)
#endif
