#include "kernels/cuda/operand.h"

#include <cstring>

#include "kernels/cuda/cells.h"

namespace wengert::cuda {

namespace {
bool is_dense(const Launch& l, int k) {
  int64_t step = 1;
  for (int d = l.ndim - 1; d >= 0; --d) {
    if (l.size[d] != 1 && l.buffer[k].stride[d] != step) return false;
    step *= l.size[d];
  }
  return true;
}
bool is_single(const Launch& l, int k) {
  for (int d = 0; d < l.ndim; ++d) {
    if (l.size[d] != 1 && l.buffer[k].stride[d] != 0) return false;
  }
  return true;
}
}  // namespace

bool takes_number(const Launch& l, int k) {
  return (l.kernel < kNumMapKernels || l.kernel == id(Kernel::Copy)) && is_single(l, k);
}

Operand operand_of(const Launch& l, int k, int vector, DType as) {
  const Buffer& b = l.buffer[k];
  Operand o{};
  o.data = static_cast<char*>(b.data);
  o.dtype = b.dtype;
  const auto item = static_cast<int64_t>(item_size(b.dtype));
  if (b.storage && b.storage->device == Device::CPU) {
    if (const void* cell = cell_for(b.data, static_cast<size_t>(item))) {
      o.data = static_cast<char*>(const_cast<void*>(cell));
      o.layout = Layout::Linear;
      return o;
    }
    o.layout = Layout::Number;
    visit(b.dtype, [&]<class S>() {
      visit_compute(as, [&]<class T>() {
        const T v = convert<T>(*static_cast<const S*>(b.data));
        std::memcpy(o.number, &v, sizeof v);
      });
    });
    return o;
  }
  if (l.dense || is_dense(l, k)) {
    o.stride = 1;
    const bool aligned = reinterpret_cast<uintptr_t>(b.data) %
                             static_cast<uintptr_t>(std::min<int64_t>(16, item * vector)) ==
                         0;
    o.layout = aligned ? Layout::Packed : Layout::Linear;
  } else if (l.ndim == 1 || is_single(l, k)) {
    o.stride = l.ndim == 1 ? b.stride[0] : 0;
    o.layout = Layout::Linear;
  } else {
    o.layout = Layout::Strided;
    std::copy_n(b.stride, l.ndim, o.strides);
  }
  return o;
}

}  // namespace wengert::cuda
