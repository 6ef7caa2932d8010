// Capture and replay: the recorder, programs, and what guards them.
#include <pybind11/functional.h>
#include <pybind11/stl.h>

#include <algorithm>

#include "bindings/py_tensor.h"
#include "bindings/replays.h"
#include "core/error.h"
#include "ops/checks.h"
#include "ops/ops.h"
#include "program/recorder.h"

namespace wengert::bindings {
namespace {

// The results, or the reason why a replay is refused.
py::object call(Program& p, const std::vector<Tensor>& arguments) {
  if (const char* reason = p.refuses(arguments)) return py::str(reason);
  if (!p.read_settings()) return py::str("what an optimizer's settings ask for");
  return py::cast(results_of(p, arguments));
}

// Steps done, of `order`, in one call; the results of step k are in row k. `before` steps were
// taken before, from which progress counts.
std::pair<int64_t, std::vector<Tensor>> run(Program& p, const std::vector<Tensor>& arrays,
                                            const Tensor& order, int64_t steps, int64_t every,
                                            const py::object& progress, const py::list& after,
                                            int64_t before) {
  if (!p.read_settings()) return {0, {}};
  std::vector<Tensor> stacked;
  for (const TensorPlace& r : p.results()) {
    if (!is_contiguous(r.sizes, r.strides)) {
      fail(ErrorKind::Capture, "run: a result of shape ", r.sizes, " is not contiguous");
    }
    stacked.push_back(
        Tensor::empty(concat(Dims{steps}, r.sizes), r.dtype, p.recording().slots[r.slot].device));
  }
  int64_t done = 0;
  const bool calls = !after.empty();
  {
    const py::gil_scoped_release released;
    done = p.run(arrays, {order.data<int64_t>(), static_cast<size_t>(order.numel())}, stacked,
                 {calls ? 1 : every, before, [&](int64_t k) {
                    const bool told = (before + k + 1) % every == 0;
                    const py::gil_scoped_acquire locked;
                    for (const auto& call : after) {
                      const auto [fn, args] = call.cast<std::pair<py::object, py::tuple>>();
                      fn(*args);
                    }
                    if (told && PyErr_CheckSignals() != 0) throw py::error_already_set();
                    if (told && !progress.is_none()) progress(before + k + 1);
                    return p.read_settings();
                  }});
  }
  return {done, std::move(stacked)};
}

}  // namespace

void register_capture(py::module_& m) {
  m.attr("CaptureError") = py::handle(capture_error());
  m.attr("OutOfMemoryError") = py::handle(out_of_memory_error());
  m.def(
      "check_true",
      [](const Tensor& all, const std::string& message) {
        host_check(checks::kAllTrue, {ops::contiguous(ops::detach(all))},
                   {.text = {message.c_str()}});
      },
      py::arg("all"), py::arg("message"),
      "Raises ValueError where a bool tensor is not all True, in each replay too.");
  m.def(
      "thread_modes",
      [] {
        const ThreadModes m = thread_modes();
        return py::make_tuple(m.grad, m.inference, m.autocast, m.default_dtype, m.default_device,
                              m.checks_forward);
      },
      "What this thread's operations depend on besides their arguments.");
  m.def("capturing", [] { return host_watcher() != nullptr; }, "Whether this thread captures.");
  py::class_<Recorder>(m, "Recorder", "Records the launches of its thread, in a with block.")
      .def(py::init<std::vector<Tensor>, bool>(), py::arg("arguments"), py::arg("strict"))
      .def(
          "__enter__",
          [](Recorder& r) -> Recorder& {
            r.start();
            return r;
          },
          py::return_value_policy::reference)
      .def("__exit__", [](Recorder& r, const py::args&) { r.stop(); })
      .def_property_readonly("failure", &Recorder::failure, "What a replay could not repeat.")
      .def(
          "paused",
          [](Recorder&, const py::object& fn) {
            const Unwatched outside;
            return fn();
          },
          py::arg("fn"), "Calls a function whose launches are not recorded.")
      .def("touches", &Recorder::touches, py::arg("tensor"), "Whether launches use its memory.")
      .def_property_readonly("steps", &Recorder::steps, "Launches and checks so far.")
      .def("finish", &Recorder::finish, py::arg("results"), py::arg("memory_limit") = 0,
           "The program, or None.");
  py::class_<ProgramState>(m, "ProgramState", "What a step changes beside its results.");
  py::class_<Program, std::shared_ptr<Program>>(m, "Program", "Captured launches, to be replayed.")
      .def("__call__", &call, py::arg("arguments"), "Replays; returns the results.")
      .def(
          "fits",
          [](const Program& p, const std::vector<Tensor>& arguments) {
            return p.refuses(arguments) == nullptr;
          },
          py::arg("arguments"), "Whether it can be replayed with these.")
      .def(
          "save",
          [](const Program& p, const std::vector<Tensor>& arguments) { return p.save(arguments); },
          py::arg("arguments"), "What a step changes beside its results, as it is.")
      .def(
          "restore",
          [](const Program& p, const ProgramState& state, const std::vector<Tensor>& arguments) {
            p.restore(state, arguments);
          },
          py::arg("state"), py::arg("arguments"), "Puts back what was saved.")
      .def(
          "first_difference",
          [](const Program& p, const std::vector<Tensor>& results, const ProgramState& state,
             const std::vector<Tensor>& other_results, const ProgramState& other) {
            return p.first_difference(results, state, other_results, other);
          },
          py::arg("results"), py::arg("state"), py::arg("other_results"), py::arg("other"),
          "Which bits of two ends of a step differ first; empty if none do.")
      .def("run", &run, py::arg("arrays"), py::arg("order"), py::arg("steps"), py::arg("every"),
           py::arg("progress"), py::arg("after"), py::arg("before"),
           "Replays for rows of arrays; `before` is how many steps were taken before.")
      .def_property_readonly(
          "results", [](const Program& p) { return p.results().size(); }, "Their number.")
      .def_property_readonly("lines", &Program::lines, "The launches.")
      .def(
          "times",
          [](Program& p, const std::vector<Tensor>& arguments, int rounds) {
            if (const char* reason = p.refuses(arguments)) {
              fail(ErrorKind::Capture, "explain: these arguments need another program: ", reason);
            }
            if (!p.read_settings()) fail(ErrorKind::Capture, "explain: the settings have changed");
            return p.times(arguments, rounds);
          },
          py::arg("arguments"), py::arg("rounds"),
          "Nanoseconds of each step; of a group at its first.")
      .def_property_readonly(
          "stretches",
          [](const Program& p) {
            py::list out;
            for (const Slot& s : p.recording().slots) {
              const bool placed = s.kind == Slot::Intermediate && s.first >= 0 && !s.in_tile;
              if (placed) out.append(py::make_tuple(s.first, s.last, s.offset, s.bytes));
            }
            return out;
          },
          "Of each intermediate in the arena: the first and last step, offset and bytes.")
      .def_property_readonly(
          "plan",
          [](const Program& p) {
            const auto sizes = [](const PlanSize& s) {
              return py::dict(py::arg("launches") = s.steps, py::arg("bytes") = s.moved,
                              py::arg("arena_bytes") = s.arena,
                              py::arg("intermediate_bytes") = s.sum,
                              py::arg("alive_bytes") = s.bound);
            };
            py::list groups;
            for (const Group& g : p.plan().groups) {
              groups.append(
                  py::make_tuple(g.kind == Group::Tiles ? "tiles" : "together", g.first, g.count));
            }
            py::object graphs = py::none();
            if (const DeviceRun* d = p.device_run())
              graphs = py::make_tuple(d->graphs(), d->nodes());
            return py::dict(
                py::arg("graphs") = graphs, py::arg("before") = sizes(p.plan().before),
                py::arg("after") = sizes(p.plan().after), py::arg("dropped") = p.plan().dropped,
                py::arg("folded") = p.plan().folded, py::arg("copies") = p.plan().copies,
                py::arg("joined") = p.plan().joined, py::arg("again") = p.plan().again.steps,
                py::arg("cost") = p.plan().again.cost, py::arg("groups") = groups);
          },
          "Before and after planning: steps, bytes moved, bytes of the arena and of "
          "intermediates.");
}

}  // namespace wengert::bindings
