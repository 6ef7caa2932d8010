// Float32 and float64 matrix products from C++, beside any libraries with the CBLAS interface:
//
//   gemm_peers --threads N --seconds S [--float64] NAME=PATH ...
//
// Each library is opened apart, so that no two meet in symbols. Per shape, results are compared,
// then the candidates take turns, each for a stretch of at least 2 ms a round; a line of JSON a
// shape. The libraries' threads are set by the environment (bench/gemm_peers.py does it).
#include <dlfcn.h>
#include <sched.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <chrono>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <functional>
#include <new>
#include <set>
#include <stdexcept>
#include <string>
#include <vector>

#include "kernels/cpu/cpu.h"
#include "kernels/cpu/parallel.h"

namespace wengert::bench {
namespace {

struct Shape {
  int m, n, k;
  bool a_transposed, b_transposed;
};

// Squares, and what training steps are made of: a layer forward (x W^T), its input's gradient (g W)
// and its weight's (g^T x).
std::vector<Shape> shapes() {
  std::vector<Shape> all;
  for (const int n :
       {8, 12, 16, 24, 32, 48, 64, 96, 128, 192, 256, 384, 512, 768, 1024, 1536, 2048}) {
    all.push_back({n, n, n, false, false});
  }
  for (const auto& [m, n, k] : {std::array{32, 128, 784}, std::array{256, 1024, 1024},
                                std::array{768, 384, 128}, std::array{1, 64, 64}}) {
    all.push_back({m, n, k, false, false});
    all.push_back({m, n, k, false, true});
    all.push_back({n, k, m, true, false});
  }
  return all;
}

template <class T, class Int>
using Cblas = void (*)(int order, int ta, int tb, Int m, Int n, Int k, T alpha, const T* a, Int lda,
                       const T* b, Int ldb, T beta, T* c, Int ldc);

struct Library {
  std::string name;
  void* symbol;
  bool wide;  // 64-bit sizes
};

// Handles stay open: libraries with threads of their own do not like to be closed.
Library open_library(const std::string& given, bool float64) {
  const size_t equals = given.find('=');
  if (equals == std::string::npos) throw std::invalid_argument("expected NAME=PATH: " + given);
  const std::string path = given.substr(equals + 1);
  void* handle = dlopen(path.c_str(), RTLD_NOW | RTLD_LOCAL);
  if (!handle) throw std::runtime_error(dlerror());
  const std::string plain = float64 ? "cblas_dgemm" : "cblas_sgemm";
  for (const auto& [symbol, wide] : {std::pair{plain, false},
                                     {plain + "64_", true},
                                     {"scipy_" + plain + "64_", true}}) {  // as in NumPy's wheels
    if (void* found = dlsym(handle, symbol.c_str())) return {given.substr(0, equals), found, wide};
  }
  throw std::runtime_error(path + ": no CBLAS interface");
}

double now() {
  using Clock = std::chrono::steady_clock;
  return std::chrono::duration<double>(Clock::now().time_since_epoch()).count();
}

struct Candidate {
  std::string name;
  std::function<void()> run;
  long repetitions = 1;
  std::vector<double> seconds = {};

