// What a library of a user's own operations includes, and all that it needs:
//
//   using namespace wengert;
//   static void add_operations(Library& library) {
//     library.add<&my_function>("my_function(Tensor x, int n=2)", "What it does. Derivative: ...");
//     library.add<MyFunctor, double>("my_functor(Tensor x, float beta=1.0)", "...");
//   }
//   const Extension wengert_extension{"mine", &add_operations};
//
// After wengert.ops.load_library(path) they are wengert.ops.mine.my_function and so on. What a
// signature may say stands in ops/op_table.h, what a functor is in kernels/functors/functor.h, how
// a function is recorded with a derivative in tape/node.h.
#pragma once

// The loops of functors are made here, for the processor that this is compiled for (-march).
#if defined(__AVX512BW__) && defined(__AVX512DQ__) && defined(__AVX512VL__)
#define WENGERT_ISA avx512
#define WENGERT_ISA_NAME "avx512"
#define WENGERT_VEC_BYTES 64
#elif defined(__AVX2__) && defined(__FMA__)
#define WENGERT_ISA avx2
#define WENGERT_ISA_NAME "avx2"
#define WENGERT_VEC_BYTES 32
#elif defined(__SSE4_2__)
#define WENGERT_ISA v2
#define WENGERT_ISA_NAME "v2"
#define WENGERT_VEC_BYTES 16
#elif defined(__aarch64__)
#define WENGERT_ISA neon
#define WENGERT_ISA_NAME "neon"
#define WENGERT_VEC_BYTES 16
#else
#error "wengert needs -march=x86-64-v2 or above, such as -march=native"
#endif

#include "kernels/cpu/cpu.h"
#include "kernels/cpu/map_isa.h"
#include "kernels/cpu/parallel.h"
#include "ops/elementwise.h"
#include "ops/elementwise_rows.h"
#include "ops/library.h"
#include "ops/rows.h"

namespace wengert {

constexpr Extension::Extension(const char* name, void (*fill)(Library&))
    : stamp(kStamp.data()), isa(WENGERT_ISA_NAME), name_space(name), load(fill) {}

namespace WENGERT_ISA {

template <cpu::MapFn Loop>
void run_loop(const Launch& l) {
  cpu::drive(l, Loop, l.number, true);
}

// Dtypes are converted to those that are computed in.
template <class F, int Part, class T>
constexpr KernelFn part_of() {
  if constexpr (Part == 0) {
    if constexpr (has_forward<F, T>()) return &run_loop<&map_forward<F, T, false>>;
  } else if constexpr (requires { F::uses; } && (__is_same(T, float) || __is_same(T, double))) {
    return &run_loop<&map_gradient<F, Part - 1, T, false>>;
  }
  return nullptr;
}

template <class F, int Part>
AddedKernel added_kernel() {
  AddedKernel k{F::name, true, Part};
  if (Part > 0) k.name += ".grad" + std::to_string(Part - 1);
  for (int d = 0; d < kNumDTypes; ++d) {
    k.fn[d] = visit_compute(compute_dtype(static_cast<DType>(d)),
                            []<class T>() { return part_of<F, Part, T>(); });
  }
  return k;
}

template <class F>
void add_kernels_of(MapInfo& info) {
  static_assert(F::arity >= 1 && F::arity <= 3);
  const AddedKernel all[] = {added_kernel<F, 0>(), added_kernel<F, F::arity >= 1 ? 1 : 0>(),
                             added_kernel<F, F::arity >= 2 ? 2 : 0>(),
                             added_kernel<F, F::arity >= 3 ? 3 : 0>()};
  info.kernel = add_kernels({all, 1 + F::arity});
}

}  // namespace WENGERT_ISA

// The C++ function of a functor: its operands, then its parameters.
template <class F, class Operands, class... Ps>
struct Mapped;
template <class F, int... I, class... Ps>
struct Mapped<F, std::integer_sequence<int, I...>, Ps...> {
  template <int>
  using Operand = const Tensor&;
  static Tensor run(const Tensor* const* in, const Tensor* inplace, Ps... ps) {
    const double params[4] = {static_cast<double>(ps)...};
    return map(info_of<F>(), in, params, inplace);
  }
  static Tensor apart(Operand<I>... x, Ps... ps) {
    const Tensor* in[] = {&x...};
    return run(in, nullptr, ps...);
  }
  static Tensor in_place(Operand<I>... x, Ps... ps) {
    const Tensor* in[] = {&x...};
    return run(in, in[0], ps...);
  }
};

template <class F, class... Ps>
void Library::add(std::string_view signature, std::string_view doc) {
  static_assert(!is_builtin<F>, "this functor is an operation of wengert's");
  static_assert(sizeof...(Ps) <= 4, "a functor has at most four parameters");
  static_assert(std::is_constructible_v<F, const double*>
                    ? sizeof(F) == sizeof...(Ps) * sizeof(double)
                    : sizeof...(Ps) == 0,
                "the functor's parameters are doubles, and as many as types are given");
  using Fns = Mapped<F, std::make_integer_sequence<int, F::arity>, Ps...>;
  Op op = row<&Fns::apart, &Fns::in_place>(qualified(signature), kFunction, doc);
  for (int i = 0; i < F::arity; ++i) {
    if (op.params[static_cast<size_t>(i)].optional) {
      fail(ErrorKind::Value, "signature '", signature, "': an operand cannot be None");
    }
  }
  if constexpr (F::arity == 1 && sizeof...(Ps) == 0) op.unary = &apply<F>;
  WENGERT_ISA::add_kernels_of<F>(added_map_info<F>);
  add_row(std::move(op));
}

}  // namespace wengert

// A user's library defines it.
extern "C" {
[[gnu::visibility("default")]] extern const wengert::Extension wengert_extension;
}
