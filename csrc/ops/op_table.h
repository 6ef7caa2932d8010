// The table of operations: what bindings, documentation, stubs and tests iterate over. A row holds
// a signature in PyTorch's terms, the C++ function, and the docstring. The rows stand in the
// family's files; a row is all that a new operation needs to be a method and a function.
#pragma once

#include <array>
#include <initializer_list>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "core/device_memory.h"
#include "ops/ops.h"

namespace wengert {

class Generator;
Generator& default_generator();

enum class ArgType : uint8_t {
  Tensor,  // a tensor
  Value,   // a tensor or a number; the function receives a tensor
  Number,  // an int or a float
  Int,
  Float,
  Bool,
  Ints,     // a sequence of ints, or one int
  VarInts,  // the same, or the ints as separate arguments
  DType,
  Device,
  Text,
  IntLists,    // a sequence of sequences of ints
  Tensors,     // a sequence of tensors
  VarTensors,  // the same, or the tensors as separate arguments
  OptTensors,  // a sequence of tensors and None
  Generator,   // of random numbers; None: the default one
  IntList,     // a sequence of ints of any length
};

// One parsed argument; what it points to outlives the call.
struct Arg {
  bool given = false;  // false: None
  union {
    const Tensor* tensor;
    const Dims* ints;
    const std::vector<Dims>* int_lists;
    const std::vector<Tensor>* tensors;
    const std::vector<int64_t>* int_list;
    const char* text;
    Number number;
    int64_t i;
    double d;
    bool b;
    DType dtype;
    Device device;
    Generator* generator;
  };
  Arg() : i(0) {}
};

struct Param {
  std::string name;
  ArgType type;
  bool optional = false;  // None may be given
  bool has_default = false;
  bool keyword_only = false;
  std::string default_text;  // as Python shows it
  Arg default_value;
};

enum Exposure : uint8_t {
  kMethod = 1,      // wg.Tensor.name
  kFunction = 2,    // wg.name
  kFunctional = 4,  // wg.nn.functional.name
  kInternal = 8,    // wg._core.name, for our own Python
  kLinalg = 16,     // wg.linalg.name, for a row linalg_name
};

struct Op {
  std::string name;
  std::string signature;  // without types: "(input, dim=None, keepdim=False)"
  std::vector<Param> params;
  std::vector<std::string> outputs;  // names, of an operation with several results
  uint8_t where = 0;
  std::string doc;
  const char* family = "";  // the page of the reference
  Tensor (*call)(const Arg*) = nullptr;
  std::vector<Tensor> (*call_many)(const Arg*) = nullptr;
  Tensor (*call_inplace)(const Arg*) = nullptr;  // the method `name_`
  bool (*bare)(const Arg*) = nullptr;  // of call_many: whether to give the first result alone
  bool inplace_by_copy = false;        // `name_` computes apart, then overwrites
  // Direct ways in for the commonest forms, past the argument parser.
  Tensor (*unary)(const Tensor&) = nullptr;
  Tensor (*binary)(const Tensor&, const Tensor&) = nullptr;
  Tensor (*binary_inplace)(const Tensor&, const Tensor&) = nullptr;
  Tensor (*ternary)(const Tensor&, const Tensor&, const Tensor&) = nullptr;  // the last may be None

