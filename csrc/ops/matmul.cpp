// Matrix products: every form comes down to one gemm launch over a batch.
#include "kernels/launch.h"
#include "ops/autocast.h"
#include "ops/elementwise.h"
#include "ops/op_table.h"
#include "ops/products.h"
#include "tape/backward.h"

namespace wengert {
namespace ops {

void check_operands(const char* op, const Tensor& a, const Tensor& b) {
  if (a.dtype() != b.dtype()) {
    fail(op, ": expected both operands to have the same dtype, but got ", name_of(a.dtype()),
         " and ", name_of(b.dtype()));
  }
  if (a.device() != b.device()) {
    fail(op, ": expected all tensors to be on the same device, but found ", name_of(a.device()),
         " and ", name_of(b.device()));
  }
}

DType gemm_dtype(DType d) {
  return is_floating(d) ? d : DType::Int64;
}

namespace {

// What a product does on the way out.
struct Epilogue {
  Tensor bias = {};                     // n values, added to every row
  const MapInfo* activation = nullptr;  // applied last
  Tensor into = {};                     // a dense tensor: C += A B
};

// C[..., m, n] = activation(A[..., m, k] B[..., k, n] + bias), the batch dimensions broadcast.
Tensor gemm(const Tensor& a, const Tensor& b, const Dims& batch, const Epilogue& e = {}) {
  const int ad = a.dim(), bd = b.dim();
  GemmParams p{};
  p.m = a.size(ad - 2);
  p.k = a.size(ad - 1);
  p.n = b.size(bd - 1);
  p.a_rs = a.stride(ad - 2);
  p.a_cs = a.stride(ad - 1);
  p.b_rs = b.stride(bd - 2);
  p.b_cs = b.stride(bd - 1);
  p.c_rs = p.n;
  p.accumulate = e.into.defined();
  p.has_bias = e.bias.defined();
  p.has_activation = e.activation != nullptr;
  if (e.activation) p.activation = e.activation->kernel;
  Dims sizes = batch;
  sizes.push_back(p.m);
  sizes.push_back(p.n);
  const Tensor out = p.accumulate ? e.into : Tensor::empty(sizes, a.dtype(), a.device());
  Launch l;
  l.kernel = id(Kernel::Gemm);
  l.dtype = a.dtype();
  l.device = a.device();
  l.dense = false;
  l.count = product(batch);
  l.ndim = 0;
  l.pointer = &p;
  const Tensor* operands[] = {&out, &a, &b, &e.bias};
  l.nbuffers = p.has_bias ? 4 : 3;
  Dims strides[3];
  for (int k = 0; k < l.nbuffers; ++k) {
    const Tensor& t = *operands[k];
    set_buffer(l, k, t);
    if (k == 3) continue;
    const Dims outer(t.sizes().begin(), t.dim() - 2), steps(t.strides().begin(), t.dim() - 2);
    strides[k] = broadcast_strides(outer, steps, batch);
  }
  // Batch dimensions that all operands walk through as one are joined.
  for (int d = 0; d < batch.size(); ++d) {
    if (batch[d] == 1) continue;
    bool joins = l.ndim > 0;
    for (int k = 0; k < 3 && joins; ++k) {
      joins = l.buffer[k].stride[l.ndim - 1] == strides[k][d] * batch[d];
    }
    if (!joins) l.size[l.ndim++] = 1;
    l.size[l.ndim - 1] *= batch[d];
    for (int k = 0; k < 3; ++k) l.buffer[k].stride[l.ndim - 1] = strides[k][d];
    l.buffer[3].stride[l.ndim - 1] = 0;  // one bias for all
  }
  launch(l);
  return out;
}

Tensor transposed(const Tensor& x) {
  return transpose(x, -1, -2);
}

// C = A B: dA = dC B^T, dB = A^T dC
constexpr Rule kMatmul{"matmul",
                       [](Node& node, Tensor* g, Tensor* out) {
                         if (node.wants(0)) out[0] = matmul(*g, transposed(node.unpack(1)));
                         if (node.wants(1)) out[1] = matmul(transposed(node.unpack(0)), *g);
                       },
                       true};

// Both operands have at least two dimensions.
Tensor matmul_batched(const Tensor& a, const Tensor& b) {
  const int ad = a.dim(), bd = b.dim();
  if (a.size(ad - 1) != b.size(bd - 2)) {
    fail("matmul: inner sizes differ, ", a.sizes(), " x ", b.sizes(),
         "; expected a.shape[-1] == b.shape[-2]");
  }
  const Dims outer_a(a.sizes().begin(), ad - 2), outer_b(b.sizes().begin(), bd - 2);
  const Tensor out = gemm(a, b, broadcast_shapes("matmul", outer_a, outer_b));
  if (recording(a, b)) {
    const Tensor* in[] = {&a, &b};
    Node* n = record(kMatmul, in, 2, out, 2);
    if (n->edges()[0].node) n->save(1, b);
    if (n->edges()[1].node) n->save(0, a);
  }
  return out;
}

// c = sum a b: da = dc b, db = dc a
constexpr Rule kDot{"dot",
                    [](Node& node, Tensor* g, Tensor* out) {
                      const Tensor each = unsqueeze(*g, -1);
                      for (int k = 0; k < 2; ++k) {
                        if (node.wants(k)) out[k] = mul(each, node.unpack(1 - k));
                      }
                    },
                    true};

// Two vectors of the same length.
Tensor inner(const Tensor& a, const Tensor& b) {
  if (is_narrow(a.dtype())) {
    const DType wide = compute_dtype(a.dtype());
    return to(inner(to(a, wide), to(b, wide)), a.dtype());
  }
  const Tensor out = Tensor::empty({}, a.dtype(), a.device());
  const Tensor* operands[] = {&out, &a, &b};
  Launch l;
  l.kernel = id(Kernel::Dot);
  l.dtype = a.dtype();
  l.device = a.device();
  l.dense = false;
  l.ndim = 1;
  l.count = l.size[0] = a.size(0);
  l.nbuffers = 3;
  for (int k = 0; k < 3; ++k) {
    set_buffer(l, k, *operands[k]);
    l.buffer[k].stride[0] = k == 0 ? 0 : operands[k]->stride(0);
  }
  launch(l);
  if (recording(a, b)) {
    const Tensor* in[] = {&a, &b};
    Node* n = record(kDot, in, 2, out, 2);
    if (n->edges()[0].node) n->save(1, b);
    if (n->edges()[1].node) n->save(0, a);
  }
  return out;
}

// Whether the leading dimensions of x can be joined into one without copying.
bool joins_rows(const Tensor& x) {
  int64_t next = 0;
  for (int d = x.dim() - 2; d >= 0; --d) {
    if (x.size(d) == 1) continue;
    if (next != 0 && x.stride(d) != next) return false;
    next = x.stride(d) * x.size(d);
  }
  return true;
}

// C = S + A B: dS = dC, which the walk sums to the shape of S
void matmul_add_pull(Node& node, Tensor* g, Tensor* out) {
  if (node.wants(0)) out[0] = *g;
  if (node.wants(1)) out[1] = matmul(*g, transposed(node.unpack(1)));
  if (node.wants(2)) out[2] = matmul(transposed(node.unpack(0)), *g);
}
constexpr Rule kAddMm{"addmm", &matmul_add_pull, true};
constexpr Rule kBAddBmm{"baddbmm", &matmul_add_pull, true};

// y = f(x W^T + b): dz = dy f', dx = dz W, dW = dz^T x, db = sum of dz
void linear_pull(Node& node, Tensor* g, Tensor* out) {
  const auto* activation = node.payload<const MapInfo*>();
  Tensor dz = *g;
  if (activation) {
    const Tensor y = node.unpack(2);
    if (grad_enabled()) {
      const Tensor none[1];
      dz = activation->pull_var[0](*g, none, y, nullptr);
    } else {
      dz = Tensor::empty(g->sizes(), g->dtype(), g->device());
      const Tensor* operands[] = {&dz, g, &y};
      Launch l;
      l.kernel = static_cast<KernelId>(activation->kernel + 1);
      l.dtype = g->dtype();
      describe(l, g->sizes(), operands, 3);
      launch(l);
    }
  }
  if (node.wants(0)) out[0] = matmul(dz, node.unpack(1));
  if (node.wants(1)) out[1] = matmul(transposed(dz), node.unpack(0));
  if (node.num_inputs > 2 && node.wants(2)) {
    const Dims rows{-2};
    out[2] = sum(dz, &rows, false);
  }
}
constexpr Rule kLinear{"linear", &linear_pull, true};

Tensor linear_matrix(const Tensor& x, const Tensor& weight, const Tensor& bias,
                     const MapInfo* activation) {
  const Tensor by =
      weight.view({weight.size(1), weight.size(0)}, {weight.stride(1), weight.stride(0)});
  if (!is_floating(x.dtype())) {  // integer products have no epilogue
    const Tensor product = gemm(x, by, {});
    const Tensor sum = bias.defined() ? add(product, bias) : product;
    const Tensor* in[] = {&sum};
    return activation ? map(*activation, in) : sum;
  }
  const Tensor out =
      gemm(x, by, {}, {.bias = bias.defined() ? contiguous(bias) : bias, .activation = activation});
  if (recording(x, weight, bias)) {
    const Tensor* in[] = {&x, &weight, &bias};
    Node* n = record(kLinear, in, bias.defined() ? 3 : 2, out, 3, activation);
    if (n->edges()[0].node) n->save(1, weight);
    if (n->edges()[1].node) n->save(0, x);
    if (activation) n->save_output(2, out);
  }
  return out;
}

Tensor linear_with(const Tensor& x, const Tensor& weight, const Tensor& bias,
                   const MapInfo* activation) {
  check_operands("linear", x, weight);
  if (const DType d = gemm_dtype(x.dtype()); d != x.dtype() && x.dtype() != DType::Bool) {
    const Tensor wide = bias.defined() ? to(bias, d) : bias;
    if (bias.defined()) check_operands("linear", x, bias);
    return to(linear_with(to(x, d), to(weight, d), wide, activation), x.dtype());
  }
  if (weight.dim() != 2 || x.dim() < 1 || x.size(x.dim() - 1) != weight.size(1)) {
    fail("linear: input of shape ", x.sizes(), " and weight of shape ", weight.sizes(),
         " cannot be multiplied; expected (..., in_features) and (out_features, in_features)");
  }
  if (bias.defined()) {
    check_operands("linear", x, bias);
    if (bias.dim() != 1 || bias.size(0) != weight.size(0)) {
      fail("linear: bias of shape ", bias.sizes(), " for weight of shape ", weight.sizes(),
           "; expected (out_features,)");
    }
  }
  if (x.dim() == 2) return linear_matrix(x, weight, bias, activation);
  Dims sizes = x.sizes();
  const int64_t in = weight.size(1);
  int64_t rows = 1;
  for (int d = 0; d + 1 < x.dim(); ++d) rows *= x.size(d);
  const Tensor y = linear_matrix(reshape(x, {rows, in}), weight, bias, activation);
  sizes[x.dim() - 1] = weight.size(0);
  return reshape(y, sizes);
}

Tensor linear_activation(const Tensor& x, const Tensor& weight, const Tensor& bias,
                         std::string_view name) {
  for (const MapInfo* m : {&map_info<Relu>, &map_info<Tanh>, &map_info<Sigmoid>}) {
    if (name == m->name) return linear_with(x, weight, bias, m);
  }
  fail(ErrorKind::Value, "linear: no fused activation '", name, "'");
}

}  // namespace

Tensor matmul(const Tensor& a, const Tensor& b) {
  check_operands("matmul", a, b);
  if (const DType d = gemm_dtype(a.dtype()); d != a.dtype() && a.dtype() != DType::Bool) {
    return to(matmul(to(a, d), to(b, d)), a.dtype());
  }
  if (a.dim() == 2 && b.dim() == 2) return matmul_batched(a, b);
  if (a.dim() == 0 || b.dim() == 0) {
    fail("matmul: both arguments need to be at least 1D, but they are ", a.dim(), "D and ", b.dim(),
         "D");
  }
  if (a.dim() == 1) {
    if (b.dim() == 1 && a.size(0) != b.size(0)) {
      fail("matmul: inner sizes differ, ", a.sizes(), " x ", b.sizes(),
           "; expected vectors of the same length");
    }
    if (b.dim() == 1 && a.dtype() != DType::Bool) return inner(a, b);
    const Tensor c = matmul(unsqueeze(a, 0), b.dim() == 1 ? unsqueeze(b, 1) : b);
    return b.dim() == 1 ? reshape(c, {}) : squeeze(c, -2);
  }
  if (b.dim() == 1) return squeeze(matmul(a, unsqueeze(b, 1)), -1);
  if (b.dim() == 2 && a.size(a.dim() - 1) == b.size(0) && (joins_rows(a) || recording(b))) {
    // One tall matrix instead of a batch against the same right-hand side. It is worth a copy of A
    // where dB is wanted, which then needs no sum over the batch.
    Dims sizes = a.sizes();
    int64_t rows = 1;
    for (int d = 0; d + 1 < a.dim(); ++d) rows *= a.size(d);
    const Tensor c = matmul_batched(reshape(a, {rows, b.size(0)}), b);
    sizes[a.dim() - 1] = b.size(1);
    return reshape(c, sizes);
  }
  return matmul_batched(a, b);
}

Tensor matmul_add(const Tensor& start, const Tensor& a, const Tensor& b) {
  Dims sizes = a.sizes();
  sizes[a.dim() - 1] = b.size(b.dim() - 1);
  const Tensor out = Tensor::empty(sizes, a.dtype(), a.device());
  copy_into(out, start);
  gemm(a, b, Dims(sizes.begin(), a.dim() - 2), {.into = out});
  if (recording(start, a, b)) {
    const Tensor* in[] = {&start, &a, &b};
    Node* n = record(a.dim() == 2 ? kAddMm : kBAddBmm, in, 3, out, 2);
    if (n->edges()[1].node) n->save(1, b);
    if (n->edges()[2].node) n->save(0, a);
  }
  return out;
}

Tensor linear(const Tensor& input, const Tensor& weight, const Tensor& bias) {
  return linear_with(input, weight, bias, nullptr);
}

}  // namespace ops

void add_matmul(OpTable& t) {
  using namespace ops;
  Op op = row<lowered<&matmul>>(
      "matmul(Tensor input, Tensor other)", kMethod | kFunction,
      "The matrix product: vectors, matrices, and batches of them, broadcast. "
      "Derivatives: dA = dC B^T, dB = A^T dC.");
  op.binary = direct<lowered<&matmul>>;
  t.push_back(op);
  Op line = row<lowered<&linear>>("linear(Tensor input, Tensor weight, Tensor? bias=None)",
                                  kFunctional, "input weight^T + bias, in one pass.");
  line.ternary = direct<lowered<&linear>>;
  t.push_back(line);
  t.push_back(row<lowered<&linear_activation>>(
      "_linear_activation(Tensor input, Tensor weight, Tensor? bias, str activation)", kInternal,
      "activation(input weight^T + bias), in one pass."));
}

}  // namespace wengert
