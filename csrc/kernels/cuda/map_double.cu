#include "kernels/cuda/map.h"
#include "kernels/cuda/slots.h"

namespace wengert::cuda {
void fill_map_double(KernelTable& t) {
  fill_map<double>(t, MapFunctors{});
}
}  // namespace wengert::cuda
