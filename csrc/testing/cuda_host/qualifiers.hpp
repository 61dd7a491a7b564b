// The toolkit's own vector, half and bfloat16 types under g++, and the CUDA keywords as the host needs them.
#pragma once

#include <cuda_bf16.h>
#include <cuda_fp16.h>
#include <driver_types.h>
#include <vector_functions.h>
#include <vector_types.h>

// The toolkit's headers define these for host compilers too, differently; so first include them, then redefine.
#undef __global__
#undef __device__
#undef __host__
#undef __shared__
#undef __launch_bounds__
#undef __forceinline__

#define __global__
#define __device__
#define __host__
#define __launch_bounds__(...)
#define __forceinline__ inline __attribute__((always_inline))

// Blocks run one after another, so one static array per declaration serves them all. The section lets the machine
// fill it with NaN before every block.
#define __shared__ static __attribute__((section("cuda_host_shared")))

inline uint3 threadIdx, blockIdx;
inline dim3 blockDim, gridDim;
