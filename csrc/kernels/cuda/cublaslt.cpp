#include "kernels/cuda/cublaslt.h"

#include <dlfcn.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <cstdlib>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <vector>

#include "kernels/cuda/beside.h"
#include "kernels/cuda/cublaslt_api.h"
#include "kernels/cuda/state.h"

namespace wengert::cuda {
namespace {

constexpr const char* kNames[] = {"libcublasLt.so.13", "libcublasLt.so.12"};
constexpr size_t kMostWorkspace = size_t{32} << 20;
constexpr size_t kMostPlans = 1024;
constexpr int64_t kMostCalls = 64;  // for a batch that has no single stride

class Failed {};
void need(lt::Status s) {
  if (s != 0) throw Failed();
}

// The library's objects, which end with these.
struct Plan {
  const lt::Functions& f;
  lt::Operation operation = nullptr;
  lt::Layout a = nullptr, b = nullptr, c = nullptr;
  lt::Preference preference = nullptr;
  lt::Heuristic found{};

  explicit Plan(const lt::Functions& functions) : f(functions) {}
  Plan(const Plan&) = delete;
  Plan& operator=(const Plan&) = delete;
  ~Plan() {
    if (preference) f.preference_destroy(preference);
    for (const lt::Layout l : {a, b, c}) {
      if (l) f.layout_destroy(l);
    }
    if (operation) f.operation_destroy(operation);
  }
};

// A matrix as the library sees it: by columns.
struct Matrix {
  int64_t rows, columns, leading, batch_stride;
  bool transposed;  // before it is multiplied
  uint32_t alignment;
};

// What a plan depends on.
using Key = std::array<int64_t, 20>;

uint32_t alignment_of(const void* p, const int64_t* strides, int ndim, int64_t item) {
  uintptr_t bits = reinterpret_cast<uintptr_t>(p) | 256;
  for (int d = 0; d < ndim; ++d) bits |= static_cast<uintptr_t>(strides[d] * item);
  return static_cast<uint32_t>(bits & (~bits + 1));
}

lt::DataType type_of(DType d) {
  switch (d) {
    case DType::Float64:
      return lt::kFloat64;
    case DType::Float16:
      return lt::kFloat16;
    case DType::BFloat16:
      return lt::kBFloat16;
    default:
      return lt::kFloat32;
  }
}

// A matrix by rows is its transpose by columns. False where neither lie side by side.
bool describe(Matrix& x, int64_t rows, int64_t row_stride, int64_t columns, int64_t column_stride) {
  const bool by_rows = column_stride == 1 || columns == 1;
  if (!by_rows && row_stride != 1 && rows != 1) return false;
  x.transposed = !by_rows;
  x.rows = by_rows ? columns : rows;
  x.columns = by_rows ? rows : columns;
  const int64_t stride = by_rows ? row_stride : column_stride;
  x.leading = x.columns == 1 ? x.rows : stride;
  return x.leading >= x.rows;
}

class Library {
 public:
  // Looks for it, as the setting says.
  explicit Library(const std::string& setting) {
    if (setting == "0") return;
    std::vector<std::string> places;
    if (!setting.empty() && setting != "1") {
      places = {setting};
      for (const char* name : kNames) places.push_back(setting + "/" + name);
    } else {
      for (const char* name : kNames) places.emplace_back(name);
      add_packages(places);
    }
    for (const std::string& place : places) {
      void* const opened = dlopen(place.c_str(), RTLD_NOW | RTLD_LOCAL);
      if (!opened) continue;
      if (lt::load(f_, [&](const char* name) { return dlsym(opened, name); })) {
        file_ = place;
        return;
      }
    }
  }

  const std::string& file() const { return file_; }
  int64_t calls() const { return calls_; }

  bool multiply(const LibraryProduct& p) {
    if (file_.empty()) return false;
    const std::scoped_lock locked(lock_);
    if (!handle_ && (unusable_ || f_.create(&handle_) != 0)) {
      unusable_ = true;
      return false;
    }
    try {
      return launch(p);
    } catch (const Failed&) {
      return false;
    }
  }

