// What libspikeops_cuda says of itself, read by spikeops/_library.py.
#include "../../kernels/cuda/launch.h"

// JSON.
extern "C" __attribute__((visibility("default"))) const char* spikeops_cuda_build_info() {
  return "{\"compiler\": \"nvcc " SPIKEOPS_CUDA_VERSION "\", \"flags\": \"" SPIKEOPS_CUDA_FLAGS "\", \"torch_headers\": \""
         SPIKEOPS_TORCH_VERSION "\", \"architectures\": \"" SPIKEOPS_CUDA_ARCHS_BUILT "\", \"ptx\": \"" SPIKEOPS_CUDA_PTX_BUILT "\"}";
}

extern "C" __attribute__((visibility("default"))) void spikeops_cuda_versions(int* driver, int* runtime) {
  spikeops::cuda::versions(driver, runtime);
}
