#include "kernels/cuda/cudnn.h"

#include <cuda_runtime.h>
#include <dlfcn.h>

#include <array>
#include <cstdlib>
#include <cstring>
#include <map>
#include <mutex>
#include <string>
#include <vector>

#include "kernels/cuda/beside.h"
#include "kernels/cuda/cuda.h"
#include "kernels/cuda/device.h"

namespace wengert::cuda {
namespace {

// --- what is used of cuDNN 9's interface, by its documentation -----------------------------------

using Handle = void*;
using Descriptor = void*;
using Status = int;  // 0: success
enum DataType : int { kFloat = 0, kDouble = 1, kHalf = 2, kBFloat16 = 9 };
enum MathType : int { kDefaultMath = 0, kTensorOpMath = 1, kFmaMath = 3 };
constexpr int kNchw = 0, kCrossCorrelation = 1, kDeterministic = 1;

// cudnnConvolutionFwdAlgoPerf_t, and the same of the gradients.
struct Choice {
  int algorithm;
  Status status;
  float time;
  size_t memory;
  int determinism;
  int math;
  int reserved[3];
};

struct Functions {
  size_t (*GetVersion)();
  Status (*Create)(Handle*);
  Status (*SetStream)(Handle, cudaStream_t);
  Status (*CreateTensorDescriptor)(Descriptor*);
  Status (*DestroyTensorDescriptor)(Descriptor);
  Status (*SetTensorNdDescriptor)(Descriptor, int type, int dims, const int*, const int*);
  Status (*CreateFilterDescriptor)(Descriptor*);
  Status (*DestroyFilterDescriptor)(Descriptor);
  Status (*SetFilterNdDescriptor)(Descriptor, int type, int format, int dims, const int*);
  Status (*CreateConvolutionDescriptor)(Descriptor*);
  Status (*DestroyConvolutionDescriptor)(Descriptor);
  Status (*SetConvolutionNdDescriptor)(Descriptor, int axes, const int* padding, const int* stride,
                                       const int* dilation, int mode, int compute);
  Status (*SetConvolutionGroupCount)(Descriptor, int);
  Status (*SetConvolutionMathType)(Descriptor, int);
  // The first two: x, w; w, g; x, g. The last is the result.
  using Choose = Status(Handle, Descriptor, Descriptor, Descriptor convolution, Descriptor, int,
                        int*, Choice*);
  Choose* GetConvolutionForwardAlgorithm_v7;
  Choose* GetConvolutionBackwardDataAlgorithm_v7;
  Choose* GetConvolutionBackwardFilterAlgorithm_v7;
  using Workspace = Status(Handle, Descriptor, Descriptor, Descriptor convolution, Descriptor, int,
                           size_t*);
  Workspace* GetConvolutionForwardWorkspaceSize;
  Workspace* GetConvolutionBackwardDataWorkspaceSize;
  Workspace* GetConvolutionBackwardFilterWorkspaceSize;
  using Run = Status(Handle, const void* alpha, Descriptor, const void*, Descriptor, const void*,
                     Descriptor convolution, int, void*, size_t, const void* beta, Descriptor,
                     void*);
  Run* ConvolutionForward;
  Run* ConvolutionBackwardData;
  Run* ConvolutionBackwardFilter;
  Status (*AddTensor)(Handle, const void* alpha, Descriptor, const void*, const void* beta,
                      Descriptor, void*);
};

// --- the library ---------------------------------------------------------------------------------

std::vector<std::string> places() {
  std::vector<std::string> found{"libcudnn.so.9"};
  for (const std::string& folder : folders_above()) {
    found.push_back(folder + "/nvidia/cudnn/lib/libcudnn.so.9");
  }
  return found;
}

void* open_library() {
  const char* asked = std::getenv("WENGERT_CUDNN");
  const std::string how = asked ? asked : "";
  if (how == "0") return nullptr;
  if (!how.empty() && how != "1") return dlopen(asked, RTLD_NOW | RTLD_LOCAL);
  if (emulated()) return nullptr;  // a real one would ask for a real device
  for (const std::string& p : places()) {
    if (void* library = dlopen(p.c_str(), RTLD_NOW | RTLD_LOCAL)) return library;
  }
  return nullptr;
}

class Library {
 public:
  Functions call{};
  Handle handle = nullptr;  // null: there is none
  std::mutex mutex;         // a handle is used by one thread at a time

