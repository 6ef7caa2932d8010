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

namespace {

// In the order of the reference: what a family is called there, and what adds rows to it.
struct Family {
  const char* name;
  void (*add)(OpTable&);
};
constexpr Family kFamilies[] = {
    {"creation", &add_creation},
    {"creation", &add_range},
    {"arithmetic", &add_arithmetic},
    {"mathematics", &add_math},
    {"activations", &add_activation},
    {"reductions", &add_reduce},
    {"reductions", &add_moments},
    {"reductions", &add_norm},
    {"reductions", &add_totals},
    {"scans", &add_scan},
    {"scans", &add_differences},
    {"sorting", &add_sort},
    {"sorting", &add_search},
    {"shapes", &add_view},
    {"shapes", &add_shape},
    {"shapes", &add_split},
    {"shapes", &add_join},
    {"shapes", &add_diagonal},
    {"shapes", &add_rearrange},
    {"shapes", &add_pad},
    {"indexing", &add_index_put},
    {"indexing", &add_scatter},
    {"indexing", &add_masked},
    {"products", &add_matmul},
    {"products", &add_products},
    {"products", &add_einsum},
    {"products", &add_distances},
    {"linalg", &add_linalg},
    {"linalg", &add_factors},
    {"linalg", &add_spectral},
    {"activations", &add_rows},
    {"losses", &add_loss},
    {"losses", &add_cross_entropy},
    {"random", &add_random},
};

}  // namespace

const OpTable& op_table() {
  static const OpTable table = [] {
    OpTable t;
    for (const Family& family : kFamilies) {
      const size_t first = t.size();
      family.add(t);
      for (size_t i = first; i < t.size(); ++i) t[i].family = family.name;
    }
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
