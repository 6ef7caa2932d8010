// Memory: allocations, copies and fills.
#include <sys/mman.h>
#include <unistd.h>

#include <cstdlib>
#include <cstring>
#include <memory>
#include <vector>

#include "cuda_emulator.h"
#include "machine.h"

using cuda_emulator::call;
using cuda_emulator::Machine;

namespace {

struct Copy {
  char* to;
  size_t to_pitch;
  const char* from;
  size_t from_pitch;
  size_t width, height;
};

size_t extent(size_t pitch, size_t width, size_t height) {
  return (height - 1) * pitch + width;
}

void perform(const Copy& copy) {
  for (size_t row = 0; row < copy.height; ++row) {
    std::memcpy(copy.to + row * copy.to_pitch, copy.from + row * copy.from_pitch, copy.width);
  }
}

enum class Waits { kNo, kYes };

cudaError_t submit_copy(Machine& m, cudaStream_t handle, Copy copy, cudaMemcpyKind kind,
                        Waits waits) {
  const auto stream = m.stream(handle);
  if (stream == nullptr) return cudaErrorInvalidResourceHandle;
  if (copy.width == 0 || copy.height == 0) return cudaSuccess;
  if (copy.to == nullptr || copy.from == nullptr) return cudaErrorInvalidValue;
  if (copy.to_pitch < copy.width || copy.from_pitch < copy.width) return cudaErrorInvalidPitchValue;
  const bool to_device = m.memory.contains(copy.to), from_device = m.memory.contains(copy.from);
  const auto seen = to_device     ? from_device ? cudaMemcpyDeviceToDevice : cudaMemcpyHostToDevice
                    : from_device ? cudaMemcpyDeviceToHost
                                  : cudaMemcpyHostToHost;
  if (kind < cudaMemcpyHostToHost || kind > cudaMemcpyDefault) {
    return cudaErrorInvalidMemcpyDirection;
  }
  if (kind != cudaMemcpyDefault && kind != seen) return cudaErrorInvalidValue;
  if ((to_device && !m.memory.holds(copy.to, extent(copy.to_pitch, copy.width, copy.height))) ||
      (from_device &&
       !m.memory.holds(copy.from, extent(copy.from_pitch, copy.width, copy.height)))) {
    return cudaErrorInvalidValue;
  }

  const bool pageable =
      (!to_device && !m.is_pinned(copy.to)) || (!from_device && !m.is_pinned(copy.from));
  if (stream->capture != nullptr && (pageable || waits == Waits::kYes)) {
    stream->capture->invalid = true;
    return cudaErrorStreamCaptureUnsupported;
  }
  if (seen == cudaMemcpyHostToDevice && pageable) {
    // The host's bytes are taken now; they reach the device when the stream comes to it.
    if (waits == Waits::kYes) {
      if (const cudaError_t error = m.unsafe_wait(*stream)) return error;
      m.run(*stream);
    }
    const auto staged = std::make_shared<std::vector<char>>(copy.width * copy.height);
    perform({staged->data(), copy.width, copy.from, copy.from_pitch, copy.width, copy.height});
    return m.submit(*stream, cudaGraphNodeTypeMemcpy, [copy, staged] {
      perform({copy.to, copy.to_pitch, staged->data(), copy.width, copy.width, copy.height});
    });
  }
  const bool now = seen == cudaMemcpyHostToHost || (seen == cudaMemcpyDeviceToHost && pageable) ||
                   (waits == Waits::kYes && seen != cudaMemcpyDeviceToDevice);
  const cudaError_t error = m.submit(*stream, cudaGraphNodeTypeMemcpy, [copy] { perform(copy); });
  if (error == cudaSuccess && now && stream->capture == nullptr) m.run(*stream);
  return error;
}

cudaError_t allocate(Machine& m, void** devPtr, size_t size) {
  if (devPtr == nullptr) return cudaErrorInvalidValue;
  *devPtr = nullptr;
  if (size == 0) return cudaSuccess;
  *devPtr = m.memory.allocate(size);
  return *devPtr == nullptr ? cudaErrorMemoryAllocation : cudaSuccess;
}

}  // namespace

