#include "ops/library.h"

#include <dlfcn.h>

#include <fstream>
#include <iterator>
#include <map>
#include <mutex>
#include <set>

#include "kernels/cpu/cpu.h"

namespace wengert {

Library::Library(std::string_view name_space) : name_space_(name_space) {}

std::string Library::qualified(std::string_view signature) const {
  return text(name_space_, "::", signature);
}

void Library::add_row(Op op) {
  rows_.push_back(std::make_unique<Op>(std::move(op)));
}

KernelId Library::add_kernel(std::string_view name, KernelFn float32, KernelFn float64) {
  AddedKernel k{std::string(name)};
  k.fn[static_cast<int>(DType::Float32)] = float32;
  k.fn[static_cast<int>(DType::Float64)] = float64;
  return add_kernels({&k, 1});
}

namespace {

struct Added {
  std::unique_ptr<Op> op;
  std::string path;
};

// What a library was built for, by the stamp in its file; empty if that holds none.
std::string stamp_in(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  const std::string bytes{std::istreambuf_iterator<char>(file), {}};
  const size_t at = bytes.find(kStampPrefix);
  if (at == std::string::npos) return {};
  return bytes.c_str() + at;  // up to its end as a text
}

void check_stamp(const std::string& path, std::string_view stamp) {
  if (stamp == kStamp) return;
  const auto version = [](std::string_view s) { return s.substr(kStampPrefix.size()); };
  fail("load_library: ", path, " was built for ", version(stamp), ", but this is ", version(kStamp),
       "; build it again");
}

// Every reference resolved now: a call that cannot be made should not fail later.
void* open(const std::string& path) {
  if (void* handle = dlopen(path.c_str(), RTLD_NOW | RTLD_LOCAL)) return handle;
  const std::string why = dlerror();
  // A library for another version is more likely to lack a symbol than to be found out below.
  if (const std::string stamp = stamp_in(path); !stamp.empty()) check_stamp(path, stamp);
  fail("load_library: could not load this library: ", path, " (", why, ")");
}

}  // namespace

std::vector<const Op*> load_library(const std::string& path, void (*check)(const Op&)) {
  static std::mutex mutex;
  static std::set<void*> loaded;
  static std::map<std::string, Added, std::less<>> all;
  const std::scoped_lock locked(mutex);
  void* handle = open(path);
  if (loaded.contains(handle)) return {};
  const auto* extension = static_cast<const Extension*>(dlsym(handle, "wengert_extension"));
  if (!extension) {
    fail("load_library: ", path, " does not define wengert_extension; see wengert/extension.h");
  }
  check_stamp(path, extension->stamp);
  if (!cpu::machine_runs(extension->isa)) {
    fail("load_library: ", path, " was built for processors with ", extension->isa,
         ", which this one lacks; build it with another -march");
  }
  Library library(extension->name_space);
  extension->load(library);
  auto rows = library.take();
  std::set<std::string_view> names;
  for (const auto& op : rows) {
    check(*op);
    const auto at = all.find(op->name);
    if (at == all.end() && names.insert(op->name).second) continue;
    fail("load_library: ", path, " adds ", op->name, ", which ",
         at == all.end() ? path : at->second.path, " has added already");
  }
  std::vector<const Op*> out;
  for (auto& op : rows) {
    out.push_back(op.get());
    std::string name = op->name;
    all.emplace(std::move(name), Added{std::move(op), path});
  }
  loaded.insert(handle);
  return out;
}

}  // namespace wengert
