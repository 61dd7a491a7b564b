#include "gpu.hpp"
#include "launch.h"

namespace spikeops::cuda {

const char* error_text(int error) { return cudaGetErrorString(static_cast<cudaError_t>(error)); }

}  // namespace spikeops::cuda