cudaError_t cudaMalloc(void** devPtr, size_t size) {
  return call([&](Machine& m) {
    if (const cudaError_t error = m.unsafe_call()) return error;
    return allocate(m, devPtr, size);
  });
}

cudaError_t cudaFree(void* devPtr) {
  return call([&](Machine& m) {
    if (const cudaError_t error = m.unsafe_call()) return error;
    if (devPtr == nullptr) return cudaSuccess;
    if (m.memory.start_of(devPtr) != devPtr) return cudaErrorInvalidValue;
    m.run_all();
    return m.memory.release(devPtr) ? cudaSuccess : cudaErrorInvalidValue;
  });
}

cudaError_t cudaMallocAsync(void** devPtr, size_t size, cudaStream_t hStream) {
  return call([&](Machine& m) {
    const auto stream = m.stream(hStream);
    if (stream == nullptr) return cudaErrorInvalidResourceHandle;
    if (stream->capture != nullptr) {  // allocations inside a graph are not emulated
      stream->capture->invalid = true;
      return cudaErrorStreamCaptureUnsupported;
    }
    const cudaError_t error = allocate(m, devPtr, size);
    if (error != cudaErrorMemoryAllocation) return error;
    m.run(*stream);  // what was freed in the stream may serve
    return allocate(m, devPtr, size);
  });
}

cudaError_t cudaFreeAsync(void* devPtr, cudaStream_t hStream) {
  return call([&](Machine& m) {
    const auto stream = m.stream(hStream);
    if (stream == nullptr) return cudaErrorInvalidResourceHandle;
    if (devPtr == nullptr) return cudaSuccess;
    if (m.memory.start_of(devPtr) != devPtr) return cudaErrorInvalidValue;
    if (stream->capture != nullptr) {
      stream->capture->invalid = true;
      return cudaErrorStreamCaptureUnsupported;
    }
    return m.submit(*stream, cudaGraphNodeTypeEmpty, [&m, devPtr] { m.memory.release(devPtr); });
  });
}

cudaError_t cudaHostAlloc(void** pHost, size_t size, unsigned /*flags*/) {
  return call([&](Machine& m) {
    if (const cudaError_t error = m.unsafe_call()) return error;
    if (pHost == nullptr) return cudaErrorInvalidValue;
    *pHost = nullptr;
    if (size == 0) return cudaSuccess;
    if (posix_memalign(pHost, 4096, size) != 0) {
      *pHost = nullptr;
      return cudaErrorMemoryAllocation;
    }
    m.pinned[static_cast<const char*>(*pHost)] = size;
    return cudaSuccess;
  });
}

cudaError_t cudaMallocHost(void** ptr, size_t size) {
  return cudaHostAlloc(ptr, size, cudaHostAllocDefault);
}

cudaError_t cudaFreeHost(void* ptr) {
  return call([&](Machine& m) {
    if (const cudaError_t error = m.unsafe_call()) return error;
    if (ptr == nullptr) return cudaSuccess;
    if (!m.pinned.contains(static_cast<const char*>(ptr))) return cudaErrorInvalidValue;
    m.run_all();
    m.pinned.erase(static_cast<const char*>(ptr));
    std::free(ptr);
    return cudaSuccess;
  });
}

cudaError_t cudaHostRegister(void* ptr, size_t size, unsigned /*flags*/) {
  return call([&](Machine& m) {
    if (const cudaError_t error = m.unsafe_call()) return error;
    if (ptr == nullptr || size == 0) return cudaErrorInvalidValue;
    if (m.is_pinned(ptr)) return cudaErrorHostMemoryAlreadyRegistered;
    m.pinned[static_cast<const char*>(ptr)] = size;
    return cudaSuccess;
  });
}

