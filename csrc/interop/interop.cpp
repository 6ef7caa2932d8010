// The module wengert._interop: tensors from and to NumPy and, by DLPack, every other library,
// without copying. nanobind's ndarray does the protocol; memory is kept alive from both sides.
#include <nanobind/nanobind.h>
#include <nanobind/ndarray.h>

#include "bindings/capi.h"
#include "core/device_memory.h"
#include "core/error.h"
#include "core/watch.h"

namespace nb = nanobind;

namespace wengert {
namespace {

const bindings::CApi& api() {
  static const auto* found = static_cast<const bindings::CApi*>(PyCapsule_GetPointer(
      nb::module_::import_("wengert._core").attr("_c_api").ptr(), bindings::kCApiName));
  if (!found) nb::raise_python_error();
  return *found;
}

nb::dlpack::dtype dlpack_dtype(DType d) {
  using nb::dlpack::dtype_code;
  const auto code = d == DType::Bool       ? dtype_code::Bool
                    : d == DType::UInt8    ? dtype_code::UInt
                    : is_integral(d)       ? dtype_code::Int
                    : d == DType::BFloat16 ? dtype_code::Bfloat
                                           : dtype_code::Float;
  return {static_cast<uint8_t>(code), static_cast<uint8_t>(8 * item_size(d)), 1};
}

DType dtype_of(nb::dlpack::dtype d) {
  for (int i = 0; i < kNumDTypes; ++i) {
    if (dlpack_dtype(static_cast<DType>(i)) == d) return static_cast<DType>(i);
  }
  const char* kinds[] = {"int", "uint", "float", "handle", "bfloat", "complex", "bool"};
  const std::string kind = d.code < std::size(kinds) ? kinds[d.code] : "unknown";
  std::string known;
  for (int i = 0; i < kNumDTypes; ++i) known += text(i ? ", " : "", name_of(static_cast<DType>(i)));
  throw nb::type_error(text("from_numpy: can't convert an array of type ", kind, int{d.bits},
                            "; the supported types are: ", known)
                           .c_str());
}

const Tensor& tensor_of(nb::handle h) {
  const Tensor* t = api().unwrap(h.ptr());
  if (!t) throw nb::type_error("expected a wengert.Tensor");
  return *t;
}

// A tensor on the array's memory, which stays alive until the last view of it is gone.
nb::object from_array(nb::object source) {
  nb::ndarray<nb::ro> array;
  if (!nb::try_cast(source, array)) {
    const nb::object dtype = nb::getattr(source, "dtype", nb::none());
    throw nb::type_error(text("expected an array of numbers in native byte order, got ",
                              Py_TYPE(source.ptr())->tp_name, dtype.is_none() ? "" : " of dtype ",
                              dtype.is_none() ? "" : nb::str(dtype).c_str())
                             .c_str());
  }
  const bool on_cuda = array.device_type() == nb::device::cuda::value;
  if (!on_cuda && array.device_type() != nb::device::cpu::value) {
    throw nb::value_error("from_dlpack: the array is in the memory of neither the CPU nor CUDA");
  }
  if (on_cuda) {
    if (array.device_id() != 0) throw nb::value_error("from_dlpack: the array is not on cuda:0");
    if (!device_memory_in_use()) throw nb::value_error("from_dlpack: no CUDA device is in use");
  }
  if (array.ndim() > kMaxDims) throw nb::value_error("from_numpy: more than 8 dimensions");
  const DType dtype = dtype_of(array.dtype());
  Dims sizes, strides;
  for (size_t d = 0; d < array.ndim(); ++d) {
    sizes.push_back(static_cast<int64_t>(array.shape(d)));
    strides.push_back(array.stride(d));
    if (strides.back() < 0 && sizes.back() > 1) {
      throw nb::value_error(
          "from_numpy: at least one stride in the given numpy array is negative, and tensors with "
          "negative strides are not supported; copy it first (array.copy())");
    }
  }
  // Its library's streams know nothing of those here: what it launched is done when work here
  // begins, and work here when the memory is its own again.
  if (on_cuda) device_memory().wait();
  auto* keep = new nb::ndarray<nb::ro>(array);
  auto storage = Storage::borrow(
      const_cast<void*>(array.data()),
      static_cast<size_t>(extent(sizes, strides)) * item_size(dtype),
      [](void* p) {
        auto* kept = static_cast<nb::ndarray<nb::ro>*>(p);
        if (kept->device_type() == nb::device::cuda::value) device_memory().wait();
        const nb::gil_scoped_acquire locked;
        delete kept;
      },
      keep);
  auto impl = Ref<TensorImpl>::adopt(new TensorImpl);
  storage->device = on_cuda ? Device::CUDA : Device::CPU;
  impl->device = storage->device;
  impl->data = static_cast<char*>(storage->data);
  impl->storage = std::move(storage);
  impl->dtype = dtype;
  impl->sizes = sizes;
  impl->strides = strides;
  impl->numel = product(sizes);
  impl->contiguous = is_contiguous(sizes, strides);
  const Tensor shared(std::move(impl));
  shared.host_wrote();  // and may again
  return nb::steal(api().wrap(shared));
}

// The tensor's memory as another library's array, which keeps the storage alive.
template <class Framework>
nb::object to_array(nb::handle h) {
  const Tensor& t = tensor_of(h);
  const bool numpy = std::is_same_v<Framework, nb::numpy>;
  if (t.device() == Device::CUDA && numpy) {
    throw nb::type_error(
        "numpy: can't convert cuda:0 device type tensor to numpy. Use Tensor.cpu() to copy the "
        "tensor to host memory first.");
  }
  t.host_reads();  // and may write
  auto* keep = new Tensor(t.view(t.sizes(), t.strides()));
  const nb::capsule owner(keep, [](void* p) noexcept { delete static_cast<Tensor*>(p); });
  size_t shape[kMaxDims];
  int64_t strides[kMaxDims];
  for (int d = 0; d < t.dim(); ++d) {
    shape[d] = static_cast<size_t>(t.size(d));
    strides[d] = t.stride(d);
  }
  const nb::ndarray<Framework> array(
      t.data(), static_cast<size_t>(t.dim()), shape, owner, strides, dlpack_dtype(t.dtype()),
      t.device() == Device::CUDA ? nb::device::cuda::value : nb::device::cpu::value, 0);
  return nb::cast(array, nb::rv_policy::reference);
}

}  // namespace
}  // namespace wengert

NB_MODULE(_interop, m) {
  using namespace wengert;
  nb::set_leak_warnings(false);
  nb::register_exception_translator([](const std::exception_ptr& p, void*) {
    try {
      std::rethrow_exception(p);
    } catch (const Error& e) {
      const bool capture = e.kind() == ErrorKind::Capture;
      const nb::object type = nb::module_::import_("wengert._core").attr("CaptureError");
      PyErr_SetString(capture ? type.ptr() : PyExc_RuntimeError, e.what());
    }
  });
  m.def("from_array", &from_array, nb::arg("array"),
        "A tensor that shares memory with a NumPy array or a DLPack provider.");
  m.def(
      "is_writable", [](const nb::ndarray<>&) { return true; }, nb::arg("array"),
      "Whether the array may be written through.");
  m.def("is_writable", [](const nb::ndarray<nb::ro>&) { return false; }, nb::arg("array"));
  m.def("to_numpy", &to_array<nb::numpy>, nb::arg("tensor"),
        "A NumPy array that shares memory with a tensor.");
  m.def("to_dlpack", &to_array<nb::array_api>, nb::arg("tensor"),
        "An object that offers the tensor's memory by DLPack.");
}
