// Asynchronous copies to shared memory. The data arrives when it is waited for, and not before.
#pragma once

#include <cstddef>

#include "cuda_emulator.h"

inline void __pipeline_memcpy_async(void* to, const void* from, size_t size, size_t zfill = 0) {
  cuda_emulator::copy_later(to, from, size, zfill);
}
inline void __pipeline_commit() {
  cuda_emulator::copy_commit();
}
inline void __pipeline_wait_prior(size_t batches_left) {
  cuda_emulator::copy_wait(batches_left);
}
