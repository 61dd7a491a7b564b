// What the CUDA runtime says of itself and of launches that failed.
#include "gpu.hpp"
#include "launch.h"

namespace spikeops::cuda {

const char* error_text(int error) { return cudaGetErrorString(static_cast<cudaError_t>(error)); }

const char* error_remedy(int error) {
  switch (static_cast<cudaError_t>(error)) {
    case cudaErrorNoKernelImageForDevice:
    case cudaErrorInvalidKernelImage:
      return "; this library has no code for the GPU: build spikeops with SPIKEOPS_CUDA_ARCHS for it, or choose "
             "spikeops.set_backend('triton')";
    case cudaErrorInsufficientDriver:
    case cudaErrorSystemDriverMismatch:
    case cudaErrorUnsupportedPtxVersion:
      return "; the NVIDIA driver is too old for the CUDA version that spikeops.backends() shows: update it, or build spikeops "
             "with an older CUDA toolkit";
    case cudaErrorMemoryAllocation:
      return "; free memory of the GPU: CUDA needs some beside torch's, to load a kernel for the first time";
    case cudaErrorLaunchOutOfResources:
      return "; a block of threads would need more shared memory than the GPU has for one: make the layer smaller, or choose "
             "spikeops.set_backend('triton')";
    case cudaErrorNoDevice:
    case cudaErrorInvalidDevice:
    case cudaErrorDevicesUnavailable:
    case cudaErrorSystemNotReady:
    case cudaErrorECCUncorrectable:
    case cudaErrorUnknown:
      return "; the GPU is lost to this process: look for it with nvidia-smi, then start the process anew";
    case cudaErrorIllegalAddress:
    case cudaErrorMisalignedAddress:
    case cudaErrorIllegalInstruction:
    case cudaErrorHardwareStackError:
    case cudaErrorLaunchTimeout:
    case cudaErrorLaunchFailure:
    case cudaErrorAssert:
      return "; an earlier kernel of this process, of any library, failed on the GPU: CUDA_LAUNCH_BLOCKING=1 shows which, and the "
             "process must be started anew";
    default: return "";
  }
}

void versions(int* driver, int* runtime) {
  if (cudaDriverGetVersion(driver) != cudaSuccess) *driver = 0;
  if (cudaRuntimeGetVersion(runtime) != cudaSuccess) *runtime = 0;
}

}  // namespace spikeops::cuda
