#include "ops/op_table.h"

#include <algorithm>
#include <array>
#include <list>
#include <utility>

#include "tape/node.h"

namespace wengert {
namespace {

std::string_view trim(std::string_view s) {
  while (!s.empty() && s.front() == ' ') s.remove_prefix(1);
  while (!s.empty() && s.back() == ' ') s.remove_suffix(1);
  return s;
}

ArgType type_of(std::string_view t) {
  static constexpr std::pair<std::string_view, ArgType> names[] = {
      {"Tensor", ArgType::Tensor},
      {"Value", ArgType::Value},
      {"Number", ArgType::Number},
      {"int", ArgType::Int},
      {"float", ArgType::Float},
      {"bool", ArgType::Bool},
      {"int[]", ArgType::Ints},
      {"int*", ArgType::VarInts},
      {"dtype", ArgType::DType},
      {"device", ArgType::Device},
      {"str", ArgType::Text},
      {"int[][]", ArgType::IntLists},
      {"Tensor[]", ArgType::Tensors},
      {"Tensor*", ArgType::VarTensors},
      {"Tensor?[]", ArgType::OptTensors},
      {"Generator", ArgType::Generator},
      {"int[n]", ArgType::IntList},
  };
  for (const auto& [name, type] : names) {
    if (name == t) return type;
  }
  fail("op table: unknown type ", t);
}

// None, a truth value, a number or a 'text'.
Arg parse_default(Param& p) {
  Arg a;
  const std::string& text = p.default_text;
  a.given = text != "None";
  if (!a.given) return a;
  switch (p.type) {
    case ArgType::Bool:
      a.b = text == "True";
      break;
    case ArgType::Int:
      a.i = std::stoll(text);
      break;
    case ArgType::Float:
      a.d = std::stod(text);
      break;
    case ArgType::Number:
      a.number = {text.find('.') == std::string::npos, static_cast<int64_t>(std::stod(text)),
                  std::stod(text)};
      break;
    case ArgType::Text: {
      // Interned: a row's text must outlive any move of the row.
      static std::list<std::string> kept;
      a.text = kept.emplace_back(text.substr(1, text.size() - 2)).c_str();
      break;
    }
    default:
      fail("op table: no default such as ", text, " for ", p.name);
  }
  return a;
}

Param parse_param(std::string_view s, bool keyword_only) {
  Param p;
  p.keyword_only = keyword_only;
  const size_t space = s.find(' ');
  std::string_view type = s.substr(0, space), rest = trim(s.substr(space));
  if (type.back() == '?') {
    p.optional = true;
    type.remove_suffix(1);
  }
  p.type = type_of(type);
  if (const size_t at = rest.find('='); at != std::string_view::npos) {
    p.has_default = true;
    p.default_text = rest.substr(at + 1);
    rest = rest.substr(0, at);
  }
  p.name = rest;
  if (p.has_default) p.default_value = parse_default(p);
  return p;
}

template <class Each>
void split(std::string_view list, Each&& each) {
  while (!list.empty()) {
    const size_t comma = list.find(',');
    each(trim(list.substr(0, comma)));
    list = comma == std::string_view::npos ? "" : list.substr(comma + 1);
  }
}

std::string python_signature(const Op& op) {
  std::string out = "(";
  bool star = false;
  for (const Param& p : op.params) {
    if (out.size() > 1) out += ", ";
    if (p.keyword_only && !star) {
      out += "*, ";
      star = true;
    }
    if (p.type == ArgType::VarInts || p.type == ArgType::VarTensors) out += "*";
    out += p.name;
    if (p.has_default) out += "=" + p.default_text;
  }
  return out + ")";
}

}  // namespace

Op make_op(std::string_view signature, uint8_t where, std::string_view doc) {
  Op op;
  const size_t open = signature.find('('), close = signature.find(')');
  op.name = signature.substr(0, open);
  op.where = where;
  op.doc = doc;
  bool keyword_only = false;
  split(signature.substr(open + 1, close - open - 1), [&](std::string_view s) {
    if (s == "*") {
      keyword_only = true;
    } else {
      op.params.push_back(parse_param(s, keyword_only));
    }
  });
  if (const size_t arrow = signature.find("->"); arrow != std::string_view::npos) {
    split(trim(signature.substr(arrow + 2)),
          [&](std::string_view s) { op.outputs.emplace_back(s); });
  }
  op.signature = python_signature(op);
  return op;
}

Tensor Op::inplace(const Arg* args) const {
  if (call_inplace) return call_inplace(args);
  const Tensor& self = *args[0].tensor;
  // What the derivative keeps of self must outlive the change.
  const Tensor before = recording(self) ? ops::clone(self) : self;
  std::vector<Arg> changed(args, args + params.size());
  changed[0].tensor = &before;
  return ops::overwrite((name + "_").c_str(), self, call(changed.data()));
}

const OpTable& op_table() {
  static const OpTable table = [] {
    OpTable t;
    add_creation(t);
    add_range(t);
    add_arithmetic(t);
    add_math(t);
    add_activation(t);
    add_reduce(t);
    add_moments(t);
    add_norm(t);
    add_totals(t);
    add_scan(t);
    add_differences(t);
    add_sort(t);
    add_search(t);
    add_view(t);
    add_shape(t);
    add_split(t);
    add_join(t);
    add_diagonal(t);
    add_rearrange(t);
    add_pad(t);
    add_index_put(t);
    add_scatter(t);
    add_masked(t);
    add_matmul(t);
    add_products(t);
    add_einsum(t);
    add_distances(t);
    add_linalg(t);
    add_factors(t);
    add_spectral(t);
    add_rows(t);
    add_loss(t);
    add_cross_entropy(t);
    add_random(t);
    return t;
  }();
  return table;
}

const Op* find_op(std::string_view name) {
  const auto& t = op_table();
  const auto at = std::find_if(t.begin(), t.end(), [&](const Op& op) { return op.name == name; });
  return at == t.end() ? nullptr : &*at;
}

}  // namespace wengert
