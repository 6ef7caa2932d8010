// An intrusive reference-counted pointer.
#pragma once

#include <atomic>
#include <cstdint>
#include <utility>

namespace wengert {

// Base of counted objects. A fresh object holds one reference, owned by whoever made it.
struct Counted {
  std::atomic<uint32_t> refs{1};

  void retain() { refs.fetch_add(1, std::memory_order_relaxed); }
  // True when that was the last reference. The common case, a sole owner, costs no locked
  // instruction: nobody else can be counting then.
  bool drop() {
    if (refs.load(std::memory_order_acquire) == 1) return true;
    return refs.fetch_sub(1, std::memory_order_acq_rel) == 1;
  }
  bool unique() const { return refs.load(std::memory_order_acquire) == 1; }
};

// T derives from Counted and offers `static void destroy(T*)`.
template <class T>
class Ref {
 public:
  constexpr Ref() = default;
  constexpr Ref(std::nullptr_t) {}  // NOLINT
  static Ref adopt(T* p) {
    Ref r;
    r.p_ = p;
    return r;
  }
  static Ref share(T* p) {
    if (p) p->retain();
    return adopt(p);
  }
  Ref(const Ref& o) : p_(o.p_) {
    if (p_) p_->retain();
  }
  Ref(Ref&& o) noexcept : p_(std::exchange(o.p_, nullptr)) {}
  Ref& operator=(const Ref& o) {
    Ref(o).swap(*this);
    return *this;
  }
  Ref& operator=(Ref&& o) noexcept {
    Ref(std::move(o)).swap(*this);
    return *this;
  }
  ~Ref() {
    if (p_ && p_->drop()) T::destroy(p_);
  }
  void swap(Ref& o) noexcept { std::swap(p_, o.p_); }
  T* get() const { return p_; }
  T* release() { return std::exchange(p_, nullptr); }
  T* operator->() const { return p_; }
  T& operator*() const { return *p_; }
  explicit operator bool() const { return p_ != nullptr; }

 private:
  T* p_ = nullptr;
};

}  // namespace wengert
