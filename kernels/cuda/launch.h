// The CUDA kernels' launchers. They take device pointers, allocate nothing, launch on `stream` (a cudaStream_t) and return the
// CUDA error code of the launch, 0 for success.
#pragma once

#include <cstdint>

#define KERNEL(name, Args) struct Args;
namespace spikeops {
#include "../kernels.def"
}

namespace spikeops::cuda {

#define KERNEL(name, Args) int name(const Args& args, void* stream);
#define SCRATCH_KERNEL(name, Args)         \
  int64_t name##_scratch(const Args& args); \
  int name(const Args& args, void* scratch, void* stream);
#include "../kernels.def"

const char* error_text(int error);
const char* error_remedy(int error);  // continues the sentence of the text: what to do about it; empty where nobody knows

// CUDA versions of the driver, 0 without one, and of the runtime that is linked in: 1000 * major + 10 * minor. Needs no device.
void versions(int* driver, int* runtime);

}  // namespace spikeops::cuda
