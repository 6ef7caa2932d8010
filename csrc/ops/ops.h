// The operations as C++ functions. Each is defined in its family's file, together with its dtype
// and shape rule, its launch, its derivative rule and its row in the table.
#pragma once

#include <optional>
#include <string_view>
#include <vector>

#include "core/tensor.h"

namespace wengert {

// A Python number: an int, a float or a bool.
struct Number {
  bool integral = false;
  int64_t i = 0;
  double d = 0;
  bool boolean = false;  // then integral too
};

using OptDType = std::optional<DType>;
using OptInt = std::optional<int64_t>;

DType default_dtype();
void set_default_dtype(DType d);

// PyTorch's promotion: dimensioned tensors, then 0-dim tensors, then Python numbers; a lower rank
// counts only where it is of a higher category (bool, integer, floating).
DType result_type(const Tensor* const* inputs, int n);
DType promote_types(DType a, DType b);  // of tensors of equal rank
bool can_cast(DType from, DType to);    // whether no category is lost
// A 0-dim tensor for a Python number, of the dtype that an operation with `peer` will want.
Tensor number_like(const Number& v, const Tensor* peer);

namespace ops {

// Whether all elements are in [low, high]; NaN is not.
void check_within(const Tensor& t, double low, double high, const char* op, const char* expected);

// creation
Tensor full(const Dims& sizes, const Number& value, DType dtype, Device device = default_device());
Tensor zeros(const Dims& sizes, DType dtype, Device device = default_device());
Tensor zeros_like(const Tensor& x);
Tensor ones_like(const Tensor& x);
Tensor arange(int64_t n);  // 0, 1, ... n - 1, int64

// elementwise
Tensor add(const Tensor& a, const Tensor& b);
Tensor sub(const Tensor& a, const Tensor& b);
Tensor mul(const Tensor& a, const Tensor& b);
Tensor div(const Tensor& a, const Tensor& b);
Tensor pow(const Tensor& a, const Tensor& b);
Tensor where(const Tensor& condition, const Tensor& a, const Tensor& b);
Tensor eq(const Tensor& a, const Tensor& b);
Tensor exp(const Tensor& x);
Tensor square(const Tensor& x);

// copies
Tensor to_device(const Tensor& x, Device device, bool non_blocking = false, bool copy = false);
Tensor to(const Tensor& x, DType dtype, bool copy = false);
Tensor clone(const Tensor& x);
Tensor contiguous(const Tensor& x);
// Whether elements are dense in a memory format by PyTorch's name for it.
bool is_contiguous_in(const Tensor& x, std::string_view format);
// Broadcasting, recorded; an in-place operation that ends in it gives its name.
Tensor& copy_(Tensor& self, const Tensor& source, const char* known_as = "copy_",
              bool non_blocking = false);
// What an in-place operation does with a result computed apart: checks its shape and dtype, then
// overwrites self with it, recorded.
// `known_as`, where op does not live for good: another name of it that does.
Tensor overwrite(const char* op, const Tensor& self, const Tensor& result,
                 const char* known_as = nullptr);
// broadcasting, not recorded
void copy_into(const Tensor& to, const Tensor& from, bool non_blocking = false);
// Throws where a number cannot be written into integers of a dtype.
void check_fits(const Number& v, DType dtype);
void fill(const Tensor& x, const Number& v);  // not recorded

// views
Tensor reshape(const Tensor& x, const Dims& sizes);
Tensor view(const Tensor& x, const Dims& sizes);
Tensor expand(const Tensor& x, const Dims& sizes);
Tensor permute(const Tensor& x, const Dims& order);
Tensor transpose(const Tensor& x, int64_t a, int64_t b);
Tensor squeeze(const Tensor& x, int64_t dim);
Tensor squeeze_dims(const Tensor& x, const Dims* dims);  // null: every one of size 1
Tensor unsqueeze(const Tensor& x, int64_t dim);
Tensor detach(const Tensor& x);
Tensor narrow(const Tensor& x, int64_t dim, int64_t start, int64_t length);
Tensor select(const Tensor& x, int64_t dim, int64_t index);
std::vector<Tensor> unbind(const Tensor& x, int64_t dim);
Tensor diagonal(const Tensor& x, int64_t offset, int64_t dim1, int64_t dim2);

// joins
Tensor cat(const std::vector<Tensor>& tensors, int64_t dim);
Tensor stack(const std::vector<Tensor>& tensors, int64_t dim);

// reductions; a null list means all dimensions
Tensor sum(const Tensor& x, const Dims* dims, bool keepdim, OptDType dtype = {});
Tensor mean(const Tensor& x, const Dims* dims, bool keepdim, OptDType dtype = {});
Tensor amax(const Tensor& x, const Dims* dims, bool keepdim);
Tensor cumsum(const Tensor& x, int64_t dim, OptDType dtype = {});
Tensor amin(const Tensor& x, const Dims* dims, bool keepdim);
Tensor argmax(const Tensor& x, OptInt dim, bool keepdim);

// sorting
Tensor argsort(const Tensor& x, int64_t dim, bool descending = false, bool stable = true);

// matrix products
Tensor matmul(const Tensor& a, const Tensor& b);
Tensor linear(const Tensor& input, const Tensor& weight, const Tensor& bias);

// What basic indexing (integers, slices, None, ...) picks: a start and a step for each dimension of
// the source, and for each dimension of the result its size and the source dimension it walks.
struct Region {
  int64_t start[kMaxDims];
  int64_t step[kMaxDims];
  int8_t source[kMaxDims];  // -1: a new dimension of size 1
  Dims sizes;
};

// rows
Tensor softmax(const Tensor& x, int64_t dim, OptDType dtype = {});
Tensor log_softmax(const Tensor& x, int64_t dim, OptDType dtype = {});

// indexing
Region whole_region(const Tensor& x);
Tensor at_region(const Tensor& x, const Region& r);                         // a view
void assign_region(const Tensor& x, const Region& r, const Tensor& value);  // recorded
// A Region, and index tensors for some of its dimensions: int64 or int32 ones for one dimension
// each, masks (bool or uint8) for as many as they have.
struct Index {
  Region region;
  bool whole = true;  // the region is all of the tensor, as it is
  Tensor at[kMaxDims];
};
bool is_mask(const Tensor& index);
void check_index_tensor(const Tensor& index);       // its dtype
Tensor index(const Tensor& x, const Index& index);  // a copy
// Written over or added to; recorded. Values are broadcast and cast.
void index_put_(const char* op, const Tensor& x, const Index& index, const Tensor& values,
                bool accumulates);
Tensor masked_fill_(const Tensor& x, const Tensor& mask, const Tensor& value);
// Rows by integers, in which negative ones count from the end.
Tensor take_rows(const Tensor& x, const Tensor& rows);
Tensor gather(const Tensor& x, int64_t dim, const Tensor& index);
Tensor scatter_add(const Tensor& x, int64_t dim, const Tensor& index, const Tensor& src);
Tensor index_select(const Tensor& x, int64_t dim, const Tensor& index);

}  // namespace ops

// For every in-place operation: throws where PyTorch would, and otherwise returns whether the
// change must be recorded.
bool check_inplace(const char* op, const Tensor& self, bool inputs_record);
// The part of it that in-place changes of shape need, too.
void check_no_leaf(const char* op, const Tensor& self);
// Throws unless a result of dtype `from` may be written into a tensor of dtype `to`: a category
// (bool, integer, floating) is never lost.
void check_castable(const char* op, DType from, DType to);
// Makes `view` known as a view of `of`, or of what that is a view of.
void set_base(const Tensor& view, const Tensor& of);

}  // namespace wengert
