#include "core/tensor.h"

#include <cstring>
#include <new>
#include <utility>

#include "core/error.h"
#include "core/watch.h"

namespace wengert {

namespace {
// Together, as what makes a tensor asks for more than one.
struct Thread {
  Device device = Device::CPU;
  bool inference = false;
  HostWatcher* watcher = nullptr;
};
thread_local Thread here;
}  // namespace
void devices_differ(Device a, Device b, const std::string& who) {
  const auto name = [](Device d) { return d == Device::CPU ? "cpu" : "cuda:0"; };
  fail(who, who.empty() ? "" : ": ",
       "Expected all tensors to be on the same device, but found at least two devices, ", name(a),
       " and ", name(b), "!");
}

Device default_device() {
  return here.device;
}
Device set_default_device(Device d) {
  return std::exchange(here.device, d);
}
bool inference_mode() {
  return here.inference;
}
bool set_inference_mode(bool on) {
  return std::exchange(here.inference, on);
}
HostWatcher* host_watcher() {
  return here.watcher;
}
HostWatcher* set_host_watcher(HostWatcher* w) {
  return std::exchange(here.watcher, w);
}

std::atomic<const DeviceMemory*> the_device_memory{nullptr};

namespace {
__attribute__((noinline, cold)) Ref<Storage> make_elsewhere(size_t bytes, Device device) {
  void* data = device_memory().allocate(bytes);
  auto* s = new (allocate(kAlignment)) Storage;
  s->device = device;
  s->data = data;
  s->bytes = bytes;
  if (here.watcher) here.watcher->on_made(*s);
  return Ref<Storage>::adopt(s);
}
}  // namespace

const DeviceMemory& device_memory() {
  const DeviceMemory* m = the_device_memory.load(std::memory_order_acquire);
  if (!m) fail("no device memory is in use");
  return *m;
}
void set_device_memory(const DeviceMemory& memory) {
  the_device_memory.store(&memory, std::memory_order_release);
}

void read_memory(void* to_host, const void* from, size_t bytes, Device device) {
  if (bytes == 0) return;
  if (device == Device::CPU) {
    std::memcpy(to_host, from, bytes);
  } else {
    device_memory().read(to_host, from, bytes);
  }
}
void write_memory(void* to, const void* from_host, size_t bytes, Device device) {
  if (bytes == 0) return;
  if (device == Device::CPU) {
    std::memcpy(to, from_host, bytes);
  } else {
    device_memory().write(to, from_host, bytes);
  }
}

Ref<Storage> Storage::make(size_t bytes, Device device) {
  if (device != Device::CPU) [[unlikely]]
    return make_elsewhere(bytes, device);
  void* block = allocate(kAlignment + bytes);
  auto* s = new (block) Storage;
  s->device = device;
  s->data = static_cast<char*>(block) + kAlignment;
  s->bytes = bytes;
  if (here.watcher) [[unlikely]]
    here.watcher->on_made(*s);
  return Ref<Storage>::adopt(s);
}

Ref<Storage> Storage::borrow(void* data, size_t bytes, void (*release)(void*), void* context) {
  auto* s = new (allocate(kAlignment)) Storage;
  s->data = data;
  s->bytes = bytes;
  s->release = release;
  s->context = context;
  Ref<Storage> made = Ref<Storage>::adopt(s);
  if (here.watcher) [[unlikely]]
    here.watcher->on_made(*s);
  return made;
}

void Storage::destroy(Storage* s) {
  if (here.watcher) [[unlikely]]
    here.watcher->on_gone(*s);
  const bool behind = !s->release && s->device == Device::CPU;  // its memory, in the same block
  const size_t block = kAlignment + (behind ? s->bytes : 0);
  if (s->release) {
    s->release(s->context);
  } else if (!behind) [[unlikely]] {
    device_memory().deallocate(s->data, s->bytes);
  }
  s->~Storage();
  deallocate(s, block);
}

Tensor Tensor::empty(const Dims& sizes, DType dtype, Device device) {
  int64_t n = 1;
  for (int64_t s : sizes) {
    if (s < 0) fail("empty: a size is negative in ", sizes);
    if (__builtin_mul_overflow(n, s, &n)) fail("empty: ", sizes, " has too many elements");
  }
  int64_t bytes;  // what does not fit into 63 bits would, with the header's, wrap around in 64
  if (__builtin_mul_overflow(n, static_cast<int64_t>(item_size(dtype)), &bytes)) {
    fail("empty: ", sizes, " has too many bytes");
  }
  auto impl = Ref<TensorImpl>::adopt(new TensorImpl);
  impl->storage = Storage::make(static_cast<size_t>(bytes), device);
  impl->dtype = dtype;
  impl->device = device;
  impl->data = static_cast<char*>(impl->storage->data);
  impl->numel = n;
  impl->sizes = sizes;
  impl->strides = contiguous_strides(sizes);
  return Tensor(std::move(impl));
}

namespace {
template <class V>
Tensor make_scalar(V v, DType dtype) {
  Tensor t = Tensor::empty({}, dtype, Device::CPU);
  visit(dtype, [&]<class T>() { *t.data<T>() = convert<T>(v); });
  t.host_wrote();
  return t;
}
template <class V>
V read_scalar(const Tensor& t) {
  return visit(t.dtype(), [&]<class T>() -> V { return convert<V>(*t.read<T>()); });
}
}  // namespace

void Tensor::host_reads() const {
  if (here.watcher) [[unlikely]]
    here.watcher->on_read(*impl_->storage);
}
void Tensor::host_wrote() const {
  if (here.watcher) [[unlikely]]
    here.watcher->on_write(*impl_->storage);
}

size_t Tensor::extent() const {
  return static_cast<size_t>(wengert::extent(sizes(), strides())) * item_size(dtype());
}
Ref<Storage> Tensor::on_host() const {
  const size_t bytes = extent();
  Ref<Storage> copy = Storage::make(bytes, Device::CPU);
  read_memory(copy->data, data(), bytes, device());
  return copy;
}

void check_on_host(const CheckRule& rule, std::span<const Tensor> of, const CheckFacts& facts) {
  bool here = true;
  for (const Tensor& t : of) here &= t.device() == Device::CPU;
  if (here) [[likely]]
    return rule.check(of, facts);
  device_memory().check(rule, of, facts);
}

Tensor Tensor::scalar(double v, DType dtype) {
  return make_scalar(v, dtype);
}
Tensor Tensor::scalar(int64_t v, DType dtype) {
  return make_scalar(v, dtype);
}
double Tensor::to_double() const {
  return read_scalar<double>(*this);
}
int64_t Tensor::to_int64() const {
  return read_scalar<int64_t>(*this);
}

Tensor Tensor::view(const Dims& sizes, const Dims& strides, int64_t offset) const {
  auto impl = Ref<TensorImpl>::adopt(new TensorImpl);
  impl->storage = impl_->storage;
  impl->dtype = impl_->dtype;
  impl->device = impl_->device;
  impl->numel = product(sizes);
  impl->data = impl_->data + offset * static_cast<int64_t>(item_size(impl_->dtype));
  impl->sizes = sizes;
  impl->strides = strides;
  impl->contiguous = is_contiguous(sizes, strides);
  return Tensor(std::move(impl));
}

}  // namespace wengert
