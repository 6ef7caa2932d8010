#include "program/recording.h"

#include <algorithm>

namespace wengert {

const SlotPointer& pointer_of(const Step& s, int buffer) {
  const void* const at = &s.launch->launch.buffer[buffer].data;
  return *std::find_if(s.pointers.begin(), s.pointers.end(),
                       [&](const SlotPointer& p) { return p.at == at; });
}

double cost_of(const Step& s) {
  return 50 + s.work.flops / 100 + s.work.bytes / 40;
}

}  // namespace wengert
