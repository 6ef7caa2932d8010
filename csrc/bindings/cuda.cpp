// The module wengert._core.cuda: the device, its memory, streams and events, for wengert.cuda.
#include "kernels/cuda/cuda.h"

#include <pybind11/stl.h>

#include "bindings/py_tensor.h"
#include "core/error.h"

namespace wengert::bindings {
namespace {

struct PyStream {
  cuda::StreamId id;
};
// Ends with its Python object.
struct PyEvent {
  cuda::EventId id;
  bool timing, recorded = false;
  explicit PyEvent(bool t) : id(cuda::make_event(t)), timing(t) {}
  PyEvent(const PyEvent&) = delete;
  PyEvent& operator=(const PyEvent&) = delete;
  ~PyEvent() { cuda::free_event(id); }
};

// Other threads of Python may run while this one waits.
template <class F>
void waiting(F f) {
  const py::gil_scoped_release without_lock;
  f();
}

py::dict properties() {
  const cuda::DeviceProperties& p = cuda::properties();
  py::dict d;
  d["name"] = p.name;
  d["major"] = p.major;
  d["minor"] = p.minor;
  d["multi_processor_count"] = p.multi_processor_count;
  d["total_memory"] = p.total_memory;
  d["L2_cache_size"] = p.l2_cache_size;
  d["shared_memory_per_block"] = p.shared_memory_per_block;
  d["shared_memory_per_block_optin"] = p.shared_memory_per_block_optin;
  d["max_threads_per_multi_processor"] = p.max_threads_per_multi_processor;
  d["warp_size"] = p.warp_size;
  return d;
}

py::dict memory_stats() {
  const cuda::DeviceMemoryStats s = cuda::memory_stats();
  py::dict d;
  d["allocated_bytes.all.current"] = s.allocated;
  d["allocated_bytes.all.peak"] = s.peak_allocated;
  d["reserved_bytes.all.current"] = s.reserved;
  d["reserved_bytes.all.peak"] = s.peak_reserved;
  d["allocation.all.current"] = s.blocks;
  d["allocation.all.allocated"] = s.allocations;
  d["segment.all.current"] = s.segments;
  d["num_alloc_retries"] = s.retries;
  d["num_ooms"] = s.out_of_memory;
  return d;
}

}  // namespace

Tensor pinned_copy(const Tensor& t) {
  if (t.device() != Device::CPU) {
    fail("pin_memory: cannot pin '", name_of(t.device()), "' memory; only CPU tensors");
  }
  const Tensor out = cuda::empty_pinned(t, contiguous_strides(t.sizes()));
  ops::copy_into(out, t);
  return out;
}

void register_cuda(py::module_& parent) {
  auto m = parent.def_submodule("cuda", "The CUDA device.");
  m.def("built", &cuda::built, "Whether the build has the CUDA back end.");
  m.def("emulated", &cuda::emulated, "Whether that is an emulation on the processor, for tests.");
  m.def("is_available", &cuda::is_available, "Whether there is a CUDA device.");
  m.def("why_none", &cuda::why_none, "Why there is none.");
  m.def("is_initialized", &cuda::is_initialized, "Whether the device is in use.");
  m.def("device_count", &cuda::device_count, "How many CUDA devices there are.");
  m.def("require", &cuda::require, "Begins to use the device; throws where there is none.");
  m.def("driver_version", &cuda::driver_version, "Of the driver, such as 13000; 0: there is none.");
  m.def("runtime_version", &cuda::runtime_version, "Of the runtime in the build; 0: none.");
  m.def("properties", &properties, "What the device is.");
  m.def("memory_stats", &memory_stats, "Bytes and blocks of device memory.");
  m.def("reset_peak_memory_stats", &cuda::reset_peak_memory_stats, "Starts the peaks anew.");
  m.def(
      "empty_cache", [] { waiting(&cuda::empty_cache); },
      "Gives memory that is not used back to CUDA.");
  m.def(
      "mem_get_info",
      [] {
        size_t free = 0, total = 0;
        cuda::memory_info(free, total);
        return py::make_tuple(free, total);
      },
      "Bytes that are free on the device, and all.");
  m.def("set_memory_fraction", &cuda::set_memory_fraction, py::arg("fraction"),
        "Limits what this process takes of the device's memory.");
  m.def(
      "pinned",
      [](const py::object& tensor) {
        return py::reinterpret_steal<py::object>(wrap(pinned_copy(tensor_of(tensor.ptr()))));
      },
      py::arg("tensor"), "A copy in pinned memory.");
  m.def("synchronize", [] { waiting(&cuda::synchronize); }, "Waits for all that was launched.");
  m.def("architectures", &cuda::architectures, "Those that the build has code for.");
  m.def("launches_block", &cuda::launches_block, "Whether every launch is waited for.");
  m.def("set_launches_block", &cuda::set_launches_block, py::arg("on"),
        "Sets whether every launch is waited for, so that errors are told where they begin.");
  m.def("host_launches", &cuda::host_launches,
        "Launches that ran on the processor for want of a CUDA kernel.");
  m.def("cublas", &cuda::cublas, "The file of cuBLASLt, or an empty string.");
  m.def("set_cublas", &cuda::set_cublas, py::arg("where"),
        "Where cuBLASLt is: a file, a directory, '1' for the usual places, '0' for nowhere.");
  m.def("cublas_calls", &cuda::cublas_calls, "Products that cuBLASLt has made.");
  m.def("force_gemm", &cuda::force_gemm, py::arg("names"),
        "Which kernel multiplies matrices, for tests; an empty string: the one chosen.");

  py::class_<PyStream>(m, "Stream")
      .def(py::init([](int priority) { return PyStream{cuda::make_stream(priority)}; }),
           py::arg("priority") = 0)
      .def_property_readonly("cuda_stream", [](const PyStream& s) { return s.id; })
      .def("query", [](const PyStream& s) { return cuda::stream_done(s.id); })
      .def("synchronize",
           [](const PyStream& s) { waiting([&] { cuda::synchronize_stream(s.id); }); })
      .def("wait_event", [](const PyStream& s, const PyEvent& e) { cuda::wait_event(s.id, e.id); });
  py::class_<PyEvent, std::shared_ptr<PyEvent>>(m, "Event")
      .def(py::init([](bool timing) { return std::make_shared<PyEvent>(timing); }),
           py::arg("enable_timing") = false)
      .def_property_readonly("cuda_event", [](const PyEvent& e) { return e.id; })
      .def("record",
           [](PyEvent& e, const PyStream& s) {
             cuda::record_event(e.id, s.id);
             e.recorded = true;
           })
      .def("query", [](const PyEvent& e) { return !e.recorded || cuda::event_done(e.id); })
      .def("synchronize", [](const PyEvent& e) { waiting([&] { cuda::synchronize_event(e.id); }); })
      .def("elapsed_time", [](const PyEvent& from, const PyEvent& to) {
        if (!from.timing || !to.timing) {
          fail(ErrorKind::Value, "elapsed_time: both events must be made with enable_timing=True");
        }
        if (!from.recorded || !to.recorded) {
          fail(ErrorKind::Value, "elapsed_time: both events must be recorded first");
        }
        return cuda::elapsed_ms(from.id, to.id);
      });
  m.def("default_stream", [] { return PyStream{cuda::default_stream()}; });
  m.def("current_stream", [] { return PyStream{cuda::current_stream()}; });
  m.def("external_stream", [](cuda::StreamId id) { return PyStream{id}; });
  m.def("set_stream", [](const PyStream& s) { cuda::set_current_stream(s.id); });
  m.def("record_stream", [](const py::object& tensor, const PyStream& s) {
    const Tensor& t = tensor_of(tensor.ptr());
    if (t.device() == Device::CUDA) cuda::record_stream(*t->storage, s.id);
  });
  m.def(
      "default_device", [] { return py::reinterpret_steal<py::object>(wrap(default_device())); },
      "Where this thread makes tensors of which nothing else is said.");
  m.def(
      "set_default_device",
      [](const py::object& device) { set_default_device(device_from(device.ptr())); },
      py::arg("device"), "Sets where this thread makes tensors of which nothing else is said.");
}

}  // namespace wengert::bindings
