// Storage (bytes) and Tensor (a strided view of them). A tensor carries three opaque things for
// what stands above: what the tape attached to it, what a transform put over it, and the language
// binding's object for it.
#pragma once

#include <string>

#include "core/allocator.h"
#include "core/device_memory.h"
#include "core/dtype.h"
#include "core/ref.h"
#include "core/shape.h"

namespace wengert {

enum class Device : uint8_t { CPU, CUDA };
inline constexpr int kNumDevices = 2;
constexpr const char* name_of(Device d) {
  return d == Device::CPU ? "cpu" : "cuda";
}

// Throws: tensors of one operation are on both. `who` begins the message, if it is told.
[[noreturn]] void devices_differ(Device a, Device b, const std::string& who = {});

// Where this thread makes tensors of which nothing else is said. Setting returns what it was.
Device default_device();
Device set_default_device(Device d);
class DefaultDevice {
 public:
  explicit DefaultDevice(Device d) : sets_(device_memory_in_use()) {
    if (sets_) [[unlikely]]
      before_ = set_default_device(d);
  }
  DefaultDevice(const DefaultDevice&) = delete;
  DefaultDevice& operator=(const DefaultDevice&) = delete;
  ~DefaultDevice() {
    if (sets_) [[unlikely]]
      set_default_device(before_);
  }

 private:
  bool sets_;  // else there is one device
  Device before_ = Device::CPU;
};

// Whether what this thread makes will never take part in derivatives. Returns what it was.
bool inference_mode();
bool set_inference_mode(bool on);

// Memory that tensors view. Our own memory stands right behind the header, in one block.
struct Storage : Counted {
  Device device = Device::CPU;
  bool inference = inference_mode();  // when it was made: never to be read by a derivative
  std::atomic<bool> saved{false};     // once, for a derivative: changes matter then
  std::atomic<uint32_t> version{0};   // bumped by every in-place change
  void* data = nullptr;
  size_t bytes = 0;
  void (*release)(void* context) = nullptr;  // set for memory that is someone else's
  void* context = nullptr;
  // What changed it last and where, for messages: the tape's (tape/source.h).
  std::atomic<const char*> changed_by{nullptr};
  std::atomic<uint64_t> changed_at{0};

  static Ref<Storage> make(size_t bytes, Device device);
  static Ref<Storage> borrow(void* data, size_t bytes, void (*release)(void*), void* context);
  static void destroy(Storage* s);
};
static_assert(sizeof(Storage) <= kAlignment);

// What a higher layer hangs on a tensor; it says itself how it is destroyed.
struct Attachment : Counted {
  using Destroy = void (*)(Attachment*);
  explicit Attachment(Destroy d) : destroy_fn(d) {}
  Destroy destroy_fn;
  static void destroy(Attachment* a) { a->destroy_fn(a); }
};

struct TensorImpl : Counted {
  DType dtype = DType::Float32;
  Device device = Device::CPU;
  bool contiguous = true;
  bool weak = false;      // made from a Python number: yields to other operands' dtype
  bool changing = false;  // a view that is being changed in place, to be recorded
  uint32_t slot = 0;      // which output of the attached node this is
  char* data = nullptr;
  int64_t numel = 0;
  Ref<Storage> storage;
  Ref<Attachment> node;       // the tape's
  Ref<Attachment> layer;      // a transform's: then there is no memory here
  Ref<TensorImpl> base;       // what this is a view of, if it is one
  uint32_t history = 0;       // how often an operation was recorded as this tensor's
  uint32_t base_history = 0;  // the base's when this view was taken
  void* object = nullptr;     // the binding's, not owned
  Dims sizes, strides;

  static void* operator new(size_t n) { return allocate(n); }
  static void operator delete(void* p) { deallocate(p, sizeof(TensorImpl)); }
  static void destroy(TensorImpl* t) { delete t; }
};

// A tensor's elements for the host to look at, by the tensor's strides.
template <class T>
class HostRead {
 public:
  HostRead(const void* data, Ref<Storage> copy)
      : data_(static_cast<const T*>(data)), copy_(std::move(copy)) {}
  const T& operator[](int64_t i) const { return data_[i]; }
  const T& operator*() const { return *data_; }
  const T* get() const { return data_; }

 private:
  const T* data_;
  Ref<Storage> copy_;  // of memory that the host cannot look at
};

class Tensor {
 public:
  Tensor() = default;
  explicit Tensor(Ref<TensorImpl> impl) : impl_(std::move(impl)) {}

  // Uninitialised, contiguous.
  static Tensor empty(const Dims& sizes, DType dtype, Device device = default_device());
  // A 0-dim tensor that holds v, in the processor's memory.
  static Tensor scalar(double v, DType dtype);
  static Tensor scalar(int64_t v, DType dtype);

  // Another view of the same storage, moved by `offset` elements; not known to the tape.
  Tensor view(const Dims& sizes, const Dims& strides, int64_t offset = 0) const;

  bool defined() const { return static_cast<bool>(impl_); }
  TensorImpl* operator->() const { return impl_.get(); }
  TensorImpl* impl() const { return impl_.get(); }
  const Ref<TensorImpl>& ref() const { return impl_; }
  bool unique() const { return impl_->unique(); }
  void reset() { impl_ = nullptr; }

  int dim() const { return impl_->sizes.size(); }
  const Dims& sizes() const { return impl_->sizes; }
  const Dims& strides() const { return impl_->strides; }
  int64_t size(int i) const { return impl_->sizes[i]; }
  int64_t stride(int i) const { return impl_->strides[i]; }
  int64_t numel() const { return impl_->numel; }
  DType dtype() const { return impl_->dtype; }
  Device device() const { return impl_->device; }
  bool contiguous() const { return impl_->contiguous; }
  template <class T = char>
  T* data() const {
    return reinterpret_cast<T*>(impl_->data);
  }
  int64_t offset() const {
    return (impl_->data - static_cast<char*>(impl_->storage->data)) /
           static_cast<int64_t>(item_size(impl_->dtype));
  }
  void bump_version() const { impl_->storage->version.fetch_add(1, std::memory_order_relaxed); }
  uint32_t version() const { return impl_->storage->version.load(std::memory_order_relaxed); }

  // The same for the host to look at, which whoever records a program must know (core/watch.h):
  // of another device's memory, a copy.
  template <class T>
  HostRead<T> read() const;
  void host_reads() const;
  // Says that the host has written into it itself.
  void host_wrote() const;

  // The element of a one-element tensor.
  double to_double() const;
  int64_t to_int64() const;

  // The bytes from the first element to the last.
  size_t extent() const;

 private:
  // A copy of memory that the host cannot look at.
  Ref<Storage> on_host() const;

  Ref<TensorImpl> impl_;
};

template <class T>
HostRead<T> Tensor::read() const {
  host_reads();
  if (device() == Device::CPU) [[likely]]
    return {data(), {}};
  Ref<Storage> copy = on_host();
  const void* data = copy->data;
  return {data, std::move(copy)};
}

}  // namespace wengert
