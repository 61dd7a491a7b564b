// How kernels touch memory: each thread owns `width` neighbouring neurons and moves them as one access of up to 16 bytes.
#pragma once

#include <cstdint>

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

template <class T, int width>
__device__ __forceinline__ void store(T* to, const Lanes<T, width>& lanes) {
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