  Library() {
    void* const library = open_library();
    if (!library) return;
    bool all = true;
    const auto find = [&](auto& function, const char* name) {
      void* const at = dlsym(library, (std::string("cudnn") + name).c_str());
      all = all && at;
      std::memcpy(&function, &at, sizeof at);
    };
    find(call.GetVersion, "GetVersion");
    find(call.Create, "Create");
    find(call.SetStream, "SetStream");
    find(call.CreateTensorDescriptor, "CreateTensorDescriptor");
    find(call.DestroyTensorDescriptor, "DestroyTensorDescriptor");
    find(call.SetTensorNdDescriptor, "SetTensorNdDescriptor");
    find(call.CreateFilterDescriptor, "CreateFilterDescriptor");
    find(call.DestroyFilterDescriptor, "DestroyFilterDescriptor");
    find(call.SetFilterNdDescriptor, "SetFilterNdDescriptor");
    find(call.CreateConvolutionDescriptor, "CreateConvolutionDescriptor");
    find(call.DestroyConvolutionDescriptor, "DestroyConvolutionDescriptor");
    find(call.SetConvolutionNdDescriptor, "SetConvolutionNdDescriptor");
    find(call.SetConvolutionGroupCount, "SetConvolutionGroupCount");
    find(call.SetConvolutionMathType, "SetConvolutionMathType");
    find(call.GetConvolutionForwardAlgorithm_v7, "GetConvolutionForwardAlgorithm_v7");
    find(call.GetConvolutionBackwardDataAlgorithm_v7, "GetConvolutionBackwardDataAlgorithm_v7");
    find(call.GetConvolutionBackwardFilterAlgorithm_v7, "GetConvolutionBackwardFilterAlgorithm_v7");
    find(call.GetConvolutionForwardWorkspaceSize, "GetConvolutionForwardWorkspaceSize");
    find(call.GetConvolutionBackwardDataWorkspaceSize, "GetConvolutionBackwardDataWorkspaceSize");
    find(call.GetConvolutionBackwardFilterWorkspaceSize,
         "GetConvolutionBackwardFilterWorkspaceSize");
    find(call.ConvolutionForward, "ConvolutionForward");
    find(call.ConvolutionBackwardData, "ConvolutionBackwardData");
    find(call.ConvolutionBackwardFilter, "ConvolutionBackwardFilter");
    find(call.AddTensor, "AddTensor");
    if (!all || call.GetVersion() / 10000 != 9 || call.Create(&handle) != 0) handle = nullptr;
  }
};
// It stays until the process ends: what it holds of the device may be gone before.
Library& library() {
  static Library& l = *new Library;
  return l;
}

// --- a convolution -------------------------------------------------------------------------------

struct Key {
  KernelId kernel;
  DType dtype;
  std::array<int64_t, 23> params;
  auto operator<=>(const Key&) const = default;
};

Key key_of(const Launch& l, const ConvParams& p) {
  Key k{l.kernel, l.dtype, {p.batch, p.groups, p.in_channels, p.out_channels, p.has_bias}};
  size_t at = 5;
  for (const auto* axes : {&p.input, &p.output, &p.kernel, &p.stride, &p.padding, &p.dilation}) {
    for (const int64_t n : *axes) k.params[at++] = n;
  }
  return k;
}

DataType type_of(DType d) {
  switch (d) {
    case DType::Float64:
      return kDouble;
    case DType::Float16:
      return kHalf;
    case DType::BFloat16:
      return kBFloat16;
    default:
      return kFloat;
  }
}

// Whether it is one that cuDNN counts with int, and pads alike on both sides.
bool is_plain(const ConvParams& p) {
  constexpr int64_t most = (int64_t{1} << 31) - 1;
  const double in =
      static_cast<double>(p.batch * p.groups * p.in_channels) * static_cast<double>(p.input_size());
  const double out = static_cast<double>(p.batch * p.groups * p.out_channels) *
                     static_cast<double>(p.output_size());
  const auto weights = static_cast<double>(p.groups * p.out_channels * p.in_channels) *
                       static_cast<double>(p.taps());
  if (!(0 < in && in < most && 0 < out && out < most && 0 < weights && weights < most)) {
    return false;
  }
  for (int d = 0; d < 3; ++d) {
    if (p.padding[d] > most / 4 || p.stride[d] > most || p.dilation[d] > most) return false;
    const int64_t room = p.input[d] + 2 * p.padding[d] - p.dilation[d] * (p.kernel[d] - 1) - 1;
    if (room < 0 || room / p.stride[d] + 1 != p.output[d]) return false;
  }
  return true;
}

// Descriptors and the algorithm of convolutions of one key.
class Plan {
 public:
  bool usable = false;

