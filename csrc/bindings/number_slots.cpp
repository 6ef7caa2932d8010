// The operators of Tensor: CPython's number slots and rich comparison, which go straight to the
// rows of the table.
#include "bindings/py_tensor.h"
#include "core/error.h"
#include "transforms/call.h"

namespace wengert::bindings {
namespace {

enum Binary {
  kAdd,
  kSub,
  kMul,
  kDiv,
  kFloorDivide,
  kRemainder,
  kAnd,
  kOr,
  kXor,
  kLeftShift,
  kRightShift,
  kMatmul,
  kPow,
  kEq,
  kNe,
  kLt,
  kLe,
  kGt,
  kGe,
  kNumBinary
};
constexpr const char* kBinaryNames[kNumBinary] = {"add",
                                                  "sub",
                                                  "mul",
                                                  "div",
                                                  "floor_divide",
                                                  "remainder",
                                                  "bitwise_and",
                                                  "bitwise_or",
                                                  "bitwise_xor",
                                                  "bitwise_left_shift",
                                                  "bitwise_right_shift",
                                                  "matmul",
                                                  "pow",
                                                  "eq",
                                                  "ne",
                                                  "lt",
                                                  "le",
                                                  "gt",
                                                  "ge"};
const Op* binary_ops[kNumBinary];
const Op* neg_op;
const Op* abs_op;
const Op* not_op;

// The other operand of a tensor; undefined if it is nothing that can stand in arithmetic.
Tensor operand(PyObject* o, const Tensor& peer) {
  Number n;
  if (number_from(o, n)) return number_like(n, &peer);
  if (is_array(o)) return tensor_from_array(o);
  return {};
}

// Refuses numbers that PyTorch's operators refuse.
void check_operand(const Op& op, PyObject* number) {
  if (&op == binary_ops[kSub] && PyBool_Check(number)) {
    fail("sub: subtraction, the - operator, with a bool is not supported; use logical_not or ^");
  }
}

Tensor apply(const Op& op, const Tensor& a, const Tensor& b) {
  return a->layer || b->layer ? transforms::call(op, a, b) : op.binary(a, b);
}
Tensor apply(const Op& op, const Tensor& a) {
  return a->layer ? transforms::call(op, a) : op.unary(a);
}

PyObject* binary(const Op& op, PyObject* a, PyObject* b) {
  return guarded([&]() -> PyObject* {
    if (is_tensor(a) && is_tensor(b)) return wrap(apply(op, any_tensor_of(a), any_tensor_of(b)));
    const bool left = is_tensor(a);
    const Tensor& own = any_tensor_of(left ? a : b);
    const Tensor other = operand(left ? b : a, own);
    const bool number_in_matmul = &op == binary_ops[kMatmul] && other.defined() && other->weak;
    if (!other.defined() || number_in_matmul) Py_RETURN_NOTIMPLEMENTED;
    check_operand(op, left ? b : a);
    return wrap(left ? apply(op, own, other) : apply(op, other, own));
  });
}
template <Binary K>
PyObject* binary_slot(PyObject* a, PyObject* b) {
  return binary(*binary_ops[K], a, b);
}
PyObject* power_slot(PyObject* a, PyObject* b, PyObject* modulus) {
  if (modulus != Py_None) {
    PyErr_SetString(PyExc_TypeError, "pow: a modulus is not supported with tensors");
    return nullptr;
  }
  return binary(*binary_ops[kPow], a, b);
}

template <Binary K>
PyObject* inplace_slot(PyObject* a, PyObject* b) {
  return guarded([&]() -> PyObject* {
    const Tensor& self = any_tensor_of(a);
    const Tensor other = is_tensor(b) ? any_tensor_of(b) : operand(b, self);
    if (!other.defined()) Py_RETURN_NOTIMPLEMENTED;
    check_operand(*binary_ops[K], b);
    if (self->layer || other->layer) {
      return wrap(transforms::call(*binary_ops[K], self, other, true));
    }
    return wrap(binary_ops[K]->binary_inplace(self, other));
  });
}

PyObject* inplace_power_slot(PyObject* a, PyObject* b, PyObject*) {
  return inplace_slot<kPow>(a, b);
}

PyObject* invert_slot(PyObject* a) {
  return guarded([&] {
    if (is_floating(any_tensor_of(a).dtype())) {
      fail(ErrorKind::Type,
           "~ (operator.invert) is only implemented on integer and bool tensors, "
           "got ",
           name_of(any_tensor_of(a).dtype()));
    }
    return wrap(apply(*not_op, any_tensor_of(a)));
  });
}
PyObject* negative_slot(PyObject* a) {
  return guarded([&] { return wrap(apply(*neg_op, any_tensor_of(a))); });
}
PyObject* absolute_slot(PyObject* a) {
  return guarded([&] { return wrap(apply(*abs_op, any_tensor_of(a))); });
}
PyObject* positive_slot(PyObject* a) {
  return Py_NewRef(a);
}

PyObject* compare_slot(PyObject* a, PyObject* b, int op) {
  constexpr Binary of[] = {kLt, kLe, kEq, kNe, kGt, kGe};  // in the order of Py_LT ... Py_GE
  return binary(*binary_ops[of[op]], a, b);
}

int bool_slot(PyObject* o) {
  int result = -1;
  const int failed = guarded_int([&] {
    const Tensor& t = tensor_of(o);
    if (t.numel() != 1) {
      fail("bool: Boolean value of Tensor with ",
           t.numel() == 0 ? "no values" : "more than one value", " is ambiguous; shape ",
           t.sizes());
    }
    result = t.to_double() != 0;
  });
  return failed ? -1 : result;
}
py::object single_item(PyObject* o) {
  const Tensor& t = tensor_of(o);
  if (t.numel() != 1) {
    fail(ErrorKind::Value, "only one element tensors can be converted to Python scalars; shape ",
         t.sizes());
  }
  return py::reinterpret_steal<py::object>(item_of(t));
}
PyObject* int_slot(PyObject* o) {
  return guarded([&] { return PyNumber_Long(single_item(o).ptr()); });
}
PyObject* float_slot(PyObject* o) {
  return guarded([&] { return PyNumber_Float(single_item(o).ptr()); });
}
PyObject* index_slot(PyObject* o) {
  return guarded([&]() -> PyObject* {
    const Tensor& t = tensor_of(o);
    if (is_floating(t.dtype()) || t.numel() != 1) {
      fail(ErrorKind::Type,
           "index: only integer tensors of a single element can be converted to an "
           "index, got ",
           name_of(t.dtype()), " of shape ", t.sizes());
    }
    return PyLong_FromLongLong(t.to_int64());
  });
}

}  // namespace

std::vector<PyType_Slot> number_slots() {
  for (int k = 0; k < kNumBinary; ++k) binary_ops[k] = find_op(kBinaryNames[k]);
  neg_op = find_op("neg");
  abs_op = find_op("abs");
  not_op = find_op("bitwise_not");
  const auto slot = [](int id, auto* fn) { return PyType_Slot{id, reinterpret_cast<void*>(fn)}; };
  return {slot(Py_tp_richcompare, &compare_slot),
          slot(Py_nb_add, &binary_slot<kAdd>),
          slot(Py_nb_subtract, &binary_slot<kSub>),
          slot(Py_nb_multiply, &binary_slot<kMul>),
          slot(Py_nb_true_divide, &binary_slot<kDiv>),
          slot(Py_nb_floor_divide, &binary_slot<kFloorDivide>),
          slot(Py_nb_remainder, &binary_slot<kRemainder>),
          slot(Py_nb_and, &binary_slot<kAnd>),
          slot(Py_nb_or, &binary_slot<kOr>),
          slot(Py_nb_xor, &binary_slot<kXor>),
          slot(Py_nb_lshift, &binary_slot<kLeftShift>),
          slot(Py_nb_rshift, &binary_slot<kRightShift>),
          slot(Py_nb_matrix_multiply, &binary_slot<kMatmul>),
          slot(Py_nb_power, &power_slot),
          slot(Py_nb_inplace_add, &inplace_slot<kAdd>),
          slot(Py_nb_inplace_subtract, &inplace_slot<kSub>),
          slot(Py_nb_inplace_multiply, &inplace_slot<kMul>),
          slot(Py_nb_inplace_true_divide, &inplace_slot<kDiv>),
          slot(Py_nb_inplace_floor_divide, &inplace_slot<kFloorDivide>),
          slot(Py_nb_inplace_remainder, &inplace_slot<kRemainder>),
          slot(Py_nb_inplace_and, &inplace_slot<kAnd>),
          slot(Py_nb_inplace_or, &inplace_slot<kOr>),
          slot(Py_nb_inplace_xor, &inplace_slot<kXor>),
          slot(Py_nb_inplace_lshift, &inplace_slot<kLeftShift>),
          slot(Py_nb_inplace_rshift, &inplace_slot<kRightShift>),
          slot(Py_nb_inplace_power, &inplace_power_slot),
          slot(Py_nb_negative, &negative_slot),
          slot(Py_nb_positive, &positive_slot),
          slot(Py_nb_absolute, &absolute_slot),
          slot(Py_nb_invert, &invert_slot),
          slot(Py_nb_bool, &bool_slot),
          slot(Py_nb_int, &int_slot),
          slot(Py_nb_index, &index_slot),
          slot(Py_nb_float, &float_slot)};
}

}  // namespace wengert::bindings
