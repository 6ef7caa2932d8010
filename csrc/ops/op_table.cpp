#include "ops/op_table.h"

#include <algorithm>
#include <cctype>
#include <charconv>
#include <list>
#include <optional>
#include <utility>

#include "tape/node.h"

namespace wengert {

namespace {

// The device of the tensors of a call.
class Together {
 public:
  void see(const Tensor& t) {
    if (!t.defined() || t->weak) return;
    const bool number = t.dim() == 0 && t.device() == Device::CPU;
    if (!found_ || number_) {
      if (found_ && number) return;
      found_ = t.device();
      number_ = number;
    } else if (!number && t.device() != *found_) {
      devices_differ(*found_, t.device());
    }
  }
  std::optional<Device> found() const { return found_; }

 private:
  std::optional<Device> found_;
  bool number_ = false;  // only those so far
};

}  // namespace

void WhereAsked::enter(const Arg* args, std::span<const Says> says) {
  Together all;
  std::optional<wengert::Device> asked;
  for (size_t i = 0; i < says.size(); ++i) {
    const Arg& a = args[i];
    if (!a.given || says[i] == Nothing) continue;
    if (says[i] == Device) asked = a.device;
    if (says[i] == Tensor) all.see(*a.tensor);
    if (says[i] == Tensors) {
      for (const wengert::Tensor& t : *a.tensors) all.see(t);
    }
  }
  go(asked ? asked : all.found());
}
void WhereAsked::enter(std::initializer_list<const wengert::Tensor*> tensors) {
  Together all;
  for (const wengert::Tensor* t : tensors) all.see(*t);
  go(all.found());
}
void WhereAsked::go(std::optional<wengert::Device> device) {
  if (device && *device != default_device()) before_ = set_default_device(*device);
}

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
  std::string known;
  for (const auto& [name, type] : names) known += text(known.empty() ? "" : ", ", name);
  fail(ErrorKind::Value, "unknown type '", t, "'; the types are ", known,
       ", and each with ? where None may be given");
}

// All of a text as a number, or nothing.
template <class T>
std::optional<T> read(std::string_view s) {
  T v{};
  const auto [end, error] = std::from_chars(s.data(), s.data() + s.size(), v);
  if (error != std::errc() || end != s.data() + s.size()) return {};
  return v;
}

// None, a truth value, a number or a 'text'.
Arg parse_default(const Param& p) {
  const std::string_view s = p.default_text;
  Arg a;
  if (s == "None" && p.optional) return a;
  a.given = true;
  if (p.type == ArgType::Bool && (s == "True" || s == "False")) {
    a.b = s == "True";
  } else if (const auto i = read<int64_t>(s); p.type == ArgType::Int && i) {
    a.i = *i;
  } else if (const auto d = read<double>(s); p.type == ArgType::Float && d) {
    a.d = *d;
  } else if (p.type == ArgType::Number && d) {
    a.number = {i.has_value(), i.value_or(0), *d};
  } else if (p.type == ArgType::Text && s.size() >= 2 && s.front() == '\'' && s.back() == '\'') {
    // Interned: a row's text must outlive any move of the row.
    static std::list<std::string> kept;
    a.text = kept.emplace_back(s.substr(1, s.size() - 2)).c_str();
  } else if ((p.type == ArgType::Ints || p.type == ArgType::VarInts) && i) {
    static std::list<Dims> kept;
    a.ints = &kept.emplace_back(Dims{*i});
  } else {
    fail(ErrorKind::Value, "'", s, "' cannot be the default of ", p.name);
  }
  return a;
}

bool is_identifier(std::string_view s) {
  const auto letter = [](char c) {
    return std::isalpha(static_cast<unsigned char>(c)) || c == '_';
  };
  const auto digit = [](char c) { return '0' <= c && c <= '9'; };
  return !s.empty() && letter(s[0]) &&
         std::all_of(s.begin(), s.end(), [&](char c) { return letter(c) || digit(c); });
}
// Of an operation: perhaps with a namespace before ::
bool is_name(std::string_view s) {
  const size_t at = s.find("::");
  return at == std::string_view::npos
             ? is_identifier(s)
             : is_identifier(s.substr(0, at)) && is_identifier(s.substr(at + 2));
}

