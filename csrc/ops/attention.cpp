// Attention: softmax(scale q k^T + mask) v, without the matrix of weights.
#include <cmath>
#include <limits>

#include "kernels/cuda/cuda.h"
#include "kernels/launch.h"
#include "ops/autocast.h"
#include "ops/elementwise.h"
#include "ops/normalization.h"
#include "ops/op_table.h"
#include "ops/random.h"
#include "tape/backward.h"

namespace wengert {
namespace ops {
namespace {

constexpr auto kOp = "scaled_dot_product_attention";

struct AttentionPayload {
  double scale, dropout;
  RandomState stream;
  int64_t group;  // query heads to a key's
  bool causal, masked;
};

Tensor number(double v, const Tensor& like) {
  return number_like({false, 0, v}, &like);
}
Tensor flipped(const Tensor& x) {
  return transpose(x, -1, -2);
}

// --- in recorded operations ----------------------------------------------------------------------

// Heads of keys or values repeated for the query heads that share them, and the reverse.
Tensor repeated(const Tensor& x, int64_t group) {
  if (group == 1) return x;
  const int64_t b = x.size(0), h = x.size(1), n = x.size(2), e = x.size(3);
  return reshape(expand(unsqueeze(x, 2), {b, h, group, n, e}), {b, h * group, n, e});
}
Tensor gathered_heads(const Tensor& g, int64_t group) {
  if (group == 1) return g;
  const Dims of_group{2};
  return sum(reshape(g, {g.size(0), g.size(1) / group, group, g.size(2), g.size(3)}), &of_group,
             false);
}

Tensor causal_mask(int64_t queries, int64_t keys, DType dtype) {
  const Tensor later = apply<Gt>(arange(keys), unsqueeze(arange(queries), 1));
  const Tensor zero = zeros({}, dtype);
  return where(later, number(-std::numeric_limits<double>::infinity(), zero), zero);
}

// softmax(scale q k^T + mask). A query with nothing to attend to has weights of 0.
Tensor weights_of(const Tensor& q, const Tensor& k, const Tensor& mask, const AttentionPayload& p) {
  Tensor s = matmul(mul(q, number(p.scale, q)), flipped(k));
  if (k.size(-2 + k.dim()) == 0) return s;
  if (p.causal) s = add(s, causal_mask(q.size(q.dim() - 2), k.size(k.dim() - 2), q.dtype()));
  if (!mask.defined()) return softmax(s, -1);
  s = add(s, mask);
  const Dims last{-1};
  const Tensor dead =
      eq(amax(detach(s), &last, true), number(-std::numeric_limits<double>::infinity(), s));
  const Tensor zero = number(0, s);
  return where(dead, zero, softmax(where(dead, zero, s), -1));
}

// What dropout multiplies the weights by, as the kernel draws it: tiles of queries, by key.
Tensor dropout_factors(const AttentionPayload& p, const Tensor& q, const Tensor& k) {
  constexpr int64_t tile = 64;
  const int64_t b = q.size(0), h = q.size(1), n = q.size(2), keys = k.size(2);
  const int64_t padded = (n + tile - 1) / tile * tile;
  const Tensor ones = full({b, h, keys, padded}, {true, 1, 1}, q.dtype());
  const Tensor out = Tensor::empty(ones.sizes(), q.dtype());
  const Tensor* operands[] = {&out, &ones};
  Launch l;
  l.kernel = id(Kernel::Dropout);
  l.dtype = q.dtype();
  l.number[0] = p.dropout;
  l.number[1] = 1 / (1 - p.dropout);
  l.more[0] = static_cast<int64_t>(p.stream.seed);
  l.more[1] = static_cast<int64_t>(p.stream.counter);
  l.more[2] = 24;
  describe(l, out.sizes(), operands, 2);
  launch(l);
  return flipped(narrow(out, 3, 0, n));
}

// With P the weights, F the factors of dropout, y = (P F) v, dP = (g v^T) F:
// dv = (P F)^T g, dS = P (dP - sum(dP P)), dq = scale dS k, dk = scale dS^T q.
void attention_pull_recorded(Node& node, const Tensor& g, Tensor* out) {
  const auto& p = node.payload<AttentionPayload>();
  const DType dtype = g.dtype();
  const Tensor gy = wide(g), q = wide(node.unpack(0));
  const Tensor k = repeated(wide(node.unpack(1)), p.group);
  const Tensor v = repeated(wide(node.unpack(2)), p.group);
  const Tensor w = weights_of(q, k, p.masked ? node.unpack(5) : Tensor(), p);
  const Tensor factors = p.dropout > 0 ? dropout_factors(p, q, k) : Tensor();
  const auto dropped = [&](const Tensor& t) { return p.dropout > 0 ? mul(t, factors) : t; };
  if (node.wants(2)) out[2] = to(gathered_heads(matmul(flipped(dropped(w)), gy), p.group), dtype);
  if (!node.wants(0) && !node.wants(1)) return;
  const Tensor gw = dropped(matmul(gy, flipped(v)));
  const Dims last{-1};
  const Tensor gs = mul(mul(w, sub(gw, sum(mul(gw, w), &last, true))), number(p.scale, q));
  if (node.wants(0)) out[0] = to(matmul(gs, k), dtype);
  if (node.wants(1)) out[1] = to(gathered_heads(matmul(flipped(gs), q), p.group), dtype);
}

// Of 16-bit floats, tensor cores' products; else they are computed in float32.
bool has_narrow_kernel(const Tensor& q, const Tensor& v) {
  return q.device() != Device::CPU && is_narrow(q.dtype()) &&
         std::max(q.sizes().back(), v.sizes().back()) <= cuda::kNarrowAttention;
}

// --- by the kernels ------------------------------------------------------------------------------

// In the order in memory that x has its heads and rows: what then goes back from heads side by
// side to (batch, rows, heads, columns) is dense there.
Tensor laid_out_as(const Tensor& x, int64_t columns) {
  const int64_t b = x.size(0), h = x.size(1), n = x.size(2);
  if (h == 1 || n == 1 || x.stride(1) >= x.stride(2)) {
    return Tensor::empty({b, h, n, columns}, x.dtype(), x.device());
  }
  const Tensor memory = Tensor::empty({b, n, h, columns}, x.dtype(), x.device());
  return memory.view({b, h, n, columns}, {n * h * columns, columns, h * columns, 1});
}

Tensor dense_rows(const Tensor& x) {
  return x.stride(x.dim() - 1) == 1 || x.sizes().back() == 1 ? x : contiguous(x);
}

void describe_attention(Launch& l, Kernel kernel, const Tensor* const* operands, int n,
                        const Tensor& q, const Tensor& k, const Tensor& v,
                        const AttentionPayload& p) {
  l.kernel = id(kernel);
  l.dtype = q.dtype();
  l.device = q.device();
  l.dense = false;
  l.ndim = 4;
  l.size[0] = q.size(0);
  l.size[1] = q.size(1);
  l.size[2] = q.size(2);
  l.size[3] = k.size(2);
  l.count = l.size[0] * l.size[1] * l.size[2] * l.size[3];
  l.number[0] = p.scale;
  l.number[1] = p.dropout;
  l.more[0] = static_cast<int64_t>(p.stream.seed);
  l.more[1] = static_cast<int64_t>(p.stream.counter);
  l.more[2] = q.size(3);
  l.more[3] = v.size(3);
  l.more[4] = p.group;
  l.more[5] = p.causal;
  l.more[6] = p.masked;
  l.nbuffers = static_cast<uint8_t>(n);
  for (int i = 0; i < n; ++i) {
    set_buffer(l, i, *operands[i]);
    const Tensor& t = *operands[i];
    for (int d = 0; d < 4; ++d) l.buffer[i].stride[d] = d < t.dim() ? t.stride(d) : 1;
  }
}

void attention_pull(Node& node, Tensor* g, Tensor* out) {
  if (grad_enabled()) return attention_pull_recorded(node, *g, out);
  const auto& p = node.payload<AttentionPayload>();
  const Tensor q = node.unpack(0), k = node.unpack(1), v = node.unpack(2), y = node.unpack(3);
  const Tensor log_sums = node.unpack(4), mask = p.masked ? node.unpack(5) : Tensor();
  const Tensor gs = dense_rows(*g);
  const Tensor gq = laid_out_as(q, q.size(3)), gk = laid_out_as(k, k.size(3));
  const Tensor gv = laid_out_as(v, v.size(3));
  const Tensor* operands[] = {&gq, &gk, &gv, &gs, &q, &k, &v, &y, &log_sums, &mask};
  Launch l;
  describe_attention(l, Kernel::AttentionGrad, operands, p.masked ? 10 : 9, q, k, v, p);
  launch(l);
  if (node.wants(0)) out[0] = gq;
  if (node.wants(1)) out[1] = gk;
  if (node.wants(2)) out[2] = gv;
}
constexpr Rule kAttention{kOp, &attention_pull};

// All of four dimensions; the mask, if there is one, is added to the scores.
Tensor fused(const Tensor& query, const Tensor& key, const Tensor& value, const Tensor& mask,
             AttentionPayload p) {
  const Tensor q = dense_rows(query), k = dense_rows(key), v = dense_rows(value);
  if (p.dropout > 0) {
    Launch l;
    const int64_t padded = (q.size(2) + 63) / 64 * 64;
    set_stream(l, default_generator(), product({q.size(0), q.size(1), k.size(2), padded}));
    p.stream = {static_cast<uint64_t>(l.more[0]), static_cast<uint64_t>(l.more[1])};
  }
  const Tensor out = laid_out_as(q, v.size(3));
  const Tensor log_sums =
      Tensor::empty({q.size(0), q.size(1), q.size(2)}, compute_dtype(q.dtype()), q.device());
  const Tensor* operands[] = {&out, &log_sums, &q, &k, &v, &mask};
  Launch l;
  describe_attention(l, Kernel::Attention, operands, p.masked ? 6 : 5, q, k, v, p);
  launch(l);
  if (recording(q, k, v)) {
    const Tensor* in[] = {&q, &k, &v};
    Node* n = record(kAttention, in, 3, out, 6, p);
    n->save(0, q);
    n->save(1, k);
    n->save(2, v);
    n->save_output(3, out);
    n->save(4, log_sums);
    if (p.masked) n->save(5, mask);
  }
  return out;
}

// --- shapes --------------------------------------------------------------------------------------

void check_inputs(const Tensor& q, const Tensor& k, const Tensor& v) {
  if (q.dim() < 2 || k.dim() < 2 || v.dim() < 2) {
    fail(kOp, ": expected query, key and value of at least 2 dimensions, got shapes ", q.sizes(),
         ", ", k.sizes(), " and ", v.sizes());
  }
  if (q.dtype() != k.dtype() || q.dtype() != v.dtype() || !is_floating(q.dtype())) {
    fail(kOp, ": expected query, key and value of one floating point dtype, got ",
         name_of(q.dtype()), ", ", name_of(k.dtype()), " and ", name_of(v.dtype()));
  }
  if (q.sizes().back() != k.sizes().back() || k.size(k.dim() - 2) != v.size(v.dim() - 2)) {
    fail(kOp, ": query, key and value of shapes ", q.sizes(), ", ", k.sizes(), " and ", v.sizes(),
         " do not go together; expected (..., L, E), (..., S, E) and (..., S, Ev)");
  }
}

Dims leading(const Tensor& x, int but = 2) {
  return {x.sizes().begin(), std::max(x.dim() - but, 0)};
}

Tensor with_leading(const Tensor& x, Dims sizes) {
  for (int d = x.dim() - 2; d < x.dim(); ++d) sizes.push_back(x.size(d));
  return x.sizes() == sizes ? x : expand(x, sizes);
}

// (batch, heads, rows, columns)
Tensor in_four(const Tensor& x) {
  if (x.dim() == 4) return x;
  Dims sizes{1, 1, x.size(x.dim() - 2), x.sizes().back()};
  if (x.dim() > 2) sizes[1] = x.size(x.dim() - 3);
  for (int d = 0; d + 3 < x.dim(); ++d) sizes[0] *= x.size(d);
  return reshape(x, sizes);
}

// As what is added to the scores, of the shape of the scores; undefined if there is none.
Tensor additive_mask(const Tensor& mask, const Tensor& q, const Dims& scores) {
  if (!mask.defined()) return {};
  if (mask.dtype() != DType::Bool && mask.dtype() != q.dtype() &&
      !(mask.dtype() == DType::Float32 && is_narrow(q.dtype()))) {
    fail(kOp, ": expected attn_mask of bool, float or the query's dtype, got ",
         name_of(mask.dtype()), " for a query of ", name_of(q.dtype()));
  }
  if (!(broadcast_shapes(kOp, mask.sizes(), scores) == scores)) {
    fail(kOp, ": attn_mask of shape ", mask.sizes(), " does not broadcast to ", scores);
  }
  const DType dtype = compute_dtype(q.dtype());
  Tensor added = to(mask, dtype);
  if (mask.dtype() == DType::Bool) {
    const Tensor zero = zeros({}, dtype);
    added = where(mask, zero, number(-std::numeric_limits<double>::infinity(), zero));
  }
  return expand(added, scores);
}

Tensor attention(const Tensor& query, const Tensor& key, const Tensor& value,
                 const Tensor& attn_mask, double dropout_p, bool is_causal,
                 std::optional<double> scale, bool enable_gqa) {
  check_inputs(query, key, value);
  if (attn_mask.defined() && is_causal) {
    fail(kOp, ": explicit attn_mask should not be set when is_causal=True");
  }
  if (!(dropout_p >= 0 && dropout_p <= 1)) {
    fail(kOp, ": dropout probability has to be between 0 and 1, but got ", dropout_p);
  }
  AttentionPayload p{};
  p.group = 1;
  p.causal = is_causal;
  const int64_t columns = query.sizes().back();
  p.scale = scale ? *scale : 1 / std::sqrt(static_cast<double>(std::max<int64_t>(columns, 1)));
  Tensor q = query, k = key, v = value;
  Dims batch;
  if (enable_gqa) {
    const auto heads = [](const Tensor& t) { return t.dim() > 2 ? t.size(t.dim() - 3) : 1; };
    const int64_t hq = heads(q), hk = heads(k), hv = heads(v);
    if (hk == 0 || hv == 0 || hq % hk != 0 || hq % hv != 0 || hk != hv) {
      fail(kOp, ": the number of heads in key and value, ", hk, " and ", hv,
           ", must divide the number of heads in query, ", hq, ", and be the same");
    }
    p.group = hq / hk;
    batch =
        broadcast_shapes(kOp, broadcast_shapes(kOp, leading(q, 3), leading(k, 3)), leading(v, 3));
    Dims of_keys = batch;
    batch.push_back(hq);
    of_keys.push_back(hk);
    q = with_leading(q, batch);
    k = with_leading(k, of_keys);
    v = with_leading(v, of_keys);
  } else {
    batch = broadcast_shapes(kOp, broadcast_shapes(kOp, leading(q), leading(k)), leading(v));
    q = with_leading(q, batch);
    k = with_leading(k, batch);
    v = with_leading(v, batch);
  }
  Dims scores = batch, result = batch;
  for (int64_t n : {q.size(q.dim() - 2), k.size(k.dim() - 2)}) scores.push_back(n);
  for (int64_t n : {q.size(q.dim() - 2), v.sizes().back()}) result.push_back(n);
  const Tensor mask = additive_mask(attn_mask, query, scores);
  p.masked = mask.defined();
  // Gradients by the mask, and shapes without elements, are left to the operations.
  const bool composed =
      recording(mask) || q.numel() == 0 || k.numel() == 0 || v.numel() == 0 || dropout_p == 1;
  const auto as_computed = [narrow = !composed && has_narrow_kernel(q, v)](const Tensor& t) {
    return in_four(narrow ? t : wide(t));
  };
  q = as_computed(q);
  k = as_computed(k);
  v = as_computed(v);
  const Tensor mask4 = p.masked ? in_four(mask) : mask;
  Tensor out;
  if (composed) {
    Tensor w = weights_of(q, repeated(k, p.group), mask4, p);
    p.dropout = dropout_p;
    if (dropout_p == 1) {
      w = mul(w, number(0, w));
    } else if (dropout_p > 0) {
      Launch l;
      set_stream(l, default_generator(), product(w.sizes()) + 64 * k.size(2));
      p.stream = {static_cast<uint64_t>(l.more[0]), static_cast<uint64_t>(l.more[1])};
      w = mul(w, dropout_factors(p, q, k));
    }
    out = matmul(w, repeated(v, p.group));
  } else {
    p.dropout = dropout_p;
    out = fused(q, k, v, mask4, p);
  }
  return to(out.sizes() == result ? out : reshape(out, result), query.dtype());
}

}  // namespace
}  // namespace ops

void add_attention(OpTable& t) {
  using namespace ops;
  t.push_back(row<lowered<&attention>>(
      "scaled_dot_product_attention(Tensor query, Tensor key, Tensor value, Tensor? "
      "attn_mask=None, float dropout_p=0.0, bool is_causal=False, float? scale=None, bool "
      "enable_gqa=False)",
      kFunctional,
      "softmax(scale query key^T + mask) value, of (..., L, E), (..., S, E) and (..., S, Ev); the "
      "scale is 1 / sqrt(E) unless given (Vaswani and others, Attention is all you need, 2017). A "
      "bool attn_mask says what takes part, another is added; is_causal leaves out keys after the "
      "query. A query that may attend to nothing gets zeros. With enable_gqa several heads of "
      "the query share one of key and value. The matrix of weights is never held as a whole (Dao "
      "and others, FlashAttention, 2022), nor is it for the derivative: with P the weights and dP "
      "= g value^T, P (dP - sum(dP P))."));
}

}  // namespace wengert
