// Rules for batches: matrix products and losses.
#include <algorithm>
#include <string>

#include "core/error.h"
#include "transforms/rules.h"

namespace wengert::transforms {
namespace {

// The ranks that an operation takes; 0: any.
std::pair<int, int> ranks_of(std::string_view name) {
  if (name == "mm") return {2, 2};
  if (name == "bmm") return {3, 3};
  if (name == "mv") return {2, 1};
  if (name == "dot" || name == "vdot") return {1, 1};
  return {0, 0};
}

bool given(Arguments& args, std::string_view param) {
  const int at = args.find(param);
  return at >= 0 && args[place(at)].given;
}

Dims after_batch(const Tensor& t) {
  Dims dims;
  for (int d = 1; d < t.dim(); ++d) dims.push_back(d);
  return dims;
}

}  // namespace

BatchResult batch_matmul(const Op& op, bool inplace, Arguments& args, const Level& level) {
  const Tensor a = args.tensor(0), b = args.tensor(1);
  const int ra = a.dim(), rb = b.dim();
  const auto [want_a, want_b] = ranks_of(op.name);
  const bool fits = (want_a == 0 || (ra == want_a && rb == want_b)) && ra > 0 && rb > 0;
  if (inplace || !fits || a.size(ra - 1) != b.size(rb == 1 ? 0 : rb - 2)) return {};
  if (!has_level(a, level.id) && ra == 2 && rb == 1) {  // one product for the whole batch
    return std::vector{matmul(layer_of(b)->value, transpose(a, 0, 1))};
  }
  const int rank = std::max({ra, rb, 2});
  // A vector is a row on the left, a column on the right.
  Tensor left = ra == 1 ? unsqueeze(a, 0) : a, right = rb == 1 ? unsqueeze(b, 1) : b;
  left = aligned(left, rank, level);
  right = aligned(right, rank, level);
  Tensor out = matmul(left, right);
  if (ra > 1 && rb > 1) return std::vector{out};
  Dims sizes(out.sizes().begin(), out.dim() - 2);
  if (ra > 1) sizes.push_back(out.size(out.dim() - 2));
  if (rb > 1) sizes.push_back(out.size(out.dim() - 1));
  return std::vector{reshape(out, sizes)};
}

BatchResult batch_linear(const Op& op, bool inplace, Arguments& args, const Level& level) {
  const Tensor x = args.tensor(0), weight = args.tensor(1), bias = args.tensor(2);
  if (x.dim() == 0 || weight.dim() != 2) return {};
  if (!weight->layer && !(bias.defined() && bias->layer)) {
    args.set(0, batch_value(x, level));
    return call(op, inplace, args);
  }
  const Tensor product = matmul(x, transpose(weight, 0, 1));
  return std::vector{batch_value(bias.defined() ? add(product, bias) : product, level)};
}

BatchResult batch_outer(const Op& op, bool inplace, Arguments& args, const Level& level) {
  (void)op;
  const Tensor a = args.tensor(0), b = args.tensor(1);
  if (inplace || a.dim() != 1 || b.dim() != 1) return {};
  return std::vector{batch_value(mul(unsqueeze(a, 1), unsqueeze(b, 0)), level)};
}

// A letter that is free stands for the batch.
BatchResult batch_einsum(const Op& op, bool inplace, Arguments& args, const Level& level) {
  std::string equation = args[0].text;
  equation.erase(std::remove(equation.begin(), equation.end(), ' '), equation.end());
  char batch = 0;
  for (char c = 'a'; c <= 'z' && !batch; ++c) {
    if (equation.find(c) == std::string::npos) batch = c;
  }
  if (!batch || equation.find('.') != std::string::npos) return {};
  const size_t arrow = equation.find("->");
  std::string out = arrow == std::string::npos ? "" : equation.substr(arrow + 2);
  std::string terms = equation.substr(0, arrow);
  if (arrow == std::string::npos) {  // letters that occur once, in order
    for (int c = 'A'; c <= 'z'; ++c) {
      if (std::isalpha(c) && std::count(terms.begin(), terms.end(), static_cast<char>(c)) == 1) {
        out += static_cast<char>(c);
      }
    }
  }
  std::string changed;
  size_t from = 0;
  for (Tensor& t : args.list()) {
    if (from > terms.size()) return {};
    const size_t comma = std::min(terms.find(',', from), terms.size());
    if (!changed.empty()) changed += ',';
    if (has_level(t, level.id)) {
      changed += batch;
      t = layer_of(t)->value;
    }
    changed += terms.substr(from, comma - from);
    from = comma + 1;
  }
  if (from <= terms.size()) return {};
  changed += "->";
  changed += batch + out;
  args.set(0, changed.c_str());
  return call(op, inplace, args);
}

BatchResult batch_loss(const Op& op, bool inplace, Arguments& args, const Level& level) {
  const auto reduction = place(args.find("reduction"));
  if (given(args, "size_average") || given(args, "reduce") || given(args, "weight")) return {};
  const std::string how = args[reduction].text;
  const Tensor input = args.tensor(0), target = args.tensor(1);
  if (!(input.sizes() == target.sizes())) return {};
  args.set(reduction, "none");
  args.set(0, batch_value(input, level));
  args.set(1, batch_value(target, level));
  args.each([&](Tensor& t) { t = aligned(t, input.dim(), level); });
  const std::vector<Tensor> each = call(op, inplace, args);
  const Dims dims = after_batch(each[0]);
  if (how == "none") return each;
  if (how == "mean") return std::vector{mean(each[0], dims)};
  const Tensor total = sum(each[0], dims);
  if (how == "sum") return std::vector{total};
  if (how != "batchmean" || op.name != "kl_div" || input.dim() == 0) return {};
  const Number share{false, 0, 1 / static_cast<double>(input.size(0))};
  return std::vector{mul(total, number_like(share, &innermost(total)))};
}

// Classes stand in dimension 1, or in the only one: the batch joins dimension 0.
BatchResult batch_class_loss(const Op& op, bool inplace, Arguments& args, const Level& level) {
  const auto reduction = place(args.find("reduction"));
  if (given(args, "size_average") || given(args, "reduce") || given(args, "weight")) return {};
  const Tensor input = args.tensor(0), target = args.tensor(1);
  const bool classes = !is_floating(target.dtype());
  if (input.dim() == 0 || target.dim() != input.dim() - (classes ? 1 : 0)) return {};
  const std::string how = args[reduction].text;
  if (how != "mean" && how != "sum" && how != "none") return {};
  const auto join = [&](const Tensor& t) {
    const Tensor value = batch_value(t, level);
    if (input.dim() == 1) return value;
    Dims sizes{value.size(0) * value.size(1)};
    for (int d = 2; d < value.dim(); ++d) sizes.push_back(value.size(d));
    return reshape(value, sizes);
  };
  args.set(reduction, "none");
  args.set(0, join(input));
  args.set(1, join(target));
  const Tensor each = call(op, inplace, args)[0];
  Dims sizes{level.size};
  for (int d = 0; d < input.dim(); ++d) {
    if (d != (input.dim() == 1 ? 0 : 1)) sizes.push_back(input.size(d));
  }
  const Tensor losses = reshape(each, sizes);
  if (how == "none") return std::vector{losses};
  const Tensor total = sum(losses, after_batch(losses));
  if (how == "sum") return std::vector{total};
  static const Op& ne = *find_op("ne");
  static const Op& div = *find_op("div");
  if (!classes) {
    const int64_t count = input.dim() == 1 ? 1 : input.size(0);
    const int64_t rest = losses.numel() / std::max<int64_t>(level.size * count, 1);
    const Number n{true, count * std::max<int64_t>(rest, 1), 0};
    return std::vector{call(div, total, number_like(n, &innermost(total)))};
  }
  const Number ignored{true, args[place(args.find("ignore_index"))].i, 0};
  const Tensor counted =
      call(ne, batch_value(target, level), number_like(ignored, &innermost(target)));
  return std::vector{call(div, total, sum(to(counted, total.dtype()), after_batch(counted)))};
}

}  // namespace wengert::transforms