  Plan(Library& lib, const Launch& l, const ConvParams& p) : call_(lib.call), kernel_(l.kernel) {
    usable = describe(l, p) && choose(lib.handle, l.dtype);
  }
  Plan(const Plan&) = delete;
  Plan& operator=(const Plan&) = delete;
  ~Plan() {
    for (Descriptor d : {x_, y_, bias_}) {
      if (d) call_.DestroyTensorDescriptor(d);
    }
    if (w_) call_.DestroyFilterDescriptor(w_);
    if (convolution_) call_.DestroyConvolutionDescriptor(convolution_);
  }

  bool run(Handle handle, const Launch& l, bool has_bias) const {
    const float ones[2] = {1, 0};
    const double wide_ones[2] = {1, 0};
    const bool is_double = l.dtype == DType::Float64;
    const void* const one = is_double ? static_cast<const void*>(wide_ones) : ones;
    const void* const zero = is_double ? static_cast<const void*>(wide_ones + 1) : ones + 1;
    const Scratch workspace(std::max<size_t>(workspace_, 1));
    const auto& b = l.buffer;
    Status s;
    if (kernel_ == id(Kernel::Conv)) {
      s = call_.ConvolutionForward(handle, one, x_, b[1].data, w_, b[2].data, convolution_,
                                   algorithm_, workspace.data(), workspace_, zero, y_, b[0].data);
    } else if (kernel_ == id(Kernel::ConvGradInput)) {
      s = call_.ConvolutionBackwardData(handle, one, w_, b[2].data, y_, b[1].data, convolution_,
                                        algorithm_, workspace.data(), workspace_, zero, x_,
                                        b[0].data);
    } else {
      s = call_.ConvolutionBackwardFilter(handle, one, x_, b[2].data, y_, b[1].data, convolution_,
                                          algorithm_, workspace.data(), workspace_, zero, w_,
                                          b[0].data);
    }
    if (s == 0 && has_bias) {
      s = call_.AddTensor(handle, one, bias_, b[3].data, one, kernel_ == id(Kernel::Conv) ? y_ : x_,
                          b[0].data);
    }
    return s == 0;
  }

