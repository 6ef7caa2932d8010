// Read beside the drivers in kernels/cpu, of which this says what they read and write.
#include "kernels/reach.h"

#include <bit>

#include "kernels/reach_params.h"

namespace wengert {
namespace {

class Reach : ReachParams {
 public:
  Reach(const Launch& l, std::span<const Room> buffers, std::span<const Room> pointers)
      : ReachParams(l, buffers, pointers) {}

  std::vector<IndexBound> check() {
    require(l_.device == Device::CPU && l_.ndim <= kMaxDims && l_.nbuffers <= kMaxBuffers &&
                buffers_.size() == l_.nbuffers,
            "what it is made of");
    require(l_.count >= 0 && l_.count <= kMost, "its count");
    for (int d = 0; d < l_.ndim; ++d) require(l_.size[d] >= 0 && l_.size[d] <= kMost, "its sizes");
    kernel_of(l_);
    walk();
    require(used_pointers_ == pointers_.size(), "what it points to");
    return std::move(bounds_);
  }

 private:
  // --- by kernel -------------------------------------------------------------------------------

  void map(const MapTraits& m, int part) const {
    space();
    const DType own = l_.dtype, wide = compute_dtype(own);
    const auto operand = [&](int k, bool mask) {
      const DType d = l_.buffer[k].dtype;
      require(mask ? d == DType::Bool : d == own || d == wide, "the dtype of a buffer");
      strided(k, d);
    };
    const unsigned uses = part ? m.uses[part - 1] : 0;
    takes(part ? 2 + std::popcount(uses) : 1 + m.arity);
    const DType out = !part && m.kind == Kind::Compare ? DType::Bool : own;
    strided(0, out);
    writes_each(0, l_.count);
    int k = 1;
    if (part) operand(k++, false);
    for (int i = 0; i < m.arity; ++i) {
      if (!part || (uses >> i & 1)) operand(k++, i == m.mask_operand);
    }
    if (uses & kY) operand(k, false);
  }

  void reduction() const {
    const int64_t reduced_dims = l_.integer[0];
    require(reduced_dims >= 0 && reduced_dims <= l_.ndim, "the number of its dimensions");
    const int kept_dims = l_.ndim - static_cast<int>(reduced_dims);
    const int64_t kept = elements(0, kept_dims), reduced = elements(kept_dims, l_.ndim);
    times({kept, reduced});
    const bool places = l_.kernel == reduce_kernel<ArgMax> || l_.kernel == reduce_kernel<ArgMin>;
    const bool counted = l_.kernel == id(Kernel::CountNonzero);
    const bool centred =
        l_.kernel == reduce_kernel<SquareDistance> || l_.kernel == reduce_kernel<ExpSum>;
    if (places) {
      require(l_.nbuffers == 2 || l_.nbuffers == 3, "the number of its buffers");
      require(reduced > 0 || kept == 0, "its sizes");
      require(reduced_dims <= 1, "the number of its dimensions");
    } else {
      takes(centred ? 3 : 2);
    }
    const int from = places ? l_.nbuffers - 1 : 1;
    dense(0, kept, places || counted ? DType::Int64 : l_.dtype);
    if (places && l_.nbuffers == 3) dense(1, kept);
    if (centred) dense(2, kept);
    const DType source = l_.buffer[from].dtype;
    const bool as_it_is = places || counted || l_.dtype == DType::Bool;
    require(!as_it_is || source == l_.dtype, "the dtype of a buffer");
    strided(from, source);
  }

  // rows x columns, and as many buffers like them.
  int64_t rows(int like) const {
    dims(2);
    takes(like);
    const int64_t n = elements(0, 2);
    counts(n);
    for (int k = 0; k < like; ++k) dense(k, n);
    return n;
  }

