// What the device says of itself, and what errors are called.
#include <algorithm>
#include <array>
#include <cstring>

#include "cuda_emulator.h"
#include "machine.h"

using cuda_emulator::call;
using cuda_emulator::Machine;

namespace {

constexpr int kVersion = 13000;
constexpr int kProcessors = 4;
constexpr int kThreadsPerProcessor = 2048;
constexpr int kBlocksPerProcessor = 32;
constexpr size_t kSharedByDefault = 48 * 1024;
constexpr size_t kSharedPerProcessor = 164 * 1024;
constexpr int kRegisters = 65536;
constexpr int kCache = 4 * 1024 * 1024;

struct ErrorText {
  cudaError_t error;
  const char* name;
  const char* text;
};

constexpr std::array kErrors = {
    ErrorText{cudaSuccess, "cudaSuccess", "no error"},
    ErrorText{cudaErrorInvalidValue, "cudaErrorInvalidValue", "invalid argument"},
    ErrorText{cudaErrorMemoryAllocation, "cudaErrorMemoryAllocation", "out of memory"},
    ErrorText{cudaErrorInitializationError, "cudaErrorInitializationError", "initialization error"},
    ErrorText{cudaErrorCudartUnloading, "cudaErrorCudartUnloading", "driver shutting down"},
    ErrorText{cudaErrorInvalidConfiguration, "cudaErrorInvalidConfiguration",
              "invalid configuration argument"},
    ErrorText{cudaErrorInvalidPitchValue, "cudaErrorInvalidPitchValue", "invalid pitch argument"},
    ErrorText{cudaErrorInvalidSymbol, "cudaErrorInvalidSymbol", "invalid device symbol"},
    ErrorText{cudaErrorInvalidDevicePointer, "cudaErrorInvalidDevicePointer",
              "invalid device pointer"},
    ErrorText{cudaErrorInvalidMemcpyDirection, "cudaErrorInvalidMemcpyDirection",
              "invalid copy direction for memcpy"},
    ErrorText{cudaErrorInsufficientDriver, "cudaErrorInsufficientDriver",
              "CUDA driver version is insufficient for CUDA runtime version"},
    ErrorText{cudaErrorInvalidDeviceFunction, "cudaErrorInvalidDeviceFunction",
              "invalid device function"},
    ErrorText{cudaErrorNoDevice, "cudaErrorNoDevice", "no CUDA-capable device is detected"},
    ErrorText{cudaErrorInvalidDevice, "cudaErrorInvalidDevice", "invalid device ordinal"},
    ErrorText{cudaErrorNoKernelImageForDevice, "cudaErrorNoKernelImageForDevice",
              "no kernel image is available for execution on the device"},
    ErrorText{cudaErrorInvalidResourceHandle, "cudaErrorInvalidResourceHandle",
              "invalid resource handle"},
    ErrorText{cudaErrorIllegalState, "cudaErrorIllegalState",
              "the operation cannot be performed in the present state"},
    ErrorText{cudaErrorNotReady, "cudaErrorNotReady", "device not ready"},
    ErrorText{cudaErrorIllegalAddress, "cudaErrorIllegalAddress",
              "an illegal memory access was encountered"},
    ErrorText{cudaErrorLaunchOutOfResources, "cudaErrorLaunchOutOfResources",
              "too many resources requested for launch"},
    ErrorText{cudaErrorAssert, "cudaErrorAssert", "device-side assert triggered"},
    ErrorText{cudaErrorHostMemoryAlreadyRegistered, "cudaErrorHostMemoryAlreadyRegistered",
              "part or all of the requested memory range is already mapped"},
    ErrorText{cudaErrorHostMemoryNotRegistered, "cudaErrorHostMemoryNotRegistered",
              "pointer does not correspond to a registered memory region"},
    ErrorText{cudaErrorMisalignedAddress, "cudaErrorMisalignedAddress", "misaligned address"},
    ErrorText{cudaErrorLaunchFailure, "cudaErrorLaunchFailure", "unspecified launch failure"},
    ErrorText{cudaErrorNotPermitted, "cudaErrorNotPermitted", "operation not permitted"},
    ErrorText{cudaErrorNotSupported, "cudaErrorNotSupported", "operation not supported"},
    ErrorText{cudaErrorStreamCaptureUnsupported, "cudaErrorStreamCaptureUnsupported",
              "operation not permitted when stream is capturing"},
    ErrorText{cudaErrorStreamCaptureInvalidated, "cudaErrorStreamCaptureInvalidated",
              "operation failed due to a previous error during capture"},
    ErrorText{cudaErrorStreamCaptureMerge, "cudaErrorStreamCaptureMerge",
              "operation would result in a merge of separate capture sequences"},
    ErrorText{cudaErrorStreamCaptureUnmatched, "cudaErrorStreamCaptureUnmatched",
              "capture was not ended in the same stream as it began"},
    ErrorText{cudaErrorStreamCaptureUnjoined, "cudaErrorStreamCaptureUnjoined",
              "capturing stream has unjoined work"},
    ErrorText{cudaErrorStreamCaptureIsolation, "cudaErrorStreamCaptureIsolation",
              "dependency created on uncaptured work in another stream"},
    ErrorText{cudaErrorStreamCaptureImplicit, "cudaErrorStreamCaptureImplicit",
              "operation would make the legacy stream depend on a capturing blocking stream"},
    ErrorText{cudaErrorCapturedEvent, "cudaErrorCapturedEvent",
              "operation not permitted on an event last recorded in a capturing stream"},
    ErrorText{cudaErrorStreamCaptureWrongThread, "cudaErrorStreamCaptureWrongThread",
              "attempt to terminate a thread-local capture sequence from another thread"},
    ErrorText{cudaErrorUnknown, "cudaErrorUnknown", "unknown error"},
};

const ErrorText* find(cudaError_t error) {
  const auto found = std::find_if(kErrors.begin(), kErrors.end(),
                                  [=](const ErrorText& one) { return one.error == error; });
  return found == kErrors.end() ? nullptr : &*found;
}

}  // namespace

