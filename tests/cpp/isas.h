// The instruction sets that this architecture's build has kernels for.
#pragma once

namespace wengert {

#if defined(__x86_64__)
inline constexpr const char* kIsas[] = {"v2", "avx2", "avx512"};
#else
inline constexpr const char* kIsas[] = {"neon"};
#endif

}  // namespace wengert
