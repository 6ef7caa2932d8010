// Masks: where elements are not zero, and reading, filling and writing by a mask; membership.
#include "kernels/launch.h"
#include "ops/op_table.h"
#include "ops/picks.h"

namespace wengert {
namespace ops {
namespace {

void check_bool(const char* op, const Tensor& mask) {
  if (mask.dtype() == DType::Bool) return;
  fail(op, ": only boolean masks are supported, but got mask with dtype ", name_of(mask.dtype()));
}

// Makes picks of the places where a mask holds, in the flattened tensor.
auto where_true(const Tensor& mask) {
  return [at = nonzero_positions(mask), n = mask.numel()](const Frame&) {
    Picks p;
    p.sizes = at.sizes();
    p.strides = {0};
    p.span = std::max<int64_t>(n, 1);
    p.at = at;
    return p;
  };
}

void check_fill(const char* op, const Tensor& mask, const Tensor& value) {
  check_bool(op, mask);
  if (value.dim() != 0) {
    fail(op, ": only a 0-dimensional value tensor is supported, but got tensor with ", value.dim(),
         " dimension(s)");
  }
}

Tensor masked_fill(const Tensor& x, const Tensor& mask, const Tensor& value) {
  check_fill("masked_fill", mask, value);
  return where(mask, to(value, x.dtype()), x);
}

Tensor masked_select(const Tensor& x, const Tensor& mask) {
  check_bool("masked_select", mask);
  const Dims sizes = broadcast_shapes("masked_select", x.sizes(), mask.sizes());
  const Tensor from = contiguous(x.sizes() == sizes ? x : expand(x, sizes));
  return read_picks(from, where_true(expand(mask, sizes)));
}

Tensor masked_scatter(const Tensor& x, const Tensor& mask, const Tensor& source) {
  constexpr auto op = "masked_scatter";
  check_bool(op, mask);
  if (x.dtype() != source.dtype()) {
    fail(op, ": expected self and source to have same dtypes but got ", name_of(x.dtype()), " and ",
         name_of(source.dtype()));
  }
  const Dims sizes = broadcast_shapes(op, x.sizes(), mask.sizes());
  const auto make = where_true(expand(mask, sizes));
  const Tensor to = x.sizes() == sizes ? x : expand(x, sizes);
  const Tensor flat = reshape(source, {source.numel()});
  const int64_t n = make(Frame{sizes, sizes}).sizes[0];
  if (flat.numel() < n) {
    fail(op, ": number of elements of source (", flat.numel(), ") < number of ones in mask (", n,
         ")");
  }
  return write_picks(op, to, narrow(flat, 0, 0, n), Write::Put, make);
}

std::vector<Tensor> columns(const Tensor& x) {
  const Tensor all = nonzero(x.dim() == 0 ? reshape(x, {1}) : x);
  std::vector<Tensor> out;
  for (int64_t d = 0; d < all.size(1); ++d) {
    out.push_back(all.view({all.size(0)}, {all.size(1)}, d));
  }
  return out;
}
std::vector<Tensor> nonzero_row(const Tensor& x, bool as_tuple) {
  return as_tuple ? columns(x) : std::vector<Tensor>{nonzero(x)};
}

Tensor one_hot(const Tensor& x, int64_t num_classes) {
  constexpr auto op = "one_hot";
  if (x.dtype() != DType::Int64) {
    fail(op, ": only applicable to an int64 tensor, got ", name_of(x.dtype()));
  }
  if (num_classes == -1) {
    if (x.numel() == 0) fail(op, ": cannot infer total number of classes from empty tensor");
    num_classes = amax(x, nullptr, false).to_int64() + 1;
    if (num_classes < 1) fail(op, ": class values must be non-negative");
  }
  if (num_classes < (x.numel() == 0 ? 1 : 0)) {
    fail(op, ": num_classes should be positive, got ", num_classes);
  }
  const IndexCheck check{
      "one_hot: class values must be non-negative and smaller than "
      "num_classes: ",
      ErrorKind::Runtime, x.dim(), false};
  Dims sizes = x.sizes();
  sizes.push_back(num_classes);
  const Tensor index = x.contiguous() ? x : contiguous(x);
  Dims one = x.sizes();
  one.push_back(1);
  const Tensor at = index.view(one, contiguous_strides(one));
  const Picks p = picks_along(Frame{sizes, contiguous_strides(sizes)}, x.dim(), at, check);
  const Tensor out = zeros(sizes, DType::Int64);
  scatter_into(out, p, Tensor::scalar(int64_t{1}, DType::Int64), Write::Put);
  return out;
}

Tensor isin(const Tensor& elements, const Tensor& test, bool, bool invert) {
  const Tensor* both[] = {&elements, &test};
  for (const Tensor* t : both) {
    if ((*t).dtype() == DType::Bool) fail("isin: not defined for bool tensors");
  }
  const GradMode off(false);
  const DType d = compute_dtype(result_type(both, 2));
  const Device device = elements->weak ? test.device() : elements.device();
  const Tensor x = contiguous(to(to_device(elements, device), d));
  const Tensor among = contiguous(to(to_device(test, device), d));
  const Tensor out = Tensor::empty(x.sizes(), DType::Bool, x.device());
  const Tensor* operands[] = {&out, &x};
  Launch l;
  l.kernel = id(Kernel::Isin);
  l.dtype = d;
  describe(l, x.sizes(), operands, 2);
  l.integer[0] = among.numel();
  l.integer[1] = invert;
  l.nbuffers = 3;
  set_buffer(l, 2, among);
  l.buffer[2].stride[0] = 1;
  launch(l);
  return out;
}

}  // namespace

Tensor masked_fill_(const Tensor& x, const Tensor& mask, const Tensor& value) {
  check_fill("masked_fill_", mask, value);
  const Tensor fill = to(value, x.dtype());
  const Dims sizes = broadcast_shapes("masked_fill_", x.sizes(), mask.sizes());
  if (!(sizes == x.sizes())) {
    fail("masked_fill_: output with shape ", x.sizes(), " doesn't match the broadcast shape ",
         sizes);
  }
  const Tensor* in[] = {&mask, &fill, &x};
  return map(map_info<Where>, in, nullptr, &x);
}

}  // namespace ops

void add_masked(OpTable& t) {
  using namespace ops;
  constexpr uint8_t both = kMethod | kFunction;
  t.push_back(
      row<&masked_fill, &masked_fill_>("masked_fill(Tensor input, Tensor mask, Value value)", both,
                                       "input with a number or a 0-dim tensor where mask holds."));
  t.push_back(row<&masked_select>("masked_select(Tensor input, Tensor mask)", both,
                                  "The elements of input where mask holds, as a vector; the two "
                                  "are broadcast against each other."));
  t.push_back(with_inplace(row<&masked_scatter>(
      "masked_scatter(Tensor input, Tensor mask, Tensor source)", both,
      "input with the first elements of source, in order, where mask holds.")));
  Op nonzeros = row<&nonzero_row>("nonzero(Tensor input, *, bool as_tuple=False)", both,
                                  "The coordinates of the elements that are not zero, a row each; "
                                  "with as_tuple a vector for each dimension.");
  nonzeros.bare = [](const Arg* a) { return !a[1].b; };
  t.push_back(nonzeros);
  t.push_back(row<&nonzero>("argwhere(Tensor input)", both,
                            "The coordinates of the elements that are not zero, a row each."));
  t.push_back(row<&columns>("where(Tensor condition)", kFunction, ""));
  t.push_back(row<&one_hot>("one_hot(Tensor tensor, int num_classes=-1)", kFunctional,
                            "A vector for each class value: 1 at that place, 0 elsewhere. Without "
                            "num_classes there are as many as the greatest value asks for."));
  t.push_back(row<&isin>(
      "isin(Value elements, Value test_elements, *, bool assume_unique=False, "
      "bool invert=False)",
      kFunction, "Whether each element is among test_elements, or, with invert, is not."));
}

}  // namespace wengert