  void cross_entropy(bool gradient) {
    dims(2);
    takes(gradient ? 6 : 5);
    const int64_t n = elements(0, 2), row = size(0), reduction = l_.integer[1];
    require(0 <= reduction && reduction <= 2, "its reduction");
    const int64_t losses = reduction == 0 ? row : 1;
    const int x = gradient ? 2 : 3, target = x + 1;
    dense(x, n);
    dense(target, row, DType::Int64);
    if (gradient) {
      dense(0, n);
      dense(1, losses);
      dense(4, row);
      dense(5, 1);
    } else {
      dense(0, losses);
      dense(1, times({2, row}));
      dense(2, 1);
    }
    bound(target, row, 0, size(1) - 1, l_.integer[0]);
  }

  void norm(bool gradient) const {
    dims(2);
    const int64_t n = elements(0, 2), columns = size(1), groups = l_.more[0], inner = l_.more[1];
    const bool weight = l_.integer[1] != 0, last = l_.integer[2] != 0;
    require(inner > 0 && groups > 0 && columns % inner == 0, "its sizes");
    const int64_t weights = times({columns / inner, groups});
    statistics(gradient, weight, last, n, times({2, size(0)}), weights);
  }
  void batch_norm(bool gradient) const {
    dims(3);
    const bool weight = l_.integer[1] != 0, last = l_.integer[2] != 0;
    statistics(gradient, weight, last, elements(0, 3), times({3, size(1)}), size(1));
  }
  void statistics(bool gradient, bool weight, bool last, int64_t n, int64_t kept,
                  int64_t weights) const {
    counts(n);
    takes(gradient ? 6 + weight : 3 + weight + last);
    dense(0, n);
    if (gradient) {
      for (const int k : {1, 2}) {
        if (last) dense(k, weights);
      }
      dense(3, n);
      dense(4, n);
      dense(5, kept);
      if (weight) dense(6, weights);
    } else {
      dense(1, kept);
      dense(2, n);
      for (int k = 3; k < l_.nbuffers; ++k) dense(k, weights);
    }
  }

  void embedding(bool gradient) {
    dims(2);
    const int64_t n = elements(0, 2);
    counts(n);
    dense(2, size(0), DType::Int64);
    if (!gradient) {
      takes(3);
      dense(0, n);
      const int64_t row = times({size(1), item(l_.dtype)});
      dense(1, 0);
      bound(2, size(0), 0, row == 0 ? kMost : room(1).after / row - 1);
      return;
    }
    takes(l_.integer[2] ? 4 : 3);
    dense(0, times({l_.integer[0], size(1)}));
    dense(1, n);
    if (l_.integer[2]) dense(3, l_.integer[0]);
  }

  void attention(bool gradient) const {
    dims(4);
    const int64_t columns = l_.more[2], values = l_.more[3], group = l_.more[4];
    const bool masked = l_.more[6] != 0;
    counts(elements(0, 4));
    takes((gradient ? 9 : 5) + masked);
    require(columns > 0 && values > 0 && group > 0 && size(1) % group == 0, "its sizes");
    times({columns, 64, 64});
    times({values, 64, 64});
    const auto head = [&](int k, bool key, int64_t width) {
      const int64_t* stride = l_.buffer[k].stride;
      Span s;
      stretch(s, size(0), stride[0]);
      stretch(s, key ? size(1) / group : size(1), stride[1]);
      stretch(s, key ? size(3) : size(2), stride[2]);
      s.high += width - 1;
      spans(k, s, l_.dtype);
      times({width, 2});
    };
    const int64_t queries = elements(0, 3);
    if (gradient) {
      head(0, false, columns);
      head(1, true, columns);
      head(2, true, values);
      head(3, false, values);
      head(4, false, columns);
      head(5, true, columns);
      head(6, true, values);
      head(7, false, values);
      dense(8, queries, compute_dtype(l_.dtype));
    } else {
      head(0, false, values);
      dense(1, queries, compute_dtype(l_.dtype));
      head(2, false, columns);
      head(3, true, columns);
      head(4, true, values);
    }
    if (masked) strided(gradient ? 9 : 5, compute_dtype(l_.dtype));
  }

