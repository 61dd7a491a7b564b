// CUDA's keywords and built-in variables as the host compiler needs them. No CUDA toolkit is required.
#pragma once

#define __global__
#define __device__
#define __host__
#define __launch_bounds__(...)
#define __forceinline__ inline __attribute__((always_inline))

// Blocks run one after another, so one static array per declaration serves them all. The section lets the machine
// fill it with NaN before every block.
#define __shared__ static __attribute__((section("cuda_host_shared")))

struct uint3 {
  unsigned x, y, z;
};

struct dim3 {
  unsigned x, y, z;
  constexpr dim3(unsigned x = 1, unsigned y = 1, unsigned z = 1) : x(x), y(y), z(z) {}
};

using cudaStream_t = struct CUstream_st*;
enum cudaError_t { cudaSuccess = 0 };
inline const char* cudaGetErrorString(cudaError_t) { return "no error"; }  // faults are thrown instead

inline uint3 threadIdx, blockIdx;
inline dim3 blockDim, gridDim;