 private:
  bool describe(const Launch& l, const ConvParams& p) {
    const DataType type = type_of(l.dtype), compute = is_narrow(l.dtype) ? kFloat : type;
    // Of two axes in general: what they leave out is 1.
    const int first = p.input[0] == 1 && p.kernel[0] == 1 && p.output[0] == 1 ? 1 : 0;
    const int axes = 3 - first, dims = 2 + axes;
    using Sizes = std::array<int, 5>;
    const auto sizes = [&](int64_t a, int64_t b, const int64_t* rest) {
      Sizes s{static_cast<int>(a), static_cast<int>(b)};
      for (int d = first; d < 3; ++d) s[2 + d - first] = static_cast<int>(rest[d]);
      return s;
    };
    const auto axis = [&](const int64_t* of) {
      std::array<int, 3> s{};
      for (int d = first; d < 3; ++d) s[d - first] = static_cast<int>(of[d]);
      return s;
    };
    const auto tensor = [&](Descriptor& to, const Sizes& s) {
      Sizes strides{};
      int step = 1;
      for (int d = dims - 1; d >= 0; --d) {
        strides[d] = step;
        step *= s[d];
      }
      return call_.CreateTensorDescriptor(&to) == 0 &&
             call_.SetTensorNdDescriptor(to, type, dims, s.data(), strides.data()) == 0;
    };
    const int64_t in = p.groups * p.in_channels, out = p.groups * p.out_channels;
    const int64_t ones[3] = {1, 1, 1};
    const Sizes w = sizes(out, p.in_channels, p.kernel);
    const auto padding = axis(p.padding), stride = axis(p.stride), dilation = axis(p.dilation);
    return tensor(x_, sizes(p.batch, in, p.input)) && tensor(y_, sizes(p.batch, out, p.output)) &&
           tensor(bias_, sizes(1, kernel_ == id(Kernel::Conv) ? out : in, ones)) &&
           call_.CreateFilterDescriptor(&w_) == 0 &&
           call_.SetFilterNdDescriptor(w_, type, kNchw, dims, w.data()) == 0 &&
           call_.CreateConvolutionDescriptor(&convolution_) == 0 &&
           call_.SetConvolutionNdDescriptor(convolution_, axes, padding.data(), stride.data(),
                                            dilation.data(), kCrossCorrelation, compute) == 0 &&
           call_.SetConvolutionGroupCount(convolution_, static_cast<int>(p.groups)) == 0 &&
           call_.SetConvolutionMathType(convolution_,
                                        is_narrow(l.dtype) ? kTensorOpMath : kFmaMath) == 0;
  }

  // The fastest that is deterministic, in all of the dtype's digits, by cuDNN's own estimate.
  bool choose(Handle handle, DType dtype) {
    constexpr size_t most = size_t{1} << 30;
    Choice choices[16] = {};
    int number = 0;
    const bool forward = kernel_ == id(Kernel::Conv), input = kernel_ == id(Kernel::ConvGradInput);
    auto* const ask = forward ? call_.GetConvolutionForwardAlgorithm_v7
                      : input ? call_.GetConvolutionBackwardDataAlgorithm_v7
                              : call_.GetConvolutionBackwardFilterAlgorithm_v7;
    auto* const measure = forward ? call_.GetConvolutionForwardWorkspaceSize
                          : input ? call_.GetConvolutionBackwardDataWorkspaceSize
                                  : call_.GetConvolutionBackwardFilterWorkspaceSize;
    const Descriptor a = input ? w_ : x_, b = forward ? w_ : y_;
    const Descriptor out = forward ? y_ : input ? x_ : w_;
    if (ask(handle, a, b, convolution_, out, 16, &number, choices) != 0) return false;
    for (int i = 0; i < number && i < 16; ++i) {
      const Choice& c = choices[i];
      if (c.status != 0 || c.determinism != kDeterministic) continue;
      if (!is_narrow(dtype) && c.math != kFmaMath) continue;
      if (call_.SetConvolutionMathType(convolution_, c.math) != 0 ||
          measure(handle, a, b, convolution_, out, c.algorithm, &workspace_) != 0 ||
          workspace_ > most) {
        continue;
      }
      algorithm_ = c.algorithm;
      return true;
    }
    return false;
  }

  const Functions& call_;
  KernelId kernel_;
  Descriptor x_ = nullptr, y_ = nullptr, bias_ = nullptr, w_ = nullptr, convolution_ = nullptr;
  int algorithm_ = 0;
  size_t workspace_ = 0;
};

}  // namespace

bool run_cudnn(const Launch& l) {
  Library& lib = library();
  if (!lib.handle) return false;
  const auto& p = *static_cast<const ConvParams*>(l.pointer);
  if (!is_plain(p)) return false;
  constexpr size_t kMostPlans = 1024;
  const std::lock_guard lock(lib.mutex);
  static std::map<Key, Plan>& plans = *new std::map<Key, Plan>;
  if (plans.size() >= kMostPlans) plans.clear();
  const Plan& plan = plans.try_emplace(key_of(l, p), lib, l, p).first->second;
  return plan.usable && lib.call.SetStream(lib.handle, stream()) == 0 &&
         plan.run(lib.handle, l, p.has_bias);
}

int64_t cudnn_version() {
  return library().handle ? static_cast<int64_t>(library().call.GetVersion()) : 0;
}

}  // namespace wengert::cuda
