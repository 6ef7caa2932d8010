// Two operations of one's own: an elementwise one, and one with a kernel of its own.
#include <wengert/extension.h>

using namespace wengert;

namespace {

// --- elementwise -------------------------------------------------------------------------------

// x sigmoid(beta x) (Ramachandran et al., Searching for activation functions, 2017). This is all:
// vector loops forward and backward, dtypes, broadcasting, the in-place form and derivatives of any
// order are made of f and df.
struct Swish2 : Elementwise<Kind::Floating> {
  static constexpr auto name = "swish2";
  static constexpr Uses uses[] = {kX};  // df reads x alone
  double beta;
  WENGERT_FN explicit Swish2(const double* params) : beta(params[0]) {}

  template <class V>
  WENGERT_FN V f(V x) const {
    return x * sigmoid(V(beta) * x);
  }
  template <int I, class V>
  WENGERT_FN V df(V x, V) const {
    const V s = sigmoid(V(beta) * x);
    return s + V(beta) * x * s * (V(1.0) - s);
  }
};

// --- a kernel of its own -----------------------------------------------------------------------

// y[t] = x[t] + decay y[t - 1] along the last dimension; from the end if it is reversed.
struct LeakyParams {
  double decay;
  bool reverse;
};

// The launch's sizes: rows, elements of a row; number[0] and number[1]: the parameters. Rows are
// independent, so that cutting between them anywhere does not change the result.
template <class T>
void run_leaky_sum(const Launch& l) {
  const int64_t n = l.size[1];
  const T decay = static_cast<T>(l.number[0]);
  const bool reverse = l.number[1] != 0;
  parallel_for(l.size[0], std::max<int64_t>(1, 16384 / n), [&](int64_t begin, int64_t end) {
    for (int64_t row = begin; row < end; ++row) {
      const T* x = static_cast<const T*>(l.buffer[1].data) + row * n;
      T* y = static_cast<T*>(l.buffer[0].data) + row * n;
      T sum = 0;
      for (int64_t i = 0; i < n; ++i) {
        const int64_t t = reverse ? n - 1 - i : i;
        y[t] = sum = x[t] + decay * sum;
      }
    }
  });
}
KernelId leaky_sum_kernel;

Tensor leaky_sum(const Tensor& input, double decay, bool reverse);

// y is linear in x, and the transposed map is the same sum from the other end. As it is written
// with the operation itself, it can be differentiated again.
constexpr Rule kLeakySum{"leaky_sum", [](Node& node, Tensor* g, Tensor* out) {
                           const auto p = node.payload<LeakyParams>();
                           out[0] = leaky_sum(*g, p.decay, !p.reverse);
                         }};

Tensor leaky_sum(const Tensor& input, double decay, bool reverse) {
  if (!is_floating(input.dtype())) {
    fail("leaky_sum: not defined for ", name_of(input.dtype()), "; expected a floating dtype");
  }
  if (input.dim() == 0) fail("leaky_sum: expected at least one dimension, got shape ()");
  if (is_narrow(input.dtype())) {
    const Tensor wide = ops::to(input, compute_dtype(input.dtype()));
    return ops::to(leaky_sum(wide, decay, reverse), input.dtype());
  }
  const Tensor x = ops::contiguous(input);
  const Tensor y = Tensor::empty(x.sizes(), x.dtype(), x.device());
  if (x.numel() > 0) {
    const Tensor* operands[] = {&y, &x};
    Launch l;
    const int64_t n = x.sizes().back();
    ops::describe_rows(l, leaky_sum_kernel, operands, 2, x.numel() / n, n);
    l.number[0] = decay;
    l.number[1] = reverse;
    launch(l);
  }
  if (recording(x)) {
    const Tensor* inputs[] = {&x};
    record(kLeakySum, inputs, 1, y, 0, LeakyParams{decay, reverse});
  }
  return y;
}

// --- what wengert.ops.load_library finds -------------------------------------------------------

void add_operations(Library& library) {
  library.add<Swish2, double>(
      "swish2(Tensor x, float beta=1.0)",
      "x sigmoid(beta x). Derivative: s + beta x s (1 - s), where s = sigmoid(beta x).");
  leaky_sum_kernel = library.add_kernel("leaky_sum", &run_leaky_sum<float>, &run_leaky_sum<double>);
  library.add<&leaky_sum>("leaky_sum(Tensor x, float decay, *, bool reverse=False)",
                          "y[t] = x[t] + decay y[t - 1] along the last dimension. Derivative: the "
                          "same sum of g, from the other end.");
}

}  // namespace

const Extension wengert_extension{"myops", &add_operations};