const char* cudaGetErrorName(cudaError_t error) {
  const ErrorText* text = find(error);
  return text == nullptr ? "unrecognized error code" : text->name;
}

const char* cudaGetErrorString(cudaError_t error) {
  const ErrorText* text = find(error);
  return text == nullptr ? "unrecognized error code" : text->text;
}

cudaError_t cudaGetLastError() {
  const cudaError_t error = cudaPeekAtLastError();
  cuda_emulator::last_error() = cudaSuccess;
  return error;
}

cudaError_t cudaPeekAtLastError() {
  Machine& m = cuda_emulator::machine();
  const std::scoped_lock guard(m.lock);
  return m.failure != cudaSuccess ? m.failure : cuda_emulator::last_error();
}

cudaError_t cudaGetDeviceCount(int* count) {
  return call([&](Machine&) {
    if (count == nullptr) return cudaErrorInvalidValue;
    *count = 1;
    return cudaSuccess;
  });
}

cudaError_t cudaGetDevice(int* device) {
  return call([&](Machine&) {
    if (device == nullptr) return cudaErrorInvalidValue;
    *device = 0;
    return cudaSuccess;
  });
}

cudaError_t cudaSetDevice(int device) {
  return call([&](Machine&) { return device == 0 ? cudaSuccess : cudaErrorInvalidDevice; });
}

cudaError_t cudaInitDevice(int device, unsigned /*device_flags*/, unsigned /*flags*/) {
  return cudaSetDevice(device);
}

