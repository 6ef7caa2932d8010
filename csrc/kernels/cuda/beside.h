// Where this library is, as NVIDIA's may be its neighbours if both are parts of Python packages.
#pragma once

#include <dlfcn.h>

#include <string>
#include <vector>

namespace wengert::cuda {

// The folder that this library is in, and those above it, as many as a package is deep.
inline std::vector<std::string> folders_above() {
  static const char here = 0;
  std::vector<std::string> found;
  Dl_info self{};
  if (!dladdr(&here, &self) || !self.dli_fname) return found;
  std::string folder = self.dli_fname;
  for (int up = 0; up < 4; ++up) {
    const size_t slash = folder.rfind('/');
    if (slash == std::string::npos) break;
    folder.resize(slash);
    found.push_back(folder);
  }
  return found;
}

}  // namespace wengert::cuda
