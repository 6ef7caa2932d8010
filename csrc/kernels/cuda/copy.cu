// Copies and casts between layouts and dtypes, fills, and copies between devices.
#include <cstring>

#include "kernels/cuda/operand.h"
#include "kernels/cuda/slots.h"
#include "kernels/cuda/state.h"
#include "kernels/kernels.h"

namespace wengert::cuda {
namespace {

constexpr int kThreads = 256;
constexpr int kTile = 32, kTileRows = 8;  // of a transposition

struct CopyArgs {
  Space space;
  Operand to, from;
};

// What elements pass through on the way from one dtype to another: bits of their size where there
// is nothing to convert; or a type that holds all that both can.
template <class V>
WENGERT_DEVICE V read_any(const char* p, DType dtype, int64_t i) {
  if constexpr (std::is_floating_point_v<V>) {
    if (dtype == DType::Float32) return read_as<V, float>(p, i);
    if (dtype == DType::BFloat16) return read_as<V, BFloat16>(p, i);
    if (dtype == DType::Float16) return read_as<V, Float16>(p, i);
    return read_as<V, double>(p, i);
  } else {
    switch (dtype) {
      case DType::Bool:
        return read_as<V, Bool8>(p, i);
      case DType::UInt8:
        return read_as<V, uint8_t>(p, i);
      case DType::Int8:
        return read_as<V, int8_t>(p, i);
      case DType::Int16:
        return read_as<V, int16_t>(p, i);
      case DType::Int32:
        return read_as<V, int32_t>(p, i);
      default:
        return read_as<V, int64_t>(p, i);
    }
  }
}
template <class V>
WENGERT_DEVICE void write_any(char* p, DType dtype, int64_t i, V v) {
  const auto as = [&]<class T>(T) { reinterpret_cast<T*>(p)[i] = convert<T>(v); };
  switch (dtype) {
    case DType::Bool:
      return as(Bool8{});
    case DType::UInt8:
      return as(uint8_t{});
    case DType::Int8:
      return as(int8_t{});
    case DType::Int16:
      return as(int16_t{});
    case DType::Int32:
      return as(int32_t{});
    case DType::Int64:
      return as(int64_t{});
    case DType::Float16:
      return as(Float16{});
    case DType::BFloat16:
      return as(BFloat16{});
    case DType::Float32:
      return as(float{});
    default:
      return as(double{});
  }
}

template <class V>
__global__ void __launch_bounds__(kThreads) cast_elements(const __grid_constant__ CopyArgs a) {
  constexpr int N = 4;
  const int64_t step = static_cast<int64_t>(gridDim.x) * kThreads * N;
  for (int64_t i = (static_cast<int64_t>(blockIdx.x) * kThreads + threadIdx.x) * N;
       i < a.space.count; i += step) {
    V v[N];
#pragma unroll
    for (int j = 0; j < N; ++j) {
      if (i + j >= a.space.count) break;
      v[j] = a.from.layout == Layout::Number
                 ? *reinterpret_cast<const V*>(a.from.number)
                 : read_any<V>(a.from.data, a.from.dtype, place_in(a.from, a.space, i + j));
    }
#pragma unroll
    for (int j = 0; j < N; ++j) {
      if (i + j >= a.space.count) break;
      write_any(a.to.data, a.to.dtype, place_in(a.to, a.space, i + j), v[j]);
    }
  }
}

// Elements as they are: U is an unsigned integer of their size.
template <class U>
__global__ void __launch_bounds__(kThreads) copy_bits(const __grid_constant__ CopyArgs a) {
  constexpr int N = 16 / sizeof(U);
  const int64_t step = static_cast<int64_t>(gridDim.x) * kThreads * N;
  for (int64_t i = (static_cast<int64_t>(blockIdx.x) * kThreads + threadIdx.x) * N;
       i < a.space.count; i += step) {
    const int n = a.space.count - i < N ? static_cast<int>(a.space.count - i) : N;
    Pack<U, N> v;
    if (a.from.layout == Layout::Packed && n == N) {
      v = *reinterpret_cast<const Pack<U, N>*>(reinterpret_cast<const U*>(a.from.data) + i);
    } else {
      for (int j = 0; j < n; ++j) {
        v.of[j] = reinterpret_cast<const U*>(a.from.data)[place_in(a.from, a.space, i + j)];
      }
    }
    if (a.to.layout == Layout::Packed && n == N) {
      *reinterpret_cast<Pack<U, N>*>(reinterpret_cast<U*>(a.to.data) + i) = v;
    } else {
      for (int j = 0; j < n; ++j) {
        reinterpret_cast<U*>(a.to.data)[place_in(a.to, a.space, i + j)] = v.of[j];
      }
    }
  }
}

// Matrices whose columns are dense into ones whose rows are: through tiles in shared memory, a
// column longer so that neither side meets a bank twice.
struct TransposeArgs {
  const char* from;
  char* to;
  int64_t rows, columns, from_column;  // elements from a column to the next
  int64_t from_batch, to_batch;
};
template <class U>
__global__ void __launch_bounds__(kTile* kTileRows)
    transpose(const __grid_constant__ TransposeArgs a) {
  __shared__ U tile[kTile][kTile + 1];
  const U* from = reinterpret_cast<const U*>(a.from) + blockIdx.z * a.from_batch;
  U* to = reinterpret_cast<U*>(a.to) + blockIdx.z * a.to_batch;
  const int64_t column0 = static_cast<int64_t>(blockIdx.x) * kTile;
  for (int64_t row0 = static_cast<int64_t>(blockIdx.y) * kTile; row0 < a.rows;
       row0 += static_cast<int64_t>(gridDim.y) * kTile) {
    const int64_t row = row0 + threadIdx.x;
    for (int c = static_cast<int>(threadIdx.y); c < kTile; c += kTileRows) {
      if (row < a.rows && column0 + c < a.columns) {
        tile[c][threadIdx.x] = from[row + (column0 + c) * a.from_column];
      }
    }
    __syncthreads();
    const int64_t column = column0 + threadIdx.x;
    for (int r = static_cast<int>(threadIdx.y); r < kTile; r += kTileRows) {
      if (row0 + r < a.rows && column < a.columns) {
        to[(row0 + r) * a.columns + column] = tile[threadIdx.x][r];
      }
    }
    __syncthreads();
  }
}

bool run_transpose(const Launch& l, size_t item) {
  const int batch_dims = l.ndim - 2;
  if (batch_dims != 0 && batch_dims != 1) return false;
  const Buffer &to = l.buffer[0], &from = l.buffer[1];
  const int r = batch_dims, c = batch_dims + 1;
  const int64_t rows = l.size[r], columns = l.size[c], batch = batch_dims ? l.size[0] : 1;
  if (from.stride[r] != 1 || from.stride[c] < rows || to.stride[c] != 1 ||
      to.stride[r] != columns || batch > 65535 || rows < 8 || columns < 8) {
    return false;
  }
  const TransposeArgs a{static_cast<const char*>(from.data),
                        static_cast<char*>(to.data),
                        rows,
                        columns,
                        from.stride[c],
                        batch_dims ? from.stride[0] : 0,
                        batch_dims ? to.stride[0] : 0};
  const dim3 grid(static_cast<unsigned>(ceil_div(columns, kTile)),
                  static_cast<unsigned>(std::min<int64_t>(ceil_div(rows, kTile), 65535)),
                  static_cast<unsigned>(batch));
  visit_item(item,
             [&]<class U>(U) { start(l, &transpose<U>, grid, dim3(kTile, kTileRows), 0, a); });
  return true;
}

void run_copy(const Launch& l) {
  const DType from = l.buffer[1].dtype, to = l.buffer[0].dtype;
  const bool number = l.buffer[1].storage && l.buffer[1].storage->device == Device::CPU;
  const auto item = item_size(to);
  if (from == to && !number) {
    if (run_transpose(l, item)) return;
    const int n = 16 / static_cast<int>(item);
    const CopyArgs a{Space(l), operand_of(l, 0, n, to), operand_of(l, 1, n, from)};
    return visit_item(item, [&]<class U>(U) {
      start(l, &copy_bits<U>, grid_for(l.count, kThreads * n), kThreads, 0, a);
    });
  }
  const auto through = [&]<class V>(V) {
    const CopyArgs a{Space(l), operand_of(l, 0, 1, to), operand_of(l, 1, 1, kDTypeOf<V>)};
    start(l, &cast_elements<V>, grid_for(l.count, kThreads * 4), kThreads, 0, a);
  };
  if (!is_floating(from)) {
    through(int64_t{});
  } else if (from == DType::Float64 || to == DType::Float64) {
    through(double{});
  } else {
    through(float{});
  }
}

struct FillArgs {
  Space space;
  Operand to;
  uint64_t bits;
};
template <class U>
__global__ void __launch_bounds__(kThreads) fill(const __grid_constant__ FillArgs a) {
  constexpr int N = 16 / sizeof(U);
  const int64_t step = static_cast<int64_t>(gridDim.x) * kThreads * N;
  const U v = static_cast<U>(a.bits);
  for (int64_t i = (static_cast<int64_t>(blockIdx.x) * kThreads + threadIdx.x) * N;
       i < a.space.count; i += step) {
    const int n = a.space.count - i < N ? static_cast<int>(a.space.count - i) : N;
    if (a.to.layout == Layout::Packed && n == N) {
      Pack<U, N> p;
#pragma unroll
      for (int j = 0; j < N; ++j) p.of[j] = v;
      *reinterpret_cast<Pack<U, N>*>(reinterpret_cast<U*>(a.to.data) + i) = p;
    } else {
      for (int j = 0; j < n; ++j) {
        reinterpret_cast<U*>(a.to.data)[place_in(a.to, a.space, i + j)] = v;
      }
    }
  }
}

void run_fill(const Launch& l) {
  FillArgs a{Space(l), {}, 0};
  visit(l.dtype, [&]<class T>() {
    const T v = std::is_integral_v<T> ? convert<T>(l.integer[0]) : convert<T>(l.number[0]);
    std::memcpy(&a.bits, &v, sizeof v);
  });
  visit_item(item_size(l.dtype), [&]<class U>(U) {
    constexpr int n = 16 / sizeof(U);
    a.to = operand_of(l, 0, n, l.dtype);
    start(l, &fill<U>, grid_for(l.count, kThreads * n), kThreads, 0, a);
  });
}

void run_transfer(const Launch& l) {
  const Buffer &to = l.buffer[0], &from = l.buffer[1];
  const auto bytes = static_cast<size_t>(l.count) * item_size(l.dtype);
  if (bytes == 0) return;
  const bool waits = l.integer[0] == 0;
  if (to.storage->device == Device::CUDA && from.storage->device == Device::CUDA) {
    copy_within(to.data, from.data, bytes);
  } else if (to.storage->device == Device::CUDA) {
    // The host's memory may change once this returns, unless the caller promises not to.
    if (waits || !is_pinned(from.data)) return write_device(to.data, from.data, bytes);
    check(cudaMemcpyAsync(to.data, from.data, bytes, cudaMemcpyHostToDevice, stream()),
          "copy to the device");
    pinned_is_used(from.data);
  } else {
    if (waits || !is_pinned(to.data)) return read_device(to.data, from.data, bytes);
    check(cudaMemcpyAsync(to.data, from.data, bytes, cudaMemcpyDeviceToHost, stream()),
          "copy to the host");
    pinned_is_used(to.data);
  }
}

}  // namespace

void fill_copy(KernelTable& t) {
  for (int d = 0; d < kNumDTypes; ++d) {
    t.slot[id(Kernel::Copy)][d] = &run_copy;
    t.slot[id(Kernel::Fill)][d] = &run_fill;
    t.slot[id(Kernel::Transfer)][d] = &run_transfer;
  }
}

}  // namespace wengert::cuda
