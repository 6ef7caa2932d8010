// The common ground of every operation that reads or writes elements by index tensors: Picks says
// where the elements stand, and four recorded operations move them. Their derivatives are each
// other: what is read is given back by adding, what is written over is read.
#pragma once

#include "kernels/kernels.h"
#include "ops/elementwise.h"

namespace wengert::ops {

// Elements of a tensor x, as a strided space in which some dimensions stand for index tensors:
// element i of the space is x at start + i . strides + at[i].
struct Picks {
  int64_t start = 0;
  int64_t span = 1;  // above every offset
  Dims sizes;
  Dims strides;  // 0 where the offsets step
  Tensor at;     // int64, broadcast to the sizes
};

// Sizes and strides of a tensor under an index. Offsets depend on strides, so picks are made by a
// function of a frame: for the tensor itself, and for the dense gradient that will have its shape.
struct Frame {
  const Dims& sizes;
  const Dims& strides;
};

// What an index may be, and what it is called when it is wrong.
struct IndexCheck {
  const char* prefix = "";              // what the message starts with
  ErrorKind kind = ErrorKind::Runtime;  // of one out of range
  int dim = 0;                          // the dimension that the message names
  bool wraps = false;                   // whether negative ones count from the end
};
// Sets at (or, if `adds`, adds to it) index * stride, index broadcast to at's shape, after
// checking every index against the size.
void add_offsets(const Tensor& at, const Tensor& index, int64_t size, int64_t stride, bool adds,
                 const IndexCheck& check);

// Indices of dimension `dim` and whatever else `index` spans: element i of the space is x at i, but
// at index[i] in dim. The space has index's shape.
Picks picks_along(const Frame& x, int dim, const Tensor& index, const IndexCheck& check);
// Whole slices: the space is x's with dim replaced by the vector index.
Picks picks_of_slices(const Frame& x, int dim, const Tensor& index, const IndexCheck& check);
// Positions in the flattened tensor, which must be contiguous.
Picks picks_of_positions(const Frame& x, const Tensor& index, const IndexCheck& check);

// --- on dense tensors, with picks made for them; recorded ----------------------------------------

Tensor pick(const Tensor& x, const Picks& p);
// Zeros of the given sizes with g added where it was picked.
Tensor spread(const Tensor& g, const Picks& p, const Dims& sizes);
// x with the picked elements overwritten by values, or with values added; values broadcast.
Tensor put(const Tensor& x, const Picks& p, const Tensor& values);
Tensor accumulate(const Tensor& x, const Picks& p, const Tensor& values);
// x with the picked elements combined with values.
Tensor combine(const Tensor& x, const Picks& p, const Tensor& values, Reduction how);

// --- on any tensor: `make` gives the picks of a frame --------------------------------------------

enum class Write : uint8_t { Put, Accumulate };

// Not recorded. Accumulating in a narrow dtype asks for a dense x.
Tensor plain_copy(const Tensor& x);
Tensor gathered(const Tensor& x, const Picks& p);
void scatter_into(const Tensor& x, const Picks& p, const Tensor& values, Write how);
void record_pick(const Tensor& x, const Tensor& out, const Picks& dense);
void record_write(const Tensor& x, const Tensor& values, const Tensor& out, const Picks& dense,
                  Write how);
// Checks that values broadcast to the picks and have x's dtype, in the words of `op`.
void check_values(const char* op, const Tensor& x, const Picks& p, const Tensor& values);

template <class Make>
Picks dense_picks(const Tensor& x, const Picks& own, Make&& make) {
  return x.contiguous() ? own : make(Frame{x.sizes(), contiguous_strides(x.sizes())});
}

// Reads; recorded.
template <class Make>
Tensor read_picks(const Tensor& x, Make&& make) {
  const Picks own = make(Frame{x.sizes(), x.strides()});
  const Tensor out = gathered(x, own);
  if (recording(x)) record_pick(x, out, dense_picks(x, own, make));
  return out;
}

// Writes into x; recorded. Values are cast.
template <class Make>
Tensor write_picks_(const char* op, const Tensor& x, const Tensor& given, Write how, Make&& make) {
  Tensor values = to(given, x.dtype());
  const Picks own = make(Frame{x.sizes(), x.strides()});
  check_values(op, x, own, values);
  const bool records = check_inplace(op, x, recording(values));
  if (x->storage.get() == values->storage.get()) values = clone(values);
  const bool apart = how == Write::Accumulate && is_narrow(x.dtype()) && !x.contiguous();
  const Picks dense = records || apart ? dense_picks(x, own, make) : own;
  if (apart) {
    const Tensor whole = plain_copy(x);
    scatter_into(whole, dense, values, how);
    copy_into(x, whole);
  } else {
    scatter_into(x, own, values, how);
  }
  note_change(op, x);
  if (records) record_write(x, values, x, dense, how);
  return x;
}

// The same into a copy of x.
template <class Make>
Tensor write_picks(const char* op, const Tensor& x, const Tensor& given, Write how, Make&& make) {
  const Tensor values = to(given, x.dtype());
  const Picks dense = make(Frame{x.sizes(), contiguous_strides(x.sizes())});
  check_values(op, x, dense, values);
  const Tensor out = plain_copy(x);
  scatter_into(out, dense, values, how);
  if (recording(x, values)) record_write(x, values, out, dense, how);
  return out;
}

// Where elements are not zero: in the flattened tensor, and as coordinates, a row each.
Tensor nonzero_positions(const Tensor& x);
Tensor nonzero(const Tensor& x);

Tensor msort(const Tensor& x);  // sorted along the first dimension

}  // namespace wengert::ops