 private:
  // Where pip installs it: beside the package that this code is in.
  static void add_packages(std::vector<std::string>& places) {
    for (const std::string& folder : folders_above()) {
      for (const char* inside : {"/nvidia/cu13/lib/", "/nvidia/cublas/lib/"}) {
        for (const char* name : kNames) places.push_back(folder + inside + name);
      }
    }
  }

  // C by rows is C^T by columns, and that is B^T A^T: B is the library's first factor.
  bool launch(const LibraryProduct& p) {
    Matrix a{}, b{};
    if (!describe(a, p.m, p.a_rs, p.k, p.a_cs) || !describe(b, p.k, p.b_rs, p.n, p.b_cs)) {
      return false;
    }
    if (p.c_rs < p.n || p.k == 0) return false;
    // The longest dimension of a batch is the library's, the others are ours.
    const GemmBatch& batch = p.batch;
    const auto longest =
        static_cast<int>(std::max_element(batch.size, batch.size + batch.ndim) - batch.size);
    const int64_t count = batch.ndim > 0 ? batch.size[longest] : 1;
    int64_t calls = 1;
    for (int d = 0; d < batch.ndim; ++d) calls *= d == longest ? 1 : batch.size[d];
    if (calls > kMostCalls || count > 65535) return false;
    int64_t c_step = 0;
    if (batch.ndim > 0) {
      c_step = batch.stride[0][longest];
      a.batch_stride = batch.stride[1][longest];
      b.batch_stride = batch.stride[2][longest];
    }
    const auto item = static_cast<int64_t>(item_size(p.dtype));
    const auto c_item = static_cast<int64_t>(item_size(p.result));
    a.alignment = alignment_of(p.a, batch.stride[1], batch.ndim, item);
    b.alignment = alignment_of(p.b, batch.stride[2], batch.ndim, item);
    const uint32_t c_alignment = alignment_of(p.c, batch.stride[0], batch.ndim, c_item);
    if (p.bias && reinterpret_cast<uintptr_t>(p.bias) % 16 != 0) return false;

    const Key key = {static_cast<int64_t>(p.dtype),
                     static_cast<int64_t>(p.result),
                     p.m,
                     p.n,
                     p.k,
                     a.transposed,
                     a.leading,
                     a.batch_stride,
                     a.alignment,
                     b.transposed,
                     b.leading,
                     b.batch_stride,
                     b.alignment,
                     p.c_rs,
                     c_step,
                     c_alignment,
                     count,
                     p.accumulate,
                     p.tf32,
                     p.bias != nullptr};
    if (plans_.size() >= kMostPlans) plans_.clear();
    const auto [at, missing] = plans_.try_emplace(key);
    if (missing) {
      try {
        at->second = make(p, a, b, count, c_step, c_alignment);
      } catch (const Failed&) {  // nor will it be asked again
      }
    }
    const Plan* const plan = at->second.get();
    if (!plan) return false;

    if (p.bias) {
      need(f_.operation_set(plan->operation, lt::kBiasPointer, &p.bias, sizeof p.bias));
    }
    const size_t bytes = plan->found.workspace;
    std::optional<Scratch> workspace;
    if (bytes > 0) workspace.emplace(bytes);
    const double double_one = 1, double_zero = 0;
    const float float_one = 1, float_zero = 0;
    const bool wide = p.dtype == DType::Float64;
    const void* const one = wide ? static_cast<const void*>(&double_one) : &float_one;
    const void* const zero = wide ? static_cast<const void*>(&double_zero) : &float_zero;
    for (int64_t i = 0; i < calls; ++i) {
      int64_t offset[3] = {}, rest = i;
      for (int d = batch.ndim - 1; d >= 0; --d) {
        if (d == longest) continue;
        for (int k = 0; k < 3; ++k) offset[k] += rest % batch.size[d] * batch.stride[k][d];
        rest /= batch.size[d];
      }
      char* const c = static_cast<char*>(p.c) + offset[0] * c_item;
      const lt::Status s = f_.multiply(
          handle_, plan->operation, one, static_cast<const char*>(p.b) + offset[2] * item, plan->b,
          static_cast<const char*>(p.a) + offset[1] * item, plan->a, p.accumulate ? one : zero, c,
          plan->c, c, plan->c, &plan->found.algorithm, workspace ? workspace->data() : nullptr,
          bytes, stream());
      if (s != 0 && i == 0) return false;
      if (s != 0) fail("matmul: cuBLASLt reports status ", s);
      ++calls_;
    }
    return true;
  }

