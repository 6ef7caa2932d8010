// Optimizer steps: one launch for all parameters. The formulas are those of kernels/cpu/optim_isa.h
// in the same order of operations. Memory is what a step waits for: 28 bytes an element in Adam of
// float32, all moved in vectors, two of each array asked for by a thread before it computes.
#pragma once

#include <cmath>

#include "kernels/cuda/cells.h"
#include "kernels/cuda/lists.h"
#include "kernels/cuda/states.h"

namespace wengert::cuda {

inline constexpr int kStepThreads = 256;

struct PlainItem {
  void* param;
  const void* grad;
  void* state[kMaxOptimizerStates];
  float* steps;  // behind it a ticket, see count_step
  int64_t count;
  uint32_t first;  // chunk
  bool aligned;
};
struct ByteItem : PlainItem {
  float* peaks[kMaxOptimizerStates];
};
template <StateFormat F>
using StepItem = std::conditional_t<F == StateFormat::Bytes, ByteItem, PlainItem>;

// What changes from step to step comes from where a graph finds it, see cells.h.
struct StepSettings {
  OptimizerRule rule;
  Number<double> lr, weight_decay, eps, momentum, dampening, alpha, lr_decay, beta1, beta2;
  Number<bool> nesterov, decoupled, amsgrad, centered, maximize;
  double grad_scale;
  const void* norm;
  DType norm_dtype;
  double max_norm;
  const float* found_inf;
};

template <StateFormat F, int Items>
struct StepArgs {
  StepSettings settings;
  int64_t chunk;
  int num_items;
  uint32_t chunks;
  StepItem<F> item[Items];
};

// The settings as elements are computed with them.
template <class T>
struct Rates {
  T factor, decay;         // of the gradient; of the parameter, in the gradient
  T rate, eps;             // minus what the step is multiplied by
  T momentum, keep;        // keep: 1 - dampening
  T mean, rest;            // alpha or beta2; 1 - it
  T rest1, root, shrink;   // 1 - beta1; 1 / sqrt(1 - beta2^t); of the parameter
  bool decays, momentous;  // momentous: with momentum
  bool first, nesterov, amsgrad, centered;
};

// A chunk, as one thread finds it for all of its block.
template <class T>
struct Job {
  Rates<T> r;
  int64_t begin, end, step;
  int item;
  bool skipped;
};

WENGERT_DEVICE double power(double base, int64_t n) {
  double r = 1;
  for (; n > 0; n >>= 1, base *= base) {
    if (n & 1) r *= base;
  }
  return r;
}

template <class T>
WENGERT_DEVICE Rates<T> rates_of(const StepSettings& s, int64_t step) {
  const double lr = s.lr.get(), decay = s.weight_decay.get(), momentum = s.momentum.get();
  const bool decoupled = s.decoupled.get();
  double scale = s.grad_scale;
  if (s.norm) scale *= clip_factor(s.norm, s.norm_dtype, s.max_norm);
  double rate = lr, root = 1;
  if (s.rule == OptimizerRule::Adagrad) {
    rate = lr / (1 + static_cast<double>(step - 1) * s.lr_decay.get());
  } else if (s.rule == OptimizerRule::Adam) {
    rate = lr / (1 - power(s.beta1.get(), step));
    root = 1 / sqrt(1 - power(s.beta2.get(), step));
  }
  const double mean = s.rule == OptimizerRule::Adam ? s.beta2.get() : s.alpha.get();
  Rates<T> r;
  r.factor = static_cast<T>(s.maximize.get() ? -scale : scale);
  r.decay = static_cast<T>(decoupled ? 0 : decay);
  r.decays = !decoupled && decay != 0;
  r.shrink = static_cast<T>(decoupled ? 1 - lr * decay : 1);
  r.rate = static_cast<T>(-rate);
  r.root = static_cast<T>(root);
  r.eps = static_cast<T>(s.eps.get());
  r.momentum = static_cast<T>(momentum);
  r.momentous = momentum != 0;
  r.keep = static_cast<T>(1 - s.dampening.get());
  r.mean = static_cast<T>(mean);
  r.rest = static_cast<T>(1 - mean);
  r.rest1 = static_cast<T>(1 - s.beta1.get());
  r.first = step == 1;
  r.nesterov = s.nesterov.get();
  r.amsgrad = s.amsgrad.get();
  r.centered = s.centered.get();
  return r;
}

// The count of steps is the device's, so that a graph goes on counting and a step that found_inf
// skips is none. All blocks of an item read it, and the last of them to have done so writes it:
// tickets tell which, and are 0 again when it has.
WENGERT_DEVICE void count_step(const PlainItem& it, int64_t step, uint32_t blocks) {
  if (blocks > 1) {
    auto* ticket = reinterpret_cast<unsigned*>(it.steps + 1);
    __threadfence();
    if (atomicAdd(ticket, 1u) != blocks - 1) return;
    *ticket = 0;
  }
  *it.steps = static_cast<float>(step);
}

// --- some elements, by a warp
// ---------------------------------------------------------------------

// What a state is: a mean of either sign, a mean of squares, the greatest so far of such.
enum class Is : uint8_t { Mean, Square, Greatest };
WENGERT_DEVICE Is kind_of(OptimizerRule rule, int k) {
  if (rule == OptimizerRule::Adam) return k == 0 ? Is::Mean : k == 1 ? Is::Square : Is::Greatest;
  return rule == OptimizerRule::SGD || k > 0 ? Is::Mean : Is::Square;
}

template <class T, StateFormat F>
using Stored = std::conditional_t<F == StateFormat::Computed, T,
                                  std::conditional_t<F == StateFormat::Bytes, uint8_t, BFloat16>>;

// A state as it is in memory; of bytes with the block's peak.
template <class T, StateFormat F, int N>
struct FetchedState {
  Fetched<Stored<T, F>, N> x;
  float peak;
};
template <class T, StateFormat F, int N>
WENGERT_DEVICE void fetch_state(const StepItem<F>& it, int k, const Place& at,
                                FetchedState<T, F, N>& s) {
  fetch(it.state[k], at, s.x);
  if constexpr (F == StateFormat::Bytes) {
    s.peak = it.state[k] ? it.peaks[k][at.begin / kStateBlock] : 0.0f;
  }
}
template <class T, StateFormat F, int N>
WENGERT_DEVICE void open_state(const FetchedState<T, F, N>& s, Is kind, T (&x)[N]) {
  if constexpr (F == StateFormat::Bytes) {
    const ByteMap map{kind == Is::Mean};
    const float scale = map.scale(s.peak);
#pragma unroll
    for (int j = 0; j < N; ++j) x[j] = map.decode(s.x[j], scale);
  } else {
#pragma unroll
    for (int j = 0; j < N; ++j) x[j] = convert<T>(s.x[j]);
  }
}

template <StateFormat F, class T, int N>
WENGERT_DEVICE void write_state(const StepItem<F>& it, int k, Is kind, const Place& at, Dice dice,
                                T (&x)[N]) {
  void* const to = it.state[k];
  if (!to) return;
  if constexpr (F == StateFormat::Computed) {
    write_part<T>(to, at, x);
  } else if constexpr (F == StateFormat::BFloat16) {
    const int in_block = static_cast<int>(at.begin % kStateBlock);
    uint16_t v[N];
#pragma unroll
    for (int j = 0; j < N; ++j) {
      const uint32_t up =
          kind == Is::Square ? dice.word(in_block + at.element(j)) >> 16 : to_nearest(x[j]);
      v[j] = bfloat16_bits(x[j], up);
    }
    write_part<uint16_t>(to, at, v);
  } else {
    const ByteMap map{kind == Is::Mean};
#pragma unroll
    for (int j = 0; j < N; ++j) x[j] = at.element(j) < at.n ? x[j] : 0.0f;
    const float peak = peak_of(x), inverse = map.inverse(peak);
    uint8_t v[N];
#pragma unroll
    for (int j = 0; j < N; ++j) {
      const uint32_t word = dice.word(at.element(j));
      // The bits that both see decide next to nothing of the second.
      const uint32_t up = kind == Is::Mean     ? word & (ByteMap::kStep - 1)
                          : kind == Is::Square ? word >> (32 - ByteMap::kDropped)
                                               : ByteMap::kStep / 2;
      v[j] = map.encode(x[j], inverse, up);
    }
    write_part<uint8_t>(to, at, v);
    if (at.lane == 0) it.peaks[k][at.begin / kStateBlock] = peak;
  }
}

// The new parameter; s0, s1, s2 become the new states. SGD: b = momentum b + (1 - dampening) g;
// p -= lr b, or with Nesterov lr (g + momentum b). The others divide by a root: of a mean of
// squares, in Adagrad of their sum.
template <class T>
WENGERT_DEVICE T stepped(OptimizerRule rule, const Rates<T>& r, T p, T g, T& s0, T& s1, T& s2) {
  g = g * r.factor;
  if (r.decays) g = fma(r.decay, p, g);
  if (rule == OptimizerRule::SGD) {
    if (r.momentous) {
      s0 = r.first ? g : fma(r.momentum, s0, r.keep * g);
      g = r.nesterov ? fma(r.momentum, s0, g) : s0;
    }
    return fma(r.rate, g, p);
  }
  // One root and one quotient for all.
  T up = g, spread;
  if (rule == OptimizerRule::Adam) {
    up = s0 = fma(r.rest1, g - s0, s0);
    spread = s1 = fma(r.mean, s1, r.rest * g * g);
    if (r.amsgrad) s2 = spread = s2 > s1 || s2 != s2 ? s2 : s1;
  } else if (rule == OptimizerRule::RMSprop) {
    spread = s0 = fma(r.mean, s0, r.rest * g * g);
    if (r.centered) {
      s2 = fma(r.rest, g - s2, s2);
      spread = s0 - s2 * s2;
    }
  } else {
    spread = s0 = fma(g, g, s0);
  }
  T d = up / fma(sqrt(spread), r.root, r.eps);
  if (rule == OptimizerRule::RMSprop && r.momentous) s1 = d = fma(r.momentum, s1, d);
  return fma(r.rate, d, p * r.shrink);
}

// Bytes need all of a block at once, as they share a scale; else half of that is enough to keep
// memory busy, and takes fewer registers.
template <StateFormat F>
inline constexpr int kOfLane = F == StateFormat::Bytes ? static_cast<int>(kStateBlock) / kWarp : 4;

template <class T, class P, StateFormat F>
WENGERT_DEVICE void take_part(const StepItem<F>& it, OptimizerRule rule, const Rates<T>& r,
                              int64_t step, const Place& at) {
  constexpr int N = kOfLane<F>;
  Fetched<P, N> grad, param;
  FetchedState<T, F, N> state[kMaxOptimizerStates];
  fetch(it.grad, at, grad);
  fetch(it.param, at, param);
#pragma unroll
  for (int k = 0; k < kMaxOptimizerStates; ++k) fetch_state(it, k, at, state[k]);
  T p[N], s[kMaxOptimizerStates][N];
#pragma unroll
  for (int k = 0; k < kMaxOptimizerStates; ++k) open_state(state[k], kind_of(rule, k), s[k]);
#pragma unroll
  for (int k = 0; k < N; ++k) {
    p[k] = stepped(rule, r, convert<T>(param[k]), convert<T>(grad[k]), s[0][k], s[1][k], s[2][k]);
  }
  write_part<P>(it.param, at, p);
  Dice dice{};
  if (F != StateFormat::Computed) dice = Dice::of(step, at.begin / kStateBlock * kStateBlock);
#pragma unroll
  for (int k = 0; k < kMaxOptimizerStates; ++k) {
    write_state<F>(it, k, kind_of(rule, k), at, dice, s[k]);
  }
}

// --- a chunk, by a block of threads --------------------------------------------------------------

template <class P>
using StepIn = std::conditional_t<std::is_same_v<P, double>, double, float>;

template <class P, StateFormat F, int Items>
__global__ void __launch_bounds__(kStepThreads, F == StateFormat::Bytes ? 2 : 4)
    optimizer_step(const __grid_constant__ StepArgs<F, Items> a) {
  using T = StepIn<P>;
  const StepSettings& s = a.settings;
  __shared__ Job<T> shared;
  if (threadIdx.x == 0) {
    shared.skipped = s.found_inf && *s.found_inf != 0;
    if (!shared.skipped) {
      const int k = item_of(a.item, a.num_items, blockIdx.x);
      const StepItem<F>& it = a.item[k];
      const uint32_t end = k + 1 < a.num_items ? a.item[k + 1].first : a.chunks;
      shared.item = k;
      shared.begin = static_cast<int64_t>(blockIdx.x - it.first) * a.chunk;
      shared.end = it.count - shared.begin < a.chunk ? it.count : shared.begin + a.chunk;
      shared.step = static_cast<int64_t>(*it.steps) + 1;
      shared.r = rates_of<T>(s, shared.step);
      count_step(it, shared.step, end - it.first);
    }
  }
  __syncthreads();
  const Job<T> job = shared;
  if (job.skipped) return;
  // From the parameters: there pointers are known to be of global memory.
  const StepItem<F>& it = a.item[job.item];
  constexpr int64_t kPart = kOfLane<F> * kWarp;
  const int lane = static_cast<int>(threadIdx.x) % kWarp;
  const auto warp = static_cast<int64_t>(threadIdx.x) / kWarp;
  for (int64_t b = job.begin + warp * kPart; b < job.end; b += kStepThreads / kWarp * kPart) {
    const int n = job.end - b < kPart ? static_cast<int>(job.end - b) : static_cast<int>(kPart);
    take_part<T, P, F>(it, s.rule, job.r, job.step, {b, lane, n, n == kPart && it.aligned});
  }
}

// --- the launch ----------------------------------------------------------------------------------

// One of a list's items that is in the format, or null; k becomes the next to look at.
inline const OptimizerItem* next_item(const OptimizerLaunch& o, StateFormat format, int64_t& k) {
  while (k < o.num_items && o.items[k].format != format) ++k;
  return k < o.num_items ? &o.items[k++] : nullptr;
}

// Starts the step of the items from k on, as many as there is room for.
template <class P, StateFormat F, int Items>
void start_step(const Launch& l, const StepSettings& settings, int64_t& k) {
  const auto& o = *static_cast<const OptimizerLaunch*>(l.pointer);
  constexpr size_t kState = F == StateFormat::Bytes      ? 1
                            : F == StateFormat::BFloat16 ? 2
                                                         : sizeof(StepIn<P>);
  StepArgs<F, Items> a;
  a.settings = settings;
  a.chunk = chunk_of(l.count);
  a.num_items = 0;
  a.chunks = 0;
  while (a.num_items < Items) {
    const OptimizerItem* const from = next_item(o, F, k);
    if (!from) break;
    StepItem<F>& it = a.item[a.num_items++];
    it.param = from->param;
    it.grad = from->grad;
    it.steps = from->steps;
    it.count = from->count;
    it.first = a.chunks;
    it.aligned = is_aligned(it.param, 4 * sizeof(P)) && is_aligned(it.grad, 4 * sizeof(P));
    for (int j = 0; j < kMaxOptimizerStates; ++j) {
      it.state[j] = from->state[j];
      it.aligned = it.aligned && is_aligned(it.state[j], 4 * kState);
      if constexpr (F == StateFormat::Bytes) it.peaks[j] = from->peaks[j];
    }
    // Steps of nothing are counted too.
    a.chunks += static_cast<uint32_t>(std::max<int64_t>(ceil_div(it.count, a.chunk), 1));
  }
  start(l, &optimizer_step<P, F, Items>, a.chunks, kStepThreads, 0, a);
}

template <class P, StateFormat F>
void step_of_format(const Launch& l, const StepSettings& settings) {
  const auto& o = *static_cast<const OptimizerLaunch*>(l.pointer);
  constexpr int kFew = kFewItems<StepItem<F>>, kMany = kManyItems<StepItem<F>>;
  int64_t left = std::count_if(o.items, o.items + o.num_items,
                               [](const OptimizerItem& it) { return it.format == F; });
  for (int64_t k = 0; left > 0; left -= kMany) {
    if (left <= kFew) {
      start_step<P, F, kFew>(l, settings, k);
    } else {
      start_step<P, F, kMany>(l, settings, k);
    }
  }
}

template <class P>
void run_optimizer(const Launch& l) {
  const auto& o = *static_cast<const OptimizerLaunch*>(l.pointer);
  const StepSettings settings{
      o.rule,
      number(o.lr),
      number(o.weight_decay),
      number(o.eps),
      number(o.momentum),
      number(o.dampening),
      number(o.alpha),
      number(o.lr_decay),
      number(o.beta1),
      number(o.beta2),
      number(o.nesterov),
      number(o.decoupled),
      number(o.amsgrad),
      number(o.centered),
      number(o.maximize),
      o.grad_scale,
      o.norm,
      o.norm_dtype,
      o.max_norm,
      o.found_inf,
  };
  step_of_format<P, StateFormat::Computed>(l, settings);
  if constexpr (!std::is_same_v<P, double>) {
    step_of_format<P, StateFormat::BFloat16>(l, settings);
    step_of_format<P, StateFormat::Bytes>(l, settings);
  }
}

}  // namespace wengert::cuda
