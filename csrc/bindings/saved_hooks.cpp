// Functions of Python that keep saved tensors in their own way, and anomaly detection.
#include "tape/saved.h"

#include <pybind11/stl.h>

#include <optional>

#include "bindings/held.h"
#include "bindings/py_tensor.h"
#include "tape/anomaly.h"
#include "tape/backward.h"

namespace wengert::bindings {
namespace {

class PythonPacked : public PackedTensor {
 public:
  PythonPacked(py::object value, py::object unpack)
      : value_(std::move(value)), unpack_(std::move(unpack)) {}

  Tensor unpack() override {
    const py::gil_scoped_acquire locked;
    const py::object made = unpack_.get()(value_.get());
    if (!is_tensor(made.ptr())) {
      fail(ErrorKind::Type,
           "Output of saved tensor unpack_hook expected to be a Tensor but got result of type ",
           py::str(py::type::handle_of(made)).cast<std::string>());
    }
    return tensor_of(made.ptr());
  }

 private:
  Held value_, unpack_;
};

class PythonHooks : public SavedTensorHooks {
 public:
  PythonHooks(py::object pack, py::object unpack, py::object before)
      : pack_(std::move(pack)), unpack_(std::move(unpack)), before_(std::move(before)) {}

  std::shared_ptr<PackedTensor> pack(const Tensor& t) override {
    const py::gil_scoped_acquire locked;
    return std::make_shared<PythonPacked>(pack_.get()(t), unpack_.get());
  }
  void before_change(const Tensor& t) override {
    const py::gil_scoped_acquire locked;
    if (!before_.get().is_none()) before_.get()(t);
  }

 private:
  Held pack_, unpack_, before_;
};

// Tensors kept as an operation keeps its own: through hooks, and watched for changes in place.
constexpr Rule kCheckpoint{"checkpoint", nullptr};
struct SavedInputs {
  Ref<Node> node;
  explicit SavedInputs(const std::vector<Tensor>& tensors)
      : node(Node::make(kCheckpoint, 0, 0, static_cast<int>(tensors.size()), 0)) {
    node->source = source_here();
    for (size_t i = 0; i < tensors.size(); ++i) node->save(static_cast<int>(i), tensors[i]);
  }
  std::vector<Tensor> get() const {
    std::vector<Tensor> out;
    for (int i = 0; i < node->num_saved; ++i) out.push_back(node->unpack(i));
    return out;
  }
};

}  // namespace

void register_saved_hooks(py::module_& m) {
  m.def(
      "push_saved_hooks",
      [](py::object pack, py::object unpack, py::object before_change) {
        push_saved_hooks(std::make_shared<PythonHooks>(std::move(pack), std::move(unpack),
                                                       std::move(before_change)));
      },
      py::arg("pack"), py::arg("unpack"), py::arg("before_change") = py::none(),
      "What this thread saves is packed from now on, and unpacked when it is read; before_change "
      "is called with tensors that are about to be changed in place.");
  m.def(
      "storage_id", [](const Tensor& t) { return reinterpret_cast<uintptr_t>(t->storage.get()); },
      py::arg("tensor"), "A number that tensors on the same memory have in common.");
  m.def("pop_saved_hooks", &pop_saved_hooks, "Takes the last hooks of this thread away.");
  m.def(
      "disable_saved_hooks",
      [](const std::optional<std::string>& message) -> std::optional<std::string> {
        const auto before =
            disable_saved_hooks(message ? std::make_shared<const std::string>(*message) : nullptr);
        return before ? std::optional(*before) : std::nullopt;
      },
      py::arg("message"), "Setting hooks is an error from now on; returns the message before.");
  m.def(
      "increment_version", [](const Tensor& t) { note_change("increment_version()", t); },
      py::arg("tensor"), "Counts a change in place.");
  m.def(
      "anomaly_mode",
      [] {
        const AnomalyMode mode = anomaly_mode();
        return py::make_tuple(mode.on, mode.gradients, mode.forward);
      },
      "Whether anomaly detection is on, checks gradients, and checks results.");
  m.def(
      "set_anomaly_mode",
      [](bool on, bool gradients, bool forward) { set_anomaly_mode({on, gradients, forward}); },
      py::arg("on"), py::arg("gradients"), py::arg("forward"), "Switches anomaly detection.");
  py::class_<SavedInputs>(m, "SavedInputs", "Tensors saved as an operation saves them.")
      .def(py::init<const std::vector<Tensor>&>(), py::arg("tensors"))
      .def("get", &SavedInputs::get, "The tensors.");
  m.def("walk_number", &walk_number, "The number of the walk under way on this thread, or 0.");
  m.def("walk_is_filtered", &walk_is_filtered,
        "Whether the walk under way was asked for gradients by certain inputs alone.");
}

}  // namespace wengert::bindings