  bool has_inplace() const { return call_inplace || inplace_by_copy; }
  Tensor inplace(const Arg* args) const;
};

using OpTable = std::vector<Op>;
const OpTable& op_table();
const Op* find_op(std::string_view name);

// --- making rows -------------------------------------------------------------------------------

// How a parameter of a C++ function is had from a parsed argument, and of which parameters of a
// signature.
template <class T>
struct Unpack;
template <>
struct Unpack<const Tensor&> {
  static bool takes(const Param& p) {
    return p.type == ArgType::Tensor || p.type == ArgType::Value;
  }
  static const Tensor& from(const Arg& a) {
    static const Tensor none;
    return a.given ? *a.tensor : none;
  }
};
// Tensors that may be in another device's memory than the others of the call.
struct AnyDevice {
  const Tensor& tensor;
};
struct AnyDevices {
  const std::vector<Tensor>& tensors;
};
template <>
struct Unpack<AnyDevice> {
  static bool takes(const Param& p) { return Unpack<const Tensor&>::takes(p); }
  static AnyDevice from(const Arg& a) { return {Unpack<const Tensor&>::from(a)}; }
};
template <>
struct Unpack<const Dims&> {
  static bool takes(const Param& p) {
    return (p.type == ArgType::Ints || p.type == ArgType::VarInts) && !p.optional;
  }
  static const Dims& from(const Arg& a) { return *a.ints; }
};
template <>
struct Unpack<const Dims*> {
  static bool takes(const Param& p) {
    return p.type == ArgType::Ints || p.type == ArgType::VarInts;
  }
  static const Dims* from(const Arg& a) { return a.given ? a.ints : nullptr; }
};
template <>
struct Unpack<const std::vector<Dims>&> {
  static bool takes(const Param& p) { return p.type == ArgType::IntLists && !p.optional; }
  static const std::vector<Dims>& from(const Arg& a) { return *a.int_lists; }
};
template <>
struct Unpack<const std::vector<Tensor>&> {
  static bool takes(const Param& p) {
    return (p.type == ArgType::Tensors || p.type == ArgType::VarTensors ||
            p.type == ArgType::OptTensors) &&
           !p.optional;
  }
  static const std::vector<Tensor>& from(const Arg& a) { return *a.tensors; }
};
template <>
struct Unpack<AnyDevices> {
  static bool takes(const Param& p) { return Unpack<const std::vector<Tensor>&>::takes(p); }
  static AnyDevices from(const Arg& a) { return {*a.tensors}; }
};
template <>
struct Unpack<const std::vector<int64_t>&> {
  static bool takes(const Param& p) { return p.type == ArgType::IntList && !p.optional; }
  static const std::vector<int64_t>& from(const Arg& a) { return *a.int_list; }
};
template <>
struct Unpack<const Number&> {
  static bool takes(const Param& p) { return p.type == ArgType::Number && !p.optional; }
  static const Number& from(const Arg& a) { return a.number; }
};
template <>
struct Unpack<const Number*> {
  static bool takes(const Param& p) { return p.type == ArgType::Number; }
  static const Number* from(const Arg& a) { return a.given ? &a.number : nullptr; }
};
template <>
struct Unpack<int64_t> {
  static bool takes(const Param& p) { return p.type == ArgType::Int && !p.optional; }
  static int64_t from(const Arg& a) { return a.i; }
};
template <>
struct Unpack<OptInt> {
  static bool takes(const Param& p) { return p.type == ArgType::Int; }
  static OptInt from(const Arg& a) { return a.given ? OptInt(a.i) : OptInt(); }
};
template <>
struct Unpack<double> {
  static bool takes(const Param& p) { return p.type == ArgType::Float && !p.optional; }
  static double from(const Arg& a) { return a.d; }
};
template <>
struct Unpack<std::optional<double>> {
  static bool takes(const Param& p) { return p.type == ArgType::Float; }
  static std::optional<double> from(const Arg& a) {
    return a.given ? std::optional(a.d) : std::nullopt;
  }
};
template <>
struct Unpack<std::optional<bool>> {
  static bool takes(const Param& p) { return p.type == ArgType::Bool; }
  static std::optional<bool> from(const Arg& a) {
    return a.given ? std::optional(a.b) : std::nullopt;
  }
};
template <>
struct Unpack<bool> {
  static bool takes(const Param& p) { return p.type == ArgType::Bool && !p.optional; }
  static bool from(const Arg& a) { return a.b; }
};
template <>
struct Unpack<DType> {
  static bool takes(const Param& p) { return p.type == ArgType::DType && !p.optional; }
  static DType from(const Arg& a) { return a.dtype; }
};
template <>
struct Unpack<OptDType> {
  static bool takes(const Param& p) { return p.type == ArgType::DType; }
  static OptDType from(const Arg& a) { return a.given ? OptDType(a.dtype) : OptDType(); }
};
template <>
struct Unpack<Device> {
  static bool takes(const Param& p) { return p.type == ArgType::Device; }
  static Device from(const Arg& a) { return a.given ? a.device : default_device(); }
};
template <>
struct Unpack<std::string_view> {
  static bool takes(const Param& p) { return p.type == ArgType::Text; }
  static std::string_view from(const Arg& a) { return a.given ? a.text : ""; }
};

template <>
struct Unpack<Generator&> {
  static bool takes(const Param& p) { return p.type == ArgType::Generator; }
  static Generator& from(const Arg& a) { return a.given ? *a.generator : default_generator(); }
};

void check_params(const Op& op, bool (*const* takes)(const Param&), size_t n);

// What an operation makes while it runs is where it is asked for, or where its tensors are: these
// must be together, but for numbers, which 0-dim tensors in the processor's memory are.
class WhereAsked {
 public:
  enum Says : uint8_t { Nothing, Tensor, Tensors, Device };  // what an argument is
  WhereAsked(const Arg* args, std::span<const Says> says) {
    if (device_memory_in_use()) [[unlikely]]
      enter(args, says);
  }
  explicit WhereAsked(std::initializer_list<const wengert::Tensor*> tensors) {
    if (device_memory_in_use()) [[unlikely]]
      enter(tensors);
  }
  WhereAsked(const WhereAsked&) = delete;
  WhereAsked& operator=(const WhereAsked&) = delete;
  ~WhereAsked() {
    if (before_) [[unlikely]]
      set_default_device(*before_);
  }

