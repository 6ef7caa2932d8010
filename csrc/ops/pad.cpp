// Padding: a constant around a tensor, or places of the tensor itself.
#include "ops/op_table.h"
#include "tape/backward.h"

namespace wengert {
namespace ops {
namespace {

// How many places are added (or, negative, taken away) before and after each dimension.
struct Pads {
  Dims before, after;
};

Pads negative(const Pads& p) {
  Pads out = p;
  for (int d = 0; d < p.before.size(); ++d) {
    out.before[d] = -p.before[d];
    out.after[d] = -p.after[d];
  }
  return out;
}

// `pad` names pairs from the last dimension backwards.
Pads pads_of(const Tensor& x, const std::vector<int64_t>& pad) {
  if (pad.size() % 2 != 0) fail("pad: padding length must be divisible by 2, got ", pad.size());
  if (pad.size() > 2 * static_cast<size_t>(x.dim())) {
    fail("pad: padding length should be less than or equal to two times the input dimension, got ",
         pad.size(), " for shape ", x.sizes());
  }
  Pads p{Dims::filled(x.dim(), 0), Dims::filled(x.dim(), 0)};
  for (size_t i = 0; i < pad.size() / 2; ++i) {
    const int d = x.dim() - 1 - static_cast<int>(i);
    p.before[d] = pad[2 * i];
    p.after[d] = pad[2 * i + 1];
  }
  return p;
}

Dims padded_sizes(const Tensor& x, const Pads& p) {
  Dims sizes = x.sizes();
  for (int d = 0; d < x.dim(); ++d) {
    bool fits = p.before[d] > INT64_MIN && p.after[d] > INT64_MIN;
    fits = fits && !__builtin_add_overflow(sizes[d], p.before[d], &sizes[d]);
    fits = fits && !__builtin_add_overflow(sizes[d], p.after[d], &sizes[d]);
    if (!fits || sizes[d] < 0) {
      fail("pad: input of shape ", x.sizes(), " with padding ", p.before[d], " and ", p.after[d],
           " at dimension ", d, " has no valid size");
    }
  }
  return sizes;
}

Tensor pad_constant(const Tensor& x, const Pads& p, const Number& value);

constexpr Rule kPad{"pad", [](Node& node, Tensor* g, Tensor* out) {
                      out[0] = pad_constant(*g, negative(node.payload<Pads>()), {true, 0, 0});
                    }};

Tensor pad_constant(const Tensor& x, const Pads& p, const Number& value) {
  const Dims sizes = padded_sizes(x, p);
  Dims kept = x.sizes();
  int64_t from = 0;
  for (int d = 0; d < x.dim(); ++d) {
    const int64_t cut = std::max<int64_t>(-p.before[d], 0) + std::max<int64_t>(-p.after[d], 0);
    if (p.before[d] < -x.size(d) || p.after[d] < -x.size(d) || cut > x.size(d)) {
      fail("pad: padding ", p.before[d], " and ", p.after[d], " takes away more than dimension ", d,
           " of shape ", x.sizes(), " has");
    }
    kept[d] -= cut;
    from += std::max<int64_t>(-p.before[d], 0) * x.stride(d);
  }
  const Tensor out = full(sizes, value, x.dtype(), x.device());
  if (product(kept) > 0) {
    int64_t to = 0;
    for (int d = 0; d < x.dim(); ++d) {
      to += std::max<int64_t>(p.before[d], 0) * out.stride(d);
    }
    copy_into(out.view(kept, out.strides(), to), x.view(kept, x.strides(), from));
  }
  if (recording(x)) {
    const Tensor* in[] = {&x};
    record(kPad, in, 1, out, 0, p);
  }
  return out;
}

// --- places of the tensor itself ---------------------------------------------------------------

enum class Mode { Reflect, Replicate, Circular };

// Which of n places stands at i, which may lie outside [0, n). Circular padding goes round what
// negative padding has left, the places from `first` to `end`.
int64_t place(Mode mode, int64_t i, int64_t n, int64_t first, int64_t end) {
  switch (mode) {
    case Mode::Reflect:
      return i < 0 ? -i : i >= n ? 2 * (n - 1) - i : i;
    case Mode::Replicate:
      return std::clamp<int64_t>(i, 0, n - 1);
    default:
      return first + (i - first + 2 * (end - first)) % (end - first);
  }
}

Tensor pad_with_itself(const Tensor& x, const std::vector<int64_t>& pad, std::string_view name) {
  const Mode mode = name == "reflect"     ? Mode::Reflect
                    : name == "replicate" ? Mode::Replicate
                                          : Mode::Circular;
  const auto spatial = static_cast<int>(pad.size() / 2);
  if (spatial < 1 || spatial > 3 || (x.dim() != spatial + 1 && x.dim() != spatial + 2)) {
    fail(ErrorKind::NotImplemented, "pad: padding size ", pad.size(), " is not supported for ",
         x.dim(), "D input in mode '", name,
         "'; expected 2 for 2D or 3D, 4 for 3D or 4D, 6 for 4D or 5D input");
  }
  const Pads p = pads_of(x, pad);
  const Dims sizes = padded_sizes(x, p);
  for (int d = 0; d < x.dim(); ++d) {
    const int64_t n = x.size(d), most = std::max(p.before[d], p.after[d]);
    const bool batch = d == 0 && x.dim() == spatial + 2;
    if ((n == 0 && !batch) || (d >= x.dim() - spatial && sizes[d] < 1)) {
      fail("pad: input of shape ", x.sizes(), " is too small at dimension ", d, " for padding ",
           p.before[d], " and ", p.after[d]);
    }
    if (mode == Mode::Reflect && most >= n && most > 0) {
      fail("pad: reflect padding ", most, " should be less than the input dimension ", d,
           " of shape ", x.sizes());
    }
    if (mode == Mode::Circular &&
        most > n + std::min<int64_t>(p.before[d], 0) + std::min<int64_t>(p.after[d], 0)) {
      fail("pad: circular padding ", most, " wraps around dimension ", d, " of shape ", x.sizes(),
           " more than once");
    }
  }
  (void)product(sizes);
  Tensor out = x;
  for (int d = x.dim() - spatial; d < x.dim(); ++d) {
    if (p.before[d] == 0 && p.after[d] == 0) continue;
    const Tensor index = Tensor::empty({sizes[d]}, DType::Int64, Device::CPU);
    auto* at = index.data<int64_t>();
    const int64_t n = x.size(d), first = std::max<int64_t>(-p.before[d], 0);
    const int64_t end = n + std::min<int64_t>(p.after[d], 0);
    for (int64_t i = 0; i < sizes[d]; ++i) at[i] = place(mode, i - p.before[d], n, first, end);
    out = index_select(out, d, to_device(index, x.device()));
  }
  return out.impl() == x.impl() ? clone(x) : out;
}

Tensor pad(const Tensor& x, const std::vector<int64_t>& pad, std::string_view mode,
           const Number* value) {
  if (mode == "constant") {
    return pad_constant(x, pads_of(x, pad), value ? *value : Number{true, 0, 0});
  }
  if (mode != "reflect" && mode != "replicate" && mode != "circular") {
    fail(ErrorKind::NotImplemented, "pad: unrecognised padding mode ", mode,
         "; expected 'constant', 'reflect', 'replicate' or 'circular'");
  }
  if (value && value->d != 0) {
    fail("pad: padding mode '", mode, "' doesn't take in value argument");
  }
  return pad_with_itself(x, pad, mode);
}

}  // namespace
}  // namespace ops

void add_pad(OpTable& t) {
  using namespace ops;
  t.push_back(row<&pad>(
      "pad(Tensor input, int[n] pad, str mode='constant', Number? value=None)", kFunctional,
      "Places added before and after dimensions, in pairs from the last one backwards; negative "
      "ones are taken away. mode='constant' adds value, 'reflect' and 'replicate' and 'circular' "
      "places of the input itself, in its last one to three dimensions."));
}

}  // namespace wengert
