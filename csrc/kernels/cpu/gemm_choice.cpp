#include "kernels/cpu/gemm_choice.h"

#include <array>
#include <atomic>
#include <cstdlib>
#include <cstring>
#include <mutex>
#include <vector>

#include "core/error.h"
#include "kernels/cpu/cpu.h"
#if defined(WENGERT_HAS_avx512) && defined(__linux__)
#include <sys/syscall.h>
#include <unistd.h>
#endif

namespace wengert {

#if defined(WENGERT_HAS_avx512)
namespace avx512bf16 {
void fill(cpu::GemmUnits&);
}
namespace avx512amx {
void fill(cpu::GemmUnits&);
}
#endif

namespace cpu {
namespace {

const char* variable(const char* name) {
  const char* value = std::getenv(name);
  return value != nullptr && *value != '\0' ? value : nullptr;
}

const GemmIsa& isa_kernels(DType d) {
  return isa().gemm[static_cast<int>(d)];
}

#if defined(WENGERT_HAS_avx512)
// Linux gives the tiles' registers to processes that ask for them.
bool may_use_tiles() {
#if defined(__linux__)
  constexpr long kRequest = 0x1023, kTileData = 18;  // ARCH_REQ_XCOMP_PERM, XFEATURE_XTILEDATA
  return syscall(SYS_arch_prctl, kRequest, kTileData) == 0;
#else
  return false;
#endif
}

bool machine_has(PairUnit unit) {
  if (!__builtin_cpu_supports("avx512bf16")) return false;
  return unit == PairUnit::Vectors || (__builtin_cpu_supports("amx-tile") &&
                                       __builtin_cpu_supports("amx-bf16") && may_use_tiles());
}

// Small whole numbers, whose products and sums are exact in every order.
bool agrees(const GemmIsa& tested, const GemmIsa& with) {
  constexpr int64_t m = 37, n = 43, k = 75;
  std::vector<BFloat16> a(m * k), b(k * n);
  std::vector<float> found(m * n), wanted(m * n, -1);
  for (size_t i = 0; i < a.size(); ++i) a[i] = BFloat16(static_cast<int>(i * 7919 % 31) - 15);
  for (size_t i = 0; i < b.size(); ++i) b[i] = BFloat16(static_cast<int>(i * 6007 % 29) - 14);
  GemmArgs g{.m = m, .n = n, .k = k, .a = a.data(), .a_rs = k, .b = b.data(), .b_rs = n};
  g.c_rs = n;
  g.wide = true;
  g.c = found.data();
  gemm(tested, g);
  g.c = wanted.data();
  gemm(with, g);
  return found == wanted;
}
#endif

struct Units {
  std::array<GemmUnits, 2> kernels{};
  std::array<bool, 2> usable{};

  Units() {
#if defined(WENGERT_HAS_avx512)
    const char* forced = variable("WENGERT_ISA");
    if (std::strcmp(isa().name, "avx512") != 0) return;
    for (const PairUnit unit : {PairUnit::Vectors, PairUnit::Tiles}) {
      const auto at = static_cast<size_t>(unit);
      if (forced != nullptr && !allowed(forced, unit)) continue;
      if (!machine_has(unit)) continue;
      GemmUnits& all = kernels[at];
      if (unit == PairUnit::Tiles)
        avx512amx::fill(all);
      else
        avx512bf16::fill(all);
      for (GemmIsa& k : all.float32) k.otherwise = &isa_kernels(DType::Float32);
      usable[at] = unit != PairUnit::Tiles || agrees(all.bfloat16, isa_kernels(DType::BFloat16));
    }
#endif
  }
  // WENGERT_ISA names the best that may be used.
  static bool allowed(const char* forced, PairUnit unit) {
    if (!std::strcmp(forced, kPairUnitNames[0])) return true;
    return unit == PairUnit::Vectors && !std::strcmp(forced, kPairUnitNames[1]);
  }
};

const Units& units() {
  static const Units all;
  return all;
}

int products_from_environment() {
  const char* value = variable("WENGERT_FLOAT32_PRODUCTS");
  return value != nullptr ? std::atoi(value) : 0;
}
bool split_from_environment() {
  const char* value = variable("WENGERT_SPLIT_FLOAT32");
  return value != nullptr && std::strcmp(value, "0") != 0;
}

// What was asked for, and what follows from it for float32.
struct Settings {
  std::mutex mutex;
  MatmulPrecision precision = MatmulPrecision::Highest;
  bool split = split_from_environment();
  int forced = products_from_environment();
  std::atomic<const GemmIsa*> chosen{nullptr};

  const GemmIsa* choose() const {
    const GemmUnits* unit = find_units(pair_unit());
    const GemmIsa* plain = &isa_kernels(DType::Float32);
    if (unit == nullptr) return plain;
    const auto& [one, three, six] = unit->float32;
    if (forced != 0) return forced == 1 ? &one : forced == 3 ? &three : &six;
    const bool tiles = pair_unit() == PairUnit::Tiles;  // three of vdpbf16ps are slower than fma
    if (precision == MatmulPrecision::Medium) return &one;
    if (precision == MatmulPrecision::High) return tiles ? &three : plain;
    return tiles && split ? &six : plain;
  }
  template <class Change>
  void change(Change&& apply) {
    const std::lock_guard lock(mutex);
    apply();
    chosen.store(choose(), std::memory_order_release);
  }
};
Settings& settings() {
  static Settings all;
  return all;
}

}  // namespace

bool names_pair_unit(std::string_view name) {
  return name == kPairUnitNames[0] || name == kPairUnitNames[1];
}

bool has_pair_unit(PairUnit unit) {
  return unit != PairUnit::None && units().usable[static_cast<size_t>(unit)];
}

PairUnit pair_unit() {
  if (has_pair_unit(PairUnit::Tiles)) return PairUnit::Tiles;
  return has_pair_unit(PairUnit::Vectors) ? PairUnit::Vectors : PairUnit::None;
}

const GemmUnits* find_units(PairUnit unit) {
  return has_pair_unit(unit) ? &units().kernels[static_cast<size_t>(unit)] : nullptr;
}

MatmulPrecision matmul_precision() {
  const std::lock_guard lock(settings().mutex);
  return settings().precision;
}
void set_matmul_precision(MatmulPrecision precision) {
  settings().change([&] { settings().precision = precision; });
}

bool split_float32() {
  const std::lock_guard lock(settings().mutex);
  return settings().split;
}
void set_split_float32(bool allowed) {
  settings().change([&] { settings().split = allowed; });
}

void force_float32_products(int products) {
  if (products != 0 && products != 1 && products != 3 && products != 6) {
    fail(ErrorKind::Value, "expected 0, 1, 3 or 6 products, got ", products);
  }
  settings().change([&] { settings().forced = products; });
}

const GemmIsa& gemm_kernels(DType dtype) {
  if (dtype == DType::Float32) {
    Settings& s = settings();
    const GemmIsa* chosen = s.chosen.load(std::memory_order_acquire);
    if (chosen == nullptr) {
      s.change([] {});
      chosen = s.chosen.load(std::memory_order_acquire);
    }
    return *chosen;
  }
  if (dtype == DType::BFloat16) {
    static const GemmUnits* const unit = find_units(pair_unit());
    if (unit != nullptr) return unit->bfloat16;
  }
  return isa_kernels(dtype);
}

}  // namespace cpu
}  // namespace wengert
