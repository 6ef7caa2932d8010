// Launches over one dense dimension, of kernels that know more of their operands than strides tell.
#pragma once

#include "kernels/launch.h"

namespace wengert {

// All but its buffers and numbers.
inline Launch flat_launch(Kernel kernel, DType dtype, Device device, int64_t count, int buffers) {
  Launch l;
  l.kernel = id(kernel);
  l.dtype = dtype;
  l.device = device;
  l.dense = true;
  l.ndim = 1;
  l.nbuffers = static_cast<uint8_t>(buffers);
  l.count = l.size[0] = count;
  return l;
}

}  // namespace wengert
