# find_package(wengert CONFIG): the target wengert::wengert, and what makes a library of operations.
include("${CMAKE_CURRENT_LIST_DIR}/wengertTargets.cmake")

# wengert_add_extension(<name> [ARCH <arch>] <source>...)
#
# A library that wengert.ops.load_library loads. It is compiled for this machine's processor, unless
# ARCH says for which one, as -march does: x86-64-v2 runs on all that wengert runs on.
function(wengert_add_extension name)
  cmake_parse_arguments(PARSE_ARGV 1 arg "" "ARCH" "")
  if(NOT arg_ARCH)
    set(arg_ARCH native)
  endif()
  add_library(${name} MODULE ${arg_UNPARSED_ARGUMENTS})
  target_link_libraries(${name} PRIVATE wengert::wengert)
  # As wengert's own loops: products and sums are never contracted, so that a formula has the same
  # bits wherever it is inlined, and integers wrap.
  target_compile_options(${name} PRIVATE -march=${arg_ARCH} -ffp-contract=off -fno-math-errno
                         -fno-trapping-math -fwrapv -Wno-psabi)
  set_target_properties(${name} PROPERTIES PREFIX "" CXX_VISIBILITY_PRESET hidden
                        VISIBILITY_INLINES_HIDDEN ON)
endfunction()