  std::unique_ptr<Plan> make(const LibraryProduct& p, const Matrix& a, const Matrix& b,
                             int64_t count, int64_t c_step, uint32_t c_alignment) {
    auto plan = std::make_unique<Plan>(f_);
    const bool wide = p.dtype == DType::Float64;
    const int compute = wide ? lt::kSumsFloat64 : p.tf32 ? lt::kByTf32 : lt::kSumsFloat32;
    need(f_.operation_create(&plan->operation, compute, wide ? lt::kFloat64 : lt::kFloat32));
    const auto set = [&](lt::OperationAttribute attribute, auto value) {
      need(f_.operation_set(plan->operation, attribute, &value, sizeof value));
    };
    set(lt::kTransA, int32_t{b.transposed ? lt::kTransposed : lt::kAsIs});
    set(lt::kTransB, int32_t{a.transposed ? lt::kTransposed : lt::kAsIs});
    if (p.bias) {
      set(lt::kEpilogue, uint32_t{lt::kAddBias});
      set(lt::kBiasPointer, p.bias);
    }
    const auto layout = [&](lt::Layout& l, DType d, int64_t rows, int64_t columns, int64_t leading,
                            int64_t step) {
      need(f_.layout_create(&l, type_of(d), static_cast<uint64_t>(rows),
                            static_cast<uint64_t>(columns), leading));
      if (count == 1) return;
      const auto n = static_cast<int32_t>(count);
      need(f_.layout_set(l, lt::kBatchCount, &n, sizeof n));
      need(f_.layout_set(l, lt::kBatchStride, &step, sizeof step));
    };
    layout(plan->a, p.dtype, a.rows, a.columns, a.leading, a.batch_stride);
    layout(plan->b, p.dtype, b.rows, b.columns, b.leading, b.batch_stride);
    layout(plan->c, p.result, p.n, p.m, p.c_rs, c_step);
    need(f_.preference_create(&plan->preference));
    const auto prefer = [&](lt::PreferenceAttribute attribute, auto value) {
      need(f_.preference_set(plan->preference, attribute, &value, sizeof value));
    };
    prefer(lt::kMostWorkspace, uint64_t{kMostWorkspace});
    prefer(lt::kAlignmentA, b.alignment);
    prefer(lt::kAlignmentB, a.alignment);
    prefer(lt::kAlignmentC, c_alignment);
    prefer(lt::kAlignmentD, c_alignment);
    int found = 0;
    need(f_.heuristic(handle_, plan->operation, plan->b, plan->a, plan->c, plan->c,
                      plan->preference, 1, &plan->found, &found));
    if (found < 1) throw Failed();
    need(plan->found.state);
    return plan;
  }

  lt::Functions f_{};
  std::string file_;
  std::mutex lock_;
  lt::Handle handle_ = nullptr;
  bool unusable_ = false;
  std::atomic<int64_t> calls_{0};               // read without the lock
  std::map<Key, std::unique_ptr<Plan>> plans_;  // null: it cannot
};

std::string usual() {
  const char* const set = std::getenv("WENGERT_CUBLAS");
  if (set && *set) return set;
  return emulated() ? "0" : "1";  // what it computes in is not the emulator's memory
}

// Each that was opened stays so: graphs may hold its kernels.
std::mutex setting;
Library* the_library = nullptr;

Library& library_of(const std::string& where) {
  static auto* all = new std::map<std::string, Library>;
  return all->try_emplace(where, where).first->second;
}
Library& library() {
  const std::scoped_lock locked(setting);
  if (!the_library) the_library = &library_of(usual());
  return *the_library;
}

}  // namespace

std::string cublas() {
  return library().file();
}
int64_t cublas_calls() {
  return library().calls();
}
void set_cublas(const std::string& where) {
  const std::scoped_lock locked(setting);
  the_library = &library_of(where);
}

bool multiply_by_library(const Launch& l, const LibraryProduct& p) {
  if (!library().multiply(p)) return false;
  launched(l);
  return true;
}

}  // namespace wengert::cuda
