// The one header through which kernel files see CUDA. It has two branches: nvcc builds the real library; any
// C++17 compiler builds the same files against kernels/cuda_host/cuda_host.hpp, which runs each CUDA thread on the CPU
// so that the kernels' own source can be tested without a device.
//
// Rules that keep one source valid for both: include CUDA through this header only; launch with gpu::launch, never
// with launch brackets; take dynamic shared memory with GPU_DYNAMIC_SHARED; no cooperative groups or textures; no
// __CUDA_ARCH__ branch that changes a result, and inline PTX only in such a branch, in headers.
#pragma once

#include <cstddef>

namespace gpu {

// What launchers want to know of the current device.
struct Device {
  int multiprocessors;
  size_t shared_bytes;  // that one block may have
};

}  // namespace gpu

#if defined(__CUDACC__)

#include <cuda_runtime.h>

#include <atomic>

#define GPU_DYNAMIC_SHARED(T, name)                             \
  extern __shared__ __align__(16) unsigned char name##_bytes[]; \
  T* name = reinterpret_cast<T*>(name##_bytes)

namespace gpu {

// More shared memory than this a kernel must ask for.
constexpr size_t kSharedBytesForAll = 48 << 10;

// Asked once for each device; a device that does not answer counts as a small one (its launch will report why).
inline Device current_device() {
  constexpr int most = 64;
  static std::atomic<int> multiprocessors[most], shared_bytes[most];
  int device = 0, count = 0, bytes = 0;
  if (cudaGetDevice(&device) != cudaSuccess || device >= most) return {0, kSharedBytesForAll};
  if (shared_bytes[device] == 0) {
    if (cudaDeviceGetAttribute(&count, cudaDevAttrMultiProcessorCount, device) != cudaSuccess ||
        cudaDeviceGetAttribute(&bytes, cudaDevAttrMaxSharedMemoryPerBlockOptin, device) != cudaSuccess)
      return {0, kSharedBytesForAll};
    multiprocessors[device] = count;
    shared_bytes[device] = bytes;
  }
  return {multiprocessors[device], size_t(shared_bytes[device])};
}

// Launches `kernel` on `stream` and returns the launch error, if any. Arguments are converted to the kernel's own
// parameter types, so that a launcher may pass an int where the kernel wants int64_t. Dynamic shared memory is whole pieces of 16
// bytes: nvcc may load such a piece for the sake of any number in it.
template <class... Parameters, class... Arguments>
inline cudaError_t launch(void (*kernel)(Parameters...), dim3 grid, dim3 block, size_t shared_bytes, cudaStream_t stream,
                          Arguments&&... arguments) {
  shared_bytes = (shared_bytes + 15) / 16 * 16;
  if (shared_bytes > kSharedBytesForAll) {
    if (shared_bytes > current_device().shared_bytes) return cudaErrorLaunchOutOfResources;
    const cudaError_t error = cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, int(shared_bytes));
    if (error != cudaSuccess) return error;
  }
  kernel<<<grid, block, shared_bytes, stream>>>(static_cast<Parameters>(arguments)...);
  return cudaGetLastError();
}

// A device says itself when an address is not a multiple of what an access asks for.
template <class Access>
__device__ __forceinline__ void check_alignment(const void*) {}

}  // namespace gpu

#else

#include "../cuda_host/cuda_host.hpp"

#define GPU_DYNAMIC_SHARED(T, name) T* name = cuda_host::dynamic_shared<T>()

namespace gpu {

inline Device current_device() {
  const cuda_host::Machine& machine = cuda_host::Machine::instance();
  return {machine.multiprocessors, machine.shared_bytes};
}

template <class... Parameters, class... Arguments>
inline cudaError_t launch(void (*kernel)(Parameters...), dim3 grid, dim3 block, size_t shared_bytes, cudaStream_t,
                          Arguments&&... arguments) {
  cuda_host::Machine::instance().launch(grid, block, shared_bytes, [&] { kernel(static_cast<Parameters>(arguments)...); });
  return cudaSuccess;
}

template <class Access>
inline void check_alignment(const void* address) {
  if (reinterpret_cast<uintptr_t>(address) % alignof(Access) != 0) cuda_host::Machine::instance().misaligned(alignof(Access));
}

}  // namespace gpu

#endif
