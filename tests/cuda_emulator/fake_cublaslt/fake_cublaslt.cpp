// A library with the functions of cuBLASLt that wengert calls, for tests on the emulator: products
// by their definition, in the emulated device's memory. It refuses what the real one refuses, as
// far as its documentation tells, so that a wrong descriptor is seen without a GPU.
#include <bit>
#include <cstdint>
#include <cstring>

#include "core/half.h"
#include "cuda_runtime.h"

namespace {

enum Status : int { kSuccess = 0, kInvalid = 7, kUnsupported = 15 };
enum Type : int { kFloat32 = 0, kFloat64 = 1, kFloat16 = 2, kBFloat16 = 14 };

struct Operation {
  int compute, scale;
  int32_t trans_a = 0, trans_b = 0;
  uint32_t epilogue = 1;
  const void* bias = nullptr;
};
struct Layout {
  int type;
  uint64_t rows, columns;
  int64_t leading;
  int32_t batch = 1;
  int64_t step = 0;
};
struct Preference {
  uint64_t workspace = 0;
  uint32_t alignment[4] = {256, 256, 256, 256};
};
struct Algorithm {
  uint64_t data[8];
};
struct Heuristic {
  Algorithm algorithm;
  size_t workspace;
  int state;
  float waves;
  int reserved[4];
};
constexpr uint64_t kMagic = 0x77656e67657274;
constexpr size_t kWorkspace = 1024;

int calls = 0;

template <class T>
bool take(T& to, const void* from, size_t bytes) {
  if (!from || bytes != sizeof to) return false;
  std::memcpy(&to, from, sizeof to);
  return true;
}

double element(const void* p, int type, int64_t i) {
  switch (type) {
    case kFloat64:
      return static_cast<const double*>(p)[i];
    case kFloat16:
      return static_cast<double>(static_cast<const wengert::Float16*>(p)[i]);
    case kBFloat16:
      return static_cast<double>(static_cast<const wengert::BFloat16*>(p)[i]);
    default:
      return static_cast<const float*>(p)[i];
  }
}
void set_element(void* p, int type, int64_t i, double v) {
  switch (type) {
    case kFloat64:
      static_cast<double*>(p)[i] = v;
      return;
    case kFloat16:
      static_cast<wengert::Float16*>(p)[i] = wengert::Float16(v);
      return;
    case kBFloat16:
      static_cast<wengert::BFloat16*>(p)[i] = wengert::BFloat16(v);
      return;
    default:
      static_cast<float*>(p)[i] = static_cast<float>(v);
  }
}

double to_tf32(double v) {
  const auto bits = std::bit_cast<uint32_t>(static_cast<float>(v));
  return std::bit_cast<float>((bits + 0x1000) & 0xffffe000u);
}

// What the real library takes of what wengert asks for.
bool fits(const Operation& o, const Layout& a, const Layout& b, const Layout& c) {
  const bool wide = o.compute == 70;
  if (!wide && o.compute != 68 && o.compute != 77) return false;
  if (o.scale != (wide ? kFloat64 : kFloat32) || (a.type == kFloat64) != wide) return false;
  if (a.type != b.type) return false;
  if (c.type != a.type && c.type != kFloat32) return false;
  if (o.compute == 77 && a.type != kFloat32) return false;
  if (o.epilogue != 1 && (o.epilogue != 4 || wide || !o.bias)) return false;
  const uint64_t m = o.trans_a ? a.columns : a.rows, k = o.trans_a ? a.rows : a.columns;
  const uint64_t n = o.trans_b ? b.rows : b.columns, k_b = o.trans_b ? b.columns : b.rows;
  if (k != k_b || m != c.rows || n != c.columns || m == 0 || n == 0 || k == 0) return false;
  for (const Layout* l : {&a, &b, &c}) {
    if (l->leading < static_cast<int64_t>(l->rows) || l->batch != c.batch) return false;
  }
  return true;
}

struct Call {
  Operation operation;
  Layout a, b, c;
  const char *a_data, *b_data, *c_data;
  char* d_data;
  double alpha, beta;

  void run() const {
    const auto of = [](const Layout& l, const char* p, int64_t i, int64_t row, int64_t column) {
      return element(p, l.type, i * l.step + row + column * l.leading);
    };
    const Operation& o = operation;
    const auto depth = static_cast<int64_t>(o.trans_a ? a.rows : a.columns);
    const auto row = static_cast<int64_t>(blockIdx.x * blockDim.x + threadIdx.x);
    const auto column = static_cast<int64_t>(blockIdx.y), i = static_cast<int64_t>(blockIdx.z);
    if (row >= static_cast<int64_t>(c.rows)) return;
    double sum = 0;
    for (int64_t k = 0; k < depth; ++k) {
      double x = o.trans_a ? of(a, a_data, i, k, row) : of(a, a_data, i, row, k);
      double y = o.trans_b ? of(b, b_data, i, column, k) : of(b, b_data, i, k, column);
      if (o.compute == 77) x = to_tf32(x), y = to_tf32(y);
      sum += x * y;
    }
    sum *= alpha;
    if (beta != 0) sum += beta * of(c, c_data, i, row, column);
    if (o.epilogue == 4) sum += element(o.bias, c.type, row);
    set_element(d_data, c.type, i * c.step + row + column * c.leading, sum);
  }
};

bool is_multiple(const void* p, uint32_t of) {
  return reinterpret_cast<uintptr_t>(p) % of == 0;
}

}  // namespace

