#include "kernels/cuda/map.h"
#include "kernels/cuda/slots.h"

namespace wengert::cuda {
void fill_map_bool(KernelTable& t) {
  fill_map<Bool8>(t, MapFunctors{});
}
}  // namespace wengert::cuda
