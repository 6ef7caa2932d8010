// The fields of a program's file: each list of fields is written once, as a template over the
// writer or the reader. Numbers are little-endian; a text or a list begins with its length.
#pragma once

#include <array>
#include <bit>
#include <cstring>
#include <string>
#include <type_traits>
#include <vector>

#include "core/error.h"
#include "core/shape.h"

namespace wengert {

static_assert(std::endian::native == std::endian::little);

template <class T>
concept Plain = std::is_arithmetic_v<T>;

class ArchiveWriter {
 public:
  static constexpr bool kReads = false;

  template <Plain T>
  void operator()(const T& v) {
    out_.append(reinterpret_cast<const char*>(&v), sizeof v);
  }
  void operator()(const std::string& text) {
    (*this)(static_cast<uint32_t>(text.size()));
    out_ += text;
  }
  template <class A, class B, class... Rest>
  void operator()(const A& a, const B& b, const Rest&... rest) {
    (*this)(a);
    (*this)(b, rest...);
  }
  template <class T, class F>
  void list(std::vector<T>& items, F&& field) {
    (*this)(static_cast<uint32_t>(items.size()));
    for (T& item : items) field(item);
  }
  void raw(const std::string& bytes) { out_ += bytes; }
  std::string take() { return std::move(out_); }

 private:
  std::string out_;
};

class ArchiveReader {
 public:
  static constexpr bool kReads = true;

  ArchiveReader(const char* from, size_t bytes) : at_(from), end_(from + bytes) {}

  template <Plain T>
  void operator()(T& v) {
    if constexpr (std::is_same_v<T, bool>) {
      uint8_t byte;
      (*this)(byte);
      if (byte > 1) fail("a flag that is neither 0 nor 1");
      v = byte != 0;
    } else {
      need(sizeof v);
      std::memcpy(&v, at_, sizeof v);
      at_ += sizeof v;
    }
  }
  void operator()(std::string& text) {
    uint32_t n;
    (*this)(n);
    need(n);
    text.assign(at_, n);
    at_ += n;
  }
  template <class A, class B, class... Rest>
  void operator()(A& a, B& b, Rest&... rest) {
    (*this)(a);
    (*this)(b, rest...);
  }
  // An entry takes a byte or more, so a false number of them ends where the file does.
  template <class T, class F>
  void list(std::vector<T>& items, F&& field) {
    uint32_t n;
    (*this)(n);
    need(n);
    for (uint32_t i = 0; i < n; ++i) field(items.emplace_back());
  }
  bool at_end() const { return at_ == end_; }

 private:
  void need(size_t bytes) const {
    if (bytes > static_cast<size_t>(end_ - at_)) fail("it ends within its description");
  }

  const char *at_, *end_;
};

}  // namespace wengert
