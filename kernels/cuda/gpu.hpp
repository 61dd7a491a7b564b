// The one header through which kernel files see CUDA. It has two branches: nvcc builds the real library; any
// C++17 compiler builds the same files against kernels/cuda_host/cuda_host.hpp, which runs each CUDA thread on the CPU
// so that the kernels' own source can be tested without a device.
//
// Rules that keep one source valid for both: include CUDA through this header only; launch with gpu::launch, never
// with launch brackets; take dynamic shared memory with GPU_DYNAMIC_SHARED; no inline PTX, cooperative groups or
// textures; no __CUDA_ARCH__ branch that changes a result.
#pragma once

#if defined(__CUDACC__)

#include <cuda_runtime.h>

#define GPU_DYNAMIC_SHARED(T, name)                             \
  extern __shared__ __align__(16) unsigned char name##_bytes[]; \
  T* name = reinterpret_cast<T*>(name##_bytes)

namespace gpu {

// Launches `kernel` on `stream` and returns the launch error, if any. Arguments are converted to the kernel's own
// parameter types, so that a launcher may pass an int where the kernel wants int64_t.
template <class... Parameters, class... Arguments>
inline cudaError_t launch(void (*kernel)(Parameters...), dim3 grid, dim3 block, size_t shared_bytes, cudaStream_t stream,
                          Arguments&&... arguments) {
  kernel<<<grid, block, shared_bytes, stream>>>(static_cast<Parameters>(arguments)...);
  return cudaGetLastError();
}

}  // namespace gpu

#else

#include "../cuda_host/cuda_host.hpp"

#define GPU_DYNAMIC_SHARED(T, name) T* name = cuda_host::dynamic_shared<T>()

namespace gpu {

template <class... Parameters, class... Arguments>
inline cudaError_t launch(void (*kernel)(Parameters...), dim3 grid, dim3 block, size_t shared_bytes, cudaStream_t,
                          Arguments&&... arguments) {
  cuda_host::Machine::instance().launch(grid, block, shared_bytes, [&] { kernel(static_cast<Parameters>(arguments)...); });
  return cudaSuccess;
}

}  // namespace gpu

#endif
