// What all elementwise operations share: promotion, broadcasting, launch, recording, pulling back.
// Their rows stand in arithmetic.cpp, math.cpp, activation.cpp and loss.cpp.
#include "ops/elementwise.h"

#include <algorithm>
#include <cstring>

#include "ops/anomaly.h"
#include "ops/op_table.h"
#include "tape/anomaly.h"
#include "tape/backward.h"

namespace wengert {

using ops::to;

// --- the iteration space -----------------------------------------------------------------------

void set_buffer(Launch& l, int k, const Tensor& t) {
  l.buffer[k].data = t.data();
  l.buffer[k].storage = t->storage.get();
  l.buffer[k].dtype = t.dtype();
}

void describe(Launch& l, const Dims& sizes, const Tensor* const* operands, int n) {
  l.nbuffers = static_cast<uint8_t>(n);
  bool dense = true;
  for (int k = 0; k < n; ++k) {
    const Tensor& t = *operands[k];
    set_buffer(l, k, t);
    dense = dense && t.contiguous() && t.sizes() == sizes;
  }
  l.device = operands[0]->device();
  l.count = product(sizes);
  l.dense = dense;
  if (dense) {
    l.ndim = 1;
    l.size[0] = l.count;
    for (int k = 0; k < n; ++k) l.buffer[k].stride[0] = 1;
    return;
  }
  Dims strides[kMaxBuffers];
  for (int k = 0; k < n; ++k) {
    strides[k] = broadcast_strides(operands[k]->sizes(), operands[k]->strides(), sizes);
  }
  // Join dimensions that every operand steps through as one; drop those of size 1.
  int dims = 0;
  for (int d = 0; d < sizes.size(); ++d) {
    if (sizes[d] == 1) continue;
    bool joins = dims > 0;
    for (int k = 0; k < n && joins; ++k) {
      joins = l.buffer[k].stride[dims - 1] == strides[k][d] * sizes[d];
    }
    if (!joins) l.size[dims++] = 1;
    l.size[dims - 1] *= sizes[d];
    for (int k = 0; k < n; ++k) l.buffer[k].stride[dims - 1] = strides[k][d];
  }
  if (dims == 0) {
    l.size[0] = 1;
    for (int k = 0; k < n; ++k) l.buffer[k].stride[0] = 1;
    dims = 1;
  }
  l.ndim = static_cast<uint8_t>(dims);
  if (dims == 1) {
    l.dense = true;
    for (int k = 0; k < n; ++k) l.dense &= l.buffer[k].stride[0] == 1;
  }
}

namespace {

bool overlaps(const Tensor& a, const Tensor& b) {
  if (a->storage.get() != b->storage.get() || a.numel() == 0 || b.numel() == 0) return false;
  if (a.data() == b.data() && a.sizes() == b.sizes() && a.strides() == b.strides()) return false;
  return a.data() < b.data() + b.extent() && b.data() < a.data() + a.extent();
}

// The common dtype of the operands, as this kind of operation computes in it.
DType compute_dtype(const MapInfo& info, const Tensor* const* in) {
  const int first = info.mask_operand == 0 ? 1 : 0;
  DType d = in[first]->dtype();
  bool same = true;
  for (int i = first + 1; i < info.arity; ++i) same = same && in[i]->dtype() == d;
  if (!same) d = result_type(in + first, info.arity - first);
  if (info.kind == Kind::Floating && !is_floating(d)) d = default_dtype();
  if (info.kind == Kind::Numeric && d == DType::Bool) {
    fail(info.name,
         ": not defined for bool tensors; expected numbers (convert with .to(...), or "
         "use logical operations)");
  }
  if (info.kind == Kind::Integral && is_floating(d)) {
    fail(ErrorKind::NotImplemented, info.name, ": not implemented for ", name_of(d),
         "; expected integers or bools");
  }
  return d;
}

// Numbers keep the precision that narrow dtypes are computed in.
Tensor as_dtype(const Tensor& t, DType d) {
  if (!t->weak) return to(t, d);
  d = compute_dtype(d);
  if (t.dtype() == d) return t;
  Tensor n =
      is_floating(t.dtype()) ? Tensor::scalar(t.to_double(), d) : Tensor::scalar(t.to_int64(), d);
  n->weak = true;
  return n;
}

// Where it is computed. A 0-dim tensor in the processor's memory is a number to the other device.
Device common_device(const MapInfo& info, const Tensor* const* in, const Tensor* inplace) {
  const Device first = in[0]->device();
  bool differs = inplace && inplace->device() != first;
  for (int i = 1; i < info.arity; ++i) differs |= in[i]->device() != first;
  if (!differs) [[likely]]
    return first;
  bool right = !inplace || inplace->device() == Device::CUDA;
  for (int i = 0; i < info.arity; ++i) {
    right &= in[i]->device() == Device::CUDA || in[i]->dim() == 0;
  }
  if (!right) devices_differ(first, first == Device::CPU ? Device::CUDA : Device::CPU);
  return Device::CUDA;
}

void check_inplace_result(const MapInfo& info, const Tensor& self, const Dims& sizes,
                          DType out_dtype) {
  if (!(sizes == self.sizes())) {
    fail(info.name, "_: output with shape ", self.sizes(), " doesn't match the broadcast shape ",
         sizes);
  }
  if (self.dtype() != out_dtype) {
    check_castable(text(info.name, "_").c_str(), out_dtype, self.dtype());
  }
}

// What the derivatives will read. An operand that is about to be overwritten is kept without its
// node (which would then own itself): its version tells the rule that the value is gone.
void save_operands(Node* n, const MapInfo& info, const Tensor* const* in, const Tensor& out,
                   bool inplace) {
  unsigned uses = 0;
  for (int i = 0; i < info.arity; ++i) {
    if (n->edges()[i].node) uses |= info.uses[i];
  }
  for (int i = 0; i < info.arity; ++i) {
    if (!(uses >> i & 1)) continue;
    const Tensor& x = *in[i];
    const bool overwritten = inplace && x.impl() == out.impl();
    n->save(i, overwritten ? x.view(x.sizes(), x.strides()) : x);
  }
  if (inplace) note_change(info.name, out);
  if (uses & kY) n->save_output(info.arity, out);
}

}  // namespace

// --- the operation -----------------------------------------------------------------------------

Tensor map(const MapInfo& info, const Tensor* const* inputs, const double* params,
           const Tensor* inplace) {
  const DType dtype = compute_dtype(info, inputs);
  const DType out_dtype = info.kind == Kind::Compare ? DType::Bool : dtype;
  const Device device = common_device(info, inputs, inplace);
  Tensor converted[3];
  const Tensor* operands[4];
  const Tensor** in = operands + 1;
  bool same_shape = true;
  for (int i = 0; i < info.arity; ++i) {
    const Tensor& x = *inputs[i];
    in[i] = &x;
    if (i == info.mask_operand) {
      if (x.dtype() != DType::Bool) {
        fail(info.name, ": expected condition to be a bool tensor, got ", name_of(x.dtype()));
      }
    } else if (x.dtype() != dtype) {
      converted[i] = as_dtype(x, dtype);
      in[i] = &converted[i];
    }
    same_shape = same_shape && x.sizes() == inputs[0]->sizes();
  }
  const bool differentiable = info.linear || (info.uses[0] | info.uses[1] | info.uses[2]);
  bool records = false;
  for (int i = 0; differentiable && i < info.arity; ++i) records = records || recording(*in[i]);
  Dims broadcast;
  if (!same_shape) {
    broadcast = in[0]->sizes();
    for (int i = 1; i < info.arity; ++i) {
      broadcast = broadcast_shapes(info.name, broadcast, in[i]->sizes());
    }
  }
  const Dims& sizes = same_shape ? in[0]->sizes() : broadcast;
  Tensor out;
  if (inplace) {
    records = check_inplace(info.name, *inplace, records);
    check_inplace_result(info, *inplace, sizes, out_dtype);
    unsigned read_later = 0;  // operands that the derivatives need as they are now
    for (int i = 0; records && i < info.arity; ++i) {
      if (recording(*in[i])) read_later |= info.uses[i];
    }
    for (int i = 0; i < info.arity; ++i) {
      const bool kept = (read_later >> i & 1) && in[i]->impl() == inplace->impl();
      if (!kept && !overlaps(*inplace, *in[i])) continue;
      converted[i] = ops::clone(*in[i]);
      in[i] = &converted[i];
    }
    out = inplace->dtype() == out_dtype ? *inplace : Tensor::empty(sizes, out_dtype, device);
  } else {
    out = Tensor::empty(sizes, out_dtype, device);
  }
  operands[0] = &out;
  Launch l;
  l.kernel = info.kernel;
  l.dtype = dtype;
  if (info.num_params) std::memcpy(l.number, params, sizeof l.number);
  describe(l, sizes, operands, info.arity + 1);
  launch(l);
  if (inplace && out.impl() != inplace->impl()) {
    ops::copy_into(*inplace, out);
    out = *inplace;
  }
  if (records) {
    Node* n = record(info, in, info.arity, out, info.linear ? 0 : info.arity + 1,
                     info.num_params ? static_cast<int>(sizeof l.number) : 0);
    if (info.num_params) std::memcpy(&n->payload<double[4]>(), params, sizeof l.number);
    save_operands(n, info, in, out, inplace);
  } else if (inplace) {
    note_change(info.name, out);
  }
  if (checks_forward()) [[unlikely]]
    check_map(info, in, params, out);
  return out;
}

namespace {

// The derivative of a slope that is constant piece by piece: 0, which is not the same as none.
constexpr Rule kFlat{"constant_slope", [](Node& node, Tensor* g, Tensor* out) {
                       for (int i = 0; i < node.num_inputs; ++i) {
                         if (!node.wants(i)) continue;
                         out[i] = ops::zeros(node.input_sizes(i), g->dtype(), g->device());
                       }
                     }};

// The gradient that a recorded pull has made of g and those operands that it uses, as something
// computed from these, even if its value does not change with them.
Tensor dependent(Tensor made, const Tensor& g, const Tensor* x, int n, unsigned uses) {
  const Tensor* in[4];
  int tied = 0;
  for (int i = 0; i < n; ++i) {
    const bool used = uses & (i == n - 1 ? unsigned{kY} : 1u << i);
    if (used && requires_grad(x[i])) in[tied++] = &x[i];
  }
  if (tied == 0 || requires_grad(made)) return made;
  if (made.impl() == g.impl() || made->base) made = ops::clone(made);
  record(kFlat, in, tied, made, 0);
  return made;
}

}  // namespace

void map_pull(Node& node, Tensor* g, Tensor* out) {
  const auto& info = static_cast<const MapInfo&>(*node.rule);
  int last = -1;
  for (int i = 0; i < info.arity; ++i) {
    if (node.wants(i)) last = i;
  }
  if (last < 0 || !g->defined()) return;
  if (info.linear) {
    for (int i = 0; i <= last; ++i) {
      if (!node.wants(i)) continue;
      const double slope = info.slope[i];
      out[i] = slope == 1    ? *g
               : slope == -1 ? apply<Neg>(*g)
               : slope == 0  ? ops::zeros_like(*g)
                             : ops::mul(*g, number_like({false, 0, slope}, g));
    }
    return;
  }
  const double* params = info.num_params ? node.payload<double[4]>() : nullptr;
  unsigned uses = 0;
  for (int i = 0; i <= last; ++i) {
    if (node.wants(i)) uses |= info.uses[i];
  }
  Tensor x[4];
  for (int i = 0; i <= info.arity; ++i) {
    if (uses & (i == info.arity ? unsigned{kY} : 1u << i)) x[i] = node.unpack(i);
  }
  const Tensor& y = x[info.arity];
  for (int i = 0; i <= last; ++i) {
    if (!node.wants(i)) continue;
    if (grad_enabled()) {
      // A slope selected among constants alone, as leaky_relu's, has no dtype to yield to.
      out[i] = ops::to(info.pull_var[i](*g, x, y, params), g->dtype());
      out[i] = dependent(std::move(out[i]), *g, x, info.arity + 1, info.uses[i]);
      continue;
    }
    const Tensor* operands[kMaxBuffers];
    int n = 0;
    const bool reuse = i == last && g->unique() && (*g)->storage->unique() && g->contiguous();
    out[i] = reuse ? *g : Tensor::empty(g->sizes(), g->dtype(), g->device());
    operands[n++] = &out[i];
    operands[n++] = g;
    for (int k = 0; k < info.arity; ++k) {
      if (info.uses[i] >> k & 1) operands[n++] = &x[k];
    }
    if (info.uses[i] & kY) operands[n++] = &y;
    Launch l;
    l.kernel = static_cast<KernelId>(info.kernel + 1 + i);
    l.dtype = g->dtype();
    if (params) std::memcpy(l.number, params, sizeof l.number);
    describe(l, g->sizes(), operands, n);
    launch(l);
  }
}

Tensor part_of(const Tensor& batch, int64_t i) {
  return ops::select(batch, 0, i);
}
Tensor batch_of(const std::vector<Tensor>& parts) {
  return ops::stack(parts, 0);
}

Tensor add_gradients(Tensor have, const Tensor& g, bool in_place) {
  const bool ours = have.unique() && have->storage->unique() && have.contiguous();
  if (in_place || (ours && !grad_enabled())) {
    const GradMode off(false);
    return apply_<Add>(have, g);
  }
  return apply<Add>(have, g);
}

}  // namespace wengert
