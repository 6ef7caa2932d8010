// What is used of cuBLASLt's interface: opaque handles, numbers of attributes, and functions by
// name. The same in versions 12 and 13.
#pragma once

#include <cuda_runtime.h>

#include <cstddef>
#include <cstdint>
#include <type_traits>

namespace wengert::cuda::lt {

using Status = int;  // 0: success
using Handle = struct HandleOpaque*;
using Operation = struct OperationOpaque*;
using Layout = struct LayoutOpaque*;
using Preference = struct PreferenceOpaque*;

// cudaDataType
enum DataType : int { kFloat32 = 0, kFloat64 = 1, kFloat16 = 2, kBFloat16 = 14 };
// cublasComputeType_t
enum Compute : int { kSumsFloat32 = 68, kSumsFloat64 = 70, kByTf32 = 77 };
// cublasOperation_t
enum Transposition : int { kAsIs = 0, kTransposed = 1 };
// cublasLtEpilogue_t
enum Epilogue : uint32_t { kNoEpilogue = 1, kAddBias = 4 };
// cublasLtMatmulDescAttributes_t: int32, int32, uint32, pointer
enum OperationAttribute : int { kTransA = 3, kTransB = 4, kEpilogue = 7, kBiasPointer = 8 };
// cublasLtMatrixLayoutAttribute_t: int32, int64 (elements)
enum LayoutAttribute : int { kBatchCount = 5, kBatchStride = 6 };
// cublasLtMatmulPreferenceAttributes_t: uint64, uint32 each
enum PreferenceAttribute : int {
  kMostWorkspace = 1,
  kAlignmentA = 5,
  kAlignmentB = 6,
  kAlignmentC = 7,
  kAlignmentD = 8
};

struct Algorithm {
  uint64_t data[8];
};
struct Heuristic {
  Algorithm algorithm;
  size_t workspace;
  Status state;
  float waves;
  int reserved[4];
};
static_assert(sizeof(Heuristic) == 96);

struct Functions {
  Status (*create)(Handle*);
  Status (*destroy)(Handle);
  size_t (*version)();
  Status (*operation_create)(Operation*, int compute, int scale);
  Status (*operation_destroy)(Operation);
  Status (*operation_set)(Operation, int attribute, const void* value, size_t bytes);
  Status (*layout_create)(Layout*, int type, uint64_t rows, uint64_t columns, int64_t leading);
  Status (*layout_destroy)(Layout);
  Status (*layout_set)(Layout, int attribute, const void* value, size_t bytes);
  Status (*preference_create)(Preference*);
  Status (*preference_destroy)(Preference);
  Status (*preference_set)(Preference, int attribute, const void* value, size_t bytes);
  Status (*heuristic)(Handle, Operation, Layout a, Layout b, Layout c, Layout d, Preference,
                      int wanted, Heuristic* found, int* num_found);
  Status (*multiply)(Handle, Operation, const void* alpha, const void* a, Layout, const void* b,
                     Layout, const void* beta, const void* c, Layout, void* d, Layout,
                     const Algorithm*, void* workspace, size_t bytes, cudaStream_t);
};

// By name, through what finds symbols; false if one is missing.
template <class Find>
bool load(Functions& f, Find find) {
  bool all = true;
  const auto take = [&](auto& to, const char* name) {
    to = reinterpret_cast<std::remove_reference_t<decltype(to)>>(find(name));
    all = all && to != nullptr;
  };
  take(f.create, "cublasLtCreate");
  take(f.destroy, "cublasLtDestroy");
  take(f.version, "cublasLtGetVersion");
  take(f.operation_create, "cublasLtMatmulDescCreate");
  take(f.operation_destroy, "cublasLtMatmulDescDestroy");
  take(f.operation_set, "cublasLtMatmulDescSetAttribute");
  take(f.layout_create, "cublasLtMatrixLayoutCreate");
  take(f.layout_destroy, "cublasLtMatrixLayoutDestroy");
  take(f.layout_set, "cublasLtMatrixLayoutSetAttribute");
  take(f.preference_create, "cublasLtMatmulPreferenceCreate");
  take(f.preference_destroy, "cublasLtMatmulPreferenceDestroy");
  take(f.preference_set, "cublasLtMatmulPreferenceSetAttribute");
  take(f.heuristic, "cublasLtMatmulAlgoGetHeuristic");
  take(f.multiply, "cublasLtMatmul");
  return all;
}

}  // namespace wengert::cuda::lt
