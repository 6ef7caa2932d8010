#include "ops/checks.h"

#include <algorithm>
#include <cmath>

#include "core/error.h"
#include "kernels/launch.h"
#include "ops/ops.h"

namespace wengert::checks {
namespace {

using Tensors = std::span<const Tensor>;

bool dense(Tensors of, DType d) {
  return !of.empty() && of[0].dtype() == d && of[0].contiguous();
}
template <DType D>
bool one(Tensors of, const CheckFacts&) {
  return of.size() == 1 && dense(of, D);
}
// The elements of a dense tensor for the host to look at: those of another device's memory are
// copied, which is no reading that a recording need know of.
template <class T>
class Elements {
 public:
  explicit Elements(const Tensor& t) : read_(seen(t)), n_(static_cast<size_t>(t.numel())) {}
  const T& operator[](size_t i) const { return read_.get()[i]; }
  const T* begin() const { return read_.get(); }
  const T* end() const { return read_.get() + n_; }
  size_t size() const { return n_; }

 private:
  static HostRead<T> seen(const Tensor& t) {
    if (t.device() == Device::CPU) [[likely]]
      return {t.data(), {}};
    const Unwatched unseen;
    return t.read<T>();
  }

  HostRead<T> read_;
  size_t n_;
};
Elements<int64_t> integers(const Tensor& t) {
  return Elements<int64_t>(t);
}

void check_index(Tensors of, const CheckFacts& f) {
  const int64_t size = f.integer[0], least = f.integer[3] ? -size : 0;
  const auto wrong = [&](int64_t i) { return i < least || i >= size; };
  const auto bounds = integers(of[0]);
  if (!wrong(bounds[0]) && !wrong(bounds[1])) return;
  // the first one in order, as it would be found one by one
  const Tensor all = ops::contiguous(ops::to(of[1], DType::Int64));
  const auto v = integers(all);
  const auto bad = std::find_if(v.begin(), v.end(), wrong);
  fail(static_cast<ErrorKind>(f.integer[1]), f.text[0], "index ", bad == v.end() ? 0 : *bad,
       " is out of bounds for dimension ", f.integer[2], " with size ", size);
}
bool fits_index(Tensors of, const CheckFacts& f) {
  return of.size() == 2 && dense(of, DType::Int64) && of[0].numel() == 2 && f.integer[0] >= 0 &&
         0 <= f.integer[1] && f.integer[1] <= static_cast<int64_t>(ErrorKind::Capture);
}

// Integers have no infinity to divide by zero to.
void check_divisor(Tensors of, const CheckFacts& f) {
  for (const int64_t zeros : integers(of[0])) {
    if (zeros > 0) fail(f.text[0], ": ZeroDivisionError: integer division by zero");
  }
}

void check_classes(Tensors of, const CheckFacts& f) {
  const int64_t classes = f.integer[0], ignored = f.integer[1];
  const auto t = integers(of[0]);
  for (size_t i = 0; i < t.size(); ++i) {
    if (t[i] != ignored && (t[i] < 0 || t[i] >= classes)) {
      fail(ErrorKind::Index, f.text[0], ": target ", t[i], " at position ", i,
           " is out of bounds; expected 0 <= target < ", classes);
    }
  }
}

void check_within(Tensors of, const CheckFacts& f) {
  visit(of[0].dtype(), [&]<class T>() {
    for (const T& element : Elements<T>(of[0])) {
      const auto v = convert<double>(element);
      if (!(v >= f.number[0] && v <= f.number[1])) fail(f.text[0], ": ", f.text[1]);
    }
  });
}
bool fits_within(Tensors of, const CheckFacts&) {
  return of.size() == 1 && of[0].contiguous();
}

void check_weights(Tensors of, const CheckFacts& f) {
  const int64_t categories = f.integer[1];
  const Elements<double> all(of[0]);
  for (int64_t r = 0; r < f.integer[0]; ++r) {
    const double* row = all.begin() + r * categories;
    bool wrong = false, positive = false;
    for (int64_t c = 0; c < categories; ++c) {
      wrong |= !(row[c] >= 0 && row[c] < INFINITY);
      positive |= row[c] > 0;
    }
    for (int64_t c = 0; wrong && c < categories; ++c) {
      if (row[c] >= 0 && row[c] < INFINITY) continue;
      fail("multinomial: probability tensor contains either `inf`, `nan` or element < 0 (", row[c],
           " in row ", r, ")");
    }
    if (!positive) {
      fail("multinomial: invalid multinomial distribution (sum of probabilities <= 0 in row ", r,
           ")");
    }
  }
}
bool fits_weights(Tensors of, const CheckFacts& f) {
  int64_t n = 0;
  return one<DType::Float64>(of, f) && f.integer[0] >= 0 && f.integer[1] >= 0 &&
         !__builtin_mul_overflow(f.integer[0], f.integer[1], &n) && n == of[0].numel();
}

// "(Batch element 3): " before what went wrong in a batch of matrices.
std::string batch_prefix(const CheckFacts& f, size_t element) {
  return f.integer[0] == 2 ? "" : text("(Batch element ", element, "): ");
}
void check_regular(Tensors of, const CheckFacts& f) {
  const auto zero = integers(of[0]);
  for (size_t i = 0; i < zero.size(); ++i) {
    if (zero[i] == 0) continue;
    fail(ErrorKind::LinAlg, f.text[0], ": ", batch_prefix(f, i), "The diagonal element ", zero[i],
         " is zero, ", f.text[1], " because the input matrix is singular.");
  }
}
void check_positive_definite(Tensors of, const CheckFacts& f) {
  const auto order = integers(of[0]);
  for (size_t i = 0; i < order.size(); ++i) {
    if (order[i] == 0) continue;
    fail(ErrorKind::LinAlg, f.text[0], ": ", batch_prefix(f, i),
         "The factorization could not be completed because the input is not positive-definite "
         "(the leading minor of order ",
         order[i], " is not positive-definite).");
  }
}
void check_converged(Tensors of, const CheckFacts& f) {
  visit(of[0].dtype(), [&]<class T>() {
    for (const T& element : Elements<T>(of[0])) {
      if (!std::isnan(convert<double>(element))) continue;
      fail(ErrorKind::LinAlg, f.text[0],
           ": The algorithm failed to converge because the input matrix contained non-finite "
           "values.");
    }
  });
}

void check_all_true(Tensors of, const CheckFacts& f) {
  const Elements<bool> all(of[0]);
  if (!std::all_of(all.begin(), all.end(), [](bool b) { return b; })) {
    fail(ErrorKind::Value, f.text[0]);
  }
}

void check_sorter(Tensors of, const CheckFacts& f) {
  for (const Tensor& t : of) {
    const int64_t at = integers(t)[0];
    if (at >= 0 && at < f.integer[0]) continue;
    fail("searchsorted: sorter index out of range: got ", at, " for ", f.integer[0], " boundaries");
  }
}
bool fits_sorter(Tensors of, const CheckFacts&) {
  return of.size() == 2 && std::all_of(of.begin(), of.end(), [](const Tensor& t) {
           return t.dtype() == DType::Int64 && t.numel() == 1;
         });
}

Elements<double> numbers(const Tensor& t) {
  return Elements<double>(t);
}
void check_quantiles(Tensors of, const CheckFacts& f) {
  for (const double q : numbers(of[0])) {
    if (q >= 0 && q <= 1) continue;
    fail(f.text[0], ": q values must be in the range [0, 1], got ", q);
  }
}
void check_not_negative(Tensors of, const CheckFacts& f) {
  for (const double x : numbers(of[0])) {
    if (x < 0) fail(f.text[0], ": ", f.text[1], " cannot be negative, got ", x);
  }
}

void check_offsets(Tensors of, const CheckFacts& f) {
  const Tensor dense = ops::contiguous(of[0]);
  for (const int64_t i : integers(dense)) {
    if ((i >= f.integer[0] && i <= f.integer[1]) || i == f.integer[2]) continue;
    fail(ErrorKind::Index, "a program from a file: index ", i, " is out of bounds; expected ",
         f.integer[0], " <= index <= ", f.integer[1]);
  }
}
bool fits_offsets(Tensors of, const CheckFacts&) {
  return of.size() == 1 && of[0].dtype() == DType::Int64;
}

}  // namespace

const CheckRule kIndex{"index", &check_index, &fits_index};
const CheckRule kDivisor{"divisor", &check_divisor, &one<DType::Int64>};
const CheckRule kClasses{"classes", &check_classes, &one<DType::Int64>};
const CheckRule kWithin{"within", &check_within, &fits_within};
const CheckRule kWeights{"weights", &check_weights, &fits_weights};
const CheckRule kRegular{"regular", &check_regular, &one<DType::Int64>};
const CheckRule kPositiveDefinite{"positive_definite", &check_positive_definite,
                                  &one<DType::Int64>};
const CheckRule kConverged{"converged", &check_converged, &fits_within};
const CheckRule kAllTrue{"all_true", &check_all_true, &one<DType::Bool>};
const CheckRule kSorter{"sorter", &check_sorter, &fits_sorter};
const CheckRule kQuantiles{"quantiles", &check_quantiles, &one<DType::Float64>};
const CheckRule kNotNegative{"not_negative", &check_not_negative, &one<DType::Float64>};
const CheckRule kOffsets{"offsets", &check_offsets, &fits_offsets};

const CheckRule* find(std::string_view name) {
  for (const CheckRule* r :
       {&kIndex, &kDivisor, &kClasses, &kWithin, &kWeights, &kRegular, &kPositiveDefinite,
        &kConverged, &kAllTrue, &kSorter, &kQuantiles, &kNotNegative, &kOffsets}) {
    if (name == r->name) return r;
  }
  return nullptr;
}

}  // namespace wengert::checks