cudaError_t cudaGetDeviceProperties(cudaDeviceProp* prop, int device) {
  return call([&](Machine& m) {
    if (prop == nullptr) return cudaErrorInvalidValue;
    if (device != 0) return cudaErrorInvalidDevice;
    *prop = {};
    std::strcpy(prop->name, "wengert CUDA emulator");
    prop->totalGlobalMem = m.memory.capacity();
    prop->sharedMemPerBlock = kSharedByDefault;
    prop->regsPerBlock = prop->regsPerMultiprocessor = kRegisters;
    prop->warpSize = 32;
    prop->maxThreadsPerBlock = cuda_emulator::kMaxThreads;
    const int threads[] = {1024, 1024, 64}, blocks[] = {0x7fffffff, 65535, 65535};
    std::copy_n(threads, 3, prop->maxThreadsDim);
    std::copy_n(blocks, 3, prop->maxGridSize);
    prop->totalConstMem = 64 * 1024;
    prop->major = 8;
    prop->minor = 0;
    prop->multiProcessorCount = kProcessors;
    prop->canMapHostMemory = 1;
    prop->concurrentKernels = 1;
    prop->asyncEngineCount = 1;
    prop->unifiedAddressing = 1;
    prop->memoryBusWidth = 256;
    prop->l2CacheSize = kCache;
    prop->maxThreadsPerMultiProcessor = kThreadsPerProcessor;
    prop->streamPrioritiesSupported = 1;
    prop->sharedMemPerMultiprocessor = kSharedPerProcessor;
    prop->sharedMemPerBlockOptin = cuda_emulator::kMaxShared;
    prop->maxBlocksPerMultiProcessor = kBlocksPerProcessor;
    prop->reservedSharedMemPerBlock = 1024;
    prop->hostRegisterSupported = 1;
    prop->memoryPoolsSupported = 1;
    return cudaSuccess;
  });
}

cudaError_t cudaDeviceGetAttribute(int* value, cudaDeviceAttr attr, int device) {
  cudaDeviceProp prop;
  if (const cudaError_t error = cudaGetDeviceProperties(&prop, device)) return error;
  return call([&](Machine&) {
    if (value == nullptr) return cudaErrorInvalidValue;
    const auto answer = [&]() -> size_t {
      switch (attr) {
        case cudaDevAttrMaxThreadsPerBlock:
        case cudaDevAttrMaxBlockDimX:
        case cudaDevAttrMaxBlockDimY:
          return 1024;
        case cudaDevAttrMaxBlockDimZ:
          return 64;
        case cudaDevAttrMaxGridDimX:
          return 0x7fffffff;
        case cudaDevAttrMaxGridDimY:
        case cudaDevAttrMaxGridDimZ:
          return 65535;
        case cudaDevAttrMaxSharedMemoryPerBlock:
          return prop.sharedMemPerBlock;
        case cudaDevAttrTotalConstantMemory:
          return prop.totalConstMem;
        case cudaDevAttrWarpSize:
          return 32;
        case cudaDevAttrMaxRegistersPerBlock:
        case cudaDevAttrMaxRegistersPerMultiprocessor:
          return kRegisters;
        case cudaDevAttrClockRate:
        case cudaDevAttrMemoryClockRate:
          return 1'000'000;
        case cudaDevAttrMultiProcessorCount:
          return kProcessors;
        case cudaDevAttrGlobalMemoryBusWidth:
          return 256;
        case cudaDevAttrL2CacheSize:
          return kCache;
        case cudaDevAttrMaxThreadsPerMultiProcessor:
          return kThreadsPerProcessor;
        case cudaDevAttrComputeCapabilityMajor:
          return 8;
        case cudaDevAttrMaxSharedMemoryPerMultiprocessor:
          return kSharedPerProcessor;
        case cudaDevAttrMaxSharedMemoryPerBlockOptin:
          return prop.sharedMemPerBlockOptin;
        case cudaDevAttrMaxBlocksPerMultiprocessor:
          return kBlocksPerProcessor;
        case cudaDevAttrReservedSharedMemoryPerBlock:
          return 1024;
        case cudaDevAttrCanMapHostMemory:
        case cudaDevAttrConcurrentKernels:
        case cudaDevAttrAsyncEngineCount:
        case cudaDevAttrUnifiedAddressing:
        case cudaDevAttrStreamPrioritiesSupported:
        case cudaDevAttrHostRegisterSupported:
        case cudaDevAttrMemoryPoolsSupported:
          return 1;
        default:
          return 0;
      }
    };
    *value = static_cast<int>(answer());
    return cudaSuccess;
  });
}

