#include "kernels/cuda/map.h"
#include "kernels/cuda/slots.h"

namespace wengert::cuda {
void fill_map_float(KernelTable& t) {
  fill_map<float>(t, MapFunctors{});
}
}  // namespace wengert::cuda