Param parse_param(std::string_view s, bool keyword_only) {
  Param p;
  p.keyword_only = keyword_only;
  const size_t space = s.find(' ');
  if (space == std::string_view::npos) {
    fail(ErrorKind::Value, "parameter '", s, "' should be a type and a name, as in Tensor x");
  }
  std::string_view type = s.substr(0, space), rest = trim(s.substr(space));
  if (type.back() == '?') {
    p.optional = true;
    type.remove_suffix(1);
  }
  p.type = type_of(type);
  if (const size_t at = rest.find('='); at != std::string_view::npos) {
    p.has_default = true;
    p.default_text = trim(rest.substr(at + 1));
    rest = trim(rest.substr(0, at));
  }
  if (!is_identifier(rest)) fail(ErrorKind::Value, "'", rest, "' cannot be a parameter's name");
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

namespace {

Op parse_signature(std::string_view signature) {
  Op op;
  const size_t open = signature.find('('), close = signature.find(')');
  if (open == std::string_view::npos || close == std::string_view::npos || close < open) {
    fail(ErrorKind::Value, "no parameters in parentheses");
  }
  op.name = trim(signature.substr(0, open));
  if (!is_name(op.name)) fail(ErrorKind::Value, "'", op.name, "' cannot be an operation's name");
  bool keyword_only = false;
  split(signature.substr(open + 1, close - open - 1), [&](std::string_view s) {
    if (s == "*") {
      keyword_only = true;
      return;
    }
    Param p = parse_param(s, keyword_only);
    for (const Param& before : op.params) {
      if (before.name == p.name) fail(ErrorKind::Value, "two parameters are called ", p.name);
    }
    const bool all_optional = !op.params.empty() && op.params.back().has_default;
    const bool run = p.type == ArgType::VarInts || p.type == ArgType::VarTensors;
    if (all_optional && !p.has_default && !keyword_only && !run) {
      fail(ErrorKind::Value, p.name, " without a default comes after one that has a default");
    }
    op.params.push_back(std::move(p));
  });
  const std::string_view rest = trim(signature.substr(close + 1));
  if (rest.starts_with("->")) {
    split(trim(rest.substr(2)), [&](std::string_view s) { op.outputs.emplace_back(s); });
    // the one result of most operations needs no name
    if (op.outputs.size() == 1 && op.outputs[0] == "Tensor") op.outputs.clear();
    if (!std::all_of(op.outputs.begin(), op.outputs.end(), is_identifier)) {
      fail(ErrorKind::Value, "expected names of results after ->, not '", trim(rest.substr(2)),
           "'");
    }
  } else if (!rest.empty()) {
    fail(ErrorKind::Value, "'", rest, "' after the parameters");
  }
  op.signature = python_signature(op);
  return op;
}

}  // namespace

Op make_op(std::string_view signature, uint8_t where, std::string_view doc) {
  try {
    Op op = parse_signature(signature);
    op.where = where;
    op.doc = doc;
    return op;
  } catch (const Error& e) {
    fail(e.kind(), "signature '", signature, "': ", e.what());
  }
}

void check_params(const Op& op, bool (*const* takes)(const Param&), size_t n) {
  if (op.params.size() != n) {
    fail(ErrorKind::Value, "signature '", op.name, op.signature, "': it has ", op.params.size(),
         " parameters, but its C++ function takes ", n);
  }
  for (size_t i = 0; i < n; ++i) {
    if (takes[i](op.params[i])) continue;
    fail(ErrorKind::Value, "signature '", op.name, op.signature, "': parameter ", i + 1, ", ",
         op.params[i].name, ", is of another type than that of its C++ function");
  }
}

Tensor Op::inplace(const Arg* args) const {
  if (call_inplace) return call_inplace(args);
  const Tensor& self = *args[0].tensor;
  // What the derivative keeps of self must outlive the change.
  const Tensor before = recording(self) ? ops::clone(self) : self;
  std::vector<Arg> changed(args, args + params.size());
  changed[0].tensor = &before;
  return ops::overwrite((name + "_").c_str(), self, call(changed.data()), name.c_str());
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
    {"convolutions", &add_convolution},
    {"convolutions", &add_pool},
    {"losses", &add_loss},
    {"losses", &add_cross_entropy},
    {"layers", &add_normalization},
    {"layers", &add_batch_norm},
    {"layers", &add_embedding},
    {"layers", &add_attention},
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
