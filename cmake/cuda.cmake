# The CUDA back end: the sources in csrc/kernels/cuda, compiled by nvcc; or by the host's compiler
# against an emulation of CUDA (tests/cuda_emulator), which runs every kernel where there is no GPU;
# or in their place a file that says there is none.
set(cuda ${WENGERT_CUDA})
if(cuda STREQUAL "AUTO")
  include(CheckLanguage)
  check_language(CUDA)
  if(CMAKE_CUDA_COMPILER)
    set(cuda ON)
  else()
    set(cuda OFF)
  endif()
endif()

set(cuda_sources csrc/kernels/cuda/absent.cpp)
set(cuda_libraries "")
if(cuda)
  file(GLOB cuda_sources CONFIGURE_DEPENDS csrc/kernels/cuda/*.cpp csrc/kernels/cuda/*.cu)
  list(FILTER cuda_sources EXCLUDE REGEX "/absent\\.cpp$")
endif()
if(cuda STREQUAL "EMULATED")
  file(GLOB emulator_sources CONFIGURE_DEPENDS tests/cuda_emulator/*.cpp)
  # Optimized, branches that no launch takes look as if they read what nobody set: nvcc warns apart.
  set_source_files_properties(${cuda_sources} PROPERTIES LANGUAGE CXX
    INCLUDE_DIRECTORIES ${PROJECT_SOURCE_DIR}/tests/cuda_emulator/include
    COMPILE_DEFINITIONS WENGERT_CUDA_EMULATED COMPILE_OPTIONS
    "-x;c++;-Wno-unknown-pragmas;-Wno-uninitialized;-Wno-maybe-uninitialized;-Wno-error")
  set_source_files_properties(${emulator_sources} PROPERTIES
    INCLUDE_DIRECTORIES ${PROJECT_SOURCE_DIR}/tests/cuda_emulator/include)
  list(APPEND cuda_sources ${emulator_sources})
elseif(cuda)
  if(NOT CMAKE_CUDA_ARCHITECTURES)
    # Ampere, Hopper and Blackwell as they are, and PTX for what comes between and after.
    set(CMAKE_CUDA_ARCHITECTURES 80-real 90a-real 100-real 80-virtual)
  endif()
  set(CMAKE_CUDA_STANDARD 20)
  set(CMAKE_CUDA_STANDARD_REQUIRED ON)
  set(CMAKE_CUDA_RUNTIME_LIBRARY Static)
  enable_language(CUDA)
  find_package(CUDAToolkit REQUIRED)
  list(APPEND cuda_libraries CUDA::cudart_static)
  # What includes device.h is nvcc's to read, kernels in it or not.
  set_source_files_properties(${cuda_sources} PROPERTIES LANGUAGE CUDA COMPILE_OPTIONS
    "$<$<COMPILE_LANGUAGE:CUDA>:--expt-relaxed-constexpr;-diag-suppress=174;-compress-mode=size;-Xcompiler=-fwrapv;-Xcompiler=-Wno-psabi>")
endif()
if(cuda)
  string(REPLACE ";" "," architectures "${CMAKE_CUDA_ARCHITECTURES}")
  set_property(SOURCE csrc/kernels/cuda/state.cpp APPEND PROPERTY COMPILE_DEFINITIONS
               "WENGERT_CUDA_ARCHITECTURES=\"${architectures}\"")
endif()
message(STATUS "CUDA back end: ${cuda}")
