// Rules for batches: convolutions and pooling, whose dimension for samples the batch joins.
#include <cctype>

#include "core/error.h"
#include "transforms/rules.h"

namespace wengert::transforms {
namespace {

// Of conv2d and its like; of the others, as many as sizes are asked for.
int axes_of(const Op& op, Arguments& args) {
  for (const char c : op.name) {
    if (std::isdigit(static_cast<unsigned char>(c))) return c - '0';
  }
  return args[1].ints->size();
}

// (batch, d, ...) as (batch * d, ...)
Tensor joined(const Tensor& value) {
  Dims sizes = value.sizes();
  sizes.erase(0);
  sizes[0] *= value.size(0);
  return reshape(value, sizes);
}

std::vector<Tensor> parted(std::vector<Tensor> results, int64_t batch, int64_t samples) {
  for (Tensor& t : results) {
    Dims sizes = t.sizes();
    sizes[0] = batch;
    sizes.insert(1, samples);
    t = reshape(t, sizes);
  }
  return results;
}

}  // namespace

BatchResult batch_samples(const Op& op, bool inplace, Arguments& args, const Level& level) {
  const Tensor x = args.tensor(0);
  const int axes = axes_of(op, args);
  if (inplace || x.dim() < axes + 1 || x.dim() > axes + 2) return {};
  const Tensor value = batch_value(x, level);
  if (x.dim() == axes + 1) {
    args.set(0, value);
    return call(op, inplace, args);
  }
  args.set(0, joined(value));
  return parted(call(op, inplace, args), level.size, x.size(0));
}

// A kernel for each of the batch is a group of channels for each.
BatchResult batch_convolution(const Op& op, bool inplace, Arguments& args, const Level& level) {
  const Tensor x = args.tensor(0), weight = args.tensor(1), bias = args.tensor(2);
  const bool shared =
      !has_level(weight, level.id) && !(bias.defined() && has_level(bias, level.id));
  if (shared) return batch_samples(op, inplace, args, level);
  const int axes = axes_of(op, args);
  const auto groups = static_cast<size_t>(args.find("groups"));
  const bool single = x.dim() == axes + 1;
  if (inplace || x.dim() < axes + 1 || x.dim() > axes + 2 || weight.dim() != axes + 2 ||
      (bias.defined() && bias.dim() != 1) || args[groups].i < 1 || level.size == 0) {
    return {};
  }
  // Each of the batch must have the channels that its groups ask for: joined, they could fit.
  const bool transposed = op.name.find("transpose") != std::string::npos;
  const int64_t channels = x.size(single ? 0 : 1), n = args[groups].i;
  if (channels != (transposed ? weight.size(0) : weight.size(1) * n) || weight.size(0) % n != 0 ||
      weight.size(0) == 0) {
    return {};
  }
  Tensor value = batch_value(x, level);
  value = single ? unsqueeze(value, 1) : value;  // (batch, samples, channels, ...)
  Dims sizes = value.sizes();
  sizes.erase(0);
  sizes[1] *= level.size;
  args.set(0, reshape(movedim(value, 0, 1), sizes));
  args.set(1, joined(batch_value(weight, level)));
  if (bias.defined()) args.set(2, joined(batch_value(bias, level)));
  args.set(groups, n * level.size);
  const Tensor out = call(op, inplace, args)[0];
  sizes = out.sizes();
  sizes[1] /= level.size;
  sizes.insert(1, level.size);
  const Tensor each = movedim(reshape(out, sizes), 1, 0);
  if (!single) return std::vector{each};
  sizes = each.sizes();
  sizes.erase(1);
  return std::vector{reshape(each, sizes)};
}

}  // namespace wengert::transforms