  double stretch(long n) const {
    const double start = now();
    for (long i = 0; i < n; ++i) run();
    return (now() - start) / static_cast<double>(n);
  }
  // Until a stretch takes 2 ms.
  void calibrate() {
    while (stretch(repetitions) * static_cast<double>(repetitions) < 2e-3) repetitions *= 2;
  }
};

// Gives each thread that a library has started a processor of its own, beside the calling thread's:
// some systems pack threads that seem idle on one, where those that wait for each other by spinning
// are a thousand times slower. Threads that are started at every call stay where that one is.
void place_threads() {
  static const cpu_set_t allowed = [] {
    cpu_set_t set;
    sched_getaffinity(0, sizeof set, &set);
    return set;
  }();
  std::vector<int> processors;
  for (int i = 0; i < CPU_SETSIZE; ++i) {
    if (CPU_ISSET(i, &allowed)) processors.push_back(i);
  }
  static std::set<int> placed;
  size_t next = 0;
  for (const auto& entry : std::filesystem::directory_iterator("/proc/self/task")) {
    const int thread = std::stoi(entry.path().filename());
    if (!placed.insert(thread).second) continue;
    const bool caller = thread == getpid();
    cpu_set_t set;
    CPU_ZERO(&set);
    CPU_SET(static_cast<size_t>(processors[caller ? 0 : ++next % processors.size()]), &set);
    sched_setaffinity(thread, sizeof set, &set);
  }
}

// Memory aligned to cache lines, as tensors are.
template <class T>
struct Aligned {
  using value_type = T;
  T* allocate(size_t n) { return static_cast<T*>(::operator new(n * sizeof(T), kLine)); }
  void deallocate(T* p, size_t) { ::operator delete(p, kLine); }
  bool operator==(const Aligned&) const = default;
  static constexpr std::align_val_t kLine{64};
};
template <class T>
using Array = std::vector<T, Aligned<T>>;

template <class T>
Array<T> values(size_t count, int seed) {
  Array<T> v(count);
  for (size_t i = 0; i < count; ++i) {
    v[i] = static_cast<T>(static_cast<int>((i * 37 + 11 + static_cast<size_t>(seed)) % 199) - 99) /
           100;
  }
  return v;
}

template <class T, class Int>
void call(void* symbol, const Shape& s, const T* a, int lda, const T* b, int ldb, T* c) {
  constexpr int kRows = 101, kPlain = 111, kTransposed = 112;  // of CBLAS
  reinterpret_cast<Cblas<T, Int>>(symbol)(kRows, s.a_transposed ? kTransposed : kPlain,
                                          s.b_transposed ? kTransposed : kPlain, s.m, s.n, s.k,
                                          T{1}, a, lda, b, ldb, T{0}, c, s.n);
}

template <class T>
void compare(const Shape& s, const std::vector<Library>& libraries, double budget) {
  const auto a = values<T>(static_cast<size_t>(s.m) * static_cast<size_t>(s.k), 1);
  const auto b = values<T>(static_cast<size_t>(s.k) * static_cast<size_t>(s.n), 2);
  const int lda = s.a_transposed ? s.m : s.k, ldb = s.b_transposed ? s.k : s.n;
  const size_t size = static_cast<size_t>(s.m) * static_cast<size_t>(s.n);

  cpu::GemmArgs args;
  args.m = s.m;
  args.n = s.n;
  args.k = s.k;
  args.a = a.data();
  args.a_rs = s.a_transposed ? 1 : lda;
  args.a_cs = s.a_transposed ? lda : 1;
  args.b = b.data();
  args.b_rs = s.b_transposed ? 1 : ldb;
  args.b_cs = s.b_transposed ? ldb : 1;
  args.c_rs = s.n;
  constexpr DType kType = sizeof(T) == 4 ? DType::Float32 : DType::Float64;
  const cpu::GemmIsa& isa = cpu::isa().gemm[static_cast<int>(kType)];

  std::vector<Array<T>> results(libraries.size() + 1, Array<T>(size));
  std::vector<Candidate> candidates;
  args.c = results[0].data();
  candidates.push_back({"wengert", [&isa, args] { cpu::gemm(isa, args); }});
  for (size_t i = 0; i < libraries.size(); ++i) {
    const auto product = libraries[i].wide ? &call<T, int64_t> : &call<T, int>;
    candidates.push_back({libraries[i].name,
                          [=, symbol = libraries[i].symbol, a = a.data(), b = b.data(),
                           c = results[i + 1].data()] { product(symbol, s, a, lda, b, ldb, c); }});
  }
  for (size_t i = 0; i < candidates.size(); ++i) {
    candidates[i].run();
    if (num_threads() > 1) place_threads();
    for (size_t j = 0; j < size; ++j) {
      const double difference = std::abs(static_cast<double>(results[i][j] - results[0][j]));
      if (!(difference <= 1e-4 * (1 + std::sqrt(s.k)))) {
        throw std::runtime_error(candidates[i].name + " disagrees by " +
                                 std::to_string(difference));
      }
    }
  }
  for (Candidate& c : candidates) c.calibrate();
  const double end = now() + budget;
  for (size_t round = 0; round < 7 || now() < end; ++round) {
    for (size_t i = 0; i < candidates.size(); ++i) {
      Candidate& c = candidates[(i + round) % candidates.size()];
      c.stretch(std::max(1L, c.repetitions / 4));  // back into the caches
      c.seconds.push_back(c.stretch(c.repetitions));
    }
  }
  std::printf(R"({"m": %d, "n": %d, "k": %d, "form": "%s%s", "rows": [)", s.m, s.n, s.k,
              s.a_transposed ? "T" : "N", s.b_transposed ? "T" : "N");
  const char* separator = "";
  for (Candidate& c : candidates) {
    std::ranges::sort(c.seconds);
    std::printf(R"(%s{"name": "%s", "min_s": %.4g, "median_s": %.4g})", separator, c.name.c_str(),
                c.seconds.front(), c.seconds[c.seconds.size() / 2]);
    separator = ", ";
  }
  std::printf("]}\n");
  std::fflush(stdout);
}

int run(int argc, char** argv) {
  double seconds = 0.5;
  bool float64 = false;
  std::vector<std::string> given;
  for (int i = 1; i < argc; ++i) {
    const std::string arg = argv[i];
    if (arg == "--float64") {
      float64 = true;
    } else if ((arg == "--threads" || arg == "--seconds") && i + 1 < argc) {
      const char* value = argv[++i];
      if (arg == "--threads") {
        set_num_threads(std::atoi(value));
      } else {
        seconds = std::atof(value);
      }
    } else {
      given.push_back(arg);
    }
  }
  std::vector<Library> libraries;
  for (const std::string& g : given) libraries.push_back(open_library(g, float64));
  for (const Shape& s : shapes()) {
    float64 ? compare<double>(s, libraries, seconds) : compare<float>(s, libraries, seconds);
  }
  return 0;
}

}  // namespace
}  // namespace wengert::bench

int main(int argc, char** argv) {
  try {
    return wengert::bench::run(argc, argv);
  } catch (const std::exception& e) {
    std::fprintf(stderr, "gemm_peers: %s\n", e.what());
    return 1;
  }
}
