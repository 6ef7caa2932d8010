// Drivers over many tensors at once: optimizer steps, norms and limits of gradients; states in
// bytes. All tensors are one long vector, cut evenly whatever their number and sizes.
#include <algorithm>
#include <atomic>
#include <cmath>

#include "kernels/cpu/cpu.h"
#include "kernels/cpu/parallel.h"
#include "kernels/cpu/scratch.h"

namespace wengert::cpu {
namespace {

constexpr int64_t kGrain = 16384, kNormBlock = 16384;

// Calls work(k, begin, end) for parts of items. A block of an item is never cut: it belongs to who
// has its first element, so that what is made of a block does not depend on the cuts.
template <class Item, class Work>
void over_items(const Item* items, int64_t num_items, int64_t count, int64_t block, Work&& work) {
  parallel_for(count, kGrain, [&](int64_t begin, int64_t end) {
    const auto whole = [&](int64_t at) { return (at + block - 1) / block * block; };
    int64_t first = 0;
    for (int64_t k = 0; k < num_items && first < end; ++k) {
      const int64_t n = items[k].count;
      const int64_t b = whole(std::max(begin - first, int64_t{0}));
      const int64_t e = end - first >= n ? n : std::min(whole(end - first), n);
      if (b < e) work(k, b, e);
      first += n;
    }
  });
}

const ListLoops& loops_of(DType d) {
  return isa().list[static_cast<int>(d)];
}
char* at(const ListedTensor& t, int64_t i) {
  return static_cast<char*>(t.data) + i * static_cast<int64_t>(item_size(t.dtype));
}

// The hardware fetches ahead within an array, not from one to the next.
void fetch_start(const OptimizerItem& it) {
  constexpr int kBytes = 1024, kLine = 64;
  const auto fetch = [](const void* from, int64_t bytes) {
    for (int64_t i = 0; i < std::min<int64_t>(bytes, kBytes); i += kLine) {
      __builtin_prefetch(static_cast<const char*>(from) + i, 0, 2);
    }
  };
  fetch(it.param, it.count * 4);
  fetch(it.grad, it.count * 4);
  for (void* s : it.state) {
    if (s) fetch(s, it.count);
  }
}

// What brings gradients of this norm to max_norm, at most 1; in the norm's precision. NaN stays.
double clip_factor(const void* norm, DType dtype, double max_norm) {
  double factor;
  if (dtype == DType::Float64) {
    factor = max_norm / (*static_cast<const double*>(norm) + 1e-6);
  } else {
    factor = static_cast<float>(max_norm) / (*static_cast<const float*>(norm) + 1e-6f);
  }
  return factor > 1 ? 1 : factor;
}

}  // namespace

void run_optimizer(const Launch& l) {
  OptimizerLaunch o = *static_cast<const OptimizerLaunch*>(l.pointer);
  if (o.skipped()) return;
  if (o.norm) o.grad_scale *= clip_factor(o.norm, o.norm_dtype, o.max_norm);
  const auto& loops = isa().optimizer[static_cast<int>(o.rule)][static_cast<int>(l.dtype)];
  over_items(o.items, o.num_items, l.count, kStateBlock, [&](int64_t k, int64_t b, int64_t e) {
    const OptimizerItem& it = o.items[k];
    if (k + 1 < o.num_items) fetch_start(o.items[k + 1]);
    loops[static_cast<int>(it.format)](o, it, b, e);
  });
}

// Blocks give parts, which are combined in their order.
void run_many_norm(const Launch& l) {
  const auto& list = *static_cast<const TensorList*>(l.pointer);
  const double order = l.more_numbers[0];
  const int which = static_cast<int>(order == 1   ? NormOrder::One
                                     : order == 2 ? NormOrder::Two
                                                  : NormOrder::Infinity);
  const auto blocks = [](int64_t n) { return (n + kNormBlock - 1) / kNormBlock; };
  int64_t parts = 0;
  for (int64_t k = 0; k < list.num_items; ++k) parts += blocks(list.items[k].count);
  const Scratch scratch((parts + list.num_items + 1) * int64_t{sizeof(double)});
  auto* part = reinterpret_cast<double*>(scratch.data());
  auto* first = reinterpret_cast<int64_t*>(part + parts);
  first[0] = 0;
  for (int64_t k = 0; k < list.num_items; ++k)
    first[k + 1] = first[k] + blocks(list.items[k].count);
  over_items(list.items, list.num_items, l.count, kNormBlock, [&](int64_t k, int64_t b, int64_t e) {
    const ListedTensor& t = list.items[k];
    const NormLoop norm = loops_of(t.dtype).norm[which];
    for (int64_t i = b; i < e; i += kNormBlock) {
      part[first[k] + i / kNormBlock] = norm(at(t, i), std::min(kNormBlock, e - i));
    }
  });
  double all = 0;
  for (int64_t i = 0; i < parts; ++i) {
    if (order == 1 || order == 2) {
      all += part[i];
    } else if (part[i] > all || part[i] != part[i]) {
      all = part[i];
    }
  }
  if (order == 2) all = std::sqrt(all);
  if (l.buffer[0].dtype == DType::Float64) {
    *static_cast<double*>(l.buffer[0].data) = all;
  } else {
    *static_cast<float*>(l.buffer[0].data) = static_cast<float>(all);
  }
}

void run_many_clip(const Launch& l) {
  const auto& list = *static_cast<const TensorList*>(l.pointer);
  const double factor = clip_factor(l.buffer[0].data, l.buffer[0].dtype, l.more_numbers[0]);
  if (factor == 1) return;  // a product with 1 changes no bit
  over_items(list.items, list.num_items, l.count, 1, [&](int64_t k, int64_t b, int64_t e) {
    const ListedTensor& t = list.items[k];
    loops_of(t.dtype).scale(at(t, b), e - b, factor);
  });
}

void run_many_limit(const Launch& l) {
  const auto& list = *static_cast<const TensorList*>(l.pointer);
  over_items(list.items, list.num_items, l.count, 1, [&](int64_t k, int64_t b, int64_t e) {
    const ListedTensor& t = list.items[k];
    loops_of(t.dtype).limit(at(t, b), e - b, l.more_numbers[0], l.more_numbers[1]);
  });
}

void run_many_unscale(const Launch& l) {
  const auto& list = *static_cast<const TensorList*>(l.pointer);
  const double scale = *static_cast<const float*>(l.buffer[1].data);
  const float factor = static_cast<float>(1 / scale);
  std::atomic<bool> finite = true;
  over_items(list.items, list.num_items, l.count, 1, [&](int64_t k, int64_t b, int64_t e) {
    const ListedTensor& t = list.items[k];
    if (!loops_of(t.dtype).unscale(at(t, b), e - b, factor)) finite = false;
  });
  if (!finite) *static_cast<float*>(l.buffer[0].data) = 1;
}

void run_update_scale(const Launch& l) {
  auto& scale = *static_cast<float*>(l.buffer[0].data);
  auto& steps = *static_cast<int32_t*>(l.buffer[1].data);
  const bool found = *static_cast<const float*>(l.buffer[2].data) != 0;
  if (!found && static_cast<double>(++steps) != l.more_numbers[2]) return;
  const auto next = static_cast<float>(scale * l.more_numbers[found ? 1 : 0]);
  if (found || std::isfinite(next)) scale = next;
  steps = 0;
}

void run_quantize(const Launch& l) {
  auto* codes = static_cast<uint8_t*>(l.buffer[0].data);
  auto* peaks = static_cast<float*>(l.buffer[1].data);
  const auto* x = static_cast<const float*>(l.buffer[2].data);
  const auto loop = isa().quantize[l.integer[0] != 0];
  parallel_for((l.count + kStateBlock - 1) / kStateBlock, 64, [&](int64_t begin, int64_t end) {
    const int64_t b = begin * kStateBlock, e = std::min(end * kStateBlock, l.count);
    loop(x + b, e - b, codes + b, peaks + begin);
  });
}

void run_dequantize(const Launch& l) {
  auto* x = static_cast<float*>(l.buffer[0].data);
  const auto* codes = static_cast<const uint8_t*>(l.buffer[1].data);
  const auto* peaks = static_cast<const float*>(l.buffer[2].data);
  const auto loop = isa().dequantize[l.integer[0] != 0];
  parallel_for((l.count + kStateBlock - 1) / kStateBlock, 64, [&](int64_t begin, int64_t end) {
    const int64_t b = begin * kStateBlock, e = std::min(end * kStateBlock, l.count);
    loop(codes + b, peaks + begin, e - b, x + b);
  });
}

}  // namespace wengert::cpu