  // Buffer `at` holds offsets from the places of buffer `k`.
  void by_offsets(int k, int at, bool skips_negative) {
    const Span s = span(k, 0, l_.ndim);
    require(l_.buffer[k].dtype == l_.dtype, "the dtype of a buffer");
    strided(at, DType::Int64);
    const int64_t i = item(l_.dtype);
    require(room(k).before % i == 0, "an offset");
    const int64_t low = -(room(k).before / i) - s.low, high = room(k).after / i - 1 - s.high;
    bound(at, 0, skips_negative ? kNoIndex + 1 : low, high);
    if (skips_negative) require(s.low * i >= -room(k).before, "its strides");
  }
  void gather() {
    space();
    takes(3);
    strided(0, l_.dtype);
    writes_each(0, l_.count);
    by_offsets(1, 2, false);
  }
  void scatter() {
    space();
    takes(3);
    strided(1, l_.dtype);
    by_offsets(0, 2, true);
    require(l_.integer[1] >= 0 && l_.integer[1] <= kMost, "its span");
    if (l_.kernel == id(Kernel::ScatterReduce)) {
      require(0 <= l_.integer[0] && l_.integer[0] <= static_cast<int64_t>(Reduction::AMin),
              "its reduction");
    }
  }

  void scan(std::initializer_list<int> places) const {
    dims(3);
    const int64_t n = elements(0, 3);
    counts(n);
    for (int k = 0; k < l_.nbuffers; ++k) {
      const bool place = std::find(places.begin(), places.end(), k) != places.end();
      dense(k, n, place ? DType::Int64 : l_.dtype);
    }
  }
  void selection() const {
    dims(2);
    takes(3);
    const int64_t n = size(1), all = elements(0, 2), rank = l_.integer[0];
    counts(all);
    int64_t results = all;
    if (l_.kernel == id(Kernel::Topk)) {
      const int64_t k = l_.integer[1];
      require(0 <= k && k <= n, "its number of results");
      results = times({size(0), k});
    } else if (l_.kernel == id(Kernel::Select)) {
      require(n > 0 && kSelectMode <= rank && rank < n, "its rank");
      results = size(0);
    }
    dense(0, results);
    dense(1, results, DType::Int64);
    dense(2, all);
  }
  void search() {
    dims(3);
    require(l_.nbuffers == 3 || l_.nbuffers == 4, "the number of its buffers");
    const int64_t values = times({size(0), size(2)});
    const int64_t sequence = l_.integer[1] ? size(1) : times({size(0), size(1)});
    counts(values);
    dense(0, values, DType::Int64);
    dense(1, sequence);
    dense(2, values);
    if (l_.nbuffers < 4) return;
    dense(3, sequence, DType::Int64);
    bound(3, sequence, 0, size(1) - 1);
  }
  void multinomial() const {
    dims(2);
    takes(3);
    const int64_t rows = size(0), samples = size(1), categories = l_.integer[0];
    const bool replacement = l_.integer[1] != 0;
    require(categories > 0 && (replacement || samples <= categories), "its categories");
    dense(0, times({rows, samples}), DType::Int64);
    dense(1, times({rows, categories}), DType::Float64);
    dense(2, times({rows, replacement ? samples : categories}), DType::Float64);
  }

