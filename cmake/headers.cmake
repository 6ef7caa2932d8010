# What users' libraries of operations are built with: the headers that extension/extension.h leads
# to, and a CMake package; and program/file.h, for programs that run saved ones. In the installed ones includes name the folder, as in
# "wengert/core/tensor.h", so that ours are not taken for anybody else's.
set(public_headers
    core/allocator.h core/device_memory.h core/dtype.h core/error.h core/half.h core/ref.h
    core/shape.h core/tensor.h core/watch.h
    kernels/added.h kernels/functors.h kernels/functors/activation.h
    kernels/functors/arithmetic.h kernels/functors/functor.h kernels/functors/logic.h
    kernels/functors/loss.h kernels/functors/math.h kernels/kernels.h kernels/launch.h
    kernels/reductions.h kernels/cpu/conv.h kernels/cpu/peak.h kernels/cpu/cpu.h kernels/cpu/division.h
    kernels/cpu/gemm.h
    kernels/cpu/map_isa.h kernels/cpu/parallel.h kernels/cpu/vec.h kernels/cpu/vmath.h
    kernels/cpu/vmath_activation.h kernels/cpu/vmath_all.h kernels/cpu/vmath_basic.h kernels/cpu/vmath_exp.h
    kernels/cpu/vmath_gamma.h
    kernels/cpu/vmath_log.h kernels/cpu/vmath_lookup.h kernels/cpu/vmath_lookup_inverse.h
    kernels/cpu/vmath_lookup_tables.h
    kernels/cpu/vmath_special.h kernels/cpu/vmath_table.h
    kernels/cpu/vmath_trig.h tape/hooks.h tape/node.h tape/source.h ops/elementwise.h
    ops/elementwise_rows.h ops/library.h ops/op_table.h ops/ops.h ops/random.h ops/rows.h ops/var.h
    program/file.h extension/extension.h)

# A library fits the wengert whose headers it was compiled with and no other: their digest is part
# of the stamp that is compared when it is loaded.
set(digests "")
set(installed ${PROJECT_BINARY_DIR}/headers/wengert)
foreach(header IN LISTS public_headers)
  set(source ${PROJECT_SOURCE_DIR}/csrc/${header})
  set_property(DIRECTORY APPEND PROPERTY CMAKE_CONFIGURE_DEPENDS ${source})
  file(SHA256 ${source} digest)
  string(APPEND digests ${digest})
  file(READ ${source} content)
  string(REGEX REPLACE "(#include \")(core|kernels|tape|ops|program)/" "\\1wengert/\\2/" content
                       "${content}")
  file(CONFIGURE OUTPUT ${installed}/${header} CONTENT "${content}" @ONLY)
endforeach()
string(SHA256 digest "${digests}")
string(SUBSTRING ${digest} 0 12 WENGERT_HEADERS_DIGEST)
configure_file(csrc/core/version.h.in ${PROJECT_BINARY_DIR}/generated/core/version.h @ONLY)
configure_file(csrc/core/version.h.in ${installed}/core/version.h @ONLY)
file(WRITE ${installed}/extension.h "#include \"wengert/extension/extension.h\"\n")

target_compile_features(wengert INTERFACE cxx_std_20)
install(DIRECTORY ${installed} DESTINATION wengert/include)
include(CMakePackageConfigHelpers)
set(package_dir wengert/share/cmake/wengert)
write_basic_package_version_file(${PROJECT_BINARY_DIR}/wengertConfigVersion.cmake
                                 COMPATIBILITY ExactVersion)
install(FILES cmake/wengertConfig.cmake ${PROJECT_BINARY_DIR}/wengertConfigVersion.cmake
        DESTINATION ${package_dir})
if(WENGERT_PYTHON)
  install(EXPORT wengertTargets NAMESPACE wengert:: DESTINATION ${package_dir})
endif()
