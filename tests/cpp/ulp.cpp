// wengert_ulp: the largest error of the single precision vector functions, in units of the last
// place, over every float (or every stride-th bit pattern).
//
//     wengert_ulp [stride [isa [function ...]]]
//
// The references are the C library's functions in double precision. A zero of the wrong sign, a NaN
// or an infinity where there should be none, and the reverse, count as wrong. pow is tried at every
// float with some exponents, and at random pairs.
#include <algorithm>
#include <bit>
#include <cmath>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <iterator>
#include <random>
#include <string>
#include <vector>

#include "kernels/cpu/vmath_table.h"
#include "vmath_references.h"

namespace wengert::cpu {
namespace {

constexpr int64_t kBlock = 4096;

struct Worst {
  double error = 0;
  float at = 0, other = 0;
  int64_t wrong = 0;
  float wrong_at = 0;

  void see(float x, float y, double reference, float second = 0) {
    const float rounded = static_cast<float>(reference);
    if (std::bit_cast<uint32_t>(rounded) == std::bit_cast<uint32_t>(y) && std::abs(y) > 1e38f) {
      return;  // infinities, among others
    }
    if (reference != reference || y != y || std::isinf(reference) ||
        std::signbit(y) != std::signbit(rounded)) {
      if (y != y && reference != reference) return;
      if (wrong++ == 0) wrong_at = x;
      return;
    }
    const uint64_t exponent = std::bit_cast<uint64_t>(reference) >> 52 & 0x7ff;
    const uint64_t unit = std::max<uint64_t>(exponent, 1023 - 126) - 23;
    // An infinity stands for the first number that does not fit.
    const double got = std::isinf(y) ? std::copysign(0x1p128, y) : y;
    const double e = std::fabs(got - reference) / std::bit_cast<double>(unit << 52);
    if (e > error) {
      error = e;
      at = x;
      other = second;
    }
  }
  void print(const std::string& name) const {
    std::printf("| %s | %.3f | %.9g", name.c_str(), error, static_cast<double>(at));
    if (other != 0) std::printf(", %.9g", static_cast<double>(other));
    std::printf(" | %lld |", static_cast<long long>(wrong));
    if (wrong) std::printf(" at %.9g", static_cast<double>(wrong_at));
    std::printf("\n");
    std::fflush(stdout);
  }
};

// Calls see(x, n) with blocks of every stride-th float.
template <class See>
void every_float(uint64_t stride, See see) {
  std::vector<float> x;
  for (uint64_t i = 0; i < uint64_t{1} << 32; i += stride) {
    x.push_back(std::bit_cast<float>(static_cast<uint32_t>(i)));
    if (x.size() == kBlock || i + stride >= uint64_t{1} << 32) {
      see(x.data(), static_cast<int64_t>(x.size()));
      x.clear();
    }
  }
}

void try_unary(const Reference& row, const char* isa, uint64_t stride) {
  const UnaryLoop loop = find_vmath(isa, row.name, DType::Float32);
  Worst worst;
  float y[kBlock];
  every_float(stride, [&](const float* x, int64_t n) {
    loop(x, y, n);
    for (int64_t i = 0; i < n; ++i) worst.see(x[i], y[i], row.single(x[i]));
  });
  worst.print(row.name);
}

void try_pow(const char* isa, uint64_t stride) {
  const BinaryLoop loop = find_vmath2(isa, "pow", DType::Float32);
  float z[kBlock], exponents[kBlock];
  for (const float e : {2.5f, 3.0f, -1.0f, 1.0f / 3, -0.75f, 17.0f, 1e-3f, 1e5f}) {
    std::fill(std::begin(exponents), std::end(exponents), e);
    Worst worst;
    every_float(stride * 8, [&](const float* x, int64_t n) {
      loop(x, exponents, z, n);
      for (int64_t i = 0; i < n; ++i) worst.see(x[i], z[i], std::pow(double{x[i]}, double{e}), e);
    });
    worst.print("pow");
  }
  std::mt19937_64 rng(1);
  std::normal_distribution<double> normal;
  Worst worst;
  float x[kBlock];
  for (uint64_t block = 0; block < (uint64_t{1} << 18) / stride + 1; ++block) {
    for (int64_t i = 0; i < kBlock; ++i) {
      // half of them near 1 with large exponents, and results of every size
      const double near = 1 + normal(rng) * std::exp2(-static_cast<double>(rng() % 24));
      x[i] = i % 2 ? std::bit_cast<float>(static_cast<uint32_t>(rng())) : static_cast<float>(near);
      const double log = std::log2(std::fabs(double{x[i]}));
      exponents[i] = static_cast<float>(60 * normal(rng) / log);
      if (rng() % 8 == 0) exponents[i] = std::nearbyint(exponents[i]);
    }
    loop(x, exponents, z, kBlock);
    for (int64_t i = 0; i < kBlock; ++i) {
      worst.see(x[i], z[i], std::pow(double{x[i]}, double{exponents[i]}), exponents[i]);
    }
  }
  worst.print("pow, pairs");
}

int run(int argc, char** argv) {
  const uint64_t stride = argc > 1 ? std::strtoull(argv[1], nullptr, 10) : 1;
  const char* isa = argc > 2 ? argv[2] : "avx512";
  if (stride == 0 || find_vmath(isa, "exp", DType::Float32) == nullptr) {
    std::fprintf(stderr, "usage: wengert_ulp [stride [isa [function ...]]]; no isa %s here\n", isa);
    return 2;
  }
  const auto wanted = [&](const char* name) {
    return argc <= 3 || std::find_if(argv + 3, argv + argc, [&](const char* a) {
                          return std::string(a) == name;
                        }) != argv + argc;
  };
  std::printf("| function | ULP | at | wrong |\n| --- | --- | --- | --- |\n");
  for (const Reference& row : kReferences) {
    if (wanted(row.name)) try_unary(row, isa, stride);
  }
  if (wanted("pow")) try_pow(isa, stride);
  return 0;
}

}  // namespace
}  // namespace wengert::cpu

int main(int argc, char** argv) {
  return wengert::cpu::run(argc, argv);
}
