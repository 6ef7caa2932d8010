// Attention without the matrix of weights (Dao and others, FlashAttention, 2022): tiles of scores
// are made by the micro-kernels of matrix products, weighed while they are in cache, multiplied by
// the values and forgotten; the backward makes them anew from the log-sum-exps.
//
// A tile stands with a key to a row, K Q^T: then K and V are read in place as left operands, only
// the queries of a tile are transposed once, and softmax goes on in lanes (attention_isa.h).
#include <algorithm>
#include <limits>

#include "kernels/cpu/cpu.h"
#include "kernels/cpu/parallel.h"
#include "kernels/cpu/scratch.h"

namespace wengert::cpu {
namespace {

constexpr int64_t kQ = kAttentionQueries;
constexpr double kMinFlopsPerThread = 1 << 21;

int64_t ceil_div(int64_t a, int64_t b) {
  return (a + b - 1) / b;
}

// A matrix in memory: its rows are dense.
template <class T>
struct Rows {
  T* data;
  int64_t step;
  T* at(int64_t i) const { return data + i * step; }
};

// C (+)= A B. B's rows can be read up to whole vectors.
template <class T>
void multiply(const GemmIsa& isa, int64_t m, int64_t n, int64_t k, const T* a, int64_t a_rs,
              int64_t a_cs, Rows<const T> b, Rows<T> c, bool add) {
  const int64_t width = int64_t{isa.nv} * isa.lanes;
  const int64_t height = ceil_div(m, ceil_div(m, isa.mr));
  const auto& kernels = a_rs == 1 ? isa.unit_rows : isa.any_rows;
  GemmTile t{};
  t.k = k;
  t.a_rs = a_rs;
  t.a_cs = a_cs;
  t.b_rs = b.step;
  t.c_rs = c.step;
  t.add = add;
  for (int64_t j = 0; j < n; j += width) {
    t.cols = std::min(width, n - j);
    t.b = b.data + j;
    for (int64_t i = 0; i < m; i += height) {
      t.a = a + i * a_rs;
      t.c = c.at(i) + j;
      kernels[std::min(height, m - i) - 1][ceil_div(t.cols, isa.lanes) - 1](t);
    }
  }
}

// What a launch holds, and where each head's part of it stands.
template <class T>
struct Problem {
  const Launch& l;
  const GemmIsa& gemm = isa().gemm[static_cast<int>(kDTypeOf<T>)];
  const AttentionLoops& loops = isa().attention[static_cast<int>(kDTypeOf<T>)];
  int64_t batch = l.size[0], heads = l.size[1], queries = l.size[2], keys = l.size[3];
  int64_t columns = l.more[2], value_columns = l.more[3], group = l.more[4];
  bool causal = l.more[5] != 0, masked = l.more[6] != 0;
  double scale = l.number[0], dropout = l.number[1];
  int64_t tiles = ceil_div(queries, kQ);
  int64_t key_blocks = ceil_div(keys, kAttentionKeys), block = ceil_div(keys, key_blocks);

  int64_t padded(int64_t n) const { return ceil_div(n, gemm.lanes) * gemm.lanes; }
  Rows<T> rows(int buffer, int64_t b, int64_t h) const {
    const Buffer& x = l.buffer[buffer];
    return {static_cast<T*>(x.data) + b * x.stride[0] + h * x.stride[1], x.stride[2]};
  }
  Rows<const T> input(int buffer, int64_t b, int64_t h) const {
    const Rows<T> r = rows(buffer, b, h);
    return {r.data, r.step};
  }
  // Keys that queries from `first` on, `count` of them, may see.
  int64_t keys_seen(int64_t first, int64_t count) const {
    return causal ? std::min(keys, first + count) : keys;
  }
  double flops() const {
    return static_cast<double>(batch * heads * queries) * static_cast<double>(keys) *
           static_cast<double>(columns + value_columns) * 2;
  }
};

// Memory of one thread, cut into arrays of whole vectors.
template <class T>
class Arena {
 public:
  explicit Arena(int64_t elements) : memory_(elements * static_cast<int64_t>(sizeof(T))) {}
  T* take(int64_t n) {
    T* p = reinterpret_cast<T*>(memory_.data()) + used_;
    used_ += room(n);
    return p;
  }
  static int64_t room(int64_t n) { return ceil_div(n, 64) * 64; }

