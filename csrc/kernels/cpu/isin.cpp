// Membership: what is looked for is looked up by halving in a sorted copy of the set.
#include <algorithm>
#include <vector>

#include "kernels/cpu/cpu.h"
#include "kernels/cpu/parallel.h"

namespace wengert::cpu {

void run_isin(const Launch& l) {
  constexpr int64_t kGrain = 4096;  // look-ups a thread must get
  visit_compute(l.dtype, [&]<class T>() {
    if constexpr (!std::is_same_v<T, Bool8>) {
      const T* from = static_cast<const T*>(l.buffer[2].data);
      std::vector<T> among;
      // NaN equals nothing and has no place in an order
      std::copy_if(from, from + l.integer[0], std::back_inserter(among),
                   [](T v) { return v == v; });
      std::sort(among.begin(), among.end());
      const T* x = static_cast<const T*>(l.buffer[1].data);
      auto* out = static_cast<Bool8*>(l.buffer[0].data);
      const bool invert = l.integer[1] != 0;
      parallel_for(l.count, kGrain, [&](int64_t b, int64_t e) {
        for (int64_t i = b; i < e; ++i) {
          const bool found = x[i] == x[i] && std::binary_search(among.begin(), among.end(), x[i]);
          out[i] = Bool8(found != invert);
        }
      });
    }
  });
}

}  // namespace wengert::cpu
