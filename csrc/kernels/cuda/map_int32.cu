#include "kernels/cuda/map.h"
#include "kernels/cuda/slots.h"

namespace wengert::cuda {
void fill_map_int32(KernelTable& t) {
  fill_map<int32_t>(t, MapFunctors{});
}
}  // namespace wengert::cuda