  void linalg() const {
    dims(3);
    const int64_t batch = size(0), m = size(1), n = size(2), k = l_.integer[0];
    times({batch, m, n, std::min(m, n)});
    const auto square = [&] { require(m == n, "its sizes"); };
    switch (static_cast<Kernel>(l_.kernel)) {
      case Kernel::Lu:
        takes(4);
        square();
        dense(0, times({batch, n, n}));
        dense(1, times({batch, n}), DType::Int64);
        dense(2, batch, DType::Int64);
        dense(3, times({3, batch}));
        break;
      case Kernel::Cholesky:
        takes(2);
        square();
        dense(0, times({batch, n, n}));
        dense(1, batch, DType::Int64);
        break;
      case Kernel::SolveTriangular:
        takes(2);
        dense(0, times({batch, m, n}));
        dense(1, times({batch, m, m}));
        break;
      case Kernel::Qr:
        takes(2);
        require(std::min(m, n) <= k && k <= m, "its columns");
        dense(0, times({batch, m, n}));
        dense(1, times({batch, m, k}));
        break;
      case Kernel::Eigh:
        takes(2);
        square();
        dense(0, times({batch, n, n}));
        dense(1, times({batch, n}));
        break;
      default:  // the matrix is transposed: n rows of m
        takes(4);
        require(m <= n && m <= k && k <= n, "its rows");
        dense(0, times({batch, m, n}));
        dense(1, times({batch, k, n}));
        dense(2, times({batch, m}));
        dense(3, times({batch, m, m}));
        break;
    }
  }

  void max_pool_grad() {
    dims(2);
    takes(3);
    const int64_t g = elements(0, 2), inputs = l_.integer[0];
    dense(0, times({size(0), inputs}));
    dense(1, g);
    dense(2, g, DType::Int64);
    bound(2, g, 0, inputs - 1);
  }

  void fill_like(int buffers) const {
    takes(buffers);
    require(l_.ndim >= 1, "the number of its dimensions");
    for (int k = 0; k < buffers; ++k) dense(k, l_.count);
    require(l_.more[2] >= 0 && l_.more[2] <= 24, "the bits of its numbers");
  }