cudaError_t cudaDeviceCanAccessPeer(int* canAccessPeer, int device, int peerDevice) {
  return call([&](Machine&) {
    if (canAccessPeer == nullptr) return cudaErrorInvalidValue;
    *canAccessPeer = 0;
    return device == 0 && peerDevice == 0 ? cudaSuccess : cudaErrorInvalidDevice;
  });
}

cudaError_t cudaDeviceGetStreamPriorityRange(int* leastPriority, int* greatestPriority) {
  return call([&](Machine&) {
    if (leastPriority != nullptr) *leastPriority = 0;
    if (greatestPriority != nullptr) *greatestPriority = -5;
    return cudaSuccess;
  });
}

cudaError_t cudaDeviceSynchronize() {
  return call([](Machine& m) {
    if (const cudaError_t error = m.unsafe_device_wait()) return error;
    m.run_all();
    return cudaSuccess;
  });
}

cudaError_t cudaDeviceReset() {
  // What was allocated stays; a failure is forgotten, for the sake of tests that make one.
  Machine& m = cuda_emulator::machine();
  const std::scoped_lock guard(m.lock);
  m.run_all();
  m.failure = cuda_emulator::last_error() = cudaSuccess;
  return cudaSuccess;
}

cudaError_t cudaDriverGetVersion(int* driverVersion) {
  return call([&](Machine&) {
    if (driverVersion == nullptr) return cudaErrorInvalidValue;
    *driverVersion = kVersion;
    return cudaSuccess;
  });
}

cudaError_t cudaRuntimeGetVersion(int* runtimeVersion) {
  return cudaDriverGetVersion(runtimeVersion);
}

cudaError_t cudaFuncSetAttribute(const void* func, cudaFuncAttribute attr, int value) {
  return call([&](Machine&) {
    if (func == nullptr) return cudaErrorInvalidDeviceFunction;
    const bool shared = attr == cudaFuncAttributeMaxDynamicSharedMemorySize;
    const bool fits = value >= 0 && static_cast<size_t>(value) <= cuda_emulator::kMaxShared;
    return shared && !fits ? cudaErrorInvalidValue : cudaSuccess;
  });
}

cudaError_t cudaFuncGetAttributes(cudaFuncAttributes* attr, const void* func) {
  return call([&](Machine&) {
    if (attr == nullptr) return cudaErrorInvalidValue;
    if (func == nullptr) return cudaErrorInvalidDeviceFunction;
    *attr = {};
    attr->maxThreadsPerBlock = cuda_emulator::kMaxThreads;
    attr->numRegs = 32;
    attr->ptxVersion = attr->binaryVersion = 80;
    attr->maxDynamicSharedSizeBytes = kSharedByDefault;
    return cudaSuccess;
  });
}

cudaError_t cudaOccupancyMaxActiveBlocksPerMultiprocessor(int* numBlocks, const void* func,
                                                          int blockSize, size_t dynamicSMemSize) {
  return call([&](Machine&) {
    if (numBlocks == nullptr || blockSize <= 0) return cudaErrorInvalidValue;
    if (func == nullptr) return cudaErrorInvalidDeviceFunction;
    const int threads = (blockSize + 31) / 32 * 32;
    const int by_threads = std::min(kBlocksPerProcessor, kThreadsPerProcessor / threads);
    const auto by_shared = static_cast<int>(
        std::min<size_t>(kBlocksPerProcessor, kSharedPerProcessor / (dynamicSMemSize + 1024)));
    *numBlocks = blockSize > static_cast<int>(cuda_emulator::kMaxThreads)
                     ? 0
                     : std::min(by_threads, by_shared);
    return cudaSuccess;
  });
}
