// Numbers of the processor's that launches of a graph read at each replay. A graph keeps what its
// kernels were started with; what changes from replay to replay (a learning rate, a count of random
// draws, a number in the processor's memory) has a cell in device memory instead, and all cells are
// written anew, by one copy, before the graph runs.
#pragma once

#include <cstddef>

#include "kernels/cuda/device.h"

namespace wengert::cuda {

// Where, on the device, a graph that is being recorded will find these bytes of the host's, which
// stay where they are for as long as the graph; null where nothing is recorded and their value can
// be taken along.
const void* cell_for(const void* host, size_t bytes);

// A number as a kernel takes it.
template <class T>
struct Number {
  const T* cell;
  T value;
  WENGERT_DEVICE T get() const { return cell ? *cell : value; }
};
// Of a field of a launch, or of what it points to, by reference: not of a copy.
template <class T>
Number<T> number(const T& field) {
  return {static_cast<const T*>(cell_for(&field, sizeof field)), field};
}

}  // namespace wengert::cuda