cudaError_t cudaHostUnregister(void* ptr) {
  return call([&](Machine& m) {
    if (const cudaError_t error = m.unsafe_call()) return error;
    m.run_all();
    return m.pinned.erase(static_cast<const char*>(ptr)) == 1 ? cudaSuccess
                                                              : cudaErrorHostMemoryNotRegistered;
  });
}

cudaError_t cudaHostGetDevicePointer(void** pDevice, void* pHost, unsigned /*flags*/) {
  return call([&](Machine& m) {
    if (pDevice == nullptr || !m.is_pinned(pHost)) return cudaErrorInvalidValue;
    *pDevice = pHost;
    return cudaSuccess;
  });
}

cudaError_t cudaMemGetInfo(size_t* free, size_t* total) {
  return call([&](Machine& m) {
    if (free != nullptr) *free = m.memory.capacity() - m.memory.used();
    if (total != nullptr) *total = m.memory.capacity();
    return cudaSuccess;
  });
}

cudaError_t cudaPointerGetAttributes(cudaPointerAttributes* attributes, const void* ptr) {
  return call([&](Machine& m) {
    if (attributes == nullptr) return cudaErrorInvalidValue;
    *attributes = {};
    attributes->device = -2;
    auto* const p = const_cast<void*>(ptr);
    if (m.memory.start_of(ptr) != nullptr) {
      attributes->type = cudaMemoryTypeDevice;
      attributes->device = 0;
      attributes->devicePointer = p;
    } else if (m.is_pinned(ptr)) {
      attributes->type = cudaMemoryTypeHost;
      attributes->device = 0;
      attributes->devicePointer = attributes->hostPointer = p;
    } else {
      attributes->hostPointer = p;
    }
    return cudaSuccess;
  });
}

cudaError_t cudaMemcpy(void* dst, const void* src, size_t count, cudaMemcpyKind kind) {
  return cudaMemcpy2D(dst, count, src, count, count, 1, kind);
}

cudaError_t cudaMemcpy2D(void* dst, size_t dpitch, const void* src, size_t spitch, size_t width,
                         size_t height, cudaMemcpyKind kind) {
  const Copy copy{
      static_cast<char*>(dst), dpitch, static_cast<const char*>(src), spitch, width, height};
  return call([&](Machine& m) { return submit_copy(m, nullptr, copy, kind, Waits::kYes); });
}

cudaError_t cudaMemcpyAsync(void* dst, const void* src, size_t count, cudaMemcpyKind kind,
                            cudaStream_t stream) {
  return cudaMemcpy2DAsync(dst, count, src, count, count, 1, kind, stream);
}

cudaError_t cudaMemcpy2DAsync(void* dst, size_t dpitch, const void* src, size_t spitch,
                              size_t width, size_t height, cudaMemcpyKind kind,
                              cudaStream_t stream) {
  const Copy copy{
      static_cast<char*>(dst), dpitch, static_cast<const char*>(src), spitch, width, height};
  return call([&](Machine& m) { return submit_copy(m, stream, copy, kind, Waits::kNo); });
}

cudaError_t cudaMemset(void* devPtr, int value, size_t count) {
  return cudaMemsetAsync(devPtr, value, count, nullptr);
}

cudaError_t cudaMemsetAsync(void* devPtr, int value, size_t count, cudaStream_t stream) {
  return call([&](Machine& m) {
    const auto target = m.stream(stream);
    if (target == nullptr) return cudaErrorInvalidResourceHandle;
    if (count == 0) return cudaSuccess;
    if (!m.memory.holds(devPtr, count) && !m.is_pinned(devPtr)) return cudaErrorInvalidValue;
    return m.submit(*target, cudaGraphNodeTypeMemset, [=] { std::memset(devPtr, value, count); });
  });
}