 private:
  void enter(const Arg* args, std::span<const Says> says);
  void enter(std::initializer_list<const wengert::Tensor*> tensors);
  void go(std::optional<wengert::Device> device);
  std::optional<wengert::Device> before_;
};

// Calls a C++ function with the arguments that its own parameter types ask for.
template <auto Fn>
struct Invoke;
template <class R, class... As, R (*Fn)(As...)>
struct Invoke<Fn> {
  static R call(const Arg* a) {
    static constexpr std::array<WhereAsked::Says, sizeof...(As)> says{
        std::is_same_v<As, const Tensor&>                ? WhereAsked::Tensor
        : std::is_same_v<As, const std::vector<Tensor>&> ? WhereAsked::Tensors
        : std::is_same_v<As, Device>                     ? WhereAsked::Device
                                                         : WhereAsked::Nothing...};
    const WhereAsked here(a, says);
    return [&]<size_t... I>(std::index_sequence<I...>) {
      return Fn(Unpack<As>::from(a[I])...);
    }(std::index_sequence_for<As...>{});
  }
  // Throws unless the signature's parameters are those of the function.
  static void check(const Op& op) {
    constexpr size_t n = sizeof...(As);
    using Takes = bool (*)(const Param&);
    check_params(op, std::array<Takes, n>{&Unpack<As>::takes...}.data(), n);
  }
};

// A function of tensors alone as a direct way in.
template <auto Fn>
struct Direct;
template <class R, class... As, R (*Fn)(As...)>
struct Direct<Fn> {
  static R call(As... args) {
    const WhereAsked here{&args...};
    return Fn(args...);
  }
};
template <auto Fn>
inline constexpr auto direct = &Direct<Fn>::call;

// Parses "name(Tensor input, int dim=-1, *, dtype? dtype=None)"; names of several results stand
// after "->". Throws, saying what is wrong, for what is no signature.
Op make_op(std::string_view signature, uint8_t where, std::string_view doc);

template <auto Fn>
Op row(std::string_view signature, uint8_t where, std::string_view doc) {
  Op op = make_op(signature, where, doc);
  Invoke<Fn>::check(op);
  if constexpr (requires(const Arg* a) {
                  { Invoke<Fn>::call(a) } -> std::same_as<Tensor>;
                }) {
    op.call = &Invoke<Fn>::call;
  } else {
    op.call_many = &Invoke<Fn>::call;
  }
  return op;
}
// The same with an in-place form.
template <auto Fn, auto InplaceFn>
Op row(std::string_view signature, uint8_t where, std::string_view doc) {
  Op op = row<Fn>(signature, where, doc);
  op.call_inplace = &Invoke<InplaceFn>::call;
  return op;
}

// Gives an operation the in-place form that serves any: computed apart, then copied into self.
inline Op with_inplace(Op op) {
  op.inplace_by_copy = true;
  return op;
}

// The families.
void add_creation(OpTable& t);
void add_range(OpTable& t);
void add_arithmetic(OpTable& t);
void add_math(OpTable& t);
void add_activation(OpTable& t);
void add_reduce(OpTable& t);
void add_moments(OpTable& t);
void add_norm(OpTable& t);
void add_totals(OpTable& t);
void add_scan(OpTable& t);
void add_differences(OpTable& t);
void add_sort(OpTable& t);
void add_search(OpTable& t);
void add_view(OpTable& t);
void add_shape(OpTable& t);
void add_split(OpTable& t);
void add_join(OpTable& t);
void add_diagonal(OpTable& t);
void add_rearrange(OpTable& t);
void add_pad(OpTable& t);
void add_index_put(OpTable& t);
void add_scatter(OpTable& t);
void add_masked(OpTable& t);
void add_matmul(OpTable& t);
void add_products(OpTable& t);
void add_einsum(OpTable& t);
void add_distances(OpTable& t);
void add_linalg(OpTable& t);
void add_factors(OpTable& t);
void add_spectral(OpTable& t);
void add_rows(OpTable& t);
void add_convolution(OpTable& t);
void add_pool(OpTable& t);
void add_loss(OpTable& t);
void add_cross_entropy(OpTable& t);
void add_normalization(OpTable& t);
void add_batch_norm(OpTable& t);
void add_embedding(OpTable& t);
void add_attention(OpTable& t);
void add_random(OpTable& t);
void add_sampling(OpTable& t);

}  // namespace wengert
