// Making tensors, dtype promotion, copies and casts.
#include <cmath>
#include <limits>

#include "kernels/launch.h"
#include "ops/elementwise.h"
#include "ops/flat_launch.h"
#include "ops/op_table.h"
#include "tape/backward.h"

namespace wengert {
namespace {
std::atomic<DType> the_default_dtype{DType::Float32};

constexpr int category(DType d) {
  return is_floating(d) ? 2 : is_integral(d) ? 1 : 0;
}

// Of two dtypes the one that holds both.
constexpr DType join(DType a, DType b) {
  if (category(a) != category(b)) return category(a) > category(b) ? a : b;
  const DType low = std::min(a, b), high = std::max(a, b);
  if (low == DType::UInt8 && high == DType::Int8) return DType::Int16;
  if (low == DType::Float16 && high == DType::BFloat16) return DType::Float32;
  return high;
}
}  // namespace

DType promote_types(DType a, DType b) {
  return join(a, b);
}
bool can_cast(DType from, DType to) {
  return category(from) <= category(to);
}

DType default_dtype() {
  return the_default_dtype;
}
void set_default_dtype(DType d) {
  if (!is_floating(d)) {
    fail(ErrorKind::Type, "set_default_dtype: only floating-point types are supported, got ",
         name_of(d));
  }
  the_default_dtype = d;
}

DType result_type(const Tensor* const* inputs, int n) {
  // 0: tensors with dimensions, 1: 0-dim tensors, 2: Python numbers
  DType of_rank[3] = {};
  bool have[3] = {};
  for (int i = 0; i < n; ++i) {
    const Tensor& t = *inputs[i];
    const int rank = t->weak ? 2 : t.dim() == 0 ? 1 : 0;
    DType d = t.dtype();
    if (rank == 2 && is_floating(d)) d = default_dtype();
    of_rank[rank] = have[rank] ? join(of_rank[rank], d) : d;
    have[rank] = true;
  }
  DType result = DType::Bool;
  bool any = false;
  for (int rank = 0; rank < 3; ++rank) {
    if (!have[rank]) continue;
    if (!any || category(of_rank[rank]) > category(result)) result = of_rank[rank];
    any = true;
  }
  return result;
}

Tensor number_like(const Number& v, const Tensor* peer) {
  Tensor t;
  if (peer && is_floating(peer->dtype())) {
    // narrow tensors meet numbers of their compute dtype's precision, as in PyTorch
    t = Tensor::scalar(v.integral ? static_cast<double>(v.i) : v.d, compute_dtype(peer->dtype()));
  } else if (v.integral) {
    t = Tensor::scalar(v.i, v.boolean ? DType::Bool : DType::Int64);
  } else {
    t = Tensor::scalar(v.d, DType::Float64);
  }
  t->weak = true;
  return t;
}

namespace ops {
namespace {

void to_pull(Node& node, Tensor* g, Tensor* out) {
  const OutputMeta& from = node.edges()[0].node->outputs()[node.edges()[0].slot];
  out[0] = to(*g, from.dtype);
}
constexpr Rule kTo{"to", &to_pull};
constexpr Rule kClone{"clone", [](Node&, Tensor* g, Tensor* out) { out[0] = *g; }};

// self becomes source: the gradient goes to source, none to what self was.
constexpr Rule kCopyInto{"copy_", [](Node& node, Tensor* g, Tensor* out) {
                           if (!node.wants(1)) return;
                           const Edge& e = node.edges()[1];
                           out[1] = to(*g, e.node->outputs()[e.slot].dtype);
                         }};

Tensor steps(int64_t n, const Number& start, const Number& step, DType dtype) {
  Tensor out = Tensor::empty({n}, dtype);
  const Tensor* operands[] = {&out};
  Launch l;
  l.kernel = id(Kernel::Arange);
  l.dtype = dtype;
  if (dtype == DType::Int64) {
    l.integer[0] = start.integral ? start.i : static_cast<int64_t>(start.d);
    l.integer[1] = step.integral ? step.i : static_cast<int64_t>(step.d);
  } else {
    l.number[0] = start.d;
    l.number[1] = step.d;
  }
  describe(l, out.sizes(), operands, 1);
  launch(l);
  return out;
}

Tensor copy_as(const Tensor& x, DType dtype, const Rule& rule) {
  const Tensor out = Tensor::empty(x.sizes(), dtype, x.device());
  copy_into(out, x);
  if (recording(x) && is_floating(dtype)) {
    const Tensor* in[] = {&x};
    record(rule, in, 1, out, 0);
  }
  return out;
}

}  // namespace

Tensor full(const Dims& sizes, const Number& value, DType dtype, Device device) {
  const Tensor out = Tensor::empty(sizes, dtype, device);
  fill(out, value);
  return out;
}
Tensor zeros(const Dims& sizes, DType dtype, Device device) {
  return full(sizes, {true, 0, 0}, dtype, device);
}
Tensor zeros_like(const Tensor& x) {
  return zeros(x.sizes(), x.dtype(), x.device());
}
Tensor ones_like(const Tensor& x) {
  return full(x.sizes(), {true, 1, 1}, x.dtype(), x.device());
}

Tensor arange(int64_t n) {
  return steps(n, {true, 0, 0}, {true, 1, 1}, DType::Int64);
}

// A number written into integers must be one of them, but for its fraction and, of a negative one
// written into unsigned integers, its sign.
void check_fits(const Number& v, DType dtype) {
  if (!is_integral(dtype)) return;
  visit(dtype, [&]<class T>() {
    if constexpr (std::is_integral_v<T>) {
      constexpr auto most = std::numeric_limits<T>::max();
      constexpr auto least = std::numeric_limits<T>::min();
      const bool fits =
          v.integral ? v.i <= static_cast<int64_t>(most) &&
                           v.i >= (least == 0 ? -static_cast<int64_t>(most) : int64_t{least})
                     : v.d >= static_cast<double>(least) && v.d < static_cast<double>(most) + 1;
      if (!fits) fail("value cannot be converted to type ", name_of(dtype), " without overflow");
    }
  });
}

void fill(const Tensor& x, const Number& v) {
  check_fits(v, x.dtype());
  const Tensor* operands[] = {&x};
  Launch l;
  l.kernel = id(Kernel::Fill);
  l.dtype = x.dtype();
  if (is_integral(x.dtype())) {
    l.integer[0] = v.integral ? v.i : static_cast<int64_t>(v.d);
  } else {
    l.number[0] = v.integral ? static_cast<double>(v.i) : v.d;
  }
  describe(l, x.sizes(), operands, 1);
  launch(l);
}

namespace {
// Dense elements, from one device to the other.
void transfer(const Tensor& to, const Tensor& from, bool non_blocking) {
  Launch l = flat_launch(Kernel::Transfer, to.dtype(), Device::CUDA, to.numel(), 2);
  l.integer[0] = non_blocking;
  set_buffer(l, 0, to);
  set_buffer(l, 1, from);
  for (int k = 0; k < 2; ++k) l.buffer[k].stride[0] = 1;
  launch(l);
  if (to.device() == Device::CPU) to.host_wrote();
}
// Another device's elements, broadcast and cast on the way.
void copy_across(const Tensor& to, const Tensor& from, bool non_blocking) {
  const bool plain = to.contiguous() && to.dtype() == from.dtype() && to.sizes() == from.sizes();
  if (plain) return transfer(to, contiguous(from), non_blocking);
  copy_into(to, to_device(from, to.device(), non_blocking));
}

constexpr Rule kToDevice{"to_device", [](Node& node, Tensor* g, Tensor* out) {
                           const Edge& e = node.edges()[0];
                           out[0] = to_device(*g, e.node->outputs()[e.slot].device);
                         }};
}  // namespace

Tensor to_device(const Tensor& x, Device device, bool non_blocking, bool copy) {
  if (x.device() == device) return copy ? clone(x) : x;
  const Tensor out = Tensor::empty(x.sizes(), x.dtype(), device);
  transfer(out, contiguous(x), non_blocking);
  if (recording(x) && is_floating(x.dtype())) {
    const Tensor* in[] = {&x};
    record(kToDevice, in, 1, out, 0);
  }
  return out;
}

void copy_into(const Tensor& to, const Tensor& from, bool non_blocking) {
  if (to.device() != from.device()) [[unlikely]] {
    const bool number = from.numel() == 1 && from.device() == Device::CPU;  // the launch takes it
    if (!number) return copy_across(to, from, non_blocking);
  }
  const Tensor* operands[] = {&to, &from};
  Launch l;
  l.kernel = id(Kernel::Copy);
  l.dtype = to.dtype();
  describe(l, to.sizes(), operands, 2);
  launch(l);
}

Tensor to(const Tensor& x, DType dtype, bool copy) {
  if (x.dtype() == dtype && !copy) return x;
  return copy_as(x, dtype, kTo);
}
Tensor clone(const Tensor& x) {
  return copy_as(x, x.dtype(), kClone);
}
Tensor contiguous(const Tensor& x) {
  return x.contiguous() ? x : copy_as(x, x.dtype(), kClone);
}

Tensor& copy_(Tensor& self, const Tensor& source, const char* known_as, bool non_blocking) {
  const Dims sizes = broadcast_shapes("copy_", self.sizes(), source.sizes());
  if (!(sizes == self.sizes())) {
    fail("copy_: source of shape ", source.sizes(), " does not broadcast to the destination's ",
         self.sizes());
  }
  const bool records =
      check_inplace(known_as, self, recording(source) && is_floating(self.dtype()));
  const bool shares = self->storage.get() == source->storage.get();
  copy_into(self, shares ? clone(source) : source, non_blocking);
  note_change(known_as, self);
  if (records) {
    const Tensor* in[] = {&self, &source};
    record(kCopyInto, in, 2, self, 0);
  }
  return self;
}

Tensor overwrite(const char* op, const Tensor& self, const Tensor& result, const char* known_as) {
  if (!(result.sizes() == self.sizes())) {
    fail(op, ": output with shape ", self.sizes(), " doesn't match the broadcast shape ",
         result.sizes());
  }
  check_castable(op, result.dtype(), self.dtype());
  Tensor to = self;
  return copy_(to, result, known_as ? known_as : op);
}

}  // namespace ops

void check_castable(const char* op, DType from, DType to) {
  if (!can_cast(from, to)) {
    fail(op, ": result type ", name_of(from), " can't be cast to the desired output type ",
         name_of(to));
  }
}

Tensor move_gradient(const Tensor& g, Device device) {
  return ops::to_device(g, device);
}
Tensor copy_gradient(const Tensor& g) {
  const GradMode off(false);
  return ops::clone(g);
}

// --- rows --------------------------------------------------------------------------------------

namespace {
using namespace ops;

Tensor finish(Tensor t, bool requires_grad) {
  if (requires_grad) set_requires_grad(t, true);
  return t;
}
DType or_default(OptDType d) {
  return d.value_or(default_dtype());
}

Tensor empty_row(const Dims& size, OptDType dtype, Device device, bool requires_grad) {
  return finish(Tensor::empty(size, or_default(dtype), device), requires_grad);
}
Tensor zeros_row(const Dims& size, OptDType dtype, Device device, bool requires_grad) {
  return finish(zeros(size, or_default(dtype), device), requires_grad);
}
Tensor ones_row(const Dims& size, OptDType dtype, Device device, bool requires_grad) {
  return finish(full(size, {true, 1, 1}, or_default(dtype), device), requires_grad);
}
Tensor full_row(const Dims& size, const Number& value, OptDType dtype, Device device,
                bool requires_grad) {
  const DType inferred = value.boolean    ? DType::Bool
                         : value.integral ? DType::Int64
                                          : default_dtype();
  return finish(full(size, value, dtype.value_or(inferred), device), requires_grad);
}
Tensor full_like_row(const Tensor& x, const Number& value, OptDType dtype, Device device,
                     bool requires_grad) {
  return finish(full(x.sizes(), value, dtype.value_or(x.dtype()), device), requires_grad);
}
Tensor zeros_like_row(const Tensor& x, OptDType dtype, Device device, bool requires_grad) {
  return full_like_row(x, {true, 0, 0}, dtype, device, requires_grad);
}
Tensor ones_like_row(const Tensor& x, OptDType dtype, Device device, bool requires_grad) {
  return full_like_row(x, {true, 1, 1}, dtype, device, requires_grad);
}
Tensor empty_like_row(const Tensor& x, OptDType dtype, Device device, bool requires_grad) {
  return finish(Tensor::empty(x.sizes(), dtype.value_or(x.dtype()), device), requires_grad);
}

Tensor new_full(const Tensor& x, const Dims& size, const Number& value, OptDType dtype,
                Device device, bool requires_grad) {
  return finish(full(size, value, dtype.value_or(x.dtype()), device), requires_grad);
}
Tensor new_zeros(const Tensor& x, const Dims& size, OptDType dtype, Device device,
                 bool requires_grad) {
  return new_full(x, size, {true, 0, 0}, dtype, device, requires_grad);
}
Tensor new_ones(const Tensor& x, const Dims& size, OptDType dtype, Device device,
                bool requires_grad) {
  return new_full(x, size, {true, 1, 1}, dtype, device, requires_grad);
}
Tensor new_empty(const Tensor& x, const Dims& size, OptDType dtype, Device device,
                 bool requires_grad) {
  return finish(Tensor::empty(size, dtype.value_or(x.dtype()), device), requires_grad);
}

// start, start + step, ... below end; the length is computed in double, as PyTorch does
__extension__ using Wide = __int128;

int64_t count_of_steps(const Number& start, const Number& end, const Number& step, bool integers) {
  if (integers) {
    const Wide s = step.i, n = (Wide{end.i} - start.i + s - (s > 0 ? 1 : -1)) / s;
    if (n > INT64_MAX) fail("arange: ", start.i, " -> ", end.i, " has too many elements");
    return static_cast<int64_t>(n);
  }
  const double n = std::ceil((end.d - start.d) / step.d);
  if (!(n < 0x1p63)) fail("arange: ", start.d, " -> ", end.d, " has too many elements");
  return static_cast<int64_t>(n);
}

Tensor arange_row(const Number& start, const Number& end, const Number& step, OptDType dtype,
                  Device, bool requires_grad) {
  const bool integers = start.integral && end.integral && step.integral;
  const DType d = dtype.value_or(integers ? DType::Int64 : default_dtype());
  const double span = end.d - start.d;
  if (step.d == 0) fail("arange: step must be nonzero");
  if (!std::isfinite(span) || !std::isfinite(step.d)) {
    fail("arange: unsupported range: ", start.d, " -> ", end.d);
  }
  if (span / step.d < 0) {
    fail("arange: upper bound and lower bound inconsistent with step sign: ", start.d, " -> ",
         end.d, " by ", step.d);
  }
  const int64_t n = count_of_steps(start, end, step, integers);
  const DType computed = !is_floating(d) ? DType::Int64 : compute_dtype(d);
  return finish(to(steps(n, start, step, computed), d), requires_grad);
}

Tensor copy_row(const Tensor& self, AnyDevice source, bool non_blocking) {
  Tensor t = self;
  return copy_(t, source.tensor, "copy_", non_blocking);
}
Tensor to_device_row(const Tensor& x, Device device, bool non_blocking, bool copy) {
  return to_device(x, device, non_blocking, copy);
}
Tensor to_row(const Tensor& x, DType dtype, bool copy) {
  return to(x, dtype, copy);
}

// Filling forgets what was there: a constant has no gradient.
Tensor filled(const char* op, const Tensor& self, const Number& value) {
  Tensor t = self;
  for (int d = 0; d < t.dim(); ++d) {  // elements that share memory all get the same
    if (t.stride(d) == 0 && t.size(d) > 1) t = narrow(t, d, 0, 1);
  }
  copy_(t, full({}, value, self.dtype(), self.device()), op);
  return self;
}
Tensor fill_row(const Tensor& self, const Number& value) {
  return filled("fill_", self, value);
}
Tensor zero_row(const Tensor& self) {
  return filled("zero_", self, {true, 0, 0});
}

}  // namespace

void add_creation(OpTable& t) {
  constexpr auto rest = ", *, dtype? dtype=None, device? device=None, bool requires_grad=False)";
  t.push_back(row<&empty_row>(text("empty(int* size", rest), kFunction,
                              "A tensor of the given size whose elements are not set."));
  t.push_back(row<&zeros_row>(text("zeros(int* size", rest), kFunction,
                              "A tensor of the given size filled with 0."));
  t.push_back(row<&ones_row>(text("ones(int* size", rest), kFunction,
                             "A tensor of the given size filled with 1."));
  t.push_back(row<&full_row>(text("full(int[] size, Number fill_value", rest), kFunction,
                             "A tensor of the given size filled with fill_value."));
  t.push_back(row<&empty_like_row>(text("empty_like(Tensor input", rest), kFunction,
                                   "A tensor like input whose elements are not set."));
  t.push_back(row<&zeros_like_row>(text("zeros_like(Tensor input", rest), kFunction,
                                   "A tensor like input filled with 0."));
  t.push_back(row<&ones_like_row>(text("ones_like(Tensor input", rest), kFunction,
                                  "A tensor like input filled with 1."));
  t.push_back(row<&full_like_row>(text("full_like(Tensor input, Number fill_value", rest),
                                  kFunction, "A tensor like input filled with fill_value."));
  t.push_back(row<&new_empty>(text("new_empty(Tensor self, int* size", rest), kMethod,
                              "A tensor of this one's dtype whose elements are not set."));
  t.push_back(row<&new_zeros>(text("new_zeros(Tensor self, int* size", rest), kMethod,
                              "A tensor of this one's dtype filled with 0."));
  t.push_back(row<&new_ones>(text("new_ones(Tensor self, int* size", rest), kMethod,
                             "A tensor of this one's dtype filled with 1."));
  t.push_back(row<&new_full>(text("new_full(Tensor self, int[] size, Number fill_value", rest),
                             kMethod, "A tensor of this one's dtype filled with fill_value."));
  t.push_back(row<&arange_row>(text("_arange(Number start, Number end, Number step", rest),
                               kInternal, "start, start + step, ... below end."));
  t.push_back(row<&copy_row>("copy_(Tensor self, Value source, bool non_blocking=False)", kMethod,
                             "Overwrites the elements with those of source, broadcast and cast."));
  t.push_back(
      row<&fill_row>("fill_(Tensor self, Number value)", kMethod, "Sets every element to value."));
  t.push_back(row<&zero_row>("zero_(Tensor self)", kMethod, "Sets every element to 0."));
  t.push_back(row<&to_device_row>(
      "_to_device(Tensor input, device device, bool non_blocking=False, bool copy=False)",
      kMethod | kInternal, "The tensor in another device's memory."));
  t.push_back(row<&to_row>("_to_dtype(Tensor input, dtype dtype, bool copy=False)",
                           kMethod | kInternal, "The tensor in another dtype."));
}

}  // namespace wengert
