// Membership: what is looked for is looked up in a table of the set's integers, where they are
// close together, and otherwise by halving in a sorted copy of the set.
#include <algorithm>
#include <iterator>
#include <type_traits>
#include <vector>

#include "kernels/cpu/cpu.h"
#include "kernels/cpu/parallel.h"

namespace wengert::cpu {
namespace {

constexpr int64_t kGrain = 4096;      // look-ups a thread must get
constexpr uint64_t kTable = 1 << 16;  // entries that are always worth it; more for larger sets

template <class T, class Find>
void look_up(const Launch& l, Find&& found) {
  const T* x = static_cast<const T*>(l.buffer[1].data);
  auto* out = static_cast<Bool8*>(l.buffer[0].data);
  const bool invert = l.integer[1] != 0;
  parallel_for(l.count, kGrain, [&](int64_t b, int64_t e) {
    for (int64_t i = b; i < e; ++i) out[i] = Bool8(found(x[i]) != invert);
  });
}

// False where the set's integers are too far apart.
template <class T>
bool isin_table(const Launch& l, const T* set, int64_t n) {
  if (n == 0) return false;
  const auto [low, high] = std::minmax_element(set, set + n);
  const auto least = static_cast<uint64_t>(*low), last = static_cast<uint64_t>(*high) - least;
  if (last >= std::max(kTable, 8 * static_cast<uint64_t>(n))) return false;
  std::vector<uint8_t> among(last + 1);
  for (int64_t i = 0; i < n; ++i) among[static_cast<uint64_t>(set[i]) - least] = 1;
  look_up<T>(l, [&](T v) {
    const uint64_t at = static_cast<uint64_t>(v) - least;
    return at <= last && among[at] != 0;
  });
  return true;
}

}  // namespace

void run_isin(const Launch& l) {
  visit_compute(l.dtype, [&]<class T>() {
    if constexpr (!std::is_same_v<T, Bool8>) {
      const T* set = static_cast<const T*>(l.buffer[2].data);
      const int64_t n = l.integer[0];
      if constexpr (std::is_integral_v<T>) {
        if (isin_table(l, set, n)) return;
      }
      std::vector<T> among;
      // NaN equals nothing and has no place in an order
      std::copy_if(set, set + n, std::back_inserter(among), [](T v) { return v == v; });
      std::sort(among.begin(), among.end());
      look_up<T>(l,
                 [&](T v) { return v == v && std::binary_search(among.begin(), among.end(), v); });
    }
  });
}

}  // namespace wengert::cpu
