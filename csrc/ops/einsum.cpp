// Contractions of tensors with labelled dimensions (einsum, tensordot, inner): each step is one
// batched matrix product over permuted and joined dimensions, copied only where strides demand it.
#include <algorithm>
#include <array>
#include <numeric>

#include "ops/autocast.h"
#include "ops/op_table.h"
#include "ops/products.h"

namespace wengert {
namespace ops {

LabelSet label_set(const Dims& labels) {
  LabelSet set = 0;
  for (int64_t l : labels) set |= LabelSet{1} << l;
  return set;
}

namespace {

bool has(LabelSet set, int64_t label) {
  return set >> label & 1;
}

int place_of(const Labelled& x, int64_t label) {
  return static_cast<int>(std::find(x.labels.begin(), x.labels.end(), label) - x.labels.begin());
}

// Those of x's labels that are in the set, outermost in memory first, so that joining dimensions
// copies least.
Dims by_stride(const Labelled& x, LabelSet set) {
  Dims out;
  for (int64_t l : x.labels) {
    if (has(set, l)) out.push_back(l);
  }
  std::stable_sort(out.begin(), out.end(), [&](int64_t a, int64_t b) {
    return x.tensor.stride(place_of(x, a)) > x.tensor.stride(place_of(x, b));
  });
  return out;
}

Dims sizes_of(const Labelled& x, const Dims& labels) {
  Dims sizes;
  for (int64_t l : labels) sizes.push_back(x.tensor.size(place_of(x, l)));
  return sizes;
}

// Whether dimensions in this order can be joined without a copy.
bool joins(const Labelled& x, const Dims& labels) {
  for (int i = 0; i + 1 < labels.size(); ++i) {
    const int outer = place_of(x, labels[i]), inner = place_of(x, labels[i + 1]);
    if (x.tensor.stride(outer) != x.tensor.stride(inner) * x.tensor.size(inner)) return false;
  }
  return true;
}

// x with its dimensions in the order of the groups.
Tensor ordered(const Labelled& x, std::initializer_list<const Dims*> groups) {
  Dims order;
  bool same = true;
  for (const Dims* group : groups) {
    for (int64_t l : *group) {
      const int at = place_of(x, l);
      same = same && at == order.size();
      order.push_back(at);
    }
  }
  return same ? x.tensor : permute(x.tensor, order);
}

void append(Dims& to, const Dims& from) {
  for (int64_t v : from) to.push_back(v);
}

// The product without a sum: elementwise, broadcast.
Labelled outer_product(const Labelled& a, const Labelled& b, LabelSet both) {
  const Dims shared = by_stride(a, both), rows = by_stride(a, label_set(a.labels) & ~both),
             cols = by_stride(b, label_set(b.labels) & ~both);
  Labelled out;
  append(out.labels, shared);
  append(out.labels, rows);
  append(out.labels, cols);
  Dims left = sizes_of(a, shared), right = left;
  append(left, sizes_of(a, rows));
  append(left, Dims::filled(cols.size(), 1));
  append(right, Dims::filled(rows.size(), 1));
  append(right, sizes_of(b, cols));
  out.tensor = mul(reshape(ordered(a, {&shared, &rows}), left),
                   reshape(ordered(b, {&shared, &cols}), right));
  return out;
}

}  // namespace

Labelled without_ones(const Labelled& x) {
  Dims sizes, labels;
  for (int d = 0; d < x.labels.size(); ++d) {
    if (x.tensor.size(d) == 1) continue;
    sizes.push_back(x.tensor.size(d));
    labels.push_back(x.labels[d]);
  }
  if (labels.size() == x.labels.size()) return x;
  return {reshape(x.tensor, sizes), labels};
}

Labelled sum_out(const Labelled& x, LabelSet keep) {
  Dims drop, left;
  for (int d = 0; d < x.labels.size(); ++d) {
    if (has(keep, x.labels[d])) {
      left.push_back(x.labels[d]);
    } else {
      drop.push_back(d);
    }
  }
  if (drop.empty()) return x;
  return {sum(x.tensor, &drop, false, x.tensor.dtype()), left};
}

Labelled contract(const char* op, const Labelled& left, const Labelled& right, LabelSet keep) {
  const Labelled a = sum_out(left, keep | label_set(right.labels)),
                 b = sum_out(right, keep | label_set(left.labels));
  const LabelSet in_a = label_set(a.labels), in_b = label_set(b.labels), both = in_a & in_b;
  if (!(both & ~keep)) return outer_product(a, b, both);
  check_operands(op, a.tensor, b.tensor);
  const Dims batch = by_stride(a, both & keep), rows = by_stride(a, in_a & ~both),
             cols = by_stride(b, in_b & ~both);
  // The summed dimensions in the order of the operand that is dearer to copy, unless the other's
  // order suits both.
  const Dims as_a = by_stride(a, both & ~keep), as_b = by_stride(b, both & ~keep);
  const bool a_copies = !joins(a, as_b), b_copies = !joins(b, as_a);
  const bool choose_a = !b_copies || (a_copies && a.tensor.numel() >= b.tensor.numel());
  const Dims& inner = choose_a ? as_a : as_b;
  Dims left_sizes = sizes_of(a, batch), right_sizes;
  if (batch.size() > kMaxDims - 2) left_sizes = {product(left_sizes)};
  right_sizes = left_sizes;
  const int64_t k = product(sizes_of(a, inner));
  append(left_sizes, {product(sizes_of(a, rows)), k});
  append(right_sizes, {k, product(sizes_of(b, cols))});
  const Tensor c = matmul(reshape(ordered(a, {&batch, &rows, &inner}), left_sizes),
                          reshape(ordered(b, {&batch, &inner, &cols}), right_sizes));
  Labelled out;
  Dims sizes = sizes_of(a, batch);
  append(sizes, sizes_of(a, rows));
  append(sizes, sizes_of(b, cols));
  append(out.labels, batch);
  append(out.labels, rows);
  append(out.labels, cols);
  out.tensor = reshape(c, sizes);
  return out;
}

Tensor arrange(const Labelled& x, const Dims& labels) {
  Dims present, sizes;
  for (int64_t l : labels) {
    const int at = place_of(x, l);
    sizes.push_back(at < x.labels.size() ? x.tensor.size(at) : 1);
    if (at < x.labels.size()) present.push_back(l);
  }
  const Tensor t = ordered(x, {&present});
  return t.sizes() == sizes ? t : reshape(t, sizes);
}

namespace {

// --- the language of einsum --------------------------------------------------------------------

// Labels: A-Z, a-z, then the dimensions of the ellipsis, the last one last.
constexpr int kLetters = 52, kEllipsisEnd = kLetters + kMaxDims;
static_assert(kEllipsisEnd <= kMaxLabels);

int label_of(char c) {
  if (c >= 'A' && c <= 'Z') return c - 'A';
  return c >= 'a' && c <= 'z' ? c - 'a' + 26 : -1;
}
char letter_of(int label) {
  return static_cast<char>(label < 26 ? 'A' + label : 'a' + label - 26);
}

struct Term {
  std::vector<int> letters;
  std::optional<size_t> ellipsis;  // how many letters stand before it
};
struct Equation {
  std::vector<Term> inputs{1};
  std::optional<Term> output;
};

Equation parse_equation(std::string_view text) {
  Equation eq;
  const auto where = [&] {
    return eq.output ? std::string("output") : wengert::text("operand ", eq.inputs.size() - 1);
  };
  for (size_t i = 0; i < text.size(); ++i) {
    Term& term = eq.output ? *eq.output : eq.inputs.back();
    const char c = text[i];
    if (c == ' ') continue;
    if (c == '.') {
      if (text.substr(i, 3) != "...") {
        fail("einsum: found '.' for ", where(), " that is not part of any ellipsis, in '", text,
             "'");
      }
      if (term.ellipsis) {
        fail("einsum: found '.' for ", where(), " for which an ellipsis was already found, in '",
             text, "'");
      }
      term.ellipsis = term.letters.size();
      i += 2;
    } else if (c == ',' && !eq.output) {
      eq.inputs.emplace_back();
    } else if (text.substr(i, 2) == "->" && !eq.output) {
      eq.output.emplace();
      ++i;
    } else if (const int label = label_of(c); label >= 0) {
      if (eq.output && std::count(term.letters.begin(), term.letters.end(), label)) {
        fail("einsum: output subscript ", c, " appears more than once in the output, in '", text,
             "'");
      }
      term.letters.push_back(label);
    } else {
      fail("einsum: invalid subscript given at index ", i, " in the equation string '", text,
           "'; subscripts must be in [a-zA-Z]");
    }
  }
  return eq;
}

// The dimensions of an ellipsis, aligned on the right.
Dims ellipsis_labels(int count) {
  Dims labels;
  for (int i = kEllipsisEnd - count; i < kEllipsisEnd; ++i) labels.push_back(i);
  return labels;
}

// A label for each dimension; repeated ones become diagonals.
Labelled labelled(const Term& term, const Tensor& x, size_t operand) {
  const int letters = static_cast<int>(term.letters.size());
  if (letters > x.dim() || (letters != x.dim() && !term.ellipsis)) {
    fail("einsum: the number of subscripts in the equation (", letters,
         term.ellipsis ? ") is more than the number of dimensions ("
                       : ") does not match the number of dimensions (",
         x.dim(), ") for operand ", operand, term.ellipsis ? "" : " and no ellipsis was given");
  }
  Labelled out{x, {}};
  for (size_t i = 0; i <= term.letters.size(); ++i) {
    if (term.ellipsis == i) append(out.labels, ellipsis_labels(x.dim() - letters));
    if (i < term.letters.size()) out.labels.push_back(term.letters[i]);
  }
  for (int a = 0; a < out.labels.size(); ++a) {
    const int b =
        a + 1 +
        static_cast<int>(std::find(out.labels.begin() + a + 1, out.labels.end(), out.labels[a]) -
                         (out.labels.begin() + a + 1));
    if (b == out.labels.size()) continue;
    if (out.tensor.size(a) != out.tensor.size(b)) {
      fail("einsum: subscript ", letter_of(static_cast<int>(out.labels[a])),
           " is repeated for operand ", operand, " but the sizes don't match, ", out.tensor.size(b),
           " != ", out.tensor.size(a));
    }
    const int64_t label = out.labels[a];
    out.tensor = diagonal(out.tensor, 0, a, b);
    out.labels.erase(b);
    out.labels.erase(a);
    out.labels.push_back(label);
    --a;  // what stands there now
  }
  return out;
}

// Equal labels must have one size, or 1.
void check_sizes(const std::vector<Labelled>& operands) {
  std::array<int64_t, kMaxLabels> size;
  size.fill(1);
  for (size_t i = 0; i < operands.size(); ++i) {
    for (int d = 0; d < operands[i].labels.size(); ++d) {
      const auto label = static_cast<size_t>(operands[i].labels[d]);
      const int64_t n = operands[i].tensor.size(d);
      if (n == 1 || n == size[label]) continue;
      if (size[label] != 1) {
        fail("einsum: ",
             label < kLetters ? text("subscript ", letter_of(static_cast<int>(label)))
                              : std::string("a dimension of the ellipsis"),
             " has size ", n, " for operand ", i,
             " which does not broadcast with previously seen size ", size[label]);
      }
      size[label] = n;
    }
  }
}

Dims output_labels(const Equation& eq, const std::vector<Labelled>& operands, int ellipsis) {
  Dims out;
  if (!eq.output) {  // the ellipsis, then what appears once, in the order of the alphabet
    out = ellipsis_labels(ellipsis);
    for (int label = 0; label < kLetters; ++label) {
      int64_t seen = 0;
      for (const Term& t : eq.inputs) {
        seen += std::count(t.letters.begin(), t.letters.end(), label);
      }
      if (seen == 1) out.push_back(label);
    }
    return out;
  }
  LabelSet known = 0;
  for (const Labelled& x : operands) known |= label_set(x.labels);
  const Term& term = *eq.output;
  for (size_t i = 0; i <= term.letters.size(); ++i) {
    if (term.ellipsis == i) append(out, ellipsis_labels(ellipsis));
    if (i == term.letters.size()) break;
    if (!has(known, term.letters[i])) {
      fail("einsum: output subscript ", letter_of(term.letters[i]),
           " does not appear in the equation for any input operand");
    }
    out.push_back(term.letters[i]);
  }
  return out;
}

LabelSet labels_but(const std::vector<Labelled>& operands, size_t i, size_t j) {
  LabelSet set = 0;
  for (size_t k = 0; k < operands.size(); ++k) {
    if (k != i && k != j) set |= label_set(operands[k].labels);
  }
  return set;
}

// The pair whose product makes memory grow least. Long lists go from left to right.
std::pair<size_t, size_t> next_pair(const std::vector<Labelled>& operands, LabelSet output) {
  constexpr size_t kSearched = 24;  // the search takes the cube of the number of operands
  std::pair<size_t, size_t> best{0, 1};
  if (operands.size() == 2 || operands.size() > kSearched) return best;
  double least = 0;
  for (size_t j = 1; j < operands.size(); ++j) {
    for (size_t i = 0; i < j; ++i) {
      const Labelled &a = operands[i], &b = operands[j];
      const LabelSet keep = output | labels_but(operands, i, j), in_a = label_set(a.labels);
      double size = 1;
      for (int d = 0; d < a.labels.size(); ++d) {
        if (has(keep, a.labels[d])) size *= static_cast<double>(a.tensor.size(d));
      }
      for (int d = 0; d < b.labels.size(); ++d) {
        if (has(keep & ~in_a, b.labels[d])) size *= static_cast<double>(b.tensor.size(d));
      }
      const double growth =
          size - static_cast<double>(a.tensor.numel()) - static_cast<double>(b.tensor.numel());
      if (j == 1 || growth < least) {
        least = growth;
        best = {i, j};
      }
    }
  }
  return best;
}

Tensor einsum(std::string_view equation, const std::vector<Tensor>& tensors) {
  if (tensors.empty()) {
    fail(ErrorKind::Value, "einsum: must specify the equation string and at least one operand");
  }
  const Equation eq = parse_equation(equation);
  if (eq.inputs.size() != tensors.size()) {
    fail("einsum: ", eq.inputs.size() > tensors.size() ? "fewer" : "more",
         " operands were provided than specified in the equation '", equation,
         "': ", tensors.size(), " instead of ", eq.inputs.size());
  }
  std::vector<Labelled> operands;
  int ellipsis = 0;
  for (size_t i = 0; i < tensors.size(); ++i) {
    operands.push_back(labelled(eq.inputs[i], tensors[i], i));
    if (!eq.inputs[i].ellipsis) continue;
    const int letters = static_cast<int>(eq.inputs[i].letters.size());
    ellipsis = std::max(ellipsis, tensors[i].dim() - letters);
  }
  check_sizes(operands);
  const Dims output = output_labels(eq, operands, ellipsis);
  const LabelSet kept = label_set(output);
  if (operands.size() == 1) {
    Dims drop, left;
    Labelled& x = operands[0];
    for (int d = 0; d < x.labels.size(); ++d) {
      (has(kept, x.labels[d]) ? left : drop).push_back(has(kept, x.labels[d]) ? x.labels[d] : d);
    }
    if (!drop.empty()) x = {sum(x.tensor, &drop, false), left};  // as sum(), integers become int64
    Tensor out = arrange(x, output);
    return out.impl() == tensors[0].impl() ? view(out, out.sizes()) : out;
  }
  for (size_t i = 0; i < operands.size(); ++i) {
    operands[i] = without_ones(operands[i]);
    operands[i] = sum_out(operands[i], kept | labels_but(operands, i, i));
  }
  while (operands.size() > 1) {
    const auto [i, j] = next_pair(operands, kept);
    operands[i] = contract("einsum", operands[i], operands[j], kept | labels_but(operands, i, j));
    operands.erase(operands.begin() + static_cast<std::ptrdiff_t>(j));
  }
  return arrange(operands[0], output);
}

// --- tensordot and inner -----------------------------------------------------------------------

Tensor tensordot_pairs(const char* op, const Tensor& a, const Tensor& b, const Dims& dims_a,
                       const Dims& dims_b) {
  if (dims_a.size() != dims_b.size()) {
    fail(op, ": both dimension lists should have the same length, got ", dims_a, " and ", dims_b);
  }
  check_operands(op, a, b);
  Labelled x{a, Dims::filled(a.dim(), -1)}, y{b, Dims::filled(b.dim(), -1)};
  int next = 0;
  for (int i = 0; i < dims_a.size(); ++i) {
    const int da = wrap_dim(op, dims_a[i], a.dim()), db = wrap_dim(op, dims_b[i], b.dim());
    if (a.dim() == 0 || b.dim() == 0) fail(op, ": a 0-dim tensor has no dimension to contract");
    if (x.labels[da] >= 0 || y.labels[db] >= 0) {
      fail(op, ": dim ", x.labels[da] >= 0 ? da : db,
           " appears multiple times in the list of dims");
    }
    if (a.size(da) != b.size(db) && a.size(da) != 1 && b.size(db) != 1) {
      fail(op, ": contracted dimensions need to match, but first has size ", a.size(da), " in dim ",
           dims_a[i], " and second has size ", b.size(db), " in dim ", dims_b[i], "; shapes ",
           a.sizes(), " and ", b.sizes());
    }
    x.labels[da] = y.labels[db] = next++;
  }
  Dims output;
  for (Labelled* each : {&x, &y}) {
    for (int64_t& label : each->labels) {
      if (label < 0) output.push_back(label = next++);
    }
  }
  const Labelled c = contract(op, without_ones(x), without_ones(y), label_set(output));
  return arrange(c, output);
}

Tensor tensordot(const Tensor& a, const Tensor& b, int64_t dims) {
  if (dims < 0) fail("tensordot: expects dims >= 0, but got dims=", dims);
  if (dims > a.dim() || dims > b.dim()) {
    fail("tensordot: expects dims <= the number of dimensions of both tensors, but got dims=", dims,
         " for shapes ", a.sizes(), " and ", b.sizes());
  }
  Dims last, first;
  for (int64_t i = 0; i < dims; ++i) {
    last.push_back(i - dims);
    first.push_back(i);
  }
  return tensordot_pairs("tensordot", a, b, last, first);
}
Tensor tensordot_lists(const Tensor& a, const Tensor& b, const std::vector<Dims>& dims) {
  if (dims.size() != 2) {
    fail("tensordot: expects dims to be an int or two lists of ints, got ", dims.size(), " lists");
  }
  return tensordot_pairs("tensordot", a, b, dims[0], dims[1]);
}

Tensor inner(const Tensor& a, const Tensor& b) {
  check_operands("inner", a, b);
  if (a.dim() == 0 || b.dim() == 0) return mul(a, b);
  if (a.sizes().back() != b.sizes().back()) {
    fail("inner: the last dimension must match on both input tensors but got shapes ", a.sizes(),
         " and ", b.sizes());
  }
  return tensordot_pairs("inner", a, b, {-1}, {-1});
}

}  // namespace
}  // namespace ops

void add_einsum(OpTable& t) {
  using namespace ops;
  t.push_back(row<lowered<&einsum>>(
      "einsum(str equation, Tensor* operands)", kFunction,
      "Sums products of elements along the dimensions that the equation names, such as "
      "'bij,bjk->bik': letters label dimensions, equal letters are walked together, those that are "
      "missing behind '->' are summed, '...' stands for all others. More than two operands are "
      "contracted in pairs, the one that makes memory grow least first."));
  t.push_back(row<lowered<&tensordot>>(
      "tensordot(Tensor a, Tensor b, int dims=2)", kFunction,
      "The sum of products over the last dims dimensions of a and the first of b, or over the "
      "dimensions that two lists name."));
  t.push_back(
      row<lowered<&tensordot_lists>>("tensordot(Tensor a, Tensor b, int[][] dims)", kFunction, ""));
  t.push_back(row<lowered<&inner>>("inner(Tensor input, Tensor other)", kMethod | kFunction,
                                   "The sum of products over the last dimensions of both."));
}

}  // namespace wengert
