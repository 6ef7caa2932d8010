// The reach of launches that have params behind their pointer.
#pragma once

#include "kernels/reach_space.h"
#include "kernels/work.h"

namespace wengert {

class ReachParams : protected ReachSpace {
 protected:
  using ReachSpace::ReachSpace;

  void gemm() const {
    const auto& p = *static_cast<const GemmParams*>(l_.pointer);
    takes(p.has_bias ? 4 : 3);
    const int64_t batch = elements(0, l_.ndim);
    counts(batch);
    times({batch, p.m, p.n});
    times({p.m, p.k});
    times({p.k, p.n});
    require(p.c_rs >= p.n, "its strides");
    const auto matrix = [&](int k, int64_t rows, int64_t rs, int64_t columns, int64_t cs) {
      Span s = span(k, 0, l_.ndim);
      stretch(s, rows, rs);
      stretch(s, columns, cs);
      spans(k, s, l_.dtype);
    };
    // A plan may have another slot hold a product: it is dense but where it adds to what is there.
    int64_t step = times({p.m, p.n});
    const bool fresh = !p.accumulate && times({batch, step}) > 0;
    require(!fresh || p.c_rs == p.n, "its strides");
    for (int d = l_.ndim - 1; d >= 0 && fresh; --d) {
      require(size(d) == 1 || l_.buffer[0].stride[d] == step, "its strides");
      step = times({step, size(d)});
    }
    matrix(0, p.m, p.c_rs, p.n, 1);
    matrix(1, p.m, p.a_rs, p.k, p.a_cs);
    matrix(2, p.k, p.b_rs, p.n, p.b_cs);
    writes_each(0, times({batch, p.m, p.n}));
    if (p.has_bias) dense(3, p.n);
    if (!p.has_activation) return;
    require(p.activation < kNumMapKernels && p.activation % kIdsPerFunctor == 0, "its activation");
    const MapTraits& m = kMaps[p.activation / kIdsPerFunctor];
    require(m.arity == 1 && m.params == 0 && m.kind != Kind::Compare && is_floating(l_.dtype),
            "its activation");
    Launch after = l_;
    after.kernel = p.activation;
    kernel_of(after);
  }

