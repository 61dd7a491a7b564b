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
  gpu::check_alignment<Lanes<T, width>>(from);
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

// Where something lies in global memory, to count on from row to row: of sums of pointers nvcc keeps the parts in registers.
__device__ __forceinline__ size_t global_address(const void* pointer) {
#if defined(__CUDA_ARCH__)
  return __cvta_generic_to_global(pointer);
#else
  return reinterpret_cast<size_t>(pointer);
#endif
}

// Through the load and store instructions themselves: they stay in this order, and nvcc, which splits the copy of a struct into its
// elements and joins them again only where nothing stands between them, leaves them whole.
template <int width, class T>
__device__ __forceinline__ Row<T, width> load_row(size_t address) {
  Row<T, width> row;
#if defined(__CUDA_ARCH__)
  if constexpr (sizeof row == 2) {
    unsigned short part;
    asm volatile("ld.global.b16 %0, [%1];" : "=h"(part) : "l"(address));
    memcpy(&row, &part, sizeof row);
  } else {
    constexpr int words = sizeof row / 4;
    unsigned word[words];
    if constexpr (words == 1) asm volatile("ld.global.b32 %0, [%1];" : "=r"(word[0]) : "l"(address));
    if constexpr (words == 2) asm volatile("ld.global.v2.b32 {%0, %1}, [%2];" : "=r"(word[0]), "=r"(word[1]) : "l"(address));
    if constexpr (words == 4)
      asm volatile("ld.global.v4.b32 {%0, %1, %2, %3}, [%4];"
                   : "=r"(word[0]), "=r"(word[1]), "=r"(word[2]), "=r"(word[3]) : "l"(address));
    static_assert(words == 1 || words == 2 || words == 4, "an access of up to 16 bytes");
    memcpy(&row, word, sizeof row);
  }
#else
  gpu::check_alignment<Row<T, width>>(reinterpret_cast<const void*>(address));
  row = *reinterpret_cast<const Row<T, width>*>(address);
#endif
  return row;
}

template <class T, int width>
__device__ __forceinline__ void store(size_t address, const Lanes<T, width>& lanes) {
#if defined(__CUDA_ARCH__)
  if constexpr (sizeof lanes == 2) {
    unsigned short part;
    memcpy(&part, &lanes, sizeof lanes);
    asm volatile("st.global.b16 [%0], %1;" ::"l"(address), "h"(part) : "memory");
  } else {
    constexpr int words = sizeof lanes / 4;
    unsigned word[words];
    memcpy(word, &lanes, sizeof lanes);
    if constexpr (words == 1) asm volatile("st.global.b32 [%0], %1;" ::"l"(address), "r"(word[0]) : "memory");
    if constexpr (words == 2)
      asm volatile("st.global.v2.b32 [%0], {%1, %2};" ::"l"(address), "r"(word[0]), "r"(word[1]) : "memory");
    static_assert(words < 4 || words % 4 == 0, "up to 8 or a multiple of 16 bytes");
#pragma unroll
    for (int w = 0; w + 4 <= words; w += 4)
      asm volatile("st.global.v4.b32 [%0], {%1, %2, %3, %4};" ::"l"(address + 4 * w), "r"(word[w]), "r"(word[w + 1]),
                   "r"(word[w + 2]), "r"(word[w + 3]) : "memory");
  }
#else
  gpu::check_alignment<Lanes<T, width>>(reinterpret_cast<const void*>(address));
  *reinterpret_cast<Lanes<T, width>*>(address) = lanes;
#endif
}

template <class T, int width>
__device__ __forceinline__ void store(T* to, const Lanes<T, width>& lanes) {
  gpu::check_alignment<Lanes<T, width>>(to);
  if constexpr (width > 1 && sizeof(T) >= 4) store(global_address(to), lanes);
  else *reinterpret_cast<Lanes<T, width>*>(to) = lanes;  // small numbers stay packed
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
