// The order in which things run that CUDA leaves unordered.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <numeric>
#include <random>
#include <string_view>

namespace cuda_emulator {

class Order {
 public:
  enum class Kind { kForward, kReverse, kRandom };

  Kind kind() const { return kind_; }
  bool set(std::string_view text);

  template <class T>
  void arrange(T begin, T end) {
    if (kind_ == Kind::kReverse) std::reverse(begin, end);
    if (kind_ == Kind::kRandom) std::shuffle(begin, end, random_);
  }

  /// Which of `count` to take first.
  size_t pick(size_t count) {
    if (kind_ == Kind::kForward) return 0;
    return kind_ == Kind::kReverse ? count - 1 : random_() % count;
  }

  /// Walks `count` numbers once each, without a table.
  struct Walk {
    uint64_t count, start, stride;
    uint64_t at(uint64_t i) const {
      return static_cast<uint64_t>((start + static_cast<unsigned __int128>(i) * stride) % count);
    }
  };
  Walk walk(uint64_t count) {
    if (kind_ == Kind::kForward) return {count, 0, 1};
    if (kind_ == Kind::kReverse) return {count, count - 1, count - 1};
    uint64_t stride = random_() % count;
    while (std::gcd(stride, count) != 1) stride = (stride + 1) % count;
    return {count, random_() % count, stride};
  }

 private:
  Kind kind_ = Kind::kForward;
  std::mt19937_64 random_;
};

/// The setting of WENGERT_EMULATOR_ORDER, or of set_order since.
Order& order();

}  // namespace cuda_emulator
