// Rows of a table by their numbers.
#include <cmath>

#include "core/watch.h"
#include "kernels/launch.h"
#include "ops/elementwise.h"
#include "ops/op_table.h"
#include "ops/picks.h"
#include "tape/backward.h"

namespace wengert {
namespace ops {
namespace {

struct EmbeddingPayload {
  int64_t rows, padding;  // -1: none
  bool by_frequency;
};

void describe_rows_of(Launch& l, Kernel kernel, const Tensor* const* operands, int n, DType dtype,
                      int64_t count, int64_t columns) {
  l.kernel = id(kernel);
  l.dtype = dtype;
  l.device = operands[0]->device();
  l.dense = true;
  l.ndim = 2;
  l.size[0] = count;
  l.size[1] = columns;
  l.count = count * columns;
  l.nbuffers = static_cast<uint8_t>(n);
  for (int k = 0; k < n; ++k) set_buffer(l, k, *operands[k]);
}

// A copy, so that nobody can change an index after it was found to be in range.
Tensor checked_index(const Tensor& input, int64_t rows) {
  const Tensor out = Tensor::empty(input.sizes(), DType::Int64, input.device());
  add_offsets(out, detach(input), rows, 1, false,
              {"embedding: index out of range: ", ErrorKind::Index});
  return out;
}

// 1 / how often each row is asked for.
Tensor shares_of(const Tensor& index, int64_t rows, DType dtype) {
  const GradMode off(false);
  const Tensor one = full({}, {true, 1, 1}, dtype, index.device());
  const Dims n{index.numel()};
  const Tensor none = zeros({rows}, dtype, index.device());
  const Tensor count = scatter_add(none, 0, reshape(index, n), expand(one, n));
  return where(eq(count, Tensor::scalar(0.0, dtype)), count, div(one, count));
}

Tensor embedded(const Tensor& weight, const Tensor& index, const EmbeddingPayload& p);
Tensor scattered(const Tensor& g, const Tensor& index, const EmbeddingPayload& p);

// Linear both ways: the derivative of the sum of rows is their reading, without those that got
// nothing.
void scattered_pull(Node& node, Tensor* g, Tensor* out) {
  const auto& p = node.payload<EmbeddingPayload>();
  const Tensor index = node.unpack(0);
  Tensor read = embedded(*g, index, p);
  const auto column = [&](const Tensor& t) { return unsqueeze(to(t, g->dtype()), -1); };
  if (p.padding >= 0) {
    read = mul(read, column(apply<Ne>(index, number_like({true, p.padding, 0}, &index))));
  }
  if (p.by_frequency) {
    const Tensor shares = shares_of(index, p.rows, compute_dtype(g->dtype()));
    read = mul(read, column(take_rows(shares, index)));
  }
  out[0] = read;
}
constexpr Rule kScattered{"embedding_backward", &scattered_pull};
constexpr Rule kEmbedding{"embedding", [](Node& node, Tensor* g, Tensor* out) {
                            out[0] =
                                scattered(*g, node.unpack(0), node.payload<EmbeddingPayload>());
                          }};

Tensor scattered(const Tensor& given, const Tensor& index, const EmbeddingPayload& p) {
  if (is_narrow(given.dtype())) {
    return to(scattered(to(given, compute_dtype(given.dtype())), index, p), given.dtype());
  }
  const Tensor g = contiguous(given);
  const int64_t columns = g.sizes().back();
  const Tensor out = Tensor::empty({p.rows, columns}, g.dtype(), g.device());
  Tensor shares;
  if (p.by_frequency) shares = shares_of(index, p.rows, g.dtype());
  const Tensor* operands[] = {&out, &g, &index, &shares};
  Launch l;
  l.integer[0] = p.rows;
  l.integer[1] = p.padding;
  l.integer[2] = p.by_frequency;
  describe_rows_of(l, Kernel::EmbeddingGrad, operands, p.by_frequency ? 4 : 3, g.dtype(),
                   index.numel(), columns);
  launch(l);
  if (recording(g)) {
    const Tensor* in[] = {&g};
    record(kScattered, in, 1, out, 1, p)->save(0, index);
  }
  return out;
}

Tensor embedded(const Tensor& given, const Tensor& index, const EmbeddingPayload& p) {
  const Tensor weight = contiguous(given);
  Dims sizes = index.sizes();
  sizes.push_back(weight.size(1));
  const Tensor out = Tensor::empty(sizes, weight.dtype(), weight.device());
  const Tensor* operands[] = {&out, &weight, &index};
  Launch l;
  describe_rows_of(l, Kernel::Embedding, operands, 3, weight.dtype(), index.numel(),
                   weight.size(1));
  launch(l);
  if (recording(weight)) {
    const Tensor* in[] = {&weight};
    record(kEmbedding, in, 1, out, 1, p)->save(0, index);
  }
  return out;
}

int64_t padding_of(OptInt padding_idx, int64_t rows) {
  if (!padding_idx) return -1;
  const int64_t i = *padding_idx;
  if (i < -rows || i >= rows) {
    fail(ErrorKind::Value, "embedding: padding_idx must be within num_embeddings, ", rows, ", got ",
         i);
  }
  return i < 0 ? i + rows : i;
}

// Rows asked for whose norm is above max_norm are scaled down to it, in place and unrecorded.
void renorm_rows(const Tensor& weight, const Tensor& index, double max_norm, double norm_type) {
  const int64_t rows = weight.size(0);
  const Tensor asked = shares_of(index, rows, DType::Float32);
  const GradMode off(false);
  const Tensor w = to(weight, compute_dtype(weight.dtype()));
  const Dims columns{1};
  const auto number = [&](double v) { return number_like({false, 0, v}, &w); };
  const Tensor magnitude = apply<Abs>(w);
  Tensor norms;
  if (std::isinf(norm_type)) {
    norms = amax(magnitude, &columns, true);
  } else {
    norms = pow(sum(pow(magnitude, number(norm_type)), &columns, true), number(1 / norm_type));
  }
  const Tensor scaled = div(number(max_norm), add(norms, number(1e-7)));
  const Tensor over =
      apply<LogicalAnd>(apply<Gt>(norms, number(max_norm)),
                        apply<Gt>(unsqueeze(asked, 1), number_like({true, 0, 0}, &asked)));
  copy_into(weight, where(over, mul(w, scaled), w));
  weight.bump_version();
}

Tensor embedding(const Tensor& input, const Tensor& weight, OptInt padding_idx,
                 std::optional<double> max_norm, double norm_type, bool scale_grad_by_freq,
                 bool sparse) {
  constexpr auto op = "embedding";
  if (weight.dim() != 2) {
    fail(op, ": expected weight of shape (num_embeddings, embedding_dim), got ", weight.sizes());
  }
  if (input.dtype() != DType::Int64 && input.dtype() != DType::Int32) {
    fail(op, ": expected int64 or int32 indices, got ", name_of(input.dtype()));
  }
  if (input.dim() == kMaxDims) fail(op, ": indices have at most ", kMaxDims - 1, " dimensions");
  if (sparse) {
    fail(ErrorKind::NotImplemented, op, ": gradients are dense; expected sparse=False");
  }
  const int64_t rows = weight.size(0);
  const EmbeddingPayload p{rows, padding_of(padding_idx, rows), scale_grad_by_freq};
  const Tensor index = checked_index(input, rows);
  if (max_norm) renorm_rows(weight, index, *max_norm, norm_type);
  return embedded(weight, index, p);
}

}  // namespace
}  // namespace ops

void add_embedding(OpTable& t) {
  using namespace ops;
  t.push_back(row<&embedding>(
      "embedding(Tensor input, Tensor weight, int? padding_idx=None, float? max_norm=None, "
      "float norm_type=2.0, bool scale_grad_by_freq=False, bool sparse=False)",
      kFunctional,
      "The rows of weight that the indices in input name. The row padding_idx gets no gradient; "
      "with max_norm, rows of a greater norm are scaled down to it first, in place. Derivative: "
      "each row gets the sum of the gradients of where it was read, with scale_grad_by_freq their "
      "mean. sparse=True is not supported. An index out of range is an IndexError."));
}

}  // namespace wengert