 private:
  Scratch memory_;
  int64_t used_ = 0;
};

// Queries of a tile transposed, scaled: columns x kQ.
template <class T>
void transpose_tile(const Problem<T>& p, Rows<const T> x, int64_t count, int64_t columns,
                    double scale, T* out) {
  // A panel to each width of a product: here all stand side by side.
  p.gemm.pack_b({x.data, x.step, 1, count, kQ, columns, out});
  if (scale != 1) p.loops.scale(out, columns * kQ, scale);
}

// Rows that a product can read up to whole vectors: the matrix itself, or a copy.
template <class T>
Rows<const T> whole_vectors(const Problem<T>& p, Rows<const T> x, int64_t count, int64_t columns,
                            T* room) {
  const int64_t width = p.padded(columns);
  if (width == columns) return x;
  for (int64_t i = 0; i < count; ++i) {
    std::copy_n(x.at(i), columns, room + i * width);
    std::fill(room + i * width + columns, room + (i + 1) * width, T(0));
  }
  return {room, width};
}

// The part of the mask that a tile adds, turned like the tile.
template <class T>
const T* mask_tile(const Problem<T>& p, int buffer, int64_t b, int64_t h, int64_t q, int64_t count,
                   int64_t key, int64_t keys, T* room) {
  if (!p.masked) return nullptr;
  const Buffer& m = p.l.buffer[buffer];
  const T* at = static_cast<const T*>(m.data) + b * m.stride[0] + h * m.stride[1] +
                q * m.stride[2] + key * m.stride[3];
  p.gemm.pack_b({at, m.stride[2], m.stride[3], count, kQ, keys, room});
  return room;
}

template <class T>
AttentionTile tile_of(const Problem<T>& p, int64_t head, int64_t tile, int64_t key, int64_t keys,
                      T* scores, const T* mask) {
  AttentionTile t{};
  t.scores = scores;
  t.mask = mask;
  t.keys = keys;
  t.first_query = tile * kQ - key;
  t.causal = p.causal && key + keys - 1 > tile * kQ;
  t.dropout = p.dropout;
  t.seed = static_cast<uint64_t>(p.l.more[0]);
  t.counter = static_cast<uint64_t>(p.l.more[1]);
  t.word_step = static_cast<uint64_t>(p.tiles * kQ);
  t.word =
      static_cast<uint64_t>(head * p.keys + key) * t.word_step + static_cast<uint64_t>(tile * kQ);
  return t;
}

template <class T>
void forward(const Problem<T>& p) {
  const int64_t width = p.padded(p.value_columns), jobs = p.batch * p.heads * p.tiles;
  const bool copies = width != p.value_columns;
  const auto per_job = p.flops() / static_cast<double>(jobs);
  const auto grain = static_cast<int64_t>(kMinFlopsPerThread / std::max(per_job, 1.0)) + 1;
  parallel_for(jobs, grain, [&](int64_t begin, int64_t end) {
    using A = Arena<T>;
    A arena(A::room((p.columns + 1) * kQ) + 2 * A::room(p.block * kQ + kQ) + A::room(kQ * width) +
            (copies ? A::room(p.block * width) : 0) + 3 * A::room(kQ));
    T* const turned = arena.take((p.columns + 1) * kQ);  // packing may write beyond the end
    T* const scores = arena.take(p.block * kQ + kQ);
    T* const mask = arena.take(p.block * kQ + kQ);
    T* const sums = arena.take(kQ * width);
    T* const copy = copies ? arena.take(p.block * width) : nullptr;
    T *const max = arena.take(kQ), *const sum = arena.take(kQ), *const rescale = arena.take(kQ);
    for (int64_t job = begin; job < end; ++job) {
      const int64_t tile = job % p.tiles, head = job / p.tiles;
      const int64_t b = head / p.heads, h = head % p.heads, q = tile * kQ;
      const int64_t count = std::min(kQ, p.queries - q), seen = p.keys_seen(q, count);
      const Rows<const T> k = p.input(3, b, h / p.group), v = p.input(4, b, h / p.group);
      const Rows<const T> x = p.input(2, b, h);
      transpose_tile<T>(p, {x.at(q), x.step}, count, p.columns, p.scale, turned);
      std::fill_n(max, kQ, -std::numeric_limits<T>::infinity());
      std::fill_n(sum, kQ, T(0));
      for (int64_t key = 0; key < seen; key += p.block) {
        const int64_t n = std::min(p.block, seen - key);
        multiply<T>(p.gemm, n, kQ, p.columns, k.at(key), k.step, 1, {turned, kQ}, {scores, kQ},
                    false);
        const AttentionTile t = tile_of(p, head, tile, key, n, scores,
                                        mask_tile<T>(p, 5, b, h, q, count, key, n, mask));
        const bool any = p.loops.forward(t, max, sum, rescale);
        if (any && key > 0) p.loops.scale_rows(sums, count, width, rescale);
        const Rows<const T> values =
            whole_vectors<T>(p, {v.at(key), v.step}, n, p.value_columns, copy);
        multiply<T>(p.gemm, count, width, n, scores, 1, kQ, values, {sums, width}, key > 0);
      }
      const Rows<T> y = p.rows(0, b, h);
      p.loops.finish(sums, count, p.value_columns, width, max, sum, y.at(q), y.step);
      std::copy_n(sum, count, static_cast<T*>(p.l.buffer[1].data) + head * p.queries + q);
    }
  });
}

// A key head's gradients are summed over its queries by one thread, in order.
template <class T>
void backward(const Problem<T>& p) {
  const int64_t key_heads = p.heads / p.group, jobs = p.batch * key_heads;
  const auto per_job = 2.5 * p.flops() / static_cast<double>(jobs);
  const auto grain = static_cast<int64_t>(kMinFlopsPerThread / std::max(per_job, 1.0)) + 1;
  const int64_t width = p.padded(p.columns), value_width = p.padded(p.value_columns);
  parallel_for(jobs, grain, [&](int64_t begin, int64_t end) {
    using A = Arena<T>;
    A arena(A::room((p.columns + 1) * kQ) + A::room((p.value_columns + 1) * kQ) +
            3 * A::room(p.block * kQ + kQ) + A::room(kQ * width) + A::room(p.block * width) +
            A::room(kQ * value_width) + 2 * A::room(kQ));
    T* const turned_q = arena.take((p.columns + 1) * kQ);
    T* const turned_g = arena.take((p.value_columns + 1) * kQ);
    T* const scores = arena.take(p.block * kQ + kQ);
    T* const products = arena.take(p.block * kQ + kQ);
    T* const mask = arena.take(p.block * kQ + kQ);
    T* const copy_q = arena.take(kQ * width);
    T* const copy_k = arena.take(p.block * width);
    T* const copy_g = arena.take(kQ * value_width);
    T *const log_sums = arena.take(kQ), *const delta = arena.take(kQ);
    std::fill_n(log_sums, kQ, T(0));
    std::fill_n(delta, kQ, T(0));
    const auto one_tile = [&](int64_t b, int64_t h, int64_t tile) {
      const int64_t head = b * p.heads + h, kv = h / p.group, q = tile * kQ;
      const int64_t count = std::min(kQ, p.queries - q), seen = p.keys_seen(q, count);
      const Rows<const T> all_q = p.input(4, b, h), all_g = p.input(3, b, h);
      const Rows<const T> x{all_q.at(q), all_q.step}, g{all_g.at(q), all_g.step};
      const Rows<const T> k = p.input(5, b, kv), v = p.input(6, b, kv), y = p.input(7, b, h);
      const Rows<T> gq = p.rows(0, b, h), gk = p.rows(1, b, kv), gv = p.rows(2, b, kv);
      transpose_tile<T>(p, x, count, p.columns, p.scale, turned_q);
      transpose_tile<T>(p, g, count, p.value_columns, 1, turned_g);
      const Rows<const T> xs = whole_vectors<T>(p, x, count, p.columns, copy_q);
      const Rows<const T> gs = whole_vectors<T>(p, g, count, p.value_columns, copy_g);
      std::copy_n(static_cast<const T*>(p.l.buffer[8].data) + head * p.queries + q, count,
                  log_sums);
      p.loops.dot_rows(g.data, g.step, y.at(q), y.step, count, p.value_columns, delta);
      for (int64_t key = 0; key < seen; key += p.block) {
        const int64_t n = std::min(p.block, seen - key);
        multiply<T>(p.gemm, n, kQ, p.columns, k.at(key), k.step, 1, {turned_q, kQ}, {scores, kQ},
                    false);
        multiply<T>(p.gemm, n, kQ, p.value_columns, v.at(key), v.step, 1, {turned_g, kQ},
                    {products, kQ}, false);
        const AttentionTile t = tile_of(p, head, tile, key, n, scores,
                                        mask_tile<T>(p, 9, b, h, q, count, key, n, mask));
        p.loops.backward(t, products, log_sums, delta, p.scale);
        const Rows<const T> ks = whole_vectors<T>(p, {k.at(key), k.step}, n, p.columns, copy_k);
        multiply<T>(p.gemm, n, p.value_columns, count, scores, kQ, 1, gs, {gv.at(key), gv.step},
                    true);
        multiply<T>(p.gemm, n, p.columns, count, products, kQ, 1, xs, {gk.at(key), gk.step}, true);
        multiply<T>(p.gemm, count, p.columns, n, products, 1, kQ, ks, {gq.at(q), gq.step}, key > 0);
      }
    };
    for (int64_t job = begin; job < end; ++job) {
      const int64_t b = job / key_heads, kv = job % key_heads;
      const Rows<T> gk = p.rows(1, b, kv), gv = p.rows(2, b, kv);
      for (int64_t i = 0; i < p.keys; ++i) {
        std::fill_n(gk.at(i), p.columns, T(0));
        std::fill_n(gv.at(i), p.value_columns, T(0));
      }
      for (int64_t h = kv * p.group; h < (kv + 1) * p.group; ++h) {
        for (int64_t tile = 0; tile < p.tiles; ++tile) one_tile(b, h, tile);
      }
    }
  });
}

template <class Run>
void on_floats(const Launch& l, Run&& run) {
  if (l.count == 0) return;
  if (l.dtype == DType::Float32)
    run.template operator()<float>();
  else
    run.template operator()<double>();
}

}  // namespace

void run_attention(const Launch& l) {
  on_floats(l, [&]<class T>() { forward(Problem<T>{l}); });
}

void run_attention_grad(const Launch& l) {
  on_floats(l, [&]<class T>() { backward(Problem<T>{l}); });
}

}  // namespace wengert::cpu
