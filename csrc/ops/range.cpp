// Tensors of regular numbers: the unit matrix, evenly spaced points, indices of triangles, powers.
#include <algorithm>
#include <cmath>

#include "kernels/launch.h"
#include "ops/elementwise.h"
#include "ops/op_table.h"

namespace wengert {
namespace ops {
namespace {

Tensor finish(Tensor t, bool requires_grad) {
  if (requires_grad) set_requires_grad(t, true);
  return t;
}

Tensor eye(int64_t n, OptInt columns, OptDType dtype, Device device, bool requires_grad) {
  const int64_t m = columns.value_or(n);
  if (n < 0) fail("eye: n must be greater or equal to 0, got ", n);
  if (m < 0) fail("eye: m must be greater or equal to 0, got ", m);
  const Tensor out = zeros({n, m}, dtype.value_or(default_dtype()), device);
  if (out.numel() > 0) fill(out.view({std::min(n, m)}, {m + 1}), {true, 1, 1});
  return finish(out, requires_grad);
}
Tensor eye_square(int64_t n, OptDType dtype, Device device, bool requires_grad) {
  return eye(n, {}, dtype, device, requires_grad);
}

// --- evenly spaced points ----------------------------------------------------------------------

// steps numbers from start to end, both included; computed in double.
Tensor points(const char* op, const Number& start, const Number& end, int64_t steps, DType dtype) {
  if (steps < 0) fail(op, ": number of steps must be non-negative, got ", steps);
  if (dtype == DType::Bool) fail(ErrorKind::NotImplemented, op, ": not defined for bool tensors");
  const Tensor out =
      Tensor::empty({steps}, is_floating(dtype) ? compute_dtype(dtype) : DType::Int64);
  const Tensor* operands[] = {&out};
  Launch l;
  l.kernel = id(Kernel::Linspace);
  l.dtype = out.dtype();
  l.number[0] = start.d;
  l.number[1] = end.d;
  describe(l, out.sizes(), operands, 1);
  launch(l);
  return to(out, dtype);
}

Tensor linspace(const Number& start, const Number& end, int64_t steps, OptDType dtype, Device,
                bool requires_grad) {
  return finish(points("linspace", start, end, steps, dtype.value_or(default_dtype())),
                requires_grad);
}

Tensor logspace(const Number& start, const Number& end, int64_t steps, double base, OptDType dtype,
                Device, bool requires_grad) {
  const DType d = dtype.value_or(default_dtype());
  if (d == DType::Bool) fail(ErrorKind::NotImplemented, "logspace: not defined for bool tensors");
  const Tensor exponents = points("logspace", start, end, steps, DType::Float64);
  return finish(to(pow(Tensor::scalar(base, DType::Float64), exponents), d), requires_grad);
}

// --- triangles ---------------------------------------------------------------------------------

__extension__ using Wide = __int128;

// The rows of a lower triangle: those before `first` have no element, row r from there on
// r + 1 + offset, and those from `whole` on all.
struct Triangle {
  Wide offset, first, whole;
  Triangle(int64_t rows, int64_t columns, Wide o)
      : offset(o),
        first(std::clamp<Wide>(-o - 1, 0, rows)),
        whole(std::clamp<Wide>(columns - o - 1, first, rows)) {}
  int64_t length(int64_t r, int64_t columns) const {
    return static_cast<int64_t>(std::clamp<Wide>(r + 1 + offset, 0, columns));
  }
  Wide size(int64_t rows, int64_t columns) const {
    const Wide n = whole - first;
    return columns == 0 ? 0 : n * (first + 1 + offset) + n * (n - 1) / 2 + (rows - whole) * columns;
  }
};

Tensor triangle(const char* op, int64_t rows, int64_t columns, int64_t offset, OptDType dtype,
                bool lower) {
  if (rows < 0) fail(op, ": row must be non-negative, got ", rows);
  if (columns < 0) fail(op, ": col must be non-negative, got ", columns);
  const DType d = dtype.value_or(DType::Int64);
  if (d != DType::Int32 && d != DType::Int64) {
    fail(ErrorKind::NotImplemented, op, ": not defined for dtype ", name_of(d),
         "; expected int32 or int64");
  }
  // The upper triangle is what the lower one below it leaves.
  const Triangle t(rows, columns, lower ? Wide{offset} : Wide{offset} - 1);
  const Wide size = lower ? t.size(rows, columns) : Wide{rows} * columns - t.size(rows, columns);
  if (size > INT64_MAX / 32) fail(op, ": ", rows, " x ", columns, " indices are too many to hold");
  const auto n = static_cast<int64_t>(size);
  const Tensor out = Tensor::empty({2, n}, DType::Int64, Device::CPU);
  auto* row = out.data<int64_t>();
  int64_t* column = row + n;
  const auto from = static_cast<int64_t>(lower ? t.first : 0);
  const auto to_row = n == 0 ? from : lower ? rows : static_cast<int64_t>(t.whole);
  for (int64_t r = from; r < to_row; ++r) {
    const int64_t split = t.length(r, columns);
    const int64_t begin = lower ? 0 : split, end = lower ? split : columns;
    row = std::fill_n(row, end - begin, r);
    for (int64_t c = begin; c < end; ++c) *column++ = c;
  }
  out.host_wrote();
  return to_device(to(out, d), default_device());
}
Tensor tril_indices(int64_t row, int64_t col, int64_t offset, OptDType dtype, Device) {
  return triangle("tril_indices", row, col, offset, dtype, true);
}
Tensor triu_indices(int64_t row, int64_t col, int64_t offset, OptDType dtype, Device) {
  return triangle("triu_indices", row, col, offset, dtype, false);
}

// --- others ------------------------------------------------------------------------------------

Tensor vander(const Tensor& x, OptInt columns, bool increasing) {
  if (x.dim() != 1) fail("vander: x must be a one-dimensional tensor, got shape ", x.sizes());
  const int64_t n = columns.value_or(x.size(0));
  if (n < 0) fail("vander: N must be non-negative, got ", n);
  const DType d = is_floating(x.dtype()) ? x.dtype() : DType::Int64;
  Tensor exponents = arange(n);
  if (!increasing) exponents = sub(Tensor::scalar(n - 1, DType::Int64), exponents);
  return pow(unsqueeze(to(x, d), 1), exponents);
}

Tensor scalar_tensor(const Number& s, OptDType dtype, Device device, bool requires_grad) {
  return finish(full({}, s, dtype.value_or(default_dtype()), device), requires_grad);
}

}  // namespace
}  // namespace ops

void add_range(OpTable& t) {
  using namespace ops;
  const std::string rest = "*, dtype? dtype=None, device? device=None, bool requires_grad=False)";
  t.push_back(row<&eye_square>("eye(int n, " + rest, kFunction,
                               "The n x n, or n x m, matrix with ones on the diagonal, and "
                               "zeros."));
  t.push_back(row<&eye>("eye(int n, int? m, " + rest, kFunction, ""));
  t.push_back(row<&linspace>("linspace(Number start, Number end, int steps, " + rest, kFunction,
                             "steps evenly spaced numbers from start to end, both included."));
  t.push_back(row<&logspace>(
      "logspace(Number start, Number end, int steps, float base=10.0, " + rest, kFunction,
      "base to the power of evenly spaced numbers from start to end, both included."));
  t.push_back(row<&tril_indices>(
      "tril_indices(int row, int col, int offset=0, *, dtype? dtype=None, device? device=None)",
      kFunction, "Row and column of each element on or below a diagonal, as a 2 x n tensor."));
  t.push_back(row<&triu_indices>(
      "triu_indices(int row, int col, int offset=0, *, dtype? dtype=None, device? device=None)",
      kFunction, "Row and column of each element on or above a diagonal, as a 2 x n tensor."));
  t.push_back(row<&vander>("vander(Tensor x, int? N=None, bool increasing=False)", kFunction,
                           "The powers N - 1, ... 1, 0 of each element, or 0, 1, ... N - 1, in a "
                           "row."));
  t.push_back(row<&scalar_tensor>("scalar_tensor(Number s, " + rest, kFunction,
                                  "A tensor without dimensions that holds s."));
}

}  // namespace wengert
