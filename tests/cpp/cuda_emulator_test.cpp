// The CUDA emulator itself: what it promises to the tests of the CUDA backend.
#include <cuda_bf16.h>
#include <cuda_fp16.h>
#include <cuda_pipeline.h>
#include <cuda_runtime.h>
#include <gtest/gtest.h>
#include <mma.h>

#include <chrono>
#include <cmath>
#include <string>
#include <thread>
#include <vector>

namespace {

using cuda_emulator::launch;

constexpr unsigned kFull = 0xffffffffu;
const char* const kOrders[] = {"forward", "reverse", "random:1", "random:7"};

#define CHECK_CUDA(call) ASSERT_EQ((call), cudaSuccess)

template <class T>
T* device(size_t count) {
  T* p = nullptr;
  EXPECT_EQ(cudaMalloc(&p, count * sizeof(T)), cudaSuccess);
  return p;
}

template <class T>
T* device(const std::vector<T>& values) {
  T* p = device<T>(values.size());
  EXPECT_EQ(cudaMemcpy(p, values.data(), values.size() * sizeof(T), cudaMemcpyHostToDevice),
            cudaSuccess);
  return p;
}

template <class T>
std::vector<T> host(const T* p, size_t count) {
  std::vector<T> values(count);
  EXPECT_EQ(cudaMemcpy(values.data(), p, count * sizeof(T), cudaMemcpyDeviceToHost), cudaSuccess);
  return values;
}

class CudaEmulator : public testing::Test {
 protected:
  void SetUp() override {
    testing::FLAGS_gtest_death_test_style = "threadsafe";
    cuda_emulator::set_order("forward");
  }
  void TearDown() override {
    cudaDeviceSynchronize();
    EXPECT_EQ(cudaDeviceReset(), cudaSuccess);
    cuda_emulator::set_order("forward");
  }
};

__global__ void __launch_bounds__(1024) number_threads(int* out) {
  const unsigned block = blockIdx.x + gridDim.x * (blockIdx.y + gridDim.y * blockIdx.z);
  const unsigned thread = threadIdx.x + blockDim.x * (threadIdx.y + blockDim.y * threadIdx.z);
  const unsigned i = block * blockDim.x * blockDim.y * blockDim.z + thread;
  out[i] += static_cast<int>(i);
}

TEST_F(CudaEmulator, EveryThreadOfEveryBlockRunsOnce) {
  for (const char* order : kOrders) {
    ASSERT_TRUE(cuda_emulator::set_order(order));
    const dim3 grid(3, 2, 5), block(4, 3, 7);
    const size_t count = 30 * 84;
    int* out = device<int>(count);
    CHECK_CUDA(cudaMemset(out, 0, count * sizeof(int)));
    const uint64_t before = cuda_emulator::launches();
    launch(grid, block, 0, nullptr, [=] { number_threads(out); });
    const auto got = host(out, count);
    for (size_t i = 0; i < count; ++i) ASSERT_EQ(got[i], static_cast<int>(i)) << order;
    EXPECT_EQ(cuda_emulator::launches(), before + 1);
    CHECK_CUDA(cudaFree(out));
  }
  EXPECT_FALSE(cuda_emulator::set_order("sideways"));
}

// Sums a block through shared memory, as kernels do.
__global__ void sum_block(const float* in, float* out) {
  __shared__ float part[1024];
  const unsigned i = threadIdx.x;
  part[i] = in[blockIdx.x * blockDim.x + i];
  __syncthreads();
  for (unsigned half = blockDim.x / 2; half > 0; half /= 2) {
    if (i < half) part[i] += part[i + half];
    __syncthreads();
  }
  if (i == 0) out[blockIdx.x] = part[0];
}

TEST_F(CudaEmulator, BarriersOrderABlock) {
  for (const char* order : kOrders) {
    cuda_emulator::set_order(order);
    std::vector<float> in(4 * 1024);
    for (size_t i = 0; i < in.size(); ++i) in[i] = static_cast<float>(i % 7);
    float* from = device(in);
    float* out = device<float>(4);
    launch(4, 1024, 0, nullptr, [=] { sum_block(from, out); });
    const auto got = host(out, 4);
    for (size_t b = 0; b < 4; ++b) {
      float want = 0;
      for (size_t i = 0; i < 1024; ++i) want += in[b * 1024 + i];
      EXPECT_EQ(got[b], want) << order;
    }
    cudaFree(from);
    cudaFree(out);
  }
}

__global__ void turn_around(const int* in, int* out, bool wait) {
  int* kept = static_cast<int*>(cuda_emulator::dynamic_shared());
  kept[threadIdx.x] = in[threadIdx.x];
  if (wait) __syncthreads();
  out[threadIdx.x] = kept[blockDim.x - 1 - threadIdx.x];
}

__global__ void take_from_left(const int* in, int* out) {
  int* kept = static_cast<int*>(cuda_emulator::dynamic_shared());
  kept[threadIdx.x] = in[threadIdx.x];  // a barrier is missing after this
  out[threadIdx.x] = threadIdx.x == 0 ? in[0] : kept[threadIdx.x - 1];
}

TEST_F(CudaEmulator, AMissingBarrierShowsInSomeOrder) {
  std::vector<int> in(256);
  for (int i = 0; i < 256; ++i) in[static_cast<size_t>(i)] = i;
  int* from = device(in);
  int* out = device<int>(256);
  const auto turned = [&](bool wait) {
    launch(1, 256, 256 * sizeof(int), nullptr, [=] { turn_around(from, out, wait); });
    const auto got = host(out, 256);
    return std::equal(got.begin(), got.end(), in.rbegin());
  };
  const auto moved = [&] {
    launch(1, 256, 256 * sizeof(int), nullptr, [=] { take_from_left(from, out); });
    const auto got = host(out, 256);
    return got[0] == 0 && std::equal(got.begin() + 1, got.end(), in.begin());
  };
  for (const char* order : kOrders) {
    cuda_emulator::set_order(order);
    EXPECT_TRUE(turned(true)) << order;
    EXPECT_FALSE(turned(false)) << order;
  }
  cuda_emulator::set_order("forward");
  EXPECT_TRUE(moved());  // this order hides the mistake
  cuda_emulator::set_order("reverse");
  EXPECT_FALSE(moved());
  cuda_emulator::set_order("random:3");
  EXPECT_FALSE(moved());
}

TEST_F(CudaEmulator, VotesOfABlock) {
  int* out = device<int>(3);
  launch(1, 100, 0, nullptr, [=] {
    const int i = static_cast<int>(threadIdx.x);
    const int count = __syncthreads_count(i % 3 == 0);
    const int any = __syncthreads_or(i == 77), all = __syncthreads_and(i < 99);
    if (i == 5) out[0] = count, out[1] = any, out[2] = all;
  });
  EXPECT_EQ(host(out, 3), (std::vector<int>{34, 1, 0}));
}

TEST_F(CudaEmulator, ThreadsMayLeaveBeforeABarrier) {
  int* out = device<int>(1);
  launch(1, 96, 0, nullptr, [=] {
    if (threadIdx.x >= 70) return;
    const int here = __syncthreads_count(1);
    if (threadIdx.x == 0) *out = here;
  });
  EXPECT_EQ(host(out, 1)[0], 70);
}

TEST_F(CudaEmulator, Shuffles) {
  for (const char* order : kOrders) {
    cuda_emulator::set_order(order);
    double* sums = device<double>(2);
    int* moved = device<int>(5 * 32);
    launch(1, 64, 0, nullptr, [=] {
      double x = threadIdx.x;
      for (int d = 16; d > 0; d /= 2) x += __shfl_xor_sync(kFull, x, d);
      if (threadIdx.x % 32 == 3) sums[threadIdx.x / 32] = x;
      const int lane = static_cast<int>(threadIdx.x % 32);
      const int up = __shfl_up_sync(kFull, lane, 3), down = __shfl_down_sync(kFull, lane, 3, 8);
      const int one = __shfl_sync(kFull, lane, 5, 16);
      const unsigned votes = __ballot_sync(kFull, lane % 5 == 0);
      const int quarter = lane < 8 ? __shfl_sync(0xffu, lane, 7) : __any_sync(~0xffu, lane == 31);
      if (threadIdx.x >= 32) return;
      moved[lane] = up, moved[32 + lane] = down, moved[64 + lane] = one;
      moved[96 + lane] = static_cast<int>(votes), moved[128 + lane] = quarter;
    });
    EXPECT_EQ(host(sums, 2), (std::vector<double>{496, 496 + 1024}));
    const auto got = host(moved, 5 * 32);
    for (int i = 0; i < 32; ++i) {
      const auto at = [&](int row) { return got[static_cast<size_t>(row * 32 + i)]; };
      EXPECT_EQ(at(0), i < 3 ? i : i - 3) << order;
      EXPECT_EQ(at(1), i % 8 + 3 < 8 ? i + 3 : i) << order;
      EXPECT_EQ(at(2), i / 16 * 16 + 5) << order;
      EXPECT_EQ(at(3), 0b01000010000100001000010000100001) << order;
      EXPECT_EQ(at(4), i < 8 ? 7 : 1) << order;
    }
    cudaFree(sums);
    cudaFree(moved);
  }
}

__global__ void two_barriers() {
  if (threadIdx.x < 40) {
    __syncthreads();
  } else {
    __syncthreads();
  }
}

TEST_F(CudaEmulator, ADivergentBarrierEndsTheProcess) {
  EXPECT_DEATH(
      {
        launch(1, 32, 0, nullptr, [] {
          if (threadIdx.x < 16) {
            __shfl_sync(kFull, 1, 0);
          } else {
            __syncthreads();
          }
        });
        cudaDeviceSynchronize();
      },
      "cuda emulator: kernel .*ADivergentBarrier.*<<<\\(1,1,1\\), \\(32,1,1\\), 0>>>.*divergent "
      "barrier");
  EXPECT_DEATH(
      {
        launch(2, 64, 0, nullptr, [] { two_barriers(); });
        cudaDeviceSynchronize();
      },
      "divergent barrier: threads of one block wait");
  EXPECT_DEATH(
      {
        launch(
            2, 64, 0, nullptr, [] { two_barriers(); },
            reinterpret_cast<const void*>(&two_barriers));
        cudaDeviceSynchronize();
      },
      "kernel .*\\(\\+0x[0-9a-f]+ in .*divergent barrier");
  EXPECT_DEATH(
      {
        launch(1, 64, 0, nullptr, [] { __shfl_sync(1u, 1, 0); });
        cudaDeviceSynchronize();
      },
      "thread \\(1,0,0\\): __shfl_sync at .* the mask 00000001 does not name the calling lane 1");
}

TEST_F(CudaEmulator, Atomics) {
  for (const char* order : kOrders) {
    cuda_emulator::set_order(order);
    int* ints = device(std::vector<int>{0, -1000, 1000, 0});
    float* sum = device(std::vector<float>{0});
    unsigned long long* big = device(std::vector<unsigned long long>{1ull << 40});
    launch(3, 200, 0, nullptr, [=] {
      const int i = static_cast<int>(blockIdx.x * blockDim.x + threadIdx.x);
      atomicAdd(ints, 1);
      atomicMax(ints + 1, i);
      atomicMin(ints + 2, -i);
      for (int seen = ints[3], was; (was = atomicCAS(ints + 3, seen, seen + 2)) != seen;)
        seen = was;
      atomicAdd(sum, 0.5f);
      atomicAdd(big, 3ull);
    });
    EXPECT_EQ(host(ints, 4), (std::vector<int>{600, 599, -599, 1200})) << order;
    EXPECT_EQ(host(sum, 1)[0], 300.0f);
    EXPECT_EQ(host(big, 1)[0], (1ull << 40) + 1800);
  }
}

__global__ void copy_ahead(const float* in, float* out, bool wait) {
  __shared__ __align__(16) float kept[256];
  kept[threadIdx.x] = -1;
  __syncthreads();
  const unsigned i = threadIdx.x;
  if (i < 64) __pipeline_memcpy_async(kept + 4 * i, in + 4 * i, 16, i == 63 ? 8 : 0);
  __pipeline_commit();
  if (wait) __pipeline_wait_prior(0);
  __syncthreads();
  out[i] = kept[i];
}

TEST_F(CudaEmulator, AsynchronousCopiesArriveWhenWaitedFor) {
  std::vector<float> in(256);
  for (size_t i = 0; i < 256; ++i) in[i] = static_cast<float>(i);
  float* from = device(in);
  float* out = device<float>(256);
  launch(1, 256, 0, nullptr, [=] { copy_ahead(from, out, true); });
  auto want = in;
  want[254] = want[255] = 0;
  EXPECT_EQ(host(out, 256), want);
  launch(1, 256, 0, nullptr, [=] { copy_ahead(from, out, false); });
  EXPECT_EQ(host(out, 256), std::vector<float>(256, -1));
}

using namespace nvcuda;

template <int M, int N, int K, class T, class Stored, class Sum>
void check_product(double tolerance) {
  std::vector<Stored> a(M * K), b(K * N);
  std::vector<Sum> c(M * N), want(M * N);
  for (int i = 0; i < M * K; ++i) a[i] = Stored(static_cast<float>(i * 7 % 31 - 15) / 8);
  for (int i = 0; i < K * N; ++i) b[i] = Stored(static_cast<float>(i * 5 % 23 - 11) / 4);
  for (int i = 0; i < M * N; ++i) c[i] = Sum(static_cast<float>(i % 9));
  for (int i = 0; i < M; ++i) {
    for (int j = 0; j < N; ++j) {
      double sum = 2 * static_cast<double>(c[i * N + j]);
      for (int l = 0; l < K; ++l) {  // b lies by columns
        sum += static_cast<double>(a[i * K + l]) * static_cast<double>(b[j * K + l]);
      }
      want[i * N + j] = Sum(static_cast<float>(sum));
    }
  }
  Stored* da = device(a);
  Stored* db = device(b);
  Sum* dc = device(c);
  launch(1, 64, 0, nullptr, [=] {
    if (threadIdx.x >= 32) return;
    wmma::fragment<wmma::matrix_a, M, N, K, T, wmma::row_major> fa;
    wmma::fragment<wmma::matrix_b, M, N, K, T, wmma::col_major> fb;
    wmma::fragment<wmma::accumulator, M, N, K, Sum> sum;
    wmma::load_matrix_sync(fa, da, K);
    wmma::load_matrix_sync(fb, db, K);
    wmma::load_matrix_sync(sum, dc, N, wmma::mem_row_major);
    for (int i = 0; i < sum.num_elements; ++i) sum.x[i] = sum.x[i] + sum.x[i];
    wmma::mma_sync(sum, fa, fb, sum);
    wmma::store_matrix_sync(dc, sum, N, wmma::mem_row_major);
  });
  const auto got = host(dc, M * N);
  for (int i = 0; i < M * N; ++i) {
    ASSERT_NEAR(static_cast<double>(got[i]), static_cast<double>(want[i]), tolerance) << i;
  }
}

TEST_F(CudaEmulator, MatrixProducts) {
  for (const char* order : kOrders) {
    cuda_emulator::set_order(order);
    check_product<16, 16, 16, __half, __half, float>(0);
    check_product<32, 8, 16, __half, __half, float>(0);
    check_product<8, 32, 16, __nv_bfloat16, __nv_bfloat16, float>(0);
    check_product<16, 16, 16, __half, __half, __half>(0.1);
    check_product<16, 16, 8, wmma::precision::tf32, float, float>(0);
    check_product<8, 8, 4, double, double, double>(0);
  }
}

TEST_F(CudaEmulator, TensorFloatsLoseTheirLowBits) {
  float* a = device(std::vector<float>(16 * 8, 1.0f + 0x1p-11f));
  float* b = device(std::vector<float>(8 * 16, 1.0f));
  float* c = device<float>(2 * 16 * 16);
  launch(1, 32, 0, nullptr, [=] {
    wmma::fragment<wmma::matrix_a, 16, 16, 8, wmma::precision::tf32, wmma::row_major> fa;
    wmma::fragment<wmma::matrix_b, 16, 16, 8, wmma::precision::tf32, wmma::row_major> fb;
    wmma::fragment<wmma::accumulator, 16, 16, 8, float> sum;
    wmma::load_matrix_sync(fa, a, 8);
    wmma::load_matrix_sync(fb, b, 16);
    wmma::fill_fragment(sum, 0.0f);
    wmma::mma_sync(sum, fa, fb, sum);
    wmma::store_matrix_sync(c, sum, 16, wmma::mem_row_major);
    for (auto& x : fa.x) x = wmma::__float_to_tf32(x);
    wmma::fill_fragment(sum, 0.0f);
    wmma::mma_sync(sum, fa, fb, sum);
    wmma::store_matrix_sync(c + 256, sum, 16, wmma::mem_row_major);
  });
  const auto got = host(c, 512);
  EXPECT_EQ(got[0], 8.0f);                   // cut off
  EXPECT_EQ(got[256], 8.0f + 8 * 0x1p-10f);  // rounded first
}

TEST_F(CudaEmulator, HalfAndBfloat16) {
  for (unsigned bits = 0; bits < 0x10000; ++bits) {
    const auto u = static_cast<unsigned short>(bits);
    const __half h = __ushort_as_half(u);
    const float f = __half2float(h);
    if (std::isnan(f)) continue;
    ASSERT_EQ(__half_as_ushort(__float2half(f)), u);
    ASSERT_EQ(__half_as_ushort(__double2half(f)), u);
    const __nv_bfloat16 b = __ushort_as_bfloat16(u);
    if (!std::isnan(float{b})) {
      ASSERT_EQ(__bfloat16_as_ushort(__float2bfloat16(b)), u);
      ASSERT_EQ(__bfloat16_as_ushort(__double2bfloat16(float{b})), u);
    }
  }
#ifdef __FLT16_MAX__
  for (uint32_t bits = 0; bits < 0xfff00000; bits += 9973) {
    const float f = std::bit_cast<float>(bits);
    if (std::isnan(f)) continue;
    const auto want = static_cast<_Float16>(f);
    ASSERT_EQ(__half_as_ushort(__float2half(f)), std::bit_cast<unsigned short>(want)) << bits;
    ASSERT_EQ(__half_as_ushort(__double2half(f)), std::bit_cast<unsigned short>(want)) << bits;
  }
#endif
  EXPECT_EQ(float{__double2half(1 + 0x1p-11 + 0x1p-40)}, 1 + 0x1p-10f);  // rounded once
  EXPECT_TRUE(std::isnan(float{__float2bfloat16(NAN)}));
}

TEST_F(CudaEmulator, Mathematics) {
  for (const double x : {-0.999999, -0.7, -0.1, 1e-12, 0.3, 0.5, 0.51, 0.99}) {
    EXPECT_NEAR(std::erf(erfinv(x)), x, 1e-15);
    EXPECT_NEAR(std::erfc(erfcinv(1 + x)), 1 + x, 4e-15);
  }
  EXPECT_NEAR(std::erfc(erfcinv(1e-200)) * 1e200, 1, 1e-12);
  EXPECT_NEAR(normcdf(normcdfinv(0.975)), 0.975, 1e-15);
  EXPECT_NEAR(erfcx(24.999), erfcx(25.001), 1e-5);
  EXPECT_NEAR(erfcx(25.0), 0.0225495724, 1e-9);
  EXPECT_EQ(sinpi(0.5), 1);
  EXPECT_EQ(sinpi(1.0), 0);
  EXPECT_NEAR(cospif(0.25f), 0.70710678f, 1e-7);
  EXPECT_NEAR(cyl_bessel_i0f(1.0f), 1.2660658f, 1e-6);
  EXPECT_EQ(min(3, 2u), 2u);
  EXPECT_EQ(max(1.0f, NAN), 1.0f);
  EXPECT_EQ(__clz(1), 31);
  EXPECT_EQ(__brev(1u), 0x80000000u);
  EXPECT_EQ(__umulhi(0x80000000u, 6u), 3u);
  EXPECT_EQ(__umul64hi(1ull << 63, 6ull), 3ull);
  EXPECT_EQ(__float2int_rn(2.5f), 2);
  EXPECT_EQ(__float2int_rz(1e20f), 0x7fffffff);
}

TEST_F(CudaEmulator, SharedMemoryStartsAsRubbishAndEndsAtAWall) {
  unsigned* out = device<unsigned>(2);
  launch(2, 1, 400, nullptr, [=] {
    auto* shared = static_cast<unsigned*>(cuda_emulator::dynamic_shared());
    out[blockIdx.x] = shared[99];
    shared[99] = 7;
  });
  EXPECT_EQ(host(out, 2), (std::vector<unsigned>{0xABABABAB, 0xABABABAB}));
  EXPECT_DEATH(
      {
        launch(1, 1, 128, nullptr,
               [] { static_cast<char*>(cuda_emulator::dynamic_shared())[128] = 1; });
        cudaDeviceSynchronize();
      },
      "");
}

TEST_F(CudaEmulator, AMillionThreadsAreQuick) {
  int* out = device<int>(1 << 20);
  cudaMemset(out, 0, sizeof(int) << 20);
  cudaDeviceSynchronize();
  double best = 1;
  for (int i = 0; i < 5; ++i) {
    const auto begin = std::chrono::steady_clock::now();
    launch(4096, 256, 0, nullptr, [=] { number_threads(out); });
    cudaDeviceSynchronize();
    best = std::min(
        best, std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count());
  }
  RecordProperty("milliseconds", std::to_string(best * 1000));
  EXPECT_LT(best, 0.5);  // ten times what it takes, for a busy machine
  EXPECT_EQ(host(out, 1 << 20)[12345], 5 * 12345);
}

}  // namespace