#define FAKE extern "C" __attribute__((visibility("default")))

FAKE int fake_cublaslt_calls() {
  return calls;
}

FAKE size_t cublasLtGetVersion() {
  return 130000;
}
FAKE int cublasLtCreate(void** handle) {
  static int one;
  *handle = &one;
  return kSuccess;
}
FAKE int cublasLtDestroy(void*) {
  return kSuccess;
}

FAKE int cublasLtMatmulDescCreate(Operation** o, int compute, int scale) {
  *o = new Operation{.compute = compute, .scale = scale};
  return kSuccess;
}
FAKE int cublasLtMatmulDescDestroy(Operation* o) {
  delete o;
  return kSuccess;
}
FAKE int cublasLtMatmulDescSetAttribute(Operation* o, int attribute, const void* from, size_t n) {
  const auto set = [&](auto& to) { return take(to, from, n) ? kSuccess : kInvalid; };
  switch (attribute) {
    case 3:
      return set(o->trans_a);
    case 4:
      return set(o->trans_b);
    case 7:
      return set(o->epilogue);
    case 8:
      return set(o->bias);
    default:
      return kInvalid;
  }
}

FAKE int cublasLtMatrixLayoutCreate(Layout** l, int type, uint64_t rows, uint64_t columns,
                                    int64_t leading) {
  *l = new Layout{.type = type, .rows = rows, .columns = columns, .leading = leading};
  return kSuccess;
}
FAKE int cublasLtMatrixLayoutDestroy(Layout* l) {
  delete l;
  return kSuccess;
}
FAKE int cublasLtMatrixLayoutSetAttribute(Layout* l, int attribute, const void* from, size_t n) {
  if (attribute == 5) return take(l->batch, from, n) ? kSuccess : kInvalid;
  if (attribute == 6) return take(l->step, from, n) ? kSuccess : kInvalid;
  return kInvalid;
}

FAKE int cublasLtMatmulPreferenceCreate(Preference** p) {
  *p = new Preference;
  return kSuccess;
}
FAKE int cublasLtMatmulPreferenceDestroy(Preference* p) {
  delete p;
  return kSuccess;
}
FAKE int cublasLtMatmulPreferenceSetAttribute(Preference* p, int attribute, const void* from,
                                              size_t n) {
  if (attribute == 1) return take(p->workspace, from, n) ? kSuccess : kInvalid;
  if (attribute < 5 || attribute > 8) return kInvalid;
  return take(p->alignment[attribute - 5], from, n) ? kSuccess : kInvalid;
}

FAKE int cublasLtMatmulAlgoGetHeuristic(void*, const Operation* o, const Layout* a, const Layout* b,
                                        const Layout* c, const Layout* d, const Preference* p,
                                        int wanted, Heuristic* found, int* num_found) {
  *num_found = 0;
  if (wanted < 1) return kInvalid;
  if (!fits(*o, *a, *b, *c) || d->rows != c->rows) return kUnsupported;
  *found = {};
  found->algorithm.data[0] = kMagic;
  for (int k = 0; k < 4; ++k) found->algorithm.data[1 + k] = p->alignment[k];
  found->workspace = p->workspace >= kWorkspace ? kWorkspace : 0;
  *num_found = 1;
  return kSuccess;
}

FAKE int cublasLtMatmul(void* handle, const Operation* o, const void* alpha, const void* a,
                        const Layout* a_layout, const void* b, const Layout* b_layout,
                        const void* beta, const void* c, const Layout* c_layout, void* d,
                        const Layout* d_layout, const Algorithm* algorithm, void* workspace,
                        size_t bytes, cudaStream_t stream) {
  if (!handle || !algorithm || algorithm->data[0] != kMagic) return kInvalid;
  if (!fits(*o, *a_layout, *b_layout, *c_layout) || d_layout->leading < 1) return kUnsupported;
  if (bytes < kWorkspace || !workspace || !is_multiple(workspace, 256)) return kInvalid;
  const void* const data[4] = {a, b, c, d};
  for (int k = 0; k < 4; ++k) {
    const auto alignment = static_cast<uint32_t>(algorithm->data[1 + k]);
    if (!is_multiple(data[k], alignment)) return kInvalid;
  }
  const bool wide = o->scale == kFloat64;
  const auto scale = [&](const void* p) {
    return wide ? *static_cast<const double*>(p) : *static_cast<const float*>(p);
  };
  const Call call{*o,
                  *a_layout,
                  *b_layout,
                  *c_layout,
                  static_cast<const char*>(a),
                  static_cast<const char*>(b),
                  static_cast<const char*>(c),
                  static_cast<char*>(d),
                  scale(alpha),
                  scale(beta)};
  const dim3 grid(static_cast<unsigned>((c_layout->rows + 31) / 32),
                  static_cast<unsigned>(c_layout->columns), static_cast<unsigned>(c_layout->batch));
  cuda_emulator::launch(grid, dim3(32), 0, stream, [call] { call.run(); });
  ++calls;
  return kSuccess;
}