  void walk() {
    if (l_.kernel < kNumMapKernels) {
      return map(kMaps[l_.kernel / kIdsPerFunctor], l_.kernel % kIdsPerFunctor);
    }
    if (l_.kernel < kFirstReduction + Reductions::size) return reduction();
    switch (static_cast<Kernel>(l_.kernel)) {
      case Kernel::Copy:
        space();
        takes(2);
        strided(0, l_.dtype);
        writes_each(0, l_.count);
        return strided(1, l_.buffer[1].dtype);
      case Kernel::Transfer:
        dims(1);
        takes(2);
        counts(size(0));
        dense(0, size(0), l_.dtype);
        return dense(1, size(0), l_.dtype);
      case Kernel::Fill:
        space();
        takes(1);
        strided(0, l_.dtype);
        return writes_each(0, l_.count);
      case Kernel::Gemm:
        return gemm();
      case Kernel::Dot:
        dims(1);
        takes(3);
        counts(size(0));
        dense(0, 1);
        strided(1, l_.dtype);
        return strided(2, l_.dtype);
      case Kernel::Softmax:
      case Kernel::LogSoftmax:
        return void(rows(2));
      case Kernel::SoftmaxGrad:
      case Kernel::LogSoftmaxGrad:
        return void(rows(3));
      case Kernel::CrossEntropy:
      case Kernel::CrossEntropyGrad:
        return cross_entropy(l_.kernel == id(Kernel::CrossEntropyGrad));
      case Kernel::LayerNorm:
      case Kernel::RmsNorm:
        return norm(false);
      case Kernel::LayerNormGrad:
      case Kernel::RmsNormGrad:
        return norm(true);
      case Kernel::BatchNorm:
      case Kernel::BatchNormGrad:
        return batch_norm(l_.kernel == id(Kernel::BatchNormGrad));
      case Kernel::Embedding:
      case Kernel::EmbeddingGrad:
        require(l_.nbuffers >= 3, "the number of its buffers");
        return embedding(l_.kernel == id(Kernel::EmbeddingGrad));
      case Kernel::Attention:
      case Kernel::AttentionGrad:
        return attention(l_.kernel == id(Kernel::AttentionGrad));
      case Kernel::Gather:
        return gather();
      case Kernel::Scatter:
      case Kernel::ScatterReduce:
        return scatter();
      case Kernel::IndexOffsets:
        takes(3);
        space();
        strided(0, DType::Int64);
        writes_each(0, l_.count);
        strided(2, l_.dtype);
        return dense(1, 2, DType::Int64);
      case Kernel::AllFinite:
        takes(2);
        dense(0, 1, DType::Bool);
        return dense(1, l_.count);
      case Kernel::Isin:
        takes(3);
        dense(0, l_.count, DType::Bool);
        dense(1, l_.count);
        return dense(2, l_.integer[0]);
      case Kernel::Bounds:
        takes(2);
        require(l_.count > 0, "its count");
        dense(0, 2, DType::Int64);
        return dense(1, l_.count);
      case Kernel::Bincount:
        dims(2);
        takes(2);
        counts(size(0));
        dense(0, size(1));
        dense(1, size(0));
        return bound(1, size(0), 0, size(1) - 1);
      case Kernel::CountNonzero:
        return reduction();
      case Kernel::Cumsum:
      case Kernel::Cumprod:
      case Kernel::Logcumsumexp:
        takes(2);
        return scan({});
      case Kernel::Cummax:
      case Kernel::Cummin:
        takes(3);
        return scan({1});
      case Kernel::Recurrence:
        takes(3);
        return scan({});
      case Kernel::Sort:
      case Kernel::Topk:
      case Kernel::Select:
        return selection();
      case Kernel::Searchsorted:
        return search();
      case Kernel::Arange:
      case Kernel::Linspace:
        takes(1);
        return dense(0, l_.count);
      case Kernel::Uniform:
      case Kernel::Normal:
      case Kernel::LogNormal:
      case Kernel::Exponential:
      case Kernel::Geometric:
      case Kernel::Cauchy:
      case Kernel::Bernoulli:
      case Kernel::Randint:
        return fill_like(1);
      case Kernel::Dropout:
      case Kernel::Poisson:
        return fill_like(2);
      case Kernel::Multinomial:
        return multinomial();
      case Kernel::Shuffle:
        takes(2);
        dense(0, l_.count, DType::Int64);
        return dense(1, l_.count, DType::Int64);
      case Kernel::OptimizerStep:
        return optimizer();
      case Kernel::ManyNorm:
      case Kernel::ManyClip:
      case Kernel::ManyLimit:
      case Kernel::ManyUnscale:
        return list();
      case Kernel::UpdateScale:
        takes(3);
        dense(0, 1, DType::Float32);
        dense(1, 1, DType::Int32);
        return dense(2, 1, DType::Float32);
      case Kernel::Quantize:
      case Kernel::Dequantize: {
        takes(3);
        const bool back = l_.kernel == id(Kernel::Dequantize);
        dense(back ? 1 : 0, l_.count, DType::UInt8);
        dense(back ? 2 : 1, (l_.count + kStateBlock - 1) / kStateBlock, DType::Float32);
        return dense(back ? 0 : 2, l_.count, DType::Float32);
      }
      case Kernel::Lu:
      case Kernel::Cholesky:
      case Kernel::SolveTriangular:
      case Kernel::Qr:
      case Kernel::Eigh:
      case Kernel::Svd:
        return linalg();
      case Kernel::Conv:
      case Kernel::ConvGradInput:
      case Kernel::ConvGradWeight:
        return conv();
      case Kernel::MaxPool:
        return max_pool();
      case Kernel::MaxPoolGrad:
        return max_pool_grad();
      case Kernel::NonzeroCount:
      case Kernel::Nonzero:
      case Kernel::Count:
        break;
    }
    // What the host looks at the results of, and what libraries add, whose kernels only they know.
    fail("launch of ", kernel_name(l_.kernel), ": it cannot stand in a file");
  }
};

}  // namespace

std::vector<IndexBound> check_reach(const Launch& l, std::span<const Room> buffers,
                                    std::span<const Room> pointers) {
  return Reach(l, buffers, pointers).check();
}

}  // namespace wengert
