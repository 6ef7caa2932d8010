// Copies in another order, and repeated: flip, roll, rot90, repeat and their kin.
#include "core/watch.h"
#include "ops/op_table.h"
#include "tape/backward.h"

namespace wengert {
namespace ops {
namespace {

// --- flip and rotation -------------------------------------------------------------------------

Tensor flipped(const Tensor& x, unsigned dims);

constexpr Rule kFlip{"flip", [](Node& node, Tensor* g, Tensor* out) {
                       out[0] = flipped(*g, node.payload<unsigned>());
                     }};

// No tensor has a negative stride, but the source of a copy may: it never leaves this function.
Tensor flipped(const Tensor& x, unsigned dims) {
  const Tensor out = Tensor::empty(x.sizes(), x.dtype(), x.device());
  if (x.numel() > 0) {
    Dims strides = x.strides();
    int64_t last = 0;
    for (int d = 0; d < x.dim(); ++d) {
      if (!(dims >> d & 1)) continue;
      last += (x.size(d) - 1) * x.stride(d);
      strides[d] = -x.stride(d);
    }
    copy_into(out, x.view(x.sizes(), strides, last));
  }
  if (recording(x)) {
    const Tensor* in[] = {&x};
    record(kFlip, in, 1, out, 0, dims);
  }
  return out;
}

Tensor flip(const Tensor& x, const Dims& dims) {
  return flipped(x, dim_set("flip", dims, x.dim()) & ((1u << x.dim()) - 1));
}
Tensor fliplr(const Tensor& x) {
  if (x.dim() < 2) fail("fliplr: input must be >= 2-d, got ", x.dim(), "-d");
  return flipped(x, 2);
}
Tensor flipud(const Tensor& x) {
  if (x.dim() < 1) fail("flipud: input must be >= 1-d, got 0-d");
  return flipped(x, 1);
}

Tensor rot90(const Tensor& x, int64_t k, const Dims* given) {
  const Dims dims = given ? *given : Dims{0, 1};
  if (dims.size() != 2) fail("rot90: expected total rotation dims == 2, but got dims = ", dims);
  if (x.dim() < 2) fail("rot90: expected total dims >= 2, but got total dims = ", x.dim());
  int at[2];
  for (int i = 0; i < 2; ++i) {
    at[i] = wrap_dim("rot90", dims[i], x.dim());
  }
  if (at[0] == at[1]) fail("rot90: expected rotation dims to be different, but got ", dims);
  const unsigned bits[] = {1u << at[0], 1u << at[1]};
  switch (((k % 4) + 4) % 4) {
    case 1:
      return transpose(flipped(x, bits[1]), at[0], at[1]);
    case 2:
      return flipped(x, bits[0] | bits[1]);
    case 3:
      return transpose(flipped(x, bits[0]), at[0], at[1]);
    default:
      return clone(x);
  }
}

// --- roll --------------------------------------------------------------------------------------

struct Roll {
  int64_t shift;  // in [0, size)
  int dim;
};
Tensor rolled(const Tensor& x, const Roll& r);

constexpr Rule kRoll{"roll", [](Node& node, Tensor* g, Tensor* out) {
                       const Roll& r = node.payload<Roll>();
                       out[0] = rolled(*g, {(g->size(r.dim) - r.shift) % g->size(r.dim), r.dim});
                     }};

// Two copies: all but the last `shift` places, and those.
Tensor rolled(const Tensor& x, const Roll& r) {
  const Tensor out = Tensor::empty(x.sizes(), x.dtype(), x.device());
  const int64_t n = x.size(r.dim);
  const auto copy_stretch = [&](int64_t to, int64_t from, int64_t length) {
    Dims sizes = x.sizes();
    sizes[r.dim] = length;
    copy_into(out.view(sizes, out.strides(), to * out.stride(r.dim)),
              x.view(sizes, x.strides(), from * x.stride(r.dim)));
  };
  copy_stretch(r.shift, 0, n - r.shift);
  if (r.shift > 0) copy_stretch(0, n - r.shift, r.shift);
  if (recording(x)) {
    const Tensor* in[] = {&x};
    record(kRoll, in, 1, out, 0, r);
  }
  return out;
}

Tensor roll(const Tensor& x, const Dims& shifts, const Dims* dims) {
  if (shifts.empty()) fail("roll: `shifts` required");
  const bool flat = !dims || dims->empty();
  if (flat ? shifts.size() != 1 : shifts.size() != dims->size()) {
    fail("roll: shifts and dimensions must align. shifts: ", shifts.size(),
         ", dims: ", flat ? 0 : dims->size());
  }
  if (flat) {
    const Dims first{0};
    return reshape(roll(reshape(x, {x.numel()}), shifts, &first), x.sizes());
  }
  if (x.numel() == 0) return clone(x);
  Tensor out = x;
  for (int i = 0; i < shifts.size(); ++i) {
    if (x.dim() == 0) {
      fail(ErrorKind::Index, "roll: dimension specified as ", (*dims)[i],
           " but tensor has no dimensions");
    }
    const int d = wrap_dim("roll", (*dims)[i], x.dim());
    const int64_t n = x.size(d);
    const int64_t shift = ((shifts[i] % n) + n) % n;
    if (shift != 0) out = rolled(out, {shift, d});
  }
  return out.impl() == x.impl() ? clone(x) : out;
}

// --- repeats -----------------------------------------------------------------------------------

// A dense (outer, inner) with each row r times: (outer, r, inner), copied.
Tensor spread(const Tensor& x, int64_t outer, int64_t r, int64_t inner) {
  return contiguous(expand(reshape(x, {outer, 1, inner}), {outer, r, inner}));
}

int64_t product_of(const Dims& sizes, int from, int to) {
  int64_t n = 1;
  for (int d = from; d < to; ++d) n *= sizes[d];
  return n;
}

Tensor repeat_as(const char* op, const Tensor& x, const Dims& repeats) {
  const int n = repeats.size();
  if (n < x.dim()) {
    fail(op, ": number of dimensions of repeat dims (", n,
         ") can not be smaller than number of dimensions of tensor (", x.dim(), ")");
  }
  Dims sizes = x.sizes();
  while (sizes.size() < n) sizes.insert(0, 1);
  Dims whole = sizes;
  for (int d = 0; d < n; ++d) {
    if (repeats[d] < 0) fail(op, ": repeats can not be negative, got ", repeats);
    if (__builtin_mul_overflow(sizes[d], repeats[d], &whole[d])) {
      fail(op, ": repeating shape ", x.sizes(), " ", repeats, " times gives too many elements");
    }
  }
  if (product(whole) == 0) {
    // still of x's graph: a sum over nothing
    return reshape(expand(reshape(narrow(reshape(x, {x.numel()}), 0, 0, 0), {0, 1}), {0, 1}),
                   whole);
  }
  Tensor out = reshape(x, sizes);
  bool copied = false;
  for (int d = n - 1; d >= 0; --d) {
    if (repeats[d] == 1) continue;
    out = spread(out, product_of(sizes, 0, d), repeats[d], product_of(sizes, d, n));
    sizes[d] = whole[d];
    out = reshape(out, sizes);
    copied = true;
  }
  return copied ? out : clone(out);
}

Tensor repeat(const Tensor& x, const Dims& repeats) {
  return repeat_as("repeat", x, repeats);
}
Tensor tile(const Tensor& x, const Dims& dims) {
  Dims repeats = dims;
  while (repeats.size() < x.dim()) repeats.insert(0, 1);
  return repeat_as("tile", x, repeats);
}

constexpr auto kInterleave = "repeat_interleave";

// Each element of a vector of counts as its place, that many times.
Tensor places(const Tensor& repeats, OptInt output_size) {
  if (repeats.dim() > 1) {
    fail(kInterleave, ": repeats must be 0-dim or 1-dim tensor, got shape ", repeats.sizes());
  }
  if (repeats.dtype() != DType::Int64 && repeats.dtype() != DType::Int32) {
    fail(kInterleave, ": repeats must be int64 or int32, got ", name_of(repeats.dtype()));
  }
  const Tensor counts = contiguous(to(repeats, DType::Int64));
  const auto count = counts.read<int64_t>();
  int64_t total = 0;
  for (int64_t i = 0; i < counts.numel(); ++i) {
    if (count[i] < 0) fail(kInterleave, ": repeats can not be negative, got ", count[i]);
    if (__builtin_add_overflow(total, count[i], &total)) {
      fail(kInterleave, ": the repeats add up to too many elements");
    }
  }
  if (output_size && *output_size != total) {
    fail(kInterleave, ": output_size ", *output_size, " does not match required size ", total);
  }
  const Tensor out = Tensor::empty({total}, DType::Int64, Device::CPU);
  auto* at = out.data<int64_t>();
  for (int64_t i = 0; i < counts.numel(); ++i) at = std::fill_n(at, count[i], i);
  return to_device(out, repeats.device());
}

Tensor repeat_interleave_places(const Tensor& repeats, OptInt output_size) {
  if (repeats.dim() != 1) {
    fail(kInterleave, ": repeats alone must be a 1-dim tensor, got shape ", repeats.sizes());
  }
  return places(repeats, output_size);
}

Tensor repeat_interleave(const Tensor& input, int64_t repeats, OptInt dim, OptInt output_size) {
  const Tensor x = dim && input.dim() > 0 ? input : reshape(input, {input.numel()});
  const int d = wrap_dim(kInterleave, dim.value_or(0), input.dim() == 0 ? 1 : x.dim());
  if (repeats < 0) fail(kInterleave, ": repeats must be non-negative, got ", repeats);
  Dims sizes = x.sizes();
  if (__builtin_mul_overflow(sizes[d], repeats, &sizes[d])) {
    fail(kInterleave, ": repeating shape ", x.sizes(), " ", repeats,
         " times gives too many elements");
  }
  if (output_size && *output_size != sizes[d]) {
    fail(kInterleave, ": invalid output_size, expected ", sizes[d], " but got ", *output_size);
  }
  (void)product(sizes);
  return reshape(
      spread(x, product_of(x.sizes(), 0, d + 1), repeats, product_of(x.sizes(), d + 1, x.dim())),
      sizes);
}

Tensor repeat_interleave_by(const Tensor& input, const Tensor& repeats, OptInt dim,
                            OptInt output_size) {
  const Tensor x = dim && input.dim() > 0 ? input : reshape(input, {input.numel()});
  const int d = wrap_dim(kInterleave, dim.value_or(0), x.dim());
  const int64_t n = x.size(d);
  if (repeats.dim() <= 1 && repeats.numel() != 1 && repeats.size(0) != n) {
    fail(kInterleave, ": repeats must have the same size as input along dim, but got ",
         repeats.size(0), " and ", n);
  }
  const Tensor each =
      repeats.dim() <= 1 && repeats.numel() == 1 ? expand(reshape(repeats, {1}), {n}) : repeats;
  return index_select(x, d, places(each, output_size));
}

}  // namespace
}  // namespace ops

void add_rearrange(OpTable& t) {
  using namespace ops;
  constexpr uint8_t both = kMethod | kFunction;
  t.push_back(row<&flip>("flip(Tensor input, int* dims)", both,
                         "The dimensions named in reverse order, copied."));
  t.push_back(row<&fliplr>("fliplr(Tensor input)", both, "Dimension 1 in reverse order, copied."));
  t.push_back(row<&flipud>("flipud(Tensor input)", both, "Dimension 0 in reverse order, copied."));
  t.push_back(row<&rot90>("rot90(Tensor input, int k=1, int[]? dims=None)", both,
                          "Rotated k times by 90 degrees, from the first of two dimensions towards "
                          "the second; by default these are 0 and 1."));
  t.push_back(row<&roll>("roll(Tensor input, int[] shifts, int[]? dims=None)", both,
                         "Shifted along dimensions, what leaves at the end coming in again at the "
                         "start; without dims as if all elements were in one dimension."));
  t.push_back(row<&repeat>("repeat(Tensor input, int* repeats)", kMethod,
                           "The whole repeated along each dimension, copied."));
  t.push_back(row<&tile>("tile(Tensor input, int* dims)", both,
                         "The whole repeated along each dimension, of which there may be fewer "
                         "given than it has, copied."));
  t.push_back(row<&repeat_interleave>(
      "repeat_interleave(Tensor input, int repeats, int? dim=None, *, int? output_size=None)", both,
      "Each element repeated, or each slice along dim, as often as repeats says: one number, or "
      "one for each. Given repeats alone, the indices that do so."));
  t.push_back(row<&repeat_interleave_by>(
      "repeat_interleave(Tensor input, Tensor repeats, int? dim=None, *, int? output_size=None)",
      both, ""));
  t.push_back(row<&repeat_interleave_places>(
      "repeat_interleave(Tensor repeats, *, int? output_size=None)", both, ""));
}

}  // namespace wengert
