// Levels of vmap and forward mode, for the Python that makes wg.func and autograd.forward_ad.
#include <pybind11/stl.h>

#include "bindings/py_tensor.h"
#include "core/error.h"
#include "transforms/call.h"
#include "transforms/gradient.h"

namespace wengert::bindings {
namespace {

using namespace transforms;

uint64_t enter_batch(int64_t size, const std::string& randomness) {
  if (randomness != "error" && randomness != "different" && randomness != "same") {
    fail("vmap: only allowed values for randomness are 'error', 'different', or 'same', got ",
         randomness);
  }
  return enter(Kind::Batch, size,
               randomness == "error"  ? Randomness::Error
               : randomness == "same" ? Randomness::Same
                                      : Randomness::Different);
}

const Level& known(uint64_t level) {
  const Level* l = find_level(level);
  if (!l) fail("transforms: level ", level, " is not under way on this thread");
  return *l;
}

AnyTensor batch(const AnyTensor& t, int dim, uint64_t level) {
  known(level);
  return {make_batch(movedim(t.tensor, dim, 0), level)};
}
// The value, with the batch's dimension at `dim`; what is not of the level is repeated.
AnyTensor unbatch(const AnyTensor& t, int dim, uint64_t level) {
  return {movedim(batch_value(settled(t.tensor), known(level)), 0, dim)};
}

AnyTensor dual(const AnyTensor& value, const AnyTensor& tangent, uint64_t level) {
  known(level);
  return {make_dual(value.tensor, tangent.tensor, level)};
}
std::pair<AnyTensor, AnyTensor> undual(const AnyTensor& t, uint64_t level) {
  if (!has_level(t.tensor, level)) return {t, {}};
  const Layer* l = layer_of(t.tensor);
  return {{l->value}, {l->tangent}};
}

// Something to differentiate by: inside of vmap one for each of every batch.
AnyTensor input(const AnyTensor& t) {
  Tensor x = settled(t.tensor);
  for (const Level& l : batches()) x = insert_batch(x, l);
  return {alias(x)};
}

}  // namespace

void register_transforms(py::module_& m) {
  m.def("enter_batch", &enter_batch, py::arg("size"), py::arg("randomness"),
        "Begins a level of vmap; returns its number.");
  m.def(
      "enter_dual", [] { return enter(Kind::Dual); },
      "Begins a level of forward mode; returns its number.");
  m.def("leave_level", &leave, py::arg("level"), "Ends a level, and those begun inside it.");
  m.def("batch", &batch, py::arg("tensor"), py::arg("dim"), py::arg("level"),
        "The tensor as vmap's function sees it: without dimension dim.");
  m.def("unbatch", &unbatch, py::arg("tensor"), py::arg("dim"), py::arg("level"),
        "The opposite of `batch`.");
  m.def("dual", &dual, py::arg("value"), py::arg("tangent"), py::arg("level"),
        "A dual number; the value itself if the tangent is None.");
  m.def("undual", &undual, py::arg("tensor"), py::arg("level"),
        "Value and tangent of a dual number; the tangent is None where there is none.");
  m.def("differentiable_input", &input, py::arg("tensor"),
        "An alias of a tensor to differentiate by, batched in every vmap around.");
  m.def(
      "top_level",
      [](const AnyTensors& list) {
        uint64_t top = 0;
        for (const AnyTensor& t : list) {
          if (t.tensor.defined()) top = std::max(top, level_of(settled(t.tensor)));
        }
        const Level* l = find_level(top);
        return py::make_tuple(top, l && l->kind == Kind::Dual, l ? l->size : 0);
      },
      py::arg("tensors"),
      "The highest level among tensors (0: none), whether it is one of forward mode, and the size "
      "of the batch.");
  m.def(
      "randomness_of",
      [](uint64_t level) {
        constexpr const char* names[] = {"error", "different", "same"};
        return names[static_cast<int>(known(level).randomness)];
      },
      py::arg("level"), "What random numbers are inside of a batch.");
  m.def(
      "has_level", [](const AnyTensor& t, uint64_t level) { return has_level(t.tensor, level); },
      py::arg("tensor"), py::arg("level"), "Whether the outermost layer is of the level.");
  m.def(
      "pushed",
      [](const AnyTensors& outputs, const AnyTensors& sources, const AnyTensors& tangents,
         bool keep) {
        const SourceScope from(source_here());
        return any(pushed(tensors(outputs), tensors(sources), tensors(tangents), keep));
      },
      py::arg("outputs"), py::arg("sources"), py::arg("tangents"), py::arg("keep"),
      "The tangents of outputs that were computed from sources; None where there is none.");
  m.def(
      "make_changeable",
      [](const AnyTensor& t, uint64_t level) { make_changeable(t.tensor, level); },
      py::arg("tensor"), py::arg("level"),
      "Makes a tensor a dual number in place, with a tangent of zero, if it is none.");
  m.def(
      "any_layer",
      [](const py::tuple& args) {
        for (const py::handle each : args) {
          if (is_tensor(each.ptr()) && any_tensor_of(each.ptr())->layer) return true;
        }
        return false;
      },
      py::arg("args"), "Whether a tensor among arguments is a batch or a dual number.");
  m.def(
      "tracked", [](const AnyTensor& t) { return t.tensor.defined() && tracked(t.tensor); },
      py::arg("tensor"), "Whether the tape knows a tensor, its tangents included.");
  m.def(
      "reaches_beyond",
      [](const AnyTensors& outputs, const AnyTensors& inputs) {
        return reaches_beyond(tensors(outputs), tensors(inputs));
      },
      py::arg("outputs"), py::arg("inputs"),
      "Whether anything but the inputs that requires grad is behind the outputs.");
}

}  // namespace wengert::bindings
