// CUDA's short vectors, dim3 and their makers, with the alignment the device asks of them.
#pragma once

// One macro makes the four lengths of a type: their names cannot be spelled by a template.
#define WENGERT_EMULATED_VECTORS(name, type, align2, align4)         \
  struct name##1 {                                                   \
    type x;                                                          \
  };                                                                 \
  struct alignas(align2) name##2 {                                   \
    type x, y;                                                       \
  };                                                                 \
  struct name##3 {                                                   \
    type x, y, z;                                                    \
  };                                                                 \
  struct alignas(align4) name##4 {                                   \
    type x, y, z, w;                                                 \
  };                                                                 \
  constexpr name##1 make_##name##1(type x) {                         \
    return {x};                                                      \
  }                                                                  \
  constexpr name##2 make_##name##2(type x, type y) {                 \
    return {x, y};                                                   \
  }                                                                  \
  constexpr name##3 make_##name##3(type x, type y, type z) {         \
    return {x, y, z};                                                \
  }                                                                  \
  constexpr name##4 make_##name##4(type x, type y, type z, type w) { \
    return {x, y, z, w};                                             \
  }

WENGERT_EMULATED_VECTORS(char, signed char, 2, 4)
WENGERT_EMULATED_VECTORS(uchar, unsigned char, 2, 4)
WENGERT_EMULATED_VECTORS(short, short, 4, 8)
WENGERT_EMULATED_VECTORS(ushort, unsigned short, 4, 8)
WENGERT_EMULATED_VECTORS(int, int, 8, 16)
WENGERT_EMULATED_VECTORS(uint, unsigned int, 8, 16)
WENGERT_EMULATED_VECTORS(long, long, 16, 16)
WENGERT_EMULATED_VECTORS(ulong, unsigned long, 16, 16)
WENGERT_EMULATED_VECTORS(longlong, long long, 16, 16)
WENGERT_EMULATED_VECTORS(ulonglong, unsigned long long, 16, 16)
WENGERT_EMULATED_VECTORS(float, float, 8, 16)
WENGERT_EMULATED_VECTORS(double, double, 16, 16)

#undef WENGERT_EMULATED_VECTORS

struct dim3 {
  unsigned int x, y, z;
  // NOLINTNEXTLINE(google-explicit-constructor): a number is a grid of one dimension.
  constexpr dim3(unsigned int x_ = 1, unsigned int y_ = 1, unsigned int z_ = 1)
      : x(x_), y(y_), z(z_) {}
  constexpr dim3(uint3 v) : x(v.x), y(v.y), z(v.z) {}
  constexpr operator uint3() const { return {x, y, z}; }
};
