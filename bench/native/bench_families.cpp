// A row an operation and a shape, by family: elementwise, reductions and scans over each dimension,
// sorting, indexing, moving. Bytes count one operand read and one result written, of the operand's
// size, whatever the operation: rates compare shapes, not operations.
#include "bench.h"
#include "call.h"

namespace wengert::bench {
namespace {

// Operands of the rows: as many elements as the shape has, or positions along a dimension of it.
struct Operands {
  Tensor a, b, rows, along, at, mask, order;

  explicit Operands(const Dims& sizes)
      : a(filled(sizes)),
        b(filled(sizes)),
        rows(positions({sizes[0]}, sizes[0])),
        along(positions(sizes, sizes[sizes.size() - 1])),
        at(positions({sizes[0]}, sizes[0])),
        mask(Call("gt", a, ops::zeros({}, DType::Float32))()),
        order(permutation(sizes[0])) {}

 private:
  static Tensor positions(const Dims& sizes, int64_t below) {
    const Tensor t = Tensor::empty(sizes, DType::Int64);
    auto* p = t.data<int64_t>();
    uint64_t x = 1;  // a linear congruential generator: no two neighbours alike
    for (int64_t i = 0; i < t.numel(); ++i) {
      x = x * 6364136223846793005u + 1442695040888963407u;
      p[i] = static_cast<int64_t>((x >> 33) % static_cast<uint64_t>(below));
    }
    return t;
  }
  static Tensor permutation(int64_t n) {
    const Tensor t = ops::arange(n);
    const Tensor to = positions({n}, n);
    for (int64_t i = 0; i < n; ++i)
      std::swap(t.data<int64_t>()[i], t.data<int64_t>()[to.data<int64_t>()[i]]);
    return t;
  }
};

struct Shape {
  const char* name;
  Dims sizes;
};
const std::vector<Shape> kFlat{{"1k", {1000}}, {"1M", {1'000'000}}, {"16M", {16'000'000}}};
const std::vector<Shape> kMatrix{
    {"25x40", {25, 40}}, {"1000x1000", {1000, 1000}}, {"4000x4000", {4000, 4000}}};
const std::vector<Shape> kCube{
    {"10x10x10", {10, 10, 10}}, {"100x100x100", {100, 100, 100}}, {"250x256x250", {250, 256, 250}}};
const std::vector<Shape> kTable{
    {"20x50", {20, 50}}, {"10000x100", {10'000, 100}}, {"160000x100", {160'000, 100}}};
const std::vector<Shape> kShort{
    {"125x8", {125, 8}}, {"125000x8", {125'000, 8}}, {"2000000x8", {2'000'000, 8}}};
const Dims kLast{-1}, kFirst{0}, kMiddle{1};

using Make = Call (*)(const Operands&);
struct Row {
  const char* name;
  const std::vector<Shape>& shapes;
  Make make;
};

const Row kRows[] = {
    {"elementwise/add", kFlat, [](const Operands& o) { return Call("add", o.a, o.b); }},
    {"elementwise/div", kFlat, [](const Operands& o) { return Call("div", o.a, o.b); }},
    {"elementwise/exp", kFlat, [](const Operands& o) { return Call("exp", o.a); }},
    {"elementwise/sin", kFlat, [](const Operands& o) { return Call("sin", o.a); }},
    {"elementwise/tanh", kFlat, [](const Operands& o) { return Call("tanh", o.a); }},
    {"elementwise/sigmoid", kFlat, [](const Operands& o) { return Call("sigmoid", o.a); }},
    {"elementwise/gelu", kFlat, [](const Operands& o) { return Call("gelu", o.a); }},
    {"elementwise/erf", kFlat, [](const Operands& o) { return Call("erf", o.a); }},
    {"elementwise/lt", kFlat, [](const Operands& o) { return Call("lt", o.a, o.b); }},
    {"elementwise/where", kFlat, [](const Operands& o) { return Call("where", o.mask, o.a, o.b); }},
    {"reduce/sum", kFlat, [](const Operands& o) { return Call("sum", o.a); }},
    {"reduce/sum_last", kMatrix, [](const Operands& o) { return Call("sum", o.a, kLast); }},
    {"reduce/sum_first", kMatrix, [](const Operands& o) { return Call("sum", o.a, kFirst); }},
    {"reduce/sum_middle", kCube, [](const Operands& o) { return Call("sum", o.a, kMiddle); }},
    {"reduce/sum_runs_of_8", kShort, [](const Operands& o) { return Call("sum", o.a, kLast); }},
    {"reduce/amax_last", kMatrix, [](const Operands& o) { return Call("amax", o.a, kLast); }},
    {"reduce/amax_first", kMatrix, [](const Operands& o) { return Call("amax", o.a, kFirst); }},
    {"reduce/argmax_last", kMatrix, [](const Operands& o) { return Call("argmax", o.a, -1); }},
    {"reduce/argmax_first", kMatrix, [](const Operands& o) { return Call("argmax", o.a, 0); }},
    {"reduce/logsumexp_last", kMatrix,
     [](const Operands& o) { return Call("logsumexp", o.a, kLast); }},
    {"scan/cumsum", kFlat, [](const Operands& o) { return Call("cumsum", o.a, 0); }},
    {"scan/cumsum_last", kMatrix, [](const Operands& o) { return Call("cumsum", o.a, -1); }},
    {"scan/cumsum_first", kMatrix, [](const Operands& o) { return Call("cumsum", o.a, 0); }},
    {"scan/cumsum_middle", kCube, [](const Operands& o) { return Call("cumsum", o.a, 1); }},
    {"scan/cummax_last", kMatrix, [](const Operands& o) { return Call("cummax", o.a, -1); }},
    {"scan/logcumsumexp_last", kMatrix,
     [](const Operands& o) { return Call("logcumsumexp", o.a, -1); }},
    {"sort/sort_last", kMatrix, [](const Operands& o) { return Call("sort", o.a, -1); }},
    {"sort/sort_first", kMatrix, [](const Operands& o) { return Call("sort", o.a, 0); }},
    {"sort/topk_10", kFlat, [](const Operands& o) { return Call("topk", o.a, 10); }},
    {"sort/kthvalue", kMatrix, [](const Operands& o) { return Call("kthvalue", o.a, 10); }},
    {"index/gather_last", kMatrix,
     [](const Operands& o) { return Call("gather", o.a, 1, o.along); }},
    {"index/index_select_rows", kTable,
     [](const Operands& o) { return Call("index_select", o.a, 0, o.rows); }},
    {"index/index_select_elements", kFlat,
     [](const Operands& o) { return Call("index_select", o.a, 0, o.at); }},
    {"index/masked_select", kFlat,
     [](const Operands& o) { return Call("masked_select", o.a, o.mask); }},
    {"index/nonzero", kFlat, [](const Operands& o) { return Call("nonzero", o.mask); }},
    {"index/scatter_add_elements", kFlat,
     [](const Operands& o) { return Call("scatter_add", o.a, 0, o.at, o.b); }},
    {"index/scatter_add_last", kMatrix,
     [](const Operands& o) { return Call("scatter_add", o.a, 1, o.along, o.b); }},
    {"index/index_add_rows", kTable,
     [](const Operands& o) { return Call("index_add", o.a, 0, o.rows, o.b); }},
    {"index/index_copy_rows", kTable,
     [](const Operands& o) { return Call("index_copy", o.a, 0, o.order, o.b); }},
    {"move/tril", kMatrix, [](const Operands& o) { return Call("tril", o.a); }},
    {"move/flip", kFlat, [](const Operands& o) { return Call("flip", o.a, kFirst); }},
};

void run(benchmark::State& state, const Row& row, const Shape& shape) {
  const Operands operands(shape.sizes);
  const Call call = row.make(operands);
  for (auto _ : state) benchmark::DoNotOptimize(call());
  count_bytes(state, 2 * operands.a.numel() * static_cast<int64_t>(sizeof(float)));
}

const bool registered = [] {
  for (const Row& row : kRows) {
    for (const Shape& shape : row.shapes) {
      const std::string name = std::string(row.name) + "/" + shape.name;
      benchmark::RegisterBenchmark(name.c_str(), run, row, shape)->UseRealTime();
    }
  }
  return true;
}();

}  // namespace
}  // namespace wengert::bench
