// What this build and this machine are; threads, memory, default dtype.
#include <algorithm>
#include <map>
#include <string>

#include "bindings/py_tensor.h"
#include "core/error.h"
#include "core/version.h"
#include "kernels/cpu/cpu.h"
#include "kernels/cpu/gemm_choice.h"
#include "kernels/cpu/parallel.h"
#include "kernels/cuda/cuda.h"
#include "ops/autocast.h"

namespace wengert::bindings {
namespace {

// Counts launches by kernel name while it is active on a thread.
class Counter : public LaunchObserver {
 public:
  void on_launch(const Launch& l) override {
    ++counts_[kernel_name(l.kernel)];
    if (before_) before_->on_launch(l);
  }
  void on_done(const Launch& l) override {
    if (before_) before_->on_done(l);
  }
  void enter() { before_ = set_launch_observer(this); }
  void exit() { set_launch_observer(before_); }
  py::dict counts() const {
    py::dict out;
    for (const auto& [name, n] : counts_) out[name.c_str()] = n;
    return out;
  }

 private:
  std::map<std::string, int64_t> counts_;
  LaunchObserver* before_ = nullptr;
};

DType dtype_of(const char* op, const py::object& o) {
  DType d;
  if (!dtype_from(o.ptr(), d)) {
    fail(ErrorKind::Type, op, ": expected a wengert.dtype, not ", Py_TYPE(o.ptr())->tp_name);
  }
  return d;
}

Tensor operand(const py::object& o) {
  Number n;
  if (is_tensor(o.ptr())) return tensor_of(o.ptr());
  if (number_from(o.ptr(), n)) return number_like(n, nullptr);
  fail(ErrorKind::Type, "result_type: expected a Tensor or a number, not ",
       Py_TYPE(o.ptr())->tp_name);
}

// What is known of the back end without beginning to use it.
py::object cuda_config() {
  py::dict d;
  d["runtime"] = cuda::runtime_version();
  d["driver"] = cuda::driver_version();
  d["devices"] = cuda::device_count();
  d["emulated"] = cuda::emulated();
  d["why_none"] = cuda::is_available() ? py::object(py::none()) : py::cast(cuda::why_none());
  return d;
}

}  // namespace

void register_config(py::module_& m) {
  m.def(
      "tensor_from_data",
      [](const py::object& data, const py::object& dtype) {
        DType d;
        if (dtype.is_none()) return tensor_from_data(data.ptr(), {});
        if (!dtype_from(dtype.ptr(), d)) {
          fail(ErrorKind::Type, "tensor: dtype must be a wengert.dtype, not ",
               Py_TYPE(dtype.ptr())->tp_name);
        }
        return tensor_from_data(data.ptr(), d);
      },
      py::arg("data"), py::arg("dtype") = py::none(), "A new tensor from numbers or arrays.");
  m.def(
      "config",
      [] {
        py::dict d;
        d["version"] = kVersion;
#if defined(__clang__)
        d["compiler"] = "clang " __clang_version__;
#else
        d["compiler"] = "gcc " __VERSION__;
#endif
        d["isa"] = cpu::isa().name;
        d["bfloat16"] = cpu::kPairUnitNames[static_cast<int>(cpu::pair_unit())];
        d["threads"] = num_threads();
        d["cuda"] = cuda::built() ? cuda_config() : py::object(py::none());
        return d;
      },
      "Version, compiler, instruction set, threads, CUDA.");
  m.def("get_num_threads", &num_threads, "Threads that a kernel may use.");
  m.def(
      "set_num_threads",
      [](int n) {
        if (n < 1) fail("set_num_threads: expects a positive integer, got ", n);
        set_num_threads(n);
      },
      py::arg("n"), "Sets the threads that a kernel may use.");
  m.def(
      "matmul_precision", [] { return static_cast<int>(cpu::matmul_precision()); },
      "How far products of float32 may be rounded: 0 not at all, 1 high, 2 medium.");
  m.def(
      "set_matmul_precision",
      [](int precision) {
        if (precision < 0 || precision > 2) {
          fail(ErrorKind::Value, "set_matmul_precision: expected 0, 1 or 2, got ", precision);
        }
        cpu::set_matmul_precision(static_cast<cpu::MatmulPrecision>(precision));
      },
      py::arg("precision"), "Sets how far products of float32 may be rounded.");
  m.def("split_float32", &cpu::split_float32,
        "Whether products of float32 may be six of bfloat16 where tiles multiply these.");
  m.def("set_split_float32", &cpu::set_split_float32, py::arg("allowed"),
        "Sets whether products of float32 may be six of bfloat16.");
  m.def("force_float32_products", &cpu::force_float32_products, py::arg("products"),
        "So many products of bfloat16 to one of float32, fast or not; 0 chooses again.");
  m.def(
      "autocast",
      [](const std::string& device) -> py::object {
        const AutocastState& s = autocast_state();
        const size_t i = device == "cuda";
        if (!s.on_for[i]) return py::none();
        return py::reinterpret_steal<py::object>(wrap(s.dtype[i]));
      },
      py::arg("device") = "cpu",
      "The dtype that autocast computes in on this thread for a device, or None.");
  m.def(
      "set_autocast",
      [](const py::object& dtype, const std::string& device) {
        const bool on = !dtype.is_none();
        const DType d = on ? dtype_of("set_autocast", dtype) : DType::Float32;
        autocast_state().set(device == "cuda" ? Device::CUDA : Device::CPU, on ? &d : nullptr);
      },
      py::arg("dtype"), py::arg("device") = "cpu",
      "Sets the dtype that autocast computes in on this thread for a device; None: off.");
  m.def("pool_started", &pool_started, "Whether worker threads exist in this process.");
  m.def(
      "measure_peak",
      [](double seconds) {
        const cpu::Peak p = [&] {
          const py::gil_scoped_release released;
          return cpu::measure_peak(std::min(seconds, 60.0));
        }();
        return py::make_tuple(p.flops, p.bytes);
      },
      py::arg("seconds") = 0.4,
      "Float32 operations, and bytes of a copy, a second: the most that this machine's cores do "
      "with this build's instruction set and threads.");
  m.def(
      "get_default_dtype", [] { return py::reinterpret_steal<py::object>(wrap(default_dtype())); },
      "The dtype of new floating point tensors.");
  m.def(
      "set_default_dtype",
      [](const py::object& dtype) {
        DType d;
        if (!dtype_from(dtype.ptr(), d)) {
          fail(ErrorKind::Type, "set_default_dtype: expected a dtype");
        }
        set_default_dtype(d);
      },
      py::arg("d"), "Sets the dtype of new floating point tensors.");
  m.def(
      "result_type",
      [](const py::object& a, const py::object& b) {
        const Tensor x = operand(a), y = operand(b);
        const Tensor* both[] = {&x, &y};
        return py::reinterpret_steal<py::object>(wrap(result_type(both, 2)));
      },
      py::arg("tensor1"), py::arg("tensor2"),
      "The dtype that arithmetic between two tensors or numbers has.");
  m.def(
      "promote_types",
      [](const py::object& a, const py::object& b) {
        return py::reinterpret_steal<py::object>(
            wrap(promote_types(dtype_of("promote_types", a), dtype_of("promote_types", b))));
      },
      py::arg("type1"), py::arg("type2"),
      "The smallest dtype of a category no lower than either's that holds both.");
  m.def(
      "can_cast",
      [](const py::object& from, const py::object& to) {
        return can_cast(dtype_of("can_cast", from), dtype_of("can_cast", to));
      },
      py::arg("from_"), py::arg("to"),
      "Whether a result of one dtype may be written into a tensor of another: a category (bool, "
      "integer, floating) is never lost.");
  m.def(
      "memory_stats",
      [] {
        const MemoryStats s = memory_stats();
        py::dict d;
        d["current_bytes"] = s.current_bytes;
        d["peak_bytes"] = s.peak_bytes;
        d["current_blocks"] = s.current_blocks;
        d["cached_bytes"] = s.cached_bytes;
        return d;
      },
      "Bytes and blocks in use, at their peak, and kept for reuse.");
  m.def("reset_peak_memory_stats", &reset_peak_memory_stats, "Starts the peak anew.");
  m.def("empty_cache", &empty_cache, "Gives cached memory back to the system.");
  py::class_<Counter>(m, "LaunchCounter", "Counts kernel launches of this thread, in a with block.")
      .def(py::init<>())
      .def(
          "__enter__",
          [](Counter& c) -> Counter& {
            c.enter();
            return c;
          },
          py::return_value_policy::reference)
      .def("__exit__", [](Counter& c, const py::args&) { c.exit(); })
      .def_property_readonly("counts", &Counter::counts, "Launches by kernel name.");
}

}  // namespace wengert::bindings
