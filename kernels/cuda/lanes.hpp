// How kernels touch memory: each thread owns `width` neighbouring neurons and moves them as one access of up to 16 bytes.
#pragma once

#include <cstdint>
#include <cstring>
#include <type_traits>

#include "../math/base.h"
#include "gpu.hpp"

namespace spikeops::cuda {

template <class T, int width>
struct alignas(sizeof(T) * width < 16 ? sizeof(T) * width : 16) Lanes {
  T value[width];
  __host__ __device__ __forceinline__ T& operator[](int lane) { return value[lane]; }
  __host__ __device__ __forceinline__ const T& operator[](int lane) const { return value[lane]; }
};

template <int width, class T>
__device__ __forceinline__ Lanes<T, width> load(const T* from) {
  return *reinterpret_cast<const Lanes<T, width>*>(from);
}

// A row as it came from memory. Small numbers stay packed in words until they are wanted: to take them apart is to wait for them.
template <class T, int width>
struct alignas(Lanes<T, width>) Row {
  using Part = std::conditional_t<sizeof(T) * width % 4 == 0, unsigned, T>;
  Part part[sizeof(T) * width / sizeof(Part)];

  __device__ __forceinline__ Lanes<T, width> lanes() const {
    Lanes<T, width> lanes;
    memcpy(&lanes, this, sizeof lanes);
    return lanes;
  }
};

template <int width, class T>
__device__ __forceinline__ Row<T, width> load_row(const T* from) {
  return *reinterpret_cast<const Row<T, width>*>(from);
}

// To global memory. On a device through the store instructions themselves: nvcc splits the copy of a struct into its elements and
// joins them again only where nothing stands between them. (Not into those of 16 bytes of small
// numbers.)
template <class T, int width>
__device__ __forceinline__ void store(T* to, const Lanes<T, width>& lanes) {
#if defined(__CUDA_ARCH__)
  constexpr int words = sizeof(lanes) / 4;
  if constexpr (width > 1 && words > 0 && (sizeof(T) >= 4 || words < 4)) {
    unsigned word[words];
    memcpy(word, &lanes, sizeof lanes);
    const size_t address = __cvta_generic_to_global(to);
    if constexpr (words == 1) asm volatile("st.global.b32 [%0], %1;" ::"l"(address), "r"(word[0]) : "memory");
    if constexpr (words == 2)
      asm volatile("st.global.v2.b32 [%0], {%1, %2};" ::"l"(address), "r"(word[0]), "r"(word[1]) : "memory");
    static_assert(words < 4 || words % 4 == 0, "up to 8 or a multiple of 16 bytes");
#pragma unroll
    for (int w = 0; w + 4 <= words; w += 4)
      asm volatile("st.global.v4.b32 [%0], {%1, %2, %3, %4};" ::"l"(address + 4 * w), "r"(word[w]), "r"(word[w + 1]),
                   "r"(word[w + 2]), "r"(word[w + 3]) : "memory");
    return;
  }
#endif
  *reinterpret_cast<Lanes<T, width>*>(to) = lanes;
}

template <int width, class T>
__device__ __forceinline__ Lanes<T, width> all_lanes(T value) {
  Lanes<T, width> lanes;
  for (int l = 0; l < width; ++l) lanes[l] = value;
  return lanes;
}

// One value per neuron, or the same for all where there is no array.
template <int width, class T>
__device__ __forceinline__ Lanes<T, width> load_or(const void* array, int64_t neuron, T otherwise) {
  return array != nullptr ? load<width>(static_cast<const T*>(array) + neuron) : all_lanes<width>(otherwise);
}

}  // namespace spikeops::cuda