  // What a kernel with windows lays out: no window is wider than what it goes over.
  template <class P>
  void windows(const P& p) const {
    int64_t input = 1, output = 1, taps = 1;
    for (int d = 0; d < 3; ++d) {
      for (const int64_t v : {p.input[d], p.output[d], p.padding[d], p.kernel[d] - 1,
                              p.stride[d] - 1, p.dilation[d] - 1}) {
        require(0 <= v && v < int64_t{1} << 31, "its windows");
      }
      const int64_t reach = times({p.kernel[d] - 1, p.dilation[d]});
      require(
          reach < p.input[d] + 2 * p.padding[d] + p.stride[d] && p.padding[d] <= reach + p.input[d],
          "its windows");
      input = times({input, p.input[d]});
      output = times({output, p.output[d]});
      taps = times({taps, p.kernel[d]});
    }
  }
  void conv() const {
    const auto& p = *static_cast<const ConvParams*>(l_.pointer);
    const bool back = l_.kernel == id(Kernel::ConvGradInput);
    dims(1);
    takes(p.has_bias ? 4 : 3);
    windows(p);
    const int64_t in = times({p.groups, p.in_channels}), out = times({p.groups, p.out_channels});
    const int64_t x = times({p.batch, in, p.input_size()});
    const int64_t y = times({p.batch, out, p.output_size()});
    const int64_t w = times({out, p.in_channels, p.taps()});
    const int64_t result = l_.kernel == id(Kernel::Conv) ? y : back ? x : w;
    counts(result);
    dense(0, result);
    dense(1, l_.kernel == id(Kernel::Conv) ? x : y);
    dense(2, l_.kernel == id(Kernel::ConvGradWeight) ? x : w);
    if (p.has_bias) dense(3, back ? in : out);
  }
  void max_pool() const {
    const auto& p = *static_cast<const PoolParams*>(l_.pointer);
    dims(1);
    takes(3);
    if (!p.adaptive) windows(p);
    for (int d = 0; d < 3; ++d) {
      require(0 <= p.input[d] && p.input[d] < int64_t{1} << 31 && 0 <= p.output[d] &&
                  p.output[d] < int64_t{1} << 31,
              "its windows");
    }
    require(!p.adaptive || (p.dilation[0] > 0 && p.dilation[1] > 0 && p.dilation[2] > 0),
            "its windows");
    const int64_t outputs = times({p.planes, times({p.output[0], p.output[1]}), p.output[2]});
    counts(outputs);
    dense(0, outputs);
    dense(1, outputs, DType::Int64);
    dense(2, times({p.planes, times({p.input[0], p.input[1]}), p.input[2]}));
  }
  void optimizer() {
    const auto& o = *static_cast<const OptimizerLaunch*>(l_.pointer);
    dims(1);
    takes(0);
    require(o.rule <= OptimizerRule::Adam && o.num_items >= 0, "its rule");
    const bool wide = l_.dtype == DType::Float64;
    int64_t all = 0;
    for (int64_t i = 0; i < o.num_items; ++i) {
      const OptimizerItem& it = o.items[i];
      require(it.format <= StateFormat::Bytes && (!wide || it.format == StateFormat::Computed) &&
                  (!o.centered || it.format == StateFormat::Computed),
              "the format of a state");
      const int64_t bytes = times({it.count, item(l_.dtype)});
      const auto one = [&](const void* p, int64_t n) {
        if (!p) return;
        const Room& room = next_pointer("what it points to");
        if (n != 0) within(room, 0, n, "what it points to");
      };
      require(it.param && it.grad && it.steps, "what it points to");
      one(it.param, bytes);
      one(it.grad, bytes);
      const int64_t state = it.format == StateFormat::Bytes      ? 1
                            : it.format == StateFormat::BFloat16 ? 2
                            : wide                               ? 8
                                                                 : 4;
      const unsigned used = states_used(o);
      for (int k = 0; k < kMaxOptimizerStates; ++k) {
        const bool peaks = (used >> k & 1) && it.format == StateFormat::Bytes;
        require((!(used >> k & 1) || it.state[k]) && (!peaks || it.peaks[k]), "what it points to");
        one(it.state[k], times({it.count, state}));
      }
      for (const float* p : it.peaks) one(p, (it.count + kStateBlock - 1) / kStateBlock * 4);
      one(it.steps, 4);
      all += it.count;
      require(all <= kMost, "its count");
    }
    if (o.norm) {
      require(o.norm_dtype == DType::Float32 || o.norm_dtype == DType::Float64, "its norm");
      within(next_pointer("its norm"), 0, item(o.norm_dtype), "its norm");
    }
    if (o.found_inf) within(next_pointer("its found_inf"), 0, 4, "its found_inf");
    counts(all);
    require(size(0) == all, "its count");
  }
  void list() {
    const auto& list = *static_cast<const TensorList*>(l_.pointer);
    if (l_.kernel == id(Kernel::ManyUnscale)) {
      takes(2);
      dense(0, 1, DType::Float32);
      dense(1, 1, DType::Float32);
    } else if (l_.kernel == id(Kernel::ManyLimit)) {
      takes(0);
    } else {
      takes(1);
      const DType d = l_.buffer[0].dtype;
      require(d == DType::Float32 || d == DType::Float64, "the dtype of its norm");
      dense(0, 1, d);
    }
    require(list.num_items >= 0, "its items");
    int64_t all = 0;
    for (int64_t i = 0; i < list.num_items; ++i) {
      const ListedTensor& t = list.items[i];
      require(t.dtype == DType::Float32 || t.dtype == DType::Float64 || t.dtype == DType::BFloat16,
              "the dtype of an item");
      require(t.data != nullptr, "what it points to");
      const Room& room = next_pointer("what it points to");
      if (t.count != 0) within(room, 0, times({t.count, item(t.dtype)}), "an item");
      all += t.count;
      require(all <= kMost, "its count");
    }
    counts(all);
  }
};

}  // namespace wengert
