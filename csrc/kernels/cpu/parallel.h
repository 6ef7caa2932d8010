// The thread pool: a static partition of [0, n), fork-safe, started at first need.
#pragma once

#include <cstdint>
#include <type_traits>

namespace wengert {

// A borrowed callable of the form void(int64_t begin, int64_t end): no allocation, no ownership.
class RangeFn {
 public:
  template <class F>
    requires(!std::is_same_v<std::remove_cvref_t<F>, RangeFn>)
  RangeFn(F&& f)  // NOLINT: implicit on purpose, it only lives for the call
      : object_(const_cast<void*>(static_cast<const void*>(&f))),
        call_([](void* o, int64_t b, int64_t e) {
          (*static_cast<std::remove_reference_t<F>*>(o))(b, e);
        }) {}
  void operator()(int64_t begin, int64_t end) const { call_(object_, begin, end); }

 private:
  void* object_;
  void (*call_)(void*, int64_t, int64_t);
};

int num_threads();            // threads a parallel region may use, the caller included
void set_num_threads(int n);  // n >= 1
bool pool_started();          // whether worker threads exist in this process

// Runs body over [0, n) in contiguous ranges, at most one a thread, each of at least `grain` items;
// with n <= grain, one thread, or inside another region, on the calling thread alone. The caller
// must not let results depend on where the ranges are cut.
void parallel_for(int64_t n, int64_t grain, RangeFn body);

}  // namespace wengert
